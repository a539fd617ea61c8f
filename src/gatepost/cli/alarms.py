"""`gatepost alarms`, and `gatepost certificate alarms`: what is wrong, or soon will be, and what to do about it.

Shows what the running gateway found when it last looked (`node.alarms`), and judges anew what needs no look: ends of
validity, names, what is staged. It asks nobody and changes nothing. `gatepost status` has it as one line.
"""

from __future__ import annotations

import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gatepost.administration.inventory import settings_files
from gatepost.alarms.alarm import Alarm, Severity
from gatepost.alarms.course import ALARMS_CONTENT, Memory, advance, decoded
from gatepost.certificates.alarms import Observed, judge, undecided, watched
from gatepost.certificates.inventory import Inventory
from gatepost.certificates.listed import listed
from gatepost.checks.alarm_subjects import connector_files, failing_renewals, scope_of
from gatepost.cli.options import NO, UNKNOWN, config_option, fail, json_option, settings_of
from gatepost.cli.tables import moment, print_json, printable
from gatepost.connectors.model import ResourceErrors, parse
from gatepost.store.changes import ConfigStore
from gatepost.store.interface import StoreFailure

if TYPE_CHECKING:
    from gatepost.settings.model import Settings

__all__ = ["Found", "alarms", "certificate_alarms", "found_alarms", "summary"]

_STALE = 26 * 3600.0  # seconds: a gateway that runs looks once a day
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Found:
    """alarms: the gravest first. looked: when the world was last looked at, 0.0 for never. unknown: sentences."""

    alarms: tuple[Alarm, ...]
    looked: float
    unknown: tuple[str, ...]


@click.command()
@config_option
@json_option
def alarms(config: str | None, as_json: bool) -> None:
    """What is wrong, or soon will be, and what to do about it: partners, queue, TLS, certificates. The gravest first.

    A running gateway looks at mail every minute ([alarms] look) and at certificates once a day, every hour while
    something is wrong, and after each change; the log, mail to [alarms] mail_to and posts to [alarms] webhook tell the
    same.

    Exit codes: 0 nothing, 1 there are alarms, 2 settings, 3 not readable, or not all of it could be told.
    """
    _tell(_found(config), as_json=as_json)


@click.command("alarms")
@config_option
@json_option
def certificate_alarms(config: str | None, as_json: bool) -> None:
    """What is wrong with the certificates, or soon will be, and what to do about it: the gravest first.

    The part of `gatepost alarms` that is about certificates. A running gateway looks once a day, every hour while
    something is wrong, and after each change.

    Exit codes: 0 nothing, 1 there are alarms, 2 settings, 3 not readable, or not all of it could be told.
    """
    found = _found(config)
    own = tuple(one for one in found.alarms if not one.kind.of_mail)
    _tell(replace(found, alarms=own), as_json=as_json)


def _found(config: str | None) -> Found:
    try:
        return found_alarms(settings_of(config), time.time())
    except StoreFailure as failure:
        fail(UNKNOWN, str(failure))


def _tell(found: Found, *, as_json: bool) -> None:
    """Print it, and end with what it means."""
    if as_json:
        print_json(
            {
                "alarms": [_record(one) for one in found.alarms],
                "looked": found.looked or None,
                "unknown": list(found.unknown),
            }
        )
    else:
        _print(found)
    if found.alarms:
        raise SystemExit(NO)
    if found.unknown:
        raise SystemExit(UNKNOWN)


def found_alarms(settings: Settings, now: float) -> Found:
    """What stands at `now`. Raises StoreFailure if the store, or what is in it, cannot be read."""
    try:
        with closing(ConfigStore(Path(settings.server.data_dir) / "config.db")) as store:
            certificates = listed(Inventory(store, None), settings_files(settings), now=now)
            organizations = parse(store.load()[1], prefixes=settings.limits.prefixes()).organizations
            memory = decoded(store.content(ALARMS_CONTENT))
            scope = scope_of(organizations, settings)
            observed = Observed(renewals=failing_renewals(settings, store, scope))
    except (StoreFailure, ResourceErrors, ValueError) as failure:
        raise StoreFailure(f"{settings.server.data_dir}: {failure}") from failure
    entries = connector_files(organizations, now) | certificates.entries
    judged = judge(entries, scope, observed, troubles=memory.troubles, roots=memory.roots, now=now)

    def is_open(alarm: Alarm) -> bool:
        """What mail shows only the running gateway knows."""
        return alarm.kind.of_mail or undecided(alarm, entries, scope, observed)

    memory, _ = advance(memory, judged, is_open, now=now)
    order = tuple(Severity)
    standing = sorted(memory.alarms, key=lambda one: (-order.index(one.severity), one.since))
    unknown = (*certificates.trouble, *_unknown(memory, now)) if watched(entries, scope) else certificates.trouble
    return Found(tuple(standing), memory.looked, unknown)


def _unknown(memory: Memory, now: float) -> tuple[str, ...]:
    if not memory.looked:
        return ("revocation, TLSA records and addresses were never looked at: the gateway does that when it runs",)
    if now > memory.looked + _STALE:
        return (f"the last look was at {moment(memory.looked)}: the gateway does that when it runs",)
    return memory.unknown


def summary(found: Found, command: str = "gatepost alarms") -> str:
    """One line: how many alarms, the gravest one, and which command says more."""
    if not found.alarms:
        return f"not all can be told: {found.unknown[0]}" if found.unknown else "no alarms"
    counts = Counter(one.severity for one in found.alarms)
    many = ", ".join(f"{counts[one]} {one}" for one in reversed(tuple(Severity)) if counts[one])
    return f"{many}: {found.alarms[0].title} ({command})"


def _record(one: Alarm) -> dict[str, Any]:
    return {
        "kind": str(one.kind),
        "severity": str(one.severity),
        "certificate": one.certificate or None,
        "about": one.about or None,
        "title": one.title,
        "detail": one.detail,
        "fix": one.fix,
        "lines": list(one.lines),
        "since": one.since,
    }


def _print(found: Found) -> None:
    for number, one in enumerate(found.alarms):
        if number:
            click.echo()
        click.echo(printable(f"{str(one.severity).upper():9}{one.title}"))
        told = [("", one.detail), ("fix", one.fix), *(("", f"  {line}") for line in one.lines)]
        for name, text in (*told, ("since", moment(one.since)), ("kind", str(one.kind))):
            click.echo(printable(f"{name:>8} {text}".rstrip()))
    for sentence in found.unknown[:_SHOWN]:
        click.echo(f"unknown: {printable(sentence)}", err=True)
    if not found.alarms and not found.unknown:
        looked = f", looked at {moment(found.looked)}" if found.looked else ""
        click.echo(f"no alarms{looked}", err=True)
