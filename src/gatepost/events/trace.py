"""Rows of the message trace, made where something is decided: one row per recipient and event (exchange.md §12).

`mail.inbound.session` and `mail.outbound.deliverer` call this with what they know; `store.trace` keeps the rows.
"""

from __future__ import annotations

from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from gatepost.mail.model.delivery_result import DeliveryResult, Disposition, RecipientResult
from gatepost.mail.model.queue_id import format_id
from gatepost.mail.model.trace_event import TraceEvent
from gatepost.policy.connectors.trust_anchors import anchors_label

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gatepost.mail.model.message import Delivery, Message
    from gatepost.policy.connectors.facts import SessionFacts
    from gatepost.policy.decisions.decision import InboundVerdict
    from gatepost.policy.decisions.handover import Origin
    from gatepost.protocols.smtp.replies import Reply
    from gatepost.protocols.tls.facts import CertificateFacts, ChainVerdict, TlsFacts


_NO_CHAINS: Mapping[str, ChainVerdict] = MappingProxyType({})


def certificate_record(certificate: CertificateFacts) -> dict[str, Any]:
    """The record of a certificate: enough to recognise it and its purpose."""
    record: dict[str, Any] = {
        "subject": certificate.subject,
        "issuer": certificate.issuer,
        "names": list(certificate.dns_names[:20]),
        "serial": certificate.serial,
        "sha1": certificate.sha1,
        "sha256": certificate.sha256,
        "not_before": certificate.not_before,
        "not_after": certificate.not_after,
        "key": certificate.key,
    }
    if certificate.ip_addresses:
        record["ip_addresses"] = list(certificate.ip_addresses[:20])
    if certificate.uris:
        record["uris"] = list(certificate.uris[:20])
    return record


def tls_record(
    facts: TlsFacts | None, chain: ChainVerdict | None, chains: Mapping[str, ChainVerdict] = _NO_CHAINS
) -> dict[str, Any]:
    """The record of a handshake and of the peer's chain; {} for plaintext.

    chains: the chain judged by the anchors that inbound connectors name for themselves, by that name; kept by its
    label, which of certificates is their fingerprints.
    """
    if facts is None:
        return {}
    record = _handshake_record(
        facts.version, facts.suite, facts.group, facts.signature, facts.server_name, resumed=facts.resumed
    )
    if chain is None and not chains:
        return record
    record = dict(record)
    if chain is not None:
        record["chain"] = str(chain.status)
        if chain.detail:
            record["chain_detail"] = chain.detail
        if chain.revocation is not None:
            record["revocation"] = chain.revocation.text
        if chain.leaf is not None:
            record["certificate"] = certificate_record(chain.leaf)
    if chains:
        record["chains"] = {anchors_label(name): _chain_record(verdict) for name, verdict in chains.items()}
    return record


@lru_cache(maxsize=256)
def _handshake_record(
    version: str, suite: str, group: str, signature: str, server_name: str, *, resumed: bool
) -> dict[str, Any]:
    """One record for all handshakes that came out the same, which nobody changes: what is made of it is known, too."""
    return {
        "version": version,
        "suite": suite,
        "group": group,
        "signature": signature,
        "resumed": resumed,
        "server_name": server_name,
    }


def _chain_record(chain: ChainVerdict) -> dict[str, str]:
    record = {"status": str(chain.status), "detail": chain.detail}
    if chain.revocation is not None:
        record["revocation"] = chain.revocation.text
    return record


# What a row has of a message's arrival: who sent it, by which node of the site it came, the change of Exchange's own
# header fields, whether it counts as internal, and how many fields were taken out that claimed to be results of ours
# (RFC 8601 section 5).
_ARRIVAL = ("user", "mechanism", "introduction", "handover", "headers", "internal", "forged_results")


def message_event(
    event: str, message: Message, organization: str, recipient: str, at: float, **more: Any
) -> TraceEvent:
    """Make a row about an accepted message. organization: whose row it is. more: columns not of the message."""
    return TraceEvent(
        at=at,
        event=event,
        message=format_id(message.id),
        organization=organization,
        direction=message.direction,
        session=message.session,
        sender=message.reverse_path,
        recipient=recipient,
        message_id=message.message_id,
        subject=message.subject,
        size=message.size,
        **more,
    )


