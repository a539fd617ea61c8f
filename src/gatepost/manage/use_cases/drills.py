"""Drills of outbound connectors: held as jobs, kept as evidence, listed and looked at again.

A drill takes a second or two and 15 at most, reaches nobody but this machine, and changes nothing but the evidence, the
trace and the evidence log, which it adds to. Each that is kept is verified when it is looked at. The names of documents
tell whose they are without reading them, so that a page costs what its rows cost. Of connectors that were removed, the
drills are for who sees the whole gateway.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import quote

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from gatepost import __version__
from gatepost.mail.model.trace_event import TraceEvent
from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases.declaration import Cli, InQuery, Items, UseCaseReply, Visibility, use_cases
from gatepost.manage.use_cases.jobs import Job, Jobs, OrganizationSubject, Wait
from gatepost.manage.use_cases.name_lookup import Chosen, choose_connector, choose_organization, chosen_organizations
from gatepost.manage.use_cases.paging import Paging, cut, position
from gatepost.manage.use_cases.record_budget import RecordBudget
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind, StoreUnreadable, refusing
from gatepost.manage.use_cases.stored_message import evidence_log
from gatepost.policy.connectors.records import OutboundConnector
from gatepost.store.documents import failure_text
from gatepost.store.interface import StoreFailure, TraceFilter
from gatepost.store.trace import ADMIN_WRITER
from gatepost.texts import last_argument

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gatepost.analysis.checks.drill_report import DrillReport
    from gatepost.analysis.checks.evidence import DrillName, Kept
    from gatepost.manage.use_cases.context import Context, Gateway
    from gatepost.policy.connectors.resources import Resources


_log = logging.getLogger(__name__)

use_case = use_cases(visibility=Visibility.ORGANIZATION, tag="connectors")
_ROWS: Final = 1000


class DrillConnector(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """connector: an outbound one, enabled or not."""

    organization: Annotated[str, Meta(description="Whose connector it is.")]
    connector: Annotated[str, Meta(max_length=1000)]
    wait: Annotated[Wait, InQuery()] = 20.0


class ShowDrill(msgspec.Struct, kw_only=True):
    """The drill to show, and how long to wait for its result."""

    organization: Annotated[str, Meta(description="Whose connector it is.")]
    id: Annotated[str, Meta(description="Of the drill, as its beginning answered.")]
    wait: Wait = 20.0


class ShowLastDrill(msgspec.Struct, kw_only=True):
    """Of which connector."""

    organization: Annotated[str, Meta(description="Whose connector it is.")]
    connector: Annotated[str, Meta(description="Its name.")]


class HeldDrill(msgspec.Struct, frozen=True):
    """A drill, as `gatepost connector drill --json` prints it (record), and what is kept of it.

    passed: whether what the connector promises was held. evidence: the file on the gateway's machine, "" if it is not
    kept. sha256: of the record. unkept: why it is not kept. fault: why what is kept is not what was written, and then
    nothing of it may be believed. recorded: whether the trace has the same SHA-256. changed: whether the connector is
    another one since. troubles: what else could not be written.
    """

    record: dict[str, Any]
    passed: bool
    evidence: str
    sha256: str
    unkept: str
    fault: str
    recorded: bool
    changed: bool
    troubles: list[str]


class DrillState(msgspec.Struct, frozen=True):
    """A drill that was begun. trouble: why it ended without a result. result: null until it is done."""

    id: str
    connector: str
    done: bool
    trouble: str
    result: HeldDrill | None

    @property
    def held(self) -> HeldDrill:
        """The result of one that has ended. Raises Refusal (UNREADABLE) if it has none."""
        if self.result is None:
            raise Refusal(RefusalKind.UNREADABLE, self.trouble)
        return self.result


class LastDrill(msgspec.Struct, frozen=True):
    """drill: the last one that is kept, just verified; null if none is."""

    drill: HeldDrill | None


class Drill(OrganizationSubject):
    """Subject of a drill's job."""


def choose_drilled(resources: Resources, name: str, organization: str = "", direction: str | None = None) -> Chosen:
    """The outbound connector that is meant; an inbound one of the same name makes no doubt.

    Raises Refusal: as `choose_connector`, and INPUT if only an inbound one can be meant.
    """
    owners = chosen_organizations(resources, organization)
    outbound = {connector.name.lower() for whose in owners for connector in whose.outbound_connectors}
    if direction is None and name.lower() in outbound:
        direction = "outbound"
    chosen = choose_connector(resources, name, organization, direction)
    if not isinstance(chosen.connector, OutboundConnector):
        name = last_argument(name)
        text = f"{chosen.label}: drills are for outbound connectors; try: gatepost connector validate {name}"
        raise Refusal(RefusalKind.INPUT, text)
    return chosen


