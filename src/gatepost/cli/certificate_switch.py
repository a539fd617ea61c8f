"""`gatepost certificate changeover stage|switch|cancel|roll-back|withdraw`: the steps that change something."""

from __future__ import annotations

import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from gatepost.certificates import course
from gatepost.certificates.entry import State, entry_id
from gatepost.checks.gates import Light, gates_record
from gatepost.checks.partner_report import Mark
from gatepost.cli.certificate_changeover_text import print_gates
from gatepost.cli.certificate_gates import gates_of, opened_for_look, scene_of, stored_step, tlsa_of
from gatepost.cli.certificate_store import choose_certificate, listed_certificates, opened
from gatepost.cli.options import BAD_INPUT, NO, UNKNOWN, config_option, fail, force_option, json_option, settings_of
from gatepost.cli.tables import moment, print_json
from gatepost.cli.times import AHEAD
from gatepost.net.identity import read_identity

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gatepost.certificates.entry import Entry
    from gatepost.certificates.inventory import Inventory
    from gatepost.certificates.listed import Listed
    from gatepost.checks.gates import GateReport

__all__ = ["cancel", "roll_back", "stage", "switch", "withdraw"]


@click.command()
@click.argument("number", metavar="ID")
@click.option(
    "--replaces", "named", multiple=True, metavar="ID", help="It takes the place of this one too. Repeatable."
)
@config_option
@json_option
def stage(number: str, named: tuple[str, ...], config: str | None, as_json: bool) -> None:
    """Say which current certificates a next one takes the place of, where that is not plain by names and kind of key.

    `gatepost certificate add` has staged it already. A deprecated one is staged once more: the way back to it when the
    24 hours of `changeover roll-back` are over.

    Exit codes: 0 done, 1 refused, 2 no such certificate, 3 not readable.
    """
    settings = settings_of(config)
    with opened(settings, keys=False) as inventory:
        found = listed_certificates(inventory, settings)
        entry = choose_certificate(found, number)
        others = [choose_certificate(found, one) for one in named]

        def step(one: Entry, known: Mapping[str, Entry]) -> tuple[Entry, ...]:
            ready = course.revive(one, known, now=time.time()) if one.state is State.DEPRECATED else one
            return (course.stage(ready, known, [known[other.id] for other in others]),)

        (changed,) = stored_step(settings, inventory, entry.id, step, "changeover: staged")
    _say(as_json, {"id": entry.id, "replaces": list(changed.replaces)}, _replacing(changed.replaces, "will take"))


@click.command()
@click.argument("number", metavar="ID")
@click.option("--at", type=AHEAD, metavar="TIME", help="Then, by the running gateway: 2026-12-01T02:00 (UTC), or 2h.")
@force_option("Whatever the gates say. The reason is in the history.")
@config_option
@json_option
def switch(number: str, at: float | None, force: str, config: str | None, as_json: bool) -> None:
    """Present a staged certificate to new sessions, now or at a time. Running sessions keep what they have.

    The gates are looked at first, and with --at once more when the time has come; while one is red nothing is switched
    but with --force. A running gateway presents it in all workers within two seconds. For 24 hours `changeover
    roll-back` takes it back.

    Exit codes: 0 done, or planned; 1 a gate is red, or refused; 2 wrong use or no such certificate; 3 a gate could not
    be looked at.
    """
    settings, planned = settings_of(config), at is not None
    if at is not None and at <= time.time():
        fail(BAD_INPUT, f"--at {moment(at)} is in the past; to switch now, leave it out")
    with opened_for_look(settings) as inventory:
        found = listed_certificates(inventory, settings)
        entry = choose_certificate(found, number)
        if entry.state is not State.NEXT:
            fail(NO, f"{entry.id} is {entry.state}: only a next certificate can be switched to")
        report = gates_of(settings, inventory, entry, scene_of(settings, found))
        if not planned and (report.unusable or (report.light is not Light.GREEN and not force)):
            _refuse(report, as_json=as_json)
        note = f"; forced: {force} ({report.reasons or 'all gates were open'})" if force else ""
        run = partial(stored_step, settings, inventory, entry.id)
        changed = _planned(run, at, force, note) if planned else _switched(run, force, note)
    _tell_switch(changed, report, as_json=as_json)


