"""An immutable index of all resources, built once per version, so that a decision is a few look-ups in dictionaries.

Built by `node.snapshot`, read by `connectors.match` and `policy`, which offers it as `connectors.match.Directory`. Only
finds; who wins among what was found is decided in `connectors.match`.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gatepost.connectors.names import covers, network, parents
from gatepost.connectors.values import ConnectorType
from gatepost.smtp.grammar import GrammarError, parse_address

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gatepost.connectors.model import (
        AcceptedDomain,
        InboundConnector,
        Mailbox,
        Organization,
        OutboundConnector,
        Resources,
    )
    from gatepost.tls.facts import CertificateFacts

__all__ = ["Directory", "InboundEntry", "OutboundIndex", "PartnerIndex", "address_key"]

type AddressKey = tuple[int, int]


def address_key(text: str) -> AddressKey | None:
    """Version and number of an IP address, None if it is none. An IPv4 address mapped into IPv6 counts as IPv4."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.version, int(address)


@dataclass(frozen=True, slots=True, eq=False)
class InboundEntry:
    """An inbound connector made ready for matching.

    networks: IP version, bits behind the prefix, number before them. ownership: whether tls_sender_certificate_name
    belongs to the organization (exchange.md section 2.2): 2 its accepted domain, 1 above one of them, 0 neither.
    """

    organization: Organization
    connector: InboundConnector
    networks: tuple[tuple[int, int, int], ...]
    ownership: int = 0

    @property
    def label(self) -> str:
        """The connector as a sentence names it: "connector 'hq' of contoso"."""
        return f"connector {self.connector.name!r} of {self.organization.name}"

    @property
    def specificity(self) -> tuple[bool, int, int]:
        """How narrowly the certificate name points at the organization; greater is narrower."""
        name = self.connector.tls_sender_certificate_name or "*."
        return not name.startswith("*."), name.count("."), self.ownership

    def holds(self, address: AddressKey | None) -> bool:
        """Whether the address is in sender_ip_addresses."""
        if address is None:
            return False
        version, number = address
        return any(version == one and number >> shift == prefix for one, shift, prefix in self.networks)

    def associated(self, domain: str) -> bool:
        """Whether associated_accepted_domains, if there are any, have this domain."""
        domains = self.connector.associated_accepted_domains
        return not domains or domain in domains


class PartnerIndex:
    """The enabled partner connectors of one organization, by sender domain."""

    __slots__ = ("_by_pattern",)

    def __init__(self, entries: Iterable[InboundEntry]) -> None:
        self._by_pattern: dict[str, list[InboundEntry]] = {}
        for entry in entries:
            for pattern in entry.connector.sender_domains:
                self._by_pattern.setdefault(pattern, []).append(entry)

    def candidates(self, sender_domain: str) -> Iterator[tuple[int, str, InboundEntry]]:
        """Rank (0 is the most specific), the pattern that took the domain in, and the connector."""
        for rank, pattern in enumerate(_patterns(sender_domain)):
            for entry in self._by_pattern.get(pattern, ()):
                yield rank, pattern, entry


class OutboundIndex:
    """The enabled outbound connectors of one organization: the first of each place that they can stand at.

    accepted: for all_accepted_domains. everything: for route_all_messages_via_on_premises.
    """

    __slots__ = ("_by_pattern", "accepted", "everything")

    def __init__(self, connectors: Iterable[OutboundConnector]) -> None:
        ordered = sorted((one for one in connectors if one.enabled), key=lambda one: (one.priority, one.name))
        self._by_pattern: dict[str, OutboundConnector] = {}
        for connector in ordered:
            for pattern in connector.recipient_domains:
                self._by_pattern.setdefault(pattern, connector)
        self.accepted = next((one for one in ordered if one.all_accepted_domains), None)
        self.everything = next((one for one in ordered if one.route_all_messages_via_on_premises), None)

    def candidates(self, domain: str) -> Iterator[tuple[str, OutboundConnector]]:
        """The pattern that takes the domain in and its connector, the most specific first, "*" last."""
        for pattern in _patterns(domain):
            if (found := self._by_pattern.get(pattern)) is not None:
                yield pattern, found


