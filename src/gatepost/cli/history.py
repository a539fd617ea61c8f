"""`gatepost history`: who changed the resources, when and why, and what one version changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gatepost.administration.history import (
    change_record,
    change_summary,
    version_changes,
    version_record,
)
from gatepost.administration.history import history as newest
from gatepost.administration.refusal import Kind, Refusal
from gatepost.cli.changes import print_changes
from gatepost.cli.options import NO, administrator, config_option, fail, gateway_of, json_option
from gatepost.cli.tables import moment, print_json, print_table, printable

if TYPE_CHECKING:
    from gatepost.store.changes import Change

__all__ = ["history"]

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
    found = newest(gateway_of(config), administrator(), organization=organization, limit=limit)
    if as_json:
        print_json([change_record(one) for one in found])
    else:
        print_table(_COLUMNS, [_row(one) for one in found])


@history.command()
@click.argument("version", type=click.IntRange(1))
@config_option
@json_option
def show(version: int, config: str | None, as_json: bool) -> None:
    """What VERSION changed, in the form of `gatepost apply`. Exit codes: 0 found, 1 no such version, 3 not readable."""
    try:
        one, changes = version_changes(gateway_of(config), administrator(), version)
    except Refusal as refusal:
        if refusal.kind is not Kind.MISSING:
            raise
        fail(NO, refusal.text)
    if as_json:
        print_json(version_record(one, changes))
        return
    note = f": {one.note}" if one.note else ""
    click.echo(printable(f"version {version}, {moment(one.at)}, by {one.author}{note}"), err=True)
    print_changes(changes)


def _row(change: Change) -> tuple[object, ...]:
    return change.version, moment(change.at), change.author, change.name, change_summary(change), change.note
