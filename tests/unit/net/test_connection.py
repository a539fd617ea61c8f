from __future__ import annotations

import asyncio
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from OpenSSL import SSL

from gatepost.net import openssl_private as private
from gatepost.net.connection import HIGH_WATER, Connection
from gatepost.net.engine import client_context
from gatepost.net.stream import Loss, LossKind
from gatepost.net.tasks import spawn
from gatepost.protocols.tls.profile import PROFILES
from gatepost.values import replace

# ------------------------------------------------------------------------------------------------ plaintext


def test_bytes_go_both_ways(run, pairs, peer):
    async def talk():
        client, server = await pairs.joined()
        client.stream.write(b"EHLO c.example\r\n")
        await server.reads(b"EHLO c.example\r\n")
        server.stream.write(b"")
        server.stream.write(b"250 mx.a.example\r\n")
        await client.reads(b"250 mx.a.example\r\n")
        assert client.stream.tls is server.stream.tls is None
        assert (client.stream.peer, client.stream.local) == (server.stream.local, server.stream.peer)
        await client.says_goodbye(server)

    run(talk())


def test_loops_of_several_threads_do_not_read_into_the_same_memory():
    """Connectors of several organizations are validated at once, each on a loop of its own."""

    async def read(text):
        buffer = Connection(asyncio.get_running_loop()).get_buffer(-1)
        buffer[: len(text)] = text
        filled.wait(60)
        return bytes(buffer[: len(text)])

    filled, texts = threading.Barrier(2), [b"of one organization", b"of someone else's.."]
    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(lambda text: asyncio.run(read(text)), texts)) == texts


def test_endpoints_are_addresses_and_ports(run, sockets, peer):
    async def talk():
        client, server = await sockets.joined()
        assert client.stream.peer.host == server.stream.peer.host == "127.0.0.1"
        assert client.stream.peer.port != client.stream.local.port != 0
        await client.says_goodbye(server)

    run(talk())


def test_nagle_is_off_on_both_sides(run, sockets):
    async def talk():
        client, server = await sockets.joined()
        for each in (client, server):
            raw = each.stream._transport.get_extra_info("socket")
            assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        await client.says_goodbye(server)

    run(talk())


@pytest.mark.parametrize("tls", [False, True])
def test_writes_of_one_turn_leave_in_one_flight(run, in_memory, tls):
    async def talk():
        def answer(self, data):
            for _ in range(data.count(b"\n")):
                self.stream.write(b"250 ok\r\n")

        client, server = await (in_memory.secured() if tls else in_memory.joined())
        server.react = answer
        client.calls.clear()
        for _ in range(5):
            client.stream.write(b"NOOP\r\n")
        await client.until(lambda: client.data.count(b"\n") == 5)
        assert server.calls[-1] == b"NOOP\r\n" * 5
        assert client.calls == [b"250 ok\r\n" * 5]
        await client.says_goodbye(server)

    run(talk())


def test_what_came_before_the_receiver_is_kept_for_it(run, pairs, peer):
    async def talk():
        ours, theirs = await pairs.join()
        ours.write(b"220 early\r\n")
        await asyncio.sleep(0.02)
        server = peer(theirs)
        await server.reads(b"220 early\r\n")
        await peer(ours).says_goodbye(server)

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
        client, first = await in_memory.joined()
        second = peer(first.stream)
        client.stream.write(b"hello")
        await second.reads(b"hello")
        assert first.data == b""
        await client.says_goodbye(second)

    run(talk())


# ------------------------------------------------------------------------------------------------ TLS


def test_tls_begins_in_place(run, pairs, contexts):
    async def talk():
        client, server = await pairs.secured(server_name="mx.a.example")
        assert client.stream.tls == client.facts
        assert server.facts.version == "TLSv1.3"
        assert server.facts.server_name == "mx.a.example"
        client.stream.write(b"EHLO c.example\r\n")
        await server.reads(b"EHLO c.example\r\n")
        server.stream.write(b"250 mx.a.example\r\n" * 3)
        await client.reads(b"250 mx.a.example\r\n" * 3)
        with pytest.raises(RuntimeError, match="begun"):
            server.stream.start_tls(contexts[0])
        await client.says_goodbye(server)
        assert client.stream.tls == client.facts

    run(talk())


