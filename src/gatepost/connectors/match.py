"""Which connector a session, a sender or a recipient domain meets, and why: attribution and selection.

The rules are Exchange's (exchange.md sections 5 and 7.1), with its gaps filled: an exception to a lock-down works.
Called by `policy.inbound` for each MAIL and RCPT, by `policy.route` for each destination, and by `explain`. Pure:
looks up in a `Directory`, compares facts, and says its reasons in sentences an administrator understands.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gatepost.connectors.directory import Directory, address_key
from gatepost.tls.names import describe_names, matches

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gatepost.connectors.directory import InboundEntry, OutboundIndex
    from gatepost.connectors.facts import SessionFacts
    from gatepost.connectors.model import InboundConnector, Organization, OutboundConnector
    from gatepost.smtp.grammar import Path
    from gatepost.tls.facts import CertificateFacts

__all__ = [
    "Attribution",
    "Directory",
    "PartnerMatch",
    "attribute",
    "match_partner",
    "partner_connector",
    "select_outbound",
]


@dataclass(frozen=True, slots=True)
class Attribution:
    """Whose session it is, as far as the session itself and the reverse-path say.

    direction: "originating" for the organization's own servers, which may relay; "none" otherwise: the recipient then
    decides, and its mail is "incoming". organization: its name, None for "none". basis: what identified it:
    "certificate", "certificate-and-sender" (the certificate's name is no accepted domain, the sender's is), "address"
    or "none".
    """

    direction: str
    organization: str | None
    connector: InboundConnector | None
    basis: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PartnerMatch:
    """The partner connector that a message meets, and which of its identifications the session fulfils."""

    connector: InboundConnector
    by_certificate: bool
    by_address: bool
    reasons: tuple[str, ...]


_STRANGER = Attribution("none", None, None, "none", ("no on-premises connector knows the session",))


def attribute(directory: Directory, session: SessionFacts, reverse_path: Path) -> Attribution:
    """Whether the session comes from an organization's own servers: by certificate first, then by address.

    A trusted certificate identifies the organization whose connector names it most specifically, if that name is the
    organization's own; otherwise the reverse-path must be in one of its accepted domains. An address identifies only
    together with such a reverse-path, so never with the null one.
    """
    reasons: list[str] = []
    found = _by_certificate(directory, session, reverse_path, reasons) or _by_address(
        directory, session, reverse_path, reasons
    )
    if found is not None:
        entry, basis = found
        return Attribution("originating", entry.organization.name, entry.connector, basis, tuple(reasons))
    if not reasons:
        return _STRANGER
    return Attribution("none", None, None, "none", (*reasons, *_STRANGER.reasons))


type _Found = tuple[InboundEntry, str] | None


def _by_certificate(directory: Directory, session: SessionFacts, reverse_path: Path, reasons: list[str]) -> _Found:
    leaf = _leaf(session)
    if leaf is None:
        return None
    matched = [
        entry
        for entry in directory.on_premises_by_certificate(leaf)
        if _is_named(entry, leaf) and _is_trusted(entry, session, reasons)
    ]
    matched = [entry for entry in matched if entry.associated(reverse_path.domain)]
    owned = [entry for entry in matched if entry.ownership]
    if owned:
        # Between organizations the more specific name decides; only within one may a priority say otherwise.
        narrowest = max(owned, key=lambda entry: entry.specificity)
        entry = _first(entry for entry in owned if entry.organization is narrowest.organization)
        basis = "certificate"
    else:
        sender = directory.organization_of(reverse_path.domain)
        mine = [entry for entry in matched if entry.organization is sender]
        if not mine:
            reasons.extend(_not_owned(entry, reverse_path) for entry in matched)
            return None
        entry, basis = _first(mine), "certificate-and-sender"
    name = entry.connector.tls_sender_certificate_name
    reasons.append(f"{entry.label} names {name}, which the client's trusted certificate bears ({describe_names(leaf)})")
    if basis != "certificate":
        reasons.append(f"{name} is no accepted domain of {entry.organization.name}, but the sender's domain is")
    return entry, basis


def _by_address(directory: Directory, session: SessionFacts, reverse_path: Path, reasons: list[str]) -> _Found:
    held = directory.on_premises_by_address(address_key(session.peer_ip))
    if not held:
        return None
    sender = directory.organization_of(reverse_path.domain)
    mine = [
        (entry.connector.priority, shift, entry.connector.name, entry)
        for shift, entry in held
        if entry.organization is sender and entry.associated(reverse_path.domain)
    ]
    if not mine:
        said = f"the sender's domain {reverse_path.domain}" if reverse_path.domain else "the null reverse-path"
        reasons.extend(
            f"{entry.label} holds the address {session.peer_ip}, but {said} is no accepted domain that it stands for"
            for _, entry in held
        )
        return None
    entry = min(mine, key=lambda one: one[:3])[3]
    reasons.append(
        f"{entry.label} holds the address {session.peer_ip}, and the sender's domain {reverse_path.domain} is its own"
    )
    return entry, "address"


def _leaf(session: SessionFacts) -> CertificateFacts | None:
    return session.client_chain.leaf if session.client_chain else None


def _is_named(entry: InboundEntry, leaf: CertificateFacts) -> bool:
    """Whether the certificate bears the connector's certificate name, if it has one."""
    connector = entry.connector
    name = connector.tls_sender_certificate_name
    return name is not None and matches(name, leaf, common_name=connector.match_common_name)


def _is_trusted(entry: InboundEntry, session: SessionFacts, reasons: list[str]) -> bool:
    """Whether the client's chain is trusted as the connector asks; why not goes to the reasons."""
    verdict = session.chain(entry.connector.trust_anchors)
    if verdict is not None and verdict.trusted:
        return True
    why = f"{verdict.status}, {verdict.detail}" if verdict else "it was not judged by the connector's trust_anchors"
    name = entry.connector.tls_sender_certificate_name
    reasons.append(f"{entry.label} names {name}, but the client's certificate that bears it is not trusted: {why}")
    return False


