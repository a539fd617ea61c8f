"""Explain why one connector applied and each of the others did not.

`policy.connectors.match` asks why a candidate lost; `policy.decisions.explain` asks about all the others. Answers are
label ("connector 'x' of contoso") and the rest of a sentence. Pure; decides nothing: what it says must follow from what
was decided.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatepost.policy.connectors.credentials import certificate_lack, describe_sender
from gatepost.policy.connectors.directory import Directory, InboundEntry, address_key
from gatepost.policy.connectors.names import covers
from gatepost.policy.connectors.values import ConnectorType, Mode

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gatepost.policy.connectors.facts import SessionFacts
    from gatepost.policy.connectors.records import Organization, OutboundConnector
    from gatepost.protocols.smtp.grammar import Path


PASSED_OVER_LIMIT = 20
"""The number of candidates that a decision names as not chosen: one among thousands of connectors stays readable."""

_SHOWN = 8  # domains or networks of one connector in a sentence


# on-premises: candidates that know the session, and lost or were not enough


def certificate_loss(entry: InboundEntry, winner: InboundEntry, sender: str) -> str:
    """Explain why `entry` was not chosen, though the certificate bears its name.

    winner: the connector that identified the session by certificate.
    """
    name = f"names {entry.connector.tls_sender_certificate_name}, which the certificate has too"
    if not entry.associated(sender):
        return f"{name}, but it is limited to {_few(entry.connector.associated_accepted_domains)}"
    if winner.ownership and not entry.ownership:
        return f"{name}, but that is not an accepted domain of {entry.organization.name}"
    if entry.organization is winner.organization:
        return f"{name}, but {_same_place(entry, winner)}"
    if entry.specificity < winner.specificity:
        return f"{name}, but {winner.label} names it more specifically"
    return f"{name}, but {describe_sender(sender)} belongs to {winner.organization.name}"


def _same_place(entry: InboundEntry, winner: InboundEntry) -> str:
    mine, best = entry.connector, winner.connector
    if _in_trial(entry, winner):
        return _IN_TRIAL.format(best.name)
    if mine.priority != best.priority:
        return f"priority {best.priority} of {best.name!r} goes before its {mine.priority}"
    if entry.specificity != winner.specificity:
        return f"{best.name!r} names it more specifically"
    return f"{best.name!r} comes first by its name"


def _in_trial(entry: InboundEntry, winner: InboundEntry) -> bool:
    """Whether it is in rehearsal, and so never goes before the winner, which is in force."""
    return entry.connector.mode is Mode.REHEARSE and winner.connector.mode is Mode.ENFORCE


_IN_TRIAL = "is in rehearsal, and {!r} is in force"


def address_loss(entry: InboundEntry, winner: InboundEntry, basis: str, session: SessionFacts, sender: str) -> str:
    """Explain why `entry` was not chosen, though it holds the client's address.

    basis: what identified the winner, as in `Attribution.basis`.
    """
    held = f"holds the address {session.peer_ip} too"
    if basis != "address":
        return f"{held}, but a certificate goes before an address"
    if entry.organization is not winner.organization:
        return f"{held}, but {describe_sender(sender)} belongs to {winner.organization.name}"
    if not entry.associated(sender):
        return f"{held}, but it is limited to {_few(entry.connector.associated_accepted_domains)}"
    mine, best = entry.connector, winner.connector
    if _in_trial(entry, winner):
        return f"{held}, but {_IN_TRIAL.format(best.name)}"
    if mine.priority != best.priority:
        return f"{held}, but priority {best.priority} of {best.name!r} goes before its {mine.priority}"
    return f"{held}, but {best.name!r} has the narrower network, or comes first by its name"


def certificate_claim(entry: InboundEntry, sender: str) -> str:
    """Explain why the certificate that bears the connector's name does not identify the organization."""
    name, own = entry.connector.tls_sender_certificate_name, entry.organization.name
    said = f"names {name}, which the client's certificate has, but"
    if entry.ownership:
        domains = entry.connector.associated_accepted_domains
        if domains and not entry.associated(sender):
            return f"{said} it is limited to {_few(domains)}, and {describe_sender(sender)} is none of these"
        return f"{said} other organizations name it as specifically, and {describe_sender(sender)} is of none of them"
    return f"{said} neither that name nor {describe_sender(sender)} is an accepted domain of {own}"


def address_claim(entry: InboundEntry, session: SessionFacts, sender: str) -> str:
    """Explain why the client's address, which the connector holds, does not identify the organization."""
    held = f"holds the address {session.peer_ip}, but"
    if not sender:
        return f"{held} the null reverse-path names no accepted domain, and senders_by_address does not take it"
    if not entry.associated(sender):
        domains = _few(entry.connector.associated_accepted_domains)
        return f"{held} it is limited to {domains}, and {describe_sender(sender)} is none of these"
    return f"{held} {describe_sender(sender)} is not one of its accepted domains"


