"""Handle requests of nodes to a site: POST /join, POST /renew; `node.http_session` has the rest.

Begun by `node.site_host` for each stream that it accepts. What a node is told of a refusal is one word in a field.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from gatepost.node.http_session import HttpSession, Response
from gatepost.pki.site.client import REFUSAL_FIELD, encoded
from gatepost.pki.site.records import JoinRefused, SiteRefusal

if TYPE_CHECKING:
    from collections.abc import Callable

    import h11

    from gatepost.net.stream import Stream
    from gatepost.pki.site.enrollment import EnrollmentService


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
        """That of a request for a certificate."""
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
