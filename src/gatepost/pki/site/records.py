"""The records of a site: its authorities, nodes, open tokens, and certificates for other servers. Values only.

`pki.site.site` keeps them at the site, `pki.site.membership` what a node knows of itself. Times are seconds
since 1970 UTC; thumbprints SHA-256, hexadecimal.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class SiteError(Exception):
    """Something about a site cannot be done; the text says why and what to do, and holds no secret."""


class SiteUnreachable(SiteError):  # noqa: N818 - it names what was found
    """Whether the site would say yes was not learnt."""


class SiteRefusal(StrEnum):
    """The reason why a node does not get a certificate, as far as the node may know it."""

    REQUEST = "request"  # it cannot be read, or asks for what nodes do not get
    TOKEN = "token"  # noqa: S105 - unknown, used, too old, or for another node
    TAKEN = "taken"  # a node or server of this name is known, and the token is not for it
    NODE = "node"  # no such node, or its certificate does not prove that it is one
    EARLY = "early"  # it asked a moment ago
    BUSY = "busy"  # nothing is wrong with it: later


class JoinRefused(SiteError):  # noqa: N818 - it names what was said
    """reason: what the node is told. The text is for us."""

    def __init__(self, reason: SiteRefusal, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class SiteAuthority(msgspec.Struct, frozen=True):
    """A root of a site. id: 16 digits of the thumbprint. signs_from: from when on its certificates are given out.

    domains: the only names it can vouch for, none for all.
    """

    id: str
    site: str
    sha256: str
    added: float
    signs_from: float
    not_after: float
    domains: tuple[str, ...] = ()


class Node(msgspec.Struct, frozen=True):
    """A node of a site. thumbprints: of its last certificate and of the one that it presented for it, if it did.

    authority: who signed the last.
    joined: with a token, or as the first; renewed: when it got the last certificate, which ends at not_after.
    admission: the SHA-256 of the token and the key with which it joined, "" once it renewed: it may ask again.
    """

    name: str
    thumbprints: tuple[str, ...]
    authority: str
    joined: float
    renewed: float
    not_after: float
    admission: str = ""


class Token(msgspec.Struct, frozen=True):
    """A token by which one node may join, once. sha256: of its secret. node: who may, "" for any that is not known."""

    id: str
    sha256: str
    node: str
    added: float
    expires: float
    by: str


class IssuedServer(msgspec.Struct, frozen=True):
    """A certificate for a server that is not a node; its key was given away and is not kept."""

    serial: str
    names: tuple[str, ...]
    sha256: str
    authority: str
    added: float
    not_after: float


class SiteState(msgspec.Struct, frozen=True):
    """Everything of one moment. version: of the store. authorities: the one that signs last first."""

    version: int
    authorities: tuple[SiteAuthority, ...]
    nodes: dict[str, Node]
    tokens: dict[str, Token]
    issued: dict[str, IssuedServer]

    def issuer(self, now: float) -> SiteAuthority | None:
        """The authority that signs at `now`, None if there is none."""
        return next(
            (authority for authority in self.authorities if authority.signs_from <= now < authority.not_after), None
        )

    def is_taken(self, name: str, now: float) -> bool:
        """Whether a node has this name, or a server whose certificate of this site is valid at `now`."""
        return name in self.nodes or any(
            name in server.names and now < server.not_after for server in self.issued.values()
        )


class NodeGrant(msgspec.Struct, frozen=True):
    """The response to a node: its certificate, and all roots of the site, PEM.

    node: its name, for the site's own log.
    """

    site: str
    certificate_pem: bytes
    roots_pem: bytes
    node: str = ""


class Membership(msgspec.Struct, frozen=True):
    """A node's record of itself. address: host:port where it renews, "" if the site's authority is kept here."""

    site: str
    node: str
    address: str
    sha256: str
    issued: float
    not_after: float

    @property
    def renew_at(self) -> float:
        """The time to renew the certificate: half of its life."""
        return self.issued + (self.not_after - self.issued) / 2
