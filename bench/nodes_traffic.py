"""The mail of the benchmark of several nodes: clients that send, and the partner that it arrives at, in one thread.

Both are as cheap as asyncio lets them be, since they share the machine with what is measured; none of their work is
counted. A message says in its subject to which round it belongs and when its MAIL was sent.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
import time
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, Self

from support.scenes import ALICE, blind_context

from gatepost.testing.pki import Leaf
from gatepost.testing.process import free_port

LINE: Final = b"The quick brown fox jumps over the lazy dog while the mail waits in line.\r\n"
PER_CONNECTION: Final = 100
"""Messages of one connection: a large sender's."""

_LIMIT: Final = 1 << 20
_ARRIVAL: Final = 120.0  # seconds until everything that was acknowledged must have arrived


@dataclass(frozen=True, slots=True)
class Flow:
    """How mail is sent. clients: connections to each port. rate: messages a second in all, 0 for as many as go.

    messages: an end by number instead of time. waits: none of it will arrive.
    """

    size: int = 4096
    clients: int = 20
    seconds: float = 5.0
    rate: float = 0.0
    domain: str = "partner.example"
    messages: int = 0
    waits: bool = False


@dataclass
class Round:
    """What was sent and what arrived of one round; times are of time.monotonic."""

    acknowledged: int = 0
    sent: int = 0
    arrived: int = 0
    latencies: list[float] = field(default_factory=list)
    begun: float = 0.0
    ended: float = 0.0


class Traffic:
    """The partner listens from `start` on."""

    def __init__(self, certificate: Leaf, host: str = "127.0.0.1") -> None:
        self.host, self.port = host, free_port()
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate.chain, certificate.key)
        self._rounds: list[Round] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="traffic", daemon=True)

    @property
    def address(self) -> str:
        """ "HOST:PORT", as a smart host is written."""
        return f"{self.host}:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(asyncio.start_server(self._partner, self.host, self.port, limit=_LIMIT, backlog=1024))
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def send(self, ports: Sequence[int], flow: Flow) -> Round:
        """Send for a while, and return when all that was acknowledged has arrived. Raises TimeoutError."""
        round_ = Round(begun=time.monotonic())
        self._rounds.append(round_)
        self._do(self._clients(ports, flow, round_, len(self._rounds) - 1))
        late = time.monotonic() + _ARRIVAL
        while round_.arrived < round_.acknowledged and not flow.waits:
            if time.monotonic() > late:
                raise TimeoutError(f"{round_.arrived} of {round_.acknowledged} messages arrived")
            time.sleep(0.02)
        return round_

    def _do[T](self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    # ------------------------------------------------------------------------------------------- clients

    async def _clients(self, ports: Sequence[int], flow: Flow, round_: Round, number: int) -> None:
        body = LINE * max(1, (flow.size - 200) // len(LINE))
        clients = [self._client(port, flow, round_, (number, body)) for port in ports for _ in range(flow.clients)]
        await asyncio.gather(*clients)

    async def _client(self, port: int, flow: Flow, round_: Round, mail: tuple[int, bytes]) -> None:
        end = round_.begun + (_ARRIVAL if flow.messages else flow.seconds)
        while time.monotonic() < end:
            reader, writer = await self._connected(port)
            for _ in range(PER_CONNECTION):
                if flow.rate:
                    due = round_.begun + round_.sent / flow.rate
                    round_.sent += 1
                    if due > end:
                        break
                    await asyncio.sleep(max(0.0, due - time.monotonic()))
                if time.monotonic() >= end:
                    break
                await self._message(reader, writer, flow.domain, mail)
                round_.acknowledged += 1
                if round_.acknowledged == flow.messages:
                    end = 0.0
            writer.write(b"QUIT\r\n")
            await _replies(reader, b"2")
            writer.close()

    async def _connected(self, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await _replies(reader, b"2")
        for command in (b"EHLO client.example\r\n", b"STARTTLS\r\n"):
            writer.write(command)
            await _replies(reader, b"2")
        await writer.start_tls(blind_context())
        writer.write(b"EHLO client.example\r\n")
        await _replies(reader, b"2")
        return reader, writer

    async def _message(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, domain: str, mail: tuple[int, bytes]
    ) -> None:
        number, body = mail
        begun = time.monotonic()
        writer.write(f"MAIL FROM:<{ALICE}>\r\nRCPT TO:<bob@{domain}>\r\nDATA\r\n".encode())
        await _replies(reader, b"2", b"2", b"3")
        writer.write(f"From: <{ALICE}>\r\nSubject: {number} {begun!r}\r\n\r\n".encode() + body + b".\r\n")
        await _replies(reader, b"2")

    # ------------------------------------------------------------------------------------------- the partner

    async def _partner(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            writer.write(b"220 partner.example\r\n")
            while line := await reader.readline():
                verb = line[:4].upper()
                if verb == b"EHLO":
                    writer.write(b"250-partner.example\r\n250-PIPELINING\r\n250-SIZE 104857600\r\n250 STARTTLS\r\n")
                elif verb == b"STAR":
                    writer.write(b"220 go\r\n")
                    await writer.start_tls(self._context)
                elif verb == b"DATA":
                    writer.write(b"354 go\r\n")
                    self._note(await reader.readuntil(b"\r\n.\r\n"))
                    writer.write(b"250 2.0.0 ok\r\n")
                elif verb == b"QUIT":
                    break
                else:
                    writer.write(b"250 2.0.0 ok\r\n")
        writer.close()

    def _note(self, content: bytes) -> None:
        now = time.monotonic()
        place = content.index(b"\nSubject: ") + 10
        number, begun = content[place : content.index(b"\r\n", place)].split()
        round_ = self._rounds[int(number)]
        round_.arrived += 1
        round_.ended = now
        round_.latencies.append(now - float(begun))


async def _replies(reader: asyncio.StreamReader, *wanted: bytes) -> None:
    """Read a reply for each; raises ConnectionError for another kind of reply."""
    for first in wanted:
        while (line := await reader.readline())[3:4] == b"-":
            pass
        if line[:1] != first:
            raise ConnectionError(f"unexpected reply: {line.decode(errors='replace').strip()}")
