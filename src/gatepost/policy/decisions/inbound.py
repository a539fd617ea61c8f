"""Decide what an inbound session may do: a verdict for each MAIL and RCPT, with the reply and the reasons.

Called by `mail.inbound.session`; the trace and `explain` keep the reasons. Pure: a directory, the session's facts and
the envelope in, a value out. Relaying is only for an organization's own servers; everybody else reaches accepted
domains, under the partner connectors of the organization that accepts them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gatepost.policy.connectors.credentials import CredentialFault
from gatepost.policy.connectors.facts import Teller
from gatepost.policy.connectors.match import (
    attribute,
    attribute_by_address,
    attribute_by_recipient,
    filter_of,
    match_partner,
)
from gatepost.policy.connectors.tls_rules import limits_of
from gatepost.policy.connectors.values import AuthenticationResults, Mode, ProfileName, RecipientValidation, TlsVersion
from gatepost.policy.decisions import refusals
from gatepost.policy.decisions.authentication import authenticated_by
from gatepost.policy.decisions.content import hooks_for
from gatepost.policy.decisions.decision import InboundVerdict
from gatepost.policy.decisions.forwarding import Returned, expand, organizations_reached, relay_domain
from gatepost.policy.decisions.recipient_validation import judge_by_list, no_such_mailbox, question_of
from gatepost.policy.decisions.submission import LOGIN, as_submitted, decide_submission
from gatepost.protocols.smtp.replies import RECIPIENT_OK, SENDER_OK, Reply

if TYPE_CHECKING:
    from gatepost.policy.connectors.credentials import Lack
    from gatepost.policy.connectors.directory import Directory
    from gatepost.policy.connectors.facts import SessionFacts
    from gatepost.policy.connectors.hook_index import ApplicableHook
    from gatepost.policy.connectors.match import Attribution, PartnerMatch
    from gatepost.policy.connectors.records import InboundConnector, Organization
    from gatepost.policy.decisions.recipient_validation import RecipientQuestion
    from gatepost.protocols.smtp.grammar import Path


# What a profile named by an inbound connector asks of a session that was negotiated under the listener's profile.
_PROFILE_FLOOR = {
    ProfileName.MODERN: TlsVersion.TLS_1_3,
    ProfileName.DEFAULT: TlsVersion.TLS_1_2,
    ProfileName.COMPATIBLE: TlsVersion.TLS_1_2,
    ProfileName.LEGACY: TlsVersion.TLS_1_0,
}


class _Findings(msgspec.Struct):
    """The findings of the rules on one MAIL or RCPT, gathered on the way to its verdict."""

    attribution: Attribution
    configuration: int
    reasons: list[str]
    passed_over: list[tuple[str, str]]
    connector: InboundConnector | None = None
    would_refuse: Reply | None = None
    would_refuse_connector: str = ""
    would_refuse_of_recipient: bool = False
    refused_by: str = ""
    applied_by: str = ""
    basis: str = ""
    hooks: tuple[ApplicableHook, ...] = ()
    authentication: AuthenticationResults = AuthenticationResults.NONE
    recipient_organization: str = ""
    question: RecipientQuestion | None = None
    filter: InboundConnector | None = None

    def refuses(self, connector: InboundConnector, reply: Reply, reason: str) -> bool:
        """Whether a refusal stands. One of a connector in rehearsal is only reported."""
        if connector.mode is Mode.REHEARSE:
            self.reasons.append(f"would_refuse: {reply.text}: {reason}; not applied, as the connector is in rehearsal")
            if self.would_refuse is None:
                self.would_refuse, self.would_refuse_connector = reply, connector.name
                self.would_refuse_of_recipient = not self._is_known_by(connector)
            return False
        self.reasons.append(reason)
        return True

    def _is_known_by(self, connector: InboundConnector) -> bool:
        """Whether it is one that knows the client, and no rule of the recipient's organization."""
        return connector is self.attribution.connector or connector is self.attribution.rehearsing

    def verdict(self, reply: Reply, organization: str | None, direction: str) -> InboundVerdict:
        """The verdict, with everything found so far."""
        made = InboundVerdict(
            reply.positive,
            reply,
            organization or "",
            direction,
            self.connector.name if self.connector else "",
            _requirement(self.connector),
            tuple(self.reasons),
            self.attribution,
            self.would_refuse,
            self.would_refuse_connector,
            tuple(self.passed_over),
            self.basis or self.attribution.basis,
            self.configuration,
            _rehearsed(self.connector),
            self.hooks,
            recipient_organization=self.recipient_organization,
            question=self.question,
            filter=self.filter,
            authentication=self.authentication,
            would_refuse_of_recipient=self.would_refuse_of_recipient,
            refused_by=self.refused_by,
            applied_by=self.applied_by,
        )
        return as_submitted(made) if self.attribution.basis == LOGIN else made