def received_event(
    message: Message,
    recipient: str,
    verdict: InboundVerdict,
    reply: Reply,
    transcript: Sequence[str] = (),
    journaled: Sequence[dict[str, Any]] = (),
) -> TraceEvent:
    """A message was queued for a recipient.

    transcript: of its session, where that is kept. journaled: the journal copies that were queued with it, as far as
    the organization of the row is to know of them.
    """
    said: dict[str, Any] = {"transcript": list(transcript)} if transcript else {}
    if journaled:
        said["journaled"] = list(journaled)
    inbound = message.inbound
    arrival = {} if inbound.keys().isdisjoint(_ARRIVAL) else {key: inbound[key] for key in _ARRIVAL if key in inbound}
    tls: dict[str, Any] = inbound.get("tls", {})
    return TraceEvent(
        at=message.received,
        event="RECEIVE",
        message=format_id(message.id),
        organization=verdict.organization,
        direction=verdict.direction,
        session=message.session,
        sender=message.reverse_path,
        recipient=recipient,
        message_id=message.message_id,
        subject=message.subject,
        size=message.size,
        peer_host=inbound.get("hello", ""),
        peer_address=inbound.get("peer", ""),
        connector=verdict.connector,
        requirement=verdict.requirement,
        achieved=_inbound_level(tls, verdict.basis),
        tls_version=tls.get("version", ""),
        tls_group=tls.get("group", ""),
        tls=tls,
        reply=reply.text,
        detail=verdict.detail() | arrival | _tls_requested(message) | said,
    )


def quarantined_event(delivery: Delivery) -> TraceEvent:
    """A message was put into quarantine for a recipient. until: when it is deleted."""
    message, (recipient,) = delivery.message, delivery.recipients
    others = [hold.organization for hold in recipient.quarantines if hold.organization != delivery.organization]
    return message_event(
        "QUARANTINE",
        message,
        delivery.organization,
        recipient.address,
        message.received,
        detail={
            "quarantine": delivery.quarantine,
            "holds": [
                {"organization": hold.organization, "by": hold.by, "reason": hold.reason}
                for hold in recipient.quarantines
            ],
            "until": delivery.next_at,
            "destination": delivery.destination,
        }
        | ({"recipient_organization": others[0]} if others else {}),  # what is theirs is withheld from this one
    )


def login_record(facts: SessionFacts) -> dict[str, str]:
    """The user and the mechanism of a log-in; {} without one."""
    return {"user": facts.user, "mechanism": facts.mechanism} if facts.user else {}


def introduction_record(facts: SessionFacts) -> dict[str, Any]:
    """The record of the host that names the client; {} where the connection itself shows it."""
    return {"introduction": facts.introduction.record()} if facts.introduction is not None else {}


MADE_THERE: Final = (
    "user",
    "mechanism",
    "notice_about",
    "notice_about_message_id",
    "tls_report",
    "journal",
    "internal",
    "authentication",
    "authserv_id",
    "arc",
)
"""Facts of `Message.inbound` that another node of the site takes over as if the message had come in there."""


def handed_over_record(origin: Origin | None, facts: SessionFacts) -> dict[str, Any]:
    """The record of how a message came into the site by another node, {} if it came in here.

    node: that accepted it, message: its queue id there, session: by which it was handed over; the rest is of the
    session by which it came to that node.
    """
    if origin is None:
        return {}
    hop = {"node": facts.node, "message": origin.message, "session": facts.session_id}
    made: dict[str, Any] = {name: origin.facts[name] for name in MADE_THERE if name in origin.facts}
    if "headers" in origin.facts:
        made["headers"] = {"renamed": origin.facts["headers"]}
    return {"handover": origin.facts | hop} | made


def _tls_requested(message: Message) -> dict[str, str]:
    """The TLS demand of the message itself (RFC 8689)."""
    if message.require_tls:
        return {"requiretls": "asked for"}
    return {"tls_required": "No"} if message.tls_required_no else {}


