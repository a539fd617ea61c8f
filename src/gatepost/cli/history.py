"""`gatepost history`: who changed the resources, when and why, and what one version changed."""

from __future__ import annotations

import re
from contextlib import closing
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gatepost.administration.differences import changes_record, differences
from gatepost.cli.changes import print_changes
from gatepost.cli.options import NO, UNKNOWN, config_option, fail, json_option, settings_of
from gatepost.cli.tables import moment, print_json, print_table, printable
from gatepost.store.changes import ConfigStore
from gatepost.store.interface import StoreFailure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.administration.differences import FieldChange
    from gatepost.store.changes import Change

__all__ = ["history"]

# a part, named as repr writes its name
_NAMED = re.compile(r"""\w+\[(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")\]""")
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
    found = _changes(config, name=organization, limit=limit)
    if as_json:
        print_json([_as_json(one) for one in found])
    else:
        print_table(_COLUMNS, [_row(one) for one in found])


@history.command()
@click.argument("version", type=click.IntRange(1))
@config_option
@json_option
def show(version: int, config: str | None, as_json: bool) -> None:
    """What VERSION changed, in the form of `gatepost apply`. Exit codes: 0 found, 1 no such version, 3 not readable."""
    found = _changes(config, version=version, limit=-1)
    if not found:
        fail(NO, f"there is no version {version}; `gatepost history` lists those there are")
    changes = [one for change in reversed(found) for one in _differences(change)]  # as they were applied
    if as_json:
        one = found[0]
        print_json(
            {
                "version": version,
                "at": one.at,
                "author": one.author,
                "note": one.note,
                "changes": changes_record(changes),
            }
        )
        return
    note = f": {found[0].note}" if found[0].note else ""
    click.echo(printable(f"version {version}, {moment(found[0].at)}, by {found[0].author}{note}"), err=True)
    print_changes(changes)


def _changes(config: str | None, **wanted: Any) -> list[Change]:
    data_dir = settings_of(config).server.data_dir
    try:
        with closing(ConfigStore(Path(data_dir) / "config.db")) as store:
            return store.history("organization", **wanted)
    except StoreFailure as failure:
        fail(UNKNOWN, f"{data_dir}: {failure}")


def _differences(change: Change) -> list[FieldChange]:
    stored = {} if change.before is None else {change.name: change.before}
    return differences({"organization": stored}, {"organization": {change.name: change.after}})


def _as_json(change: Change) -> dict[str, Any]:
    return {
        "version": change.version,
        "at": change.at,
        "author": change.author,
        "organization": change.name,
        "note": change.note,
        "changes": len(_differences(change)),
    }


def _row(change: Change) -> tuple[object, ...]:
    return change.version, moment(change.at), change.author, change.name, _summary(change), change.note


def _summary(change: Change) -> str:
    """Added, removed, or which parts are different, and in how many fields."""
    if change.before is None:
        return "added"
    if change.after is None:
        return "removed"
    return ", ".join(_counted(_differences(change)))


def _counted(changes: Sequence[FieldChange]) -> list[str]:
    """Each resource that changed, and how: "outbound_connector['bank-out'] changed"."""
    signs = {"+": "added", "-": "removed", "~": "changed"}
    found = []
    for place, group in groupby(changes, key=lambda one: _place(one.path)):
        members = list(group)
        whole = len(members) == 1 and members[0].path.endswith("]")
        found.append(f"{place} {signs[members[0].sign] if whole else 'changed'}")
    return found


def _place(path: str) -> str:
    """The resource that a path is in, less the organization: "outbound_connector['bank-out']", "message_expiration"."""
    rest = path.split(".", 2)[2]
    found = _NAMED.match(rest)
    return found[0] if found else rest