@use_case(
    "POST /organizations/{organization}/drills",
    scope=Scope.CONNECTORS,
    status=201,
    may_404=True,
    action="connector-drill",
    self_audited=True,
)
def start_drill(context: Context, request: DrillConnector) -> UseCaseReply[DrillState]:
    """Drill an outbound connector: attacks on loopback, with the code that delivers.

    Two runs at a time of a user or token of the gateway, or of all those of a tenant, and six of all, checks among
    them. It is kept as evidence.
    """
    context.audit.describe(subject=request.connector)
    chosen = _chosen(context, request.connector, request.organization)
    owner = chosen.organization.name

    def work(_: object) -> HeldDrill:
        with context.recording("connector-drill", owner, chosen.label) as event:
            held = _held(context.gateway, context.principal, chosen)
            outcome = "passed" if held.passed else "failed" if held.evidence else "not kept"
            event.detail.update(outcome=outcome, sha256=held.sha256)
        return held

    job: Job[Drill, HeldDrill] = context.kept(Jobs).start(Drill(owner, chosen.label), context.principal, work)
    job.wait(request.wait)
    return UseCaseReply(_state(job), location=f"/organizations/{quote(owner, safe='')}/drills/{job.id}")


@use_case("GET /organizations/{organization}/drills/{id}", scope=Scope.CONNECTORS)
def show_drill(context: Context, request: ShowDrill) -> DrillState:
    """A drill that was begun."""
    job = context.kept(Jobs).find(request.id, context.principal, Drill)
    if job.subject.organization != request.organization:
        raise Refusal(RefusalKind.MISSING, "There is no such drill; results are available for one hour.")
    job.wait(request.wait)
    return _state(job)


def _state(job: Job[Drill, HeldDrill]) -> DrillState:
    done = job.done  # before the rest: with it comes all that there is to see
    return DrillState(job.id, job.subject.text, done, job.trouble, job.result)


@use_case("GET /organizations/{organization}/last_drill/{connector:path}", scope=Scope.READ)
def show_last_drill(context: Context, request: ShowLastDrill) -> LastDrill:
    """The last drill of an outbound connector that is kept, verified now."""
    from gatepost.analysis.checks import evidence  # noqa: PLC0415 - most processes hold and show none
    from gatepost.analysis.checks.drill_report import resource_of  # noqa: PLC0415

    gateway, who = context.gateway, context.principal
    chosen = _chosen(context, request.connector, request.organization)
    assert isinstance(chosen.connector, OutboundConnector)  # noqa: S101 - so it was chosen
    documents = evidence.drill_documents(gateway.storage)
    try:
        kept = evidence.last(documents, chosen.organization.name, chosen.connector.name)
        fault = (kept.fault or evidence.previous(documents, kept)) if kept else ""
    except (OSError, StoreFailure) as error:
        raise StoreUnreadable(failure_text(documents, error)) from error
    if kept is None:
        return LastDrill(None)
    changed = kept.record.get("resource") != resource_of(chosen.connector)
    return LastDrill(replace(verified(gateway, who, kept, fault), changed=changed))


def verified(gateway: Gateway, principal: Principal, kept: Kept, fault: str) -> HeldDrill:
    """A drill that is kept, compared with what the trace recorded of it. fault: what is wrong with it anyway."""
    recorded = _recorded(gateway, kept)
    if not fault and recorded not in {"", kept.sha256}:
        fault = f"the trace recorded another SHA-256 for it: {recorded}"
    held = _shape(kept.record, passed=not fault and kept.record.get("passed") is True, principal=principal, kept=kept)
    return replace(held, fault=fault, recorded=bool(recorded))


def _chosen(context: Context, name: str, organization: str) -> Chosen:
    return choose_drilled(context.seen(), name, organization)


def _shape(
    record: dict[str, Any],
    *,
    passed: bool,
    principal: Principal | None = None,
    kept: Kept | None = None,
    unkept: str = "",
) -> HeldDrill:
    """Of a drill as it is held or found; principal: sees where it is kept."""
    evidence = _place(principal, kept) if principal and kept else ""
    sha256 = kept.sha256 if kept else ""
    return HeldDrill(record, passed, evidence, sha256, unkept, fault="", recorded=False, changed=False, troubles=[])


