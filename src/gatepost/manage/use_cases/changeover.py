"""A changeover as every interface shows it: current and next, the gates, the partners, what to do next.

Looking at the gates asks the world and takes from a second to a minute and a half; everything else reads files. The
steps that change something are in `changeover_steps`.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta

from gatepost.analysis.checks.chain import ChainChecker, ChainQuestion
from gatepost.analysis.checks.chain_file import parse_file
from gatepost.analysis.checks.chain_report import firewall_hosts
from gatepost.analysis.checks.chain_stores import RootStores
from gatepost.analysis.checks.changeover import (
    CheckContext,
    GateChecker,
    Told,
    Traffic,
    newly_failing,
    seen_partners,
    watch,
)
from gatepost.analysis.checks.changeover_notice import notice as notice_text
from gatepost.analysis.checks.gates import GateFinding, GateReport, Light, Partner, partners_of
from gatepost.manage.access.principal import Scope
from gatepost.manage.use_cases.certificates import (
    CertificateGates,
    CertificateNumber,
    CertificateSummary,
    certificate_gates,
    certificate_listing,
    certificate_of,
)
from gatepost.manage.use_cases.declaration import Cli, Visibility, use_cases
from gatepost.manage.use_cases.inventory import (
    ChosenCertificate,
    choose_certificate,
    chosen_certificate,
    inventory_for_look,
    inventory_of,
    listed_certificates,
)
from gatepost.manage.use_cases.jobs import ConcurrencyLimit
from gatepost.manage.use_cases.listener_checks import resolver_of
from gatepost.manage.use_cases.times import stamp
from gatepost.net.certificate import certificate_facts
from gatepost.net.lookups.http import HttpClient
from gatepost.pki.certificates import lifecycle
from gatepost.pki.certificates.entry import Entry, State
from gatepost.pki.certificates.stapling import Stapler

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Mapping

    from gatepost.manage.use_cases.context import Context, Gateway
    from gatepost.pki.certificates.inventory import Inventory, Listed
    from gatepost.settings.model import Settings


use_case = use_cases(visibility=Visibility.GATEWAY, tag="certificates")
_COMMAND = "gatepost certificate changeover"
_CLIENTS = 100


class GatesLimit(ConcurrencyLimit):
    """Of looks at gates, those of a switch among them."""

    def __init__(self, _: Settings | None = None) -> None:
        super().__init__(4, 2, "other checks are running; try again when one of them has finished")


# ------------------------------------------------------------------------------------------------ requests and results


class CheckGates(msgspec.Struct, kw_only=True):
    """Of which certificate."""

    certificate: CertificateNumber


class GetChangeover(msgspec.Struct, kw_only=True):
    """Of which certificate."""

    certificate: CertificateNumber


class ListChangeovers(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """certificate: as in paths; empty for every one that is staged, or that can be rolled back."""

    certificate: Annotated[str, Meta(max_length=200), Cli(argument=True, metavar="[ID]")] = ""


class GetNotice(msgspec.Struct, kw_only=True):
    """Of which certificate, and how thoroughly."""

    certificate: CertificateNumber
    quick: Annotated[bool, Meta(description="Partners of connectors alone, without those of the trace.")] = False


class TrafficCount(msgspec.Struct):
    """Messages that came in. domains: who sent over TLS. failed_clients: clients whose TLS handshakes failed.

    seconds: the length of the period.
    """

    over_tls: int
    in_clear: int
    refused_for_want_of_tls: int
    domains: list[str]
    failed_clients: int
    seconds: float = 0.0


class FailingClient(msgspec.Struct):
    """A client with which TLS is not agreed. address: of it. why: as OpenSSL says it; an alert is the client's word."""

    address: str
    why: str


class ChangeoverTraffic(msgspec.Struct):
    """Since the switch, and in as long before, an hour at least.

    newly_failing: clients whose TLS handshakes failed since, and not before for the same reason; 100 at most.
    """

    since: TrafficCount
    before: TrafficCount
    newly_failing: list[FailingClient]