def _refuse(report: GateReport, *, as_json: bool) -> None:
    if as_json:
        print_json({"id": report.entry.id, "switched": False, "planned": None, "gates": gates_record(report)})
    else:
        print_gates(report)
    what = "a gate is red" if report.light is Light.RED else "a gate could not be looked at"
    instead = "; nothing overrides this one" if report.unusable else ", or --force REASON"
    click.echo(f"not switched: {what}; mend it{instead}", err=True)
    sys.exit(NO if report.light is Light.RED else UNKNOWN)


def _planned(run: Callable[..., tuple[Entry, ...]], at: float | None, force: str, note: str) -> tuple[Entry, ...]:
    when = at or 0.0
    return run(
        lambda one, _: (course.schedule(one, when, now=time.time(), forced=force),),
        f"changeover: planned for {moment(when)}{note}",
    )


def _switched(run: Callable[..., tuple[Entry, ...]], force: str, note: str) -> tuple[Entry, ...]:
    return run(
        lambda one, known: course.switch(one, known, now=time.time(), losing=bool(force)), f"changeover: switched{note}"
    )


def _tell_switch(changed: Sequence[Entry], report: GateReport, *, as_json: bool) -> None:
    new, *olds = changed
    planned = new.state is State.NEXT
    record = {
        "id": new.id,
        "switched": not planned,
        "planned": new.switch_at or None,
        "replaced": [one.id for one in olds],
        "gates": gates_record(report),
    }
    if planned:
        how = "whatever the gates but the key's say then" if new.forced else "if the gates are open then"
        text = f"{new.id} becomes current at {moment(new.switch_at)}, {how}"
        if report.light is not Light.GREEN and not new.forced:
            text += f"\nnow they are not: {report.reasons}"
    else:
        text = f"{new.id} is current{_replacing([one.id for one in olds], ', and took')}"
        if olds:
            text += (
                f"\nto take it back until {moment(course.roll_back_until(new))}: "
                "gatepost certificate changeover roll-back"
            )
    _say(as_json, record, text)


@click.command()
@click.argument("number", metavar="[ID]", default="")
@config_option
@json_option
def cancel(number: str, config: str | None, as_json: bool) -> None:
    """Forget the time of a planned switch. ID may be left out if one alone is planned.

    Exit codes: 0 done, 1 nothing is planned, 2 no such certificate, 3 not readable.
    """
    settings = settings_of(config)
    with opened(settings, keys=False) as inventory:
        found = listed_certificates(inventory, settings)
        entry = _meant(found, number, [one for one in found.entries.values() if one.switch_at], "planned")
        stored_step(settings, inventory, entry.id, lambda one, _: (course.cancel(one),), "changeover: cancelled")
    _say(as_json, {"id": entry.id, "planned": None}, f"{entry.id} stays staged, without a time")


