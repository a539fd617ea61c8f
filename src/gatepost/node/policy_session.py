"""One connection to the server of MTA-STS policies: TLS, one HTTP request, one answer, the end (RFC 8461 section 3.3).

Begun by `node.policy_host` for each stream that it accepts. The bytes of HTTP are h11's. Everything is bounded: one
request of at most 8 KiB, ten seconds from first to last; no body is read, and nothing of a request is ever sent back.
"""

from __future__ import annotations

import asyncio
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit

import h11

from gatepost.mtasts.publish import CONTENT_TYPE, PATH
from gatepost.net.stream import Loss, LossKind
from gatepost.tls.names import normalise

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gatepost.mtasts.publish import Publication
    from gatepost.net.stream import Stream, TlsContext
    from gatepost.tls.facts import TlsFacts

__all__ = ["MAX_REQUEST", "SECONDS", "Answer", "PolicySession", "answer"]

SECONDS: Final = 10.0
"""What a connection has for everything: handshake, request, answer."""
MAX_REQUEST: Final = 8192
"""Octets of a request line with its header fields."""
_METHODS: Final = frozenset({b"GET", b"HEAD"})


class Answer(NamedTuple):
    """A status and, if it is 200, the policy."""

    status: HTTPStatus
    body: bytes = b""


def answer(request: h11.Request, server_name: str, policies: Mapping[str, Publication]) -> Answer:
    """What a request gets. server_name: of the handshake (SNI), "" if there was none. policies: by host.

    A connection under another name than the request's is misdirected (RFC 9110 section 15.5.20): the client has checked
    a certificate for somebody else.
    """
    if not request.http_version.startswith(b"1."):
        return Answer(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)
    host, path = _asked(request)
    if server_name and normalise(server_name) != host:
        return Answer(HTTPStatus.MISDIRECTED_REQUEST)
    if host not in policies or path != PATH:
        return Answer(HTTPStatus.NOT_FOUND)
    if request.method not in _METHODS:
        return Answer(HTTPStatus.METHOD_NOT_ALLOWED)
    return Answer(HTTPStatus.OK, policies[host].body)


def _asked(request: h11.Request) -> tuple[str, str]:
    """Host and path; a target in absolute form goes before the Host field (RFC 9112 section 3.2.2)."""
    host = next((value for name, value in request.headers if name == b"host"), b"").decode("latin-1")
    target = request.target.decode("latin-1")
    try:
        if not target.startswith("/") and "://" in target:
            target, host = urlsplit(target).path, urlsplit(target).netloc
        return normalise(urlsplit(f"//{host}").hostname or ""), target
    except ValueError:
        return "", ""


class PolicySession:
    """policies: those in force now, by host; asked when the request is there. clock: seconds since 1970."""

    __slots__ = ("_clock", "_head", "_http", "_policies", "_stream", "_timer")

    def __init__(
        self, stream: Stream, policies: Callable[[], Mapping[str, Publication]], clock: Callable[[], float]
    ) -> None:
        self._stream = stream
        self._policies = policies
        self._clock = clock
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_REQUEST)
        self._head = False  # HEAD: the answer has no body
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, context: TlsContext, seconds: float = SECONDS) -> None:
        """Shake hands. seconds: for everything."""
        self._stream.attach(self)
        self._timer = asyncio.get_running_loop().call_later(seconds, self._expired)
        self._stream.start_tls(context)

    def secured(self, facts: TlsFacts) -> None:
        """TLS is up; the client speaks first."""

    def received(self, data: bytes) -> None:
        """A part of the request."""
        self._http.receive_data(data)
        try:
            event = self._http.next_event()
        except h11.RemoteProtocolError as error:
            self._send(Answer(_refusal(error)))
            return
        if isinstance(event, h11.Request):
            self._head = event.method == b"HEAD"
            facts = self._stream.tls
            self._send(answer(event, facts.server_name if facts is not None else "", self._policies()))

    def lost(self, loss: Loss) -> None:  # noqa: ARG002 - how it ended changes nothing
        """The connection is over."""
        if self._timer is not None:
            self._timer.cancel()

    def _expired(self) -> None:
        self._stream.abort(Loss(LossKind.TIMEOUT, "the client was too slow"))

    def _send(self, answer: Answer) -> None:
        good = answer.status is HTTPStatus.OK
        body = answer.body if good else f"{answer.status.phrase}\r\n".encode("ascii")
        headers = [
            ("Date", formatdate(self._clock(), usegmt=True)),
            ("Content-Type", CONTENT_TYPE),
            ("Content-Length", str(len(body))),
            ("Connection", "close"),
        ]
        if answer.status is HTTPStatus.METHOD_NOT_ALLOWED:
            headers.append(("Allow", "GET, HEAD"))
        response = h11.Response(status_code=answer.status, headers=headers, reason=answer.status.phrase)
        for event in (response, h11.Data(data=b"" if self._head else body), h11.EndOfMessage()):
            self._stream.write(self._http.send(event) or b"")
        self._stream.close()


def _refusal(error: h11.RemoteProtocolError) -> HTTPStatus:
    """h11 hints 431 for what is too large, 501 for an unknown coding, and 400."""
    try:
        return HTTPStatus(error.error_status_hint)
    except ValueError:
        return HTTPStatus.BAD_REQUEST
