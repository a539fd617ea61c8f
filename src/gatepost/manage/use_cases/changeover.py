"""A changeover as every door shows it: current and next, the gates, the partners, what to do next.

Looking at the gates asks the world and takes from a second to a minute and a half; everything else reads files. The
steps that change something are in `changeover_steps`.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from gatepost.analysis.checks.chain import ChainChecker, ChainQuestion
from gatepost.analysis.checks.chain_file import parse_file
from gatepost.analysis.checks.chain_report import firewall_hosts
from gatepost.analysis.checks.chain_stores import RootStores
from gatepost.analysis.checks.changeover import Gatekeeper, Scene, seen_partners
from gatepost.analysis.checks.changeover_notice import notice as notice_text
from gatepost.analysis.checks.changeover_watch import watch
from gatepost.analysis.checks.gates import Light, gates_record
from gatepost.analysis.checks.gates_partners import partners_of
from gatepost.manage.use_cases.certificates import list_record
from gatepost.manage.use_cases.inventory import (
    choose_certificate,
    inventory_for_look,
    inventory_of,
    listed_certificates,
)
from gatepost.manage.use_cases.resolving import resolver_of
from gatepost.manage.use_cases.times import stamp
from gatepost.net.certificate import certificate_facts
from gatepost.net.lookups.http import HttpClient
from gatepost.pki.certificates import lifecycle as course
from gatepost.pki.certificates.entry import State
from gatepost.pki.certificates.stapling import Stapler

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Mapping

    from gatepost.analysis.checks.changeover import Told
    from gatepost.analysis.checks.changeover_watch import Traffic
    from gatepost.analysis.checks.gates import GateFinding, GateReport
    from gatepost.analysis.checks.gates_partners import Partner
    from gatepost.manage.access.principal import Principal
    from gatepost.manage.use_cases.gateway import Gateway
    from gatepost.pki.certificates.entry import Entry
    from gatepost.pki.certificates.inventory import Inventory
    from gatepost.pki.certificates.listed import Listed


_COMMAND = "gatepost certificate changeover"


class Look(NamedTuple):
    """One look at a changeover. report: None if there is nothing to look at. traffic: since the switch, and before.

    partners: who might expect the current one, by connectors and by the trace.
    """

    entry: Entry
    entries: Mapping[str, Entry]
    report: GateReport | None
    traffic: tuple[Traffic, Traffic] | None
    partners: tuple[Partner, ...]
    now: float


class Standing(NamedTuple):
    """Where a changeover stands by what is stored alone. olds: whose place it takes, or took. partners: of connectors.

    lost: names that nothing would bear any more. can_roll_back: whether one step takes the switch back.
    """

    entry: Entry
    entries: Mapping[str, Entry]
    olds: tuple[Entry, ...]
    partners: tuple[Partner, ...]
    lost: tuple[str, ...]
    can_roll_back: bool
    version: int


class Notice(NamedTuple):
    """The text of a mail to partners, and who they are."""

    entry: Entry
    text: str
    partners: tuple[Partner, ...]


# looking


def concerned(found: Listed, number: str, *, now: float) -> list[Entry]:
    """The certificate that is named; without a name those that are staged, and those that can be rolled back."""
    if number:
        return [choose_certificate(found, number)]
    staged = [one for one in found.entries.values() if one.state is State.NEXT]
    fresh = [one for one in found.entries.values() if course.can_roll_back(one, found.entries, now=now)]
    return [*staged, *fresh]


def standing(gateway: Gateway, number: str) -> Standing:
    """Without asking anybody. Raises Refusal: MISSING, UNREADABLE."""
    with inventory_of(gateway, keys=False) as inventory:
        found = listed_certificates(inventory, gateway)
    entry = choose_certificate(found, number)
    return Standing(
        entry,
        found.entries,
        tuple(_olds(entry, found.entries)),
        partners_of(entry, gateway.directory().organizations, {}),
        course.lost_names(entry, found.entries),
        course.can_roll_back(entry, found.entries, now=time.time()),
        found.version,
    )


def look(gateway: Gateway, who: Principal, number: str, tell: Told | None = None) -> Look:
    """Look at one changeover, its gates first. tell: as `Gatekeeper.look`.

    Raises Busy; Refusal: MISSING, UNREADABLE.
    """
    with gateway.gates.slot(who.name), inventory_for_look(gateway) as inventory:
        found = listed_certificates(inventory, gateway)
        return _look(gateway, inventory, choose_certificate(found, number), scene_of(gateway, found), tell)


def check(gateway: Gateway, who: Principal, number: str) -> GateReport:
    """Look at the gates of a certificate, whatever its state. Raises Busy; Refusal: MISSING, UNREADABLE."""
    with gateway.gates.slot(who.name), inventory_for_look(gateway) as inventory:
        found = listed_certificates(inventory, gateway)
        return gates_of(gateway, inventory, choose_certificate(found, number), scene_of(gateway, found))


def looks(gateway: Gateway, who: Principal, number: str = "") -> list[Look]:
    """The same of all that are under way, as `concerned`, one after the other. Raises Busy, Refusal."""
    with gateway.gates.slot(who.name), inventory_for_look(gateway) as inventory:
        found = listed_certificates(inventory, gateway)
        chosen = concerned(found, number, now=time.time())
        if not chosen:
            return []
        scene = scene_of(gateway, found)
        return [_look(gateway, inventory, one, scene) for one in chosen]


def _look(gateway: Gateway, inventory: Inventory, entry: Entry, scene: Scene, tell: Told | None = None) -> Look:
    report = None
    if entry.state in {State.NEXT, State.CURRENT}:
        report = gates_of(gateway, inventory, entry, scene, tell)
    traffic: tuple[Traffic, Traffic] | None = None
    if entry.state is State.CURRENT and entry.replaces and entry.current_from:
        traffic = watch(gateway.data / "trace", entry.current_from, scene.now)
    partners = partners_of(entry, scene.organizations, scene.seen or {})
    return Look(entry, scene.entries, report, traffic, partners, scene.now)


def scene_of(gateway: Gateway, found: Listed) -> Scene:
    """Everything that gates are about, partners included. Raises Refusal (UNREADABLE)."""
    now = time.time()
    seen = seen_partners(gateway.data / "trace", now=now)
    return Scene(found.entries, gateway.directory().organizations, now, seen)


def gates_of(
    gateway: Gateway, inventory: Inventory, entry: Entry, scene: Scene, tell: Told | None = None
) -> GateReport:
    """Look at the gates, which may take a minute where addresses do not answer. Raises Refusal."""
    return _looked(gateway, inventory, lambda keeper: keeper.look(entry, scene, tell))


def tlsa_of(gateway: Gateway, inventory: Inventory, entry: Entry, scene: Scene) -> list[GateFinding]:
    """What TLSA records say of a certificate, [] if they do not come in time. Raises Refusal."""
    try:
        return _looked(gateway, inventory, lambda keeper: keeper.sight(entry, scene))
    except TimeoutError:
        return []


def _looked[T](gateway: Gateway, inventory: Inventory, look_: Callable[[Gatekeeper], Coroutine[Any, Any, T]]) -> T:
    async def run() -> T:
        resolver = resolver_of(gateway.settings)
        try:
            client = HttpClient(resolver)
            with gateway.config() as store:
                keeper = Gatekeeper(gateway.settings, inventory, resolver, client, Stapler(store, client))
                return await look_(keeper)
        finally:
            await resolver.close()

    return asyncio.run(run())


def notice(gateway: Gateway, _: Principal, number: str, *, quick: bool = False) -> Notice:
    """The text of a mail to partners: both certificates, what to check, and when. Asks nobody.

    quick: without reading the trace, so that partners are those of connectors alone. Raises Refusal: MISSING, INPUT if
    its chain cannot be read, UNREADABLE.
    """
    with inventory_of(gateway, keys=False) as inventory:
        found = listed_certificates(inventory, gateway)
        entry = choose_certificate(found, number)
        chain = found.chains.get(entry.id) or inventory.identity(entry).chain_pem
    checker = ChainChecker(None, RootStores.load(gateway.settings.tls.trust_anchors))
    question = ChainQuestion(parse_file(chain, f"certificate {entry.id}"))
    path = asyncio.run(checker.check(question, now=time.time())).facts.path
    above = [certificate_facts(one.der) for one in path[1:]]
    olds = tuple(_olds(entry, found.entries))
    hosts = firewall_hosts(path)
    text = notice_text(entry, olds, hostname=gateway.settings.server.hostname, above=above, firewall=hosts)
    seen = {} if quick else seen_partners(gateway.data / "trace", now=time.time())
    return Notice(entry, text, partners_of(entry, gateway.directory().organizations, seen))


def _olds(entry: Entry, entries: Mapping[str, Entry]) -> list[Entry]:
    if entry.state is State.NEXT:
        return list(course.replaced(entry, entries))
    return [entries[number] for number in entry.replaces if number in entries]


# what to do next


def next_steps(entry: Entry, entries: Mapping[str, Entry], report: GateReport | None, *, now: float) -> Iterator[str]:
    """What to do, in the order in which it is to be done, with the commands."""
    match entry.state:
        case State.NEXT:
            if entry.held:
                yield f"it was not switched at the time that was planned: {entry.held}"
            yield _before(entry, report)
        case State.CURRENT:
            yield from _after(entry, entries, now)
        case State.DEPRECATED:
            yield f"once nobody needs it: {_COMMAND} withdraw {entry.id}"
        case State.RETIRED:
            yield "nothing: its key is gone"


def _before(entry: Entry, report: GateReport | None) -> str:
    if entry.switch_at:
        return f"nothing: it becomes current at {stamp(entry.switch_at)}; to call it off: {_COMMAND} cancel"
    if report is None or report.light is Light.GREEN:
        return f"{_COMMAND} switch {entry.id}, or with --at TIME"
    if report.only_waiting:
        when = stamp(report.only_waiting).replace(" ", "T")
        return f"wait; or let it be done: {_COMMAND} switch {entry.id} --at {when}"
    return f"mend what is red above, then: {_COMMAND} check {entry.id}"


def _after(entry: Entry, entries: Mapping[str, Entry], now: float) -> Iterator[str]:
    if course.can_roll_back(entry, entries, now=now):
        yield f"if something is wrong, until {stamp(course.roll_back_until(entry))}: {_COMMAND} roll-back"
    for old in _olds(entry, entries):
        if old.state is State.DEPRECATED:
            pin = old.leaf.spki_sha256
            record = "" if pin == entry.leaf.spki_sha256 else f" take 3 1 1 {pin} out of the zone, if it is there, and"
            yield f"after that{record}: {_COMMAND} withdraw {old.id}"


# as JSON


def status_record(found: Look) -> dict[str, Any]:
    """Where a changeover stands. The keys do not change."""
    entry, entries, report, traffic, _, now = found
    return {
        "certificate": list_record(entry, now),
        "replaces": [list_record(one, now) for one in _olds(entry, entries)],
        "held": entry.held,
        "forced": entry.forced,
        "told": list(entry.told),
        "roll_back_until": course.roll_back_until(entry) or None,
        "gates": gates_record(report) if report else None,
        "traffic": None
        if traffic is None
        else {"since": _traffic_record(traffic[0]), "before": _traffic_record(traffic[1])},
        "next": list(next_steps(entry, entries, report, now=now)),
    }


def notice_record(found: Notice) -> dict[str, Any]:
    """The text and its readers. The keys do not change."""
    rows = [{"partner": one.name, "why": list(one.why), "told": one.told} for one in found.partners]
    return {"id": found.entry.id, "text": found.text, "partners": rows}


def _traffic_record(one: Traffic) -> dict[str, Any]:
    return {
        "over_tls": one.over_tls,
        "in_clear": one.in_clear,
        "refused_for_want_of_tls": one.wanted_tls,
        "domains": sorted(one.domains),
    }
