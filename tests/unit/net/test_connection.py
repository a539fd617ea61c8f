from __future__ import annotations

import asyncio
import socket
import struct
from dataclasses import replace

import pytest
from OpenSSL import SSL

from gatepost.net import connection as module
from gatepost.net import openssl_private as private
from gatepost.net.connection import HIGH_WATER, READ_BYTES
from gatepost.net.engine import client_context
from gatepost.net.listener import Listener, bind
from gatepost.net.stream import Endpoint, Loss, LossKind
from gatepost.net.tasks import spawn
from gatepost.tls.profile import PROFILES


async def joined(pairs, peer, react=None):
    ours, theirs = await pairs.join()
    return peer(ours), peer(theirs, react)


async def secured(pairs, peer, contexts, react=None, **options):
    """Two peers with TLS between them, begun as STARTTLS begins it."""
    client, server = await joined(pairs, peer)
    client.stream.write(b"STARTTLS\r\n")
    await server.reads(b"STARTTLS\r\n")
    server.stream.write(b"220 go\r\n")
    server.stream.start_tls(contexts[0])
    await client.reads(b"220 go\r\n")
    client.stream.start_tls(contexts[1], **options)
    await asyncio.gather(client.becomes_secure(), server.becomes_secure())
    await asyncio.sleep(0.01)  # the server's tickets arrive, which a client that closes at once would answer by a reset
    server.react = react
    return client, server


async def goodbye(client, server):
    client.stream.close()
    assert (await client.ends()).kind is LossKind.CLOSED
    assert (await server.ends()).kind is LossKind.CLOSED


async def fill(stream):
    """Write until the kernel takes no more."""
    while not stream._blocked:
        stream.write(b"x" * 200_000)
        await asyncio.sleep(0)


async def settle(turns=50):
    for _ in range(turns):
        await asyncio.sleep(0)


# ------------------------------------------------------------------------------------------------ plaintext


def test_bytes_go_both_ways(run, pairs, peer):
    async def talk():
        client, server = await joined(pairs, peer)
        client.stream.write(b"EHLO c.example\r\n")
        await server.reads(b"EHLO c.example\r\n")
        server.stream.write(b"")
        server.stream.write(b"250 mx.a.example\r\n")
        await client.reads(b"250 mx.a.example\r\n")
        assert client.stream.tls is server.stream.tls is None
        assert (client.stream.peer, client.stream.local) == (server.stream.local, server.stream.peer)
        await goodbye(client, server)

    run(talk())


def test_endpoints_are_addresses_and_ports(run, sockets, peer):
    async def talk():
        client, server = await joined(sockets, peer)
        assert client.stream.peer.host == server.stream.peer.host == "127.0.0.1"
        assert client.stream.peer.port != client.stream.local.port != 0
        await goodbye(client, server)

    run(talk())
    assert module._endpoint(("fe80::1%eth0", 25, 0, 2)) == Endpoint("fe80::1", 25)
    assert module._endpoint("") == Endpoint("", 0)


def test_nagle_is_off_on_both_sides(run, sockets, peer):
    async def talk():
        client, server = await joined(sockets, peer)
        for each in (client, server):
            raw = each.stream._transport.get_extra_info("socket")
            assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        await goodbye(client, server)

    run(talk())


@pytest.mark.parametrize("tls", [False, True])
def test_writes_of_one_turn_leave_in_one_flight(run, in_memory, peer, contexts, tls):
    async def talk():
        def answer(self, data):
            for _ in range(data.count(b"\n")):
                self.stream.write(b"250 ok\r\n")

        client, server = await (secured(in_memory, peer, contexts) if tls else joined(in_memory, peer))
        server.react = answer
        client.calls.clear()
        for _ in range(5):
            client.stream.write(b"NOOP\r\n")
        await client.until(lambda: client.data.count(b"\n") == 5)
        assert server.calls[-1] == b"NOOP\r\n" * 5
        assert client.calls == [b"250 ok\r\n" * 5]
        await goodbye(client, server)

    run(talk())


def test_what_came_before_the_receiver_is_kept_for_it(run, pairs, peer):
    async def talk():
        ours, theirs = await pairs.join()
        ours.write(b"220 early\r\n")
        await asyncio.sleep(0.02)
        server = peer(theirs)
        await server.reads(b"220 early\r\n")
        await goodbye(peer(ours), server)

    run(talk())


