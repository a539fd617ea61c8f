"""Attribute a session to an organization, and find the inbound connector of a message, with the reasons.

The rules are Exchange's (exchange.md section 5), with its gaps filled: an exception to a lock-down works. Called by
`policy.decisions.inbound` for each MAIL and RCPT. Looks up in a `Directory`, compares facts, and says its reasons in
sentences an administrator understands. Outbound connectors are chosen in `policy.connectors.selection`.
"""

from __future__ import annotations

from itertools import takewhile
from typing import TYPE_CHECKING

import msgspec

from gatepost.policy.connectors.address_index import NOBODY, AddressHolders
from gatepost.policy.connectors.comparison import (
    PASSED_OVER_LIMIT,
    address_claim,
    address_loss,
    certificate_claim,
    certificate_loss,
    partner_loss,
)
from gatepost.policy.connectors.credentials import (
    CredentialFault,
    Lack,
    certificate_lack,
    describe_client,
    describe_sender,
    presented,
)
from gatepost.policy.connectors.directory import Directory, InboundEntry, address_key
from gatepost.policy.connectors.values import Mode
from gatepost.protocols.tls.names import describe_names

if TYPE_CHECKING:
    from collections.abc import Container

    from gatepost.policy.connectors.facts import SessionFacts
    from gatepost.policy.connectors.records import InboundConnector, Organization
    from gatepost.protocols.smtp.grammar import Path


class Attribution(msgspec.Struct, frozen=True):
    """The organization of a session, as far as the session itself and the reverse-path identify it.

    direction: "originating" for the organization's own servers, which may relay; "none" otherwise: the recipient then
    decides, and its mail is "incoming". organization: its name, None for "none". basis: what identified it:
    "certificate", "certificate-and-sender" (the certificate's name is not an accepted domain, the sender's is),
    "address", "certificate-and-recipient", "address-and-recipient" (see `attribute_by_recipient`), "address-alone" (see
    `attribute_by_address`) or "none". passed_over: other
    on-premises connectors that know the session, each with the reason why it was not chosen: label and rest of the
    sentence, at most 20. claims: connectors that know the session, by "certificate" or "address", but not the
    organization whose mail it is. lack: the reason why the certificate that bears a connector's name does not identify
    its owner. unsure: connectors that may know the session later, as the client is not the cause; see `awaited`.
    rehearsing: the connector that would have gone before this one, were it not in rehearsal. held: the connectors of
    the claims by address.
    """

    direction: str
    organization: str | None
    connector: InboundConnector | None
    basis: str
    reasons: tuple[str, ...]
    passed_over: tuple[tuple[str, str], ...] = ()
    claims: tuple[tuple[str, InboundEntry], ...] = ()
    lack: Lack | None = None
    unsure: tuple[tuple[InboundEntry, Lack], ...] = ()
    rehearsing: InboundConnector | None = None
    held: AddressHolders[InboundEntry] = NOBODY

    def awaited(self, concerned: Container[str], accepting: str = "") -> tuple[InboundConnector, Lack] | None:
        """The connector that mail waits for until it is certain, and what is missing; None if it need not wait.

        Only one whose organization has to do with the mail: the certificate's name is its own, or it is among
        `concerned`, the names of the organizations of sender and recipient. Nobody else's mail waits for it. accepting:
        that of the recipient, whose the mail is until somebody knows the client: what one in rehearsal would do is told
        in its owner's mail alone.
        """
        for entry, lack in self.unsure:
            is_told = _in_force(entry) or accepting in {"", entry.organization.name}
            if is_told and (entry.ownership or entry.organization.name in concerned):
                return entry.connector, lack
        return None


