"""Accept connections: bound sockets in, streams out, with limits in all and for each source.

`bind` is called once, before privileges are dropped; the sockets are inherited by the workers, each of which runs its
own `Listener` on them. The reply to a refused client is the caller's business.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import resource
import socket
import struct
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from gatepost.net.connection import Connection
from gatepost.net.proxy_header import HeaderReceiver
from gatepost.net.stream import NOWHERE, Endpoint, Loss, LossKind, Stream, endpoint
from gatepost.net.tasks import spawn
from gatepost.policy.connectors.facts import Introduction, Teller

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Sequence

    from gatepost.protocols.proxy.header import ProxyHeader


BACKLOG: Final = 512
"""Connections that the kernel keeps for us while we are busy."""
_AT_ONCE: Final = 4  # connections of one listener that are taken in a turn of the loop
_OF_STRANGERS: Final = 0.9  # of the files that connections may have
_QUEUE: Final = slice(24, 28)  # of Linux's tcp_info: tcpi_unacked, which for a listening socket is its accept queue
_PAUSE: Final = 1.0  # seconds without accepting when the process can, or may, open no more
_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER: close with RST, and wait for nothing
_COMPLAINTS: Final = 10  # lines of one second
_MAX_REFUSED: Final = 256  # refused connections that may get a reply at a time; more are dropped without one

_log = logging.getLogger(__name__)


class ConnectionQuota(msgspec.Struct, frozen=True):
    """The limits of one client: connections at a time of all clients and of its source, 0 for none.

    refusal: why it may not connect now, "" if it may. drops: it is not even told so, as that would take too long.
    stranger: nobody knows it, and it leaves some of the files that connections may have to clients that are known.
    """

    total: int
    per_source: int
    refusal: str = ""
    drops: bool = False
    stranger: bool = False


class _Plain(socket.socket):
    """A socket whose family and type are numbers: of those Python makes enumerations each time somebody asks."""

    __slots__ = ()

    family = socket.SocketType.family  # type: ignore[assignment] # numbers are equal to what the loop compares them with
    type = socket.SocketType.type  # type: ignore[assignment] # as above

    def accept(self) -> tuple[socket.socket, tuple[Any, ...]]:
        """As that of any socket, of which it asks twice again."""
        descriptor, address = self._accept()  # type: ignore[attr-defined] # by which Python's own is made
        return _Plain(self.family, self.type, self.proto, fileno=descriptor), address


class PassedSockets(Protocol):
    """Sockets that were bound before this process began."""

    def take(self, family: int, target: tuple[object, ...]) -> socket.socket | None:
        """The one that is bound to this address, as getaddrinfo gives it; None if there is none."""
        ...


def bind(address: str, passed: PassedSockets | None = None) -> list[socket.socket]:
    """Listening sockets for "host:port" or "[v6]:port", one for each address that `host` has; port 0 is any free one.

    passed: those that are bound already, which are taken first. Raises ValueError for text that is no such address,
    OSError naming it if it cannot be bound.
    """
    host, port = parse_address(address)
    sockets: list[socket.socket] = []
    try:
        for family, kind, protocol, _, target in socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            if passed is not None and (inherited := passed.take(family, target)) is not None:
                sockets.append(inherited)
                continue
            made: socket.socket = _Plain(family, kind, protocol)
            sockets.append(made)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            made.setblocking(False)
            made.bind(target)
            made.listen(BACKLOG)
    except OSError as failure:
        for made in sockets:
            made.close()
        raise OSError(failure.errno, f"cannot listen on {address}: {failure.strerror}") from failure
    return sockets


def parse_address(address: str) -> tuple[str, int]:
    """("host", port) of "host:port" or "[v6]:port". Raises ValueError saying what is wrong."""
    host, colon, digits = address.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"{address!r}: an IPv6 address is written in brackets, [::1]:25")
    if not colon or not host or not (digits.isascii() and digits.isdigit()) or int(digits) > 65535:
        raise ValueError(f"{address!r} is not host:port")
    return host, int(digits)


def source_of(host: str) -> str:
    """The key by which limits are counted: an IPv4 address, or the /64 of an IPv6 network."""
    if ":" not in host:
        return host
    try:
        return str(ipaddress.IPv6Network((host, 64), strict=False))
    except ValueError:
        return host


NETWORK_TIMES: Final = 5
"""Times the limit of a source that unknown clients in one IPv6 /48 have together: whoever has it has 65,536 /64."""


def network_of(source: str) -> str:
    """The IPv6 /48 of an address or a /64, which one site may have to itself (RFC 6177); "" for IPv4."""
    if ":" not in source:
        return ""
    try:
        return f"{int(ipaddress.IPv6Address(source.partition('/')[0])) >> 80:x}::/48"
    except ValueError:
        return ""


def _end(stream: Stream, reason: str) -> None:
    stream.abort(Loss(LossKind.CLOSED, reason))


class Listener:
    """Accepts on `sockets` and hands each stream to `accept`, or to `refuse` with the reason in plain words.

    total, per_source: connections at a time, refused ones not counted; 0 is no limit. quota: in their place, asked
    once about each client by its address, and again about one that a host of ours names. `accept` and `refuse` are
    called in a turn of the loop, must attach a receiver (or close) and must not block; without `refuse` what is refused
    is closed. refusal: while it is set, why every new connection is refused. is_own: whether a connection is a check of
    ours, which counts for no limit. proxies: for each local end the addresses that speak for others: each of their
    connections begins with a PROXY header, and counts for the client that it names; without one it is dropped.
    """

    __slots__ = (
        "_accept",
        "_by_source",
        "_complaints",
        "_counted",
        "_is_own",
        "_local",
        "_open",
        "_own",
        "_proxies",
        "_quota",
        "_refuse",
        "_refused",
        "_sockets",
        "_stopped",
        "_total",
        "refusal",
    )

    def __init__(  # noqa: PLR0913 - limits and questions, each by name
        self,
        sockets: Sequence[socket.socket],
        accept: Callable[[Stream], None],
        *,
        refuse: Callable[[Stream, str], None] = _end,
        total: int = 5000,
        per_source: int = 100,
        quota: Callable[[str], ConnectionQuota] | None = None,
        is_own: Callable[[Stream], bool] = lambda _: False,
        proxies: Callable[[Endpoint], Container[str]] | None = None,
    ) -> None:
        self._sockets = tuple(sockets)
        self._local = {sock: _bound_to(sock) for sock in self._sockets}
        self._accept = accept
        self._refuse = refuse
        self._total = total
        self._quota = quota or (lambda _: ConnectionQuota(total, per_source))
        self._open = 0
        self._refused: set[Stream] = set()
        self._proxies = proxies
        self._complaints = _Complaints()
        self._by_source: dict[str, int] = {}
        self._is_own = is_own
        self._own: set[Stream] = set()
        self._counted: dict[Stream, str] = {}  # open connections, each with the source that it counts for; "" for none
        self._stopped = False
        self.refusal = ""

    @property
    def connections(self) -> int:
        """Accepted connections that are open now."""
        return self._open

    async def start(self) -> None:
        """Begin to accept."""
        for sock in self._sockets:
            sock.setblocking(False)  # one that was passed on may block
            self._watch(sock)

    def stop(self) -> None:
        """Accept no more, and close the sockets; open connections go on."""
        self._stopped = True
        for sock in self._sockets:
            if sock.fileno() >= 0:
                asyncio.get_running_loop().remove_reader(sock)
                sock.close()

    def _watch(self, sock: socket.socket) -> None:
        if not self._stopped:
            asyncio.get_running_loop().add_reader(sock, self._take, sock)

    def _take(self, sock: socket.socket) -> None:
        """Take a few connections: however many come, those that are open get their turn between."""
        most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        for _ in range(min(_waiting(sock), _AT_ONCE)):
            try:
                client, address = sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as failure:  # no descriptor or memory is left: wait for some instead of trying all the time
                self._rest(sock, str(failure))
                return
            quota = self._quota(address[0])
            if quota.drops and not self.refusal:
                _drop(client)
            elif not (why := _lacks_files(client, quota, most)):
                ends = endpoint(address), self._local[sock]
                spawn(self._open_stream(client, ends, quota), "a new connection")
            elif quota.stranger:
                _drop(client)  # to wait would let known clients wait behind it
                self._complaints.say(f"a connection of an unknown client is dropped: {why}")
            else:
                _drop(client)
                self._rest(sock, why)
                return

    def _rest(self, sock: socket.socket, why: str) -> None:
        """Accept nothing for a while; connections wait in the kernel."""
        self._complaints.say(f"no connection can be accepted: {why}")
        loop = asyncio.get_running_loop()
        loop.remove_reader(sock)
        loop.call_later(_PAUSE, self._watch, sock)

    async def _open_stream(
        self, client: socket.socket, ends: tuple[Endpoint, Endpoint], quota: ConnectionQuota
    ) -> None:
        loop = asyncio.get_running_loop()
        opened = partial(self._opened, quota)
        connection = Connection(loop, answering=True, ends=ends, opened=opened, gone=self._gone)
        try:
            await loop.connect_accepted_socket(lambda: connection, client)
        except OSError:  # it is gone already
            client.close()

    def introduce(self, stream: Stream, client: Endpoint, introduction: Introduction) -> str:
        """Let an accepted connection be the client's that a trusted host names; why it is one too many, else ""."""
        source = source_of(client.host)
        before = self._counted.get(stream, "")
        if before and source != before:
            quota = self._quota(client.host)
            if reason := quota.refusal or self._too_many_of(source, quota):
                return reason
            self._count(stream, source)
        stream.introduce(client, introduction)
        return ""

    def _opened(self, quota: ConnectionQuota, stream: Connection) -> None:
        if not self.refusal and self._is_own(stream):
            self._own.add(stream)
            self._accept(stream)
        elif self._proxies is not None and stream.peer.host in self._proxies(stream.local):
            self._await_header(stream)
        else:
            self._admit(stream, quota)

    def _admit(self, stream: Connection, quota: ConnectionQuota) -> None:
        source = source_of(stream.peer.host)
        reason = self.refusal or self._reason(source, quota)
        if not reason:
            self._open += 1
            self._count(stream, source)
            self._accept(stream)
            return
        self._refused.add(stream)
        if quota.drops or len(self._refused) > _MAX_REFUSED:
            stream.abort(Loss(LossKind.CLOSED, reason))
        else:
            self._refuse(stream, reason)

    def _await_header(self, stream: Connection) -> None:
        """A proxy has a connection: it counts for nobody until the header says whose it is."""
        by = stream.peer.host
        self._open += 1
        self._counted[stream] = ""

        def done(header: ProxyHeader, rest: bytes) -> None:
            if header.host:
                introduction = Introduction(Teller.PROXY, by, header.tls)
                stream.introduce(Endpoint(header.host, header.port), introduction)
            self._open -= 1
            del self._counted[stream]
            self._admit(stream, self._quota(stream.peer.host))
            stream.replay(rest)

        def failed(why: str) -> None:
            self._complaints.say(f"a connection from {by}, which must send a PROXY header, is dropped: {why}")

        if self._total and self._open > self._total:
            stream.abort(Loss(LossKind.CLOSED, "too many connections"))
        else:
            stream.attach(HeaderReceiver(stream, done, failed))

    def _reason(self, source: str, quota: ConnectionQuota) -> str:
        if quota.refusal:
            return quota.refusal
        if quota.total and self._open >= quota.total:
            return "too many connections"
        return self._too_many_of(source, quota)

    def _too_many_of(self, source: str, quota: ConnectionQuota) -> str:
        most = quota.per_source
        if most and self._by_source.get(source, 0) >= most:
            return f"too many connections from {source}"
        if most and quota.stranger and self._by_source.get(network_of(source), 0) >= most * NETWORK_TIMES:
            return f"too many connections from the network of {source}"
        return ""

    def _count(self, stream: Stream, source: str) -> None:
        """Count an open connection for a source, and no longer for the one before."""
        self._uncount(self._counted.get(stream, ""))
        self._counted[stream] = source
        for key in filter(None, (source, network_of(source))):
            self._by_source[key] = self._by_source.get(key, 0) + 1

    def _uncount(self, source: str) -> None:
        for key in filter(None, (source, network_of(source))):
            left = self._by_source.get(key, 0) - 1
            if left > 0:
                self._by_source[key] = left
            else:
                self._by_source.pop(key, None)

    def _gone(self, stream: Connection) -> None:
        for uncounted in (self._refused, self._own):
            if stream in uncounted:
                uncounted.discard(stream)
                return
        self._open -= 1
        self._uncount(self._counted.pop(stream, ""))


