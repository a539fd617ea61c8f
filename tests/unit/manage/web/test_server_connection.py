"""Connections over real sockets on loopback, with bounds so small that a test need not wait."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import re
import ssl
import time

import pytest

from gatepost.manage.access.principal import Principal
from gatepost.manage.web import request_limits, server
from gatepost.manage.web.request_limits import ConcurrencyMiddleware
from gatepost.manage.web.server import WebServer
from gatepost.net.listener import bind
from gatepost.net.tasks import spawn
from gatepost.settings.loader import load

HEAD = 32 * 1024
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture
def settings(tmp_path):
    file = tmp_path / "gatepost.toml"
    file.write_text(f'[server]\nhostname = "mx1.contoso.example"\ndata_dir = "{tmp_path}/data"\n')
    return load(str(file), {})


@contextlib.asynccontextmanager
async def served(app, settings):
    (port,) = bind("127.0.0.1:0")
    server = WebServer(app, settings, [port])
    server.start()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    writers = []

    async def dial(source="127.0.0.1"):
        place = ("127.0.0.1", port.getsockname()[1])
        reader, writer = await asyncio.open_connection(*place, ssl=context, local_addr=(source, 0))
        writers.append(writer)
        return reader, writer

    try:
        yield dial
    finally:
        for writer in writers:
            writer.transport.abort()
        await server.close(5)


async def head_of(reader):
    return await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)


async def ends(reader):
    """Whatever comes until the connection ends."""
    with contextlib.suppress(ConnectionError):
        return await asyncio.wait_for(reader.read(), 30)
    return b""


LATE = {
    "nothing": b"",
    "half a head": b"GET / HTTP/1.1\r\nHost: loc",
    "half a body": b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nabc",
    "half a request after a whole one": REQUEST + b"GET / HT",
}


@pytest.mark.parametrize("begun", LATE.values(), ids=LATE)
def test_a_request_that_does_not_end_ends_the_connection(settings, echo, monkeypatch, begun):
    monkeypatch.setattr(server, "_SECONDS", 0.3)

    async def story():
        async with served(echo, settings) as dial:
            reader, writer = await dial()
            writer.write(begun)
            if begun.startswith(REQUEST):
                await head_of(reader)
                writer.write(b"T")  # what was left of the first is seen with this
            task = spawn(ends(reader), "the end")
            while not task.done():  # a byte now and then gains no time
                writer.write(b"x" if begun else b"")
                await asyncio.sleep(0.05)
            assert b"HTTP/1.1 200" not in await task

    asyncio.run(story())


def test_between_requests_the_connection_stays(settings, echo, monkeypatch):
    monkeypatch.setattr(server, "_SECONDS", 0.6)

    async def story():
        async with served(echo, settings) as dial:
            reader, writer = await dial()
            for _ in range(3):
                writer.write(REQUEST)
                assert (await head_of(reader)).startswith(b"HTTP/1.1 200")
                await reader.readuntil(b"0\r\n\r\n")
                await asyncio.sleep(0.8)

    asyncio.run(story())


def test_who_sleeps_between_requests_holds_up_no_stop(settings, echo):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

    async def story():
        (port,) = bind("127.0.0.1:0")
        server = WebServer(echo, settings, [port])
        server.start()
        client = http.client.HTTPSConnection("127.0.0.1", port.getsockname()[1], timeout=30, context=context)

        def ask():
            client.request("GET", "/")
            with client.getresponse() as answer:
                assert answer.status == 200
                answer.read()

        await asyncio.to_thread(ask)  # and reads no more, so it does not answer the end of TLS
        begun = time.monotonic()
        await server.close(20)
        assert time.monotonic() - begun < 10
        assert client.sock.recv(100) == b"", "it was told"
        client.close()

    asyncio.run(story())


def test_an_answer_may_take_longer_but_must_be_fetched(settings, monkeypatch):
    monkeypatch.setattr(server, "_SECONDS", 0.3)
    gone, left = [], asyncio.Event()

    async def endless(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.sleep(0.6)
        for _ in range(1000):
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
            await asyncio.sleep(0)
        gone.append((await receive())["type"])
        left.set()

    async def story():
        async with served(endless, settings) as dial:
            reader, writer = await dial()
            writer.write(REQUEST)
            assert (await head_of(reader)).startswith(b"HTTP/1.1 200")
            writer.transport.pause_reading()
            async with asyncio.timeout(30):
                await left.wait()

    asyncio.run(story())
    assert gone == ["http.disconnect"]


def test_beyond_the_bound_whoever_comes_is_told_so(settings, echo, monkeypatch, caplog):
    monkeypatch.setattr(server, "_MOST_OF_ONE", 2)

    async def story():
        async with served(echo, settings) as dial:
            first, second = await dial(), await dial()
            for reader, writer in (first, second):
                writer.write(REQUEST)
                assert (await head_of(reader)).startswith(b"HTTP/1.1 200")
            for _ in range(2):
                reader, writer = await dial()
                writer.write(REQUEST)
                told = await ends(reader)
                assert told.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
                assert b"retry-after: 10" in told
                assert b"application/problem+json" in told
            first[1].transport.abort()
            async with asyncio.timeout(30):
                while True:
                    reader, writer = await dial()
                    writer.write(REQUEST)
                    if (await head_of(reader)).startswith(b"HTTP/1.1 200"):
                        break

    monkeypatch.setattr(server.BoundedConnection, "_said", -1000.0)
    asyncio.run(story())
    assert caplog.text.count("too many connections") == 1


def test_what_is_no_request_is_told_so_in_the_form_of_all_refusals(settings, echo):
    async def story():
        async with served(echo, settings) as dial:
            for sent in (b"HELO client\r\n\r\n", b"GET / HTTP/1.1\r\nx: " + b"y" * 70_000):
                reader, writer = await dial()
                writer.write(sent)
                told = await ends(reader)
                assert told.startswith(b"HTTP/1.1 400 Bad Request\r\n")
                assert b"/api/v1/problems/malformed" in told

    asyncio.run(story())


def head(size):
    """A whole one of so many bytes."""
    line = b"GET / HTTP/1.1\r\nHost: localhost\r\nX: "
    return line + b"y" * (size - len(line) - 4) + b"\r\n\r\n"


# however it is read: at once, a part at a time, or behind another request
HEADS = {
    "the largest": ([head(HEAD)], b"200"),
    "the largest in parts": ([head(HEAD)[:-1], head(HEAD)[-1:]], b"200"),
    "too large at once": ([head(HEAD + 1)], b"400"),
    "too large in parts": ([head(HEAD + 1)[:-1], head(HEAD + 1)[-1:]], b"400"),
    "much too large at once": ([head(70_000)], b"400"),
    "spaces": ([REQUEST[:-4] + b" " * HEAD + b"\r\n\r\n"], b"400"),
    "behind another": ([REQUEST + head(70_000)], b"200400"),
}


@pytest.mark.parametrize(("parts", "answers"), HEADS.values(), ids=HEADS)
def test_the_bound_of_a_head_does_not_depend_on_how_it_is_read(settings, echo, monkeypatch, parts, answers):
    monkeypatch.setattr(server, "_KEEP_ALIVE", 1)

    async def story():
        async with served(echo, settings) as dial:
            reader, writer = await dial()
            for part in parts:
                writer.write(part)
                await asyncio.sleep(0.1)
            assert b"".join(re.findall(rb"HTTP/1\.1 (\d+) ", await ends(reader))) == answers

    asyncio.run(story())


def test_all_together_are_bounded_too(settings, echo, monkeypatch):
    monkeypatch.setattr(server, "_MOST", 0)

    async def story():
        async with served(echo, settings) as dial:
            reader, _ = await dial()
            assert (await ends(reader)).startswith(b"HTTP/1.1 503")

    asyncio.run(story())


def test_a_few_together_leave_places_for_others(settings, echo, monkeypatch):
    monkeypatch.setattr(server, "_MOST", 16)

    async def story():
        async with served(echo, settings) as dial:
            answers = []
            for source in ("127.0.0.1", "127.0.0.2"):
                for _ in range(16):
                    reader, writer = await dial(source)
                    writer.write(REQUEST)
                    answers.append((await head_of(reader))[9:12])
            assert answers.count(b"200") == 12 + 3
            reader, writer = await dial("127.0.0.3")
            writer.write(REQUEST)
            assert (await head_of(reader)).startswith(b"HTTP/1.1 200")

    asyncio.run(story())


def test_answers_that_are_not_fetched_keep_the_places_of_their_asker(settings, echo, monkeypatch):
    """Each may have 32 MB, and its asker 100 connections from an address."""
    monkeypatch.setattr(request_limits, "_PATIENCE", 100.0)
    whole = b"x" * 12_000_000
    begun, all_begun = 0, asyncio.Event()

    async def answer(scope, receive, send):
        nonlocal begun
        begun += 1
        if begun == 16:
            all_begun.set()
        length = (b"content-length", b"%d" % len(whole))
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": whole})

    limited = ConcurrencyMiddleware(answer)

    async def app(scope, receive, send):
        if scope["type"] != "http":
            await echo(scope, receive, send)
            return
        scope["state"]["principal"] = Principal("tim", frozenset(), frozenset({"contoso"}))
        await limited(scope, receive, send)

    async def story():
        go = asyncio.Event()

        async def fetch(dial):
            reader, writer = await dial()
            writer.write(REQUEST)
            await reader.readuntil(b"\r\n\r\n")
            await go.wait()
            assert await reader.readexactly(len(whole)) == whole

        async with served(app, settings) as dial:
            fetches = [spawn(fetch(dial), "a call") for _ in range(20)]
            await all_begun.wait()
            await asyncio.wait(fetches, timeout=0.5)
            assert begun == 16
            go.set()
            async with asyncio.timeout(50):
                await asyncio.gather(*fetches)
            assert begun == 20

    asyncio.run(story())


def test_a_network_leaves_places_for_others_however_many_sources_it_has(settings, echo, monkeypatch):
    """A /48 of IPv6 has 65,536 of them. Loopback has none, so IPv4 networks stand for it."""
    monkeypatch.setattr(server, "_MOST", 16)
    monkeypatch.setattr(server, "network_of", lambda place: place.rpartition(".")[0])

    async def story():
        async with served(echo, settings) as dial:
            answers = []
            for source in [f"127.0.5.{number}" for number in range(1, 17)] + ["127.0.6.1"]:
                reader, writer = await dial(source)
                writer.write(REQUEST)
                answers.append((await head_of(reader))[9:12])
            assert answers == [b"200"] * 12 + [b"503"] * 4 + [b"200"]

    asyncio.run(story())