def _held(gateway: Gateway, principal: Principal, chosen: Chosen) -> HeldDrill:
    from gatepost.analysis.checks.drill import run_drill  # noqa: PLC0415 - most calls hold none
    from gatepost.analysis.checks.drill_context import DrillImpossible  # noqa: PLC0415 - most calls hold none
    from gatepost.analysis.checks.evidence import canonical, drill_documents, keep  # noqa: PLC0415

    assert isinstance(chosen.connector, OutboundConnector)  # noqa: S101 - so it was chosen
    with refusing(RefusalKind.UNREADABLE, DrillImpossible, text="{label}: {error}", label=chosen.label), _unlogged():
        report = asyncio.run(run_drill(gateway.settings, gateway.directory(), chosen.organization, chosen.connector))
    record = report.record() | {"gatepost": __version__, "hostname": gateway.settings.server.hostname}
    if not report.arrived:
        return _shape(record, passed=False)
    gateway.kept(RecordBudget).charge(principal, len(canonical(record)))
    try:
        kept = keep(drill_documents(gateway.storage), record)
    except (OSError, StoreFailure) as error:
        return _shape(record, passed=False, unkept=_unkept(principal, error))
    held = _shape(kept.record, passed=report.passed, principal=principal, kept=kept)
    return replace(held, troubles=list(_written(gateway, principal, report, kept)))


def _unkept(principal: Principal, error: OSError | StoreFailure) -> str:
    if principal.is_of_gateway:
        return f"the result cannot be kept as evidence: {error}"
    _log.error("the result of a drill cannot be kept as evidence: %s", error)
    return "the result cannot be kept as evidence; the gateway's log says why"


def _place(principal: Principal, evidence: Kept) -> str:
    return str(evidence.path) if principal.is_of_gateway else evidence.path.name


_DRILLING: ContextVar[bool] = ContextVar("drilling", default=False)


def _is_news(_: logging.LogRecord) -> bool:
    return not _DRILLING.get()


@contextmanager
def _unlogged() -> Iterator[None]:
    """While what this thread and its tasks log is no news: what an attack makes of a message has not happened.

    Filters of a logger do not see what its descendants log, so that they stand at the handlers.
    """
    mark = _DRILLING.set(True)
    for handler in _handlers():
        handler.addFilter(_is_news)  # once, however often it is added; it stays, and lets through all but drills
    try:
        yield
    finally:
        _DRILLING.reset(mark)


def _handlers() -> list[logging.Handler]:
    handlers = [*logging.getLogger("gatepost").handlers, *logging.getLogger().handlers]
    return [*handlers, *([logging.lastResort] if logging.lastResort else [])]


def _written(gateway: Gateway, principal: Principal, report: DrillReport, evidence: Kept) -> Iterator[str]:
    """Add it to the trace and to the evidence log; what could not be, and to who sees the gateway why."""
    event = _event(report, evidence)
    try:
        gateway.storage.trace().write(ADMIN_WRITER, [event])
    except StoreFailure as failure:
        _log.error("the trace has no row of a drill: %s", failure)
        full = f"the trace has no row of this drill: {failure}"
        yield full if principal.is_of_gateway else "the trace has no row of this drill"
    try:
        evidence_log(gateway.settings)([event])
    except StoreFailure as failure:
        _log.error("the evidence log has no entry of a drill: %s", failure)
        full = f"the evidence log has no entry of this drill: {failure}"
        yield full if principal.is_of_gateway else "the evidence log has no entry of this drill"


def _event(report: DrillReport, evidence: Kept) -> TraceEvent:
    """One row, which holds the hash too: a file that is changed later no longer agrees with it."""
    context = report.context
    return TraceEvent(
        at=time.time(),
        event="DRILL",
        message="",
        organization=context.organization,
        direction="",
        session="",
        sender="",
        recipient="",
        connector=context.connector.name,
        requirement=evidence.record["requirement"]["text"],
        reply=report.verdict,
        detail={
            "configuration": context.directory.version,
            "passed": report.passed,
            "attacks": len(report.played),
            "messages_left": evidence.record["messages_left"],
            "file": evidence.path.name,
            "sha256": evidence.sha256,
        },
    )


def _recorded(gateway: Gateway, evidence: Kept) -> str:
    """The hash of that file by the trace, "" if it has none."""
    organization, connector = str(evidence.record.get("organization", "")), str(evidence.record.get("connector", ""))
    if not organization or not connector:
        return ""
    wanted = TraceFilter(organization=organization, connector=connector, event="DRILL", limit=_ROWS)
    rows = gateway.storage.trace().search(wanted)
    hashes = (str(row.detail.get("sha256", "")) for row in rows if row.detail.get("file") == evidence.path.name)
    return next(hashes, "")


