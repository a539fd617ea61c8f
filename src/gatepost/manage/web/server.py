"""The server of the admin centre: uvicorn on sockets that were bound before, with a certificate that may change.

A connection is bounded as uvicorn does not: how many there are, and for how long each may wait.

Signals belong to whoever runs it (`node.auxiliary`), and so does the log: uvicorn's own lines are errors only.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from email.utils import formatdate
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, cast

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from gatepost.manage.web.certificate import admin_certificate, tls_context
from gatepost.manage.web.handshakes import Handshakes, HandshakeServer
from gatepost.manage.web.problem import ProblemType, instance_of, problem_document
from gatepost.net.listener import network_of, source_of
from gatepost.net.places import FairShares
from gatepost.net.tasks import spawn
from gatepost.pki.certificates.files import CertificateFileError

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator, Sequence

    from starlette.responses import Response
    from starlette.types import ASGIApp

    from gatepost.settings.model import Settings


_MOST: Final = 400
_MOST_OF_ONE: Final = 100  # address, or /64 of IPv6: a browser opens six, a proxy as many as it has requests
_SECONDS: Final = 60.0  # for a whole request; 32 MiB take as long at 4.5 Mbit/s
_PARTING: Final = 0.5  # seconds, when the gateway stops: several times what an answer needs around the world
_TOO_MANY: Final = "The admin centre has too many connections. Try again later."
_NO_REQUEST: Final = "This is not a valid HTTP/1.1 request (RFC 9112), or its header section is larger than 32 KiB."
_LOGGED_EVERY: Final = 60.0


class _MeasuredRequests(h11.Connection):
    """A head is measured however it came: h11 itself measures only one that it has to wait for.

    most: bytes of it.
    """

    def __init__(self, most: int) -> None:
        super().__init__(h11.SERVER, most)
        self._most = most

    def next_event(self) -> type[h11.NEED_DATA | h11.PAUSED] | h11.Event:
        """See `h11.Connection.next_event`."""
        if self.their_state is not h11.IDLE:
            return super().next_event()
        before = len(self.trailing_data[0])
        event = super().next_event()
        if isinstance(event, h11.Request) and before - len(self.trailing_data[0]) > self._most:
            raise h11.RemoteProtocolError("the head is too large", error_status_hint=431)
        return event


class BoundedConnection(H11Protocol):
    """One connection; uvicorn calls its methods."""

    _said = 0.0  # when the log was told of too many, for all of them
    place = ""  # what connections are counted by
    network = ""  # the same, or the IPv6 /48 around it, which may be one's who has 65,536 places
    _late: asyncio.TimerHandle | None = None  # until the request is whole
    _stuck: asyncio.TimerHandle | None = None  # while the answer is not fetched

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's own
        """Take it up, or say that there are too many."""
        super().connection_made(transport)
        self.conn = _MeasuredRequests(cast("int", self.config.h11_max_incomplete_event_size))
        self.place = source_of(self.client[0] if self.client else "")
        self.network = network_of(self.place) or self.place
        others = [cast("BoundedConnection", connection) for connection in self.connections if connection is not self]
        shares = FairShares(_MOST)
        for other in others:
            shares.begin(other.network)
        if self.network in shares or sum(other.place == self.place for other in others) >= _MOST_OF_ONE:
            self._turn_away()
        else:
            self._watch()

    def data_received(self, data: bytes) -> None:
        """Read more of a request."""
        if not self.transport.is_closing():
            super().data_received(data)
            self._watch()

    def handle_events(self) -> None:
        """Set the Date of the next response to now: the server's clock stops while there are no requests."""
        self.server_state.default_headers = [(b"date", formatdate(usegmt=True).encode())]
        super().handle_events()

    def on_response_complete(self) -> None:
        """The next request may have come already, or a part of it."""
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        _end(self._late)
        _end(self._stuck)
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """The gateway stops. Who asks nothing has little time to say goodbye, as TLS wants it: a browser may sleep."""
        super().shutdown()
        if self.transport.is_closing():
            _end(self._late)
            self._late = self.loop.call_later(_PARTING, self._abort)

    def pause_writing(self) -> None:
        """More of the answer was written than the other side has fetched."""
        super().pause_writing()
        self._stuck = self._stuck or self.loop.call_later(_SECONDS, self._abort)

    def resume_writing(self) -> None:
        """It fetched some."""
        _end(self._stuck)
        self._stuck = None
        super().resume_writing()

    def _watch(self) -> None:
        """Let the time run while a request is not whole, from its beginning, however often a byte of it comes."""
        waits = self.conn.their_state in {h11.IDLE, h11.SEND_BODY} and self.timeout_keep_alive_task is None
        if not waits:
            _end(self._late)
            self._late = None
        elif self._late is None and not self.transport.is_closing():
            self._late = self.loop.call_later(_SECONDS, self._abort)

    def _turn_away(self) -> None:
        now = time.monotonic()
        if now - BoundedConnection._said > _LOGGED_EVERY:
            BoundedConnection._said = now
            _log.warning("the admin centre has too many connections, and turns away %s", self.place)
        self._say(problem_document(ProblemType.UNREADABLE, _TOO_MANY, instance_of({}), headers={"Retry-After": "10"}))
        self.connections.discard(self)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's sentence, which says less
        """Reject bytes that are no HTTP request, in the form of all refusals, if no response has begun."""
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            self._say(problem_document(ProblemType.MALFORMED, _NO_REQUEST, instance_of({})))
        else:
            self._abort()

    def _say(self, answer: Response) -> None:
        """Outside of any request, and the last that is said."""
        status = HTTPStatus(answer.status_code)
        fields = [*answer.raw_headers, (b"connection", b"close"), (b"x-content-type-options", b"nosniff")]
        head = b"".join(b"%b: %b\r\n" % field for field in fields)
        line = f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode()
        self.transport.write(b"%b%b\r\n%b" % (line, head, bytes(answer.body)))
        self.transport.close()

    def _abort(self) -> None:
        self.transport.abort()


