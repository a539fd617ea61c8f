from __future__ import annotations

import asyncio
import socket
import struct

import pytest

from gatepost.net import connection as module
from gatepost.net.read_buffer import READ_BYTES
from gatepost.net.stream import Loss, LossKind
from gatepost.net.tasks import spawn

# ------------------------------------------------------------------------------------------------ flow


@pytest.mark.parametrize("tls", [False, True])
def test_a_paused_receiver_holds_the_sender_back_and_loses_nothing(run, sockets, tls):
    blocks, size = 400, 50_000

    async def talk():
        client, server = await (sockets.secured() if tls else sockets.joined())
        server.stream.pause()
        sent = 0

        async def send():
            nonlocal sent
            for number in range(blocks):
                client.stream.write(bytes([number % 256]) * size)
                sent += size
                await client.stream.drain()

        sending = spawn(send(), "send")
        before = -1
        while sent != before:  # on a busy machine the buffers take a while to fill
            before = sent
            await asyncio.sleep(0.1)
        assert not sending.done()
        assert server.data == b""
        assert len(server.stream._held) <= 2 * READ_BYTES
        server.stream.resume()
        await server.until(lambda: len(server.data) == blocks * size)
        await sending
        assert server.data == b"".join(bytes([number % 256]) * size for number in range(blocks))
        assert max(map(len, server.calls)) <= READ_BYTES
        await client.says_goodbye(server)

    run(talk())


@pytest.mark.parametrize("tls", [False, True])
def test_what_is_complete_leaves_before_the_turn_ends(run, pairs, tls):
    async def talk():
        client, server = await (pairs.secured() if tls else pairs.joined())
        client.stream.write(b"MAIL\r\n")
        assert client.stream._output
        client.stream.write(b"RCPT\r\n", at_once=True)
        assert not client.stream._output
        await server.until(lambda: server.data == b"MAIL\r\nRCPT\r\n")
        await client.says_goodbye(server)

    run(talk())


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("paused", [False, True])
def test_who_is_owed_an_answer_gets_it_after_its_own_end(run, pairs, tls, paused):
    """A half-closed socket, or a close_notify, ends one direction only."""

    async def talk():
        client, server = await (pairs.secured() if tls else pairs.joined())
        server.stream.owe(owing=True)
        client.stream.write(b"DATA")
        client.stream._flush()
        if tls:
            client.stream._send(client.stream._engine.shutdown())
        client.stream._transport.write_eof()
        while server.stream._end_of_file is None:  # noqa: ASYNC110 - of which a receiver is told nothing
            await asyncio.sleep(0.001)
        assert (server.data, server.loss, client.loss) == (b"DATA", None, None)
        if paused:
            server.stream.pause()
        server.stream.write(b"250 kept")
        server.stream.owe(owing=False)
        if paused:
            await asyncio.sleep(0.01)
            assert server.loss is None
            server.stream.resume()
        assert (await server.ends()).kind is LossKind.CLOSED
        await client.ends()
        assert client.data == b"250 kept"

    run(talk())


def test_a_reset_is_a_loss_whatever_is_owed(run, sockets):
    async def talk():
        client, server = await sockets.joined()
        server.stream.owe(owing=True)
        raw = client.stream._transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.stream.abort(Loss(LossKind.CLOSED))
        assert (await server.ends()).kind is LossKind.RESET
        await client.ends()

    run(talk())


def test_pausing_again_and_again_changes_nothing(run, pairs):
    async def talk():
        def breathe(self, data):
            self.stream.pause()
            asyncio.get_running_loop().call_soon(self.stream.resume)

        client, server = await pairs.secured(breathe)
        data = bytes(range(256)) * (4 if pairs.kind == "bytes" else 2000)
        client.stream.write(data)
        await server.until(lambda: len(server.data) >= len(data))
        assert server.data == data
        server.stream.resume()
        server.react = None
        await client.says_goodbye(server)

    run(talk())


def test_pausing_when_tls_is_up_holds_what_comes_with_it(run, in_memory, contexts):
    async def talk():
        client, server = await in_memory.joined()
        paused = asyncio.Event()
        server.secured = lambda facts: (server.stream.pause(), paused.set())
        server.stream.timeout(60)
        server.stream.start_tls(contexts[0])
        client.stream.start_tls(contexts[1])
        client.stream.write(b"EHLO c.example\r\n")
        await client.becomes_secure()
        await paused.wait()
        for _ in range(20):  # turns of the loop, in which what came with it would arrive
            await asyncio.sleep(0)
        server.stream._clock._deadline = 0.0
        server.stream._clock._tick()  # as when the time is over: it stands still
        assert (server.data, server.loss) == (b"", None)
        server.stream.resume()
        await server.reads(b"EHLO c.example\r\n")
        server.stream.timeout(0)
        await client.says_goodbye(server)

    run(talk())


def test_a_peer_that_only_pauses_its_handshake_is_still_read(run, in_memory, contexts):
    async def talk():
        client, server = await in_memory.joined()
        server.stream.pause()
        server.stream.start_tls(contexts[0])
        client.stream.start_tls(contexts[1])
        await asyncio.gather(client.becomes_secure(), server.becomes_secure())
        client.stream.write(b"held")
        await asyncio.sleep(0.01)
        assert server.data == b""
        server.stream.resume()
        await server.reads(b"held")
        await client.says_goodbye(server)

    run(talk())


