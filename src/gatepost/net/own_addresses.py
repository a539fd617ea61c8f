"""The addresses of this gateway: mail by MX is never sent back to it (RFC 5321 section 5.1), nor do tenants reach it.

Used by `mail.outbound.hosts`, and by whatever connects to hosts that tenants name. Ours is what we listen on, and every
address of the machine's interfaces, whoever listens there: a domain that names it leads here. Of loopback only what we
listen on is ours; other servers may have the rest.
"""

from __future__ import annotations

import ipaddress
import logging
import socket
import struct
import time
from collections.abc import Callable, Collection, Iterable
from functools import lru_cache
from typing import TYPE_CHECKING

from gatepost.values import replace

if TYPE_CHECKING:
    from gatepost.policy.connectors.addresses import AddressPolicy
    from gatepost.settings.model import Settings

_REFRESH = 60.0  # seconds after which interfaces are looked at again
_DUMP_ADDRESSES = 22  # RTM_GETADDR, rtnetlink(7)
_NEW_ADDRESS, _ERROR, _DONE = 20, 2, 3
_REQUEST_DUMP = 0x301
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_DATAGRAM = 65536

type _Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_log = logging.getLogger(__name__)


class OwnAddresses:
    """listeners: address and port of each. named: addresses at which others reach us though no interface has them."""

    def __init__(
        self,
        listeners: Iterable[tuple[str, int]],
        named: Collection[str],
        clock: Callable[[], float],
        interfaces: Callable[[], frozenset[str]] | None = None,
    ) -> None:
        self._listeners = {(ipaddress.ip_address(host), port) for host, port in listeners}
        self._named = {ipaddress.ip_address(address) for address in named}
        self._clock = clock
        self._interfaces = interfaces or interface_addresses
        self._found: frozenset[_Address] = frozenset()
        self._until = float("-inf")

    def __call__(self, address: str, port: int) -> bool:
        """Whether a connection to an IP address and a port would come back to us."""
        target: _Address = ipaddress.ip_address(address)
        if isinstance(target, ipaddress.IPv6Address) and target.ipv4_mapped is not None:
            target = target.ipv4_mapped
        if target in self._named or (target, port) in self._listeners:
            return True
        if target.is_loopback:
            everywhere = ipaddress.ip_address("0.0.0.0" if target.version == 4 else "::")  # noqa: S104 - compares
            return (everywhere, port) in self._listeners
        return target.is_unspecified or target in self._of_interfaces()

    def _of_interfaces(self) -> frozenset[_Address]:
        now = self._clock()
        if now >= self._until:
            self._until = now + _REFRESH
            try:
                addresses = (ipaddress.ip_address(text) for text in self._interfaces())
                self._found = frozenset(address for address in addresses if not address.is_loopback)
            except OSError as error:  # a sandbox may forbid it; what was found before counts on
                _log.warning("the addresses of this machine's interfaces cannot be listed: %s", error)
        return self._found


def reach_of_tenants(settings: Settings) -> AddressPolicy:
    """The addresses that may be called where a tenant chose the host: none of this machine but by the owner's leave."""
    return replace(settings.network.policy(), is_ours=_is_ours(settings.server.own_addresses))


@lru_cache
def _is_ours(named: tuple[str, ...]) -> Callable[[str], bool]:
    """One for a process, so that policies of the same settings are equal. Loopback is public to nobody anyway."""
    ours = OwnAddresses((), named, time.monotonic)
    return lambda address: ours(address, 0)


def interface_addresses() -> frozenset[str]:
    """The IP addresses of this machine's interfaces, loopback included. Raises OSError if the system gives none."""
    found: set[str] = set()
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as asking:
        asking.settimeout(2)
        asking.bind((0, 0))
        asking.send(struct.pack("=IHHIIB3x", 20, _DUMP_ADDRESSES, _REQUEST_DUMP, 1, 0, socket.AF_UNSPEC))
        while _read(asking.recv(_DATAGRAM), found):
            pass
    return frozenset(found)


def _read(datagram: bytes, found: set[str]) -> bool:
    """Take the addresses out of one answer; whether another follows."""
    offset = 0
    while offset + 16 <= len(datagram):
        length, kind = struct.unpack_from("=IH", datagram, offset)
        if kind == _DONE:
            return False
        if kind == _ERROR or length < 16:
            raise OSError("the kernel refused to list addresses")
        if kind == _NEW_ADDRESS:
            found.update(_address(datagram[offset + 16 : offset + length]))
        offset += (length + 3) & ~3
    return True


def _address(message: bytes) -> Iterable[str]:
    """The address of one ifaddrmsg: IFA_LOCAL where there is a peer (IFA_ADDRESS is then the other end's)."""
    family, offset = message[0], 8
    values: dict[int, bytes] = {}
    while offset + 4 <= len(message):
        length, kind = struct.unpack_from("=HH", message, offset)
        if length < 4:
            break
        values[kind] = message[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    value = values.get(_IFA_LOCAL) or values.get(_IFA_ADDRESS)
    if value and family in {socket.AF_INET, socket.AF_INET6}:
        yield socket.inet_ntop(family, value)
