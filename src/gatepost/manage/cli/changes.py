"""Changes of the resources as commands print them, with their blast radius: the same lines for every command."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import click

from gatepost.manage.cli.output import _, ours, printable, printed_json, quantity, say
from gatepost.manage.use_cases.times import stamp as moment
from gatepost.texts import N_

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.analysis.rehearsal.blast_radius import Difference
    from gatepost.analysis.rehearsal.touched import Touched
    from gatepost.manage.use_cases.blast_radius import Radius
    from gatepost.manage.use_cases.change_shapes import ChangeReport
    from gatepost.manage.use_cases.differences import FieldChange


_OLD_WARNINGS = 20


def report(outcome: ChangeReport, *, standing: bool = False) -> None:
    """Print what changed, or would and what that would do, and the version that is in force now.

    standing: also what was to be thought about before the change.
    """
    print_warnings(outcome, standing=standing)
    for text in outcome.notes:
        say("note: %(text)s", err=True, text=ours(text))
    if outcome.nodes is not None:
        say("version %(version)s is %(text)s", err=True, version=outcome.version, text=ours(outcome.nodes.text))
    if printed_json(outcome):
        return
    print_changes(outcome.changes)
    if (radius := outcome.radius) is not None:
        click.echo("")
        print_radius(radius)
        click.echo("")
    if not outcome.changes:
        say("nothing to change; version %(version)s is in force", version=outcome.version)
    elif outcome.dry_run:
        say("%(changes)s, not applied (--dry-run)", changes=quantity(len(outcome.changes), "change"))
    else:
        say(
            "%(changes)s applied as version %(version)s",
            changes=quantity(len(outcome.changes), "change"),
            version=outcome.version,
        )


def print_changes(changes: Sequence[FieldChange]) -> None:
    """A line each."""
    for change in changes:
        click.echo(printable(change))


def print_warnings(outcome: ChangeReport, *, standing: bool) -> None:
    """Print warnings about a change, and with standing also those of before."""
    for text, *alike in _alike(outcome.warnings):
        say("warning: %(text)s", err=True, text=ours(text))
        if alike:
            names = ", ".join(printable(_name(other)) for other in alike[:_ALIKE])
            say("  the same of %(count)s more: %(names)s", err=True, count=len(alike), names=names)
    old = outcome.standing if standing else ()
    for text in old[:_OLD_WARNINGS]:
        say("warning, as before: %(text)s", err=True, text=ours(text))
    if len(old) > _OLD_WARNINGS:
        say("%(old)s, as before", err=True, old=quantity(len(old) - _OLD_WARNINGS, "more warning"))


def _alike(warnings: Sequence[str]) -> list[list[str]]:
    """Warnings, with those together that differ in the name of the resource alone, where these are many."""
    groups: dict[str, list[str]] = {}
    for text in warnings:
        groups.setdefault(_QUOTED.sub("", text, count=1), []).append(text)
    return [
        part for group in groups.values() for part in ([group] if len(group) > _ALIKE else [[text] for text in group])
    ]


def _name(warning: str) -> str:
    """The name that it is about."""
    match = _QUOTED.search(warning)
    return match[0] if match else warning


_ALIKE = 3
_QUOTED: Final = re.compile(r"'(?:[^'\\]|\\.)*'")
_SHOWN = 20
_PEERS = 5


_RECEIVED: Final = (
    N_("no message was received or refused since %(since)s: the effect of the change is not known"),
    N_("of %(messages)s received or refused since %(since)s, %(different)s would have been decided differently"),
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
    from gatepost.manage.use_cases.blast_radius import kinds_also, peers_of  # noqa: PLC0415 - who only lists needs none

    also = ", ".join(f"{kind}: {count}" for kind, count in kinds_also(difference))
    text = f"  {difference.direction}, {difference.kind}: {difference.messages}"
    click.echo(_("%(text)s (also %(also)s)", text=text, also=also) if also else text)
    peers = peers_of(difference)
    shown = "; ".join(f"{printable(peer)} ({count})" for peer, count in peers[:_PEERS])
    rest = len(peers) - _PEERS + difference.unnamed
    click.echo(f"    {shown}{_('; and %(rest)s more', rest=rest) if rest > 0 else ''}")
    say("    was: %(before)s", before=difference.before)
    say("    now: %(after)s", after=difference.after)
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
