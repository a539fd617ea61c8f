"""An immutable index of all resources, built once per version, so that a decision is a few look-ups in dictionaries.

Built by `node.snapshot`, read by `policy.connectors.match` and `policy`, which offers it as
`policy.connectors.directory.Directory`. Only finds; who wins among what was found is decided in
`policy.connectors.match`.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING

import msgspec

from gatepost.policy.connectors.address_index import AddressHolders, AddressIndex
from gatepost.policy.connectors.certificate_index import CertificateIndex, ClientAnchors
from gatepost.policy.connectors.hook_index import HookIndex
from gatepost.policy.connectors.journal_index import journals
from gatepost.policy.connectors.names import covers, network, parents, patterns
from gatepost.policy.connectors.quarantine_rules import QuarantineRules
from gatepost.policy.connectors.recipients import MailboxIndex, MailboxMatch, RecipientLists
from gatepost.policy.connectors.signing_keys import SigningKeys
from gatepost.policy.connectors.values import AuthenticationResults, ConnectorType, Mode, RevocationCheck
from gatepost.policy.connectors.verification import in_force
from gatepost.protocols.tls.names import matches, normalise
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from gatepost.policy.connectors.accepted_domain import AcceptedDomain
    from gatepost.policy.connectors.oauth import OauthIssuer
    from gatepost.policy.connectors.records import InboundConnector, Mailbox, Organization, OutboundConnector
    from gatepost.policy.connectors.resources import Resources
    from gatepost.protocols.smtp.grammar import Path
    from gatepost.protocols.tls.facts import CertificateFacts


type AddressKey = tuple[int, int]

_KEPT = 64  # certificates of clients whose connectors are kept


@lru_cache(maxsize=4096)
def address_key(text: str) -> AddressKey | None:
    """Version and number of an IP address, None if it is none. An IPv4 address mapped into IPv6 counts as IPv4."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.version, int(address)


class InboundEntry(msgspec.Struct, frozen=True, eq=False):
    """An inbound connector made ready for matching.

    networks: IP version, bits behind the prefix, number before them. ownership: whether tls_sender_certificate_name
    belongs to the organization (exchange.md section 2.2): 2 its accepted domain, 1 above one of them and nobody else's
    own, 0 neither. label:
    the connector as a sentence names it: "connector 'hq' of contoso".
    """

    organization: Organization
    connector: InboundConnector
    networks: tuple[tuple[int, int, int], ...]
    ownership: int
    label: str

    @property
    def specificity(self) -> tuple[bool, int, int]:
        """The narrowness of the certificate name: greater is narrower."""
        name = self.connector.tls_sender_certificate_name or "*."
        return not name.startswith("*."), name.count("."), self.ownership

    def holds(self, address: AddressKey | None) -> bool:
        """Whether the address is in sender_ip_addresses."""
        if address is None:
            return False
        version, number = address
        return any(
            version == network_version and number >> shift == prefix for network_version, shift, prefix in self.networks
        )

    def associated(self, domain: str) -> bool:
        """Whether associated_accepted_domains, if there are any, have this domain."""
        domains = self.connector.associated_accepted_domains
        return not domains or any(covers(pattern, domain) for pattern in domains)


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
        for rank, pattern in enumerate(patterns(sender_domain)):
            for entry in self._by_pattern.get(pattern, ()):
                yield rank, pattern, entry


