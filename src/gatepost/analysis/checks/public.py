"""Restrict checks to the addresses that tenants may reach, to keep them out of our own network.

Used by `analysis.checks.partner`. Whoever owns a domain says where its MX hosts are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatepost.net.lookups.mx import MailRouter, allowed

if TYPE_CHECKING:
    from gatepost.net.lookups.mx import HostAddresses, Queries, Random
    from gatepost.policy.connectors.addresses import AddressPolicy


class BoundedRouter(MailRouter):
    """Addresses that a policy does not allow (loopback, RFC 1918, link-local, …) are as if they were not there."""

    def __init__(self, resolver: Queries, random: Random, policy: AddressPolicy) -> None:
        super().__init__(resolver, random)
        self._policy = policy

    async def addresses(self, host: str) -> HostAddresses:
        """Raises LookupFailed; NotAllowed where none is left."""
        return allowed(await super().addresses(host), self._policy)
