"""`gatepost history`: who changed the resources, when and why, what one version changed, and the way back to it."""

from __future__ import annotations

import click
import msgspec

from gatepost.manage.cli.changes import print_changes, report
from gatepost.manage.cli.edit import ChangeArguments, change_options
from gatepost.manage.cli.options import client, gateway_options
from gatepost.manage.cli.output import _, ours, print_rows, printable, printed_json, say
from gatepost.manage.cli.request_options import request_options
from gatepost.manage.use_cases.client import all_items
from gatepost.manage.use_cases.history import GetVersion, HistoryEntry, ListHistory, get_version, list_history
from gatepost.manage.use_cases.resource_actions import RevertResources, revert_resources
from gatepost.manage.use_cases.times import stamp as moment

_COLUMNS = ("version", "at", "author", "organization", "change", "note")


@click.group(invoke_without_command=True)
@request_options(ListHistory)
@click.option(
    "--limit", default=20, type=click.IntRange(1, 10_000), show_default=True, help="Maximum number of entries."
)
@gateway_options
@click.pass_context
def history(context: click.Context, request: ListHistory, limit: int) -> None:
    """Show who changed the resources, when and why, the newest first.

    `gatepost history show VERSION` prints what one version changed. Versions that are not listed changed certificates:
    `gatepost certificate history` has them.

    Exit codes: 0 done (also if there are no entries),
    2 usage error, 3 the data cannot be read.
    """
    if context.invoked_subcommand:
        return
    print_rows(_COLUMNS, all_items(client().call, list_history, request, limit), _row)


@history.command()
@click.argument("version", type=click.IntRange(1))
@gateway_options
def show(version: int) -> None:
    """Show what VERSION changed, in the format of `gatepost apply`.

    Exit codes: 0 found, 2 no such version, 3 the data cannot be read.
    """
    history_version = client().call(get_version, GetVersion(version=str(version)))
    if printed_json(history_version):
        return
    note = f": {history_version.note}" if history_version.note else ""
    say(
        "version %(version)s, %(at)s, by %(author)s%(note)s",
        err=True,
        version=version,
        at=moment(history_version.at),
        author=history_version.author,
        note=note,
    )
    print_changes(history_version.changes)


@history.command()
@request_options(RevertResources, note="", since="7d")
@change_options
def revert(request: RevertResources, arguments: ChangeArguments) -> None:
    """Restore the resources as they were at VERSION, as a new version.

    With --dry-run it prints what would change, and whose changes would be taken back. Keys and passwords that were
    removed do not come back.

    Exit codes: 0 done (also if nothing differs), 1 refused, 2 usage error, 3 the data cannot be read.
    """
    request = msgspec.structs.replace(request, **arguments.fields)
    outcome = client().call(revert_resources, request, dry_run=arguments.dry_run).value
    for entry in outcome.undone if outcome.changes else ():
        note = f": {entry.note}" if entry.note else ""
        text = _(
            "takes back version %(version)s, %(at)s, by %(author)s, %(organization)s%(note)s",
            version=entry.version,
            at=moment(entry.at),
            author=entry.author,
            organization=entry.organization,
            note=note,
        )
        click.echo(printable(f"{text} ({ours(entry.summary)})"), err=True)
    report(outcome)


def _row(entry: HistoryEntry) -> tuple[object, ...]:
    return entry.version, moment(entry.at), entry.author, entry.organization, ours(entry.summary), entry.note
