"""What the trace, the queue and a DSN are told of a hop: plain dictionaries that JSON can hold.

Called by `outbound.shipment` and `outbound.attempt`. Pure. The keys are those of `store.interface.TraceEvent` where it
has them; never content, at most a hundred lines of dialogue.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatepost.policy.outbound import describe, describe_achieved
from gatepost.reports.trace import tls_record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.outbound.failure import HopFailure
    from gatepost.outbound.hop import OpenHop
    from gatepost.policy.facts import HopFacts
    from gatepost.policy.requirement import Requirement, Verdict

__all__ = ["choice_record", "failure_record", "open_record", "route_record", "tries_record"]

_TRIES = 20


def route_record(connector: str, requirement: Requirement) -> dict[str, Any]:
    """What was decided before anything was looked up. connector: its name, "" for none."""
    return {
        "connector": connector,
        "requirement": describe(requirement),
        "requirement_sources": [str(source) for source in requirement.sources],
    }


def choice_record(reasons: Sequence[str], passed_over: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Why this way, and why not by the connectors that would have taken the domain as well."""
    record: dict[str, Any] = {}
    if reasons:
        record["reasons"] = list(reasons)
    if passed_over:
        record["passed_over"] = [{"connector": label, "why": why} for label, why in passed_over]
    return record


def open_record(opened: OpenHop) -> dict[str, Any]:
    """A connection over which a message could be sent."""
    record = _place(opened.hop.host, opened.hop.endpoint) | _proved(opened.facts, opened.verdict)
    record["reused"] = opened.connection.sent > 1
    record["dsn_passed_on"] = "DSN" in opened.connection.extensions
    if opened.rehearsal is not None:
        record["rehearsal"] = _rehearsal(opened.rehearsal)
    return record


def failure_record(failure: HopFailure) -> dict[str, Any]:
    """A hop that did not take the message."""
    record = _place(failure.host, failure.address)
    if failure.facts is not None:
        record |= _proved(failure.facts, failure.verdict)
    if failure.result_type is not None:
        record["result_type"] = str(failure.result_type)
    if failure.detail:
        record["detail"] = failure.detail
    if failure.transcript:
        record["transcript"] = list(failure.transcript)
    return record


def tries_record(failures: Sequence[HopFailure]) -> dict[str, Any]:
    """Every host tried in this attempt, in order, with what it said or how it failed."""
    tries = []
    for failure in failures[:_TRIES]:
        one = {"host": failure.host, "address": failure.address, "reply": failure.reply.text, "detail": failure.detail}
        if failure.result_type is not None:
            one["result_type"] = str(failure.result_type)
        tries.append(one)
    return {"tries": tries}


def _place(host: str, address: str) -> dict[str, Any]:
    return {"host": host, "address": address}


def _proved(facts: HopFacts, verdict: Verdict | None) -> dict[str, Any]:
    record: dict[str, Any] = {"tls": tls_record(facts.tls, facts.chain)}
    if verdict is not None:
        record["requirement"] = describe(verdict.requirement)
        record["achieved"] = describe_achieved(verdict.achieved)
    if facts.handshake_error:
        record["handshake_error"] = facts.handshake_error
    if facts.tls is None:
        record["starttls_offered"] = facts.starttls_offered
    return record


def _rehearsal(verdict: Verdict) -> dict[str, Any]:
    record: dict[str, Any] = {
        "requirement": describe(verdict.requirement),
        "sources": [str(source) for source in verdict.requirement.sources],
        "passed": verdict.passed,
    }
    if verdict.shortfall is not None:
        record["result_type"] = str(verdict.shortfall.result_type)
        record["message"] = verdict.shortfall.message
        record["detail"] = verdict.shortfall.detail
    return record
