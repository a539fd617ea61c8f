"""The ranked list of what needs an administrator, which the overview, REST and `gatepost status` begin with.

Held mail, destinations whose mail is blocked, certificates, other alarms, failed validations, rehearsals without a
failure, then nodes and the resolver. Each item says what was observed and where to act. Who sees some organizations
finds items of theirs alone. Changes nothing.
"""

from __future__ import annotations

import time
from enum import StrEnum
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Final
from urllib.parse import quote, urlencode

import msgspec
from msgspec import Meta

from gatepost.analysis.alarms.alarm import Kind as AlarmKind
from gatepost.analysis.alarms.alarm import Severity
from gatepost.manage.access.principal import Scope
from gatepost.manage.use_cases.alarms import current_alarms
from gatepost.manage.use_cases.connector_work import ConnectorFindings, connector_findings
from gatepost.manage.use_cases.declaration import Visibility, use_case
from gatepost.manage.use_cases.nodes import known_nodes
from gatepost.manage.use_cases.queue import ListWaitingDestinations, waiting_destinations
from gatepost.manage.use_cases.report_counts import ReportCounts
from gatepost.manage.use_cases.status import workers
from gatepost.protocols.message.next_step import MustAct, waiting_step
from gatepost.quantity import quantity
from gatepost.store.nodes import NodeState
from gatepost.texts import N_, own

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gatepost.manage.use_cases.alarms import ActiveAlarm, ActiveAlarms
    from gatepost.manage.use_cases.connector_work import FailedValidation, QuietRehearsal
    from gatepost.manage.use_cases.context import Context
    from gatepost.manage.use_cases.queue import WaitingDestination


_MOST: Final = 5  # items of one kind
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
        *_blocked(destinations),
        *_alarms(alarms, request.organization, destinations),
        *_validations(findings),
        *_rehearsals(findings),
        *(_nodes(context) if context.principal.is_of_gateway and not request.organization else ()),
    ]
    items.sort(key=lambda item: (_RANKS.index(item.kind), _SEVERITIES.index(item.severity), -item.count))
    shown = [item for kind, some in groupby(items, key=lambda item: item.kind) for item in _shortened(kind, list(some))]
    return WorkList(shown, [*alarms.unknown, *unknown])


def _connectors(context: Context, request: ListWork) -> tuple[ConnectorFindings, list[str]]:
    """What validations and rehearsals found; nothing yet where that takes longer than may be waited."""
    principal, organization = context.principal, request.organization
    question = "work", principal.organizations, organization
    gateway = context.gateway

    def work() -> ConnectorFindings:
        return connector_findings(gateway, principal, organization)

    answer = context.kept(ReportCounts).answers.of(question, work, request.wait)
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


def _blocked(destinations: Sequence[WaitingDestination]) -> Iterator[WorkItem]:
    """Destinations whose mail waits until somebody acts, by their last error."""
    for destination in destinations:
        step = (
            waiting_step("deferred", destination.destination, destination.last_error) if destination.deferred else None
        )
        if step is None or step.must_act is MustAct.NOBODY:
            continue
        many = quantity(destination.deferred, *_DELIVERY)
        yield WorkItem(
            kind=WorkKind.BLOCKED_MAIL,
            severity=Severity.CRITICAL,
            title=f"{many} to {destination.destination} wait{'s' * (destination.deferred == 1)}",
            detail=step.text,
            action=N_("Open the message") if destination.count == 1 else N_("Open the oldest message"),
            page=f"/queue/{destination.oldest_message}",
            organization=destination.organization,
            count=destination.deferred,
        )


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
    if alarm.kind is AlarmKind.NAMESERVERS_DOWN:
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


def _nodes(context: Context) -> Iterator[WorkItem]:
    for node in known_nodes(context.gateway):
        if node.state is NodeState.DEAD:
            yield _node(f"Node {node.name} is dead", N_("It has not been heard from; other nodes took its mail over."))
    for worker in workers(context.gateway):
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
