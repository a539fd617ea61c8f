"""`gatepost certificate changeover stage|switch|cancel|roll-back|withdraw`: the steps that change something."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import msgspec

from gatepost.analysis.checks.gates import Light
from gatepost.manage.cli.certificate_changeover_text import print_gates
from gatepost.manage.cli.certificate_group import addressable
from gatepost.manage.cli.check import progress
from gatepost.manage.cli.client import client
from gatepost.manage.cli.options import config_option, force_option, json_option
from gatepost.manage.cli.request_options import request_options
from gatepost.manage.cli.tables import print_json
from gatepost.manage.use_cases.certificate_shapes import CertificateGates
from gatepost.manage.use_cases.changeover_steps import (
    CancelOnlySwitch,
    CancelSwitch,
    RollBackLastSwitch,
    RollBackSwitch,
    StageCertificate,
    SwitchCertificate,
    WithdrawCertificate,
    cancel_only_switch,
    cancel_switch,
    roll_back_last_switch,
    roll_back_switch,
    stage_certificate,
    switch_certificate,
    withdraw_certificate,
)
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.use_cases.times import stamp as moment
from gatepost.pki.certificates.lifecycle import ROLL_BACK_SECONDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.manage.use_cases.changeover_steps import Switched


@click.command()
@request_options(StageCertificate)
@config_option
@json_option
def stage(request: StageCertificate, config: str | None, as_json: bool) -> None:
    """Say which current certificates a next one takes the place of, where that is not plain by names and kind of key.

    `gatepost certificate add` has staged it already. A deprecated one is staged once more: the way back to it when the
    24 hours of `changeover roll-back` are over.

    Exit codes: 0 done, 1 refused, 2 no such certificate, 3 not readable.
    """
    there = client(config)
    request.certificate = addressable(there, request.certificate)
    staged = there.call(stage_certificate, request)
    _say(as_json, {"id": staged.id, "replaces": staged.replaces}, _replacing(staged.replaces, "will take"))


@click.command()
@request_options(SwitchCertificate, force="")
@force_option("Whatever the gates say. The reason is in the history.")
@config_option
@json_option
def switch(request: SwitchCertificate, force: str, config: str | None, as_json: bool) -> None:
    """Present a staged certificate to new sessions, now or at a time. Running sessions keep what they have.

    The gates are looked at first, and with --at once more when the time has come; while one is red nothing is switched
    but with --force. A running gateway presents it in all workers within two seconds. For 24 hours `changeover
    roll-back` takes it back.

    Exit codes: 0 done, or planned; 1 a gate is red, or refused; 2 wrong use or no such certificate; 3 a gate could not
    be looked at.
    """
    there = client(config)
    request.certificate, request.force = addressable(there, request.certificate), force
    progress("looking at the gates …")
    try:
        done = there.call(switch_certificate, request)
    except Refusal as refusal:
        progress("")
        _print_refused(refusal, as_json=as_json)
        raise
    finally:
        progress("")
    _print_switched(done, as_json=as_json)


def _print_refused(refusal: Refusal, *, as_json: bool) -> None:
    """Print the gates that refuse the switch; one that could not be checked ends the command with 3."""
    if "gates" not in refusal.more:
        return
    gates = msgspec.convert(refusal.more["gates"], CertificateGates)
    if gates.light == Light.UNKNOWN:
        refusal.kind = RefusalKind.UNREADABLE
    if as_json:
        print_json({"id": gates.id, "switched": False, "planned": None, "gates": gates})
    else:
        print_gates(gates, gates.certificate)


def _print_switched(done: Switched, *, as_json: bool) -> None:
    new = done.certificates[0]
    if not done.switched:
        how = "whatever the gates but the key's say then" if new.forced else "if the gates are open then"
        text = f"{new.id} becomes current at {moment(done.planned or 0.0)}, {how}"
        if done.gates.light != Light.GREEN and not new.forced:
            text += f"\nnow they are not: {done.gates.reasons}"
    else:
        text = f"{new.id} is current{_replacing(done.replaced, ', and took')}"
        if done.replaced:
            until = moment((new.current_from or 0.0) + ROLL_BACK_SECONDS)
            text += f"\nto take it back until {until}: gatepost certificate changeover roll-back"
    _say(as_json, done, text)


@click.command()
@click.argument("number", metavar="[ID]", default="")
@config_option
@json_option
def cancel(number: str, config: str | None, as_json: bool) -> None:
    """Forget the time of a planned switch. ID may be left out if one alone is planned.

    Exit codes: 0 done, 1 nothing is planned, 2 no such certificate, 3 not readable.
    """
    there = client(config)
    if number:
        one = there.call(cancel_switch, CancelSwitch(certificate=addressable(there, number)))
    else:
        one = there.call(cancel_only_switch, CancelOnlySwitch())
    _say(as_json, {"id": one.id, "planned": None}, f"{one.id} stays staged, without a time")


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
    there = client(config)
    if number:
        done = there.call(roll_back_switch, RollBackSwitch(certificate=addressable(there, number), note=note))
    else:
        done = there.call(roll_back_last_switch, RollBackLastSwitch(note=note))
    for warning in done.warnings:
        click.echo(f"warning: {warning}", err=True)
    text = f"{', '.join(done.current)} is current again; {done.id} is staged"
    _say(as_json, {"id": done.id, "current": done.current}, text)


@click.command()
@request_options(WithdrawCertificate, force="")
@force_option("Though it can still be rolled back to.")
@config_option
@json_option
def withdraw(request: WithdrawCertificate, force: str, config: str | None, as_json: bool) -> None:
    """Retire a deprecated certificate for good: its key is destroyed, its entry stays as history.

    Exit codes: 0 done, 1 refused, 2 no such certificate, 3 not readable.
    """
    there = client(config)
    request.certificate, request.force = addressable(there, request.certificate), force
    one = there.call(withdraw_certificate, request)
    if one.key_file:
        click.echo(f"its key was never in the store: remove {one.key_file} yourself", err=True)
    _say(as_json, {"id": one.id, "state": "retired", "key_left": one.key_file}, f"{one.id} is retired")


def _replacing(olds: Sequence[str], verb: str) -> str:
    return f"{verb} the place of {', '.join(olds)}" if olds else f"{verb} nobody's place"


def _say(as_json: bool, record: object, text: str) -> None:
    if as_json:
        print_json(record)
    else:
        click.echo(text)
