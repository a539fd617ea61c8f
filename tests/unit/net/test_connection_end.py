from __future__ import annotations

import asyncio
import socket
import struct

import pytest

from gatepost.net import connection as module
from gatepost.net.listener import Listener, bind
from gatepost.net.stream import Loss, LossKind

# ------------------------------------------------------------------------------------------------ the end


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("side", ["client", "server"])
def test_what_was_written_arrives_before_the_end(run, pairs, tls, side):
    async def talk():
        both = await (pairs.secured() if tls else pairs.joined())
        sender, other = both if side == "client" else both[::-1]
        data = b"221 bye" * (100 if pairs.kind == "bytes" else 100_000)
        sender.stream.write(data)
        sender.stream.close()
        sender.stream.write(b"dropped")
        sender.stream.close()
        assert (await other.ends()).kind is LossKind.CLOSED
        assert other.data == data
        assert (await sender.ends()).kind is LossKind.CLOSED

    run(talk())


@pytest.mark.parametrize("tls", [False, True])
def test_unread_input_does_not_cost_the_last_reply(run, sockets, peer, tls):
    """A kernel that has unread input when a socket is closed resets it, and the peer never sees our 421."""

    async def talk():
        def refuse(self, data):
            self.stream.write(b"421 4.7.0 too many errors\r\n")
            self.stream.close()

        client, server = await (sockets.secured() if tls else sockets.joined())
        server.react = refuse
        for _ in range(20):
            client.stream.write(b"NOISE\r\n" * 10_000)
            await asyncio.sleep(0)
        loss = await client.ends()
        assert (client.data, loss.kind) == (b"421 4.7.0 too many errors\r\n", LossKind.CLOSED)
        assert (await server.ends()).kind is LossKind.CLOSED

    run(talk())


@pytest.mark.parametrize("tls", [False, True])
def test_closing_takes_no_longer_than_it_may(run, sockets, monkeypatch, tls):
    monkeypatch.setattr(module, "CLOSE_SECONDS", 0.2)

    async def talk():
        loop = asyncio.get_running_loop()
        client, server = await (sockets.secured() if tls else sockets.joined())
        client.stream._transport.pause_reading()
        await server.fills()
        begin = loop.time()
        server.stream.close()
        server.stream.pause()
        server.stream.timeout(60)
        assert (await server.ends()).kind is LossKind.CLOSED
        assert 0.15 < loop.time() - begin < 30
        client.stream.abort(Loss(LossKind.CLOSED))
        await client.ends()

    run(talk())


def test_a_close_that_is_cut_short_stays_a_close(run, sockets):
    async def talk():
        client, server = await sockets.joined()
        client.stream.pause()
        server.stream.close()
        server.stream.abort(Loss(LossKind.TIMEOUT))
        assert (await server.ends()).kind is LossKind.CLOSED
        client.stream.resume()
        await client.ends()

    run(talk())


def test_a_client_that_only_stops_sending_gets_the_replies_to_what_it_sent(run, peer):
    async def talk():
        def answer(self, data):
            self.stream.write(b"250 ok\r\n" * data.count(b"\n"))

        sockets = bind("127.0.0.1:0")
        servers = []
        listener = Listener(sockets, lambda stream: servers.append(peer(stream, answer)), refuse=lambda *_: None)
        await listener.start()
        reader, writer = await asyncio.open_connection(*sockets[0].getsockname())
        writer.write(b"NOOP\r\n" * 3)
        writer.write_eof()
        assert await reader.read() == b"250 ok\r\n" * 3
        writer.close()
        await writer.wait_closed()
        assert (await servers[0].ends()).kind is LossKind.CLOSED
        listener.stop()

    run(talk())


@pytest.mark.parametrize(("tls", "kind"), [(False, LossKind.RESET), (True, LossKind.HANDSHAKE)])
def test_a_reset_of_the_network(run, sockets, contexts, tls, kind):
    async def talk():
        client, server = await sockets.joined()
        if tls:
            server.stream.start_tls(contexts[0])
        raw = client.stream._transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.stream.abort(Loss(LossKind.CLOSED))
        loss = await server.ends()
        assert loss.kind is kind
        assert loss.detail
        await client.ends()

    run(talk())


@pytest.mark.parametrize("held", [False, True])
def test_a_receiver_that_fails_is_reported_and_its_stream_ends(in_memory, held):
    failures = []

    async def talk():
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))

        def fail(self, data):
            raise ArithmeticError("a bug of ours")

        client, server = await in_memory.joined(fail)
        if held:
            server.stream.pause()
            client.stream.write(b"x")
            await asyncio.sleep(0.01)
            server.stream.resume()
        else:
            client.stream.write(b"x")
        assert (await server.ends()).kind is LossKind.RESET
        await client.ends()

    asyncio.run(talk())
    assert [str(each["exception"]) for each in failures] == ["a bug of ours"]


def test_whoever_made_the_connection_hears_of_its_end_though_the_receiver_fails(in_memory):
    gone = []

    async def talk():
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)

        class Bad:
            def lost(self, loss):
                raise ArithmeticError("a bug of ours")

        ours, theirs = await in_memory.join()
        theirs._gone = gone.append
        theirs.attach(Bad())
        ours.close()
        await asyncio.sleep(0.01)
        assert gone == [theirs]

    asyncio.run(talk())


def test_a_key_update_is_answered(run, peer, contexts):
    """openssl s_client sends one on the command "K" and then needs ours to read on."""

    async def talk():
        def answer(self, data):
            if data == b"STARTTLS\r\n":
                self.stream.write(b"220 go\r\n")
                self.stream.start_tls(contexts[0])
            else:
                self.stream.write(b"250-a.example\r\n250 STARTTLS\r\n" if data.startswith(b"EHLO") else b"250 pong\r\n")

        def accept(stream):
            servers.append(peer(stream, answer))
            stream.write(b"220 hello\r\n")

        servers = []
        sockets = bind("127.0.0.1:0")
        listener = Listener(sockets, accept, refuse=lambda *_: None)
        await listener.start()
        process = await asyncio.create_subprocess_exec(
            *("openssl", "s_client", "-starttls", "smtp", "-connect", f"127.0.0.1:{sockets[0].getsockname()[1]}"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output = b""
        while b"250 STARTTLS\r\n" not in output:
            output += await process.stdout.read(4096)
        for line in (b"K\n", b"NOOP\r\n"):
            process.stdin.write(line)
            await process.stdin.drain()
            await asyncio.sleep(0.1)
        while b"250 pong" not in output:
            output += await process.stdout.read(4096)
        process.stdin.write(b"Q\n")
        await process.wait()
        assert b"KEYUPDATE" in output
        await servers[0].ends()
        listener.stop()

    run(talk())


def test_what_tls_takes_does_not_wait_for_the_peers_end(run, sockets):
    """A client that sent hundreds of certificates had its megabyte for five seconds after it was refused."""

    async def talk():
        _, server = await sockets.secured()
        stream = server.stream
        assert stream.channel_bindings()
        stream.close()
        assert stream._engine is None
        assert stream.channel_bindings() == {}
        await server.ends()

    run(talk())
