"""Limits on the networks of inbound connectors: values of `[limits]` that the rules of resources apply."""

from __future__ import annotations

import msgspec


class PrefixLimits(msgspec.Struct, frozen=True):
    """The widest networks allowed in sender_ip_addresses: their shortest prefix lengths.

    /24 is Exchange's guard against giving relay rights to a neighbour's machines, and the smallest IPv4 network that is
    routed on the Internet; /48 is its like in IPv6.
    """

    ipv4: int = 24
    ipv6: int = 48