def refused_event(
    facts: SessionFacts,
    tls: dict[str, Any],
    envelope: tuple[str, str],
    verdict: InboundVerdict,
    reply: Reply,
    now: float,
) -> TraceEvent:
    """A MAIL, RCPT or message was refused. envelope: reverse-path and forward-path as far as they were said."""
    sender, recipient = envelope
    return TraceEvent(
        at=now,
        event="REFUSE",
        message="",
        organization=verdict.organization,
        direction=verdict.direction,
        session=facts.session_id,
        sender=sender,
        recipient=recipient,
        peer_host=facts.hello,
        peer_address=facts.peer_ip,
        connector=verdict.connector,
        requirement=verdict.requirement,
        achieved=_inbound_level(tls, verdict.basis),
        tls_version=tls.get("version", ""),
        tls_group=tls.get("group", ""),
        tls=tls,
        reply=reply.text,
        detail=verdict.detail() | login_record(facts) | introduction_record(facts) | _why(verdict, reply),
    )


def failed_handshake_event(facts: SessionFacts, why: str, now: float) -> TraceEvent:
    """A client and the gateway did not agree on TLS. why: what OpenSSL says; an alert is the client's own word.

    It belongs to no organization: the client has not said to whom it would write.
    """
    return TraceEvent(
        at=now,
        event="TLSFAIL",
        message="",
        organization="",
        direction="",
        session=facts.session_id,
        sender="",
        recipient="",
        peer_host=facts.hello,
        peer_address=facts.peer_ip,
        reply=why,
        detail=introduction_record(facts),
    )


def _why(verdict: InboundVerdict, reply: Reply) -> dict[str, str]:
    """The reason of a refusal; {} if it was for something else than the verdict says, such as the message's size."""
    return {"why": verdict.reasons[-1]} if verdict.reasons and reply is verdict.reply else {}


def outcome_events(delivery: Delivery, outcome: DeliveryResult, next_at: float, now: float) -> list[TraceEvent]:
    """The events of one attempt, a row for each recipient. next_at: of the next attempt, 0 if there is none."""
    spent = {"seconds": round(outcome.seconds, 3)} if outcome.seconds else {}
    times = {"delay": round(max(0.0, now - delivery.message.received), 3), **spent}
    return [_outcome_event(delivery, result, times, next_at, now) for result in outcome.results]


def _outcome_event(
    delivery: Delivery, result: RecipientResult, times: dict[str, float], next_at: float, now: float
) -> TraceEvent:
    """times: delay, since the message was accepted; seconds, that the attempt took."""
    message, detail = delivery.message, result.detail | times
    tls: dict[str, Any] = detail.pop("tls", {})
    detail["attempt"] = delivery.attempts
    if (journal := delivery.journal) is not None:
        detail["journal"] = journal.record()
    if result.disposition in {Disposition.DEFERRED, Disposition.HELD}:
        detail["next_attempt"] = next_at
    return message_event(
        _event_name(result),
        message,
        delivery.organization,
        result.recipient.address,
        now,
        peer_host=detail.pop("host", ""),
        peer_address=detail.pop("address", ""),
        connector=detail.pop("connector", ""),
        requirement=detail.pop("requirement", ""),
        achieved=detail.pop("achieved", ""),
        tls_version=tls.get("version", ""),
        tls_group=tls.get("group", ""),
        tls=tls,
        reply=result.reply.text,
        result_type=detail.pop("result_type", ""),
        detail=detail,
    )


def _event_name(result: RecipientResult) -> str:
    if result.disposition is Disposition.DELIVERED:
        return "DELIVER" if "mailbox" in result.detail else "SEND"
    if result.disposition is Disposition.DEFERRED:
        return "DEFER"
    if result.disposition is Disposition.HELD:
        return "HOLD"
    return "EXPIRE" if result.detail.get("expired") else "FAIL"


def _inbound_level(tls: dict[str, Any], basis: str) -> str:
    """The TLS ladder as an inbound session reached it: a trusted client certificate authenticates.

    By the gateway's trust anchors, or by those of the connector that knew the client by it.
    """
    if not tls:
        return "none"
    return "authenticated" if tls.get("chain") == "trusted" or basis.startswith("certificate") else "encrypted"
