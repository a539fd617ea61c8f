"""One resource in full: every field with its value and whether it was written, as TOML, as the command that adds it.

Used by whatever shows resources. No I/O.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from gatepost.manage.use_cases.assignments import words
from gatepost.policy.connectors.record_base import Record, keys
from gatepost.policy.connectors.records import Organization

if TYPE_CHECKING:
    from gatepost.manage.use_cases.name_lookup import Part


_PARTIAL = """\
# A part of organization {}. `gatepost apply` makes an organization exactly what its file says, so put this into the
# whole one, as `gatepost export` prints it.
"""


def part_record(part: Part) -> dict[str, Any]:
    """For machines: its fields, and its table as a resource file has it."""
    return {
        "kind": part.kind.key,
        "organization": part.organization.name,
        "name": part.name,
        "fields": fields_of(part.record),
        "table": table_of(part.record),
    }


def part_toml(part: Part) -> str:
    """As a resource file has it: what was written, no more."""
    import tomlkit  # noqa: PLC0415 - lists and changes write none

    owner = part.organization.name
    return _PARTIAL.format(owner) + tomlkit.dumps({"organization": {owner: {part.kind.key: [table_of(part.record)]}}})


def part_command(part: Part) -> str:
    """The command that would add it, for a shell."""
    kind, table = part.kind, table_of(part.record)
    rest = words(kind.model, {key: value for key, value in table.items() if key != kind.identity})
    direction = [kind.key.partition("_")[0]] if kind.command == "connector" else []
    return _command(
        *kind.command.split(), "add", *direction, part.name, "--organization", part.organization.name, *rest
    )


def organization_record(organization: Organization) -> dict[str, Any]:
    """For machines: its own fields, what it is made of by name, and its table as a resource file has it."""
    table = _named_by_its_heading(organization)
    parts = {key: names for key in keys(Organization) if (names := _names(table.get(key))) is not None}
    return {
        "kind": "organization",
        "name": organization.name,
        "fields": fields_of(organization),
        "parts": parts,
        "table": table,
    }


def organization_toml(organization: Organization) -> str:
    """All of it, as a resource file has it."""
    import tomlkit  # noqa: PLC0415 - lists and changes write none

    return tomlkit.dumps({"organization": {organization.name: _named_by_its_heading(organization)}})


def organization_command(organization: Organization) -> str:
    """The command that would add it, without its parts."""
    return _command("organization", "add", organization.name, *words(Organization, own_table(organization)))


def table_of(record: Record) -> dict[str, Any]:
    """Its configured fields, as `policy.connectors.model.dump` has it."""
    return record.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)


def fields_of(record: Record) -> list[dict[str, Any]]:
    """Every field that is not a list of resources: its value in force, whether it was written, and what it means."""
    values = record.model_dump(mode="json", by_alias=True) | table_of(record)  # of a table inside, what was written
    return [
        {
            "field": key,
            "value": values[key],
            "written": name in record.model_fields_set,
            "meaning": info.description or "",
        }
        for (name, info), key in zip(type(record).model_fields.items(), keys(type(record)), strict=True)
        if info.alias is None
    ]


def own_table(organization: Organization) -> dict[str, Any]:
    """Configured fields of an organization without its parts: fast, however many there are."""
    parts = {key for key, info in keys(Organization).items() if info.alias is not None}
    return {
        key: value for key, value in table_of(without_parts(organization)).items() if key not in parts and key != "name"
    }


def without_parts(organization: Organization) -> Organization:
    """The same organization as if it had none."""
    return organization.model_copy(update={name: () for name, info in Organization.model_fields.items() if info.alias})


def _named_by_its_heading(organization: Organization) -> dict[str, Any]:
    return {key: value for key, value in table_of(organization).items() if key != "name"}


def _names(parts: Any) -> list[str] | None:
    if not isinstance(parts, list):
        return None
    return [str(part.get("name", part.get("address"))) for part in parts]


def _command(*parts: str) -> str:
    return shlex.join(["gatepost", *parts])
