"""The ranked list of what needs an administrator, which the overview, REST and `gatepost status` begin with.

Held mail, destinations whose mail is blocked, certificates, other alarms, failed validations, rehearsals without a
failure, then nodes and the resolver. Each item says what was observed and where to act. Who sees some organizations
finds items of theirs alone. Changes nothing.
"""

from __future__ import annotations

import time
from enum import StrEnum
from itertools import groupby
from threading import Lock
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import quote, urlencode

import msgspec
from msgspec import Meta

from gatepost.analysis.alarms.alarm import Kind as AlarmKind
from gatepost.analysis.alarms.alarm import Severity
from gatepost.analysis.checks.records import VALIDATIONS, CheckRecords
from gatepost.analysis.rehearsal.verdicts import ConnectorKey
from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases.alarms import ActiveAlarm, ActiveAlarms, current_alarms
from gatepost.manage.use_cases.connector_verdicts import recent_verdicts
from gatepost.manage.use_cases.declaration import Visibility, use_case
from gatepost.manage.use_cases.name_lookup import INBOUND, OUTBOUND, visible
from gatepost.manage.use_cases.nodes import known_nodes
from gatepost.manage.use_cases.queue import ListWaitingDestinations, WaitingDestination, waiting_destinations
from gatepost.manage.use_cases.refusal import RefusalKind, refusing
from gatepost.manage.use_cases.reports import ReportCounts
from gatepost.manage.use_cases.status import ABSENT, workers
from gatepost.manage.use_cases.trace import last_tries
from gatepost.policy.connectors.values import Mode
from gatepost.protocols.message.next_step import MustAct, waiting_step
from gatepost.quantity import quantity
from gatepost.store.interface import StoreFailure
from gatepost.store.nodes import NodeState
from gatepost.store.storage import Storage
from gatepost.texts import N_, own

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gatepost.manage.use_cases.context import Context, Gateway
    from gatepost.policy.connectors.records import Organization
    from gatepost.settings.model import Settings


_KINDS: Final = {"inbound": INBOUND, "outbound": OUTBOUND}
_VERDICT: Final = 300


class FailedValidation(msgspec.Struct, frozen=True):
    """A connector whose last validation failed. verdict: what it said."""

    organization: str
    direction: str
    name: str
    verdict: str


class QuietRehearsal(msgspec.Struct, frozen=True):
    """A connector in rehearsal. passed: rows of the last seven days, none of which failed."""

    organization: str
    direction: str
    name: str
    passed: int


class ConnectorFindings(msgspec.Struct, frozen=True):
    """failed, ready: in the order of the organizations."""

    failed: tuple[FailedValidation, ...] = ()
    ready: tuple[QuietRehearsal, ...] = ()


def connector_findings(gateway: Gateway, principal: Principal, organization: str) -> ConnectorFindings:
    """Look at all enabled connectors that are seen; of the one organization, if it is named. Raises Refusal."""
    owners = [
        owner
        for owner in visible(gateway.directory().resources, principal).organizations
        if organization in {"", owner.name}
    ]
    with refusing(RefusalKind.UNREADABLE, StoreFailure):
        failed = tuple(gateway.kept(ValidationOutcomes).failed(owners))
        return ConnectorFindings(failed, tuple(_quiet(gateway, owners)))


def _enabled(owner: Organization) -> Iterator[tuple[str, Any]]:
    for direction, kind in _KINDS.items():
        for connector in kind.of(owner):
            if connector.enabled:
                yield direction, connector


def _quiet(gateway: Gateway, owners: list[Organization]) -> Iterator[QuietRehearsal]:
    keys = [
        ConnectorKey(owner.name, direction, connector.name)
        for owner in owners
        for direction, connector in _enabled(owner)
        if connector.mode is Mode.REHEARSE
    ]
    if not keys:  # the trace need not be counted
        return
    for key, verdicts in recent_verdicts(gateway, keys).items():
        if verdicts.passed and not verdicts.failed:
            yield QuietRehearsal(key.organization, key.direction, key.name, verdicts.passed)