class PartnerMatch(msgspec.Struct, frozen=True):
    """The partner connector that a message meets, and which of its identifications the session fulfils.

    lack: why the certificate is not the connector's, if it names one. is_known: this connector or another for the same
    sender, one that is in force, has the session's certificate or address. passed_over: as in Attribution. rehearsing:
    the match that would have gone before this one, were it not in rehearsal.
    """

    connector: InboundConnector
    by_certificate: bool
    by_address: bool
    reasons: tuple[str, ...]
    lack: Lack | None = None
    is_known: bool = False
    passed_over: tuple[tuple[str, str], ...] = ()
    rehearsing: PartnerMatch | None = None


_NOBODY = "no on-premises connector knows the session"
_STOOD_BACK = "would go first, but is in rehearsal"


def attribute(directory: Directory, session: SessionFacts, reverse_path: Path) -> Attribution:
    """Whether the session comes from an organization's own servers: by certificate first, then by address.

    A trusted certificate identifies the organization whose connector names it most specifically, if that name is the
    organization's own; otherwise the reverse-path must be in one of its accepted domains. An address identifies only
    together with such a reverse-path, so never with the null one (exchange.md section 5.1, steps 1 to 3). Of one
    organization a connector in rehearsal never goes before one that is in force.
    """
    sender = reverse_path.domain
    owner = directory.organization_of(sender)
    certified, lacks = _certified(directory, session)
    held = directory.on_premises_by_address(address_key(session.connection_ip))
    identified = _identifying(certified, held, sender, owner)
    if identified is None:
        return _unknown(session, sender, certified, held, lacks)
    entry, basis, rehearsing = identified
    passed_over = {rehearsing.label: _STOOD_BACK} if rehearsing else {}
    passed_over |= {inbound_entry.label: lack.why for inbound_entry, lack in lacks}
    for candidate in certified:
        won = basis != "address" or (candidate.organization is entry.organization and not _in_force(candidate))
        passed_over[candidate.label] = (
            certificate_loss(candidate, entry, sender) if won else certificate_claim(candidate, sender)
        )
    for candidate in held.entries:
        if len(passed_over) > PASSED_OVER_LIMIT:  # one more than are told: the one that was chosen may be among them
            break
        passed_over.setdefault(candidate.label, address_loss(candidate, entry, basis, session, sender))
    if rehearsing is not None:
        passed_over[rehearsing.label] = _STOOD_BACK
    passed_over.pop(entry.label, None)
    return Attribution(
        "originating",
        entry.organization.name,
        entry.connector,
        basis,
        _identified(entry, basis, session, f"the sender's domain {sender}"),
        tuple(passed_over.items())[:PASSED_OVER_LIMIT],
        rehearsing=rehearsing.connector if rehearsing else None,
    )


def _certified(
    directory: Directory, session: SessionFacts
) -> tuple[list[InboundEntry], list[tuple[InboundEntry, Lack]]]:
    """On-premises connectors that the certificate identifies, and those whose name it bears that it does not."""
    leaf = presented(session)
    if leaf is None:
        return [], []
    certified, lacks = [], []
    for entry in directory.on_premises_by_certificate(leaf):
        lack = certificate_lack(entry, session)
        if lack is None:
            certified.append(entry)
        elif lack.fault is not CredentialFault.OTHER_NAME:
            lacks.append((entry, lack))
    return certified, lacks


def _identifying(
    certified: list[InboundEntry], held: AddressHolders[InboundEntry], sender: str, owner: Organization | None
) -> tuple[InboundEntry, str, InboundEntry | None] | None:
    """Of the organization whose own server it is the first connector that is in force, its basis, and who stood back.

    One in rehearsal only where none is in force.
    """
    candidates = _by_certificate([entry for entry in certified if entry.associated(sender)], owner)
    mine = candidates[0][0].organization if candidates else owner
    if mine is owner and owner is not None and (by_address := held.first(owner.name, sender)) is not None:
        candidates += [(entry, "address") for entry in by_address]
    if not candidates:
        return None
    first = candidates[0][0]
    entry, basis = next((candidate for candidate in candidates if _in_force(candidate[0])), candidates[0])
    return entry, basis, None if entry is first else first


