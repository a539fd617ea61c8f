"""All resources as one value, and the widest networks that the settings allow in them.

`policy.connectors.model` reads and writes it; `policy.connectors.directory` looks things up in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from gatepost.policy.connectors.records import Organization


class Resources(msgspec.Struct, frozen=True):
    """All organizations of an installation, in the order they were written."""

    organizations: tuple[Organization, ...] = ()

    def organization(self, name: str) -> Organization | None:
        """The organization of that name."""
        return next((organization for organization in self.organizations if organization.name == name), None)


class PrefixLimits(msgspec.Struct, frozen=True):
    """The widest networks allowed in sender_ip_addresses: their shortest prefix lengths.

    /24 is Exchange's guard against giving relay rights to a neighbour's machines, and the smallest IPv4 network that is
    routed on the Internet; /48 is its like in IPv6.
    """

    ipv4: int = 24
    ipv6: int = 48