def _begin(directory: Directory, attribution: Attribution) -> _Findings:
    connector, reasons, passed_over = attribution.connector, list(attribution.reasons), list(attribution.passed_over)
    applied = reasons[0] if connector else ""
    return _Findings(attribution, directory.version, reasons, passed_over, connector, applied_by=applied)


def decide_mail(directory: Directory, session: SessionFacts, reverse_path: Path) -> InboundVerdict:
    """Whether MAIL FROM is taken, as far as it can be said before a recipient is known.

    The demands of the organization's own servers' connector are made here; a partner's at RCPT TO, when the recipient
    says whose partner it is, but for TLS where it makes no difference which recipient that will be. A user who logged
    in is known by that alone.
    """
    if session.user:
        return decide_submission(directory, session, reverse_path)
    attribution = attribute(directory, session, reverse_path)
    findings = _begin(directory, attribution)
    # Who is known by half may be known by the recipient.
    # Whether one that may be known later has to wait depends on the recipient, too.
    reply = None if attribution.claims else _own_servers(findings, session)
    if reply is None and session.tls is None and _asks_tls_of_all(findings, directory, session, reverse_path):
        return findings.verdict(refusals.STARTTLS_FIRST, directory.organizations[0].name, "incoming")
    return findings.verdict(reply or SENDER_OK, attribution.organization, attribution.direction)


def _unsure(findings: _Findings, connector: InboundConnector, lack: Lack) -> Reply | None:
    """The deferral of a client that a connector may know, which cannot be said now, through no fault of the client."""
    reply = refusals.REVOCATION_UNKNOWN if lack.fault is CredentialFault.REVOCATION_UNKNOWN else refusals.NOT_JUDGED
    reason = f"connector {connector.name!r} {lack.why}: the client is asked to try again later"
    return reply if findings.refuses(connector, reply, reason) else None


def _asks_tls_of_all(findings: _Findings, directory: Directory, session: SessionFacts, reverse_path: Path) -> bool:
    """Whether a partner's demand of TLS, not met here, will hold whoever the recipient is: no need to wait for it."""
    organizations = directory.organizations
    if len(organizations) != 1 or findings.attribution.claims or findings.attribution.connector is not None:
        return False
    match = match_partner(directory, organizations[0], session, reverse_path, None)
    if match is None or match.connector.mode is Mode.REHEARSE or not match.connector.require_tls:
        return False
    _take_over(findings, match)
    return _channel(findings, match.connector, session) is not None


def decide_recipient(
    directory: Directory,
    session: SessionFacts,
    reverse_path: Path,
    recipient: Path | Returned,
    attribution: Attribution | None = None,
    first: InboundVerdict | None = None,
) -> InboundVerdict:
    """Whether RCPT TO is taken.

    attribution: of the verdict on the same MAIL; it is found anew if left out. first: the verdict on the message's
    first recipient that was taken, None if this is the first.
    """
    returned = recipient if isinstance(recipient, Returned) else None
    recipient = recipient.recipient if isinstance(recipient, Returned) else recipient
    attribution = attribution or attribute(directory, session, reverse_path)
    organization = directory.organization_of(recipient.domain)
    if organization is not None and attribution.claims:
        attribution = attribute_by_recipient(attribution, session, organization, recipient)
    elif attribution.claims and recipient.domain and not directory.is_disputed(recipient.domain):
        attribution = attribute_by_address(directory, attribution, session, reverse_path.domain)
    findings = _begin(directory, attribution)
    findings.recipient_organization = organization.name if organization is not None else ""
    own = attribution.organization
    owners = (directory.organization_of(reverse_path.domain), organization)
    concerned = {owner.name for owner in owners if owner is not None}
    reply = _own_servers(findings, session) or _awaited(findings, concerned)
    if reply is not None:
        return findings.verdict(reply, own, attribution.direction)
    if organization is None:
        return _elsewhere(findings, directory, reverse_path, recipient, first)
    direction = "incoming" if own is None else attribution.direction
    if own != organization.name:
        reply = _awaiting_header(findings, directory, organization, session) or (
            None
            if findings.filter is not None
            else _partner_rules(findings, directory, organization, session, (reverse_path, recipient))
        )
    reply = reply or _existence(findings, directory, (reverse_path, recipient), returned)
    expansion = expand(directory, recipient) if reply is None and returned is None else None
    findings.reasons.extend(expansion.reasons if expansion else ())
    whose = own or organization.name, direction
    findings.authentication = authenticated_by(whose, organization)
    if directory.hooks:
        forwarded_to = organizations_reached(directory, expansion.targets) if expansion else []
        findings.hooks = hooks_for(directory.hooks, whose, [organization.name, *forwarded_to])
    reply = reply or _apart(findings, first, whose) or _examined_alike(findings, first)
    return findings.verdict(reply or RECIPIENT_OK, *whose)


