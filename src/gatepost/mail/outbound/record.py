"""Describe a hop for the trace, the queue and a DSN: plain dictionaries that JSON can hold.

Called by `mail.outbound.delivery_attempt` and `mail.outbound.deliverer`. Pure. The keys are those of
`mail.model.trace_event.TraceEvent` where it has them; never content, at most a hundred lines of dialogue.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatepost.events.trace import tls_record
from gatepost.policy.connectors.values import SmtpDaneMode
from gatepost.policy.decisions.outbound import describe, describe_achieved
from gatepost.policy.decisions.published import modes
from gatepost.policy.decisions.requirement import Shortfall, Verdict
from gatepost.policy.decisions.requiretls import Asks
from gatepost.policy.decisions.route import domain_of
from gatepost.policy.decisions.routes import MxRoute, SmartHosts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.mail.model.message import Message, Recipient
    from gatepost.mail.outbound.failure import HopFailure
    from gatepost.mail.outbound.hop import OpenHop
    from gatepost.policy.connectors.directory import Directory
    from gatepost.policy.connectors.records import OutboundConnector
    from gatepost.policy.decisions.destination_history import Drop
    from gatepost.policy.decisions.facts import HopFacts
    from gatepost.policy.decisions.published import Published, StsFound
    from gatepost.policy.decisions.requirement import Requirement
    from gatepost.policy.decisions.routes import Route
    from gatepost.protocols.dane.match import DaneVerdict
    from gatepost.protocols.dane.publication import TlsaLookup


_TRIES = 20
_REFUSALS = 10


def route_record(connector: OutboundConnector | None, requirement: Requirement) -> dict[str, Any]:
    """What was decided before anything was looked up."""
    mandatory = modes(connector, Asks.NOTHING).dane is SmtpDaneMode.MANDATORY
    return {
        "connector": connector.name if connector else "",
        "requirement": describe(requirement, mandatory_dane=mandatory),
        "requirement_sources": [str(source) for source in requirement.sources],
    }


def parties_record(route: SmartHosts | MxRoute) -> dict[str, Any]:
    """Whose connector it is, and whose demands hold beside; {} where both are of the organization whose mail it is."""
    if route.sender is None:
        return {}
    return {"connector_organization": route.connector_owner, "sender_demands": route.sender.record()}


def domain_record(directory: Directory, route: Route, organization: str, recipient: Recipient) -> dict[str, Any]:
    """Who accepts the recipient's domain, where that is another organization and it says what becomes of the mail.

    organization: whose mail it is. {} where `parties_record` says it, or its own connector carries the mail.
    """
    if isinstance(route, SmartHosts | MxRoute):
        return {}
    owner = directory.organization_of(domain_of(recipient.address))
    return {} if owner is None or owner.name == organization else {"domain_organization": owner.name}


def choice_record(reasons: Sequence[str], passed_over: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Why this way, and why not by the connectors that would have taken the domain as well."""
    record: dict[str, Any] = {}
    if reasons:
        record["reasons"] = list(reasons)
    if passed_over:
        record["passed_over"] = [{"connector": label, "why": why} for label, why in passed_over]
    return record


def sender_record(message: Message, recipient: Recipient, *, kept: bool) -> dict[str, Any]:
    """That a mailbox sent the message on, and as whose it goes; all recipients of a delivery have that in common.

    kept: the message's own reverse-path is used even where there is another.
    """
    if not (recipient.forwarded_by or recipient.return_path):
        return {}
    own = message.reverse_path
    record = {"reverse_path": own if kept else recipient.return_path or own}
    return {"forwarded_by": recipient.forwarded_by} | record if recipient.forwarded_by else record


