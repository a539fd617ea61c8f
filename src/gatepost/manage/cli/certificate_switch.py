"""`gatepost certificate changeover stage|switch|cancel|roll-back|withdraw`: the steps that change something."""

from __future__ import annotations

from collections.abc import Sequence

import click

from gatepost.analysis.checks.gates import Light
from gatepost.decoding import converted
from gatepost.manage.cli.certificate_changeover_text import print_gates
from gatepost.manage.cli.certificate_group import addressable, addressed
from gatepost.manage.cli.node import say_presented
from gatepost.manage.cli.options import client, force_option, gateway_options
from gatepost.manage.cli.output import _, ours, printed_json, say
from gatepost.manage.cli.request_options import request_options
from gatepost.manage.use_cases import changeover_steps
from gatepost.manage.use_cases.certificates import CertificateGates
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.use_cases.times import stamp as moment
from gatepost.pki.certificates.lifecycle import ROLL_BACK_SECONDS
from gatepost.protocols.tls.token_uri import is_token_uri


@click.command()
@request_options(changeover_steps.StageCertificate)
@gateway_options
def stage(request: changeover_steps.StageCertificate) -> None:
    """Choose which current certificates a next one replaces, where names and key type do not decide it.

    `gatepost certificate add` has staged the certificate already. To return to a deprecated certificate after the 24
    hours of `changeover roll-back`, stage it again.

    Exit codes: 0 done, 1 refused, 2 no such certificate, 3 the data cannot be read.
    """
    staged = client().call(changeover_steps.stage_certificate, addressed(request))
    _say({"id": staged.id, "replaces": staged.replaces}, _replacing(staged.replaces, _("it will replace")))


@click.command()
@request_options(changeover_steps.SwitchCertificate, force="")
@force_option("Override failed checks. The history records the reason.")
@gateway_options
def switch(request: changeover_steps.SwitchCertificate, force: str) -> None:
    """Present a staged certificate to new sessions, now or at a given time. Running sessions keep the old one.

    The gates are checked first, and with --at again at that time. If a gate failed, nothing is switched unless --force
    is given. A running gateway presents the certificate in all workers within two seconds. You can roll back for 24
    hours with `changeover roll-back`.

    Exit codes: 0 done, or planned; 1 a gate failed, or refused; 2 usage error or no such certificate; 3 a gate could
    not be checked.
    """
    request.force = force
    try:
        done = client().call(changeover_steps.switch_certificate, addressed(request))
    except Refusal as refusal:
        _print_refused(refusal)
        raise
    _print_switched(done)
    if done.switched:
        say_presented(client(), done.certificates[0].sha256)


def _print_refused(refusal: Refusal) -> None:
    """Print the gates that refuse the switch; one that could not be checked ends the command with 3."""
    if "gates" not in refusal.more:
        return
    gates = converted(refusal.more["gates"], CertificateGates)
    if gates.light == Light.UNKNOWN:
        refusal.kind = RefusalKind.UNREADABLE
    if not printed_json({"id": gates.id, "switched": False, "planned": None, "gates": gates}):
        print_gates(gates, gates.certificate)


def _print_switched(done: changeover_steps.Switched) -> None:
    new = done.certificates[0]
    if not done.switched:
        how = _("with only the key checked again") if new.forced else _("if the gates pass then")
        text = _(
            "%(id)s becomes current at %(planned)s, %(how)s", id=new.id, planned=moment(done.planned or 0.0), how=how
        )
        if done.gates.light != Light.GREEN and not new.forced:
            text += _("\nthey do not pass now: %(reasons)s", reasons=ours(done.gates.reasons))
    else:
        text = _(
            "%(id)s is current%(replaced)s",
            id=new.id,
            replaced=_replacing(done.replaced, _("; it replaced"), _("; cannot roll back")),
        )
        if done.replaced:
            until = moment((new.current_from or 0.0) + ROLL_BACK_SECONDS)
            text += _("\nto roll back until %(until)s: gatepost certificate changeover roll-back", until=until)
    _say(done, text)


@click.command()
@click.argument("number", metavar="[ID]", default="")
@gateway_options
def cancel(number: str) -> None:
    """Cancel a planned switch. ID is optional if only one switch is planned.

    Exit codes: 0 done, 1 nothing is planned, 2 no such certificate, 3 the data cannot be read.
    """
    if number:
        summary = client().call(
            changeover_steps.cancel_switch, changeover_steps.CancelSwitch(certificate=addressable(number))
        )
    else:
        summary = client().call(changeover_steps.cancel_only_switch, changeover_steps.CancelOnlySwitch())
    _say({"id": summary.id, "planned": None}, _("%(id)s stays staged; no switch is planned", id=summary.id))


@click.command("roll-back")
@click.argument("number", metavar="[ID]", default="")
@click.option("--note", default="", help="Reason, for the history.")
@gateway_options
def roll_back(number: str, note: str) -> None:
    """Return to the previous certificate, within 24 hours of the switch. No gate is checked.

    ID: the certificate that was switched to; default: the last one. Exit codes: 0 done, 1 refused, 2 no such
    certificate, 3 the data cannot be read.
    """
    if number:
        done = client().call(
            changeover_steps.roll_back_switch,
            changeover_steps.RollBackSwitch(certificate=addressable(number), note=note),
        )
    else:
        done = client().call(changeover_steps.roll_back_last_switch, changeover_steps.RollBackLastSwitch(note=note))
    for warning in done.warnings:
        say("warning: %(warning)s", err=True, warning=ours(warning))
    text = _("%(current)s is current again; %(id)s is staged", current=", ".join(done.current), id=done.id)
    _say({"id": done.id, "current": done.current}, text)
    for again in done.certificates[1:]:
        say_presented(client(), again.sha256)


@click.command()
@request_options(changeover_steps.WithdrawCertificate, force="")
@force_option("Withdraw it even if a roll back to it is still possible.")
@gateway_options
def withdraw(request: changeover_steps.WithdrawCertificate, force: str) -> None:
    """Retire a deprecated certificate for good: destroy its key, and keep its entry as history.

    Exit codes: 0 done, 1 refused, 2 no such certificate, 3 the data cannot be read.
    """
    request.force = force
    summary = client().call(changeover_steps.withdraw_certificate, addressed(request))
    if summary.key_file:
        left = (
            _("delete %(key_file)s", key_file=summary.key_file)
            if not is_token_uri(summary.key_file)
            else _("destroy %(key_file)s", key_file=summary.key_file)
        )
        say("the store never had its key: %(left)s yourself", err=True, left=left)
    _say(
        {"id": summary.id, "state": "retired", "key_left": summary.key_file},
        _("%(id)s is retired", id=summary.id),
    )


def _replacing(olds: Sequence[str], verb: str, none: str = "") -> str:
    return f"{verb} {', '.join(olds)}" if olds else _("%(verb)s nothing%(none)s", verb=verb, none=none)


def _say(record: object, text: str) -> None:
    if not printed_json(record):
        click.echo(text)
