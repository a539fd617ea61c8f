"""Describe routes and hops for the trace, the queue and a DSN: plain dictionaries that JSON can hold.

Called by `mail.outbound.delivery_attempt` and `mail.outbound.deliverer`. Pure. The keys are those of
`mail.model.trace_event.TraceEvent` where it has them; never content, at most a hundred lines of dialogue. Also
describes a message for the other node of the site that takes it, in the words of `policy.decisions.handover`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, assert_never

from gatepost.events.trace import MADE_THERE, tls_record
from gatepost.mail.model.queue_id import format_id
from gatepost.policy.connectors.values import SmtpDaneMode
from gatepost.policy.decisions.handover import Origin, write_origin
from gatepost.policy.decisions.outbound import describe, describe_achieved
from gatepost.policy.decisions.published import Published, StsFound, modes
from gatepost.policy.decisions.requirement import Requirement, Shortfall, Verdict
from gatepost.policy.decisions.requiretls import Asks
from gatepost.policy.decisions.route import domain_of
from gatepost.policy.decisions.routes import InternalRoute, LmtpRoute, MailboxRoute, MxRoute, SmartHosts, Unroutable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.mail.model.message import Delivery, Message, Recipient
    from gatepost.mail.outbound.failure import HopFailure
    from gatepost.mail.outbound.hop import OpenHop
    from gatepost.policy.connectors.directory import Directory
    from gatepost.policy.connectors.records import OutboundConnector
    from gatepost.policy.decisions.destination_history import Drop
    from gatepost.policy.decisions.facts import HopFacts
    from gatepost.policy.decisions.routes import Route
    from gatepost.protocols.dane.match import DaneVerdict
    from gatepost.protocols.dane.tlsa import TlsaLookup
    from gatepost.protocols.smtp.replies import Reply


_TRIES = 20
_REFUSALS = 10

_QUEUED = re.compile(r"Queued as (\w{1,40})")
_STAMP = re.compile(r"\[\S{1,255} \S{1,40} (\w{1,40})\]$")  # see `mail.inbound.service`

# Facts of the inbound session that another node of the site gets, the most important first.
_HANDED_OVER = (*MADE_THERE, "connector", "requirement", "basis", "peer", "hello")


def decided_record(route: Route, version: int) -> dict[str, Any]:
    """Decisions made before anything is looked up: part of every result. version: of the configuration."""
    decided = {"configuration": version}
    match route:
        case SmartHosts():
            record = _requirement_record(route.connector, route.hops[0].requirement) | _parties_record(route)
            return decided | record | _choice_record(route.reasons, route.passed_over)
        case MxRoute():
            record = _requirement_record(route.connector, route.requirement) | _parties_record(route)
            return decided | record | _choice_record(route.reasons, route.passed_over)
        case LmtpRoute():
            record = _requirement_record(None, route.hop.requirement)
            return decided | record | {"mailbox": f"lmtp:{route.hop.place}"}
        case InternalRoute():
            return decided | _requirement_record(None, route.hop.requirement) | _choice_record(route.reasons, ())
        case Unroutable():
            return decided | _choice_record(route.reasons, route.passed_over)
        case MailboxRoute():
            return decided
        case _:
            assert_never(route)


def connector_record(route: SmartHosts | MxRoute) -> dict[str, str]:
    """The connector of a route, with its owner if that is not the organization that sends the mail; {} without one."""
    if route.connector is None:
        return {}
    return {"connector": route.connector.name} | (
        {} if route.sender is None else {"connector_organization": route.connector_owner}
    )


def _requirement_record(connector: OutboundConnector | None, requirement: Requirement) -> dict[str, Any]:
    mandatory = modes(connector, Asks.NOTHING).dane is SmtpDaneMode.MANDATORY
    return {
        "connector": connector.name if connector else "",
        "requirement": describe(requirement, mandatory_dane=mandatory),
        "requirement_sources": [str(source) for source in requirement.sources],
    }


def _parties_record(route: SmartHosts | MxRoute) -> dict[str, Any]:
    """The connector's owner and the sender's demands; {} where both are of the organization that sends the mail."""
    if route.sender is None:
        return {}
    return {"connector_organization": route.connector_owner, "sender_demands": route.sender.record()}


def domain_record(directory: Directory, route: Route, organization: str, recipient: Recipient) -> dict[str, Any]:
    """The organization that accepts the recipient's domain, if it is another one and decides where the mail goes.

    organization: the owner of the mail. {} where `_parties_record` says it, or its own connector carries the mail.
    """
    if isinstance(route, SmartHosts | MxRoute):
        return {}
    owner = directory.organization_of(domain_of(recipient.address))
    return {} if owner is None or owner.name == organization else {"domain_organization": owner.name}


def _choice_record(reasons: Sequence[str], passed_over: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Reasons for this route, and against the connectors that take mail for the domain as well."""
    record: dict[str, Any] = {}
    if reasons:
        record["reasons"] = list(reasons)
    if passed_over:
        record["passed_over"] = [{"connector": label, "why": why} for label, why in passed_over]
    return record


