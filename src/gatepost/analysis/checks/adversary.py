"""A hostile next hop on loopback that takes all it can get and records it.

Used by `analysis.checks.drill`, which leads a real delivery to it. It is built of our own parts (`net.listener`,
`net.stream`) and knows nothing of requirements: what it records is the measure by which "nothing left" is a fact. It
never connects to anybody, and never listens but on 127.0.0.1.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, Self

from gatepost.net.listener import Listener, bind
from gatepost.net.stream import Loss, LossKind, Stream, TlsContext

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost.protocols.tls.facts import TlsFacts


_LOOPBACK: Final = "127.0.0.1:0"
_KEPT_OCTETS: Final = 1 << 20  # of one connection; more ends it
_LINES: Final = 200
_LINE: Final = 200
_IDLE_SECONDS: Final = 5.0
_QUIET_SECONDS: Final = 2.0

_EXTENSIONS = (
    "PIPELINING",
    "SIZE 104857600",
    "8BITMIME",
    "ENHANCEDSTATUSCODES",
    "DSN",
    "SMTPUTF8",
    "CHUNKING",
    "AUTH PLAIN LOGIN",
)
# Anywhere in a line: what stands before them may be the remains of a handshake.
_MAIL = re.compile(rb"MAIL FROM:", re.IGNORECASE)
_RCPT = re.compile(rb"RCPT TO:", re.IGNORECASE)
_BDAT = re.compile(rb"BDAT (\d{1,10})( LAST)?", re.IGNORECASE)
_VERBS = frozenset({b"EHLO", b"HELO", b"STARTTLS", b"RSET", b"NOOP", b"VRFY"})
_NO_HANDSHAKE = b"500 this is no handshake\r\n" * 4


class StartTls(StrEnum):
    """The answer of the far end to the client's STARTTLS."""

    GIVEN = "given"
    STRIPPED = "stripped"  # not offered, and 502 to whoever asks all the same
    REFUSED = "refused"  # offered, then answered with 454
    BROKEN = "broken"  # answered with 220, then with what is no handshake
    INJECTED = "injected"  # the 220 carries unencrypted replies behind it, then comes a sound handshake
    INJECTED_PART = "injected-part"  # the same with the beginning of a reply, whose end comes under TLS


_INJECTED = {
    StartTls.INJECTED: b"250-adversary.invalid\r\n250 AUTH PLAIN LOGIN\r\n",
    StartTls.INJECTED_PART: b"250-adversary.invalid\r\n250-AUTH PLAIN",
}


@dataclass(slots=True)
class Channel:
    """The traffic without encryption, or under TLS: octets in all, then commands, then octets of the message itself."""

    octets: int = 0
    auth: int = 0
    mail: int = 0
    rcpt: int = 0
    data: int = 0
    content_octets: int = 0
    marker_found: bool = False

    @property
    def leaked(self) -> bool:
        """Whether a secret came, or anything of a message: a command of its envelope, an octet, or the marker."""
        return bool(self.auth or self.mail or self.rcpt or self.data or self.content_octets or self.marker_found)


@dataclass(slots=True)
class Seen:
    """All that the far end was given between two calls of `Adversary.take`.

    verbs: of the commands, and "handshake" or "handshake failed", in the order they came. versions: of the handshakes
    that were completed. transcript: "> " the gateway, "< " the far end, "= " what happened to TLS; never content.
    content: of the first message, at most a megabyte. client_certificate: whether the gateway showed one.
    """

    connections: int = 0
    clear: Channel = field(default_factory=Channel)
    tls: Channel = field(default_factory=Channel)
    verbs: list[str] = field(default_factory=list)
    versions: list[str] = field(default_factory=list)
    transcript: list[str] = field(default_factory=list)
    content: bytearray = field(default_factory=bytearray)
    client_certificate: bool = False

    @property
    def leaked(self) -> bool:
        """Whether anything of a message came, on whatever channel."""
        return self.clear.leaked or self.tls.leaked

    @property
    def mail(self) -> int:
        """MAIL commands."""
        return self.clear.mail + self.tls.mail

    @property
    def octets(self) -> int:
        """Octets of the message itself."""
        return self.clear.content_octets + self.tls.content_octets

    def note(self, line: str) -> None:
        """One more line of the transcript, as long as there is room."""
        if len(self.transcript) < _LINES:
            self.transcript.append(line[:_LINE])

    def record(self) -> dict[str, Any]:
        """As evidence keeps it: whole numbers, words and lines."""
        return {
            "connections": self.connections,
            "in_clear": asdict(self.clear),
            "under_tls": asdict(self.tls),
            "verbs": list(self.verbs),
            "tls_versions": list(self.versions),
            "client_certificate": self.client_certificate,
            "transcript": list(self.transcript),
        }