def test_what_is_written_during_the_handshake_goes_encrypted_after_it(run, pairs, contexts):
    async def talk():
        client, server = await pairs.joined()
        server.stream.start_tls(contexts[0])
        server.stream.write(b"220 mx.a.example\r\n")
        client.stream.start_tls(contexts[1])
        client.stream.write(b"EHLO c.example\r\n")
        await client.stream.drain()
        await client.reads(b"220 mx.a.example\r\n")
        await server.reads(b"EHLO c.example\r\n")
        assert client.facts
        assert server.facts
        await client.says_goodbye(server)

    run(talk())


def test_what_ends_and_follows_a_handshake_and_the_last_reply_and_the_end_are_one_write_each(
    run, in_memory, contexts, monkeypatch
):
    def answer(self, data):
        self.stream.write(b"250 ok\r\n")
        if data == b"QUIT\r\n":
            self.stream.close()

    async def talk():
        client, server = await in_memory.joined(answer)
        writes = {"client": 0, "server": 0}
        for name, peer in (("client", client), ("server", server)):
            transport = peer.stream._transport

            def counted(data, name=name, write=transport.write):
                writes[name] += 1
                write(data)

            monkeypatch.setattr(transport, "write", counted)
        server.stream.start_tls(contexts[0])
        client.stream.start_tls(contexts[1])
        client.stream.write(b"EHLO c.example\r\n")
        await client.reads(b"250 ok\r\n")
        assert writes == {"client": 2, "server": 2}  # hello; its answer; finished and EHLO; tickets and reply
        client.stream.write(b"QUIT\r\n")
        await client.reads(b"250 ok\r\n")
        assert (await client.ends()).kind is LossKind.CLOSED
        assert writes["server"] == 3

    run(talk())


def test_a_sender_waits_for_the_handshake(run, in_memory, contexts):
    async def talk():
        client, server = await in_memory.joined()
        server.stream.start_tls(contexts[0])
        client.stream.start_tls(contexts[1])
        client.stream.write(b"x" * HIGH_WATER)
        waiting = spawn(client.stream.drain(), "drain")
        await asyncio.sleep(0)
        assert not waiting.done()
        await server.until(lambda: len(server.data) == HIGH_WATER)
        await waiting
        await client.says_goodbye(server)

    run(talk())


def test_twenty_sessions_resume_over_the_wire(one_period, run, sockets):
    async def talk():
        context = client_context(PROFILES["default"])
        chains = set()
        for number in range(21):
            client, server = await sockets.secured(context=context, session_key="a.example")
            assert client.facts.resumed is server.facts.resumed is (number > 0)
            chains.add(client.facts.peer_chain)
            server.stream.write(b"220 ready\r\n")
            await client.reads(b"220 ready\r\n")
            await client.says_goodbye(server)
        assert [len(chain) for chain in chains] == [2]

    run(talk())


def test_plaintext_that_waits_when_tls_begins_ends_the_stream(run, pairs, contexts):
    """RFC 3207 section 6: what was injected behind STARTTLS is neither read nor answered."""

    async def talk():
        client, server = await pairs.joined()
        client.stream.write(b"STARTTLS\r\n")
        await server.reads(b"STARTTLS\r\n")
        server.stream.pause()
        client.stream.write(b"MAIL FROM:<evil@c.example>\r\n")
        while not server.stream._held:  # noqa: ASYNC110 - of which a receiver that pauses is told nothing
            await asyncio.sleep(0.001)
        server.stream.write(b"220 go\r\n")
        server.stream.start_tls(contexts[0])
        assert (await server.ends()).kind is LossKind.INJECTION
        assert server.data == b""
        await client.ends()

    run(talk())