class Changeover(msgspec.Struct):
    """Where one stands. roll_back_until: seconds since 1970. next: what to do, in order, with the commands."""

    certificate: CertificateSummary
    replaces: list[CertificateSummary]
    held: str
    forced: str
    told: list[str]
    roll_back_until: float | None
    gates: CertificateGates | None
    traffic: ChangeoverTraffic | None
    next: list[str]


class Changeovers(msgspec.Struct):
    """at: seconds since 1970. certificates: all there are."""

    at: float
    items: list[Changeover]
    certificates: list[CertificateSummary]


class NoticePartner(msgspec.Struct):
    """A domain that might know our certificate. why: what makes us think so."""

    partner: str
    why: list[str]
    told: bool


class Notice(msgspec.Struct):
    """The text of a mail to partners, and who they are."""

    id: str
    text: str
    partners: list[NoticePartner]
    certificate: CertificateSummary


# ------------------------------------------------------------------------------------------------ by what is stored


class ChangeoverCheck(NamedTuple):
    """One look at a changeover. report: None if there is nothing to look at. traffic: since the switch, and before.

    partners: who might expect the current one, by connectors and by the trace.
    """

    entry: Entry
    entries: Mapping[str, Entry]
    report: GateReport | None
    traffic: tuple[Traffic, Traffic] | None
    partners: tuple[Partner, ...]
    now: float


class ChangeoverStatus(NamedTuple):
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


# looking


def concerned(listed: Listed, number: str, *, now: float) -> list[Entry]:
    """The certificate that is named; without a name those that are staged, and those that can be rolled back."""
    if number:
        return [choose_certificate(listed, number)]
    staged = [entry for entry in listed.entries.values() if entry.state is State.NEXT]
    fresh = [entry for entry in listed.entries.values() if lifecycle.can_roll_back(entry, listed.entries, now=now)]
    return [*staged, *fresh]


def changeover_status(gateway: Gateway, number: str) -> ChangeoverStatus:
    """Without asking anybody. Raises Refusal: MISSING, UNREADABLE."""
    with inventory_of(gateway, keys=False) as inventory:
        listing = listed_certificates(inventory, gateway)
    entry = choose_certificate(listing, number)
    return ChangeoverStatus(
        entry,
        listing.entries,
        tuple(_olds(entry, listing.entries)),
        partners_of(entry, gateway.directory().organizations, {}),
        lifecycle.lost_names(entry, listing.entries),
        lifecycle.can_roll_back(entry, listing.entries, now=time.time()),
        listing.version,
    )


@use_case("POST /certificates/{certificate}/gates", scope=Scope.CERTIFICATES, action="certificate-look")
def check_gates(context: Context, request: CheckGates) -> CertificateGates:
    """Run the checks of a changeover now.

    Asks certificate authorities, the DNS and the gateway itself, for up to a minute and a half. Changes nothing. Two
    checks run at the same time for one user or token, four for all; beyond, 429.
    """
    gateway = context.gateway
    with _looked_at(context, request.certificate) as (inventory, listing, entry):
        report = run_gate_checks(gateway, inventory, entry, make_check_context(gateway, listing), context.on_progress)
    context.audit.describe(light=str(report.light))
    return certificate_gates(report)


@use_case(scope=Scope.CERTIFICATES, action="certificate-look")
def get_changeover(context: Context, request: GetChangeover) -> ChangeoverCheck:
    """Look at one changeover, its gates first, for a page.

    Progress is each gate with its findings.
    """
    gateway = context.gateway
    context.audit.describe(subject=request.certificate)
    with _looked_at(context, request.certificate) as (inventory, listing, entry):
        look = _check_changeover(gateway, inventory, entry, make_check_context(gateway, listing), context.on_progress)
    context.audit.describe(light=str(look.report.light) if look.report else "")
    return look


@use_case("POST /certificate_changeovers/look", scope=Scope.CERTIFICATES, may_404=True, action="certificate-look")
def list_changeovers(context: Context, request: ListChangeovers) -> Changeovers:
    """Where changeovers stand: looks at the gates of each now.

    Asks authorities, the DNS and the gateway itself, for up to a minute and a half for each. Two looks at a time of one
    user or token, four of all; beyond, 429.
    """
    context.audit.describe(subject=request.certificate)
    checks = check_changeovers(context, request.certificate)
    context.audit.describe(looked_at=[check.entry.id for check in checks])
    entries = checks[0].entries.values() if checks else certificate_listing(context.gateway).entries
    now = checks[0].now if checks else time.time()
    return Changeovers(
        now, [changeover_of(check) for check in checks], [certificate_of(entry, now) for entry in entries]
    )