def test_a_receiver_that_comes_too_late_is_told_so(run, pairs, peer):
    async def talk():
        ours, theirs = await pairs.join()
        ours.close()
        await asyncio.sleep(0.02)
        assert (await peer(theirs).ends()).kind is LossKind.CLOSED
        assert (await peer(ours).ends()).kind is LossKind.CLOSED

    run(talk())


def test_a_receiver_can_be_replaced(run, in_memory, peer):
    async def talk():
        client, first = await joined(in_memory, peer)
        second = peer(first.stream)
        client.stream.write(b"hello")
        await second.reads(b"hello")
        assert first.data == b""
        await goodbye(client, second)

    run(talk())


# ------------------------------------------------------------------------------------------------ TLS


def test_tls_begins_in_place(run, pairs, peer, contexts):
    async def talk():
        client, server = await secured(pairs, peer, contexts, server_name="mx.a.example")
        assert client.stream.tls == client.facts
        assert server.facts.version == "TLSv1.3"
        assert server.facts.server_name == "mx.a.example"
        client.stream.write(b"EHLO c.example\r\n")
        await server.reads(b"EHLO c.example\r\n")
        server.stream.write(b"250 mx.a.example\r\n" * 3)
        await client.reads(b"250 mx.a.example\r\n" * 3)
        with pytest.raises(RuntimeError, match="begun"):
            server.stream.start_tls(contexts[0])
        await goodbye(client, server)
        assert client.stream.tls == client.facts

    run(talk())


def test_what_is_written_during_the_handshake_goes_encrypted_after_it(run, pairs, peer, contexts):
    async def talk():
        client, server = await joined(pairs, peer)
        server.stream.start_tls(contexts[0])
        server.stream.write(b"220 mx.a.example\r\n")
        client.stream.start_tls(contexts[1])
        client.stream.write(b"EHLO c.example\r\n")
        await client.stream.drain()
        await client.reads(b"220 mx.a.example\r\n")
        await server.reads(b"EHLO c.example\r\n")
        assert client.facts
        assert server.facts
        await goodbye(client, server)

    run(talk())


def test_a_sender_waits_for_the_handshake(run, in_memory, peer, contexts):
    async def talk():
        client, server = await joined(in_memory, peer)
        server.stream.start_tls(contexts[0])
        client.stream.start_tls(contexts[1])
        client.stream.write(b"x" * HIGH_WATER)
        waiting = spawn(client.stream.drain(), "drain")
        await asyncio.sleep(0)
        assert not waiting.done()
        await server.until(lambda: len(server.data) == HIGH_WATER)
        await waiting
        await goodbye(client, server)

    run(talk())


def test_twenty_sessions_resume_over_the_wire(run, sockets, peer, pki, contexts):
    async def talk():
        context = client_context(PROFILES["default"])
        chains = set()
        for number in range(21):
            client, server = await secured(sockets, peer, (contexts[0], context), session_key="a.example")
            assert client.facts.resumed is server.facts.resumed is (number > 0)
            chains.add(client.facts.peer_chain)
            server.stream.write(b"220 ready\r\n")
            await client.reads(b"220 ready\r\n")
            await goodbye(client, server)
        assert [len(chain) for chain in chains] == [2]

    run(talk())


def test_plaintext_that_waits_when_tls_begins_ends_the_stream(run, pairs, peer, contexts):
    """RFC 3207 section 6: what was injected behind STARTTLS is neither read nor answered."""

    async def talk():
        client, server = await joined(pairs, peer)
        client.stream.write(b"STARTTLS\r\n")
        await server.reads(b"STARTTLS\r\n")
        server.stream.pause()
        client.stream.write(b"MAIL FROM:<evil@c.example>\r\n")
        await asyncio.sleep(0.02)
        server.stream.write(b"220 go\r\n")
        server.stream.start_tls(contexts[0])
        assert (await server.ends()).kind is LossKind.INJECTION
        assert server.data == b""
        await client.ends()

    run(talk())


def test_a_client_is_safe_from_it_too(run, pairs, peer, contexts):
    async def talk():
        client, server = await joined(pairs, peer)
        client.stream.pause()
        server.stream.write(b"250 injected\r\n")
        await asyncio.sleep(0.02)
        client.stream.start_tls(contexts[1])
        assert (await client.ends()).kind is LossKind.INJECTION
        assert client.data == b""
        await server.ends()

    run(talk())


