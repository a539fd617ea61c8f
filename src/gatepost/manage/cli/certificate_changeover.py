"""`gatepost certificate changeover …`: from one certificate to the next. What only looks, and what tells partners."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from gatepost.analysis.checks.gates import Light, gates_record
from gatepost.manage.cli.certificate_changeover_text import print_gates, print_partners, print_status
from gatepost.manage.cli.certificate_group import CertificateGroup
from gatepost.manage.cli.check import progress
from gatepost.manage.cli.door import door
from gatepost.manage.cli.options import NO, UNKNOWN, config_option, fail, json_option
from gatepost.manage.cli.tables import print_json, printable
from gatepost.manage.use_cases import changeover as changeovers
from gatepost.manage.use_cases import changeover_steps as steps
from gatepost.manage.use_cases.changeover import notice_record, status_record

if TYPE_CHECKING:
    from gatepost.manage.cli.door import Door
    from gatepost.manage.use_cases.changeover import Look


_EXIT = {Light.GREEN: 0, Light.RED: NO, Light.UNKNOWN: UNKNOWN}
_COMMANDS = {
    "status": ("certificate_changeover", "status", "Current and next side by side, the gates, and what to do next."),
    "check": ("certificate_changeover", "check", "Look at all gates: may it be switched?"),
    "stage": ("certificate_switch", "stage", "Say which current certificates a next one takes the place of."),
    "notice": ("certificate_changeover", "notice", "The text of a mail to partners."),
    "told": ("certificate_changeover", "told", "Remember that partners were told."),
    "switch": ("certificate_switch", "switch", "Present it, now or at a time."),
    "cancel": ("certificate_switch", "cancel", "Forget the time of a switch."),
    "roll-back": ("certificate_switch", "roll_back", "Present the certificate before again, within 24 hours."),
    "withdraw": ("certificate_switch", "withdraw", "Destroy the key of a deprecated certificate."),
}


@click.group(cls=CertificateGroup, commands=_COMMANDS)
def changeover() -> None:
    """From one certificate to the next: stage, check, tell partners, switch, roll back, withdraw."""


@click.command()
@click.argument("number", metavar="[ID]", default="")
@config_option
@json_option
def status(number: str, config: str | None, as_json: bool) -> None:
    """Where a changeover stands: current and next side by side, what the gates say, and what to do next.

    Without ID: every staged certificate, and whatever can still be rolled back. Exit codes: 0 done, 1 there is none,
    2 no such certificate, 3 not readable.
    """
    found = _looks(door(config), number)
    if not found:
        fail(NO, "no certificate is staged, and nothing can be rolled back; to begin: gatepost certificate add")
    if as_json:
        print_json([status_record(one) for one in found])
        return
    for one in found:
        print_status(one)


def _looks(there: Door, number: str) -> list[Look]:
    progress("looking at the gates …")
    try:
        return there(changeovers.looks, number)
    finally:
        progress("")


@click.command()
@click.argument("number", metavar="ID")
@config_option
@json_option
def check(number: str, config: str | None, as_json: bool) -> None:
    """Look at all gates of a staged certificate, and say whether it may be switched.

    Each finding is one of pass, info, warn, fail, unknown, with what shows it and what to do. What could not be told is
    unknown, never a pass. Exit codes: 0 all gates are open; 1 one is red; 2 no such certificate; 3 could not tell.
    """
    progress("looking at the gates …")
    try:
        report = door(config)(changeovers.check, number)
    finally:
        progress("")
    if as_json:
        print_json(gates_record(report))
    else:
        print_gates(report)
    sys.exit(_EXIT[report.light])


@click.command()
@click.argument("number", metavar="ID")
@config_option
@json_option
def notice(number: str, config: str | None, as_json: bool) -> None:
    """The text of a mail to partners: both certificates, what to check, and when. The partners go to standard error.

    Exit codes: 0 done, 2 no such certificate, 3 not readable.
    """
    found = door(config)(changeovers.notice, number)
    if as_json:
        print_json(notice_record(found))
        return
    click.echo("\n".join(printable(line) for line in found.text.splitlines()))
    print_partners(found.partners)


@click.command()
@click.argument("number", metavar="ID")
@click.argument("partners", metavar="[PARTNER]...", nargs=-1)
@click.option("--all", "everybody", is_flag=True, help="All that are known now.")
@click.option("--waive", is_flag=True, help="They need not be told; the history says so.")
@click.option("--note", default="", help="How, or why not, for the history.")
@config_option
@json_option
def told(
    number: str, partners: tuple[str, ...], everybody: bool, config: str | None, as_json: bool, **why: Any
) -> None:
    """Remember that partners were told of a staged certificate, or need not be.

    PARTNER: a domain as `changeover notice` lists it. Exit codes: 0 done, 1 refused, 2 no such certificate or partner,
    3 not readable.
    """
    done = door(config)(
        steps.tell,
        number,
        partners,
        everybody=everybody,
        waive=why["waive"],
        note=why["note"],
    )
    if as_json:
        print_json({"id": done.entry.id, "told": list(done.told), "left": list(done.left)})
    else:
        click.echo(f"told: {', '.join(done.told) or 'nobody'}; left: {', '.join(done.left) or 'nobody'}")
