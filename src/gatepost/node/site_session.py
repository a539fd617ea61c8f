"""Handle requests of nodes to a site: POST /join, POST /renew; `node.http_session` has the rest.

Begun by `node.site_host` for each stream that it accepts. What a node is told of a refusal is one word in a field.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import h11

from gatepost.node.http_session import HttpSession, Response, refusal_of
from gatepost.pki.site.client import REFUSAL_FIELD, encoded
from gatepost.pki.site.records import JoinRefused, SiteRefusal

if TYPE_CHECKING:
    from collections.abc import Callable

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

    __slots__ = ("_body", "_enrollment", "_what")

    def __init__(self, stream: Stream, enrollment: EnrollmentService, clock: Callable[[], float]) -> None:
        super().__init__(stream, lambda _request, _name: Response(HTTPStatus.NOT_FOUND), clock)
        self._enrollment = enrollment
        self._body = bytearray()
        self._what = ""

    def received(self, data: bytes) -> None:
        """A part of the request; it is answered once its body is whole."""
        try:
            self._http.receive_data(data)
            while (event := self._http.next_event()) is not h11.NEED_DATA:
                answer = self._answer(event)
                if answer is not None:
                    self._send(answer)
                    return
        except h11.RemoteProtocolError as error:
            self._send(Response(refusal_of(error)))

    def _answer(self, event: object) -> Response | None:
        """None while the request goes on."""
        match event:
            case h11.Request():
                self._what = _PATHS.get(event.target, "") if event.method == b"POST" else ""
                return None if self._what else Response(HTTPStatus.NOT_FOUND)
            case h11.Data():
                self._body += event.data
                return Response(HTTPStatus.REQUEST_ENTITY_TOO_LARGE) if len(self._body) > MAX_BODY else None
            case h11.EndOfMessage():
                return self._decided()
            case _:  # more after the answer, or an end before it: there is nobody to tell
                return Response(HTTPStatus.BAD_REQUEST)

    def _decided(self) -> Response:
        facts = self._stream.tls
        chain = facts.peer_chain if facts is not None else ()
        try:
            node_grant = self._enrollment.answer(
                self._what, bytes(self._body), self._stream.peer.host, chain, self._clock()
            )
        except JoinRefused as refused:
            return Response(_STATUS[refused.reason], fields=((REFUSAL_FIELD, str(refused.reason)),))
        return Response(HTTPStatus.OK, encoded(node_grant), "application/json")
