"""Tell whether an authority is one that only a tenant trusts, so that it may lead us to public addresses alone.

Made by `node.lookups` with each configuration, and by `analysis.checks.probe`; asked by `net.lookups.revocation`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatepost.net.anchors import AnchorsError, TrustAnchors
from gatepost.policy.connectors.grants import anchor_origins

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gatepost.policy.connectors.records import Organization


class AuthorityOrigin:
    """organizations: those in force. server: the server's trust anchors. load: reads some by their name."""

    def __init__(
        self,
        organizations: Iterable[Organization] = (),
        server: str = "",
        load: Callable[[str], TrustAnchors] = TrustAnchors.load,
    ) -> None:
        origins = anchor_origins(organizations)
        self._tenants = origins.tenants
        self._places = {*origins.places, server} - {""}
        self._load = load

    def is_tenants(self, anchor: bytes) -> bool:
        """Whether nobody but tenants names the anchor (DER). Files are read only for one that they name."""
        return anchor in self._tenants and not any(self._names(place, anchor) for place in self._places)

    def _names(self, place: str, anchor: bytes) -> bool:
        try:
            return anchor in self._load(place)
        except AnchorsError:  # whoever needs it says so
            return False