class Adversary:
    """One hostile server on a free port of 127.0.0.1, for `async with`. port: where it listens, once it does.

    starttls: what it does to TLS. tls: its context, needed where a handshake shall be had. marker: a word that stands
    in the envelope and the content of the message, looked for in every octet that comes. implicit: the gateway begins
    with TLS; then whatever is not given is a server that answers in clear.
    """

    def __init__(self, starttls: StartTls, tls: TlsContext | None, *, marker: bytes, implicit: bool = False) -> None:
        self.implicit = implicit
        self.starttls = starttls
        self.tls = tls
        self.marker = marker
        self.port = 0
        self._seen = Seen()
        self._sessions: set[_Session] = set()
        self._listener: Listener | None = None
        self._idle = asyncio.Event()
        self._idle.set()

    async def __aenter__(self) -> Self:
        self._listener, self.port = await _listen(self._accept)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._listener is not None:
            self._listener.stop()
        self._cut()
        await asyncio.sleep(0)

    async def take(self) -> Seen:
        """Return the observations since the last call, once all connections end; after two seconds they are cut."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_QUIET_SECONDS):
                await self._idle.wait()
        self._cut()
        seen, self._seen = self._seen, Seen()
        return seen

    def _cut(self) -> None:
        for session in list(self._sessions):
            session.stream.abort(Loss(LossKind.CLOSED, "the drill is over"))

    def _accept(self, stream: Stream) -> None:
        self._seen.connections += 1
        self._idle.clear()
        self._sessions.add(_Session(self, stream, self._seen))

    def ended(self, session: _Session) -> None:
        """A connection is gone."""
        self._sessions.discard(session)
        if not self._sessions:
            self._idle.set()


class _Session:
    """One connection: a `net.stream.Receiver`. Every command is answered so that a willing client would go on."""

    def __init__(self, adversary: Adversary, stream: Stream, seen: Seen) -> None:
        self.stream = stream
        self._adversary = adversary
        self._seen = seen
        self._channel = seen.clear
        self._heard = {id(seen.clear): bytearray(), id(seen.tls): bytearray()}
        self._buffer = b""
        self._in_data = False
        self._chunk = 0  # octets of BDAT that are still to come
        self._last = False
        stream.attach(self)
        stream.timeout(_IDLE_SECONDS)
        self._greeted = False
        if adversary.implicit:
            seen.verbs.append("STARTTLS")  # what stands for it: the gateway begins with TLS
        if adversary.implicit and adversary.starttls is StartTls.GIVEN and adversary.tls is not None:
            stream.start_tls(adversary.tls)
        else:
            self._greet()

    # Receiver

    def received(self, data: bytes) -> None:
        """Count everything, then look what it is."""
        self._channel.octets += len(data)
        heard = self._heard[id(self._channel)]
        heard += data
        self._channel.marker_found = self._channel.marker_found or self._adversary.marker in heard
        if len(heard) > _KEPT_OCTETS:
            self.stream.abort(Loss(LossKind.CLOSED, "more than a megabyte came"))
            return
        self._buffer += data
        while self._step():
            pass

    def secured(self, facts: TlsFacts) -> None:
        """The client has agreed to TLS with us."""
        self._channel, self._buffer = self._seen.tls, b""
        self._seen.verbs.append("handshake")
        self._seen.versions.append(facts.version)
        self._seen.client_certificate = self._seen.client_certificate or bool(facts.peer_chain)
        self._seen.note(f"= TLS: {facts.version} {facts.suite}")
        self._greet()

    def lost(self, loss: Loss) -> None:
        """Gone; what was begun and not finished counts all the same."""
        if loss.kind is LossKind.HANDSHAKE:
            self._seen.verbs.append("handshake failed")
            self._seen.note(f"= the handshake failed: {loss.detail}")
        if self._in_data:
            self._take(self._buffer)
        self._seen.note(f"= the connection ended: {loss.kind}")
        self._adversary.ended(self)

    def _greet(self) -> None:
        if not self._greeted:
            self._greeted = True
            self._say("220 adversary.invalid ESMTP")

    # what came

    def _step(self) -> bool:
        """One command, or one piece of content. False when more must come first."""
        if self._chunk or self._last:
            return self._take_chunk()
        if self._in_data:
            return self._take_data()
        line, end, rest = self._buffer.partition(b"\r\n")
        if not end:
            return False
        self._buffer = rest
        self._command(line)
        return True

    def _command(self, line: bytes) -> None:
        shown = line.decode("ascii", "backslashreplace")
        verb = line.split(b" ", 1)[0].upper()
        self._seen.note(f"> {shown}")
        if _MAIL.search(line):
            self._channel.mail += 1
            self._answer("MAIL", "250 2.1.0 go on")
        elif _RCPT.search(line):
            self._channel.rcpt += 1
            self._answer("RCPT", "250 2.1.5 go on")
        elif verb == b"AUTH":
            self._channel.auth += 1
            self._answer("AUTH", "235 2.7.0 welcome")
        elif verb == b"DATA":
            self._channel.data += 1
            self._in_data = True
            self._answer("DATA", "354 give it to me")
        elif match := _BDAT.fullmatch(line):
            self._channel.data += 1
            self._seen.verbs.append("BDAT")
            self._chunk, self._last = int(match[1]), match[2] is not None
        elif verb == b"QUIT":
            self._answer("QUIT", "221 2.0.0 bye")
            self.stream.close()
        elif verb == b"STARTTLS":
            self._start_tls()
        else:
            known = verb if verb in _VERBS else b"?"
            self._answer(known.decode("ascii"), *self._greeting(verb))

    def _greeting(self, verb: bytes) -> list[str]:
        if verb != b"EHLO":
            return ["250 2.0.0 go on"]
        offered = self._adversary.starttls is not StartTls.STRIPPED and self._channel is self._seen.clear
        names = ["adversary.invalid", *_EXTENSIONS, *(["STARTTLS"] if offered else [])]
        return [*(f"250-{name}" for name in names[:-1]), f"250 {names[-1]}"]

    def _start_tls(self) -> None:
        self._seen.verbs.append("STARTTLS")
        tls = self._adversary.tls
        match self._adversary.starttls:
            case StartTls.STRIPPED:
                self._say("502 5.5.1 no such command")
            case StartTls.REFUSED:
                self._say("454 4.7.0 TLS not available due to temporary reason")
            case StartTls.BROKEN:
                self._say("220 2.0.0 go ahead")
                self._seen.verbs.append("handshake broken")
                self._seen.note("= the far end sends what is no handshake")
                self.stream.write(_NO_HANDSHAKE)
            case (StartTls.INJECTED | StartTls.INJECTED_PART) as how if tls is not None:
                self._say("220 2.0.0 go ahead")
                self._seen.note(f"< (injected unencrypted) {_INJECTED[how].decode('ascii').replace('\r\n', ' / ')}")
                self.stream.write(_INJECTED[how])
                self.stream.start_tls(tls)
            case StartTls.GIVEN if tls is not None:
                self._say("220 2.0.0 go ahead")
                self.stream.start_tls(tls)
            case _:
                self._say("454 4.7.0 TLS not available")

    def _take_chunk(self) -> bool:
        piece, self._buffer = self._buffer[: self._chunk], self._buffer[self._chunk :]
        self._take(piece)
        self._chunk -= len(piece)
        if self._chunk:
            return False
        self._seen.note(f"> ({self._channel.content_octets} octets of content so far)")
        self._say("250 2.0.0 it is mine" if self._last else "250 2.0.0 more")
        self._last = False
        return True

    def _take_data(self) -> bool:
        content, end, rest = (b"\r\n" + self._buffer).partition(b"\r\n.\r\n")
        if not end:
            return False
        self._buffer, self._in_data = rest, False
        self._take(content[2:] + b"\r\n" if content else b"")
        self._seen.note(f"> ({self._channel.content_octets} octets of content so far)")
        self._say("250 2.0.0 it is mine")
        return True

    def _take(self, piece: bytes) -> None:
        self._channel.content_octets += len(piece)
        self._seen.content += piece

    # what is said

    def _answer(self, verb: str, *lines: str) -> None:
        self._seen.verbs.append(verb)
        self._say(*lines)

    def _say(self, *lines: str) -> None:
        for line in lines:
            self._seen.note(f"< {line}")
        self.stream.write("".join(f"{line}\r\n" for line in lines).encode("ascii"))


class Publisher:
    """Serves certificate revocation lists over HTTP on a free port of 127.0.0.1, for `async with`.

    files: path -> content; a test of the drill, or an attacker who blocks them, changes them while it runs. asked: the
    paths that were asked for, at most a hundred.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.requested: list[str] = []
        self.port = 0
        self._listener: Listener | None = None
        self._open: set[_Request] = set()

    def url(self, path: str) -> str:
        """The URL that serves `path` ("/root.crl")."""
        return f"http://127.0.0.1:{self.port}{path}"

    async def __aenter__(self) -> Self:
        self._listener, self.port = await _listen(lambda stream: self._open.add(_Request(self, stream)))
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._listener is not None:
            self._listener.stop()
        for request in list(self._open):
            request.stream.abort(Loss(LossKind.CLOSED, "the drill is over"))
        await asyncio.sleep(0)

    def answer(self, path: str) -> bytes:
        """The whole response to a GET of `path`."""
        if len(self.requested) < _LINES:
            self.requested.append(path)
        content = self.files.get(path)
        if content is None:
            return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/pkix-crl\r\nContent-Length: {len(content)}\r\n"
        return head.encode("ascii") + b"Connection: close\r\n\r\n" + content

    def ended(self, request: _Request) -> None:
        """A connection is gone."""
        self._open.discard(request)


