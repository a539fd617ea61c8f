"""`gatepost certificate changeover …`: from one certificate to the next. What only looks, and what tells partners."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from gatepost.certificates import course
from gatepost.certificates.entry import State
from gatepost.checks.chain import ChainChecker, ChainQuestion
from gatepost.checks.chain_file import parse_file
from gatepost.checks.chain_report import firewall_hosts
from gatepost.checks.chain_stores import RootStores
from gatepost.checks.changeover_notice import notice as notice_text
from gatepost.checks.changeover_watch import watch
from gatepost.checks.gates import Light, gates_record
from gatepost.checks.gates_partners import partners_of
from gatepost.cli.certificate_changeover_text import print_gates, print_partners, print_status, status_record
from gatepost.cli.certificate_gates import concerned, gates_of, opened_for_look, scene_of, stored_step, trace_directory
from gatepost.cli.certificate_store import choose_certificate, listed_certificates, opened
from gatepost.cli.lazy import LazyGroup
from gatepost.cli.options import BAD_INPUT, NO, UNKNOWN, config_option, fail, json_option, settings_of
from gatepost.cli.tables import print_json, printable
from gatepost.net.certificate import certificate_facts

if TYPE_CHECKING:
    from gatepost.certificates.entry import Entry
    from gatepost.certificates.inventory import Inventory
    from gatepost.certificates.listed import Listed
    from gatepost.checks.changeover import Scene
    from gatepost.checks.changeover_watch import Traffic
    from gatepost.settings.model import Settings

__all__ = ["changeover", "check", "notice", "status", "told"]

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


@click.group(cls=LazyGroup, commands=_COMMANDS)
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
    settings, now = settings_of(config), time.time()
    with opened_for_look(settings) as inventory:
        found = listed_certificates(inventory, settings)
        chosen = concerned(found, number, now=now)
        if not chosen:
            fail(NO, "no certificate is staged, and nothing can be rolled back; to begin: gatepost certificate add")
        scene = scene_of(settings, found)
        records = [_status(settings, inventory, one, scene, as_json=as_json) for one in chosen]
    if as_json:
        print_json(records)


def _status(settings: Settings, inventory: Inventory, entry: Entry, scene: Scene, *, as_json: bool) -> dict[str, Any]:
    report = gates_of(settings, inventory, entry, scene) if entry.state in {State.NEXT, State.CURRENT} else None
    seen: tuple[Traffic, Traffic] | None = None
    if entry.state is State.CURRENT and entry.replaces and entry.current_from:
        seen = watch(trace_directory(settings), entry.current_from, scene.now)
    if not as_json:
        print_status(entry, scene.entries, report, seen, now=scene.now)
    return status_record(entry, scene.entries, report, seen, now=scene.now)


@click.command()
@click.argument("number", metavar="ID")
@config_option
@json_option
def check(number: str, config: str | None, as_json: bool) -> None:
    """Look at all gates of a staged certificate, and say whether it may be switched.

    Each finding is one of pass, info, warn, fail, unknown, with what shows it and what to do. What could not be told is
    unknown, never a pass. Exit codes: 0 all gates are open; 1 one is red; 2 no such certificate; 3 could not tell.
    """
    settings = settings_of(config)
    with opened_for_look(settings) as inventory:
        found = listed_certificates(inventory, settings)
        entry = choose_certificate(found, number)
        report = gates_of(settings, inventory, entry, scene_of(settings, found))
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
    settings = settings_of(config)
    with opened(settings, keys=False) as inventory:
        found = listed_certificates(inventory, settings)
        entry = choose_certificate(found, number)
        text = _notice(settings, inventory, found, entry)
    scene = scene_of(settings, found)
    partners = partners_of(entry, scene.organizations, scene.seen or {})
    if as_json:
        rows = [{"partner": one.name, "why": list(one.why), "told": one.told} for one in partners]
        print_json({"id": entry.id, "text": text, "partners": rows})
        return
    click.echo("\n".join(printable(line) for line in text.splitlines()))
    print_partners(partners)


def _notice(settings: Settings, inventory: Inventory, found: Listed, entry: Entry) -> str:

    chain = found.chains.get(entry.id) or inventory.identity(entry).chain_pem
    checker = ChainChecker(None, RootStores.load(settings.tls.trust_anchors))
    question = ChainQuestion(parse_file(chain, f"certificate {entry.id}"))
    path = asyncio.run(checker.check(question, now=time.time())).facts.path
    if entry.state is State.NEXT:
        olds = course.replaced(entry, found.entries)
    else:
        olds = tuple(found.entries[one] for one in entry.replaces if one in found.entries)
    above = [certificate_facts(one.der) for one in path[1:]]
    hosts = firewall_hosts(path)
    return notice_text(entry, olds, hostname=settings.server.hostname, above=above, firewall=hosts)


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
    settings = settings_of(config)
    with opened(settings, keys=False) as inventory:
        found = listed_certificates(inventory, settings)
        entry = choose_certificate(found, number)
        scene = scene_of(settings, found)
        known = {one.name for one in partners_of(entry, scene.organizations, scene.seen or {})}
        chosen = known if everybody else {one.lower() for one in partners}
        if not chosen and not everybody:
            fail(BAD_INPUT, "name a partner, or all of them with --all")
        if strange := sorted(chosen - known):
            fail(BAD_INPUT, f"no such partner: {', '.join(strange)}; there are: {', '.join(sorted(known)) or 'none'}")
        what = f"changeover: {'need not be told' if why['waive'] else 'told'}: {', '.join(sorted(chosen)) or 'nobody'}"
        reason = f" ({why['note']})" if why["note"] else ""
        changed = stored_step(
            settings, inventory, entry.id, lambda one, _: (course.tell(one, chosen),), f"{what}{reason}"[:1000]
        )
    left = sorted(known - set(changed[0].told))
    if as_json:
        print_json({"id": entry.id, "told": list(changed[0].told), "left": left})
    else:
        click.echo(f"told: {', '.join(changed[0].told) or 'nobody'}; left: {', '.join(left) or 'nobody'}")
