"""One resource as it is printed: every field with its value and whether it was written, as TOML, or as the command.

Used by the `show` commands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gatepost.manage.cli.output import _, ours, print_table, printed_json
from gatepost.policy.connectors.trust_anchors import anchors_label

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost.manage.use_cases.name_lookup import Part
    from gatepost.policy.connectors.records import Organization


SHOW_CODES = "Exit codes: 0 found, 2 no such name, 3 the data cannot be read."
_NAMED = 20


def view_options[F: Callable[..., Any]](command: F) -> F:
    """Options for the form in which a resource is shown."""
    options = (
        click.option("--fields", "meaning", is_flag=True, help="Also explain each field."),
        click.option("--toml", "form", flag_value="toml", help="Print it as in a resource file, without defaults."),
        click.option("--command", "form", flag_value="command", help="Print the command that adds it."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def show_part(part: Part, *, form: str | None, meaning: bool) -> None:
    """Print a part of an organization. form: "toml", "command", or None for its fields."""
    from gatepost.manage.use_cases import part_record as part_record_cases  # noqa: PLC0415 - to list needs none

    record = part_record_cases.part_record(part)
    if printed_json(record):
        return
    if form == "toml":
        click.echo(part_record_cases.part_toml(part), nl=False)
    elif form == "command":
        click.echo(part_record_cases.part_command(part))
    else:
        _print_fields(record["fields"], meaning=meaning)


def show_organization(organization: Organization, *, form: str | None, meaning: bool) -> None:
    """Print an organization: its own fields, and what it is made of by name; as TOML, all of it."""
    from gatepost.manage.use_cases import part_record as part_record_cases  # noqa: PLC0415 - as above

    record = part_record_cases.organization_record(organization)
    if printed_json(record):
        return
    if form == "toml":
        click.echo(part_record_cases.organization_toml(organization), nl=False)
    elif form == "command":
        click.echo(part_record_cases.organization_command(organization))
    else:
        rows = [
            {"field": key, "value": _first(names), "written": True, "meaning": _("%(names)s in all", names=len(names))}
            for key, names in record["parts"].items()
        ]
        _print_fields([*record["fields"], *rows], meaning=meaning)


def _print_fields(fields: list[dict[str, Any]], *, meaning: bool) -> None:
    columns = ["field", "value", "set", *(["meaning"] if meaning else [])]
    rows = (
        [
            field["field"],
            _text(field["value"]),
            _("written") if field["written"] else _("default"),
            ours(field["meaning"]),
        ]
        for field in fields
    )
    print_table(columns, (row[: len(columns)] for row in rows))


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
            return anchors_label(str(value))


def _first(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (_(" and %(more)s more", more=more) if more > 0 else "")