def _awaiting_header(
    findings: _Findings, directory: Directory, organization: Organization, session: SessionFacts
) -> Reply | None:
    """Whether the client is known only by the header section; the refusal of a filter that is not under TLS."""
    is_told = session.introduction is not None and session.introduction.how is Teller.RECEIVED
    entry = None if is_told else filter_of(directory, organization, session)
    if entry is None:
        return None
    findings.filter = entry.connector
    findings.reasons.append(f"{entry.label} skips hops: the rules for the client wait for the Received fields")
    return _channel(findings, entry.connector, session)


def decide_filtered(
    directory: Directory, session: SessionFacts, reverse_path: Path, recipient: Path, taken: InboundVerdict
) -> InboundVerdict:
    """The verdict on a recipient once the header section says who the client is.

    session: with that client (`policy.decisions.skipped_hops`), or as it was if the fields do not say it. taken: the
    verdict at RCPT TO.
    """
    findings = _begin(directory, taken.attribution)
    findings.reasons, findings.hooks = list(taken.reasons), taken.hooks
    findings.authentication, findings.recipient_organization = taken.authentication, taken.recipient_organization
    findings.would_refuse, findings.would_refuse_connector = taken.would_refuse, taken.would_refuse_connector
    findings.would_refuse_of_recipient = taken.would_refuse_of_recipient
    said = f"the client is {session.peer_ip}" if session.introduction else "the Received fields do not name the client"
    findings.reasons.append(f"{said} ({session.introduction.text})" if session.introduction else said)
    organization = directory.organization_of(recipient.domain)
    assert organization is not None  # noqa: S101 - a filter is one of the organization that accepts the recipient
    reply = _partner_rules(findings, directory, organization, session, (reverse_path, recipient))
    return findings.verdict(reply or RECIPIENT_OK, taken.organization, taken.direction)


def _apart(findings: _Findings, first: InboundVerdict | None, whose: tuple[str, str]) -> Reply | None:
    """The refusal of a recipient that would make the message an own server's and a stranger's at once.

    Only where the recipients say whose it is (exchange.md section 5.1, step 3b). Of two organizations that a stranger
    writes to, each has its recipients without regard to the other's.
    """
    if first is not None and first.filter is not findings.filter:
        findings.reasons.append("this recipient's mail comes by a filter whose hops are skipped otherwise")
        return refusals.SEND_APART
    if first is None or "originating" not in {first.direction, whose[1]}:
        return None
    if (first.organization, first.direction) == whose:
        return None
    findings.reasons.append(
        f"for its first recipient the message is {first.direction} mail of {first.organization}, for this one "
        f"{whose[1]} mail of {whose[0]}: the client must send it separately"
    )
    return refusals.SEND_APART


def _examined_alike(findings: _Findings, first: InboundVerdict | None) -> Reply | None:
    """The refusal of a recipient whose mail others examine than the first recipient's.

    One answer stands for all recipients of a message, and so does what is put into its header.
    """
    if first is None or (first.hooks, first.authentication) == (findings.hooks, findings.authentication):
        return None
    same = "is authenticated by others" if first.hooks == findings.hooks else "goes to other content hooks"
    findings.reasons.append(f"this recipient's mail {same} than the first recipient's")
    return refusals.SEND_APART


