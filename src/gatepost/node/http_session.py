"""One connection to a small HTTP server of ours: optional TLS, one request, one response, close.

Begun for each stream that `node.policy_host` and `node.challenge_host` accept. The bytes of HTTP are h11's. Everything
is bounded: one request of at most 8 KiB, ten seconds from first to last; a body is read only by who takes bodies, up to
a size, and nothing of a request is ever sent back.
"""

from __future__ import annotations

import asyncio
import time
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, NamedTuple

import h11

from gatepost.net.listener import Listener
from gatepost.net.stream import Loss, LossKind, Stream, TlsContext

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from gatepost.protocols.tls.facts import TlsFacts


SECONDS: Final = 10.0
"""What a connection has for everything: handshake, request, answer."""
MAX_REQUEST: Final = 8192
"""Octets of a request line with its header fields."""
# A chunk of one octet takes 4 us: a body of a megabyte in such ones would keep the process busy for seconds.
_MOST_PARTS: Final = 1000
_PART: Final = 64  # octets, for which there may be one more
_PLAIN: Final = "text/plain"


class Response(NamedTuple):
    """A status and the body, of this media type if the status is 200; any other has its phrase if none is given.

    fields: more of the head.
    """

    status: HTTPStatus
    body: bytes = b""
    content_type: str = _PLAIN
    fields: tuple[tuple[str, str], ...] = ()


class HttpSession:
    """respond: gives the answer to a request; its second argument is the server name of the handshake, "" without.

    clock: seconds since 1970. `body_limit` and `body_answer` are for who takes bodies.
    """

    __slots__ = ("_body", "_clock", "_head", "_http", "_limit", "_parts", "_request", "_respond", "_stream", "_timer")

    def __init__(
        self, stream: Stream, respond: Callable[[h11.Request, str], Response], clock: Callable[[], float]
    ) -> None:
        self._stream = stream
        self._respond = respond
        self._clock = clock
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_REQUEST)
        self._head = False  # HEAD: the answer has no body
        self._request: h11.Request | None = None  # whose body is being read
        self._body = bytearray()
        self._parts = 0
        self._limit = 0
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, context: TlsContext | None, seconds: float = SECONDS) -> None:
        """Shake hands, or without a context wait for the request at once. seconds: for everything."""
        self._stream.attach(self)
        self._timer = asyncio.get_running_loop().call_later(seconds, self._expired)
        if context is not None:
            self._stream.start_tls(context)

    def secured(self, facts: TlsFacts) -> None:
        """TLS is up; the client speaks first."""

    def received(self, data: bytes) -> None:
        """A part of the request."""
        self._http.receive_data(data)
        try:
            while self._take(self._http.next_event()):
                pass
        except h11.RemoteProtocolError as error:
            self._send(Response(_refusal_of(error)))

    def body_limit(self, request: h11.Request, server_name: str) -> int:  # noqa: ARG002 - for who takes bodies
        """The octets of the request's body to read before the response; 0: respond at once."""
        return 0

    def body_answer(self, request: h11.Request, body: bytes) -> Response:  # noqa: ARG002 - for who takes bodies
        """The answer to a request whose body was read."""
        return Response(HTTPStatus.METHOD_NOT_ALLOWED)

    def _take(self, event: object) -> bool:
        """One event of the protocol; whether there may be another that is of interest."""
        match event:
            case h11.Request():
                return self._asked(event)
            case h11.Data() if self._request is not None:
                self._body += event.data
                self._parts += 1
                if len(self._body) <= self._limit and self._parts <= _MOST_PARTS + len(self._body) // _PART:
                    return True
                self._send(Response(HTTPStatus.REQUEST_ENTITY_TOO_LARGE))
            case h11.EndOfMessage() if self._request is not None:
                self._send(self.body_answer(self._request, bytes(self._body)))
        return False

    def _asked(self, request: h11.Request) -> bool:
        self._head = request.method == b"HEAD"
        facts = self._stream.tls
        name = facts.server_name if facts is not None else ""
        self._limit = self.body_limit(request, name)
        if not self._limit:
            self._send(self._respond(request, name))
            return False
        self._request = request
        if self._http.they_are_waiting_for_100_continue:
            self._stream.write(self._http.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
        return True

    def lost(self, loss: Loss) -> None:  # noqa: ARG002 - how it ended changes nothing
        """The connection is over."""
        if self._timer is not None:
            self._timer.cancel()

    def _expired(self) -> None:
        self._stream.abort(Loss(LossKind.TIMEOUT, "the client was too slow"))

    def _send(self, answer: Response) -> None:
        good = answer.status is HTTPStatus.OK
        body = answer.body if good or answer.body else f"{answer.status.phrase}\r\n".encode("ascii")
        head = [("Content-Type", answer.content_type if good else _PLAIN), ("Content-Length", str(len(body)))]
        empty = answer.status is HTTPStatus.NOT_MODIFIED  # the client has it (RFC 9110 section 15.4.5)
        headers = [
            ("Date", formatdate(self._clock(), usegmt=True)),
            *([] if empty else head),
            *answer.fields,
            ("Connection", "close"),
        ]
        if answer.status is HTTPStatus.METHOD_NOT_ALLOWED:
            headers.append(("Allow", "GET, HEAD"))
        response = h11.Response(status_code=answer.status, headers=headers, reason=answer.status.phrase)
        for event in (response, h11.Data(data=b"" if self._head or empty else body), h11.EndOfMessage()):
            self._stream.write(self._http.send(event) or b"")
        self._stream.close()


READING: Final = frozenset({b"GET", b"HEAD"})
"""Methods of who only reads."""


def plain_listener(
    sockets: Sequence[socket.socket], respond: Callable[[h11.Request], Response], *, total: int, per_source: int
) -> Listener:
    """A server without TLS for who only reads. total, per_source: connections."""

    def answer(request: h11.Request, _name: str) -> Response:
        return respond(request) if request.method in READING else Response(HTTPStatus.METHOD_NOT_ALLOWED)

    return Listener(
        sockets,
        lambda stream: HttpSession(stream, answer, time.time).begin(None),
        total=total,
        per_source=per_source,
    )


def _refusal_of(error: h11.RemoteProtocolError) -> HTTPStatus:
    """The status for bytes that are not HTTP: h11 hints 431 if too large, 501 for an unknown coding, else 400."""
    try:
        return HTTPStatus(error.error_status_hint)
    except ValueError:
        return HTTPStatus.BAD_REQUEST
