"""The blast radius of a change as commands print it: what it touches, and what it would have done to recent mail."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gatepost.manage.cli.tables import printable
from gatepost.manage.use_cases.blast_radius import kinds_also, peers_of
from gatepost.manage.use_cases.times import stamp as moment

if TYPE_CHECKING:
    from gatepost.analysis.rehearsal.blast_radius import Difference
    from gatepost.analysis.rehearsal.touched import Touched
    from gatepost.manage.use_cases.blast_radius import Radius


_SHOWN = 20
_PEERS = 5


def print_radius(radius: Radius) -> None:
    """For people: weaker protection and refused mail first."""
    change = radius.touched
    if not (change.inbound or change.outbound or change.content):
        click.echo("no mail would be decided differently")
        return
    _print_touched(change)
    for name in radius.unreadable:
        click.echo(f"{name} of the trace cannot be read, so some mail is not counted", err=True)
    for words, total, is_touched in (
        ("received", radius.found.inbound, change.inbound),
        ("delivered or sent on", radius.found.outbound, change.outbound),
    ):
        if is_touched and not total.messages:
            click.echo(f"no message was {words} since {moment(radius.since)}: the effect of the change is not known")
        elif is_touched:
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
    also = ", ".join(f"{kind}: {count}" for kind, count in kinds_also(difference))
    text = f"  {difference.direction}, {difference.kind}: {difference.messages}"
    click.echo(f"{text} (also {also})" if also else text)
    peers = peers_of(difference)
    shown = "; ".join(f"{printable(peer)} ({count})" for peer, count in peers[:_PEERS])
    rest = len(peers) - _PEERS + difference.unnamed
    click.echo(f"    {shown}{f'; and {rest} more' if rest > 0 else ''}")
    click.echo(f"    was: {printable(difference.before)}")
    click.echo(f"    now: {printable(difference.after)}")
    click.echo(f"    see: gatepost trace show {difference.sample}")


def _print_touched(change: Touched) -> None:
    for sign, label, fields in change.parts:
        click.echo(f"{_SIGNS[sign]} {label}{f' ({", ".join(fields)})' if fields else ''}")
    for words, patterns in (("senders", change.senders), ("recipients", change.recipients)):
        if patterns:
            click.echo(f"touches {words}: {_some(sorted(patterns))}")
    if change.content:
        click.echo(
            'the results of scanners for past mail are not known; to see their effect first, use mode = "rehearse"'
        )