def _elsewhere(
    findings: _Findings, directory: Directory, reverse_path: Path, recipient: Path, first: InboundVerdict | None
) -> InboundVerdict:
    """A recipient whose domain nobody here accepts: only for an organization's own servers."""
    attribution = findings.attribution
    if not recipient.domain:
        findings.reasons.append(f"recipient {recipient.text} has no domain, so it belongs to no organization")
        return findings.verdict(refusals.RELAY_DENIED, attribution.organization, attribution.direction)
    disputed = recipient.domain if directory.is_disputed(recipient.domain) else ""
    if attribution.organization is None and directory.is_disputed(reverse_path.domain):
        disputed = disputed or reverse_path.domain
    if disputed:
        findings.reasons.append(
            f"{disputed} overlaps an accepted domain of another organization, which had it first, or it is not known "
            "which had it first: mail waits until one of them gives it up (gatepost alarms)"
        )
        return findings.verdict(refusals.DISPUTED, attribution.organization, attribution.direction)
    if attribution.organization is None:
        findings.reasons.append(
            f"recipient domain {recipient.domain} is not accepted here, and unknown clients may not relay"
        )
        return findings.verdict(_relay_denied(directory, attribution, reverse_path), "", "none")
    findings.reasons.append(f"{attribution.organization} may relay to recipient domain {recipient.domain}")
    ours = relay_domain(directory, attribution.organization, attribution.basis)
    author = directory.organization_of(reverse_path.domain)
    if ours and reverse_path.domain and (author is None or author.name != attribution.organization):
        findings.reasons.append(
            f"{reverse_path.domain} is not a domain of {attribution.organization}: the message leaves with a "
            f"reverse-path of {ours} (SRS)"
        )
    whose = attribution.organization, attribution.direction
    findings.hooks = hooks_for(directory.hooks, whose, ())
    reply = _apart(findings, first, whose) or _examined_alike(findings, first)
    return findings.verdict(reply or RECIPIENT_OK, *whose)


def _relay_denied(directory: Directory, attribution: Attribution, reverse_path: Path) -> Reply:
    """The refusal in the words that help: a client that a connector knows by half can mend the other half.

    What another organization's connector knows is no help for who has a sender of ours.
    """
    author = directory.organization_of(reverse_path.domain)
    claims = (claim for claim in attribution.claims if author is None or claim[1].organization.name == author.name)
    if (claim := next(claims, None)) is not None:
        basis, entry = claim
        if author is not None or (basis == "certificate" and entry.ownership):
            return refusals.RELAY_SENDER
        if basis == "certificate":
            return refusals.RELAY_NAME
        return refusals.relay_by_address(attribution.lack, is_null=not reverse_path.domain)
    return refusals.relay_denied(attribution.lack)


def _own_servers(findings: _Findings, session: SessionFacts) -> Reply | None:
    """Apply the demands of the connector that knows the client. A connector in rehearsal only reports its demands."""
    attribution = findings.attribution
    if attribution.connector is None:
        return None
    if attribution.rehearsing is not None:
        _channel(findings, attribution.rehearsing, session)
    return _channel(findings, attribution.connector, session)


def _awaited(findings: _Findings, concerned: set[str]) -> Reply | None:
    """The deferral if a connector of an organization that has to do with the mail may know the client later."""
    attribution = findings.attribution
    accepting = findings.recipient_organization
    waiting = attribution.awaited(concerned, accepting) if attribution.connector is None else None
    return _unsure(findings, *waiting) if waiting is not None else None


def _channel(findings: _Findings, connector: InboundConnector, session: SessionFacts) -> Reply | None:
    """Apply a connector's demands on TLS: the refusal if they are not met."""
    if session.tls is None:
        if connector.require_tls and findings.refuses(
            connector,
            refusals.STARTTLS_FIRST,
            f"connector {connector.name!r} requires TLS, and the session is not encrypted",
        ):
            return refusals.STARTTLS_FIRST
        return None
    floor = max(connector.min_tls_version or "", _PROFILE_FLOOR[connector.profile] if connector.profile else "")
    required, presented = f"{floor} or newer", session.tls.version
    if session.tls.version >= floor:
        unmet = limits_of(connector).unmet(session.tls)
        if unmet is None:
            return None
        required, presented = unmet.expected, f"{unmet.presented}, over {session.tls.version}"
    # With a capital letter: it begins the text of the reply.
    reply = Reply(550, "5.7.10", (f"{required[0].upper()}{required[1:]} is required for this sender",))
    reason = f"connector {connector.name!r} requires {required}, and the session has {presented}"
    return reply if findings.refuses(connector, reply, reason) else None


def _partner_rules(
    findings: _Findings,
    directory: Directory,
    organization: Organization,
    session: SessionFacts,
    envelope: tuple[Path, Path],
) -> Reply | None:
    """Apply the demands of the recipient's organization on others' servers: the refusal if they are not met."""
    match = match_partner(directory, organization, session, *envelope)
    if match is not None:
        if match.rehearsing is not None:
            findings.reasons.extend(match.rehearsing.reasons)
            _demands(findings, match.rehearsing, session)
        _take_over(findings, match)
        if (reply := _demands(findings, match, session)) is not None:
            findings.refused_by = match.connector.name
            return reply
    sender = envelope[0].domain
    if not organization.reject_direct_send or directory.organization_of(sender) is not organization:
        return None
    if match is not None and match.is_known:
        return None
    findings.reasons.append(
        f"{organization.name} rejects direct send: the sender's domain {sender} is its own, and no connector knows the "
        "session by certificate or address"
    )
    return refusals.DIRECT_SEND


