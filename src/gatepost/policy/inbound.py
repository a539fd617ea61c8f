"""What an inbound session may do: a verdict for each MAIL and each RCPT, with the reply and the reasons.

Called by `inbound.session`; the trace and `explain` keep the reasons. Pure: a directory, the session's facts and the
envelope in, a value out. Relaying is only for an organization's own servers; everybody else reaches accepted domains,
under the partner connectors of the organization that accepts them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gatepost.connectors.match import Attribution, attribute, match_partner
from gatepost.connectors.values import DomainType, Mode, ProfileName, TlsVersion
from gatepost.smtp.replies import Reply

if TYPE_CHECKING:
    from gatepost.connectors.match import Directory, PartnerMatch
    from gatepost.connectors.model import InboundConnector, Organization
    from gatepost.policy.facts import SessionFacts
    from gatepost.smtp.grammar import Path

__all__ = ["InboundVerdict", "decide_mail", "decide_recipient"]

# Literal codes and the service's words for them: exchange.md section 6.
_SENDER_OK = Reply(250, "2.1.0", ("Sender ok",))
_RECIPIENT_OK = Reply(250, "2.1.5", ("Recipient ok",))
_RELAY_DENIED = Reply(550, "5.7.64", ("Relay access denied",))
_STARTTLS_FIRST = Reply(530, "5.7.0", ("Must issue a STARTTLS command first",))
_LOCKED_DOWN = Reply(
    550, "5.7.51", ("A partner connector binds this sender's domain to a certificate or address you do not have",)
)
_DIRECT_SEND = Reply(550, "5.7.68", ("Direct Send not allowed for this organization from unauthorized sources",))
_NO_MAILBOX = Reply(550, "5.1.1", ("Recipient address rejected: no such mailbox here",))

# What a profile named by an inbound connector asks of a session that was negotiated under the listener's profile.
_PROFILE_FLOOR = {
    ProfileName.MODERN: TlsVersion.TLS_1_3,
    ProfileName.DEFAULT: TlsVersion.TLS_1_2,
    ProfileName.COMPATIBLE: TlsVersion.TLS_1_2,
    ProfileName.LEGACY: TlsVersion.TLS_1_0,
}


@dataclass(frozen=True, slots=True)
class InboundVerdict:
    """The decision on one MAIL or RCPT.

    reply: what the client is told, 250 if accepted. organization: whose mail it is, "" if nobody's. direction:
    "originating", "incoming" or "none". connector: name of the inbound connector that applied, "" if none. requirement:
    what that connector demands: "opportunistic", "encrypted" or "authenticated(NAME)". would_refuse: the refusal that a
    connector in rehearsal would have given. attribution: to be handed to the verdicts on the message's recipients.
    """

    accepted: bool
    reply: Reply
    organization: str
    direction: str
    connector: str
    requirement: str
    reasons: tuple[str, ...]
    attribution: Attribution
    would_refuse: Reply | None = None


@dataclass(slots=True)
class _Findings:
    """What the rules say of one recipient, gathered on the way to its verdict."""

    attribution: Attribution
    reasons: list[str]
    connector: InboundConnector | None = None
    would_refuse: Reply | None = None

    def refuses(self, connector: InboundConnector | None, reply: Reply, reason: str) -> bool:
        """Whether a refusal stands. One of a connector in rehearsal is only reported."""
        if connector is not None and connector.mode is Mode.REHEARSE:
            self.reasons.append(f"would_refuse: {reply.text}: {reason}; not applied, as the connector is in rehearsal")
            self.would_refuse = self.would_refuse or reply
            return False
        self.reasons.append(reason)
        return True

    def verdict(self, reply: Reply, organization: str, direction: str) -> InboundVerdict:
        """The verdict, with everything found so far."""
        name = self.connector.name if self.connector else ""
        return InboundVerdict(
            reply.positive,
            reply,
            organization,
            direction,
            name,
            _requirement(self.connector),
            tuple(self.reasons),
            self.attribution,
            self.would_refuse,
        )


def decide_mail(directory: Directory, session: SessionFacts, reverse_path: Path) -> InboundVerdict:
    """Whether MAIL FROM is taken, as far as it can be said before a recipient is known.

    Only the organization's own servers are known here, so only their connector's demands are made; a partner's are made
    at RCPT TO, when the recipient says whose partner it is.
    """
    attribution = attribute(directory, session, reverse_path)
    findings = _Findings(attribution, list(attribution.reasons), attribution.connector)
    reply = _channel(findings, attribution.connector, session) if attribution.connector else None
    return findings.verdict(reply or _SENDER_OK, attribution.organization or "", attribution.direction)


def decide_recipient(
    directory: Directory,
    session: SessionFacts,
    reverse_path: Path,
    recipient: Path,
    attribution: Attribution | None = None,
) -> InboundVerdict:
    """Whether RCPT TO is taken. attribution: of the verdict on the same MAIL; it is found anew if left out."""
    attribution = attribution or attribute(directory, session, reverse_path)
    findings = _Findings(attribution, list(attribution.reasons), attribution.connector)
    organization = directory.organization_of(recipient.domain)
    if attribution.connector is not None and (reply := _channel(findings, attribution.connector, session)):
        return findings.verdict(reply, attribution.organization or "", attribution.direction)
    direction = "incoming" if attribution.organization is None else attribution.direction
    if organization is None:
        return _elsewhere(findings, recipient)
    if attribution.organization != organization.name:
        reply = _partner_rules(findings, directory, organization, session, (reverse_path, recipient))
        if reply is not None:
            return findings.verdict(reply, attribution.organization or organization.name, direction)
    reply = _existence(findings, directory, recipient)
    return findings.verdict(reply or _RECIPIENT_OK, attribution.organization or organization.name, direction)


def _elsewhere(findings: _Findings, recipient: Path) -> InboundVerdict:
    """A recipient whose domain nobody here accepts: only for an organization's own servers."""
    attribution = findings.attribution
    if not recipient.domain:
        findings.reasons.append(f"recipient {recipient.text} has no domain, so no organization is meant")
        return findings.verdict(_RELAY_DENIED, attribution.organization or "", attribution.direction)
    if attribution.organization is None:
        findings.reasons.append(
            f"recipient domain {recipient.domain} is not accepted here, and strangers may not relay"
        )
        return findings.verdict(_RELAY_DENIED, "", "none")
    findings.reasons.append(f"{attribution.organization} may relay to recipient domain {recipient.domain}")
    return findings.verdict(_RECIPIENT_OK, attribution.organization, attribution.direction)


