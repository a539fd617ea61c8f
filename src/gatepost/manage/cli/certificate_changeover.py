"""`gatepost certificate changeover …`: from one certificate to the next. What only looks, and what tells partners."""

from __future__ import annotations

import sys

import click

from gatepost.analysis.checks.gates import Light
from gatepost.manage.cli.certificate_changeover_text import print_gates, print_partners, print_status
from gatepost.manage.cli.certificate_group import CertificateGroup, addressed
from gatepost.manage.cli.options import NO, UNKNOWN, client, fail, gateway_options
from gatepost.manage.cli.output import _, printable, printed_json, say
from gatepost.manage.cli.request_options import request_options
from gatepost.manage.use_cases import changeover as changeover_cases
from gatepost.manage.use_cases.changeover_steps import NotifyPartners, notify_partners

_EXIT = {str(Light.GREEN): 0, str(Light.RED): NO, str(Light.UNKNOWN): UNKNOWN}
_COMMANDS = {
    "status": (
        "certificate_changeover",
        "status",
        "Show current and next side by side, the gates, and what to do next.",
    ),
    "check": ("certificate_changeover", "check", "Check all gates: can it be switched?"),
    "stage": ("certificate_switch", "stage", "Choose which current certificates a next one replaces."),
    "notice": ("certificate_changeover", "notice", "Print the notification text for partners."),
    "told": ("certificate_changeover", "mark_notified", "Record that partners were notified."),
    "switch": ("certificate_switch", "switch", "Switch to it, now or at a given time."),
    "cancel": ("certificate_switch", "cancel", "Cancel a planned switch."),
    "roll-back": ("certificate_switch", "roll_back", "Return to the previous certificate, within 24 hours."),
    "withdraw": ("certificate_switch", "withdraw", "Destroy the key of a deprecated certificate."),
}


@click.group(cls=CertificateGroup, commands=_COMMANDS)
def changeover() -> None:
    """Replace a certificate by the next: stage, check, notify partners, switch, roll back, withdraw."""


@click.command()
@request_options(changeover_cases.ListChangeovers)
@gateway_options
def status(request: changeover_cases.ListChangeovers) -> None:
    """Show a changeover: current and next side by side, the gates, and what to do next.

    Without ID: every staged certificate, and every one that can still be rolled back. Exit codes: 0 done, 1 there is
    none, 2 no such certificate, 3 the data cannot be read.
    """
    changeovers = client().call(changeover_cases.list_changeovers, request).items
    is_json = printed_json(changeovers)
    if not changeovers:
        fail(NO, "no certificate is staged, and none can be rolled back; to begin: gatepost certificate add")
    if is_json:
        return
    for entry in changeovers:
        print_status(entry)


@click.command()
@request_options(changeover_cases.CheckGates)
@gateway_options
def check(request: changeover_cases.CheckGates) -> None:
    """Check all gates of a staged certificate, and say whether it can be switched.

    Each finding is one of pass, info, warn, fail, unknown, with its evidence and what to do. A check that could not run
    is unknown, never a pass. Exit codes: 0 all gates passed; 1 one failed; 2 no such certificate; 3 inconclusive.
    """
    gates = client().call(changeover_cases.check_gates, addressed(request))
    if not printed_json(gates):
        print_gates(gates, gates.certificate)
    sys.exit(_EXIT[gates.light])


@click.command()
@request_options(changeover_cases.GetNotice, quick=False)
@gateway_options
def notice(request: changeover_cases.GetNotice) -> None:
    """Print the notification text for partners: both certificates, what to check, and when.

    The partners go to standard error. Exit codes: 0 done, 2 no such certificate, 3 the data cannot be read.
    """
    notification = client().call(changeover_cases.get_notice, addressed(request))
    if printed_json(notification):
        return
    click.echo("\n".join(printable(line) for line in notification.text.splitlines()))
    print_partners(notification.partners)


@click.command()
@request_options(NotifyPartners)
@gateway_options
def mark_notified(request: NotifyPartners) -> None:
    """Record that partners were notified of a staged certificate, or need no notification.

    PARTNER: a domain as `changeover notice` lists it. Exit codes: 0 done, 1 refused, 2 no such certificate or partner,
    3 the data cannot be read.
    """
    done = client().call(notify_partners, addressed(request))
    if not printed_json({"id": done.certificate.id, "told": done.told, "left": done.left}):
        say(
            "notified: %(told)s; remaining: %(left)s",
            told=", ".join(done.told) or _("none"),
            left=", ".join(done.left) or _("none"),
        )