class ValidationOutcomes:
    """Outcomes of validations, each read once. For any thread. Got by `Context.kept`."""

    def __init__(self, settings: Settings) -> None:
        self._storage = Storage.of(settings)
        self._known: dict[tuple[str, str, str], tuple[float, str]] = {}
        self._reading = Lock()

    def failed(self, owners: list[Organization]) -> Iterator[FailedValidation]:
        """Connectors of these organizations whose last validation failed."""
        with self._reading:
            for owner in owners:
                records = CheckRecords(self._storage, VALIDATIONS, owner.name)
                when = records.times()
                for direction, connector in _enabled(owner):
                    if at := when(direction, connector.name):
                        verdict = self._verdict(records, (owner.name, direction, connector.name), at)
                        if verdict:
                            yield FailedValidation(owner.name, direction, connector.name, verdict)

    def _verdict(self, records: CheckRecords, key: tuple[str, str, str], at: float) -> str:
        """What a failed validation said, "" of another outcome. at: when its record was written."""
        known = self._known.get(key)
        if known is None or known[0] != at:
            record = records.last(*key[1:]) or {}
            failed = record.get("outcome") == "not-validated"
            known = at, str(record.get("verdict") or "It failed.")[:_VERDICT] if failed else ""
            self._known[key] = known
        return known[1]


_MOST: Final = 5  # items of one kind
_REPLY: Final = 160  # characters of what a host said
_WAIT: Final = 10.0
_DELIVERY: Final = ("delivery", "deliveries")


class WorkKind(StrEnum):
    """Kinds of work, the most urgent first."""

    HELD_MAIL = "held-mail"
    BLOCKED_MAIL = "blocked-mail"
    CERTIFICATE = "certificate"
    ALARM = "alarm"
    FAILED_VALIDATION = "failed-validation"
    REHEARSAL = "rehearsal"
    NODE = "node"
    RESOLVER = "resolver"


_RANKS: Final = tuple(WorkKind)
_SEVERITIES: Final = (Severity.CRITICAL, Severity.ERROR, Severity.WARNING)


class ListWork(msgspec.Struct, kw_only=True):
    """organization: only of this one. wait: seconds, at most, for what takes long to count."""

    organization: Annotated[str, Meta(max_length=1000)] = ""
    wait: Annotated[float, Meta(ge=0, le=30)] = _WAIT