def _by_certificate(certified: list[InboundEntry], owner: Organization | None) -> list[tuple[InboundEntry, str]]:
    """Connectors of one organization, each with its basis: those whose name is its own, then by the sender's owner."""
    owned = sorted((entry for entry in certified if entry.ownership), key=_certificate_order)
    chosen = _most_specific(owned, owner)
    result = [(entry, "certificate") for entry in owned if entry.organization is chosen]
    if owned and chosen is not owner:
        return result
    rest = (entry for entry in certified if entry.organization is owner and not entry.ownership)
    return result + [(entry, "certificate-and-sender") for entry in sorted(rest, key=_certificate_order)]


def _most_specific(owned: list[InboundEntry], owner: Organization | None) -> Organization | None:
    """The organization whose name the certificate bears, None if that is not certain."""
    # Between organizations the more specific name decides; only within one may a priority say otherwise. Two that name
    # it as specifically are told apart by the sender (exchange.md section 5.1, step 2: one tenant left).
    narrowest = max((entry.specificity for entry in owned), default=None)
    leaders = [entry.organization for entry in owned if entry.specificity == narrowest]
    if leaders and all(organization is leaders[0] for organization in leaders):
        return leaders[0]
    return owner if owner in leaders else None


def _in_force(entry: InboundEntry) -> bool:
    return entry.connector.mode is Mode.ENFORCE


def _certificate_order(entry: InboundEntry) -> tuple[int, tuple[int, ...], str]:
    """The lowest priority number, then the most specific name, then the first by name."""
    return entry.connector.priority, tuple(-int(number) for number in entry.specificity), entry.connector.name


def _identified(entry: InboundEntry, basis: str, session: SessionFacts, spoken: str) -> tuple[str, ...]:
    """Explain how the session was identified.

    spoken: the domain that identifies the owner where the certificate does not.
    """
    own = entry.organization.name
    leaf = presented(session)
    if basis.startswith("address") or leaf is None:
        return (f"{entry.label} holds the address {session.peer_ip}, and {spoken} is an accepted domain of {own}",)
    name = entry.connector.tls_sender_certificate_name
    reason = f"{entry.label} names {name}, which the client's trusted certificate bears ({describe_names(leaf)})"
    if basis == "certificate":
        return (reason,)
    return reason, f"{name} is not an accepted domain of {own}, but {spoken} is"


def _unknown(
    session: SessionFacts,
    sender: str,
    certified: list[InboundEntry],
    held: AddressHolders[InboundEntry],
    lacks: list[tuple[InboundEntry, Lack]],
) -> Attribution:
    """Nobody's own server, as far as the session and the reverse-path say; who knows it all the same may claim it."""
    if not (lacks or certified or held.entries):
        nobody = f"{_NOBODY}: {describe_client(session)}"
        return Attribution("none", None, None, "none", (nobody,))
    reasons = [f"{entry.label} {lack.why}" for entry, lack in lacks[:PASSED_OVER_LIMIT]]
    reasons += [f"{entry.label} {certificate_claim(entry, sender)}" for entry in certified[:PASSED_OVER_LIMIT]]
    reasons += [f"{entry.label} {address_claim(entry, session, sender)}" for entry in held.entries[:PASSED_OVER_LIMIT]]
    # It is put off by one that is in force, if there is one: of one in rehearsal it would only be said.
    unsure = tuple(
        candidate for candidate in sorted(lacks, key=lambda lack: not _in_force(lack[0])) if candidate[1].is_ours
    )
    return Attribution(
        "none",
        None,
        None,
        "none",
        (*reasons, _NOBODY),
        claims=(
            *(("certificate", entry) for entry in sorted(certified, key=_certificate_order)),
            *held.claims,
        ),
        held=held,
        lack=unsure[0][1] if unsure else next((lack for _, lack in lacks), None),
        unsure=unsure,
    )