def open_record(opened: OpenHop) -> dict[str, Any]:
    """A connection over which a message could be sent."""
    record = _place(opened.hop.host, opened.hop.endpoint) | _proved(opened.facts, opened.verdict)
    record["reused"] = opened.connection.sent > 1
    record["dsn_passed_on"] = "DSN" in opened.connection.extensions
    record |= _published(opened.hop.published, opened.facts, opened.testing)
    if opened.rehearsal is not None:
        record["rehearsal"] = _rehearsal(opened.rehearsal)
    return record


def failure_record(failure: HopFailure) -> dict[str, Any]:
    """A hop that did not take the message."""
    record = _place(failure.host, failure.address)
    if failure.facts is not None:
        record |= _proved(failure.facts, failure.verdict)
    if failure.published is not None:
        record |= _published(failure.published, failure.facts, failure.published.testing)
    if failure.result_type is not None:
        record["result_type"] = str(failure.result_type)
    if failure.detail:
        record["detail"] = failure.detail
    record |= drop_record(failure.drop)
    if failure.transcript:
        record["transcript"] = list(failure.transcript)
    return record


def drop_record(fallen: Drop | None) -> dict[str, Any]:
    """That the destination was seen to do better; {} if it was not. since: seconds since 1970."""
    if fallen is None:
        return {}
    was, now = describe_achieved(fallen.was), describe_achieved(fallen.now)
    return {"protection_drop": {"was": was, "since": fallen.since, "now": now}}


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
        record["requirement_sources"] = [str(source) for source in verdict.requirement.sources]
        record["achieved"] = describe_achieved(verdict.achieved)
    if facts.classical is not None:
        record["classical_only"] = {"why": facts.classical.why, "since": facts.classical.since}
    if facts.handshake_error:
        record["handshake_error"] = facts.handshake_error
    if facts.tls is None:
        record["starttls_offered"] = facts.starttls_offered
    return record


def _published(
    published: Published, facts: HopFacts | None, testing: Requirement | Verdict | Shortfall | None
) -> dict[str, Any]:
    """What the domain publishes of the host, and how the host stands to it. Both are told, whichever applies."""
    record: dict[str, Any] = {}
    if published.dane is not None:
        record["dane"] = _dane(published.dane, facts.dane if facts else None)
    if published.sts is not None and (published.sts.policy or published.sts.failure):
        record["mta_sts"] = _sts(published.sts, testing)
    return record


def _dane(found: TlsaLookup, verdict: DaneVerdict | None) -> dict[str, Any]:
    record: dict[str, Any] = {"status": str(found.status), "detail": found.detail}
    if found.base:
        record["base"] = found.base
    if verdict is not None:
        if verdict.matched is not None:
            record["matched"] = str(verdict.matched)
        if verdict.refusals:
            record["refusals"] = [
                {"record": str(one.record), "result_type": str(one.failure), "why": one.why}
                for one in verdict.refusals[:_REFUSALS]
            ]
    return record


def _sts(found: StsFound, testing: Requirement | Verdict | Shortfall | None) -> dict[str, Any]:
    record: dict[str, Any] = {"domain": found.domain}
    if found.policy is not None:
        record |= {"mode": str(found.policy.mode), "id": found.id}
    if found.failure is not None:
        record["failure"] = {"result_type": str(found.failure), "detail": found.detail}
    if isinstance(testing, Shortfall):
        record["testing"] = {"passed": False} | _missing(testing)
    elif isinstance(testing, Verdict):
        record["testing"] = {"passed": testing.passed} | _missing(testing.shortfall)
    return record


def _rehearsal(verdict: Verdict) -> dict[str, Any]:
    record: dict[str, Any] = {
        "requirement": describe(verdict.requirement),
        "sources": [str(source) for source in verdict.requirement.sources],
        "passed": verdict.passed,
    }
    return record | _missing(verdict.shortfall)


def _missing(shortfall: Shortfall | None) -> dict[str, Any]:
    if shortfall is None:
        return {}
    return {
        "result_type": str(shortfall.result_type or ""),
        "message": shortfall.message,
        "detail": shortfall.detail,
    }