def _end(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()


_KEEP_ALIVE: Final = 75  # seconds
_HEAD: Final = 32 * 1024  # bytes of a request's head

_log = logging.getLogger(__name__)


class _Server(uvicorn.Server):
    """Sleeps while nobody asks: uvicorn's own looks ten times a second whether it is to end, and what time it is."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._ending = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept on sockets that are bound; nothing else is asked of uvicorn here."""
        await self.lifespan.startup()
        tls, handshakes = self.config.ssl, Handshakes()
        assert tls is not None  # noqa: S101 - the configuration has it
        state, connections = self.lifespan.state, self.server_state
        make = partial(BoundedConnection, config=self.config, server_state=connections, app_state=state)
        self.servers = [HandshakeServer(sock, tls, make, handshakes) for sock in sockets or ()]  # type: ignore[misc]
        self.started = True

    def end(self) -> None:
        """Have it stop."""
        self.should_exit = True
        self._ending.set()

    async def main_loop(self) -> None:
        """Until it is to end; the date of an answer is the connection's to say."""
        await self._ending.wait()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves them alone."""
        yield


class WebServer:
    """Serves an application over HTTPS. Raises CertificateFileError or OSError for its certificate."""

    def __init__(self, application: ASGIApp, settings: Settings, sockets: Sequence[socket.socket]) -> None:
        self._settings = settings
        self._sockets = list(sockets)
        self.certificate = admin_certificate(settings)
        self._tls = tls_context(self.certificate)
        logging.getLogger("uvicorn").setLevel(logging.ERROR)
        config = uvicorn.Config(
            application,
            log_config=None,
            access_log=False,
            lifespan="off",
            http=BoundedConnection,
            ws="none",
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE,
            h11_max_incomplete_event_size=_HEAD,
            ssl_context_factory=lambda *_: self._tls,
        )
        self._server = _Server(config)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to serve."""
        self._task = spawn(self._server.serve(self._sockets), "admin centre")

    def reload(self) -> None:
        """Take up a new certificate for new connections; one that cannot be used is said, and the old one stays."""
        try:
            certificate = admin_certificate(self._settings)
            self._tls.load_cert_chain(certificate.chain, certificate.key)
        except (OSError, ValueError, CertificateFileError) as error:
            _log.error("the admin centre keeps its certificate: %s", error)
        else:
            self.certificate = certificate

    async def close(self, seconds: float) -> None:
        """Accept no more, and let open requests end for at most `seconds`."""
        self._server.end()
        if self._task is not None:
            _, late = await asyncio.wait([self._task], timeout=max(0.1, seconds))
            for task in late:
                task.cancel()
