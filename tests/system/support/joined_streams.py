"""Two streams joined in memory: the same connection and TLS code as over sockets, without a kernel between.

Bytes move in later turns of the loop; flow control, half-close and time-outs work
as they do over TCP.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from gatepost.net.connection import Connection
from gatepost.net.read_buffer import READ_BYTES
from gatepost.net.stream import Endpoint, Stream


def pair(
    *,
    client: Endpoint = Endpoint("192.0.2.1", 49152),  # noqa: B008 - a frozen value
    server: Endpoint = Endpoint("192.0.2.25", 25),  # noqa: B008 - a frozen value
    chunk: int = READ_BYTES,
) -> tuple[Stream, Stream]:
    """(the client's stream, the server's stream), up and joined. Needs a running loop.

    client, server: what the two sides see as their own and the other's endpoint. chunk: the most bytes that one read of
    the other side gets, 1 to `READ_BYTES`; 1 shows that a protocol bears any cutting of its input.
    """
    loop = asyncio.get_running_loop()
    near, far = Connection(loop), Connection(loop, answering=True)
    transport = MemoryTransport(loop, near, chunk, {"sockname": _address(client), "peername": _address(server)})
    other = MemoryTransport(loop, far, chunk, {"sockname": _address(server), "peername": _address(client)})
    transport.other, other.other = other, transport
    near.connection_made(transport)
    far.connection_made(other)
    return near, far


def _address(endpoint: Endpoint) -> tuple[str, int]:
    return endpoint.host, endpoint.port


class MemoryTransport(asyncio.Transport):
    """The part of a socket transport that `Connection` uses. What was written waits here until the other side reads."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, protocol: asyncio.BufferedProtocol, chunk: int, extra: dict[str, Any]
    ) -> None:
        super().__init__(extra)
        self.other: MemoryTransport | None = None
        self._loop = loop
        self._protocol = protocol
        self._chunk = chunk
        self._waiting = bytearray()
        self._high, self._low = 65536, 16384
        self._over = self._reading = True
        self._over = False  # the high-water mark is passed
        self._finished = False  # write_eof or close: nothing is written after what waits
        self._closing = False
        self._gone = False
        self._moving = False

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Queue for the other side."""
        if self._finished or self._gone:
            return
        self._waiting += data
        if len(self._waiting) > self._high and not self._over:
            self._over = True
            self._protocol.pause_writing()
        self._move_soon()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview[Any]]) -> None:
        """Queue several."""
        self.write(b"".join(list_of_data))

    def write_eof(self) -> None:
        """End our direction once what waits has been read."""
        self._finished = True
        self._move_soon()

    def can_write_eof(self) -> bool:
        """Always."""
        return True

    def close(self) -> None:
        """Let the other side read what waits, then be gone."""
        if self._closing:
            return
        self._closing = self._finished = True
        self._reading = False
        self._move_soon()

    def abort(self) -> None:
        """Be gone without that."""
        self._waiting.clear()
        self._closing = self._finished = True
        self._move_soon()

    def is_closing(self) -> bool:
        """Whether close or abort was called."""
        return self._closing

    def pause_reading(self) -> None:
        """Take no more from the other side."""
        self._reading = False

    def resume_reading(self) -> None:
        """Take again what it has sent."""
        self._reading = not self._closing
        if self.other is not None:
            self.other._move_soon()

    def is_reading(self) -> bool:
        """Whether reading goes on."""
        return self._reading

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """As asyncio's transports have it; both must be given."""
        self._high, self._low = high or 0, low or 0

    def get_write_buffer_size(self) -> int:
        """Bytes that the other side has not read."""
        return len(self._waiting)

    def _move_soon(self) -> None:
        if not self._moving and not self._gone:
            self._moving = True
            self._loop.call_soon(self._move)

    def _move(self) -> None:
        """Give the other side one read's worth, or the end."""
        self._moving = False
        other = self.other
        if self._waiting and other is not None and not other._closing:
            if not other._reading:
                return
            self._give(other)
        elif self._waiting:  # no peer is there to read: the kernel would answer with a reset
            self._waiting.clear()
            self._lost(ConnectionResetError("the other side is closed"))
            return
        if self._waiting:
            self._move_soon()
        elif self._finished:
            self._end()

    def _give(self, other: MemoryTransport) -> None:
        size = min(self._chunk, len(self._waiting))
        other._protocol.get_buffer(-1)[:size] = self._waiting[:size]  # type: ignore[index]
        del self._waiting[:size]
        if self._over and len(self._waiting) <= self._low:
            self._over = False
            self._protocol.resume_writing()
        other._protocol.buffer_updated(size)

    def _end(self) -> None:
        if self.other is not None:
            self.other._end_of_file()
        if self._closing:
            self._lost(None)

    def _end_of_file(self) -> None:
        if not self._closing and not self._protocol.eof_received():
            self.close()

    def _lost(self, failure: Exception | None) -> None:
        if not self._gone:
            self._gone = self._closing = True
            self._protocol.connection_lost(failure)
            self.other = None
