"""A way over which a node reaches its database, which a test can make slow, cut or swallow everything.

An asyncio server on a thread of its own. A partition is not a closed connection: nothing comes back, not even a reset.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

from gatepost.testing.process import free_port


@dataclass(frozen=True, slots=True)
class Way:
    """delay: seconds for each piece in each direction. swallowed: what comes is taken, and nothing is passed on."""

    delay: float = 0.0
    swallowed: bool = False


class Detour:
    """Leads from a port of its own to HOST:PORT. `way` may be replaced at any time, for open connections too.

    silent_at: octets with which everything is swallowed from then on, they too. asked: pieces that came for the server,
    each of which has an answer to wait for.
    """

    def __init__(self, host: str, port: int, *, silent_at: bytes = b"") -> None:
        self._target = (host, port)
        self._silent_at = silent_at
        self.port = free_port()
        self.way = Way()
        self.asked = 0
        self._loop = asyncio.new_event_loop()
        self._writers: set[asyncio.StreamWriter] = set()
        self._servers: set[asyncio.StreamWriter] = set()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="detour", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._ready.wait(10):
            raise OSError(f"the detour cannot listen on {self.port}")
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._ending.set)
        self._thread.join(10)

    def cut(self) -> None:
        """Reset every connection there is; new ones go through unless `way` says otherwise."""
        self._loop.call_soon_threadsafe(self._reset)

    def _reset(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._ending = asyncio.Event()
        server = await asyncio.start_server(self._lead, "127.0.0.1", self.port)
        self._ready.set()
        await self._ending.wait()
        server.close()
        self._reset()
        await asyncio.sleep(0.05)

    async def _lead(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            there, thence = await asyncio.open_connection(*self._target)
            self._writers.add(thence)
            self._servers.add(thence)
            try:
                await asyncio.gather(self._pass(reader, thence), self._pass(there, writer))
            finally:
                thence.transport.abort()
                self._writers.discard(thence)
                self._servers.discard(thence)
        except OSError:
            pass
        finally:
            writer.transport.abort()
            self._writers.discard(writer)

    async def _pass(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while piece := await source.read(1 << 16):
                self.asked += target in self._servers
                if self._silent_at and self._silent_at in piece:
                    self.way = Way(swallowed=True)
                if self.way.delay:
                    await asyncio.sleep(self.way.delay)
                while self.way.swallowed:  # noqa: ASYNC110 - the test's thread changes it
                    await asyncio.sleep(0.05)
                target.write(piece)
                await target.drain()
        target.transport.abort()


class Detours:
    """Those of one node, one to each server that it may use, changed together."""

    def __init__(self, *detours: Detour) -> None:
        self.each = detours

    @property
    def ports(self) -> list[int]:
        """In the order of the servers."""
        return [detour.port for detour in self.each]

    def __enter__(self) -> Self:
        for detour in self.each:
            detour.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        for detour in self.each:
            detour.__exit__()

    def lead(self, way: Way) -> None:
        """Make all ways so."""
        for detour in self.each:
            detour.way = way

    def cut(self) -> None:
        """See `Detour.cut`."""
        for detour in self.each:
            detour.cut()