def _first(entries: Iterable[InboundEntry]) -> InboundEntry:
    """The one with the lowest priority number, then the most specific name, then the first by name."""
    ordered = sorted(entries, key=lambda entry: entry.connector.name)
    ordered.sort(key=lambda entry: entry.specificity, reverse=True)
    return min(ordered, key=lambda entry: entry.connector.priority)


def _not_owned(entry: InboundEntry, reverse_path: Path) -> str:
    said = reverse_path.domain or "the null reverse-path"
    return (
        f"{entry.label} names {entry.connector.tls_sender_certificate_name}, which the client's certificate bears, but "
        f"neither that name nor the sender's domain ({said}) is an accepted domain of {entry.organization.name}"
    )


def match_partner(
    directory: Directory, organization: Organization, session: SessionFacts, reverse_path: Path, recipient: Path
) -> PartnerMatch | None:
    """The partner connector of the recipient's organization that a message meets.

    In this order: the lower priority number, the more specific sender domain (so that an exception beats "*"), the one
    whose certificate or address the session has, one that restricts, the name.
    """
    index = directory.partners(organization.name)
    if index is None:
        return None
    address = address_key(session.peer_ip)
    best: tuple[tuple[int, int, int, str], PartnerMatch] | None = None
    for rank, pattern, entry in index.candidates(reverse_path.domain):
        if not entry.associated(recipient.domain):
            continue
        connector = entry.connector
        notes: list[str] = []
        match = PartnerMatch(connector, _shows_certificate(entry, session, notes), entry.holds(address), ())
        key = (connector.priority, rank, _fit(match), connector.name)
        if best is None or key < best[0]:
            best = key, _with_reasons(match, entry, pattern, reverse_path, notes)
    return best[1] if best else None


def partner_connector(
    directory: Directory, organization: Organization, session: SessionFacts, reverse_path: Path, recipient: Path
) -> tuple[InboundConnector | None, tuple[str, ...]]:
    """The connector of `match_partner`, and the reasons; None with a reason if there is none."""
    match = match_partner(directory, organization, session, reverse_path, recipient)
    if match is None:
        said = reverse_path.domain or "the null reverse-path"
        return None, (f"no partner connector of {organization.name} holds for {said}",)
    return match.connector, match.reasons


def _shows_certificate(entry: InboundEntry, session: SessionFacts, notes: list[str]) -> bool:
    leaf = _leaf(session)
    return leaf is not None and _is_named(entry, leaf) and _is_trusted(entry, session, notes)


def _fit(match: PartnerMatch) -> int:
    if match.by_certificate:
        return 0
    if match.by_address:
        return 1
    restricts = match.connector.restrict_domains_to_certificate or match.connector.restrict_domains_to_ip_addresses
    return 2 if restricts else 3


def _with_reasons(
    match: PartnerMatch, entry: InboundEntry, pattern: str, reverse_path: Path, notes: list[str]
) -> PartnerMatch:
    said = f"sender domain {reverse_path.domain}" if reverse_path.domain else "the null reverse-path"
    if pattern == reverse_path.domain:
        reason = f"{entry.label} matches {said} exactly"
    else:
        reason = f"{entry.label} matches {said} by {pattern!r}"
    return PartnerMatch(match.connector, match.by_certificate, match.by_address, (reason, *notes))


def select_outbound(
    directory: Directory, organization: Organization, recipient_domain: str, *, from_on_premises: bool = False
) -> tuple[OutboundConnector | None, tuple[str, ...]]:
    """The outbound connector for mail of an organization to a domain, and the reasons; None is MX routing.

    An exact domain goes before the longest wildcard, that before all accepted domains, that before "*"; a lower
    priority number before all of these. A connector that routes all messages via on-premises goes first, but never for
    mail that came from there. Connectors of the same place and priority: the first by name.
    """
    index = directory.outbound(organization.name)
    if index is None:
        return None, (f"organization {organization.name} is not known",)
    if index.everything is not None and not from_on_premises:
        label = _label(index.everything, organization)
        return index.everything, (f"{label} takes all messages first (route_all_messages_via_on_premises)",)
    found = _outbound_candidates(directory, index, organization, recipient_domain)
    if not found:
        return None, (f"no outbound connector of {organization.name} matches recipient domain {recipient_domain}",)
    pattern, chosen = min(found, key=lambda one: one[1].priority)
    reason = f"{_label(chosen, organization)} {_how(pattern, recipient_domain)}"
    specific = found[0][1]
    if chosen is specific:
        return chosen, (reason,)
    passed_over = f"its priority {chosen.priority} goes before the more specific {_label(specific, organization)}"
    return chosen, (reason, passed_over)


def _outbound_candidates(
    directory: Directory, index: OutboundIndex, organization: Organization, domain: str
) -> list[tuple[str, OutboundConnector]]:
    """Connectors that take the domain, the most specific first, each with its pattern; "" is all accepted domains."""
    found = list(index.candidates(domain))
    if index.accepted is not None and directory.organization_of(domain) is organization:
        last = len(found) - 1 if found and found[-1][0] == "*" else len(found)
        found.insert(last, ("", index.accepted))
    return found


def _how(pattern: str, domain: str) -> str:
    if not pattern:
        return f"takes all accepted domains, and {domain} is one"
    return f"matches recipient domain {domain} " + ("exactly" if pattern == domain else f"by {pattern!r}")


def _label(connector: OutboundConnector, organization: Organization) -> str:
    return f"connector {connector.name!r} of {organization.name}"
