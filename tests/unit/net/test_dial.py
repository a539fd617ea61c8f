from __future__ import annotations

import asyncio
import socket

import pytest

from gatepost.net.dial import connect
from gatepost.net.listener import Listener, bind


def test_a_connection_from_a_chosen_address(run, peer):
    async def talk():
        served = []

        def accept(stream):
            served.append(peer(stream))
            stream.write(b"220 hello\r\n")

        sockets = bind("127.0.0.1:0")
        listener = Listener(sockets, accept, refuse=lambda *_: None)
        await listener.start()
        port = sockets[0].getsockname()[1]
        for source in (None, "127.0.0.2"):
            stream = await connect("127.0.0.1", port, timeout=5, source=source)
            await asyncio.sleep(0.02)
            client = peer(stream)
            await client.reads(b"220 hello\r\n")
            assert stream.local.host == (source or "127.0.0.1")
            assert (stream.peer.host, stream.peer.port) == ("127.0.0.1", port)
            stream.close()
            await served[-1].ends()
        listener.stop()

    run(talk())


def test_a_closed_port_is_refused(run):
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]

    async def call():
        with pytest.raises(ConnectionRefusedError):
            await connect("127.0.0.1", port, timeout=5)

    run(call())


def test_a_host_that_does_not_answer_is_given_up(run):
    """A backlog that is full drops what comes, as a firewall does."""

    async def call():
        with socket.socket() as deaf:
            deaf.bind(("127.0.0.1", 0))
            deaf.listen(0)
            host, port = deaf.getsockname()
            waiting = [socket.socket() for _ in range(4)]
            for each in waiting:
                each.setblocking(False)
                each.connect_ex((host, port))
            with pytest.raises(TimeoutError, match=rf"no connection to \[127\.0\.0\.1\]:{port} within 0\.2 s"):
                await connect(host, port, timeout=0.2)
            for each in waiting:
                each.close()

    run(call())


def test_a_socket_of_this_machine(run, peer, tmp_path):
    async def talk():
        served = []

        async def serve(reader, writer):
            writer.write(b"220 hello\r\n")
            served.append(await reader.readline())
            writer.close()

        server = await asyncio.start_unix_server(serve, tmp_path / "lmtp")
        stream = await connect(str(tmp_path / "lmtp"), 0, timeout=5)
        client = peer(stream)
        await client.reads(b"220 hello\r\n")
        stream.write(b"LHLO x\r\n")
        await client.ends()
        assert served == [b"LHLO x\r\n"]
        assert stream.peer.host == ""
        server.close()

    run(talk())


def test_a_socket_that_is_not_there(run, tmp_path):
    async def talk():
        with pytest.raises(FileNotFoundError):
            await connect(str(tmp_path / "lmtp"), 0, timeout=5)

    run(talk())
