from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import pytest
import uvloop
from support.exhaustion import no_descriptors

from gatepost.net.lookups.clamd import ask_clamd
from gatepost.net.lookups.dns import Resolver
from gatepost.net.lookups.nameservers import Nameservers
from gatepost.net.shortage import shortage
from gatepost.protocols.scanners.finding import ScanAction, UnusableAnswer

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

BIG = [b"x" * 100_000] * 50


async def pieces(chunks: Sequence[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def taken(reader: asyncio.StreamReader) -> list[bytes]:
    """The pieces of one INSTREAM, as clamd reads them."""
    assert await reader.readexactly(10) == b"zINSTREAM\0"
    found = []
    while size := int.from_bytes(await reader.readexactly(4), "big"):
        found.append(await reader.readexactly(size))
    return found


def ask(serve: Serve, chunks: Sequence[bytes], *, path: Path | None = None, host: str = "127.0.0.1") -> ScanAction:
    """What comes of it with a server that behaves like that. Raises what `ask_clamd` raises."""

    async def run() -> ScanAction:
        resolver = Resolver(Nameservers(["127.0.0.1:9"], timeout=0.2))
        server = (
            await asyncio.start_unix_server(serve, path) if path else await asyncio.start_server(serve, "127.0.0.1", 0)
        )
        address = f"unix:{path}" if path else f"{host}:{server.sockets[0].getsockname()[1]}"
        try:
            async with asyncio.timeout(20):
                return (await ask_clamd(resolver, address, pieces(chunks))).action
        finally:
            server.close()
            with contextlib.suppress(TimeoutError):  # what a server left open may stay so
                await asyncio.wait_for(server.wait_closed(), 1)
            await resolver.close()

    return asyncio.run(run())


@pytest.mark.parametrize("unix", [False, True], ids=["TCP", "unix"])
@pytest.mark.parametrize("chunks", [[], [b"one", b"", b"two"], BIG], ids=["nothing", "two pieces", "5 MB"])
def test_every_octet_arrives_in_pieces_and_the_answer_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunks: list[bytes], unix: bool
) -> None:
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.extend(await taken(reader))
        writer.write(b"stream: X FOUND\0")
        writer.close()

    monkeypatch.chdir(tmp_path)  # a socket has a short path
    assert ask(serve, chunks, path=Path("ctl") if unix else None) is ScanAction.REJECT
    assert seen == [chunk for chunk in chunks if chunk]


def test_localhost_is_asked_of_nobody() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await taken(reader)
        writer.write(b"stream: OK\0")
        writer.close()

    assert ask(serve, [b"x"], host="localhost") is ScanAction.NO_ACTION


def test_what_it_says_in_the_middle_counts() -> None:
    """As clamd does where there is too much for it; it reads on for a while, or the kernel may drop its answer."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(10_000)
        writer.write(b"INSTREAM size limit exceeded. ERROR\0")
        while await reader.read(1 << 20):
            pass
        writer.close()

    with pytest.raises(UnusableAnswer, match="StreamMaxLength"):
        ask(serve, BIG)


def _hasty(listener: socket.socket) -> None:
    """Takes a part of each message, answers, and closes at once: the kernel resets the connection."""
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                connection.recv(10_000)
                connection.sendall(b"INSTREAM size limit exceeded. ERROR\0")


def test_an_answer_before_a_reset_counts() -> None:
    async def slowly() -> AsyncIterator[bytes]:
        for _ in range(50):
            yield await asyncio.to_thread(bytes, 65536)

    async def run(address: str) -> None:
        resolver = Resolver(Nameservers(["127.0.0.1:9"], timeout=0.2))
        for _ in range(100):
            with pytest.raises(UnusableAnswer, match="StreamMaxLength"):
                await ask_clamd(resolver, address, slowly())
        await resolver.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        scanner = threading.Thread(target=_hasty, args=(listener,))
        scanner.start()
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # as the gateway's
                runner.run(run(f"127.0.0.1:{listener.getsockname()[1]}"))
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            scanner.join(10)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"", "without an answer"),
        (b"stream: O", "in the middle of its answer"),
        (b"x" * 100_000, "longer than 4096"),
        (b"stream: \xff FOUND\0", "not UTF-8"),
    ],
)
def test_answers_that_are_none(said: bytes, why: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await taken(reader)
        writer.write(said)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        writer.close()

    with pytest.raises(UnusableAnswer, match=why):
        ask(serve, [b"hello"])


def test_a_connection_that_is_reset_is_no_answer() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(100)
        writer.transport.abort()

    with pytest.raises(UnusableAnswer, match="without an answer"):
        ask(serve, BIG)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "unix:/nowhere/at/all", "av.example:1"])
def test_without_descriptors_the_scanner_is_not_at_fault(address: str) -> None:
    async def run() -> None:
        resolver = Resolver(Nameservers(["127.0.0.1:9"], timeout=0.2))
        try:
            with no_descriptors():
                await ask_clamd(resolver, address, pieces([]))
        finally:
            await resolver.close()

    with pytest.raises(UnusableAnswer, match="Too many open files") as refused:
        asyncio.run(run())
    assert shortage(refused.value)


@pytest.mark.parametrize(
    ("address", "why"), [("127.0.0.1:1", "127.0.0.1:1"), ("unix:/nowhere/at/all", "No such file"), ("av.example:1", "")]
)
def test_nobody_is_there(address: str, why: str) -> None:
    async def run() -> None:
        resolver = Resolver(Nameservers(["127.0.0.1:9"], timeout=0.2))
        try:
            await ask_clamd(resolver, address, pieces([]))
        finally:
            await resolver.close()

    with pytest.raises(UnusableAnswer) as refused:
        asyncio.run(run())
    assert why in str(refused.value)
    assert not shortage(refused.value)
