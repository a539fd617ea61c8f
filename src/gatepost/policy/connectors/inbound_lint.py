"""Warnings about inbound connectors that are probably not meant. Called by `policy.connectors.lint`. Pure."""

from __future__ import annotations

from itertools import combinations, islice
from typing import TYPE_CHECKING, Final

from gatepost.policy.connectors import known_by_address, tls_rules, values
from gatepost.policy.connectors.names import covers, parents, patterns
from gatepost.protocols.tls.profile import PROFILES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatepost.policy.connectors.records import InboundConnector, Organization


_SAID: Final = 1000  # pairs that are compared, of the connectors for one sender domain


def lint_inbound(organization: Organization) -> Iterator[str]:
    """Warnings about an organization's inbound connectors, a sentence each; a disabled one gets none."""
    names = _OwnNames(organization)
    enabled = [connector for connector in organization.inbound_connectors if connector.enabled]
    for connector in enabled:
        label = f"inbound connector {connector.name!r} of {organization.name}"
        if connector.connector_type is values.ConnectorType.ON_PREMISES:
            yield from _on_premises(connector, names, label)
        else:
            yield from _partner(connector, organization, label)
        yield from _profile(connector, label)
        yield from tls_rules.lint(connector, label, inbound=True)
    yield from _alike(enabled, organization)


def _on_premises(connector: InboundConnector, names: _OwnNames, label: str) -> Iterator[str]:
    name = connector.tls_sender_certificate_name
    if any(domain != "*" for domain in connector.sender_domains):
        yield f"{label}: sender_domains act on partner connectors only; leave them out"
    if connector.restrict_domains_to_certificate or connector.restrict_domains_to_ip_addresses:
        yield (
            f"{label}: restrict_domains_to_certificate and _to_ip_addresses act on partner connectors only; leave "
            "them out"
        )
    if name and not names.have(name):
        yield (
            f"{label}: {name} is under no accepted domain of {names.name}, so its certificate counts only for "
            "senders in one"
        )
    if connector.mode is values.Mode.REHEARSE:
        yield f"{label}: in rehearsal it still lets its servers relay; only its refusals are not applied"
    if connector.cloud_services_mail_enabled and not name:
        yield (
            f"{label}: cloud_services_mail_enabled has no effect on servers known by address alone, which others may "
            "share; write tls_sender_certificate_name"
        )
    yield from known_by_address.lint(connector, label)
    yield from _names(connector, label)


def _names(connector: InboundConnector, label: str) -> Iterator[str]:
    name = connector.tls_sender_certificate_name
    if name and "." not in name.removeprefix("*."):
        yield f"{label}: {name} covers a whole top-level domain"
    if connector.match_common_name:
        yield f"{label}: match_common_name accepts the CN, which RFC 9525 does not; put the name into subjectAltName"


class _OwnNames:
    """The accepted domains of an organization, as `policy.connectors.directory` weighs ownership."""

    def __init__(self, organization: Organization) -> None:
        self.name = organization.name
        self._domains = frozenset(domain.name for domain in organization.accepted_domains)
        self._above = frozenset(above for domain in self._domains for above in parents(domain.removeprefix("*.")))

    def have(self, name: str) -> bool:
        """Whether a name of a certificate, perhaps with "*.", is in one of them, or takes one in."""
        bare = name.removeprefix("*.")
        return not self._domains.isdisjoint(patterns(bare)) or (name != bare and bare in self._above)


def _partner(connector: InboundConnector, organization: Organization, label: str) -> Iterator[str]:
    by_certificate, by_address = connector.restrict_domains_to_certificate, connector.restrict_domains_to_ip_addresses
    if by_certificate and by_address:
        yield f"{label}: both the certificate and the address are needed; for either, make two connectors"
    if "*" in connector.sender_domains and (by_certificate or by_address) and not connector.associated_accepted_domains:
        yield (
            f"{label}: it locks down all accepted domains: the gateway refuses every other sender, except those that a "
            "connector for a more specific domain admits"
        )
    if not (by_certificate or by_address or connector.require_tls or connector.profile):
        yield f"{label}: it demands nothing, and only names its senders in the trace"
    if not (
        organization.reject_direct_send or connector.skips_hops
    ):  # either knows a sender by what it does not demand
        yield from _not_demanded(connector, label)
    if connector.cloud_services_mail_enabled:
        yield f"{label}: cloud_services_mail_enabled acts on on-premises connectors only; leave it out"
    yield from known_by_address.lint(connector, label)
    yield from _names(connector, label)


def _not_demanded(connector: InboundConnector, label: str) -> Iterator[str]:
    """What a partner connector names and does not demand, as in Exchange, where two fields say it as well."""
    name = connector.tls_sender_certificate_name
    if name and not connector.restrict_domains_to_certificate:
        yield (
            f"{label}: it does not refuse mail without a certificate for {name}; write "
            "restrict_domains_to_certificate = true if it should"
        )
    if connector.sender_ip_addresses and not connector.restrict_domains_to_ip_addresses:
        yield (
            f"{label}: it does not refuse mail from addresses that it does not name; write "
            "restrict_domains_to_ip_addresses = true if it should"
        )


def _profile(connector: InboundConnector, label: str) -> Iterator[str]:
    """A profile that shuts out weak TLS, and not mail without any."""
    profile = connector.profile
    if profile is not None and profile is not values.ProfileName.LEGACY and not connector.require_tls:
        oldest = PROFILES[profile].min_version
        yield (
            f'{label}: profile = "{profile}" refuses mail over TLS older than {oldest}, and lets unencrypted mail '
            "pass; write require_tls = true as well"
        )


def _alike(enabled: list[InboundConnector], organization: Organization) -> Iterator[str]:
    """Partner connectors for one sender domain that differ in nothing by which one of them could be chosen."""
    places: dict[tuple[int, values.Mode, str], list[InboundConnector]] = {}
    for connector in sorted(enabled, key=lambda each: each.name):
        partner = connector.connector_type is values.ConnectorType.PARTNER
        if partner and not connector.tls_sender_certificate_name and not connector.sender_ip_addresses:
            for domain in dict.fromkeys(connector.sender_domains):
                places.setdefault((connector.priority, connector.mode, domain), []).append(connector)
    shared: dict[tuple[str, str], list[str]] = {}
    for (_, _, domain), connectors in places.items():
        for first, second in islice(combinations(connectors, 2), _SAID):
            if _meet(first, second):
                shared.setdefault((first.name, second.name), []).append(domain)
    for (winner, other), domains in islice(shared.items(), _SAID):
        yield (
            f"inbound connectors {winner!r} and {other!r} of {organization.name} both name "
            f"{', '.join(domains)}; {winner!r} wins by its name, and what {other!r} demands is not applied; give them "
            "priorities"
        )


def _meet(connector: InboundConnector, other: InboundConnector) -> bool:
    """Whether there can be a recipient for whom both hold."""
    its, others = connector.associated_accepted_domains, other.associated_accepted_domains
    if not its or not others:
        return True
    return any(
        covers(pattern, domain.removeprefix("*.")) or covers(domain, pattern.removeprefix("*."))
        for pattern in its
        for domain in others
    )
