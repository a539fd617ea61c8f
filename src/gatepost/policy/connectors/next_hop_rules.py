"""Rules and warnings for how a connector calls its next hops: log-in, implicit TLS, source address, address family.

Asked by `policy.connectors.rules` and `policy.connectors.lint`. A secret goes only to a host that proves its name: that
stands here for what is saved, and in `mail.outbound.login` for what is sent.

Smart hosts that are the gateway itself are found here for the warnings of a change: mail sent there would loop. What
other names lead to is known when mail is sent; mail by MX is kept from our own addresses then (`mail.outbound.hosts`).
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final

import msgspec

from gatepost.policy.connectors import values
from gatepost.policy.connectors.names import SmartHost, addresses_without_lookup, host_port

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from gatepost.policy.connectors.authentication import Authentication
    from gatepost.policy.connectors.errors import Draft, FieldError
    from gatepost.policy.connectors.names import Address
    from gatepost.policy.connectors.records import OutboundConnector
    from gatepost.policy.connectors.resources import Resources


class Listeners(msgspec.Struct, frozen=True):
    """The addresses at which the gateway itself is reached.

    addresses: "ADDRESS:PORT" of each listener. hostname: the gateway's own. own: IP addresses by which others reach it
    though no interface has them. interfaces: those of this machine, which a listener at 0.0.0.0 or :: has as well.
    """

    addresses: Collection[str]
    hostname: str = ""
    own: Collection[str] = ()
    interfaces: Collection[str] = ()

    def include(self, smart: SmartHost) -> bool:
        """Whether a smart host is one of them, as far as its name or IP address tells."""
        listening = [host_port(address, None, lowest=0) for address in self.addresses]
        hosts = {host for host, port in listening if port == smart.port}
        if not hosts:
            return False
        if smart.host == self.hostname.lower() or smart.host in hosts:
            return True
        bound = {address for host in hosts for address in addresses_without_lookup(host)}
        return any(self._is_bound(target, bound) for target in addresses_without_lookup(smart.host))

    def _is_bound(self, target: Address, bound: Collection[Address]) -> bool:
        if target in {ipaddress.ip_address(address) for address in self.own}:
            return True
        everywhere = any(address.is_unspecified and address.version == target.version for address in bound)
        is_local = target.is_loopback or target.is_unspecified or str(target) in self.interfaces
        return target in bound or (everywhere and is_local)


def own_smart_hosts(resources: Resources, listeners: Listeners) -> Iterator[str]:
    """The smart hosts of enabled connectors that are the gateway itself, a sentence each."""
    for organization in resources.organizations:
        for connector in organization.outbound_connectors:
            for smart in connector.smart_hosts if connector.enabled else ():
                if listeners.include(smart):
                    yield (
                        f"outbound connector {connector.name!r} of {organization.name}: the smart host {smart} is a "
                        "listener of this gateway, so mail would loop; name the server that should receive it"
                    )


_SUBMISSIONS: Final = 465  # RFC 8314 section 3.3
_READ: Final = frozenset({"tls_settings", "mode", "use_mx_record", "smart_hosts", "profile"})


def check_next_hops(draft: Draft[OutboundConnector]) -> Iterator[FieldError]:
    """Yield errors across the fields that say how next hops are called."""
    connector = draft.value
    if connector.authentication is not None and "authentication" not in draft.bad:
        for field, said in _table(connector.authentication):
            yield draft.error(f"authentication.{field}", said)
        if draft.bad.isdisjoint(_READ):
            for said in _unsafe(connector):
                yield draft.error("authentication", said)
    if connector.implicit_tls and draft.bad.isdisjoint(
        {"implicit_tls", "use_mx_record", "smart_hosts", "tls_settings"}
    ):
        if connector.use_mx_record:
            yield draft.error("implicit_tls", "MX hosts begin without TLS; write smart_hosts, or leave this out")
        elif connector.tls_settings is values.TlsSettings.OPPORTUNISTIC:
            yield draft.error("implicit_tls", _NOT_OPPORTUNISTIC)
    yield from _sources(draft)


def _table(authentication: Authentication) -> Iterator[tuple[str, str]]:
    """What contradicts itself within the table: the field, and what is wrong."""
    by_password = authentication.mechanism in values.BY_PASSWORD
    automatic = authentication.mechanism is values.AuthenticationMechanism.AUTO
    if not authentication.username:
        yield "username", "is missing; write the user name that the smart host knows"
    if authentication.token_url and by_password:
        yield "token_url", f"{authentication.mechanism} is a log-in with a password; leave this out, or write auto"
    if not authentication.token_url and not by_password and not automatic:
        yield "token_url", f"{authentication.mechanism} needs an access token; write where the gateway fetches it"
    if authentication.token_url and not authentication.client_id:
        yield "client_id", "is missing; write the gateway's name at the authorization server"
    for field in ("client_id", "scope"):
        if getattr(authentication, field) and not authentication.token_url:
            yield field, "has an effect only with token_url; write that, or leave this out"


def _unsafe(connector: OutboundConnector) -> Iterator[str]:
    """The reasons why a secret might reach somebody else."""
    if connector.use_mx_record or not connector.smart_hosts:
        yield "the gateway logs in to smart hosts only, never to the MX of a domain; write smart_hosts"
    if connector.tls_settings is not values.TlsSettings.DOMAIN_VALIDATION:
        yield _NEEDS_NAME.format(connector.tls_settings)
    if connector.mode is not values.Mode.ENFORCE:
        yield 'in rehearsal the secret might go to a host that proves nothing; write mode = "enforce"'
    if connector.profile is values.ProfileName.LEGACY:
        yield "a secret is never sent over TLS 1.0 or 1.1; leave profile out"


def _sources(draft: Draft[OutboundConnector]) -> Iterator[FieldError]:
    connector = draft.value
    if draft.bad & {"source_ipv4_address", "source_ipv6_address", "address_family"}:
        return
    for field, other in (
        ("source_ipv4_address", values.AddressFamily.IPV6),
        ("source_ipv6_address", values.AddressFamily.IPV4),
    ):
        if getattr(connector, field) and connector.address_family is other:
            yield draft.error(field, f'address_family = "{other}" never uses it; leave one of the two out')


def lint_next_hops(connector: OutboundConnector, label: str) -> Iterator[str]:
    """Yield warnings about what is allowed but probably not meant."""
    at_once = [str(host) for host in connector.smart_hosts if host.port == _SUBMISSIONS]
    if at_once and not connector.implicit_tls:
        yield (
            f"{label}: servers expect TLS from the first octet on port {_SUBMISSIONS} ({', '.join(at_once)}); write "
            "implicit_tls = true"
        )
    if connector.implicit_tls and (others := [str(host) for host in connector.smart_hosts if host.port in {25, 587}]):
        yield f"{label}: servers on ports 25 and 587 ({', '.join(others)}) do not expect TLS from the first octet"
    if connector.authentication is not None and connector.revocation_check is values.RevocationCheck.NONE:
        yield f"{label}: it logs in without a check whether the smart host's certificate was revoked"


_NOT_OPPORTUNISTIC: Final = (
    'TLS is required from the first octet on then; write tls_settings = "domain-validation", or at least '
    '"encryption-only"'
)
_NEEDS_NAME: Final = (
    'under tls_settings = "{}" the secret might go to a host that does not prove its name; write '
    'tls_settings = "domain-validation", with trust_anchors if the smart host\'s certificate is of a private authority'
)