@pytest.mark.parametrize("noise", [b"EHLO c.example\r\n", b"\x16\x03\x01\x00\x05hello"])
def test_plaintext_in_place_of_a_client_hello_is_never_executed(run, pairs, peer, contexts, noise):
    async def talk():
        client, server = await joined(pairs, peer)
        server.stream.start_tls(contexts[0])
        client.stream.write(noise)
        loss = await server.ends()
        assert loss.kind is LossKind.HANDSHAKE
        assert loss.detail
        assert server.data == b""
        assert (await client.ends()).kind in {LossKind.CLOSED, LossKind.RESET}

    run(talk())


def test_no_common_version_is_an_alert_and_a_loss_on_both_sides(run, pairs, peer, contexts):
    old = client_context(replace(PROFILES["legacy"], max_version="TLSv1.1"))

    async def talk():
        client, server = await joined(pairs, peer)
        server.stream.start_tls(contexts[0])
        client.stream.start_tls(old)
        losses = await asyncio.gather(client.ends(), server.ends())
        assert [loss.kind for loss in losses] == [LossKind.HANDSHAKE, LossKind.HANDSHAKE]
        assert "alert protocol version" in losses[0].detail
        assert losses[1].detail == "unsupported protocol"
        client.stream.start_tls(old)
        client.stream.write(b"dropped")
        await client.stream.drain()

    run(talk())


def test_a_peer_that_goes_away_during_the_handshake(run, pairs, peer, contexts):
    async def talk():
        client, server = await joined(pairs, peer)
        server.stream.start_tls(contexts[0])
        client.stream.close()
        loss = await server.ends()
        assert loss.kind is LossKind.HANDSHAKE
        assert "during the handshake" in loss.detail

    run(talk())


def test_a_server_that_refuses_our_certificate_after_our_last_flight(run, in_memory, peer, pki):
    """TLS 1.3: the client is done when the server first sees its certificate, or that there is none."""
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    leaf = pki.leaf("mx.a.example")
    context.use_certificate(leaf.certificate)
    context.use_privatekey(leaf.key)
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *_: False)
    raw = SSL.Connection(context, None)
    raw.set_accept_state()

    def drive(self, data):
        raw.bio_write(data)
        try:
            raw.do_handshake()
        except SSL.WantReadError:
            pass
        except SSL.Error:
            private.clear_errors()
        if waiting := private.output_waits(raw):
            self.stream.write(raw.bio_read(waiting))

    async def talk():
        client, server = await joined(in_memory, peer, drive)
        client.stream.start_tls(client_context(PROFILES["default"]))
        await client.becomes_secure()
        loss = await client.ends()
        assert loss.kind is LossKind.HANDSHAKE
        assert "certificate required" in loss.detail
        await server.ends()

    run(talk())


def test_a_changed_record_ends_the_stream(run, in_memory, peer, contexts):
    async def talk():
        client, server = await secured(in_memory, peer, contexts)
        client.stream.write(b"first")
        await server.reads(b"first")
        server.stream.write(b"second")
        await client.reads(b"second")
        client.stream._transport.write(b"\x17\x03\x03\x00\x20" + b"x" * 32)
        assert (await server.ends()).kind is LossKind.RESET
        loss = await client.ends()
        assert (loss.kind, "alert" in loss.detail) == (LossKind.RESET, True)

    run(talk())


def test_an_end_without_close_notify_is_a_truncation(run, pairs, peer, contexts):
    async def talk():
        client, server = await secured(pairs, peer, contexts)
        client.stream.write(b"DATA")
        await server.reads(b"DATA")
        client.stream._transport.write_eof()
        assert (await server.ends()).kind is LossKind.TRUNCATED
        client.stream.abort(Loss(LossKind.CLOSED))

    run(talk())


def test_nothing_is_read_behind_a_close_notify(run, in_memory, peer, contexts):
    async def talk():
        client, server = await secured(in_memory, peer, contexts)
        transport = client.stream._transport
        client.stream.write(b"QUIT\r\n")
        client.stream.close()
        transport._finished = False
        transport.write(b"MAIL FROM:<evil@c.example>\r\n")
        transport._finished = True
        assert (await server.ends()).kind is LossKind.CLOSED
        assert server.data == b"QUIT\r\n"
        await client.ends()

    run(talk())


def test_a_failure_to_encrypt_ends_the_stream(run, in_memory, peer, contexts):
    async def talk():
        client, server = await secured(in_memory, peer, contexts)
        client.stream._engine._connection.set_shutdown(SSL.SENT_SHUTDOWN)
        client.stream.write(b"too late")
        assert (await client.ends()).kind is LossKind.RESET
        assert (await server.ends()).kind is LossKind.TRUNCATED

    run(talk())


# ------------------------------------------------------------------------------------------------ flow


