"""Relays that fail at random: several SMTP servers in one thread, which count who is connected at a time.

As `gatepost.testing.sink`, they share no code with gatepost. What a relay acknowledged is in `taken`; what it cut off
or refused is not, so that whatever arrives twice was sent twice.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

from gatepost.testing.process import free_port

_EXTENSIONS = ("PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES", "SIZE 10000000")
_LATER = {"MAIL": "452 4.3.1 No room", "RCPT": "450 4.2.1 Busy", "DATA": "451 4.3.0 Not now", ".": "451 4.3.2 Later"}


@dataclass
class Relay:
    """One server.

    places: connections that it takes at a time, others get 421. faults: how often, of a hundred, it fails a message,
    with 4xx, 421 or a reset at a random point. seconds: that each message takes.

    taken: recipients it acknowledged. most: connections at a time, with those that were turned away, and without those
    whose client has said QUIT, be it read or not. tries: messages begun; failed: of these.
    """

    host: str = "127.0.0.1"
    places: int = 1000
    faults: int = 0
    seconds: float = 0.0
    port: int = field(default_factory=free_port)
    taken: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    most: int = 0
    connections: int = 0
    turned_away: int = 0
    tries: int = 0
    failed: int = 0
    open: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = field(default_factory=list)

    @property
    def address(self) -> str:
        """ "HOST:PORT", as a smart host is written."""
        return f"{self.host}:{self.port}"

    def connected(self) -> int:
        """How many clients are connected now."""
        return sum(not _has_left(*one) for one in self.open)


def _has_left(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Whether the client has ended a connection. A busy thread may not have read that yet."""
    if reader.at_eof() or writer.is_closing():
        return True
    unread = bytes(reader._buffer)  # type: ignore[attr-defined]
    with socket.socket(fileno=os.dup(writer.get_extra_info("socket").fileno())) as same:
        try:
            arrived = same.recv(65536, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return unread.endswith(b"QUIT\r\n")
        except OSError:
            return True
    return not arrived or (unread + arrived).endswith(b"QUIT\r\n")


class _Cut(Exception):  # noqa: N818 - not an error: the relay resets the connection
    """The connection ends here."""


class Relays:
    """Servers that run while it is entered. most: connections to all of them at a time."""

    def __init__(self, *relays: Relay, seed: int = 1) -> None:
        self.relays = relays
        self.most = 0
        self._random = random.Random(seed)  # noqa: S311 - faults, no secrets
        self._ready = threading.Event()
        self._thread = threading.Thread(target=asyncio.run, args=(self._serve(),), name="relays")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ending: asyncio.Event | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._ready.wait(10):
            raise OSError("the relays cannot listen")
        return self

    def __exit__(self, *_: object) -> None:
        if self._loop and self._ending:
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._ending.set)
        self._thread.join(10)

    @property
    def taken(self) -> Counter[str]:
        """Recipients and how often a relay acknowledged a message to them."""
        return sum((relay.taken.copy() for relay in self.relays), Counter())  # which take more meanwhile

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ending = asyncio.Event()
        servers = [
            await asyncio.start_server(
                lambda reader, writer, one=relay: self._client(one, reader, writer),
                relay.host,
                relay.port,
                backlog=1024,
            )
            for relay in self.relays
        ]
        self._ready.set()
        await self._ending.wait()
        for server in servers:
            server.close()
            server.close_clients()

    async def _client(self, relay: Relay, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        relay.connections += 1
        relay.open.append((reader, writer))
        now = relay.connected()
        relay.most = max(relay.most, now)
        self.most = max(self.most, sum(one.connected() for one in self.relays))
        try:
            if now > relay.places:
                relay.turned_away += 1
                writer.write(b"421 4.7.0 Too many connections\r\n")
                await writer.drain()
            else:
                await _Session(relay, self._random, reader, writer).run()
        except _Cut:
            writer.transport.abort()
        except (OSError, EOFError):
            pass
        finally:
            relay.open.remove((reader, writer))
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


class _Session:
    def __init__(
        self, relay: Relay, dice: random.Random, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._relay = relay
        self._dice = dice
        self._reader = reader
        self._writer = writer
        self._recipients: list[str] = []
        self._fault = ("", "")

    async def run(self) -> None:
        self._say("220 relay ESMTP")
        while True:
            line = (await self._reader.readuntil(b"\r\n")).decode().strip()
            verb = line.partition(" ")[0].upper()
            self._relay.counts[verb] += 1
            if verb == "QUIT":
                self._say("221 2.0.0 Bye")
                return
            if not await self._command(verb, line):
                return

    async def _command(self, verb: str, line: str) -> bool:
        if verb == "MAIL":
            self._begin()
        if verb in _LATER and not self._fails(verb):
            return self._writer.transport.is_closing() is False and self._fault[1] != "421"
        match verb:
            case "EHLO":
                self._writer.write(b"".join(b"250-%s\r\n" % one.encode() for one in ("relay", *_EXTENSIONS)))
                self._say("250 HELP")
            case "RCPT":
                self._recipients.append(line.partition("<")[2].partition(">")[0])
                self._say("250 2.1.5 Ok")
            case "DATA":
                return await self._data()
            case _:
                self._say("250 2.0.0 Ok")
        return True

    def _begin(self) -> None:
        self._recipients = []
        self._relay.tries += 1
        self._fault = ("", "")
        if self._dice.randrange(100) < self._relay.faults:
            self._fault = (self._dice.choice([*_LATER]), self._dice.choice(["4xx", "421", "reset"]))
            self._relay.failed += 1

    def _fails(self, point: str) -> bool:
        """Answer as the fault says, if this is its point; whether the command goes on."""
        if self._fault[0] != point:
            return True
        match self._fault[1]:
            case "reset":
                raise _Cut
            case "421":
                self._say("421 4.3.2 Closing")
            case _:
                self._say(_LATER[point])
        return False

    async def _data(self) -> bool:
        if not self._recipients:
            self._say("554 5.5.1 No valid recipients")
            return True
        self._say("354 Go ahead")
        await self._writer.drain()
        await self._reader.readuntil(b"\r\n.\r\n")
        await asyncio.sleep(self._relay.seconds)
        if not self._fails("."):
            return self._fault[1] != "421"
        self._relay.taken.update(self._recipients)
        self._say("250 2.0.0 Taken")
        return True

    def _say(self, reply: str) -> None:
        self._writer.write(reply.encode() + b"\r\n")