def _take_over(findings: _Findings, match: PartnerMatch) -> None:
    """The partner connector is the one that applied, unless the client is another organization's own server."""
    findings.reasons.extend(match.reasons)
    findings.passed_over.extend(match.passed_over)
    if findings.connector is None:
        findings.connector, findings.applied_by = match.connector, match.reasons[0]
        findings.basis = "certificate" if match.by_certificate else "address" if match.by_address else "sender"


def _demands(findings: _Findings, match: PartnerMatch, session: SessionFacts) -> Reply | None:
    return _channel(findings, match.connector, session) or _restrictions(findings, match, session)


def _restrictions(findings: _Findings, match: PartnerMatch, session: SessionFacts) -> Reply | None:
    """Whether the session has the certificate and the address that the connector restricts its domains to."""
    connector = match.connector
    no_certificate = connector.restrict_domains_to_certificate and not match.by_certificate
    no_address = connector.restrict_domains_to_ip_addresses and not match.by_address
    missing = []
    if no_certificate:
        missing.append(
            f"a trusted client certificate for {connector.tls_sender_certificate_name}, {_shown(session, connector)}"
        )
    if no_address:
        missing.append(f"one of its addresses, and {session.peer_ip} is none")
    if not missing:
        return None
    if no_certificate and not no_address and match.lack is not None and match.lack.is_ours:
        return _unsure(findings, connector, match.lack)
    reason = f"connector {connector.name!r} restricts its sender domains to {'; and to '.join(missing)}"
    reply = refusals.locked_down(match.lack if no_certificate else None, both=no_certificate and no_address)
    return reply if findings.refuses(connector, reply, reason) else None


def _shown(session: SessionFacts, connector: InboundConnector) -> str:
    """Describe what the client presented instead, as the connector's trust anchors judge it: the end of a sentence."""
    if session.tls is None:
        return "and the session is not encrypted"
    chain = session.chain(connector.trust_anchors) or session.client_chain
    if chain is None or chain.leaf is None:
        return "and the client presented none"
    return f"and the client presented {chain.leaf.subject} ({chain.status}), thumbprint {chain.leaf.sha1.upper()}"


def _existence(
    findings: _Findings, directory: Directory, envelope: tuple[Path, Path], returned: Returned | None
) -> Reply | None:
    """The refusal of a recipient that its domain does not have, as far as that is known here."""
    recipient = envelope[1]
    if returned is not None and returned.original is not None:
        findings.reasons.append(returned.reason)
        return None
    if not no_such_mailbox(directory, recipient):
        return _relayed_existence(findings, directory, envelope)
    if returned is not None:
        findings.reasons.append(returned.reason)
        return returned.reply
    findings.reasons.append(
        f"{recipient.domain} is authoritative here, and {recipient.text} is not one of its mailboxes"
    )
    return refusals.NO_MAILBOX


def _relayed_existence(findings: _Findings, directory: Directory, envelope: tuple[Path, Path]) -> Reply | None:
    """The refusal of a recipient that is not in the list of a relayed domain. Of another source it is a question."""
    question = question_of(directory, *envelope)
    if question is None:
        return None
    reply, reason = judge_by_list(directory, question)
    if question.domain.recipient_validation is not RecipientValidation.LIST and reply is not None:
        findings.question = question
        return None
    findings.reasons.append(reason)
    return reply


def _requirement(connector: InboundConnector | None) -> str:
    """The demand on the session: "opportunistic" for a connector in rehearsal."""
    return "opportunistic" if _in_rehearsal(connector) else _demand(connector)


def _rehearsed(connector: InboundConnector | None) -> str:
    """The additional demand, were the connector in force; "" if there is none."""
    demand = _demand(connector) if _in_rehearsal(connector) else "opportunistic"
    return demand if demand != "opportunistic" else ""


def _in_rehearsal(connector: InboundConnector | None) -> bool:
    return connector is not None and connector.mode is Mode.REHEARSE


def _demand(connector: InboundConnector | None) -> str:
    """A connector's demand on the session, in the words of `policy.decisions.outbound.describe`."""
    if connector is None or not (connector.restrict_domains_to_certificate or connector.require_tls):
        return "opportunistic"
    limits = limits_of(connector).texts
    further = f" with {' and '.join(limits)}" if limits else ""
    if connector.restrict_domains_to_certificate:
        return f"authenticated({connector.tls_sender_certificate_name}){further}"
    return f"encrypted{further}"
