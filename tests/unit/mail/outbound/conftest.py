"""A mail server on loopback that does as the test says, and everything a deliverer needs around it."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Self

import dns.rdata
import pytest

from gatepost.mail.model.message import Delivery, Message, Recipient
from gatepost.mail.outbound.connection import SmtpTimeouts
from gatepost.mail.outbound.contexts import ClientContexts
from gatepost.mail.outbound.deliverer import Deliverer
from gatepost.mail.outbound.delivery_services import DeliveryServices
from gatepost.mail.outbound.hop import HopOpener
from gatepost.mail.outbound.mailbox import Maildirs
from gatepost.mail.outbound.pool import ConnectionPool
from gatepost.net.connection import Connection
from gatepost.net.engine import server_context
from gatepost.net.identity import ServerIdentity
from gatepost.net.lookups.dns import DnsAnswer, DnsStatus, asking_for
from gatepost.net.lookups.mx import MailRouter
from gatepost.net.lookups.question import LookupFailed
from gatepost.net.stream import Loss, LossKind, Stream, TlsContext
from gatepost.pki.certificates.authority import Authority
from gatepost.policy.connectors.directory import Directory
from gatepost.policy.connectors.model import parse
from gatepost.protocols.tls.facts import TlsFacts
from gatepost.protocols.tls.profile import PROFILES

# For peers that keep silent. With others a busy machine has the usual time.
FAST = SmtpTimeouts(
    connect=1, greeting=0.8, hello=0.8, handshake=0.8, envelope=0.8, recipient=0.01, data=0.8, block=3.0, end=3.0
)


def times(says: dict[str, Any]) -> SmtpTimeouts:
    """What to wait for a peer that says this."""
    return FAST if "!silent" in says.values() else SmtpTimeouts()


EXTENSIONS = ("PIPELINING", "SIZE 100000000", "8BITMIME", "ENHANCEDSTATUSCODES", "DSN", "SMTPUTF8", "CHUNKING")


@dataclass
class Received:
    """One message as the double took it."""

    mail: str
    recipients: list[str]
    content: bytes
    tls: TlsFacts | None


def _both(host: str) -> tuple[socket.socket, socket.socket]:
    """Sockets of one port, of this address and of the other one that hosts of a domain have here.

    Else another process might have the port there by the time that a second host is to listen on it.
    """
    other = "127.0.0.1" if host == "127.0.0.2" else "127.0.0.2"
    while True:
        own, beside = socket.socket(), socket.socket()
        for one in (own, beside):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        own.bind((host, 0))
        try:
            beside.bind((other, own.getsockname()[1]))
        except OSError:
            own.close()
            beside.close()
        else:
            return own, beside


@dataclass
class Peer:
    """`says`: verb → reply lines joined by "\\n", or a list of them used in turn (the last one repeats); an answer may
    be "!close", "!silent" or "!break" (an answer, then junk instead of a handshake). Verbs: GREETING, EHLO, STARTTLS,
    MAIL, RCPT, DATA, BDAT, END (of data), RSET, QUIT; "RCPT bob@b.example" goes before "RCPT".
    """

    says: dict[str, str | list[str]] = field(default_factory=dict)
    extensions: tuple[str, ...] = EXTENSIONS
    tls: TlsContext | None = None
    lmtp: bool = False
    host: str = "127.0.0.1"
    port: int = 0
    path: str = ""
    commands: list[str] = field(default_factory=list)
    messages: list[Received] = field(default_factory=list)
    connections: list[PeerSession] = field(default_factory=list)
    _beside: socket.socket | None = None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        make = lambda: Connection(loop, answering=True, opened=self._opened)  # noqa: E731 - a factory
        if self.path:
            self._server = await loop.create_unix_server(make, self.path)
            return self
        if self.port:
            self._server = await loop.create_server(make, self.host, self.port)
            return self
        own, self._beside = _both(self.host)
        self.port = own.getsockname()[1]
        self._server = await loop.create_server(make, sock=own)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        if self._beside is not None:
            self._beside.close()
        for session in self.connections:
            session.stream.abort(Loss(LossKind.CLOSED))
        await asyncio.sleep(0.01)

    def _opened(self, stream: Stream) -> None:
        self.connections.append(PeerSession(self, stream))

    async def sees(self, happened: Callable[[], object]) -> None:
        """Wait for something here: what the other side does takes its time."""
        while not happened():  # noqa: ASYNC110 - it is a recording, it signals nothing
            await asyncio.sleep(0.001)

    def said(self, verb: str) -> int:
        """How often a command came."""
        return sum(command.upper().startswith(verb) for command in self.commands)

    def answer(self, *keys: str) -> str | None:
        for key in keys:
            answer = self.says.get(key)
            if isinstance(answer, list):
                return answer.pop(0) if len(answer) > 1 else answer[0]
            if answer is not None:
                return answer
        return None


class PeerSession:
    """One connection to the double."""

    def __init__(self, peer: Peer, stream: Stream) -> None:
        self.peer = peer
        self.stream = stream
        self.facts: TlsFacts | None = None
        self.lost_by: Loss | None = None
        self._buffer = b""
        self._mail = ""
        self._recipients: list[str] = []
        self._content = b""
        self._in_data = False
        self._mute = False
        self._chunk: tuple[int, bool] | None = None
        stream.attach(self)
        self._say("220 peer ESMTP", "GREETING")

    def lost(self, loss: Loss) -> None:
        self.lost_by = loss

    def secured(self, facts: TlsFacts) -> None:
        self.facts = facts

    def received(self, data: bytes) -> None:
        self._buffer += data
        while self._step():
            pass

    def _step(self) -> bool:
        if self._in_data:
            return self._take_data()
        if self._chunk is not None:
            return self._take_chunk()
        line, end, rest = self._buffer.partition(b"\r\n")
        if not end:
            return False
        self._buffer = rest
        self._command(line.decode(errors="replace"))
        return True

    def _take_data(self) -> bool:
        content, end, rest = (b"\r\n" + self._buffer).partition(b"\r\n.\r\n")
        if not end:
            return False
        self._in_data, self._buffer = False, rest
        self._end(content.replace(b"\r\n..", b"\r\n.")[2:] + b"\r\n" if content else b"")
        return True

    def _take_chunk(self) -> bool:
        size, last = self._chunk or (0, False)
        if len(self._buffer) < size:
            return False
        self._content += self._buffer[:size]
        self._buffer, self._chunk = self._buffer[size:], None
        if last:
            content, self._content = self._content, b""
            self._end(content)
        else:
            self._say("250 2.0.0 chunk", "BDAT")
        return True

    def _end(self, content: bytes) -> None:
        if self._recipients:
            self.peer.messages.append(Received(self._mail, self._recipients, content, self.facts))
        recipients, self._recipients = self._recipients, []
        if self.peer.lmtp:
            for recipient in recipients:
                self._say("250 2.0.0 taken", f"END {recipient}", "END")
        else:
            self._say("250 2.0.0 taken" if recipients else "554 5.5.1 no recipients", "END")

    def _command(self, line: str) -> None:
        self.peer.commands.append(line)
        verb, _, rest = line.partition(" ")
        match verb.upper():
            case "EHLO" | "LHLO":
                names = [name for name in self.peer.extensions if name]
                names += ["STARTTLS"] if self.peer.tls and not self.facts else []
                lines = ["peer", *names]
                middle = "".join(f"250-{name}\n" for name in lines[:-1])
                self._say(f"{middle}250 {lines[-1]}", "EHLO")
            case "STARTTLS":
                self._starttls()
            case "MAIL":
                self._mail, self._recipients = rest, []
                self._say("250 2.1.0 sender ok", "MAIL")
            case "RCPT":
                address = rest.partition("<")[2].partition(">")[0]
                if self._say("250 2.1.5 recipient ok", f"RCPT {address}", "RCPT"):
                    self._recipients.append(address)
            case "DATA":
                self._in_data = self._say("354 go on" if self._recipients else "554 5.5.1 no recipients", "DATA")
            case "BDAT":
                size, _, last = rest.partition(" ")
                self._chunk = int(size), last == "LAST"
            case "QUIT":
                self._say("221 2.0.0 bye", "QUIT")
                self.stream.close()
            case _:
                self._say("250 2.0.0 ok", verb.upper())

    def _starttls(self) -> None:
        answer = self.peer.answer("STARTTLS")
        if answer == "!break":
            self.stream.write(b"220 2.0.0 go\r\n")
            asyncio.get_running_loop().call_later(0.02, self.stream.write, b"this is no handshake\r\n" * 20)
        elif answer is not None:
            self._write(answer)
            # Then comes a ClientHello: its random bytes may hold a line end, what stands before it is not a command.
            self._mute = answer.startswith("220")
        elif self.peer.tls is not None:
            self.stream.write(b"220 2.0.0 go\r\n")
            self.stream.start_tls(self.peer.tls)

    def _say(self, usual: str, *keys: str) -> bool:
        """Whether the answer was positive."""
        answer = self.peer.answer(*keys)
        self._write(usual if answer is None else answer)
        return (usual if answer is None else answer)[0] in "23"

    def _write(self, answer: str) -> None:
        if answer == "!close":
            self.stream.close()
        elif answer == "!silent":
            self._mute = True
        elif not self._mute:
            self.stream.write(answer.replace("\n", "\r\n").encode() + b"\r\n")
            if answer.startswith("421"):
                self.stream.close()


class Names:
    """A resolver that answers from a table; [""] is NXDOMAIN. asked_for: the organizations whose mail it was for."""

    def __init__(self) -> None:
        self.asked_for: set[str] = set()
        self.table: dict[tuple[str, str], list[str] | LookupFailed] = {}
        self.authentic = False

    async def query(self, name: str, rdtype: str) -> DnsAnswer:
        self.asked_for.add(asking_for.get())
        found = self.table.get((name, rdtype), [])
        if isinstance(found, LookupFailed):
            raise found
        if found == [""]:
            return DnsAnswer(DnsStatus.NXDOMAIN, (), self.authentic, 60, (name,))
        records = tuple(dns.rdata.from_text("IN", rdtype, text) for text in found)
        return DnsAnswer(DnsStatus.OK if records else DnsStatus.NO_DATA, records, self.authentic, 300, (name,))


class Bodies:
    """The part of a store that delivery uses."""

    def __init__(self) -> None:
        self.bodies: dict[int, bytes | Exception] = {}

    async def read(self, message_id: int) -> AsyncIterator[bytes]:
        body = self.bodies[message_id]
        if isinstance(body, Exception):
            raise body
        for start in range(0, len(body), 262144):
            yield body[start : start + 262144]


@dataclass
class World:
    """A deliverer with its surroundings; the loop must run when it is made (`world.build()`)."""

    root: Path
    authority: Authority
    names: Names = field(default_factory=Names)
    bodies: Bodies = field(default_factory=Bodies)
    resources: dict[str, Any] = field(default_factory=dict)
    timeouts: SmtpTimeouts = field(default_factory=SmtpTimeouts)
    idle: float = 30.0
    settings: dict[str, Any] = field(default_factory=dict)
    own: dict[str, Any] = field(default_factory=dict)  # further arguments of the contexts
    maildirs: list[Maildirs] = field(default_factory=list)  # of each that was built

    def build(self, mx_port: int = 25) -> Deliverer:
        anchors = self.root / "anchors.pem"
        anchors.write_bytes(self.authority.certificate_pem)
        self.contexts = ClientContexts(str(anchors), time.time, **self.own)
        self.pool = ConnectionPool(idle=self.idle)
        self.maildirs.append(Maildirs(self.root / "mail", "gate.example", time.time))
        services = DeliveryServices(
            self.bodies,  # type: ignore[arg-type] # the part that is used
            MailRouter(self.names, Random(1), own_names=("gate.example",)),  # noqa: S311 - an order, no secret
            self.maildirs[-1],
            self.contexts,
            HopOpener("gate.example", self.contexts, self.timeouts),
            self.pool,
            mx_port=mx_port,
            **self.settings,
        )
        return Deliverer(self.directory(), services)

    def directory(self) -> Directory:
        return Directory(parse({"organization": {"contoso": self.resources}}))

    def connector(self, port: int, *hosts: str, **fields: Any) -> None:
        """An outbound connector for b.example."""
        smart_hosts = [f"{host}:{port}" for host in hosts or ("mx.b.example",)]
        base = {"name": "out", "recipient_domains": ["b.example"], "smart_hosts": smart_hosts}
        self.resources["outbound_connector"] = [base | fields]

    def host(self, name: str, *addresses: str) -> None:
        self.names.table[name, "A"] = list(addresses)

    def mx(self, *records: str) -> None:
        self.names.table["b.example", "MX"] = list(records)

    def identity(self, *names: str, **options: Any) -> TlsContext:
        chain, key = self.authority.issue(list(names), **options)
        return server_context([ServerIdentity(chain, key)], PROFILES["default"], ask_client_certificate=True)


BODY = b"Received: x\r\nSubject: hello\r\n\r\n.a dot\r\nlast\r\n"


def delivery(*recipients: str, body: bytes | None = BODY, **fields: Any) -> Delivery:
    """A delivery of message 7."""
    attempts = fields.pop("attempts", 0)
    message = Message(7, "contoso", 1.0, fields.pop("reverse_path", "ann@contoso.example"), **fields)
    message.size = message.size or len(body or b"")
    addresses = recipients or ("bob@b.example",)
    return Delivery(
        8, message, "contoso/b.example", [Recipient(address) for address in addresses], attempts=attempts, body=body
    )


@pytest.fixture(scope="session")
def authority() -> Authority:
    return Authority("Partner Root")


@pytest.fixture
def world(tmp_path: Path, authority: Authority) -> Iterator[World]:
    made = World(tmp_path, authority)
    made.host("mx.b.example", "127.0.0.1")
    made.mx("10 mx.b.example.")
    yield made
    for maildirs in made.maildirs:
        maildirs.close()


@pytest.fixture
def kit() -> Any:
    """The helpers above, for test files (which cannot import a conftest)."""
    return Kit


class Kit:
    Peer = Peer
    Names = Names
    BODY = BODY
    EXTENSIONS = EXTENSIONS
    FAST = FAST
    times = staticmethod(times)
    delivery = staticmethod(delivery)
