"""The membership of a node: its certificate with the sealed key, the roots of its site, and automatic renewal.

Used by `node.certificate_manager` (in one worker of each node) and the `site` commands. The certificate is not in the
inventory: it is shown to other nodes and not to the world, lives for days, and knows no changeover.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from contextlib import suppress
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from gatepost.net.anchors import TrustAnchors
from gatepost.net.chain import judge
from gatepost.net.identity import IdentityError, ServerIdentity, read_identity
from gatepost.net.tasks import SingleTask
from gatepost.pki.certificates.entry import CertificateRequestSpec
from gatepost.pki.certificates.request import made_request
from gatepost.pki.site.profile import node_name, site_of
from gatepost.pki.site.records import JoinRefused, Membership, NodeGrant, SiteError, SiteRefusal
from gatepost.pki.site.site import SKEW_SECONDS, Site
from gatepost.pki.site.store import MEMBERSHIP, NODE, Record, SiteStore, membership_places
from gatepost.store.changes import ConfigConflict
from gatepost.store.interface import StoreFailure

RENEWAL_SECONDS: Final = 2.0
"""Between two looks whether a certificate is due; a look costs next to nothing until it is."""

_LEAST_PAUSE: Final = 2.0
_LONGEST_PAUSE: Final = 300.0
_PAUSE_PART: Final = 50  # of a lifetime: so long it waits after a failure
_PRUNE_SECONDS: Final = 60.0
_SERVICE: Final = "gatepost"

_log = logging.getLogger(__name__)


def node_request(node: str) -> tuple[bytes, bytes]:
    """A fresh key and the request for a node's certificate: (request PEM, key PEM)."""
    return made_request(CertificateRequestSpec((node,), "ec-p256"))


class Member:
    """records: of this node's store."""

    def __init__(self, records: SiteStore) -> None:
        self._records = records

    def membership(self) -> Membership | None:
        """The membership of this node, None if it is in no site. Raises SiteError."""
        return self._records.membership()

    def identity(self) -> ServerIdentity:
        """The node's certificate with its key. Raises SiteError."""
        key, certificate, _ = membership_places(self._records.kept_under())
        return ServerIdentity(self._records.content(certificate), self._records.opened(key))

    def anchors(self) -> TrustAnchors:
        """The roots of the site, which the certificates of its nodes lead to. Raises SiteError."""
        try:
            certificates = x509.load_pem_x509_certificates(self.roots_pem())
        except ValueError as error:
            raise SiteError("the roots of the site in the store cannot be read: gatepost site join") from error
        return TrustAnchors(
            [certificate.public_bytes(Encoding.DER) for certificate in certificates], "the site's roots"
        )

    def roots_pem(self) -> bytes:
        """The same, PEM; where the authority is kept they are its own. Raises SiteError."""
        site = Site(self._records)
        _, _, roots = membership_places(self._records.kept_under())
        result = site.roots_pem(site.state()) or self._records.content(roots)
        if not result:
            raise SiteError("this gateway belongs to no site: gatepost site init, or site join")
        return result

    def take(self, grant: NodeGrant, key_pem: bytes, node: str, address: str, *, author: str, now: float) -> Membership:
        """Keep what the site gave instead of what was before. Raises SiteError if it is not good, StoreFailure."""
        leaf = checked_grant(grant, key_pem, node, now)
        made = Membership(
            grant.site,
            node,
            address,
            hashlib.sha256(leaf.public_bytes(Encoding.DER)).hexdigest(),
            now,
            leaf.not_valid_after_utc.timestamp(),
        )
        name, before = self._records.name, self._records.kept_under()
        place, certificate, roots = membership_places(name)
        content: dict[str, bytes | None] = {} if before == name else dict.fromkeys(membership_places(before))
        content |= {
            place: self._records.sealed(key_pem, place),
            certificate: grant.certificate_pem,
            roots: grant.roots_pem,
        }
        records: dict[tuple[str, str], Record | None] = {(MEMBERSHIP, before): None, (MEMBERSHIP, name): made}
        note = f"certificate of node {node} in {grant.site}"
        self._records.apply(records, author=author, note=note, content=content)
        return made

    def leave(self, *, author: str) -> None:
        """Forget the site, with key and certificate. Raises SiteError, StoreFailure."""
        name = self._records.kept_under()
        gone = dict.fromkeys(membership_places(name))
        self._records.apply({(MEMBERSHIP, name): None}, author=author, note="left the site", content=gone)

    def forget(self, name: str, *, author: str) -> None:
        """Forget the membership of another node that shared this store, by the node's name, if it had one.

        Where the authority is kept, it is no node of the site any more. Raises SiteError, StoreFailure.
        """
        member = self._records.memberships().get(name)
        if member is None:
            return
        records: dict[tuple[str, str], Record | None] = {(MEMBERSHIP, name): None}
        if not member.address:
            records[NODE, member.node] = None
        gone = dict.fromkeys(membership_places(name))
        self._records.apply(records, author=author, note=f"node {name} removed", content=gone)


def own_certificate(
    records: SiteStore, node: str, *, lifetime: float, author: str = _SERVICE, now: float
) -> Membership:
    """A new certificate for the node where the authority is kept. Raises SiteError, StoreFailure."""
    request_pem, key_pem = node_request(node)
    grant = Site(records).certify_own(node, request_pem, lifetime=lifetime, now=now, author=author)
    return Member(records).take(grant, key_pem, node, "", author=author, now=now)


