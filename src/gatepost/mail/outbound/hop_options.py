"""Options of a connector for calling next hops: implicit TLS, EHLO name, source address, address family, log-in.

Values, made by `mail.outbound.hosts` of a route's connector and carried by `mail.outbound.hop.Hop`: connections are
shared only where they are equal, so none is ever shared with another connector's log-in.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Final

import msgspec

from gatepost.pki.certificates.connector_secrets import destination_of
from gatepost.policy.connectors.grants import UNGRANTED_PATH
from gatepost.policy.connectors.values import AddressFamily

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.policy.connectors.authentication import Authentication
    from gatepost.policy.connectors.records import OutboundConnector


class SourceUnusable(Exception):  # noqa: N818 - not an error of the program: it is what was found
    """The source address of a connector is of no use here; the text says why."""


class SmartHostLogin(msgspec.Struct, frozen=True):
    """A log-in to smart hosts, without its secret. organization: owner of the connector.

    destination: where the secret may go (`pki.certificates.connector_secrets`). bounded: a tenant wrote the token_url.
    """

    organization: str
    connector: str
    authentication: Authentication
    destination: str
    bounded: bool = False

    def __str__(self) -> str:
        """As an administrator knows it."""
        return f"connector {self.connector!r} of {self.organization}"


class HopOptions(msgspec.Struct, frozen=True):
    """hello_name: "" for the server's own. source_ipv4, source_ipv6: "" where the system chooses.

    A source address of one family alone excludes next hops of the other.
    """

    implicit_tls: bool = False
    hello_name: str = ""
    source_ipv4: str = ""
    source_ipv6: str = ""
    family: AddressFamily = AddressFamily.ANY
    login: SmartHostLogin | None = None

    def usable(self, addresses: Sequence[str]) -> tuple[str, ...]:
        """Those of some addresses of a host that may be called. Raises SourceUnusable."""
        for source in (self.source_ipv4, self.source_ipv6):
            if source.endswith(UNGRANTED_PATH):
                raise SourceUnusable("no owner of the gateway has granted the connector's source address")
        return tuple(address for address in addresses if self._calls(address))

    def source(self, address: str) -> str | None:
        """The source address for calling an address, None where the system chooses."""
        return (self.source_ipv6 if _is_ipv6(address) else self.source_ipv4) or None

    def _calls(self, address: str) -> bool:
        ipv6 = _is_ipv6(address)
        if self.family is not AddressFamily.ANY:
            return ipv6 is (self.family is AddressFamily.IPV6)
        return bool(self.source_ipv6 if ipv6 else self.source_ipv4) or not (self.source_ipv4 or self.source_ipv6)


NO_OPTIONS: Final = HopOptions()
"""Of a route without a connector, and of a connector that says nothing of it."""


def hop_options(connector: OutboundConnector | None, organization: str) -> HopOptions:
    """The options of a connector of an organization."""
    if connector is None or not _asks(connector):
        return NO_OPTIONS
    return HopOptions(
        connector.implicit_tls,
        connector.hello_name or "",
        connector.source_ipv4_address,
        connector.source_ipv6_address,
        connector.address_family,
        _login(connector, organization),
    )


def _asks(connector: OutboundConnector) -> bool:
    """Whether it says anything of how next hops are called; of most connectors this is all that is asked."""
    named = connector.hello_name or connector.source_ipv4_address or connector.source_ipv6_address
    special = connector.implicit_tls or connector.authentication is not None
    return bool(named) or special or connector.address_family is not AddressFamily.ANY


def _login(connector: OutboundConnector, organization: str) -> SmartHostLogin | None:
    authentication = connector.authentication
    if authentication is None:
        return None
    bounded = ("authentication.token_url", authentication.token_url) in connector.ungranted
    return SmartHostLogin(organization, connector.name, authentication, destination_of(connector), bounded)


def _is_ipv6(address: str) -> bool:
    return not address.startswith("/") and ipaddress.ip_address(address).version == 6