def sender_record(message: Message, recipient: Recipient, *, kept: bool) -> dict[str, Any]:
    """The mailbox that forwarded the message, and its reverse-path; the same for all recipients of a delivery.

    kept: the message's own reverse-path is used even where there is another.
    """
    if not (recipient.forwarded_by or recipient.return_path):
        return {}
    own = message.reverse_path
    record = {"reverse_path": own if kept else recipient.return_path or own}
    return {"forwarded_by": recipient.forwarded_by} | record if recipient.forwarded_by else record


def open_record(opened: OpenHop) -> dict[str, Any]:
    """A connection over which a message could be sent."""
    if not opened.record:
        opened.record.update(_lasting(opened))
    connection = opened.connection
    return opened.record | {"reused": connection.sent > 1, "dsn_passed_on": "DSN" in connection.extensions}


def _lasting(opened: OpenHop) -> dict[str, Any]:
    """The part that is the same for every message of a connection. Nobody changes the values in it."""
    record = _place(opened.hop.host, opened.hop.endpoint) | _proved(opened.facts, opened.verdict)
    if opened.hop.options.login is not None:
        record["login"] = opened.hop.options.login.authentication.username
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
    if failure.login is not None:
        record["login_failure"] = str(failure.login)
    record |= drop_record(failure.drop)
    if failure.transcript:
        record["transcript"] = list(failure.transcript)
    return record


def drop_record(fallen: Drop | None) -> dict[str, Any]:
    """The drop in protection, {} without one. since: when the destination was seen to do better, seconds since 1970."""
    if fallen is None:
        return {}
    was, now = describe_achieved(fallen.was), describe_achieved(fallen.now)
    return {"protection_drop": {"was": was, "since": fallen.since, "now": now}}


def tries_record(failures: Sequence[HopFailure]) -> dict[str, Any]:
    """Every host tried in this attempt, in order, with what it said or how it failed."""
    tries = []
    for failure in failures[:_TRIES]:
        attempt = {
            "host": failure.host,
            "address": failure.address,
            "reply": failure.reply.text,
            "detail": failure.detail,
        }
        if failure.result_type is not None:
            attempt["result_type"] = str(failure.result_type)
        tries.append(attempt)
    return {"tries": tries}


def origin_of(delivery: Delivery) -> str:
    """XGATEPOST for a delivery, whose recipients are all forwarded by the same mailbox, or by none."""
    message = delivery.message
    first, inbound = delivery.recipients[0], message.inbound
    facts = {name: str(inbound[name]) for name in _HANDED_OVER if inbound.get(name)}
    facts |= {name: str(value) for name, value in (("tls", inbound.get("tls", {}).get("version")),) if value}
    if message.has_organization_headers:
        facts["headers"] = str(inbound["headers"]["renamed"])
    return write_origin(
        Origin(
            organization=delivery.organization,
            direction=message.direction,
            session=message.session,
            message=format_id(message.id),
            forwarded_by=first.forwarded_by,
            return_path=first.return_path,
            facts=facts,
        )
    )


def hop_record(node: str, reply: Reply) -> dict[str, str]:
    """The ids by which the other node knows the message and the session of the hop, read from its reply."""
    queued, stamp = _QUEUED.search(reply.text), _STAMP.search(reply.text)
    ids = {"message": queued[1] if queued else "", "session": stamp[1] if stamp else ""}
    return {"node": node} | {name: value for name, value in ids.items() if value}


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
    """The host as the domain publishes it by DANE and by MTA-STS, and whether it meets that."""
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
                {"record": str(refusal.record), "result_type": str(refusal.failure), "why": refusal.why}
                for refusal in verdict.refusals[:_REFUSALS]
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