# partners: candidates for one sender domain


def partner_loss(
    loser: tuple[int, int, int, str], winner: tuple[int, int, int, str], patterns: tuple[str, str], sender: str
) -> str:
    """Explain why a partner connector that matches the sender was not chosen.

    loser, winner: the keys by which `policy.connectors.match` orders them: priority, rank of the domain, fit, name.
    patterns: of sender_domains, the loser's and the winner's.
    """
    mine, best = patterns
    how = f"matches {describe_sender(sender)} by {mine!r}, but"
    if loser[0] != winner[0]:
        return f"{how} priority {winner[0]} of {winner[3]!r} goes before its {loser[0]}"
    if loser[1] != winner[1]:
        return f"{how} {winner[3]!r} names it more specifically ({best!r})"
    if loser[2] != winner[2]:
        return f"{how} {winner[3]!r} {_FIT[winner[2]]}"
    return f"{how} {winner[3]!r} comes first by its name"


_FIT = (
    "names the client's certificate",
    "holds the client's address",
    "restricts who may send",
)


# everybody else, for explain


def other_inbound(
    directory: Directory,
    organization: Organization,
    session: SessionFacts,
    envelope: tuple[Path, Path],
    decided: Mapping[str, str],
) -> Iterator[tuple[str, str]]:
    """Each inbound connector of an organization, with why it did not apply.

    envelope: reverse-path and recipient. decided: by label, what the decision itself says of a connector: "" for the
    one that applied, which is left out.
    """
    for connector in organization.inbound_connectors:
        entry = directory.entry(organization, connector)
        why = decided.get(entry.label)
        if why is None:
            why = _inbound_why(directory, entry, session, envelope)
        if why:
            yield entry.label, why


def _inbound_why(directory: Directory, entry: InboundEntry, session: SessionFacts, envelope: tuple[Path, Path]) -> str:
    connector, organization, (reverse_path, recipient) = entry.connector, entry.organization, envelope
    if not connector.enabled:
        return "is disabled"
    if connector.connector_type is ConnectorType.ON_PREMISES:
        return _on_premises_why(entry, session, reverse_path.domain)
    if not any(covers(pattern, reverse_path.domain) for pattern in connector.sender_domains):
        domains = _few(connector.sender_domains) or "none"
        return f"is for mail of {domains}, and {describe_sender(reverse_path.domain)} is not among them"
    if not entry.associated(recipient.domain):
        return f"is limited to {_few(connector.associated_accepted_domains)}, and {recipient.domain} is none of these"
    if not directory.accepts(organization.name, recipient.domain):
        return f"is for mail to {organization.name}, and {recipient.domain or recipient.text} is none of its domains"
    return "is for mail from others, and this comes from an own server"


def _on_premises_why(entry: InboundEntry, session: SessionFacts, sender: str) -> str:
    connector = entry.connector
    whys = []
    if connector.tls_sender_certificate_name is not None:
        lack = certificate_lack(entry, session)
        whys.append(lack.why if lack is not None else certificate_claim(entry, sender))
    if entry.holds(address_key(session.peer_ip)):
        whys.append(address_claim(entry, session, sender))
    elif connector.sender_ip_addresses:
        whys.append(f"holds {_few(connector.sender_ip_addresses)}, and {session.peer_ip} is not among these")
    return "; ".join(whys) or "names neither a certificate nor an address"


def other_outbound(
    organization: Organization, domain: str, chosen: OutboundConnector | None, passed_over: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """Each outbound connector of an organization but the chosen one, with why it does not take mail to the domain.

    passed_over: by label, what the selection itself says of candidates.
    """
    for connector in organization.outbound_connectors:
        if chosen is not None and connector.name == chosen.name:
            continue
        label = f"connector {connector.name!r} of {organization.name}"
        yield label, passed_over.get(label) or _outbound_why(connector, domain)


def _outbound_why(connector: OutboundConnector, domain: str) -> str:
    if not connector.enabled:
        return "is disabled"
    if connector.is_transport_rule_scoped:
        return "is used where a mail flow rule names it, and none does for this message"
    whys = []
    if connector.recipient_domains:
        whys.append(f"is for {_few(connector.recipient_domains)}, and {domain} is not among them")
    if connector.all_accepted_domains:
        whys.append(f"takes all accepted domains, and {domain} is none")
    return "; ".join(whys) or "is for no domain"


def _few(items: tuple[object, ...]) -> str:
    shown = ", ".join(str(item) for item in items[:_SHOWN])
    return f"{shown} and {len(items) - _SHOWN} more" if len(items) > _SHOWN else shown