def test_a_client_is_safe_from_it_too(run, pairs, contexts):
    async def talk():
        client, server = await pairs.joined()
        client.stream.pause()
        server.stream.write(b"250 injected\r\n")
        while not client.stream._held:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.001)
        client.stream.start_tls(contexts[1])
        assert (await client.ends()).kind is LossKind.INJECTION
        assert client.data == b""
        await server.ends()

    run(talk())


@pytest.mark.parametrize("noise", [b"EHLO c.example\r\n", b"\x16\x03\x01\x00\x05hello"])
def test_plaintext_in_place_of_a_client_hello_is_never_executed(run, pairs, contexts, noise):
    async def talk():
        client, server = await pairs.joined()
        server.stream.start_tls(contexts[0])
        client.stream.write(noise)
        loss = await server.ends()
        assert loss.kind is LossKind.HANDSHAKE
        assert loss.detail
        assert server.data == b""
        assert (await client.ends()).kind in {LossKind.CLOSED, LossKind.RESET}

    run(talk())


def test_no_common_version_is_an_alert_and_a_loss_on_both_sides(run, pairs, contexts):
    old = client_context(replace(PROFILES["legacy"], max_version="TLSv1.1"))

    async def talk():
        client, server = await pairs.joined()
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


def test_a_profile_that_can_do_nothing_is_a_failed_handshake(run, pairs):
    nothing = client_context(replace(PROFILES["modern"], suites13=""))

    async def talk():
        client, server = await pairs.joined()
        client.stream.start_tls(nothing)
        loss = await client.ends()
        assert (loss.kind, loss.detail) == (LossKind.HANDSHAKE, "no ciphers available")
        assert (await server.ends()).kind is LossKind.CLOSED

    run(talk())


def test_a_peer_that_goes_away_during_the_handshake(run, pairs, contexts):
    async def talk():
        client, server = await pairs.joined()
        server.stream.start_tls(contexts[0])
        client.stream.close()
        loss = await server.ends()
        assert loss.kind is LossKind.HANDSHAKE
        assert "during the handshake" in loss.detail

    run(talk())


def test_a_server_that_refuses_our_certificate_after_our_last_flight(run, in_memory, pki):
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
        if output := private.take_output(raw):
            self.stream.write(output)

    async def talk():
        client, server = await in_memory.joined(drive)
        client.stream.start_tls(client_context(PROFILES["default"]))
        await client.becomes_secure()
        loss = await client.ends()
        assert loss.kind is LossKind.HANDSHAKE
        assert "certificate required" in loss.detail
        await server.ends()

    run(talk())


def test_a_changed_record_ends_the_stream(run, in_memory):
    async def talk():
        client, server = await in_memory.secured()
        client.stream.write(b"first")
        await server.reads(b"first")
        server.stream.write(b"second")
        await client.reads(b"second")
        client.stream._transport.write(b"\x17\x03\x03\x00\x20" + b"x" * 32)
        assert (await server.ends()).kind is LossKind.RESET
        loss = await client.ends()
        assert (loss.kind, "alert" in loss.detail) == (LossKind.RESET, True)

    run(talk())


def test_an_end_without_close_notify_is_a_truncation(run, pairs):
    async def talk():
        client, server = await pairs.secured()
        client.stream.write(b"DATA")
        await server.reads(b"DATA")
        client.stream._transport.write_eof()
        assert (await server.ends()).kind is LossKind.TRUNCATED
        client.stream.abort(Loss(LossKind.CLOSED))

    run(talk())


def test_nothing_is_read_behind_a_close_notify(run, in_memory):
    async def talk():
        client, server = await in_memory.secured()
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


def test_a_failure_to_encrypt_ends_the_stream(run, in_memory):
    async def talk():
        client, server = await in_memory.secured()
        client.stream._engine._connection.set_shutdown(SSL.SENT_SHUTDOWN)
        client.stream.write(b"too late")
        assert (await client.ends()).kind is LossKind.RESET
        assert (await server.ends()).kind is LossKind.TRUNCATED

    run(talk())