def attribute_by_recipient(
    attribution: Attribution, session: SessionFacts, organization: Organization, recipient: Path
) -> Attribution:
    """The attribution once the recipient is known: what neither certificate nor reverse-path says, its domain may say.

    Exchange's last resort (exchange.md section 5.1, steps 2b and 3b). It never relays: the recipient is in an accepted
    domain of the organization whose server this is. organization: the one that accepts the recipient's domain.
    """
    claims = [
        (basis, entry)
        for basis, entry in takewhile(lambda claim: claim[0] == "certificate", attribution.claims)
        if entry.organization is organization and entry.associated(recipient.domain)
    ]
    if (by_address := attribution.held.first(organization.name, recipient.domain)) is not None:
        claims += [("address", entry) for entry in by_address]
    if not claims:
        return attribution
    first = claims[0][1]
    basis, entry = next((claim for claim in claims if _in_force(claim[1])), claims[0])
    basis = f"{basis}-and-recipient"
    return Attribution(
        "originating",
        organization.name,
        entry.connector,
        basis,
        _identified(entry, basis, session, f"the recipient's domain {recipient.domain}"),
        ((first.label, _STOOD_BACK),) if first is not entry else (),
        rehearsing=first.connector if first is not entry else None,
    )


def attribute_by_address(
    directory: Directory, attribution: Attribution, session: SessionFacts, sender: str
) -> Attribution:
    """The attribution of mail that leaves with a null or foreign reverse-path, where a connector lets its address do.

    Only where no other organization has to do with it: the sender's domain is none of theirs, and none of them knows
    the client too. sender: the domain of the reverse-path, "" for the null one.
    """
    known = takewhile(lambda claim: claim[0] == "certificate", attribution.claims)
    owners = {entry.organization.name for _, entry in known} | attribution.held.organizations
    if len(owners) != 1 or directory.is_disputed(sender) or directory.organization_of(sender) is not None:
        return attribution
    if (candidates := attribution.held.first_by_address_alone(null=not sender)) is None:
        return attribution
    first, entry = candidates
    allowed = f"senders_by_address = {str(entry.connector.senders_by_address)!r}"
    return Attribution(
        "originating",
        entry.organization.name,
        entry.connector,
        "address-alone",
        (f"{entry.label} holds the address {session.peer_ip}, and its {allowed} takes {describe_sender(sender)}",),
        ((first.label, _STOOD_BACK),) if first is not entry else (),
        rehearsing=first.connector if first is not entry else None,
    )


_TELLING = frozenset(
    {
        CredentialFault.ONLY_COMMON_NAME,
        CredentialFault.NOT_TRUSTED,
        CredentialFault.NOT_JUDGED,
        CredentialFault.REVOCATION_UNKNOWN,
    }
)


class _Candidate(msgspec.Struct, frozen=True):
    """A partner connector that takes in the sender, by a pattern; key: who goes first. lack, by_address: its proofs."""

    key: tuple[int, int, int, str]
    entry: InboundEntry
    pattern: str
    lack: Lack | None
    by_address: bool

    @property
    def by_certificate(self) -> bool:
        """Whether the session has the certificate that the connector names."""
        return self.lack is None and self.entry.connector.tls_sender_certificate_name is not None


def match_partner(
    directory: Directory,
    organization: Organization,
    session: SessionFacts,
    reverse_path: Path,
    recipient: Path | None,
) -> PartnerMatch | None:
    """The partner connector of the recipient's organization that a message meets.

    recipient: None, at MAIL FROM, is any of the organization's; no answer if it makes a difference which.

    In this order: the lower priority number, the more specific sender domain (so that an exception beats "*"), the one
    whose certificate or address the session has, one that restricts, the name. One in rehearsal never goes before one
    that is in force: its effect is reported too.
    """
    index = directory.partners(organization.name)
    if index is None:
        return None
    found: dict[int, _Candidate] = {}
    narrowed: dict[str, str] = {}
    for rank, pattern, entry in index.candidates(reverse_path.domain):
        if id(entry) in found:
            continue
        if recipient is None:
            if entry.connector.associated_accepted_domains:
                if _in_force(entry):
                    return None
                continue  # whoever it holds for, it changes nothing
        elif not entry.associated(recipient.domain):
            domains = ", ".join(entry.connector.associated_accepted_domains[:PASSED_OVER_LIMIT])
            narrowed[entry.label] = f"is limited to {domains}, and {recipient.domain} is none of these"
            continue
        found[id(entry)] = _candidate(entry, rank, pattern, session)
    if not found:
        return None
    return _met(sorted(found.values(), key=lambda candidate: candidate.key), narrowed, reverse_path)