class Directory:
    """All organizations, domains, mailboxes and connectors of one version of the resources.

    version: its number in `store.changes`, 0 if it is not stored; what was decided by it is recorded with it.
    """

    __slots__ = (
        "_at_address",
        "_by_certificate",
        "_domains",
        "_mailboxes",
        "_organizations",
        "_outbound",
        "_partners",
        "_populated",
        "client_anchors",
        "resources",
        "version",
    )

    def __init__(self, resources: Resources, version: int = 0) -> None:
        self.resources = resources
        self.version = version
        self._organizations = {one.name: one for one in resources.organizations}
        self._domains: dict[str, tuple[Organization, AcceptedDomain]] = {
            domain.name: (one, domain) for one in resources.organizations for domain in one.accepted_domains
        }
        self._mailboxes = {_mailbox_key(box.address): box for one in resources.organizations for box in one.mailboxes}
        self._populated = frozenset(address.rpartition("@")[2] for address in self._mailboxes)
        self._outbound = {one.name: OutboundIndex(one.outbound_connectors) for one in resources.organizations}
        self._partners: dict[str, PartnerIndex] = {}
        self._by_certificate: dict[str, list[InboundEntry]] = {}
        self._at_address: dict[AddressKey, dict[int, list[InboundEntry]]] = {}
        self.client_anchors: frozenset[str] = frozenset(
            connector.trust_anchors
            for one in resources.organizations
            for connector in one.inbound_connectors
            if connector.enabled and connector.trust_anchors
        )
        """Trust anchors that inbound connectors name for themselves: a client's chain is judged by each of them."""
        for organization in resources.organizations:
            self._index_inbound(organization)

    def _index_inbound(self, organization: Organization) -> None:
        entries = [self._entry(organization, one) for one in organization.inbound_connectors if one.enabled]
        partners = [one for one in entries if one.connector.connector_type is ConnectorType.PARTNER]
        if partners:
            self._partners[organization.name] = PartnerIndex(partners)
        for entry in entries:
            if entry.connector.connector_type is ConnectorType.ON_PREMISES:
                self._index_on_premises(entry)

    def _index_on_premises(self, entry: InboundEntry) -> None:
        if name := entry.connector.tls_sender_certificate_name:
            bare = name.removeprefix("*.")
            # A certificate for *.b.example bears mail.b.example too, so an exact name is also found from its parent.
            for key in {bare} if name != bare else {bare, bare.partition(".")[2]}:
                self._by_certificate.setdefault(key, []).append(entry)
        for version, shift, prefix in entry.networks:
            self._at_address.setdefault((version, shift), {}).setdefault(prefix, []).append(entry)

    def _entry(self, organization: Organization, connector: InboundConnector) -> InboundEntry:
        networks = []
        for text in connector.sender_ip_addresses:
            found = network(text)
            shift = found.max_prefixlen - found.prefixlen
            networks.append((found.version, shift, int(found.network_address) >> shift))
        ownership = self._ownership(organization, connector.tls_sender_certificate_name or "")
        return InboundEntry(organization, connector, tuple(networks), ownership)

    def _ownership(self, organization: Organization, name: str) -> int:
        bare = name.removeprefix("*.")
        if self.organization_of(bare) is organization:
            return 2
        below = (domain.name.removeprefix("*.") for domain in organization.accepted_domains)
        return 1 if name != bare and any(covers(name, domain) for domain in below) else 0

    def organization(self, name: str) -> Organization | None:
        """The organization of that name."""
        return self._organizations.get(name)

    def organization_of(self, domain: str) -> Organization | None:
        """Who accepts a domain (lower-case A-labels): by its exact name, else by the nearest "*.domain" above."""
        found = self._accepting(domain)
        return found[0] if found else None

    def accepted_domain(self, domain: str) -> AcceptedDomain | None:
        """The accepted domain that takes a domain in."""
        found = self._accepting(domain)
        return found[1] if found else None

    def _accepting(self, domain: str) -> tuple[Organization, AcceptedDomain] | None:
        if (found := self._domains.get(domain)) is not None:
            return found
        above = (self._domains.get(f"*.{parent}") for parent in parents(domain))
        return next((found for found in above if found), None)

    def mailbox(self, address: str) -> Mailbox | None:
        """The mailbox with this address, whatever its case, its quoting, and the form of its domain."""
        found = self._mailboxes.get(address.lower())
        if found is None and ('"' in address or not address.isascii()):
            try:
                found = self._mailboxes.get(_mailbox_key(address))
            except GrammarError:
                return None
        return found

    def has_mailboxes(self, domain: str) -> bool:
        """Whether there is a mailbox in the domain, so that its recipients are known here."""
        return domain in self._populated

    def partners(self, organization: str) -> PartnerIndex | None:
        """The partner connectors of an organization, None if it has none."""
        return self._partners.get(organization)

    def outbound(self, organization: str) -> OutboundIndex | None:
        """The outbound connectors of an organization, None if it is not known."""
        return self._outbound.get(organization)

    def on_premises_by_certificate(self, leaf: CertificateFacts) -> list[InboundEntry]:
        """On-premises connectors whose certificate name the certificate may bear; each has still to be compared."""
        if not self._by_certificate:
            return []
        found: dict[int, InboundEntry] = {}
        for name in (*leaf.dns_names, leaf.common_name.lower()):
            for parent in parents(name.removeprefix("*.")):
                for entry in self._by_certificate.get(parent, ()):
                    found[id(entry)] = entry
        return list(found.values())

    def on_premises_by_address(self, address: AddressKey | None) -> list[tuple[int, InboundEntry]]:
        """On-premises connectors that hold the address, each with the bits behind its prefix (fewer are narrower)."""
        if address is None:
            return []
        version, number = address
        return [
            (shift, entry)
            for (one, shift), by_prefix in self._at_address.items()
            if one == version
            for entry in by_prefix.get(number >> shift, ())
        ]


def _mailbox_key(address: str) -> str:
    path = parse_address(address)
    return f"{path.local_part}@{path.domain}".lower()


def _patterns(domain: str) -> Iterator[str]:
    """The patterns that take a domain in, the most specific first."""
    if domain:
        yield domain
        for parent in parents(domain):
            yield f"*.{parent}"
    yield "*"