@contextmanager
def _looked_at(context: Context, number: str) -> Iterator[ChosenCertificate]:
    """The certificate, while there is a place for a look at its gates. Raises Busy, Refusal."""
    opened = inventory_for_look(context.gateway)
    with context.kept(GatesLimit).slot(context.principal.name), chosen_certificate(context, number, opened) as chosen:
        yield chosen


def check_changeovers(context: Context, number: str = "") -> list[ChangeoverCheck]:
    """Of all that are under way, as `concerned`, one after the other. Raises Busy, Refusal."""
    gateway = context.gateway
    with context.kept(GatesLimit).slot(context.principal.name), inventory_for_look(gateway) as inventory:
        listing = listed_certificates(inventory, gateway)
        chosen = concerned(listing, number, now=time.time())
        if not chosen:
            return []
        scene = make_check_context(gateway, listing)
        return [_check_changeover(gateway, inventory, entry, scene) for entry in chosen]


def _check_changeover(
    gateway: Gateway, inventory: Inventory, entry: Entry, check_context: CheckContext, on_progress: Told | None = None
) -> ChangeoverCheck:
    report = None
    if entry.state in {State.NEXT, State.CURRENT}:
        report = run_gate_checks(gateway, inventory, entry, check_context, on_progress)
    traffic: tuple[Traffic, Traffic] | None = None
    if entry.state is State.CURRENT and entry.replaces and entry.current_from:
        traffic = watch(gateway.storage.trace(), entry.current_from, check_context.now)
    partners = partners_of(entry, check_context.organizations, check_context.seen or {})
    return ChangeoverCheck(entry, check_context.entries, report, traffic, partners, check_context.now)


def make_check_context(gateway: Gateway, listed: Listed) -> CheckContext:
    """Everything that gates are about, partners included. Raises Refusal (UNREADABLE)."""
    now = time.time()
    seen = seen_partners(gateway.storage.trace(), now=now)
    return CheckContext(listed.entries, gateway.directory().organizations, now, seen)


def run_gate_checks(
    gateway: Gateway, inventory: Inventory, entry: Entry, check_context: CheckContext, on_progress: Told | None = None
) -> GateReport:
    """Look at the gates, which may take a minute where addresses do not answer. Raises Refusal."""
    return _run_checks(gateway, inventory, lambda keeper: keeper.look(entry, check_context, on_progress))


def check_tlsa(gateway: Gateway, inventory: Inventory, entry: Entry, check_context: CheckContext) -> list[GateFinding]:
    """Findings about the TLSA records of a certificate, [] if they do not come in time. Raises Refusal."""
    try:
        return _run_checks(gateway, inventory, lambda keeper: keeper.sight(entry, check_context))
    except TimeoutError:
        return []


def _run_checks[T](gateway: Gateway, inventory: Inventory, look_: Callable[[GateChecker], Coroutine[Any, Any, T]]) -> T:
    async def run() -> T:
        resolver = resolver_of(gateway.settings)
        try:
            client = HttpClient(resolver)
            with gateway.config() as store:
                keeper = GateChecker(gateway.settings, inventory, resolver, client, Stapler(store, client))
                return await look_(keeper)
        finally:
            await resolver.close()

    return asyncio.run(run())


