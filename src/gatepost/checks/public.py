"""Mail hosts at addresses of the public internet alone, for those who must not look into the network that we stand in.

Used by `checks.probe` and `checks.partner`. Whoever owns a domain says where its MX hosts are.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gatepost.lookup.dns import LookupFailed
from gatepost.lookup.http import is_public
from gatepost.lookup.mx import MailRouter

if TYPE_CHECKING:
    from gatepost.lookup.mx import HostAddresses

__all__ = ["NotPublic", "PublicRouter"]


class NotPublic(LookupFailed):
    """There are addresses, but none that is looked at."""


class PublicRouter(MailRouter):
    """Addresses that are not public (loopback, RFC 1918, link-local, …) are as if they were not there."""

    async def addresses(self, host: str) -> HostAddresses:
        """Raises LookupFailed, also where none is left; which addresses those were is not said."""
        found = await super().addresses(host)
        kept = tuple(one for one in found.addresses if is_public(one))
        if found.addresses and not kept:
            raise NotPublic(f"{host} has no address of the public internet, and no other is looked at", temporary=False)
        return replace(found, addresses=kept)
