"""The addresses that a connection may go to, where a tenant or a stranger chose the target.

Asked by `net.dial`, `net.lookups.http` and `net.lookups.clamd` about each address right before they connect, so that no
name can change between the check and the connection. Pure.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

type _Address = ipaddress.IPv4Address | ipaddress.IPv6Address
type _Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_GLOBAL_UNICAST: Final = ipaddress.IPv6Network("2000::/3")  # all that is given out (RFC 4291 section 2.4)
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")  # of IPv4, where there is only IPv6 (RFC 6052 section 2.1)
_SIX_TO_FOUR: Final = ipaddress.IPv6Network("2002::/16")  # RFC 3056 section 2
# Given out as public, it leads from each machine in Azure to the host below it, and nowhere else: the place of its
# certificates and secrets, as 169.254.169.254 is (learn.microsoft.com, "What is IP address 168.63.129.16?").
_AZURE_HOST: Final = ipaddress.IPv4Address("168.63.129.16")


def _nobodys(_address: str) -> bool:
    return False


class AddressPolicy(msgspec.Struct, frozen=True):
    """Addresses of the public internet but for our own, and those of `networks`.

    is_ours: whether a public address is one of this machine, on which services may listen that a firewall keeps from
    others: what the machine calls itself passes by it.
    """

    networks: tuple[_Network, ...] = ()
    is_ours: Callable[[str], bool] = _nobodys

    @classmethod
    def of(cls, networks: Iterable[str]) -> AddressPolicy:
        """From networks as settings have them. Raises ValueError."""
        return cls(tuple(map(ipaddress.ip_network, networks)))

    def allows(self, text: str) -> bool:
        """Whether a connection may be made to an IP address; never to the path of a socket."""
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            return False
        candidates = [candidate for candidate in (address, _carried(address)) if candidate]
        if any(candidate in network for candidate in candidates for network in self.networks):
            return True
        return _is_public(address) and not any(self.is_ours(str(candidate)) for candidate in candidates)


PUBLIC_ADDRESSES: Final = AddressPolicy()


def is_public(text: str) -> bool:
    """Whether an address is of the public internet, whatever form an IPv4 address is wrapped up in."""
    return _is_public(ipaddress.ip_address(text))


def not_allowed(host: str) -> str:
    """Explain why the gateway does not connect to a host that a tenant named, without saying which addresses it has."""
    return (
        f"{host} has no public address of another machine, and none among [network] tenants_may_reach; ask the "
        "gateway's owner, who may add its network there"
    )


def _is_public(address: _Address) -> bool:
    carried = _carried(address)
    if isinstance(address, ipaddress.IPv6Address) and carried is None and address not in _GLOBAL_UNICAST:
        return False
    effective = carried or address
    return effective.is_global and not effective.is_multicast and effective != _AZURE_HOST


def _carried(address: _Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that packets to this IPv6 address come to in the end; None if it stands for none."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address.ipv4_mapped is not None or address in _NAT64:
        return ipaddress.IPv4Address(address.packed[-4:])
    return ipaddress.IPv4Address(address.packed[2:6]) if address in _SIX_TO_FOUR else None
