"""A set of IP addresses and networks, to ask whether an address is in it. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

from gatepost.policy.connectors.directory import address_key
from gatepost.policy.connectors.names import network


class NetworkSet:
    """Addresses and networks as settings and resources write them. An IPv4 address mapped into IPv6 counts as IPv4."""

    __slots__ = ("_networks",)

    def __init__(self, networks: tuple[tuple[int, int, int], ...]) -> None:
        """networks: IP version, bits behind the prefix, number before them."""
        self._networks = networks

    @classmethod
    def of(cls, texts: Iterable[str]) -> Self:
        """From texts such as "192.0.2.0/24" or "2001:db8::1". Raises ValueError."""
        rows = []
        for text in texts:
            parsed = network(text)
            shift = parsed.max_prefixlen - parsed.prefixlen
            rows.append((parsed.version, shift, int(parsed.network_address) >> shift))
        return cls(tuple(rows))

    def __bool__(self) -> bool:
        return bool(self._networks)

    def __contains__(self, address: object) -> bool:
        """Whether an address in text form is in one of them; what is not an address is in none."""
        key = address_key(address) if isinstance(address, str) else None
        return key is not None and any(
            key[0] == version and key[1] >> shift == prefix for version, shift, prefix in self._networks
        )
