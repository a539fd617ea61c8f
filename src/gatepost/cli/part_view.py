"""One resource as it is printed: every field with its value and whether it was written, as TOML, or as the command.

Used by the `show` commands.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import click
import tomlkit

from gatepost.administration.assignments import words
from gatepost.cli.tables import print_json, print_table
from gatepost.connectors.fields import keys
from gatepost.connectors.model import Organization

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost.administration.parts import Part
    from gatepost.connectors.fields import Record

__all__ = ["show_organization", "show_part", "view_options"]

_NAMED = 20
_PARTIAL = """\
# A part of organization {}. `gatepost apply` makes an organization exactly what its file says, so put this into the
# whole one, as `gatepost export` prints it.
"""


def view_options[F: Callable[..., Any]](command: F) -> F:
    """How a resource is shown."""
    options = (
        click.option("--fields", "meaning", is_flag=True, help="Also what each field means."),
        click.option("--toml", "form", flag_value="toml", help="As a resource file has it: what was written, no more."),
        click.option("--command", "form", flag_value="command", help="As the command that would add it."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def show_part(part: Part, *, form: str | None, meaning: bool, as_json: bool) -> None:
    """Print a part of an organization. form: "toml", "command", or None for its fields."""
    owner, kind = part.organization.name, part.kind
    table = _written(part.record)
    if as_json:
        print_json(
            {"kind": kind.key, "organization": owner, "name": part.name, "fields": _fields(part.record), "table": table}
        )
    elif form == "toml":
        click.echo(_PARTIAL.format(owner) + _toml({"organization": {owner: {kind.key: [table]}}}), nl=False)
    elif form == "command":
        rest = words(kind.model, {key: value for key, value in table.items() if key != kind.identity})
        direction = [kind.key.partition("_")[0]] if kind.command == "connector" else []
        _print_command([*kind.command.split(), "add", *direction, part.name, "--organization", owner, *rest])
    else:
        _print_fields(_fields(part.record), meaning=meaning)


def show_organization(one: Organization, *, form: str | None, meaning: bool, as_json: bool) -> None:
    """Print an organization: its own fields, and what it is made of by name; as TOML, all of it."""
    table = _written(one)
    table.pop("name")
    parts = {key: names for key in keys(Organization) if (names := _names(table.get(key))) is not None}
    if as_json:
        print_json({"kind": "organization", "name": one.name, "fields": _fields(one), "parts": parts, "table": table})
    elif form == "toml":
        click.echo(_toml({"organization": {one.name: table}}), nl=False)
    elif form == "command":
        _print_command(["organization", "add", one.name, *words(Organization, table)])
    else:
        rows = [
            {"field": key, "value": _first(names), "written": True, "meaning": f"{len(names)} of them"}
            for key, names in parts.items()
        ]
        _print_fields([*_fields(one), *rows], meaning=meaning)


def _written(record: Record) -> dict[str, Any]:
    """As `connectors.model.dump` has it."""
    return record.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)


def _fields(record: Record) -> list[dict[str, Any]]:
    """Every field that is no list of resources: its value in force, and whether it was written."""
    values = record.model_dump(mode="json", by_alias=True) | _written(record)  # of a table inside, what was written
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


def _print_fields(fields: list[dict[str, Any]], *, meaning: bool) -> None:
    columns = ["field", "value", "set", *(["meaning"] if meaning else [])]
    rows = [
        [one["field"], _text(one["value"]), "written" if one["written"] else "default", one["meaning"]]
        for one in fields
    ]
    print_table(columns, [row[: len(columns)] for row in rows])


def _text(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case list():
            return ", ".join(map(str, value))
        case dict():
            return ", ".join(f"{key}={inner}" for key, inner in value.items())
        case _:
            return str(value)


def _names(parts: Any) -> list[str] | None:
    if not isinstance(parts, list):
        return None
    return [str(part.get("name", part.get("address"))) for part in parts]


def _first(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _toml(document: dict[str, Any]) -> str:
    return tomlkit.dumps(document)


def _print_command(parts: list[str]) -> None:
    click.echo(shlex.join(["gatepost", *parts]))