_kept_case = use_cases(scope=Scope.READ, visibility=Visibility.SEEN, tag="connectors")


class ListDrills(Paging, kw_only=True):
    """Filters of drills; empty fields match all."""

    organization: Annotated[str, Meta(max_length=1000), Cli(help="Only drills of this organization's connectors.")] = ""
    connector: Annotated[
        str,
        Meta(max_length=1000, description="Its name; with organization."),
        Cli(help="Only drills of this connector; name its organization, too."),
    ] = ""


class ShowKeptDrill(msgspec.Struct, kw_only=True):
    """Choose one drill."""

    name: Annotated[str, Meta(max_length=200, description="Of its document, as the list has it.")]


class KeptDrill(msgspec.Struct, frozen=True):
    """A drill in the list. name: of its document. at: when it was held, seconds since 1970.

    number: in its connector's series. fault: why what is kept is not what was written; then nothing else of it may be
    believed. messages_left: how many attacks took the message, those out of scope included.
    """

    name: str
    at: float
    organization: str
    connector: str
    number: int
    passed: bool
    verdict: str
    attacks: int
    messages_left: int
    sha256: str
    fault: str


@_kept_case("GET /drills")
def list_drills(context: Context, request: ListDrills) -> Items[KeptDrill]:
    """Drills that are kept, the newest first, each verified by its own hash."""
    from gatepost.analysis.checks.evidence import drill_documents, read_drill  # noqa: PLC0415 - most processes list none

    documents = drill_documents(context.storage)
    try:
        names = _seen(context, request)
    except (OSError, StoreFailure) as error:
        raise StoreUnreadable(failure_text(documents, error)) from error
    if request.after:
        after = position(request.after, tuple[str, str])
        names = [name for name in names if (name.at, name.name) < after]
    page, rest = cut(names[: request.limit + 1], request.limit, lambda name: (name.at, name.name))
    return Items([_kept_drill(name, read_drill(documents, name.name)) for name in page], rest)


@_kept_case("GET /drills/{name}")
def show_kept_drill(context: Context, request: ShowKeptDrill) -> HeldDrill:
    """A drill that is kept, verified now: by its hash, the drills before it and the trace."""
    from gatepost.analysis.checks.evidence import drill_documents, previous, read_drill  # noqa: PLC0415 - most processes list none

    documents = drill_documents(context.storage)
    try:
        name = next((name for name in _seen(context, ListDrills()) if name.name == request.name), None)
        if name is None:
            raise Refusal(RefusalKind.MISSING, f"There is no drill {request.name!r}.")
        kept = read_drill(documents, name.name)
        fault = kept.fault or previous(documents, kept)
    except (OSError, StoreFailure) as error:
        raise StoreUnreadable(failure_text(documents, error)) from error
    return verified(context.gateway, context.principal, kept, fault)


def _seen(context: Context, request: ListDrills) -> Sequence[DrillName]:
    """The drills of connectors that are seen, and of one organization or connector, if it is named.

    Raises Refusal (MISSING) for an organization that is not there; OSError or StoreFailure.
    """
    from gatepost.analysis.checks.evidence import drill_documents, drill_names, series_of  # noqa: PLC0415 - most processes list none

    names = drill_names(drill_documents(context.storage))
    resources = context.seen()
    if request.organization:
        choose_organization(resources, request.organization)
    elif request.connector:
        raise Refusal(RefusalKind.INPUT, "Name the organization of the connector, too.", options=["organization"])
    elif context.principal.is_of_gateway:
        return names
    series = {
        series_of(owner.name, connector)
        for owner in chosen_organizations(resources, request.organization)
        for connector in [request.connector or each.name for each in owner.outbound_connectors]
    }
    return [name for name in names if name.series in series]


def _kept_drill(name: DrillName, kept: Kept) -> KeptDrill:
    from gatepost.analysis.checks.evidence import moment_of  # noqa: PLC0415 - most processes list none

    record = kept.record

    def text(field: str) -> str:
        return str(record.get(field, ""))[:300]

    def number(field: str) -> int:
        value = record.get(field)
        return value if isinstance(value, int) else 0

    passed = not kept.fault and record.get("passed") is True
    return KeptDrill(
        name.name,
        moment_of(name.at),
        text("organization"),
        text("connector"),
        name.number,
        passed=passed,
        verdict=text("verdict"),
        attacks=number("attacks"),
        messages_left=number("messages_left"),
        sha256=kept.sha256[:64],
        fault=kept.fault,
    )
