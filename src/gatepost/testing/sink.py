"""A recording SMTP sink that can misbehave at any command: asyncio streams in a thread of their own, TLS by the stdlib.

It shares no code with gatepost, so that a fault of ours cannot hide in its own mirror.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import ssl
import threading
import time
import warnings
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from gatepost.testing.mail import Mail
from gatepost.testing.process import FixtureError, free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

    from gatepost.testing.pki import Leaf

MAX_MESSAGE = 128 * 1024 * 1024
EXTENSIONS = ("PIPELINING", f"SIZE {MAX_MESSAGE}", "8BITMIME", "ENHANCEDSTATUSCODES", "DSN", "SMTPUTF8", "CHUNKING")


_VERBS = "EHLO HELO LHLO STARTTLS AUTH MAIL RCPT DATA BDAT RSET NOOP QUIT VRFY EXPN HELP ETRN XCLIENT XGATEPOST"
POINTS = frozenset({"CONNECT", ".", *_VERBS.split()})
"""Where a sink can misbehave: at the greeting, at a verb, and at the end of a message."""
_STARTTLS = ("offer", "absent", "garbage")


@dataclass(frozen=True, slots=True)
class Behaviour:
    """The behaviour of a sink; the defaults accept everything. A "point" is a verb, "CONNECT", or "." (the end).

    A ValueError for any other point, which a session never comes to: the test would test nothing.

    replies: point -> reply line instead of the usual one ("450 4.2.1 later"; a 421 also closes).
    recipients: address -> reply to its RCPT. results: address -> reply to the end of a message for it, in a session
    that began with LHLO. delays: point -> seconds to wait before answering. drops: points where the
    connection is cut without an answer. starttls: "offer", "absent", or "garbage" (says 220, then no TLS follows).
    extensions: EHLO lines besides STARTTLS. store: keep the bytes of messages, not only their sizes. one_domain: refuse
    recipients beside those of another domain, for now. kept: of a message's bytes at most so many, 0 for all. holds:
    points whose answer waits until the sink has a behaviour that does not hold them.
    """

    replies: Mapping[str, str] = field(default_factory=dict)
    recipients: Mapping[str, str] = field(default_factory=dict)
    results: Mapping[str, str] = field(default_factory=dict)
    delays: Mapping[str, float] = field(default_factory=dict)
    drops: frozenset[str] = frozenset()
    starttls: str = "offer"
    extensions: tuple[str, ...] = EXTENSIONS
    store: bool = True
    one_domain: bool = False
    kept: int = 0
    holds: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        """Refuse what would have no effect."""
        for point in (*self.replies, *self.delays, *self.drops, *self.holds):
            if point not in POINTS:
                raise ValueError(f"{point!r} is no point of a session; there are {', '.join(sorted(POINTS))}")
        if self.starttls not in _STARTTLS:
            raise ValueError(f"starttls is {self.starttls!r}, not one of {', '.join(_STARTTLS)}")


@dataclass(frozen=True, slots=True)
class Received:
    """One message that the sink acknowledged. data: as after RFC 5321 section 4.5.2, CRLF. tls: "TLSv1.3", "" in clear.

    parameters: of MAIL and of each RCPT, as sent. session: number of the connection. at: time.monotonic() of the 250.
    """

    reverse_path: str
    recipients: tuple[str, ...]
    parameters: tuple[str, ...]
    size: int
    data: bytes
    hello: str
    tls: str
    session: int
    at: float

    @property
    def mail(self) -> Mail:
        """The message, to look at."""
        return Mail(self.data)


class Sink:
    """An SMTP server on loopback that keeps what it gets, and misbehaves on request. Use it with `with`.

    A client that says LHLO speaks LMTP (RFC 2033): the end of a message has a reply for each recipient.

    behaviour: may be replaced at any time; a session reads it anew at each command.
    certificate None: STARTTLS is never offered. client_anchors: ask for a client certificate, and take one of these
    authorities (PEM file) or none; clients: SHA-256 thumbprints of those that came, "" for none. port: None for a free
    one. messages: those that were acknowledged, oldest first. counts: commands by verb, and "CONNECT", "TLS", "TLS
    resumed", "TLS failed", "message". host: where it listens. hostname: as it names itself. tls: the
    context of STARTTLS, None without a certificate.
    """

    def __init__(
        self,
        *,
        hostname: str = "sink.partner.example",
        host: str = "127.0.0.1",
        port: int | None = None,
        certificate: Leaf | None = None,
        client_anchors: str | Path = "",
        behaviour: Behaviour | None = None,
    ) -> None:
        self.hostname = hostname
        self.host = host
        self.port = port or free_port()
        self.behaviour = behaviour or Behaviour()
        self.messages: list[Received] = []
        self.counts: Counter[str] = Counter()
        self.clients: list[str] = []
        self.tls = server_context(certificate, client_anchors) if certificate else None
        self._writers: set[asyncio.StreamWriter] = set()
        self._unable: OSError | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ending: asyncio.Event | None = None
        self._thread: threading.Thread | None = None

    @property
    def address(self) -> str:
        """Host and port, as a smart host is written."""
        return f"{self.host}:{self.port}"

    def start(self) -> Self:
        """Listen, in a thread of its own. OSError if that cannot be done, since something else listens there."""
        listening = threading.Event()
        self._thread = threading.Thread(target=asyncio.run, args=(self._serve(listening),), name="sink")
        self._thread.start()
        if not listening.wait(60):
            raise OSError(f"the sink cannot listen on {self.address}")
        if self._unable is not None:
            self._thread.join(10)
            raise OSError(f"the sink cannot listen on {self.address}: {self._unable.strerror}") from self._unable
        return self

    def stop(self) -> None:
        """Close all connections and the listener; `messages` stay. `start` opens the same port again."""
        if self._thread and self._loop and self._ending:
            with suppress(RuntimeError):  # the loop is closed already
                self._loop.call_soon_threadsafe(self._ending.set)
            self._thread.join(10)
            self._thread = None

    def wait_messages(self, count: int, *, timeout: float = 60.0) -> list[Received]:
        """The messages, once there are `count`; FixtureError after `timeout` seconds, with what came."""
        try:
            wait_until(lambda: len(self.messages) >= count, f"fewer than {count} messages came", timeout=timeout)
        except FixtureError as late:
            raise FixtureError(f"{late} to {self.address}: {len(self.messages)}, of {dict(self.counts)}") from late
        return list(self.messages)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def _serve(self, listening: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._ending = asyncio.Event()
        self._unable = None
        try:
            server = await asyncio.start_server(self._client, self.host, self.port, limit=1 << 20, backlog=1024)
        except OSError as error:
            self._unable = error
            return
        finally:
            listening.set()
        await self._ending.wait()
        server.close()
        await asyncio.sleep(0.05)  # a connection that was accepted this moment is no client yet, and would stay open
        for writer in list(self._writers):
            writer.transport.abort()
        await server.wait_closed()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        self.counts["CONNECT"] += 1
        session = _Session(self, reader, writer, self.counts["CONNECT"])
        try:
            await session.run()
        except (OSError, EOFError, asyncio.LimitOverrunError, ssl.SSLError):
            pass  # the client went away, or was cut off on purpose
        finally:
            self._writers.discard(writer)
            writer.transport.abort() if session.cut else writer.close()
            with suppress(OSError, ssl.SSLError):
                await writer.wait_closed()


class _Session:
    """One connection."""

    def __init__(self, sink: Sink, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        self.sink = sink
        self.reader = reader
        self.writer = writer
        self.number = number
        self.cut = False
        self.closing = False
        self.hello = ""
        self.lmtp = False
        self.tls = ""
        self._handlers: Mapping[str, Callable[[str], Awaitable[None]]] = {
            "EHLO": self._hello,
            "HELO": self._hello,
            "LHLO": self._hello,
            "STARTTLS": self._starttls,
            "MAIL": self._mail,
            "RCPT": self._recipient,
            "DATA": self._data,
            "BDAT": self._bdat,
            "RSET": self._reset,
            "NOOP": self._noop,
            "QUIT": self._quit,
        }
        self._begin("", "")

    def _begin(self, reverse_path: str, parameters: str, *, mail: bool = False) -> None:
        self.mail = mail  # a transaction was begun
        self.reverse_path = reverse_path
        self.recipients: list[str] = []
        self.parameters = [parameters] if parameters else []
        self.chunks: list[bytes] = []

    async def run(self) -> None:
        await self._answer("CONNECT", f"220 {self.sink.hostname} ESMTP sink")
        while not self.closing:
            line = await self.reader.readuntil(b"\r\n")
            text = line[:-2].decode("utf-8", "replace")
            verb = text[:8].partition(" ")[0].upper()
            self.sink.counts[verb] += 1
            handler = self._handlers.get(verb)
            if handler is None:
                await self._answer(verb, "502 5.5.1 Not implemented")
            else:
                await handler(text)

    async def _answer(self, point: str, usual: str, behaviour: Behaviour | None = None) -> bool:
        """Send the reply of this point, or do what the behaviour says instead. Whether it was positive."""
        behaviour = behaviour or self.sink.behaviour
        if point in behaviour.delays:
            await self.writer.drain()
            await asyncio.sleep(behaviour.delays[point])
        while point in self.sink.behaviour.holds:
            await self.writer.drain()
            await asyncio.sleep(0.01)
        if point in behaviour.drops:
            self.cut = self.closing = True
            return False
        reply = usual if point == "." else behaviour.replies.get(point, usual)
        self.writer.write(reply.encode() + b"\r\n")
        await self.writer.drain()
        self.closing = self.closing or reply.startswith("421") or point == "QUIT"
        return reply[0] in "23"

    async def _hello(self, text: str) -> None:
        verb, _, self.hello = text.partition(" ")
        lines = [self.sink.hostname]
        self.lmtp = verb.upper() == "LHLO"
        if verb.upper() != "HELO":
            lines += self.sink.behaviour.extensions
            if self.sink.tls and not self.tls and self.sink.behaviour.starttls != "absent":
                lines.append("STARTTLS")
        reply = "".join(f"250-{line}\r\n" for line in lines[:-1]) + f"250 {lines[-1]}"
        self._begin("", "")
        await self._answer(verb.upper(), reply)

    async def _starttls(self, _: str) -> None:
        if self.sink.tls is None or self.tls:
            await self._answer("STARTTLS", "502 5.5.1 TLS not available")
            return
        if not await self._answer("STARTTLS", "220 2.0.0 Ready to start TLS"):
            return
        if self.sink.behaviour.starttls == "garbage":
            self.writer.write(b"this is not a handshake\r\n" * 20)
            await self.writer.drain()
            self.closing = True
            return
        try:
            await self.writer.start_tls(self.sink.tls)
        except (OSError, ssl.SSLError):
            self.sink.counts["TLS failed"] += 1
            raise
        session: ssl.SSLObject = self.writer.get_extra_info("ssl_object")
        self.sink.counts["TLS"] += 1
        self.sink.counts["TLS resumed"] += bool(session.session_reused)
        self.tls = session.version() or ""
        shown = session.getpeercert(binary_form=True)
        self.sink.clients.append(hashlib.sha256(shown).hexdigest() if shown else "")

    async def _mail(self, text: str) -> None:
        path, parameters = _path(text)
        if await self._answer("MAIL", "250 2.1.0 Ok"):
            self._begin(path, parameters, mail=True)

    async def _recipient(self, text: str) -> None:
        if not self.mail:  # it was refused, perhaps by another `behaviour`: what came in one flight is refused, too
            await self._answer("RCPT", "503 5.5.1 MAIL first")
            return
        path, parameters = _path(text)
        domain = path.rpartition("@")[2]
        if self.sink.behaviour.one_domain and any(not other.endswith(f"@{domain}") for other in self.recipients):
            await self._answer("RCPT", "451 4.3.0 Multiple destination domains per transaction is unsupported")
            return
        usual = self.sink.behaviour.recipients.get(path, "")
        if await self._answer("RCPT", usual or "250 2.1.5 Ok") and not usual:
            self.recipients.append(path)
            if parameters:
                self.parameters.append(parameters)

    async def _data(self, _: str) -> None:
        if not self.recipients:
            await self._answer("DATA", "554 5.5.1 No valid recipients")
        elif await self._answer("DATA", "354 Go ahead"):
            await self._finish(_unstuffed(await _read_data(self.reader)))

    async def _bdat(self, text: str) -> None:
        words = text.split()
        self.chunks.append(await self.reader.readexactly(int(words[1])))
        if not self.recipients:
            await self._answer("BDAT", "503 5.5.1 No valid recipients")
        elif len(words) == 3:
            await self._finish(b"".join(self.chunks))
        else:
            await self._answer("BDAT", "250 2.0.0 Ok")

    def _results(self, behaviour: Behaviour) -> list[tuple[list[str], str]]:
        """The replies to the end of a message, and whom each is about: one for all, or one for each over LMTP."""
        usual = behaviour.replies.get(".", "250 2.0.0 Stored")
        if not self.lmtp:
            return [(self.recipients, usual)]
        return [([address], behaviour.results.get(address, usual)) for address in self.recipients]

    async def _finish(self, data: bytes) -> None:
        behaviour = self.sink.behaviour  # one for both: what is recorded, and what is answered
        results = self._results(behaviour)
        stored = Received(
            self.reverse_path,
            tuple(address for recipients, reply in results if reply[0] == "2" for address in recipients),
            tuple(self.parameters),
            len(data),
            data[: behaviour.kept or None] if behaviour.store else b"",
            self.hello,
            self.tls,
            self.number,
            time.monotonic(),
        )
        # Recorded before the 250 leaves: whoever sees the 250 finds the message here.
        if stored.recipients and "." not in behaviour.drops:
            self.sink.messages.append(stored)
            self.sink.counts["message"] += 1
        self._begin("", "")
        for _, reply in results:
            if not self.closing:
                await self._answer(".", reply, behaviour)

    async def _reset(self, _: str) -> None:
        self._begin("", "")
        await self._answer("RSET", "250 2.0.0 Ok")

    async def _noop(self, _: str) -> None:
        await self._answer("NOOP", "250 2.0.0 Ok")

    async def _quit(self, _: str) -> None:
        await self._answer("QUIT", "221 2.0.0 Bye")


def _path(text: str) -> tuple[str, str]:
    """The address in the angle brackets, and the parameters after them."""
    match = re.match(r"[^<]*<([^>]*)>\s*(.*)", text)
    return (match[1], match[2]) if match else ("", text)


async def _read_data(reader: asyncio.StreamReader) -> bytes:
    """Everything up to and with the line that holds only a dot."""
    data = bytearray()
    while len(data) < MAX_MESSAGE:
        try:
            data += await reader.readuntil(b".\r\n")
        except asyncio.LimitOverrunError as longer:
            data += await reader.readexactly(longer.consumed)
            continue
        if data == b".\r\n" or data.endswith(b"\r\n.\r\n"):
            return bytes(data)
    raise EOFError


def _unstuffed(data: bytes) -> bytes:
    return (b"\r\n" + data[:-3]).replace(b"\r\n.", b"\r\n")[2:]


def server_context(
    certificate: Leaf, client_anchors: str | Path = "", *, old: bool = False, weak: bool = False
) -> ssl.SSLContext:
    """The TLS that a sink offers after STARTTLS.

    client_anchors: PEM file of those whose client certificates it asks for. old: TLS 1.1 and no newer version. weak:
    any key, however short.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if old or weak:
        context.set_ciphers("ALL:@SECLEVEL=0")
    if old:
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # that is the point
            context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.load_cert_chain(certificate.chain, certificate.key)
    if client_anchors:
        context.verify_mode = ssl.CERT_OPTIONAL
        context.load_verify_locations(client_anchors)
    return context