@use_case("GET /certificates/{certificate}/notice", scope=Scope.READ)
def get_notice(context: Context, request: GetNotice) -> Notice:
    """The text of a mail to partners, and who they are.

    Both certificates, what to check, and when. Asks nobody.
    """
    gateway, number = context.gateway, request.certificate
    with inventory_of(gateway, keys=False) as inventory:
        listing = listed_certificates(inventory, gateway)
        entry = choose_certificate(listing, number)
        chain = listing.chains.get(entry.id) or inventory.identity(entry).chain_pem
    checker = ChainChecker(None, RootStores.load(gateway.settings.tls.trust_anchors))
    question = ChainQuestion(parse_file(chain, f"certificate {entry.id}"))
    path = asyncio.run(checker.check(question, now=time.time())).facts.path
    above = [certificate_facts(link.der) for link in path[1:]]
    olds = tuple(_olds(entry, listing.entries))
    hosts = firewall_hosts(path)
    text = notice_text(entry, olds, hostname=gateway.settings.server.hostname, above=above, firewall=hosts)
    seen = {} if request.quick else seen_partners(gateway.storage.trace(), now=time.time())
    partners = partners_of(entry, gateway.directory().organizations, seen)
    rows = [NoticePartner(partner.name, list(partner.why), partner.told) for partner in partners]
    return Notice(entry.id, text, rows, certificate_of(entry))


def _olds(entry: Entry, entries: Mapping[str, Entry]) -> list[Entry]:
    if entry.state is State.NEXT:
        return list(lifecycle.replaced(entry, entries))
    return [entries[number] for number in entry.replaces if number in entries]


# what to do next


def next_steps(entry: Entry, entries: Mapping[str, Entry], report: GateReport | None, *, now: float) -> Iterator[str]:
    """Next steps in their order, with the commands."""
    match entry.state:
        case State.NEXT:
            if entry.held:
                yield f"the planned switch did not happen: {entry.held}"
            yield _before(entry, report)
        case State.CURRENT:
            yield from _after(entry, entries, now)
        case State.DEPRECATED:
            yield f"when you no longer need it: {_COMMAND} withdraw {entry.id}"
        case State.RETIRED:
            yield "nothing: its key was destroyed"


def _before(entry: Entry, report: GateReport | None) -> str:
    if entry.switch_at:
        return f"nothing: the switch is planned for {stamp(entry.switch_at)}; to cancel it: {_COMMAND} cancel"
    if report is None or report.light is Light.GREEN:
        return f"{_COMMAND} switch {entry.id}, or with --at TIME"
    if report.only_waiting:
        when = stamp(report.only_waiting).replace(" ", "T")
        return f"wait, or plan the switch: {_COMMAND} switch {entry.id} --at {when}"
    return f"resolve the items marked ✗ or ?, then: {_COMMAND} check {entry.id}"


def _after(entry: Entry, entries: Mapping[str, Entry], now: float) -> Iterator[str]:
    if lifecycle.can_roll_back(entry, entries, now=now):
        yield f"if something is wrong, until {stamp(lifecycle.roll_back_until(entry))}: {_COMMAND} roll-back"
    for old in _olds(entry, entries):
        if old.state is State.DEPRECATED:
            pin = old.leaf.spki_sha256
            record = "" if pin == entry.leaf.spki_sha256 else f" remove 3 1 1 {pin} from the zone if it is there, and"
            yield f"after that{record}: {_COMMAND} withdraw {old.id}"


# as JSON


def changeover_of(check: ChangeoverCheck) -> Changeover:
    """The look as REST and `--json` show it."""
    entry, entries, report, traffic, _, now = check
    return Changeover(
        certificate=certificate_of(entry, now),
        replaces=[certificate_of(old, now) for old in _olds(entry, entries)],
        held=entry.held,
        forced=entry.forced,
        told=list(entry.told),
        roll_back_until=lifecycle.roll_back_until(entry) or None,
        gates=certificate_gates(report) if report else None,
        traffic=_compared(*traffic) if traffic else None,
        next=list(next_steps(entry, entries, report, now=now)),
    )


def _compared(since: Traffic, before: Traffic) -> ChangeoverTraffic:
    failing = [FailingClient(*pair) for pair in newly_failing(since, before)[:_CLIENTS]]
    return ChangeoverTraffic(_traffic(since), _traffic(before), failing)


def _traffic(traffic: Traffic) -> TrafficCount:
    return TrafficCount(
        traffic.over_tls,
        traffic.in_clear,
        traffic.wanted_tls,
        sorted(traffic.domains),
        traffic.failed_clients,
        traffic.seconds,
    )
