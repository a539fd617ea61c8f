"""`gatepost certificate changeover stage|switch|cancel|roll-back|withdraw`: the steps that change something."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from gatepost.analysis.checks.gates import Light, gates_record
from gatepost.manage.cli.certificate_changeover_text import print_gates
from gatepost.manage.cli.check import progress
from gatepost.manage.cli.door import door
from gatepost.manage.cli.options import config_option, force_option, json_option
from gatepost.manage.cli.tables import print_json
from gatepost.manage.cli.times import AHEAD
from gatepost.manage.use_cases import changeover_steps as steps
from gatepost.manage.use_cases.changeover_steps import GatesClosed, switch_record
from gatepost.manage.use_cases.times import stamp as moment
from gatepost.pki.certificates import lifecycle as course

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.manage.use_cases.changeover_steps import Switched


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
    changed = door(config)(steps.stage, number, named)
    _say(as_json, {"id": changed.id, "replaces": list(changed.replaces)}, _replacing(changed.replaces, "will take"))


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
    progress("looking at the gates …")
    try:
        done = door(config)(steps.switch, number, at=at, force=force)
    except GatesClosed as closed:
        progress("")
        if as_json:
            gates = gates_record(closed.report)
            print_json({"id": closed.report.entry.id, "switched": False, "planned": None, "gates": gates})
        else:
            print_gates(closed.report)
        raise
    finally:
        progress("")
    _tell_switch(done, as_json=as_json)


def _tell_switch(done: Switched, *, as_json: bool) -> None:
    new, report = done.new, done.report
    if done.is_planned:
        how = "whatever the gates but the key's say then" if new.forced else "if the gates are open then"
        text = f"{new.id} becomes current at {moment(new.switch_at)}, {how}"
        if report.light is not Light.GREEN and not new.forced:
            text += f"\nnow they are not: {report.reasons}"
    else:
        text = f"{new.id} is current{_replacing([one.id for one in done.olds], ', and took')}"
        if done.olds:
            text += (
                f"\nto take it back until {moment(course.roll_back_until(new))}: "
                "gatepost certificate changeover roll-back"
            )
    _say(as_json, switch_record(done), text)


@click.command()
@click.argument("number", metavar="[ID]", default="")
@config_option
@json_option
def cancel(number: str, config: str | None, as_json: bool) -> None:
    """Forget the time of a planned switch. ID may be left out if one alone is planned.

    Exit codes: 0 done, 1 nothing is planned, 2 no such certificate, 3 not readable.
    """
    entry = door(config)(steps.cancel, number)
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
    new, olds, warnings = door(config)(steps.roll_back, number, note=note)
    for one in warnings:
        click.echo(f"warning: {one}", err=True)
    current = [one.id for one in olds]
    _say(as_json, {"id": new.id, "current": current}, f"{', '.join(current)} is current again; {new.id} is staged")


@click.command()
@click.argument("number", metavar="ID")
@force_option("Though it can still be rolled back to.")
@config_option
@json_option
def withdraw(number: str, force: str, config: str | None, as_json: bool) -> None:
    """Retire a deprecated certificate for good: its key is destroyed, its entry stays as history.

    Exit codes: 0 done, 1 refused, 2 no such certificate, 3 not readable.
    """
    entry = door(config)(steps.withdraw, number, force=force)
    left = entry.key_file
    if left:
        click.echo(f"its key was never in the store: remove {left} yourself", err=True)
    _say(as_json, {"id": entry.id, "state": "retired", "key_left": left}, f"{entry.id} is retired")


def _replacing(olds: Sequence[str], verb: str) -> str:
    return f"{verb} the place of {', '.join(olds)}" if olds else f"{verb} nobody's place"


def _say(as_json: bool, record: dict[str, Any], text: str) -> None:
    if as_json:
        print_json(record)
    else:
        click.echo(text)