@pytest.mark.parametrize("tls", [False, True])
def test_a_paused_receiver_holds_the_sender_back_and_loses_nothing(run, sockets, peer, contexts, tls):
    blocks, size = 400, 50_000

    async def talk():
        client, server = await (secured(sockets, peer, contexts) if tls else joined(sockets, peer))
        server.stream.pause()
        sent = 0

        async def send():
            nonlocal sent
            for number in range(blocks):
                client.stream.write(bytes([number % 256]) * size)
                sent += size
                await client.stream.drain()

        sending = spawn(send(), "send")
        await asyncio.sleep(0.2)
        assert not sending.done()
        assert server.data == b""
        assert len(server.stream._held) <= 2 * READ_BYTES
        stopped = sent
        await asyncio.sleep(0.1)
        assert sent == stopped
        server.stream.resume()
        await server.until(lambda: len(server.data) == blocks * size)
        await sending
        assert server.data == b"".join(bytes([number % 256]) * size for number in range(blocks))
        assert max(map(len, server.calls)) <= READ_BYTES
        await goodbye(client, server)

    run(talk())


def test_pausing_again_and_again_changes_nothing(run, pairs, peer, contexts):
    async def talk():
        def breathe(self, data):
            self.stream.pause()
            asyncio.get_running_loop().call_soon(self.stream.resume)

        client, server = await secured(pairs, peer, contexts, breathe)
        data = bytes(range(256)) * (4 if pairs.kind == "bytes" else 2000)
        client.stream.write(data)
        await server.until(lambda: len(server.data) >= len(data))
        assert server.data == data
        server.stream.resume()
        server.react = None
        await goodbye(client, server)

    run(talk())


def test_pausing_when_tls_is_up_holds_what_comes_with_it(run, in_memory, peer, contexts):
    async def talk():
        client, server = await joined(in_memory, peer)
        server.secured = lambda facts: server.stream.pause()
        server.stream.timeout(0.05)
        server.stream.start_tls(contexts[0])
        client.stream.start_tls(contexts[1])
        client.stream.write(b"EHLO c.example\r\n")
        await client.becomes_secure()
        await asyncio.sleep(0.1)
        assert (server.data, server.loss) == (b"", None)
        server.stream.resume()
        await server.reads(b"EHLO c.example\r\n")
        server.stream.timeout(0)
        await goodbye(client, server)

    run(talk())


def test_a_peer_that_only_pauses_its_handshake_is_still_read(run, in_memory, peer, contexts):
    async def talk():
        client, server = await joined(in_memory, peer)
        server.stream.pause()
        server.stream.start_tls(contexts[0])
        client.stream.start_tls(contexts[1])
        await asyncio.gather(client.becomes_secure(), server.becomes_secure())
        client.stream.write(b"held")
        await settle()
        assert server.data == b""
        server.stream.resume()
        await server.reads(b"held")
        await goodbye(client, server)

    run(talk())


@pytest.mark.parametrize("tls", [False, True])
def test_what_was_held_is_delivered_before_the_end(run, pairs, peer, contexts, tls):
    async def talk():
        client, server = await (secured(pairs, peer, contexts) if tls else joined(pairs, peer))
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
def test_a_peer_that_never_reads_its_replies_is_read_no_more(run, sockets, peer, contexts, tls):
    async def talk():
        def answer(self, data):
            self.stream.write(b"250 " + b"x" * 500 + b"\r\n" * data.count(b"\n") * 20)

        client, server = await (secured(sockets, peer, contexts) if tls else joined(sockets, peer))
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
def test_four_megabytes_of_output_that_nobody_reads_end_the_stream(run, sockets, peer, contexts, tls):
    async def talk():
        client, server = await (secured(sockets, peer, contexts) if tls else joined(sockets, peer))
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


def test_one_write_cannot_pass_the_cap_either(run, in_memory, peer):
    async def talk():
        client, server = await joined(in_memory, peer)
        server.stream.write(b"x" * (module.MAX_OUTPUT + 1))
        assert (await server.ends()).kind is LossKind.RESET
        await client.ends()
        assert client.data == b""

    run(talk())


@pytest.mark.parametrize("tls", [False, True])
def test_five_megabytes_arrive_whole(run, sockets, peer, contexts, tls):
    async def talk():
        client, server = await (secured(sockets, peer, contexts) if tls else joined(sockets, peer))
        for number in range(100):
            server.stream.write(bytes([number]) * 50_000)
            await server.stream.drain()
        await client.until(lambda: len(client.data) == 5_000_000)
        assert client.data == b"".join(bytes([number]) * 50_000 for number in range(100))
        await goodbye(client, server)

    run(talk())