class WorkItem(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to do.

    severity: critical, error or warning. title, detail: what was observed. organization: "" for the gateway's own.
    count: deliveries or things that it is about. action: label of the button. page: where it leads in the admin centre.
    """

    kind: WorkKind
    severity: Severity
    title: str
    detail: str
    action: str
    page: str
    organization: str = ""
    count: int = 1


class WorkList(msgspec.Struct, frozen=True):
    """The most urgent first. unknown: what could not be found out, in sentences."""

    items: list[WorkItem]
    unknown: list[str]


@use_case("GET /work", scope=Scope.READ, visibility=Visibility.SEEN, tag="status")
def list_work(context: Context, request: ListWork) -> WorkList:
    """List what needs an administrator, the most urgent first.

    Held mail, destinations whose mail is blocked, certificates and other alarms, failed validations, rehearsals without
    a failure, nodes, the resolver. Of each kind at most six items: the last one counts the rest.
    """
    selection = ListWaitingDestinations(organization=request.organization)
    destinations = waiting_destinations(context.gateway, context.principal, selection)
    alarms = current_alarms(context.gateway, context.principal, time.time())
    findings, unknown = _connectors(context, request)
    items = [
        *_held(destinations),
        *_blocked(context, destinations),
        *_alarms(alarms, request.organization, destinations),
        *_validations(findings),
        *_rehearsals(findings),
        *(_nodes(context) if context.principal.is_of_gateway and not request.organization else ()),
    ]
    items.sort(key=lambda item: (_RANKS.index(item.kind), _SEVERITIES.index(item.severity), -item.count))
    shown = [item for kind, some in groupby(items, key=lambda item: item.kind) for item in _shortened(kind, list(some))]
    shown.sort(key=lambda item: _SEVERITIES.index(item.severity))
    return WorkList(shown, [*alarms.unknown, *unknown])


def _connectors(context: Context, request: ListWork) -> tuple[ConnectorFindings, list[str]]:
    """What validations and rehearsals found; nothing yet where that takes longer than may be waited."""
    principal, organization = context.principal, request.organization
    question = "work", principal.organizations, organization
    gateway = context.gateway

    def work() -> ConnectorFindings:
        return connector_findings(gateway, principal, organization)

    answer = context.kept(ReportCounts).answers.of(context.principal.share_key, question, work, request.wait)
    if answer is None:
        return ConnectorFindings(), [N_("validations and rehearsals of connectors are still being counted")]
    return answer.value, []


# mail


def _held(destinations: Sequence[WaitingDestination]) -> Iterator[WorkItem]:
    by_organization: dict[str, int] = {}
    for destination in destinations:
        if destination.held:
            by_organization[destination.organization] = (
                by_organization.get(destination.organization, 0) + destination.held
            )
    for organization, count in by_organization.items():
        many = quantity(count, *_DELIVERY)
        yield WorkItem(
            kind=WorkKind.HELD_MAIL,
            severity=Severity.CRITICAL,
            title=f"{many} of {organization} {'is' if count == 1 else 'are'} held",
            detail=N_("An administrator or the downgrade guard stopped this mail. It expires unless it is released."),
            action=N_("Review held mail"),
            page=_page("/queue", state="held", organization=organization),
            organization=organization,
            count=count,
        )


def _blocked(context: Context, destinations: Sequence[WaitingDestination]) -> Iterator[WorkItem]:
    """Destinations whose mail waits until somebody acts, by their last error; of those shown, by that of each host."""
    shown = 0
    for destination in sorted(destinations, key=lambda destination: -destination.deferred):
        step = (
            waiting_step("deferred", destination.destination, destination.last_error) if destination.deferred else None
        )
        if step is None or step.must_act is MustAct.NOBODY:
            continue
        shown += 1
        many = quantity(destination.deferred, *_DELIVERY)
        hosts = _hosts(context, destination, shown)
        yield WorkItem(
            kind=WorkKind.BLOCKED_MAIL,
            severity=Severity.CRITICAL,
            title=f"{many} to {destination.destination} wait{'s' * (destination.deferred == 1)}",
            detail=f"{own(step.text)} Last error of each host: {hosts}" if hosts else step.text,
            action=N_("Open the message") if destination.count == 1 else N_("Open the oldest message"),
            page=f"/queue/{destination.oldest_message}",
            organization=destination.organization,
            count=destination.deferred,
        )


def _hosts(context: Context, destination: WaitingDestination, place: int) -> str:
    """The hosts that the oldest message was offered to, and what each said, where they said different things.

    place: of the destination among the blocked ones; those behind the last that is shown are not looked up.
    """
    if place > _MOST + 1:
        return ""
    try:
        tries = last_tries(context.gateway, context.principal, destination.oldest_message, destination.destination)
    except StoreFailure:  # the last error of all says what there is to do, too
        return ""
    if len(set(tries.values())) < 2:
        return ""
    return "; ".join(f"{host}: {reply[:_REPLY]}" for host, reply in list(tries.items())[:_MOST])


# alarms


def _alarms(alarms: ActiveAlarms, organization: str, destinations: Sequence[WaitingDestination]) -> Iterator[WorkItem]:
    """Active alarms, but for those about destinations that are in the list by themselves."""
    waiting = {
        (destination.organization, destination.destination) for destination in destinations if destination.deferred
    }
    for alarm in alarms.alarms:
        owner, slash, rest = (alarm.about or "").partition("/")
        owner = owner if slash and alarm.kind.of_mail else ""
        if organization and owner != organization:
            continue
        if alarm.kind is AlarmKind.PARTNER_FAILING and (owner, rest.rpartition("/")[2]) in waiting:
            continue
        if alarm.kind is AlarmKind.NODE_SILENT:  # nodes are in the list by themselves
            continue
        kind = _kind(alarm)
        yield WorkItem(
            kind=kind,
            severity=alarm.severity,
            title=alarm.title[:1].upper() + alarm.title[1:],
            detail=alarm.detail,
            action=N_("Open the certificate") if alarm.certificate else N_("What to do"),
            page=f"/certificates/{quote(alarm.certificate, safe='')}" if alarm.certificate else "/alarms",
            organization=owner,
        )


def _kind(alarm: ActiveAlarm) -> WorkKind:
    if alarm.kind in {AlarmKind.NAMESERVERS_DOWN, AlarmKind.DNSSEC_FAILS}:
        return WorkKind.RESOLVER
    return WorkKind.ALARM if alarm.kind.of_mail else WorkKind.CERTIFICATE


# connectors


def _validations(findings: ConnectorFindings) -> Iterator[WorkItem]:
    for validation in findings.failed:
        yield WorkItem(
            kind=WorkKind.FAILED_VALIDATION,
            severity=Severity.ERROR,
            title=f"The last validation of connector {validation.name} failed",
            detail=validation.verdict,
            action=N_("Validate again"),
            page=f"{_connector_page(validation)}#validation",
            organization=validation.organization,
        )


def _rehearsals(findings: ConnectorFindings) -> Iterator[WorkItem]:
    for rehearsal in findings.ready:
        yield WorkItem(
            kind=WorkKind.REHEARSAL,
            severity=Severity.WARNING,
            title=f"The rehearsal of connector {rehearsal.name} counted no failure in 7 days",
            detail=f"{quantity(rehearsal.passed, *_DELIVERY)} passed. Read the report, then enforce the connector.",
            action=N_("Review the rehearsal"),
            page=f"{_connector_page(rehearsal)}#report",
            organization=rehearsal.organization,
            count=rehearsal.passed,
        )


def _connector_page(finding: FailedValidation | QuietRehearsal) -> str:
    return f"/connectors/{quote(finding.organization, safe='')}/{finding.direction}/{quote(finding.name, safe='')}"


# the machine


_NOT_STARTED = N_(
    "Start it with systemctl start gatepost, or gatepost serve. gatepost doctor says what keeps it from starting."
)


_TAKEN_OVER: Final = N_("It has not been heard from; other nodes took its mail over.")
_NOT_TAKEN_OVER: Final = N_("It has not been heard from, and no other node runs that could take its mail over.")
_ALL_DRAINED: Final = N_(
    "Every node that runs is drained: senders are told to try again later. Undo the drain of one (gatepost node "
    "drain), or start it again."
)


def _nodes(context: Context) -> Iterator[WorkItem]:
    nodes = known_nodes(context.gateway)
    running = [node for node in nodes if node.state.is_alive]
    for node in nodes:
        if node.state is NodeState.DEAD:
            yield _node(f"Node {node.name} is dead", _TAKEN_OVER if running else _NOT_TAKEN_OVER)
    if running and all(node.state is not NodeState.ACTIVE for node in running):
        yield _node(N_("No node takes mail"), _ALL_DRAINED)
    here = workers(context.gateway)
    if all(worker.detail == ABSENT for worker in here):
        yield _node(N_("The gateway does not run"), _NOT_STARTED)
        return
    for worker in here:
        if not worker.ok:
            yield _node(f"Worker {worker.name} is not well", f"It {own(worker.detail)}.")


def _node(title: str, detail: str) -> WorkItem:
    return WorkItem(
        kind=WorkKind.NODE,
        severity=Severity.ERROR,
        title=title,
        detail=detail,
        action=N_("Show nodes and workers"),
        page="/#workers",
    )


def _shortened(kind: WorkKind, items: list[WorkItem]) -> list[WorkItem]:
    """At most so many items of a kind, and one that counts the rest."""
    if len(items) <= _MOST + 1:
        return items
    rest = items[_MOST:]
    page, action = _MORE[kind]
    more = WorkItem(
        kind=kind,
        severity=rest[0].severity,
        title=f"{len(rest)} more of this kind",
        detail="",
        action=action,
        page=page,
        count=len(rest),
    )
    return [*items[:_MOST], more]


_MORE: Final = {
    WorkKind.HELD_MAIL: ("/queue?state=held", N_("Review held mail")),
    WorkKind.BLOCKED_MAIL: ("/queue/destinations", N_("Show all destinations")),
    WorkKind.CERTIFICATE: ("/alarms", N_("Show all alarms")),
    WorkKind.ALARM: ("/alarms", N_("Show all alarms")),
    WorkKind.FAILED_VALIDATION: ("/connectors?sort=-validated", N_("Show connectors")),
    WorkKind.REHEARSAL: ("/connectors?status=rehearsal", N_("Show rehearsals")),
    WorkKind.NODE: ("/#nodes", N_("Show nodes and workers")),
    WorkKind.RESOLVER: ("/alarms", N_("Show all alarms")),
}


def _page(path: str, **query: str) -> str:
    return f"{path}?{urlencode({name: text for name, text in query.items() if text})}"
