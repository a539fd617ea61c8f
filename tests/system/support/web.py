"""An HTTP server on loopback for tests of a client, on the test's own event loop, that can be wrong in many ways."""

from __future__ import annotations

import asyncio
import functools
import ssl
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Self

from gatepost.testing.pki import Leaf


def on_a_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """The test on an event loop of its own, for a minute at most."""

    @functools.wraps(test)
    def whole(**fixtures: Any) -> None:
        asyncio.run(asyncio.wait_for(test(**fixtures), 60))

    return whole


def serving(leaf: Leaf) -> ssl.SSLContext:
    """TLS of a server that presents a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(leaf.chain, leaf.key)
    return context


@dataclass
class Web:
    """answers: path -> the whole answer, headers included, or a function of the request's body that makes it.

    A path in `hanging` is never answered, one in `dripping` an octet at a time, for ever. requests: their first lines.
    """

    answers: dict[str, bytes | Callable[[bytes], bytes]] = field(default_factory=dict)
    hanging: set[str] = field(default_factory=set)
    dripping: set[str] = field(default_factory=set)
    requests: list[str] = field(default_factory=list)
    heads: list[bytes] = field(default_factory=list)
    context: ssl.SSLContext | None = None
    port: int = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self.context)
        self.port = self._server.sockets[0].getsockname()[1]
        self._ending = asyncio.Event()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._ending.set()
        self._server.close()
        await self._server.wait_closed()

    def url(self, path: str, *, host: str = "127.0.0.1") -> str:
        return f"{'https' if self.context else 'http'}://{host}:{self.port}{path}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            first = head.partition(b"\r\n")[0].decode()
            self.requests.append(first.rpartition(" ")[0])
            self.heads.append(head)
            path = first.split()[1]
            length = next(
                (int(one.split(b":")[1]) for one in head.split(b"\r\n") if one.startswith(b"Content-Length")), 0
            )
            body = await reader.readexactly(length)
            if path in self.hanging:
                await self._ending.wait()
            while path in self.dripping and not self._ending.is_set():
                writer.write(b"H" if not writer.transport.get_write_buffer_size() else b"")
                await asyncio.sleep(0.02)
            answer = self.answers.get(path, b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            writer.write(answer(body) if callable(answer) else answer)
            await writer.drain()
        except (OSError, EOFError):
            pass
        finally:
            writer.close()


def ok(body: bytes, *, headers: str = "", length: int | None = None) -> bytes:
    """An answer of status 200. length: of Content-Length, if it is to be wrong; -1 leaves it out."""
    size = "" if length == -1 else f"Content-Length: {len(body) if length is None else length}\r\n"
    return f"HTTP/1.1 200 OK\r\n{size}{headers}\r\n".encode() + body


def status(code: int, headers: str = "") -> bytes:
    """An answer without content."""
    return f"HTTP/1.1 {code} Whatever\r\nContent-Length: 0\r\n{headers}\r\n".encode()
