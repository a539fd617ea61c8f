"""The home nodes of organizations in a site, and the requirement between nodes.

Used by `policy.decisions.route` and `policy.decisions.handover`. Pure: which nodes there are, and what site this is,
comes from settings and membership (`pki.site.credentials`). An internal hop is protected whatever connectors, rules and
messages say; one that cannot be protected is not made.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import msgspec

from gatepost.policy.connectors.values import RevocationCheck
from gatepost.policy.decisions.requirement import INTERNAL_HOP, Authenticated, Identity
from gatepost.protocols.tls.names import node_uri

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gatepost.policy.connectors.directory import Directory
    from gatepost.policy.connectors.records import Organization


INTERNAL_PORT: Final = 8445
"""The port of a node's internal listener, unless the settings name another."""

SITE_ANCHORS: Final = "site:"
"""The name of the site's own roots, where trust anchors are named; no path can be called so."""

_NO_PLACES: Mapping[str, tuple[str, int]] = MappingProxyType({})
_NO_STAND_INS: Mapping[str, tuple[str, ...]] = MappingProxyType({})


class Nodes(msgspec.Struct, frozen=True):
    """The nodes of a site as one of them sees them.

    own: its host name, "" where mail is only thought about: then nobody lives elsewhere. site: its name, "" if this
    gateway is in none. places: host and port of nodes that are not found under their own name at `INTERNAL_PORT`.
    sharing: host names of the nodes that share its store: who lives on one of them lives here. stand_ins: for a node
    those that share a store with it, in the order in which they are tried when it does not answer. expired: whether
    this node's own certificate has, as `explain` alone says: an attempt finds that out by itself. members: when the
    certificate of each node of the site may begin at the earliest, seconds since 1970 UTC; None if that is not known.
    """

    own: str = ""
    site: str = ""
    places: Mapping[str, tuple[str, int]] = msgspec.field(default=_NO_PLACES)
    sharing: frozenset[str] = frozenset()
    stand_ins: Mapping[str, tuple[str, ...]] = msgspec.field(default=_NO_STAND_INS)
    expired: bool = False
    members: Mapping[str, float] | None = None

    def place(self, node: str) -> tuple[str, int]:
        """The host name or IP address, and the port, of a node's internal listener."""
        return self.places.get(node, (node, INTERNAL_PORT))

    def homes(self, node: str) -> tuple[str, ...]:
        """The nodes of the site that have the store of a node, which comes first; none if they were all removed."""
        homes = (node, *self.stand_ins.get(node, ()))
        return homes if self.members is None else tuple(home for home in homes if home in self.members)

    def elsewhere(self, organization: Organization) -> str:
        """The other node on which an organization lives, "" if it lives here."""
        is_here = not self.own or organization.home == self.own or organization.home in self.sharing
        return "" if is_here else organization.home

    def away(self, directory: Directory) -> dict[str, str]:
        """The organizations that live on another node, with its name."""
        return {
            organization.name: organization.home
            for organization in directory.organizations
            if self.elsewhere(organization)
        }

    def requirement(self, node: str, profile: str) -> Authenticated:
        """The requirement on a hop to a node: TLS with the site's roots and the node's own URI. profile: the server's.

        Revocation is not checked: certificates of nodes live for days, and the site publishes no list. Where the nodes
        are known, a certificate of before the node joined again does not do.
        """
        proof = Identity((node_uri(self.site, node),), SITE_ANCHORS, (self.members or {}).get(node, 0.0))
        return Authenticated((INTERNAL_HOP,), (proof,), inside_profile(profile), revocation=RevocationCheck.NONE)


ALONE = Nodes()
"""A gateway for which every organization lives here."""


def inside_profile(profile: str) -> str:
    """The TLS profile inside the service: TLS 1.2 or newer with forward secrecy, whatever holds elsewhere (S4, S5)."""
    return profile if profile == "modern" else "default"
