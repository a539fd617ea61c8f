"""The blast radius of a change as commands print it: what it touches, and what it would have done to recent mail.

Used where `--dry-run` is: by `apply` in `cli.resources`, and for single resources by `cli.edit`. Reads the trace,
changes nothing.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from gatepost.cli.changes import as_rows, print_changes
from gatepost.cli.tables import moment, print_json, printable
from gatepost.connectors.match import Directory
from gatepost.reports.blast_radius import COLUMNS, BlastRadius, Kind, blast_radius
from gatepost.reports.replay import INBOUND, OUTBOUND
from gatepost.reports.touched import Touched, touched
from gatepost.store.interface import TraceFilter
from gatepost.store.trace_search import scan_trace

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gatepost.cli.changes import FieldChange
    from gatepost.connectors.model import Resources
    from gatepost.reports.blast_radius import Difference
    from gatepost.settings.model import Settings

__all__ = ["Radius", "find_radius", "print_radius", "radius_json", "report_rehearsed"]

_SHOWN = 20
_PEERS = 5


class Radius(NamedTuple):
    """since, until: seconds since 1970. unreadable: files of the trace."""

    since: float
    until: float
    touched: Touched
    found: BlastRadius
    unreadable: list[str]


def find_radius(settings: Settings, before: Resources, after: Resources, since: float) -> Radius:
    """What a change touches, and what it would have done to the mail in the trace."""
    change, until, unreadable = touched(before, after), time.time(), list[str]()
    events = (*(INBOUND if change.inbound else ()), *(OUTBOUND if change.outbound else ()))
    found = BlastRadius()
    if events:
        trace = Path(settings.server.data_dir) / "trace"
        wanted = TraceFilter(since=since, until=until)
        rows = scan_trace(trace, wanted, COLUMNS, events=events, unreadable=unreadable)
        found = blast_radius(rows, Directory(before), Directory(after), settings.tls.profile)
    return Radius(since, until, change, found, unreadable)


def report_rehearsed(changes: Sequence[FieldChange], version: int, radius: Radius, *, as_json: bool) -> None:
    """Print what a change would be and do. version: the one in force, which stays so."""
    if as_json:
        rows = {"version": version, "dry_run": True, "changes": as_rows(changes)}
        print_json(rows | {"blast_radius": radius_json(radius)})
        return
    print_changes(changes)
    click.echo("")
    print_radius(radius)
    click.echo("")
    click.echo(f"{len(changes)} change(s), not applied (--dry-run)")


def print_radius(radius: Radius) -> None:
    """For people: weaker protection and refused mail first."""
    change = radius.touched
    if not (change.inbound or change.outbound or change.content):
        click.echo("no mail can be decided differently")
        return
    _print_touched(change)
    for name in radius.unreadable:
        click.echo(f"{name} of the trace cannot be read, so that some mail is not counted", err=True)
    for words, total, asked in (
        ("received", radius.found.inbound, change.inbound),
        ("delivered or sent on", radius.found.outbound, change.outbound),
    ):
        if asked and not total.messages:
            click.echo(f"no message was {words} since {moment(radius.since)}: what it does to mail cannot be told")
        elif asked:
            click.echo(
                f"of {total.messages} messages {words} since {moment(radius.since)}, {total.different} would have been "
                "decided differently"
            )
    for difference in radius.found.differences():
        _print_difference(difference)


_SIGNS = {"+": "adds", "-": "removes", "~": "changes"}


def _some(items: list[str]) -> str:
    rest = len(items) - _SHOWN
    return ", ".join(items[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def _print_difference(difference: Difference) -> None:
    also = ", ".join(f"{kind}: {count}" for kind, count in _also(difference))
    found = f"  {difference.direction}, {difference.kind}: {difference.messages}"
    click.echo(f"{found} (also {also})" if also else found)
    peers = _peers(difference)
    shown = "; ".join(f"{printable(peer)} ({count})" for peer, count in peers[:_PEERS])
    rest = len(peers) - _PEERS
    click.echo(f"    {shown}{f'; and {rest} more' if rest > 0 else ''}")
    click.echo(f"    was: {printable(difference.before)}")
    click.echo(f"    now: {printable(difference.after)}")
    click.echo(f"    see: gatepost trace show {difference.sample}")


def _also(difference: Difference) -> list[tuple[str, int]]:
    """Gravest first."""
    return [(str(kind), difference.also[kind]) for kind in Kind if difference.also[kind] > 0]


def _peers(difference: Difference) -> list[tuple[str, int]]:
    """Most messages first. Messages that were found to differ more gravely leave their peer behind with none."""
    return [(peer, count) for peer, count in difference.peers.most_common() if count > 0]


def _print_touched(change: Touched) -> None:
    for sign, label, fields in change.parts:
        click.echo(f"{_SIGNS[sign]} {label}{f' ({", ".join(fields)})' if fields else ''}")
    for words, patterns in (("senders", change.senders), ("recipients", change.recipients)):
        if patterns:
            click.echo(f"touches {words}: {_some(sorted(patterns))}")
    if change.content:
        click.echo('what scanners would have said of past mail cannot be told: see it with mode = "rehearse"')


def radius_json(radius: Radius) -> dict[str, Any]:
    """For machines."""
    change, found = radius.touched, radius.found
    return {
        "since": radius.since,
        "until": radius.until,
        "parts": [{"sign": sign, "part": label, "fields": list(fields)} for sign, label, fields in change.parts],
        "senders": sorted(change.senders),
        "recipients": sorted(change.recipients),
        "inbound": {"messages": found.inbound.messages, "different": found.inbound.different},
        "outbound": {"messages": found.outbound.messages, "different": found.outbound.different},
        "differences": list(_rows(found.differences())),
        "unreadable": radius.unreadable,
    }


def _rows(differences: Iterable[Difference]) -> Iterable[dict[str, Any]]:
    for one in differences:
        yield {
            "direction": one.direction,
            "kind": str(one.kind),
            "messages": one.messages,
            "also": [{"kind": kind, "messages": count} for kind, count in _also(one)],
            "peers": [{"peer": peer, "messages": count} for peer, count in _peers(one)[:_SHOWN]],
            "sample": one.sample,
            "before": one.before,
            "after": one.after,
        }
