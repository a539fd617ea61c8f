"""The blast radius of a change as commands print it: what it touches, and what it would have done to recent mail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from gatepost.manage.cli.language import _, quantity
from gatepost.manage.cli.tables import printable, say
from gatepost.manage.use_cases.blast_radius import kinds_also, peers_of
from gatepost.manage.use_cases.times import stamp as moment
from gatepost.texts import N_

if TYPE_CHECKING:
    from gatepost.analysis.rehearsal.blast_radius import Difference
    from gatepost.analysis.rehearsal.touched import Touched
    from gatepost.manage.use_cases.blast_radius import Radius


_SHOWN = 20
_PEERS = 5


_RECEIVED: Final = (
    N_("no message was received since %(since)s: the effect of the change is not known"),
    N_("of %(messages)s received since %(since)s, %(different)s would have been decided differently"),
)
_SENT: Final = (
    N_("no message was delivered or sent on since %(since)s: the effect of the change is not known"),
    N_("of %(messages)s delivered or sent on since %(since)s, %(different)s would have been decided differently"),
)


def print_radius(radius: Radius) -> None:
    """For people: weaker protection and refused mail first."""
    change = radius.touched
    if not (change.inbound or change.outbound or change.content):
        say("no mail would be decided differently")
        return
    _print_touched(change)
    for name in radius.unreadable:
        say("%(name)s of the trace cannot be read, so some mail is not counted", err=True, name=name)
    for (nothing, some), total, is_touched in (
        (_RECEIVED, radius.found.inbound, change.inbound),
        (_SENT, radius.found.outbound, change.outbound),
    ):
        messages, since = quantity(total.messages, "message"), moment(radius.since)
        if is_touched:
            text = some if total.messages else nothing
            click.echo(_(text, messages=messages, since=since, different=total.different))
    for difference in radius.found.differences():
        _print_difference(difference)


_SIGNS = {"+": N_("adds"), "-": N_("removes"), "~": N_("changes")}


def _some(items: list[str]) -> str:
    rest = len(items) - _SHOWN
    return ", ".join(items[:_SHOWN]) + (_(" and %(rest)s more", rest=rest) if rest > 0 else "")


def _print_difference(difference: Difference) -> None:
    also = ", ".join(f"{kind}: {count}" for kind, count in kinds_also(difference))
    text = f"  {difference.direction}, {difference.kind}: {difference.messages}"
    click.echo(_("%(text)s (also %(also)s)", text=text, also=also) if also else text)
    peers = peers_of(difference)
    shown = "; ".join(f"{printable(peer)} ({count})" for peer, count in peers[:_PEERS])
    rest = len(peers) - _PEERS + difference.unnamed
    click.echo(f"    {shown}{_('; and %(rest)s more', rest=rest) if rest > 0 else ''}")
    say("    was: %(before)s", before=printable(difference.before))
    say("    now: %(after)s", after=printable(difference.after))
    say("    see: gatepost trace show %(sample)s", sample=difference.sample)


def _print_touched(change: Touched) -> None:
    for sign, label, fields in change.parts:
        click.echo(f"{_(_SIGNS[sign])} {label}{f' ({", ".join(fields)})' if fields else ''}")
    senders, recipients = (_some(sorted(patterns)) for patterns in (change.senders, change.recipients))
    if senders:
        say("touches senders: %(patterns)s", patterns=senders)
    if recipients:
        say("touches recipients: %(patterns)s", patterns=recipients)
    if change.content:
        say('the results of scanners for past mail are not known; to see their effect first, use mode = "rehearse"')
