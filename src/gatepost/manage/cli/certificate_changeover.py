"""`gatepost certificate changeover …`: from one certificate to the next. What only looks, and what tells partners."""

from __future__ import annotations

import sys

import click

from gatepost.analysis.checks.gates import Light
from gatepost.manage.cli.certificate_changeover_text import print_gates, print_partners, print_status
from gatepost.manage.cli.certificate_group import CertificateGroup, addressable
from gatepost.manage.cli.check import progress
from gatepost.manage.cli.client import client
from gatepost.manage.cli.options import NO, UNKNOWN, config_option, fail, json_option
from gatepost.manage.cli.request_options import request_options
from gatepost.manage.cli.tables import print_json, printable
from gatepost.manage.use_cases.changeover import (
    CheckGates,
    GetNotice,
    ListChangeovers,
    check_gates,
    get_notice,
    list_changeovers,
)
from gatepost.manage.use_cases.changeover_steps import NotifyPartners, notify_partners

_EXIT = {str(Light.GREEN): 0, str(Light.RED): NO, str(Light.UNKNOWN): UNKNOWN}
_COMMANDS = {
    "status": ("certificate_changeover", "status", "Current and next side by side, the gates, and what to do next."),
    "check": ("certificate_changeover", "check", "Look at all gates: may it be switched?"),
    "stage": ("certificate_switch", "stage", "Say which current certificates a next one takes the place of."),
    "notice": ("certificate_changeover", "notice", "The text of a mail to partners."),
    "told": ("certificate_changeover", "mark_notified", "Remember that partners were told."),
    "switch": ("certificate_switch", "switch", "Present it, now or at a time."),
    "cancel": ("certificate_switch", "cancel", "Forget the time of a switch."),
    "roll-back": ("certificate_switch", "roll_back", "Present the certificate before again, within 24 hours."),
    "withdraw": ("certificate_switch", "withdraw", "Destroy the key of a deprecated certificate."),
}


@click.group(cls=CertificateGroup, commands=_COMMANDS)
def changeover() -> None:
    """From one certificate to the next: stage, check, tell partners, switch, roll back, withdraw."""


@click.command()
@request_options(ListChangeovers)
@config_option
@json_option
def status(request: ListChangeovers, config: str | None, as_json: bool) -> None:
    """Where a changeover stands: current and next side by side, what the gates say, and what to do next.

    Without ID: every staged certificate, and whatever can still be rolled back. Exit codes: 0 done, 1 there is none,
    2 no such certificate, 3 not readable.
    """
    progress("looking at the gates …")
    try:
        found = client(config).call(list_changeovers, request).items
    finally:
        progress("")
    if not found:
        fail(NO, "no certificate is staged, and nothing can be rolled back; to begin: gatepost certificate add")
    if as_json:
        print_json(found)
        return
    for one in found:
        print_status(one)


@click.command()
@request_options(CheckGates)
@config_option
@json_option
def check(request: CheckGates, config: str | None, as_json: bool) -> None:
    """Look at all gates of a staged certificate, and say whether it may be switched.

    Each finding is one of pass, info, warn, fail, unknown, with what shows it and what to do. What could not be told is
    unknown, never a pass. Exit codes: 0 all gates are open; 1 one is red; 2 no such certificate; 3 could not tell.
    """
    progress("looking at the gates …")
    try:
        there = client(config)
        request.certificate = addressable(there, request.certificate)
        gates = there.call(check_gates, request)
    finally:
        progress("")
    if as_json:
        print_json(gates)
    else:
        print_gates(gates, gates.certificate)
    sys.exit(_EXIT[gates.light])


@click.command()
@request_options(GetNotice, quick=False)
@config_option
@json_option
def notice(request: GetNotice, config: str | None, as_json: bool) -> None:
    """The text of a mail to partners: both certificates, what to check, and when. The partners go to standard error.

    Exit codes: 0 done, 2 no such certificate, 3 not readable.
    """
    there = client(config)
    request.certificate = addressable(there, request.certificate)
    found = there.call(get_notice, request)
    if as_json:
        print_json(found)
        return
    click.echo("\n".join(printable(line) for line in found.text.splitlines()))
    print_partners(found.partners)


@click.command()
@request_options(NotifyPartners)
@config_option
@json_option
def mark_notified(request: NotifyPartners, config: str | None, as_json: bool) -> None:
    """Remember that partners were told of a staged certificate, or need not be.

    PARTNER: a domain as `changeover notice` lists it. Exit codes: 0 done, 1 refused, 2 no such certificate or partner,
    3 not readable.
    """
    there = client(config)
    request.certificate = addressable(there, request.certificate)
    done = there.call(notify_partners, request)
    if as_json:
        print_json({"id": done.certificate.id, "told": done.told, "left": done.left})
    else:
        click.echo(f"told: {', '.join(done.told) or 'nobody'}; left: {', '.join(done.left) or 'nobody'}")
