"""What the server of a site answers to a node: POST /join, POST /renew; `node.http_session` has the rest.

Begun by `node.site_host` for each stream that it accepts. What a node is told of a refusal is one word in a field.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import h11

from gatepost.node.http_session import Answer, HttpSession, refusal_of
from gatepost.pki.site.client import REFUSAL_FIELD, encoded
from gatepost.pki.site.records import JoinRefused, Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost.net.stream import Stream
    from gatepost.pki.site.enrollment import SiteDesk


MAX_BODY: Final = 16384
"""Octets of a request's body: a token and a certificate request are not 2 KiB."""
_PATHS: Final = {b"/join": "join", b"/renew": "renew"}
_STATUS: Final = {
    Refusal.REQUEST: HTTPStatus.BAD_REQUEST,
    Refusal.TOKEN: HTTPStatus.FORBIDDEN,
    Refusal.TAKEN: HTTPStatus.CONFLICT,
    Refusal.NODE: HTTPStatus.FORBIDDEN,
    Refusal.EARLY: HTTPStatus.TOO_MANY_REQUESTS,
    Refusal.BUSY: HTTPStatus.SERVICE_UNAVAILABLE,
}


class SiteSession(HttpSession):
    """desk: gives certificates. clock: seconds since 1970."""

    __slots__ = ("_body", "_desk", "_what")

    def __init__(self, stream: Stream, desk: SiteDesk, clock: Callable[[], float]) -> None:
        super().__init__(stream, lambda _request, _name: Answer(HTTPStatus.NOT_FOUND), clock)
        self._desk = desk
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
            self._send(Answer(refusal_of(error)))

    def _answer(self, event: object) -> Answer | None:
        """None while the request goes on."""
        match event:
            case h11.Request():
                self._what = _PATHS.get(event.target, "") if event.method == b"POST" else ""
                return None if self._what else Answer(HTTPStatus.NOT_FOUND)
            case h11.Data():
                self._body += event.data
                return Answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE) if len(self._body) > MAX_BODY else None
            case h11.EndOfMessage():
                return self._decided()
            case _:  # more after the answer, or an end before it: there is nobody to tell
                return Answer(HTTPStatus.BAD_REQUEST)

    def _decided(self) -> Answer:
        facts = self._stream.tls
        chain = facts.peer_chain if facts is not None else ()
        try:
            given = self._desk.answer(self._what, bytes(self._body), self._stream.peer.host, chain, self._clock())
        except JoinRefused as refused:
            return Answer(_STATUS[refused.reason], fields=((REFUSAL_FIELD, str(refused.reason)),))
        return Answer(HTTPStatus.OK, encoded(given), "application/json")