def _channel(findings: _Findings, connector: InboundConnector, session: SessionFacts) -> Reply | None:
    """What a connector demands of TLS: the refusal if it is not met."""
    if session.tls is None:
        if connector.require_tls and findings.refuses(
            connector, _STARTTLS_FIRST, f"connector {connector.name!r} requires TLS, and the session is in clear"
        ):
            return _STARTTLS_FIRST
        return None
    floor = max(connector.min_tls_version or "", _PROFILE_FLOOR[connector.profile] if connector.profile else "")
    if session.tls.version >= floor:
        return None
    reply = Reply(550, "5.7.10", (f"{floor} or newer is required for this sender",))
    reason = f"connector {connector.name!r} requires {floor} or newer, and the session has {session.tls.version}"
    return reply if findings.refuses(connector, reply, reason) else None


def _partner_rules(
    findings: _Findings,
    directory: Directory,
    organization: Organization,
    session: SessionFacts,
    envelope: tuple[Path, Path],
) -> Reply | None:
    """What the recipient's organization demands of those who are not its own servers: the refusal if it is not met."""
    match = match_partner(directory, organization, session, *envelope)
    if match is not None:
        findings.reasons.extend(match.reasons)
        if findings.connector is None:
            findings.connector = match.connector
        reply = _channel(findings, match.connector, session) or _restrictions(findings, match, session)
        if reply is not None:
            return reply
    sender = envelope[0].domain
    if not organization.reject_direct_send or directory.organization_of(sender) is not organization:
        return None
    if match is not None and (match.by_certificate or match.by_address):
        return None
    findings.reasons.append(
        f"{organization.name} rejects direct send: the sender's domain {sender} is its own, and no connector knows the "
        "session by certificate or address"
    )
    return _DIRECT_SEND


def _restrictions(findings: _Findings, match: PartnerMatch, session: SessionFacts) -> Reply | None:
    """Whether the session has the certificate and the address that the connector restricts its domains to."""
    connector = match.connector
    missing = []
    if connector.restrict_domains_to_certificate and not match.by_certificate:
        missing.append(f"a trusted client certificate for {connector.tls_sender_certificate_name}, {_shown(session)}")
    if connector.restrict_domains_to_ip_addresses and not match.by_address:
        missing.append(f"one of its addresses, and {session.peer_ip} is none")
    if not missing:
        return None
    reason = f"connector {connector.name!r} restricts its sender domains to {'; and to '.join(missing)}"
    return _LOCKED_DOWN if findings.refuses(connector, _LOCKED_DOWN, reason) else None


def _shown(session: SessionFacts) -> str:
    """What the client presented instead, as the end of a sentence."""
    if session.tls is None:
        return "and the session is in clear"
    chain = session.client_chain
    if chain is None or chain.leaf is None:
        return "and the client presented none"
    return f"and the client presented {chain.leaf.subject} ({chain.status}), thumbprint {chain.leaf.sha1.upper()}"


def _existence(findings: _Findings, directory: Directory, recipient: Path) -> Reply | None:
    """The refusal of a recipient that an authoritative domain with mailboxes does not have."""
    if not directory.has_mailboxes(recipient.domain):
        return None
    domain = directory.accepted_domain(recipient.domain)
    if domain is None or domain.type is not DomainType.AUTHORITATIVE:
        return None
    if directory.mailbox(f"{recipient.local_part}@{recipient.domain}") is not None:
        return None
    findings.reasons.append(
        f"{recipient.domain} is authoritative here, and {recipient.text} is not one of its mailboxes"
    )
    return _NO_MAILBOX


def _requirement(connector: InboundConnector | None) -> str:
    """What a connector demands of the session, in the words of `policy.outbound.describe`."""
    if connector is None:
        return "opportunistic"
    if connector.restrict_domains_to_certificate:
        return f"authenticated({connector.tls_sender_certificate_name})"
    return "encrypted" if connector.require_tls else "opportunistic"