@pytest.mark.parametrize("tls", [False, True])
def test_what_was_held_is_delivered_before_the_end(run, pairs, tls):
    async def talk():
        client, server = await (pairs.secured() if tls else pairs.joined())
        server.stream.pause()
        data = b"x" * (100 if pairs.kind == "bytes" else 70_000)
        client.stream.write(data)
        client.stream.close()
        await asyncio.sleep(0.05)
        assert (server.data, server.loss) == (b"", None)
        server.stream.resume()
        loss = await server.ends()
        assert (server.data, loss.kind) == (data, LossKind.CLOSED)
        await client.ends()

    run(talk())


@pytest.mark.parametrize("tls", [False, True])
def test_a_peer_that_never_reads_its_replies_is_read_no_more(run, sockets, tls):
    async def talk():
        def answer(self, data):
            self.stream.write(b"250 " + b"x" * 500 + b"\r\n" * data.count(b"\n") * 20)

        client, server = await (sockets.secured() if tls else sockets.joined())
        server.react = answer
        client.stream._transport.pause_reading()
        for _ in range(1500):
            client.stream.write(b"NOOP\r\n" * 5000)
            await asyncio.wait([spawn(client.stream.drain(), "drain")], timeout=0.2)
            if client.stream._blocked:
                break
        assert client.stream._blocked
        assert server.stream._transport.get_write_buffer_size() < module.MAX_OUTPUT
        read = len(server.data)
        await asyncio.sleep(0.1)
        assert len(server.data) == read
        assert server.loss is None
        client.stream._transport.resume_reading()
        await server.until(lambda: len(server.data) > read)
        client.stream.abort(Loss(LossKind.CLOSED))
        await server.ends()

    run(talk())


@pytest.mark.parametrize("tls", [False, True])
def test_four_megabytes_of_output_that_nobody_reads_end_the_stream(run, sockets, tls):
    async def talk():
        client, server = await (sockets.secured() if tls else sockets.joined())
        client.stream._transport.pause_reading()
        for _ in range(200):
            server.stream.write(b"x" * 100_000)
            await asyncio.sleep(0)
            if server.loss:
                break
        loss = await server.ends()
        assert loss.kind is LossKind.RESET
        assert "does not read" in loss.detail
        client.stream.abort(Loss(LossKind.CLOSED))
        await client.ends()

    run(talk())


def test_one_write_cannot_pass_the_cap_either(run, in_memory):
    async def talk():
        client, server = await in_memory.joined()
        server.stream.write(b"x" * (module.MAX_OUTPUT + 1))
        assert (await server.ends()).kind is LossKind.RESET
        await client.ends()
        assert client.data == b""

    run(talk())


@pytest.mark.parametrize("tls", [False, True])
def test_five_megabytes_arrive_whole(run, sockets, tls):
    async def talk():
        client, server = await (sockets.secured() if tls else sockets.joined())
        for number in range(100):
            server.stream.write(bytes([number]) * 50_000)
            await server.stream.drain()
        await client.until(lambda: len(client.data) == 5_000_000)
        assert client.data == b"".join(bytes([number]) * 50_000 for number in range(100))
        await client.says_goodbye(server)

    run(talk())


def test_a_sender_that_waits_is_woken_by_the_loss(run, sockets):
    async def talk():
        client, server = await sockets.joined()
        server.stream._transport.pause_reading()
        await client.fills()
        waiting = spawn(client.stream.drain(), "drain")
        gone = spawn(client.stream.drain(), "drain")
        await asyncio.sleep(0.05)
        assert not waiting.done()
        gone.cancel()
        await asyncio.sleep(0)
        client.stream.abort(Loss(LossKind.TIMEOUT, "enough"))
        await waiting
        assert await client.ends() == Loss(LossKind.TIMEOUT, "enough")
        await client.stream.drain()
        server.stream.abort(Loss(LossKind.CLOSED))
        await server.ends()

    run(talk())


# ------------------------------------------------------------------------------------------------ time


def test_silence_ends_the_stream(run, pairs):
    async def talk():
        loop = asyncio.get_running_loop()
        client, server = await pairs.joined()
        server.stream.timeout(60)
        first = server.stream._clock._deadline
        await asyncio.sleep(0.1)
        client.stream.write(b"x")
        await server.reads(b"x")
        assert server.stream._clock._deadline >= first + 0.09, "its time begins anew with each octet"
        server.stream._clock._tick()  # as when the first period is over
        assert server.loss is None
        server.stream.timeout(0.3)
        begin = loop.time()
        assert (await server.ends()).kind is LossKind.TIMEOUT
        assert 0.25 < loop.time() - begin < 20
        server.stream.timeout(1)
        server.stream.pause()
        server.stream.resume()
        await client.ends()

    run(talk())


def test_a_handshake_has_its_time_and_trickled_bytes_do_not_lengthen_it(run, pairs, contexts):
    async def talk():
        loop = asyncio.get_running_loop()
        client, server = await pairs.joined()
        server.stream.timeout(0.3)
        server.stream.start_tls(contexts[0])
        begin = loop.time()
        for byte in b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"r" * 400:
            if server.loss:
                break
            client.stream.write(bytes([byte]))
            await asyncio.sleep(0.02)
        assert (await server.ends()).kind is LossKind.TIMEOUT
        assert 0.25 < loop.time() - begin < 6
        await client.ends()

    run(talk())


def test_our_own_pause_is_not_the_peers_silence(run, pairs):
    async def talk():
        client, server = await pairs.joined()
        server.stream.timeout(0.1)
        server.stream.pause()
        await asyncio.sleep(0.3)
        assert server.loss is None
        server.stream.resume()
        assert (await server.ends()).kind is LossKind.TIMEOUT
        await client.ends()

    run(talk())