def _waiting(sock: socket.socket) -> int:
    """How many connections can be taken, at least one. To try one more and catch the error costs a tenth of one."""
    if sys.platform != "linux":
        return _AT_ONCE
    facts = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _QUEUE.stop)
    return int.from_bytes(facts[_QUEUE], sys.byteorder) or 1


def _bound_to(sock: socket.socket) -> Endpoint:
    """Our end of each of its connections; NOWHERE where it listens on all addresses."""
    local = endpoint(sock.getsockname())
    return NOWHERE if local.host in {"0.0.0.0", "::"} else local  # noqa: S104 - compared with, not listened on


def _lacks_files(client: socket.socket, quota: ConnectionQuota, most: int) -> str:
    """Why this one is too many, "" if it is not: each session may need a file beside its socket, and others need some.

    A new descriptor has the lowest free number, so that number tells how many the process has at least. most: that it
    may have (-1: any number).
    """
    if most < 0 or client.fileno() < most // 2 * (_OF_STRANGERS if quota.stranger else 1.0):
        return ""
    part = "nearly half" if quota.stranger else "half"
    return (
        f"connections and files have {part} of the {most} that the process may open; the rest is for files (ulimit -n)"
    )


def _drop(client: socket.socket) -> None:
    """Close a connection without a word."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    client.close()


class _Complaints:
    """Lines of the log about hosts that break the rules: at most ten a second, the rest is counted."""

    __slots__ = ("_left_out", "_second", "_written")

    def __init__(self) -> None:
        self._second = self._written = self._left_out = 0

    def say(self, text: str) -> None:
        second = int(time.monotonic())
        if second != self._second:
            if self._left_out:
                _log.warning("%d more such lines were left out", self._left_out)
            self._second, self._written, self._left_out = second, 0, 0
        if self._written >= _COMPLAINTS:
            self._left_out += 1
            return
        self._written += 1
        _log.warning("%s", text)


async def drain(listeners: Sequence[Listener], seconds: float) -> None:
    """Accept no more on any of them, and let open connections end for at most `seconds`."""
    for listener in listeners:
        listener.stop()
    deadline = time.monotonic() + seconds
    while any(listener.connections for listener in listeners) and time.monotonic() < deadline:  # noqa: ASYNC110 - once, at the end
        await asyncio.sleep(0.05)
