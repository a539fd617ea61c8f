"""`gatepost history`: who changed the resources, when and why, and what one version changed."""

from __future__ import annotations

from typing import Any

import click

from gatepost.manage.cli.changes import print_changes
from gatepost.manage.cli.door import door
from gatepost.manage.cli.options import NO, config_option, fail, json_option
from gatepost.manage.cli.tables import print_json, print_table, printable
from gatepost.manage.use_cases.differences import changes_of
from gatepost.manage.use_cases.history import history_records, version_records
from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.manage.use_cases.times import stamp as moment

_COLUMNS = ("version", "at", "author", "organization", "change", "note")


@click.group(invoke_without_command=True)
@click.option("--organization", default="", help="Only changes of this one.")
@click.option("--limit", default=20, type=click.IntRange(1, 10_000), show_default=True, help="At most so many.")
@config_option
@json_option
@click.pass_context
def history(context: click.Context, organization: str, limit: int, config: str | None, as_json: bool) -> None:
    """Who changed the resources, when and why: the newest first.

    `gatepost history show VERSION` prints what one version changed. Exit codes: 0 done (also if there is nothing),
    2 wrong use, 3 not readable.
    """
    if context.invoked_subcommand:
        return
    found = door(config)(history_records, organization=organization, limit=limit)
    if as_json:
        print_json(found)
    else:
        print_table(_COLUMNS, [_row(one) for one in found])


@history.command()
@click.argument("version", type=click.IntRange(1))
@config_option
@json_option
def show(version: int, config: str | None, as_json: bool) -> None:
    """What VERSION changed, in the form of `gatepost apply`. Exit codes: 0 found, 1 no such version, 3 not readable."""
    try:
        one = door(config)(version_records, version)
    except Refusal as refusal:
        if refusal.kind is not Kind.MISSING:
            raise
        fail(NO, refusal.text)
    if as_json:
        print_json(one)
        return
    note = f": {one['note']}" if one["note"] else ""
    click.echo(printable(f"version {version}, {moment(one['at'])}, by {one['author']}{note}"), err=True)
    print_changes(changes_of(one["changes"]))


def _row(change: dict[str, Any]) -> tuple[object, ...]:
    at, rest = moment(change["at"]), ("author", "organization", "summary", "note")
    return change["version"], at, *(change[key] for key in rest)