def test_a_sender_that_waits_is_woken_by_the_loss(run, sockets, peer):
    async def talk():
        client, server = await joined(sockets, peer)
        server.stream._transport.pause_reading()
        await fill(client.stream)
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


def test_silence_ends_the_stream(run, pairs, peer):
    async def talk():
        loop = asyncio.get_running_loop()
        client, server = await joined(pairs, peer)
        server.stream.timeout(0.3)
        begin = loop.time()
        await asyncio.sleep(0.2)
        client.stream.write(b"x")
        await server.reads(b"x")
        assert (await server.ends()).kind is LossKind.TIMEOUT
        assert 0.45 < loop.time() - begin < 3
        server.stream.timeout(1)
        server.stream.pause()
        server.stream.resume()
        await client.ends()

    run(talk())


def test_a_handshake_has_its_time_and_trickled_bytes_do_not_lengthen_it(run, pairs, peer, contexts):
    async def talk():
        loop = asyncio.get_running_loop()
        client, server = await joined(pairs, peer)
        server.stream.timeout(0.3)
        server.stream.start_tls(contexts[0])
        begin = loop.time()
        for byte in b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"r" * 400:
            if server.loss:
                break
            client.stream.write(bytes([byte]))
            await asyncio.sleep(0.02)
        assert (await server.ends()).kind is LossKind.TIMEOUT
        assert 0.25 < loop.time() - begin < 3
        await client.ends()

    run(talk())


def test_our_own_pause_is_not_the_peers_silence(run, pairs, peer):
    async def talk():
        client, server = await joined(pairs, peer)
        server.stream.timeout(0.1)
        server.stream.pause()
        await asyncio.sleep(0.3)
        assert server.loss is None
        server.stream.resume()
        assert (await server.ends()).kind is LossKind.TIMEOUT
        await client.ends()

    run(talk())


# ------------------------------------------------------------------------------------------------ the end


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("side", ["client", "server"])
def test_what_was_written_arrives_before_the_end(run, pairs, peer, contexts, tls, side):
    async def talk():
        both = await (secured(pairs, peer, contexts) if tls else joined(pairs, peer))
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
def test_unread_input_does_not_cost_the_last_reply(run, sockets, peer, contexts, tls):
    """A kernel that has unread input when a socket is closed resets it, and the peer never sees our 421."""

    async def talk():
        def refuse(self, data):
            self.stream.write(b"421 4.7.0 too many errors\r\n")
            self.stream.close()

        client, server = await (secured(sockets, peer, contexts) if tls else joined(sockets, peer))
        server.react = refuse
        for _ in range(20):
            client.stream.write(b"NOISE\r\n" * 10_000)
            await asyncio.sleep(0)
        loss = await client.ends()
        assert (client.data, loss.kind) == (b"421 4.7.0 too many errors\r\n", LossKind.CLOSED)
        assert (await server.ends()).kind is LossKind.CLOSED

    run(talk())


@pytest.mark.parametrize("tls", [False, True])
def test_closing_takes_no_longer_than_it_may(run, sockets, peer, contexts, monkeypatch, tls):
    monkeypatch.setattr(module, "CLOSE_SECONDS", 0.2)

    async def talk():
        loop = asyncio.get_running_loop()
        client, server = await (secured(sockets, peer, contexts) if tls else joined(sockets, peer))
        client.stream._transport.pause_reading()
        await fill(server.stream)
        begin = loop.time()
        server.stream.close()
        server.stream.pause()
        server.stream.timeout(60)
        assert (await server.ends()).kind is LossKind.CLOSED
        assert 0.15 < loop.time() - begin < 3
        client.stream.abort(Loss(LossKind.CLOSED))
        await client.ends()

    run(talk())


def test_a_close_that_is_cut_short_stays_a_close(run, sockets, peer):
    async def talk():
        client, server = await joined(sockets, peer)
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
def test_a_reset_of_the_network(run, sockets, peer, contexts, tls, kind):
    async def talk():
        client, server = await joined(sockets, peer)
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
def test_a_receiver_that_fails_is_reported_and_its_stream_ends(peer, in_memory, held):
    failures = []

    async def talk():
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))

        def fail(self, data):
            raise ArithmeticError("a bug of ours")

        client, server = await joined(in_memory, peer, fail)
        if held:
            server.stream.pause()
            client.stream.write(b"x")
            await settle()
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
        await settle()
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