def filter_of(directory: Directory, organization: Organization, session: SessionFacts) -> InboundEntry | None:
    """The connector of a filter that the session comes from, which skips hops; None for any other client."""
    return next(
        (
            entry
            for entry in directory.filters(organization.name)
            if entry.holds(address_key(session.connection_ip))
            or (entry.connector.tls_sender_certificate_name and certificate_lack(entry, session) is None)
        ),
        None,
    )


def _met(candidates: list[_Candidate], narrowed: dict[str, str], reverse_path: Path) -> PartnerMatch:
    """The match among candidates, the first of them first."""
    sender = reverse_path.domain
    first = candidates[0]
    winner = next((candidate for candidate in candidates if candidate.entry.connector.mode is Mode.ENFORCE), first)
    rehearsing = None if winner is first else _match_reasons(first, sender)
    passed_over = narrowed
    for candidate in candidates[: PASSED_OVER_LIMIT + 1]:
        if candidate is first and candidate is not winner:
            passed_over[candidate.entry.label] = _STOOD_BACK
        elif candidate is not winner:
            patterns = candidate.pattern, winner.pattern
            in_trial = candidate.key < winner.key
            why = "is in rehearsal" if in_trial else partner_loss(candidate.key, winner.key, patterns, sender)
            passed_over[candidate.entry.label] = why
    return _match_reasons(
        winner,
        sender,
        is_known=any(
            (candidate.by_address or candidate.by_certificate) and _in_force(candidate.entry)
            for candidate in candidates
        ),
        passed_over=tuple(passed_over.items())[:PASSED_OVER_LIMIT],
        rehearsing=rehearsing,
    )


def _candidate(entry: InboundEntry, rank: int, pattern: str, session: SessionFacts) -> _Candidate:
    """With what of its identification the session shows."""
    connector = entry.connector
    is_named = connector.tls_sender_certificate_name is not None
    lack = certificate_lack(entry, session) if is_named else None
    by_address = entry.holds(address_key(session.connection_ip if connector.skips_hops else session.peer_ip))
    if is_named and lack is None:
        fit = 0
    elif by_address:
        fit = 1
    else:
        fit = 2 if connector.restrict_domains_to_certificate or connector.restrict_domains_to_ip_addresses else 3
    return _Candidate((connector.priority, rank, fit, connector.name), entry, pattern, lack, by_address)


def _match_reasons(
    candidate: _Candidate,
    sender: str,
    *,
    is_known: bool = False,
    passed_over: tuple[tuple[str, str], ...] = (),
    rehearsing: PartnerMatch | None = None,
) -> PartnerMatch:
    """The candidate as the match, with its reasons: of the certificate only if it is meant for the connector."""
    entry, lack = candidate.entry, candidate.lack
    said = f"sender domain {sender}" if sender else "the null reverse-path"
    how = "exactly" if candidate.pattern == sender else f"by {candidate.pattern!r}"
    reason = f"{entry.label} matches {said} {how}"
    return PartnerMatch(
        entry.connector,
        candidate.by_certificate,
        candidate.by_address,
        (reason, f"{entry.label} {lack.why}") if lack is not None and lack.fault in _TELLING else (reason,),
        lack,
        is_known,
        passed_over,
        rehearsing,
    )
