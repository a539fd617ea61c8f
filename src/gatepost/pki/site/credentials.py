"""The current credentials of this node: certificate, roots, and the names of the other nodes.

One for each worker (`node.assembly`), and for `explain`. Certificates of nodes live for days: whatever the store has
anew is taken up, nothing is kept beyond it. Trust is judged here for who calls (`admit`); for whom we call it is judged
by `mail.outbound.hop`, against the same roots.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

import msgspec

from gatepost.net.anchors import AnchorsError, TrustAnchors
from gatepost.net.chain import judge
from gatepost.net.engine import ServerContext, server_context
from gatepost.net.identity import IdentityError, ServerIdentity
from gatepost.net.tickets import DailySecrets, ServerSessions
from gatepost.pki.certificates.authority import BACKDATED
from gatepost.pki.site.membership import Member
from gatepost.pki.site.profile import node_of
from gatepost.pki.site.records import Membership, SiteError
from gatepost.pki.site.site import SKEW_SECONDS
from gatepost.policy.connectors.names import host_port
from gatepost.policy.decisions.home import INTERNAL_PORT, Nodes, inside_profile
from gatepost.protocols.tls.profile import PROFILES
from gatepost.settings.roles import ListenerRole

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gatepost.pki.site.store import SiteStore
    from gatepost.protocols.tls.facts import ChainVerdict
    from gatepost.settings.model import Settings


_BACKDATED = BACKDATED.total_seconds() + 1  # by so much at most a certificate begins before it is given, in seconds

_log = logging.getLogger(__name__)


class Admission(msgspec.Struct, frozen=True):
    """Whether a client is a node of the site. node: its host name, "" if it is none; why: not, for us."""

    node: str
    why: str
    chain: ChainVerdict | None


def nodes_of(
    settings: Settings,
    member: Membership | None,
    sharing: frozenset[str] = frozenset(),
    joined: Mapping[str, float] | None = None,
) -> Nodes:
    """The nodes of the site as this one sees them. sharing: those that share its store. joined: `SiteStore.members`.

    A time of joining that a clock wrote which was ahead is held against no certificate, as in `NodeCredentials.admit`.
    """
    latest = time.time() + SKEW_SECONDS
    members = joined and {name: begin - _BACKDATED if begin <= latest else 0.0 for name, begin in joined.items()}
    places = {node.name: host_port(node.address, INTERNAL_PORT) for node in settings.site.nodes if node.address}
    stand_ins = {node.name: node.same_store for node in settings.site.nodes if node.same_store}
    site = member.site if member is not None else ""
    return Nodes(settings.server.hostname, site, places, sharing, stand_ins, members=members)


class NodeCredentials:
    """records: of this node's store. tls: what the internal listener presents, None while there is no certificate.

    nodes: of the site. renewals: how often any of this was taken up anew.
    """

    def __init__(self, records: SiteStore, settings: Settings, tickets: DailySecrets | None = None) -> None:
        """tickets: shared by those with whom the nodes of the site resume sessions."""
        self._member = Member(records)
        self._records = records
        self._settings = settings
        self._sessions = ServerSessions("internal", tickets)
        self._version = -1
        self._taken: tuple[Membership | None, bytes, frozenset[str], dict[str, float] | None] = (
            None,
            b"",
            frozenset(),
            None,
        )
        self._members: dict[str, float] | None = None  # the site's nodes, None where the authority is kept elsewhere
        self._membership: Membership | None = None
        self._identity: ServerIdentity | None = None
        self._anchors: TrustAnchors | None = None
        self.tls: ServerContext | None = None
        self.renewals = 0
        self.nodes = nodes_of(settings, None)
        self.refresh()
        self._tell_if_closed()

    def is_outdated(self) -> bool:
        """Whether anything was stored since `refresh`. Cheap."""
        return self._records.store.version() != self._version

    def refresh(self) -> bool:
        """Take up what is stored; whether that is anything new. Cheap when nothing was."""
        if not self.is_outdated():
            return False
        version = self._records.store.version()
        try:
            is_new = self._read()
        except (SiteError, IdentityError, AnchorsError) as error:
            _log.error("internal hops: this node's own certificate cannot be used: %s", error)
            is_new = False
        self._version = version  # not before: what the store could not say is asked again
        return is_new

    def _read(self) -> bool:
        membership = self._member.membership()
        roots = self._member.roots_pem() if membership is not None else b""
        stored = membership, roots, self._records.sharing(), self._records.members()
        if stored == self._taken:
            return False
        self._take(membership)
        self._taken, self._members = stored, stored[-1]
        self.renewals += 1
        return True

    def _tell_if_closed(self) -> None:
        listens = any(listener.role is ListenerRole.INTERNAL for listener in self._settings.listeners)
        if listens and self.tls is None:
            _log.warning("internal hops: no node is admitted until this gateway joins a site; see gatepost site join")

    def _take(self, member: Membership | None) -> None:
        identity = self._member.identity() if member is not None else None
        anchors = self._member.anchors() if member is not None else None
        profile = PROFILES[inside_profile(self._settings.tls.profile)]
        tls = None
        if identity is not None:
            tls = server_context([identity], profile, ask_client_certificate=True, sessions=self._sessions)
        self._membership, self._identity, self._anchors, self.tls = member, identity, anchors, tls
        self.nodes = nodes_of(self._settings, member, self._records.sharing(), self._records.members())

    def identity(self, now: float) -> ServerIdentity:
        """The identity that this node presents to others. Raises IdentityError if it cannot be used."""
        if self._membership is None or self._identity is None:
            raise IdentityError("this gateway belongs to no site: gatepost site join")
        if now >= self._membership.not_after:
            raise IdentityError(
                f"the certificate of the node {self._membership.node} has expired: gatepost site status"
            )
        return self._identity

    def anchors(self) -> TrustAnchors:
        """The roots of the site. Raises AnchorsError."""
        if self._anchors is None:
            raise AnchorsError("this gateway belongs to no site: gatepost site join")
        return self._anchors

    def admit(self, chain: Sequence[bytes], now: float) -> Admission:
        """Identify the node that presents a chain (DER, leaf first)."""
        if self._anchors is None or self._membership is None:
            return Admission("", "this gateway belongs to no site", None)
        verdict = judge(chain, self._anchors, now=now, purpose="client")
        if not verdict.trusted:
            return Admission("", f"its certificate does not lead to the site's roots: {verdict.detail}", verdict)
        node = node_of(chain[0], self._membership.site)
        if not node:
            why = f"the site's authority issued its certificate, but not for a node of {self._membership.site}"
            return Admission("", why, verdict)
        joined = now if self._members is None else self._members.get(node)
        if joined is None:
            return Admission("", f"{node} is not a node of {self._membership.site} any more: it was removed", verdict)
        if self._members is not None and verdict.leaf and verdict.leaf.not_before + _BACKDATED < joined <= now:
            why = f"its certificate is from before {node} joined {self._membership.site} again"
            return Admission("", f"{why}: another machine has its name now", verdict)
        return Admission(node, "", verdict)