class Renewal:
    """Keeps the certificate of this node young. hostname: ours. lifetime: of certificates made here, seconds."""

    def __init__(self, records: SiteStore, hostname: str, lifetime: float) -> None:
        self._records = records
        self._hostname = hostname
        self._lifetime = lifetime
        self._working = SingleTask("site certificate")
        self._version = -1
        self._member: Membership | None = None
        self._is_home = False  # the site's authority is kept here
        self._not_before = 0.0
        self._prune_at = 0.0

    def look(self) -> None:
        """Begin what is due, unless something is under way. Does not block."""
        now = time.time()
        if not self._working.is_running and self.due(now):
            self._working.begin(self.work, now)

    def close(self) -> None:
        """Stop what is under way."""
        self._working.cancel()

    def due(self, now: float) -> bool:
        """Whether `work` has something to do."""
        version = self._records.store.version()
        if version != self._version:
            self._read()
            self._version = version  # not before: what the store could not say is asked again
        if now < self._not_before <= now + _LONGEST_PAUSE:
            return False
        return self._is_old(now) or (self._is_home and (self._may_prune(now) or not self._is_named()))

    async def work(self, now: float) -> None:
        """Renew if it is time; a failure is logged and tried again."""
        member = self._member
        try:
            if self._is_home:
                made = await asyncio.to_thread(self._work_at_home, now)
            else:
                made = None if member is None else await self._renewed(member, now)
            if made is not None:
                _log.info("site %s: this node has a new certificate (%s)", made.site, made.sha256)
        except JoinRefused as refused:
            is_busy = refused.reason is SiteRefusal.BUSY
            self._failed(now, _ADVICE.get(refused.reason, str(refused)), is_busy=is_busy)
        except OSError as failure:
            where = member.address if member is not None else self._hostname
            self._failed(now, f"{where}: {failure.strerror or failure}")
        except (SiteError, StoreFailure, ValueError) as failure:
            self._failed(now, str(failure))

    def _read(self) -> None:
        try:
            self._member = self._records.membership()
            self._is_home = bool(self._records.state().authorities)
        except SiteError as error:
            _log.error("site: %s", error)
            self._member, self._is_home = None, False

    def _is_old(self, now: float) -> bool:
        """Whether there is a certificate to renew; one of a clock that was ahead may not be valid for long yet."""
        member = self._member
        return member is not None and (now >= member.renew_at or member.issued > now + SKEW_SECONDS)

    def _may_prune(self, now: float) -> bool:
        return not now < self._prune_at <= now + _PRUNE_SECONDS

    def _is_named(self) -> bool:
        return self._member is not None and self._member.node == self._hostname

    def _work_at_home(self, now: float) -> Membership | None:
        """On a thread: what it changes may wait for a server."""
        with self._records.apart() as records:
            if self._may_prune(now):
                self._prune_at = now + _PRUNE_SECONDS
                with suppress(ConfigConflict):  # another minute will do
                    Site(records).prune(now)
            if self._is_named() and not self._is_old(now):
                return None
            return own_certificate(records, self._hostname, lifetime=self._lifetime, now=now)

    async def _renewed(self, member: Membership, now: float) -> Membership:
        from gatepost.pki.site.client import SiteConnection  # noqa: PLC0415 - few gateways are in a site

        known = Member(self._records)
        if now >= member.not_after:
            raise SiteError("the certificate has expired: make a token for this node and run gatepost site join")
        request_pem, key_pem = node_request(member.node)
        connection = SiteConnection(member.address, now=now, identity=known.identity(), site=member.site)
        connection.trust(known.anchors())
        grant = await connection.ask("renew", {"request": request_pem.decode("ascii")})
        return await asyncio.to_thread(self._keep, grant, key_pem, member, now)

    def _keep(self, grant: NodeGrant, key_pem: bytes, member: Membership, now: float) -> Membership:
        with self._records.apart() as records:
            return Member(records).take(grant, key_pem, member.node, member.address, author=_SERVICE, now=now)

    def _failed(self, now: float, why: str, *, is_busy: bool = False) -> None:
        """is_busy: others changed something at the same time, as when all nodes of a database start at once."""
        member = self._member
        life = member.not_after - member.issued if member is not None else self._lifetime
        pause = _LEAST_PAUSE if is_busy else life / _PAUSE_PART
        self._not_before = now + min(_LONGEST_PAUSE, max(_LEAST_PAUSE, pause))
        left = member.not_after - now if member is not None else 0.0
        when = f"ends in {left / 3600:.1f} hours" if left > 0 else "has expired"
        site = member.site if member is not None else "here"
        _log.error("site %s: no new certificate for this node, whose own %s: %s", site, when, why)


_ADVICE: Final = {
    SiteRefusal.NODE: "the site does not know this node by this certificate (its log says why): make a token for it "
    "there and run gatepost site join --replace here",
    SiteRefusal.REQUEST: "the site does not give certificates of this kind: do both run the same version?",
}


def checked_grant(grant: NodeGrant, key_pem: bytes, node: str, now: float) -> x509.Certificate:
    """The certificate, if it is for this node and key and leads to the roots that came with it. Raises SiteError."""
    try:
        read_identity(ServerIdentity(grant.certificate_pem, key_pem))
        (leaf,) = x509.load_pem_x509_certificates(grant.certificate_pem)
        roots = [
            certificate.public_bytes(Encoding.DER) for certificate in x509.load_pem_x509_certificates(grant.roots_pem)
        ]
        anchors = TrustAnchors(roots, "the site's roots")
    except (IdentityError, ValueError) as error:
        raise SiteError(f"the site's response cannot be used: {error}") from error
    der = leaf.public_bytes(Encoding.DER)
    if site_of(der) != (grant.site, node_name("", node).removeprefix("spiffe:///")):
        raise SiteError(f"the site issued a certificate that is not for the node {node}")
    verdict = judge([der], anchors, now=now, purpose="server")
    if not verdict.trusted:
        raise SiteError(f"the certificate from the site is not trusted here: {verdict.detail}; is the clock right?")
    return leaf
