from __future__ import annotations

import asyncio
import errno
import socket
import ssl

import pytest

from gatepost.manage.web import handshakes
from gatepost.manage.web.certificate import admin_certificate, tls_context
from gatepost.manage.web.handshakes import Handshakes, HandshakeServer
from gatepost.net.listener import bind
from gatepost.net.tasks import spawn
from gatepost.settings.loader import load


@pytest.fixture
def tls(tmp_path):
    file = tmp_path / "gatepost.toml"
    file.write_text(f'[server]\nhostname = "mx1.contoso.example"\ndata_dir = "{tmp_path}/data"\n')
    return tls_context(admin_certificate(load(str(file), {})))


class Welcome(asyncio.Protocol):
    def connection_made(self, transport):
        transport.write(b"welcome")
        transport.close()


opened: list[asyncio.StreamWriter] = []


async def raw(port, source="127.0.0.1"):
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
    opened.append(writer)
    return reader, writer


async def greeting(port, source="127.0.0.1"):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, local_addr=(source, 0))
    try:
        return await asyncio.wait_for(reader.read(), 30)
    finally:
        writer.transport.abort()


async def is_ended(reader):
    try:
        return await asyncio.wait_for(reader.read(), 30) == b""
    except ConnectionError:
        return True


def told(tls, story, listening=None):
    async def whole():
        sock = listening or bind("127.0.0.1:0")[0]
        server = HandshakeServer(sock, tls, Welcome, Handshakes())
        try:
            await story(sock.getsockname()[1], server)
        finally:
            for writer in opened:
                writer.transport.abort()
            opened.clear()
            server.close()
            await server.wait_closed()
            await asyncio.sleep(0)
            sock.close()

    asyncio.run(whole())


def test_of_too_many_that_are_silent_the_oldest_of_the_source_with_most_end(tls, monkeypatch):
    monkeypatch.setattr(handshakes, "_MOST", 5)

    async def story(port, _server):
        patient = await raw(port, "127.0.0.9")
        silent = [await raw(port) for _ in range(12)]
        assert await greeting(port) == b"welcome", "from the same address, too"
        assert await greeting(port, "127.0.0.2") == b"welcome"
        assert all([await is_ended(reader) for reader, _ in silent[:8]])
        for reader, _ in (patient, silent[-1]):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.read(), 0.2)

    told(tls, story)


def test_what_does_not_end_is_ended(tls, monkeypatch):
    monkeypatch.setattr(handshakes, "_SECONDS", 0.3)

    async def story(port, _server):
        reader, writer = await raw(port)
        writer.write(b"\x16\x03\x01")
        assert await is_ended(reader)
        reader, writer = await raw(port)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        assert await asyncio.wait_for(reader.read(), 30) != b"welcome"
        assert await greeting(port) == b"welcome"

    told(tls, story)


def test_whoever_closes_ends_those_that_are_under_way(tls):
    async def story(port, server):
        reader, _ = await raw(port)
        await asyncio.sleep(0.1)
        server.close()
        assert await is_ended(reader)

    told(tls, story)


def test_without_descriptors_connections_wait(tls, monkeypatch, caplog):
    monkeypatch.setattr(handshakes, "_PAUSE", 0.2)
    failures = [OSError(errno.EMFILE, "Too many open files")]

    class Short(socket.socket):
        def accept(self):
            if failures:
                raise failures.pop()
            return super().accept()

    listening = Short(socket.AF_INET, socket.SOCK_STREAM)
    listening.bind(("127.0.0.1", 0))
    listening.listen(8)

    async def story(port, _server):
        first = spawn(greeting(port), "a connection that waits")
        assert await first == b"welcome"

    told(tls, story, listening)
    assert "can accept no connection: Too many open files" in caplog.text
