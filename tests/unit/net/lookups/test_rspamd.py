from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from gatepost.net.lookups.dns import Resolver
from gatepost.net.lookups.http import HttpClient
from gatepost.net.lookups.nameservers import Nameservers
from gatepost.net.lookups.rspamd import ask_rspamd
from gatepost.protocols.scanners.finding import ScanAction, ScanFinding, UnusableAnswer
from gatepost.protocols.scanners.rspamd import Described

MESSAGE = Described("192.0.2.1", "client.example", "a@b.example", ("bücher@c.example",), "Q1", "mx.c.example")
CHUNKS = [b"x" * 100_000] * 20


async def pieces() -> AsyncIterator[bytes]:
    for chunk in CHUNKS:
        yield chunk


def ask(answer: bytes, seen: list[bytes], seconds: float = 20.0) -> ScanFinding:
    """With a server that reads a whole request, then says that."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        seen.extend((head, await reader.readexactly(sum(map(len, CHUNKS)))))
        if answer:
            writer.write(answer)
        else:
            await reader.read()  # until the other side gives up
        writer.close()

    async def run() -> ScanFinding:
        resolver = Resolver(Nameservers(["127.0.0.1:9"], timeout=0.2))
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            size = sum(map(len, CHUNKS))
            return await ask_rspamd(HttpClient(resolver), url, MESSAGE, pieces(), size=size, seconds=seconds)
        finally:
            server.close()
            await resolver.close()

    return asyncio.run(run())


def answer_of(body: bytes, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def test_the_message_is_sent_as_it_comes_with_what_is_known_of_it() -> None:
    seen: list[bytes] = []
    assert ask(answer_of(b'{"action": "soft reject"}'), seen).action is ScanAction.SOFT_REJECT
    head, content = seen
    assert head.startswith(b"POST /checkv2 HTTP/1.1\r\n")
    assert b"\r\nContent-Length: 2000000\r\n" in head
    assert b"transfer-encoding" not in head.lower()
    assert b"\r\nIP: 192.0.2.1\r\nHelo: client.example\r\nFrom: <a@b.example>\r\n" in head
    assert "\r\nRcpt: <bücher@c.example>\r\n".encode() in head
    assert content == b"".join(CHUNKS)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (answer_of(b"{}", "503 Busy"), "status 503"),
        (answer_of(b"<html>"), "not JSON"),
        (answer_of(b" " * 2_000_000), "larger than 1048576"),
        (b"SSH-2.0-x\r\n", "checkv2"),
    ],
    ids=["busy", "html", "large", "another protocol"],
)
def test_answers_that_are_none(answer: bytes, why: str) -> None:
    with pytest.raises(UnusableAnswer, match=why):
        ask(answer, [])


def test_no_answer_in_time() -> None:
    with pytest.raises(UnusableAnswer, match=r"no whole answer within 0\.3 s"):
        ask(b"", [], seconds=0.3)