@click.command("roll-back")
@click.argument("number", metavar="[ID]", default="")
@click.option("--note", default="", help="Why, for the history.")
@config_option
@json_option
def roll_back(number: str, note: str, config: str | None, as_json: bool) -> None:
    """Present the certificate before again, within 24 hours of the switch; no gate is asked.

    ID: the one that was switched to; without it the last one. Exit codes: 0 done, 1 refused, 2 no such certificate, 3
    not readable.
    """
    settings = settings_of(config)
    with opened_for_look(settings) as inventory:  # without the master key, too: it is the gateway that presents
        found = listed_certificates(inventory, settings)
        switched = [
            one for one in found.entries.values() if one.state is State.CURRENT and one.replaces and one.current_from
        ]
        last = sorted(switched, key=lambda one: -one.current_from)[:1]
        if last and not number:
            _must_not_be_done(last[0], found)
        entry = _meant(found, number, last, "to roll back")
        _must_open(inventory, found, entry)

        def step(one: Entry, known: Mapping[str, Entry]) -> tuple[Entry, ...]:
            return course.roll_back(one, known, now=time.time())

        reason = f": {note}" if note else ""
        changed = stored_step(settings, inventory, entry.id, step, f"changeover: rolled back{reason}")
        scene = scene_of(settings, listed_certificates(inventory, settings))
        missed = [one for old in changed[1:] for one in tlsa_of(settings, inventory, old, scene)]
    for one in missed:  # told afterwards: going back must not wait for the DNS
        if one.verdict is Mark.FAIL:
            click.echo(f"warning: {one.text}; {one.fix}", err=True)
    olds = [one.id for one in changed[1:]]
    _say(as_json, {"id": entry.id, "current": olds}, f"{', '.join(olds)} is current again; {entry.id} is staged")


def _must_not_be_done(last: Entry, found: Listed) -> None:
    """Who gives the command twice, not sure whether it worked, shall not undo the switch before as well."""
    for one in found.entries.values():
        if one.state is State.NEXT and one.since > max(one.added, last.current_from):
            what = f"{one.id} went back to next at {moment(one.since)}, after the last switch"
            fail(NO, f"{what}; to roll back that switch too: gatepost certificate changeover roll-back {last.id}")


def _must_open(inventory: Inventory, found: Listed, entry: Entry) -> None:
    """What is rolled back to must be there: its files may hold another certificate by now."""
    for number in entry.replaces:
        old = found.entries.get(number)
        if old is not None and old.state is State.DEPRECATED and (old.key_file or inventory.seals):
            identity = inventory.identity(old)  # its error ends the command
            if entry_id(read_identity(identity).leaf) != old.id:
                fail(NO, f"{old.chain_file} holds another certificate by now: {number} cannot come back")


@click.command()
@click.argument("number", metavar="ID")
@force_option("Though it can still be rolled back to.")
@config_option
@json_option
def withdraw(number: str, force: str, config: str | None, as_json: bool) -> None:
    """Retire a deprecated certificate for good: its key is destroyed, its entry stays as history.

    Exit codes: 0 done, 1 refused, 2 no such certificate, 3 not readable.
    """
    settings = settings_of(config)
    with opened(settings, keys=False) as inventory:
        found = listed_certificates(inventory, settings)
        entry = choose_certificate(found, number)

        def step(one: Entry, known: Mapping[str, Entry]) -> tuple[Entry, ...]:
            return (course.withdraw(one, known, now=time.time(), early=bool(force)),)

        reason = f"; forced: {force}" if force else ""
        stored_step(settings, inventory, entry.id, step, f"changeover: withdrawn{reason}")
    if entry.key_file:
        click.echo(f"its key was never in the store: remove {entry.key_file} yourself", err=True)
    left = entry.key_file
    _say(as_json, {"id": entry.id, "state": "retired", "key_left": left}, f"{entry.id} is retired")


def _meant(found: Listed, number: str, candidates: Sequence[Entry], what: str) -> Entry:
    if number:
        return choose_certificate(found, number)
    if not candidates:
        fail(NO, f"there is no switch {what}")
    if len(candidates) > 1:
        fail(BAD_INPUT, f"there are several switches {what}, name one: {', '.join(one.id for one in candidates)}")
    return candidates[0]


def _replacing(olds: Sequence[str], verb: str) -> str:
    return f"{verb} the place of {', '.join(olds)}" if olds else f"{verb} nobody's place"


def _say(as_json: bool, record: dict[str, Any], text: str) -> None:
    if as_json:
        print_json(record)
    else:
        click.echo(text)