class OutboundIndex:
    """The outbound connectors of one organization.

    accepted: enabled ones for all_accepted_domains. central: enabled ones for route_all_messages_via_on_premises; those
    that stand at one place are in the order of priority and name. A connector that only mail flow rules use
    (is_transport_rule_scoped) stands at no place: it is found by its name alone.
    """

    __slots__ = ("_by_name", "_by_pattern", "accepted", "central")

    def __init__(self, connectors: Iterable[OutboundConnector]) -> None:
        ordered = sorted(
            connectors, key=lambda outbound_connector: (outbound_connector.priority, outbound_connector.name)
        )
        self._by_name = {outbound_connector.name.lower(): outbound_connector for outbound_connector in ordered}
        placed = [
            outbound_connector
            for outbound_connector in ordered
            if outbound_connector.enabled and not outbound_connector.is_transport_rule_scoped
        ]
        self._by_pattern: dict[str, list[OutboundConnector]] = {}
        for connector in placed:
            for pattern in connector.recipient_domains:
                self._by_pattern.setdefault(pattern, []).append(connector)
        self.accepted = tuple(
            outbound_connector for outbound_connector in placed if outbound_connector.all_accepted_domains
        )
        self.central = tuple(
            outbound_connector for outbound_connector in placed if outbound_connector.route_all_messages_via_on_premises
        )

    @property
    def everything(self) -> OutboundConnector | None:
        """The connector that takes all messages first."""
        return self.central[0] if self.central else None

    def named(self, name: str) -> OutboundConnector | None:
        """The connector of that name, in whatever case it is written, a disabled one too."""
        return self._by_name.get(name.lower())

    def candidates(self, domain: str) -> Iterator[tuple[str, OutboundConnector]]:
        """The pattern that takes the domain in and its connector, the most specific first, "*" last.

        Of one pattern in the order of priority and name.
        """
        for pattern in patterns(domain):
            for connector in self._by_pattern.get(pattern, ()):
                yield pattern, connector


