"""The process where nodes join a site and renew their certificates, over TLS 1.3.

Run by the supervisor beside the workers. It is the only one that strangers reach and that opens the key of the site's
authority, and it does nothing else. It waits where there is no authority yet, and follows what is stored.

A node asks by POST /join or POST /renew. What it is told of a refusal is one word in a field.
"""

from __future__ import annotations

import logging
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from gatepost.net.engine import ServerContext, server_context
from gatepost.net.listener import Listener
from gatepost.net.stream import Loss, LossKind, Stream
from gatepost.node.auxiliary import run_auxiliary
from gatepost.node.http_session import HttpSession, Response
from gatepost.node.lifecycle import Duty, Lifecycle, Parts, listening
from gatepost.node.snapshot import POLL_SECONDS
from gatepost.pki.certificates.files import CertificateFileError
from gatepost.pki.certificates.site_key import site_vault
from gatepost.pki.certificates.vault import VaultError
from gatepost.pki.site.client import REFUSAL_FIELD, encoded
from gatepost.pki.site.enrollment import EnrollmentService
from gatepost.pki.site.records import JoinRefused, SiteAuthority, SiteError, SiteRefusal
from gatepost.pki.site.site import SKEW_SECONDS, Site
from gatepost.pki.site.store import SiteStore
from gatepost.protocols.tls.profile import PROFILES
from gatepost.store.storage import Storage

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    import h11

    from gatepost.settings.model import Settings


MAX_BODY: Final = 16384
"""Octets of a request's body: a token and a certificate request are not 2 KiB."""
_PATHS: Final = {b"/join": "join", b"/renew": "renew"}
_STATUS: Final = {
    SiteRefusal.REQUEST: HTTPStatus.BAD_REQUEST,
    SiteRefusal.TOKEN: HTTPStatus.FORBIDDEN,
    SiteRefusal.TAKEN: HTTPStatus.CONFLICT,
    SiteRefusal.NODE: HTTPStatus.FORBIDDEN,
    SiteRefusal.EARLY: HTTPStatus.TOO_MANY_REQUESTS,
    SiteRefusal.BUSY: HTTPStatus.SERVICE_UNAVAILABLE,
}


class SiteSession(HttpSession):
    """enrollment: gives certificates. clock: seconds since 1970."""

    __slots__ = ("_enrollment",)

    def __init__(self, stream: Stream, enrollment: EnrollmentService, clock: Callable[[], float]) -> None:
        super().__init__(stream, lambda _request, _name: Response(HTTPStatus.NOT_FOUND), clock)
        self._enrollment = enrollment

    def body_limit(self, request: h11.Request, server_name: str) -> int:  # noqa: ARG002 - a site has one name
        """As many octets as a request for a certificate may have, 0 for any other."""
        return MAX_BODY if request.method == b"POST" and request.target in _PATHS else 0

    def body_answer(self, request: h11.Request, body: bytes) -> Response:
        """The certificate, or why none is given."""
        facts = self._stream.tls
        chain = facts.peer_chain if facts is not None else ()
        what = _PATHS[request.target]
        try:
            node_grant = self._enrollment.answer(what, body, self._stream.peer.host, chain, self._clock())
        except JoinRefused as refused:
            return Response(_STATUS[refused.reason], fields=((REFUSAL_FIELD, str(refused.reason)),))
        return Response(HTTPStatus.OK, encoded(node_grant), "application/json")


CONNECTIONS: Final = 200
CONNECTIONS_PER_SOURCE: Final = 20
_ENDPOINT_SECONDS: Final = 86400.0  # how long the server's own certificate lives, which is never stored
_PAUSE_SECONDS: Final = 60.0

_log = logging.getLogger(__name__)


def run_site_host(settings: Settings, sockets: Sequence[socket.socket], lifeline: int) -> int:
    """The life of the process; its exit status. lifeline: reads end-of-file when the supervisor is gone."""
    return run_auxiliary(
        lambda: SiteHost(settings, sockets).parts, lifeline, drain=settings.server.drain, what="the site"
    )


class SiteHost:
    """Gives certificates. Raises StoreFailure or CertificateFileError if store or master key cannot be used."""

    def __init__(self, settings: Settings, sockets: Sequence[socket.socket]) -> None:
        self._settings = settings
        self._store = Storage.of(settings).configuration()
        try:
            records = SiteStore(self._store, site_vault(settings.store.master_key, self._store))
        except VaultError as error:
            raise CertificateFileError(str(error)) from error
        self._site = Site(records)
        self._enrollment = EnrollmentService(self._site, settings.site.node_lifetime)
        self._tls: ServerContext | None = None
        self._root: str | None = None
        self._renew_at = self._looked_at = 0.0
        self._version = -1
        self._again_at = 0.0
        listener = Listener(sockets, self._accept, total=CONNECTIONS, per_source=CONNECTIONS_PER_SOURCE)
        followed = Lifecycle(
            "records of the site",
            start=self._refresh,
            duties=[Duty(POLL_SECONDS, self._refresh)],
            close=self._store.close,
        )
        self.parts = Parts(followed, listening(listener))

    def _refresh(self) -> None:
        """Present a certificate of who signs now; a new one when half of its life is over."""
        now, version = time.time(), self._store.version()
        was_set_back = now < self._looked_at - SKEW_SECONDS  # what was presented then may not be valid yet
        if version == self._version and now < self._again_at and not was_set_back:
            return
        self._looked_at = now
        try:
            state = self._site.state()
        except SiteError as error:
            self._version, self._tls, self._again_at = version, None, now + _PAUSE_SECONDS
            _log.error("nodes cannot join or renew: %s", error)
            return
        issuer = state.issuer(now)
        root = issuer.id if issuer is not None else ""
        if root != self._root or now >= self._renew_at or was_set_back:
            self._present(root, now)
            self._root = root
            self._renew_at = now + _ENDPOINT_SECONDS / 2
        self._again_at = min(self._renew_at, _next_change(state.authorities, now))
        self._version = version  # not before: what the store could not say is asked again

    def _present(self, root: str, now: float) -> None:
        where = self._settings.site.address
        self._tls = None
        if not root:
            _log.warning("nodes cannot join at %s: there is no authority; run gatepost site init", where)
            return
        try:
            identity = self._site.endpoint(self._settings.server.hostname, _ENDPOINT_SECONDS, now)
        except SiteError as error:
            _log.error("nodes cannot join at %s: %s", where, error)
            return
        self._tls = server_context([identity], PROFILES["modern"], ask_client_certificate=True)
        _log.info("nodes join and renew at %s (authority %s)", where, root)

    def _accept(self, stream: Stream) -> None:
        if self._tls is None:
            stream.abort(Loss(LossKind.CLOSED, "there is no authority"))
        else:
            SiteSession(stream, self._enrollment, time.time).begin(self._tls)


def _next_change(authorities: Sequence[SiteAuthority], now: float) -> float:
    """The time at which another authority begins to sign."""
    return min((authority.signs_from for authority in authorities if authority.signs_from > now), default=float("inf"))
