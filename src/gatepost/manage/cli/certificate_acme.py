"""`gatepost certificate acme …`: certificates from an ACME authority: where they stand, and asking for one now."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import click
from msgspec.structs import replace

from gatepost.manage.cli.options import BAD_INPUT, NO, client, ending, gateway_options
from gatepost.manage.cli.output import _, ours, print_table, printable, printed_json, say, wants_json
from gatepost.manage.cli.request_options import request_options
from gatepost.manage.use_cases import acme_renewal
from gatepost.manage.use_cases.acme_renewal import AcmeOrder, GetAcmeStatus, get_acme_status
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.use_cases.times import stamp as moment
from gatepost.settings.acme import LETS_ENCRYPT_STAGING, acme_directory

if TYPE_CHECKING:
    from gatepost.manage.use_cases.client import Client


_MOST: Final = 7200.0  # seconds: the DNS may be waited for during an hour
_COLUMNS = ("names", "certificate", "state", "valid until", "renewal", "last tried", "next try")


@click.group()
def acme() -> None:
    """Show and renew certificates from an ACME authority (RFC 8555), configured by [acme] in the settings."""


@acme.command()
@gateway_options
def status() -> None:
    """Show every certificate that ACME manages: validity, next renewal, and the last error.

    Exit codes: 0 every certificate exists and its last attempt succeeded, 1 one is missing or failed, 2 ACME is off, 3
    the data cannot be read.
    """
    acme_status = client().call(get_acme_status, GetAcmeStatus())
    if not printed_json(acme_status):
        click.echo(f"authority    {printable(acme_status.directory)}")
        click.echo(f"account      {printable(acme_status.account) or 'none yet'}\n")
        print_table(_COLUMNS, (_cells(certificate) for certificate in acme_status.certificates))
        for certificate in acme_status.certificates:
            if certificate.error:
                click.echo(f"\n{', '.join(certificate.names)}: {printable(ours(certificate.error))}")
    if not acme_status.ok:
        raise SystemExit(NO)


@acme.command()
@request_options(acme_renewal.RenewCertificates, staging="", wait=20.0)
@click.option("--dry-run", is_flag=True, help="Try the whole process with a staging authority, and keep nothing of it.")
@click.option(
    "--directory",
    metavar="URL",
    default=LETS_ENCRYPT_STAGING,
    show_default=True,
    help="The authority for --dry-run.",
)
@gateway_options
def renew(request: acme_renewal.RenewCertificates, directory: str, *, dry_run: bool) -> None:
    """Renew the certificates that are due, or the one for NAME. For http-01 the gateway must be running.

    A running gateway presents a new certificate within a second, unless the certificate waits for a changeover.

    Exit codes: 0 done, or nothing is due, 1 a certificate was not issued, 2 usage error or invalid settings, 3 another
    process is renewing at this moment, or the data cannot be read.
    """
    there = client()
    with ending(BAD_INPUT, ValueError, place="--directory: "):
        url = acme_directory(directory) if dry_run else ""
    state = _ended(there, there.call(acme_renewal.renew_certificates, replace(request, staging=url)).value)
    if state.trouble:
        raise Refusal(RefusalKind.UNREADABLE, state.trouble)
    if not printed_json(state) and not state.results:
        say(
            "no certificate is due for renewal; `gatepost certificate acme status` shows "
            "when one is, --now renews without waiting",
            err=True,
        )
    if not all(result.ok for result in state.results):
        raise SystemExit(NO)


def _ended(there: Client, state: acme_renewal.RenewalState) -> acme_renewal.RenewalState:
    """Follow it to its end, and say each result as it comes."""
    said, end = 0, time.monotonic() + _MOST
    while True:
        for result in state.results[said:]:
            _say(result)
        said = len(state.results)
        if state.done:
            return state
        if time.monotonic() > end:
            text = _("the renewal is still running; `gatepost certificate acme status` will show its result")
            raise Refusal(RefusalKind.UNREADABLE, text)
        state = there.call(acme_renewal.get_renewal, acme_renewal.GetRenewal(id=state.id))


@acme.command()
@gateway_options
def forget() -> None:
    """Forget the ACME account with its key, and the record of attempts. Certificates stay.

    Exit codes: 0 done, 2 ACME is off, 3 the data cannot be written.
    """
    forgotten = client().call(acme_renewal.forget_acme_account, acme_renewal.ForgetAcmeAccount())
    if printed_json(forgotten):
        return
    directory = forgotten.directory
    say("the account at %(directory)s is forgotten", err=True, directory=directory)


def _say(renewal: acme_renewal.CertificateRenewal) -> None:
    names = ", ".join(renewal.names)
    if wants_json():
        return
    if not renewal.ok:
        say("no certificate for %(names)s: %(text)s", err=True, names=names, text=ours(renewal.text))
    else:
        click.echo(
            printable(
                ours(renewal.text) if renewal.text.startswith("certificate ") else f"{names}: {ours(renewal.text)}"
            )
        )


def _cells(order: AcmeOrder) -> list[object]:
    renewal = f"{moment(order.renew_at or 0.0)} ({order.renew_at_from})" if order.certificate else "-"
    return [
        ", ".join(order.names),
        order.certificate or "-",
        order.state or _("none"),
        moment(order.not_after or 0.0) if order.certificate else "-",
        renewal,
        moment(order.tried) if order.tried else _("never"),
        moment(order.not_before or 0.0) if order.error else "-",
    ]