class Directory:
    """All organizations, domains, mailboxes and connectors of one version of the resources.

    resources: as they are written. organizations: as far as they count for mail, without domains that are pending or
    disputed and what is in them (`policy.connectors.verification`); what is found here is of these. version: its number
    in `store.changes`, 0 if it is not stored; what was decided by it is recorded with it. first: since which version an
    organization has had a domain, by both names; it decides disputes. hooks, journals, quarantine_rules, signing_keys:
    of all organizations, each by what it is looked up by. authenticates: whether any organization has
    mail authenticated.
    """

    __slots__ = (
        "_anchors",
        "_at_address",
        "_by_certificate",
        "_certificates",
        "_disputed",
        "_domains",
        "_filters",
        "_mailboxes",
        "_oauth",
        "_organizations",
        "_outbound",
        "_partners",
        "_recipient_lists",
        "_revocable",
        "_wildcards",
        "authenticates",
        "disputes",
        "first",
        "hooks",
        "journals",
        "organizations",
        "quarantine_rules",
        "resources",
        "signing_keys",
        "version",
    )

    def __init__(
        self, resources: Resources, version: int = 0, first: Mapping[tuple[str, str], int] = MappingProxyType({})
    ) -> None:
        self.resources = resources
        self.version = version
        self.first = first
        status = in_force(resources.organizations, first)
        self.organizations = status.organizations
        self.disputes = status.disputes
        self._disputed = frozenset(dispute.claim.name for dispute in status.disputes)
        self._organizations = {organization.name: organization for organization in self.organizations}
        self._domains: dict[str, tuple[Organization, AcceptedDomain]] = {
            domain.name: (organization, domain)
            for organization in self.organizations
            for domain in organization.accepted_domains
        }
        self._wildcards = any(name.startswith("*.") for name in self._domains)
        self._mailboxes = MailboxIndex(self.organizations)
        self._recipient_lists = RecipientLists(self.organizations)
        self.hooks = HookIndex(self.organizations)
        self.journals = journals(self.organizations)
        self.quarantine_rules = QuarantineRules(self.organizations)
        self.authenticates = any(
            organization.authentication_results is not AuthenticationResults.NONE for organization in self.organizations
        )
        self._outbound = {
            organization.name: OutboundIndex(organization.outbound_connectors) for organization in self.organizations
        }
        self.signing_keys = SigningKeys(self.organizations)
        self._partners: dict[str, PartnerIndex] = {}
        self._filters: dict[str, list[InboundEntry]] = {}
        self._by_certificate, self._revocable = CertificateIndex[InboundEntry](), CertificateIndex[InboundEntry]()
        self._anchors = ClientAnchors()
        self._at_address = AddressIndex[InboundEntry]()
        self._certificates: dict[CertificateFacts, list[InboundEntry]] = {}
        self._oauth: dict[str, list[tuple[Organization, OauthIssuer]]] = {}
        for owner in self.organizations:
            for issuer in owner.oauth_issuers:
                if issuer.enabled:
                    self._oauth.setdefault(issuer.issuer, []).append((owner, issuer))
        for organization in self.organizations:
            self._index_inbound(organization)

    def with_resources(self, resources: Resources) -> Directory:
        """Other resources in place of these, of the same version and with the same history."""
        return Directory(resources, self.version, self.first)

    def _index_inbound(self, organization: Organization) -> None:
        entries = [
            self.entry(organization, connector) for connector in organization.inbound_connectors if connector.enabled
        ]
        partners = [
            inbound_entry
            for inbound_entry in entries
            if inbound_entry.connector.connector_type is ConnectorType.PARTNER
        ]
        if partners:
            self._partners[organization.name] = PartnerIndex(partners)
            filters = [entry for entry in partners if entry.connector.skips_hops and _in_force(entry)]
            if filters:
                self._filters[organization.name] = sorted(filters, key=_in_order)
        for entry in entries:
            self._anchors.add(entry)
            if entry.connector.connector_type is ConnectorType.ON_PREMISES:
                self._index_on_premises(entry)
            if entry.connector.revocation_check is not RevocationCheck.NONE:
                self._revocable.add(entry)

    def _index_on_premises(self, entry: InboundEntry) -> None:
        self._by_certificate.add(entry)
        self._at_address.add(entry)

    def entry(self, organization: Organization, connector: InboundConnector) -> InboundEntry:
        """The connector made ready for matching, whether it is enabled or not."""
        networks = []
        for text in connector.sender_ip_addresses:
            parsed = network(text)
            shift = parsed.max_prefixlen - parsed.prefixlen
            networks.append((parsed.version, shift, int(parsed.network_address) >> shift))
        ownership = self._ownership(organization, connector.tls_sender_certificate_name or "")
        label = f"connector {connector.name!r} of {organization.name}"
        return InboundEntry(organization, connector, tuple(networks), ownership, label)

    def _ownership(self, organization: Organization, name: str) -> int:
        bare = name.removeprefix("*.")
        owner = self.organization_of(bare)
        if owner is not None:
            return 2 if owner.name == organization.name else 0
        counting = self._organizations.get(organization.name)
        below = (domain.name.removeprefix("*.") for domain in (counting.accepted_domains if counting else ()))
        return 1 if name != bare and any(covers(name, domain) for domain in below) else 0

    def is_disputed(self, domain: str) -> bool:
        """Whether mail for a domain waits until its owner is known: two organizations claim it, and nobody has it."""
        if not self._disputed or self._accepting(domain) is not None:
            return False
        return domain in self._disputed or any(f"*.{parent}" in self._disputed for parent in parents(domain))

    def accepts(self, organization: str, domain: str) -> bool:
        """Whether a domain is an accepted one of an organization."""
        owner = self.organization_of(domain)
        return owner is not None and owner.name == organization

    def owns(self, organization: str, domain: str) -> bool:
        """Whether a domain, or the nearest accepted one above it, is an organization's, as for DKIM keys."""
        owners = (self.organization_of(parent) for parent in parents(domain))
        nearest = next((owner for owner in owners if owner is not None), None)
        return nearest is not None and nearest.name == organization

    def organization(self, name: str) -> Organization | None:
        """The organization of that name."""
        return self._organizations.get(name)

    def organization_of(self, domain: str) -> Organization | None:
        """The organization that accepts a domain (lower-case A-labels), by exact name or the nearest "*.domain"."""
        match = self._accepting(domain)
        return match[0] if match else None

    def accepted_domain(self, domain: str) -> AcceptedDomain | None:
        """The accepted domain that takes a domain in."""
        match = self._accepting(domain)
        return match[1] if match else None

    def _accepting(self, domain: str) -> tuple[Organization, AcceptedDomain] | None:
        if (result := self._domains.get(domain)) is not None:
            return result
        if not self._wildcards:
            return None
        above = (self._domains.get(f"*.{parent}") for parent in parents(domain))
        return next((candidate for candidate in above if candidate), None)

    def mailbox(self, address: str) -> Mailbox | None:
        """The mailbox that an address means; see `recipient`."""
        match = self._mailboxes.find(address)
        return match.mailbox if match is not None else None

    def recipient(self, address: str) -> MailboxMatch | None:
        """The mailbox that an address means, and by which of its addresses: see `policy.connectors.recipients`."""
        return self._mailboxes.find(address)

    def without_detail(self, address: str) -> str:
        """An address without what stands behind a separator, in one form; see `policy.connectors.recipients`."""
        return self._mailboxes.without_detail(address)

    def lists_recipient(self, domain: AcceptedDomain, recipient: Path) -> bool:
        """Whether an accepted domain's own list of recipients has this one."""
        return self._recipient_lists.holds(domain.name, recipient)

    def recipient_keys(self, domain: AcceptedDomain, recipient: Path) -> tuple[str, ...]:
        """The addresses of which the source of a domain's recipients must know one, in lower case."""
        return self._recipient_lists.keys(domain.name, recipient)

    def has_mailboxes(self, domain: str) -> bool:
        """Whether there is a mailbox in the domain, so that its recipients are known here."""
        return domain in self._mailboxes.domains

    @property
    def takes_tokens(self) -> bool:
        """Whether any organization lets its users log in with tokens."""
        return bool(self._oauth)

    @property
    def takes_passwords(self) -> bool:
        """Whether any organization lets its users log in with passwords."""
        return any(organization.allow_basic_auth_smtp for organization in self.organizations)

    def oauth_issuers(self, issuer: str) -> Sequence[tuple[Organization, OauthIssuer]]:
        """The organizations that take tokens whose "iss" is this, each with what it asks of them."""
        return self._oauth.get(issuer, ())

    def partners(self, organization: str) -> PartnerIndex | None:
        """The partner connectors of an organization, None if it has none."""
        return self._partners.get(organization)

    def filters(self, organization: str) -> Sequence[InboundEntry]:
        """The partner connectors of an organization that skip hops, in the order of priority and name."""
        return self._filters.get(organization, ())

    def outbound(self, organization: str) -> OutboundIndex | None:
        """The outbound connectors of an organization, None if it is not known."""
        return self._outbound.get(organization)

    def on_premises_by_certificate(self, leaf: CertificateFacts) -> list[InboundEntry]:
        """On-premises connectors whose certificate name the certificate may bear; each has still to be compared.

        Their ownership is that of the name which the certificate bears.
        Kept, since a session asks again with each MAIL, and a certificate of very many names takes milliseconds.
        """
        entries = self._certificates.get(leaf)
        if entries is None:
            if len(self._certificates) >= _KEPT:
                self._certificates.clear()
            entries = [_as_borne(entry, leaf) for entry in self._by_certificate.find(leaf)]
            self._certificates[leaf] = entries
        return entries

    def client_anchors(self, leaf: CertificateFacts | None) -> frozenset[str]:
        """The trust anchors, beside the server's own, by which a client's chain is judged; see `ClientAnchors.of`."""
        return self._anchors.of(leaf)

    def revocation_anchors(self, leaf: CertificateFacts) -> frozenset[str]:
        """Trust anchors ("" is the server's) by which an inbound connector that checks revocation may know the leaf."""
        anchors: set[str] = set()
        for connector in (entry.connector for entry in self._revocable.find(leaf)):
            # Each once: a client may bear the names of all partners, thousands of them.
            if connector.trust_anchors not in anchors and matches(
                connector.tls_sender_certificate_name or "", leaf, common_name=connector.match_common_name
            ):
                anchors.add(connector.trust_anchors)
        return frozenset(anchors)

    def on_premises_by_address(self, address: AddressKey | None) -> AddressHolders[InboundEntry]:
        """On-premises connectors that hold the address."""
        return self._at_address.find(address)


def _in_force(entry: InboundEntry) -> bool:
    return entry.connector.mode is Mode.ENFORCE


def _in_order(entry: InboundEntry) -> tuple[int, str]:
    return entry.connector.priority, entry.connector.name


def _as_borne(entry: InboundEntry, leaf: CertificateFacts) -> InboundEntry:
    """The connector as the certificate is its organization's: `*.example` is not its own where another name is borne.

    A wildcard above its domains takes in those of others; only a name at, below or right above one of them is its own.
    """
    if entry.ownership != _ABOVE:
        return entry
    names = (*leaf.dns_names, normalise(leaf.common_name)) if entry.connector.match_common_name else leaf.dns_names
    domains = [domain.name.removeprefix("*.") for domain in entry.organization.accepted_domains]
    own = any(_borne_for(name, domain) for name in names for domain in domains)
    return entry if own else replace(entry, ownership=0)


_ABOVE = 1  # see `InboundEntry.ownership`


def _borne_for(name: str, domain: str) -> bool:
    return name == domain or name.endswith(f".{domain}") or name == f"*.{domain.partition('.')[2]}"
