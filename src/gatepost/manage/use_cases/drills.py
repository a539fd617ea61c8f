"""Drills of outbound connectors, for every door: held, kept as evidence, and looked at again.

Used by `gatepost connector drill`, beside the gateway and from afar. A drill takes a second or two and 15 at most,
reaches nobody but this machine, and changes nothing but the evidence, the trace and the evidence log, which it adds to.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gatepost import __version__
from gatepost.mail.model.trace_event import TraceEvent
from gatepost.manage.use_cases.choice import choose_connector, chosen_organizations, visible
from gatepost.manage.use_cases.evidence_log import evidence_log
from gatepost.manage.use_cases.jobs import Jobs
from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.policy.connectors.records import OutboundConnector
from gatepost.store.interface import StoreFailure, TraceFilter
from gatepost.store.trace import write_events
from gatepost.store.trace_search import search_trace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatepost.analysis.checks.drill_report import DrillReport
    from gatepost.analysis.checks.evidence import Kept
    from gatepost.manage.access.accounts import Accounts
    from gatepost.manage.access.principal import Principal
    from gatepost.manage.access.records import Actor
    from gatepost.manage.use_cases.choice import Chosen
    from gatepost.manage.use_cases.gateway import Gateway
    from gatepost.manage.use_cases.jobs import Job
    from gatepost.policy.connectors.model import Resources


_ROWS: Final = 1000


class Drilled(NamedTuple):
    """What came of a drill that was held, or what is kept of the last one.

    record: all of it, {} if the kept file cannot be read. passed: whether what is promised was held. evidence: the
    file, for who sees some organizations its name alone; "" if it is not kept. sha256: of the record. unkept: why it
    could not be kept, "" if it was or shows nothing. fault: why what is kept is not what was written, "" if it is.
    recorded: whether the trace has the same SHA-256. changed: whether the connector is another one since. troubles:
    what else could not be written, a sentence each.
    """

    record: dict[str, Any]
    passed: bool
    evidence: str = ""
    sha256: str = ""
    unkept: str = ""
    fault: str = ""
    recorded: bool = False
    changed: bool = False
    troubles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Drill:
    """What a run of a drill is about."""

    organization: str
    text: str
    kind: str = "drill"


def choose_drilled(resources: Resources, name: str, organization: str = "", direction: str | None = None) -> Chosen:
    """The outbound connector that is meant; an inbound one of the same name makes no doubt.

    Raises Refusal: as `choose_connector`, and INPUT if only an inbound one can be meant.
    """
    owners = chosen_organizations(resources, organization)
    outbound = {one.name.lower() for whose in owners for one in whose.outbound_connectors}
    if direction is None and name.lower() in outbound:
        direction = "outbound"
    chosen = choose_connector(resources, name, organization, direction)
    if not isinstance(chosen.connector, OutboundConnector):
        text = f"{chosen.label}: drills are for outbound connectors; try: gatepost connector validate {name}"
        raise Refusal(Kind.INPUT, text)
    return chosen


def drilled(
    gateway: Gateway, who: Principal, name: str, organization: str = "", direction: str | None = None
) -> Drilled:
    """Hold one and keep it. Raises Refusal: as `choose_drilled`; UNREADABLE if it cannot be held or shows nothing."""
    return _held(gateway, who, choose_drilled(_seen(gateway, who), name, organization, direction))


def begin_drill(gateway: Gateway, who: Principal, chosen: Chosen, accounts: Accounts, by: Actor) -> Job[Drill, Drilled]:
    """Begin to hold one. chosen: of `choose_drilled`. accounts, by: for the audit, written in the end.

    Raises Busy if too many runs are under way.
    """
    owner = chosen.organization.name

    def note(outcome: str, **more: str) -> None:
        detail = {"outcome": outcome, **more}
        accounts.record(by, "connector-drill", organization=owner, subject=chosen.label, detail=detail)

    def work(_: object) -> Drilled:
        try:
            found = _held(gateway, who, chosen)
        except Refusal:
            note("not held")
            raise
        note("passed" if found.passed else "failed" if found.evidence else "not kept", sha256=found.sha256)
        return found

    return gateway.kept(Jobs).start(Drill(owner, chosen.label), who, work)


def last_drill(
    gateway: Gateway, who: Principal, name: str, organization: str = "", direction: str | None = None
) -> Drilled | None:
    """The last one that is kept, checked against its hash, those before it and the trace; None if none is kept.

    Raises Refusal: as `choose_drilled`; UNREADABLE.
    """
    from gatepost.analysis.checks import evidence  # noqa: PLC0415 - most doors hold and show none
    from gatepost.analysis.checks.drill_report import resource_of  # noqa: PLC0415

    chosen = choose_drilled(_seen(gateway, who), name, organization, direction)
    assert isinstance(chosen.connector, OutboundConnector)  # noqa: S101 - so it was chosen
    directory = evidence.drills_directory(gateway.data)
    try:
        kept = evidence.last(directory, chosen.organization.name, chosen.connector.name)
        fault = (kept.fault or evidence.previous(directory, kept)) if kept else ""
    except OSError as error:
        raise Refusal(Kind.UNREADABLE, f"{directory}: {error.strerror}") from error
    if kept is None:
        return None
    recorded = _recorded(gateway, chosen, kept)
    if not fault and recorded not in {"", kept.sha256}:
        fault = f"the trace recorded another SHA-256 for it: {recorded}"
    return Drilled(
        kept.record,
        passed=not fault and kept.record.get("passed") is True,
        evidence=_place(who, kept),
        sha256=kept.sha256,
        fault=fault,
        recorded=bool(recorded),
        changed=kept.record.get("resource") != resource_of(chosen.connector),
    )


def _seen(gateway: Gateway, who: Principal) -> Resources:
    return visible(gateway.directory().resources, who)


def _held(gateway: Gateway, who: Principal, chosen: Chosen) -> Drilled:
    from gatepost.analysis.checks.drill import run_drill  # noqa: PLC0415 - most doors hold none
    from gatepost.analysis.checks.drill_scene import DrillImpossible  # noqa: PLC0415 - most doors hold none
    from gatepost.analysis.checks.evidence import drills_directory, keep  # noqa: PLC0415

    assert isinstance(chosen.connector, OutboundConnector)  # noqa: S101 - so it was chosen
    try:
        with _unlogged():
            report = asyncio.run(
                run_drill(gateway.settings, gateway.directory(), chosen.organization, chosen.connector)
            )
    except DrillImpossible as impossible:
        raise Refusal(Kind.UNREADABLE, f"{chosen.label}: {impossible}") from impossible
    record = report.record() | {"gatepost": __version__, "hostname": gateway.settings.server.hostname}
    if not report.arrived:
        return Drilled(record, passed=False)
    try:
        kept = keep(drills_directory(gateway.data), record)
    except (OSError, StoreFailure) as error:
        return Drilled(record, passed=False, unkept=f"the result cannot be kept as evidence: {error}")
    troubles = tuple(_written(gateway, report, kept))
    return Drilled(kept.record, report.passed, _place(who, kept), kept.sha256, troubles=troubles)


def _place(who: Principal, kept: Kept) -> str:
    return str(kept.path) if who.is_of_gateway else kept.path.name


_DRILLING: ContextVar[bool] = ContextVar("drilling", default=False)


def _is_news(_: logging.LogRecord) -> bool:
    return not _DRILLING.get()


@contextmanager
def _unlogged() -> Iterator[None]:
    """While what this thread and its tasks log is no news: what an attack makes of a message has not happened.

    Filters of a logger do not see what its descendants log, so that they stand at the handlers.
    """
    mark = _DRILLING.set(True)
    for one in _handlers():
        one.addFilter(_is_news)  # once, however often it is added; it stays, and lets through all but drills
    try:
        yield
    finally:
        _DRILLING.reset(mark)


def _handlers() -> list[logging.Handler]:
    found = [*logging.getLogger("gatepost").handlers, *logging.getLogger().handlers]
    return [*found, *([logging.lastResort] if logging.lastResort else [])]


def _written(gateway: Gateway, report: DrillReport, kept: Kept) -> Iterator[str]:
    """Add it to the trace and to the evidence log; what could not be."""
    event = _event(report, kept)
    try:
        write_events(gateway.data / "trace", "admin", [event])
    except StoreFailure as failure:
        yield f"the trace has no row of this drill: {failure}"
    try:
        evidence_log(gateway.settings)([event])
    except StoreFailure as failure:
        yield f"the evidence log has no entry of this drill: {failure}"


def _event(report: DrillReport, kept: Kept) -> TraceEvent:
    """One row, which holds the hash too: a file that is changed later no longer agrees with it."""
    scene = report.scene
    return TraceEvent(
        at=time.time(),
        event="DRILL",
        message="",
        organization=scene.organization,
        direction="",
        session="",
        sender="",
        recipient="",
        connector=scene.connector.name,
        requirement=kept.record["requirement"]["text"],
        reply=report.verdict,
        detail={
            "configuration": scene.directory.version,
            "passed": report.passed,
            "attacks": len(report.played),
            "messages_left": kept.record["messages_left"],
            "file": kept.path.name,
            "sha256": kept.sha256,
        },
    )


def _recorded(gateway: Gateway, chosen: Chosen, kept: Kept) -> str:
    """The hash of that file by the trace, "" if it has none."""
    wanted = TraceFilter(
        organization=chosen.organization.name, connector=chosen.connector.name, event="DRILL", limit=_ROWS
    )
    rows = search_trace(gateway.data / "trace", wanted)
    found = (str(row.detail.get("sha256", "")) for row in rows if row.detail.get("file") == kept.path.name)
    return next(found, "")