class _Request:
    """One connection to a Publisher: one GET, one answer."""

    def __init__(self, publisher: Publisher, stream: Stream) -> None:
        self.stream = stream
        self._publisher = publisher
        self._head = b""
        stream.attach(self)
        stream.timeout(_IDLE_SECONDS)

    def received(self, data: bytes) -> None:
        """Answer once the head is whole."""
        self._head += data
        if len(self._head) > 1 << 16:
            self.stream.abort(Loss(LossKind.CLOSED, "too long"))
        elif b"\r\n\r\n" in self._head:
            words = self._head.split(b"\r\n", 1)[0].decode("ascii", "replace").split(" ")
            self.stream.write(self._publisher.answer(words[1] if len(words) > 1 else ""))
            self.stream.close()

    def secured(self, facts: TlsFacts) -> None:
        """Never: there is no TLS here."""

    def lost(self, loss: Loss) -> None:
        """Gone."""
        del loss
        self._publisher.ended(self)


async def _listen(accept: Callable[[Stream], object]) -> tuple[Listener, int]:
    """Listen on a free port of loopback."""
    sockets = bind(_LOOPBACK)

    def accepted(stream: Stream) -> None:
        accept(stream)

    def refused(stream: Stream, reason: str) -> None:
        stream.abort(Loss(LossKind.CLOSED, reason))

    listener = Listener(sockets, accepted, refuse=refused, total=100, per_source=100)
    try:
        await listener.start()
    except BaseException:
        listener.stop()
        raise
    return listener, int(sockets[0].getsockname()[1])
