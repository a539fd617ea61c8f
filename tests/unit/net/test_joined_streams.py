from __future__ import annotations

import asyncio

import pytest
from support import joined_streams

from gatepost.net.connection import HIGH_WATER
from gatepost.net.stream import Endpoint, Loss, LossKind


def test_the_two_sides_see_each_other(run, peer):
    async def talk():
        ours, theirs = joined_streams.pair(client=Endpoint("2001:db8::1", 4321), server=Endpoint("192.0.2.9", 587))
        assert ours.local == theirs.peer == Endpoint("2001:db8::1", 4321)
        assert ours.peer == theirs.local == Endpoint("192.0.2.9", 587)
        client, server = peer(ours), peer(theirs)
        ours.close()
        await asyncio.gather(client.ends(), server.ends())

    run(talk())


@pytest.mark.parametrize("chunk", [1, 2, 7, 65536])
def test_reads_are_cut_as_asked(run, peer, chunk):
    async def talk():
        ours, theirs = joined_streams.pair(chunk=chunk)
        client, server = peer(ours), peer(theirs)
        ours.write(b"EHLO c.example\r\n")
        await server.reads(b"EHLO c.example\r\n")
        assert max(map(len, server.calls)) == min(chunk, 16)
        theirs.write(b"250 ok\r\n")
        await client.reads(b"250 ok\r\n")
        ours.close()
        await asyncio.gather(client.ends(), server.ends())

    run(talk())


def test_a_slow_reader_holds_the_writer_back(run, peer):
    async def talk():
        ours, theirs = joined_streams.pair()
        client, server = peer(ours), peer(theirs)
        theirs.pause()
        ours.write(b"x" * 3 * HIGH_WATER)
        await asyncio.sleep(0.01)
        assert ours._blocked
        assert server.data == b""
        theirs.resume()
        await ours.drain()
        await server.until(lambda: len(server.data) == 3 * HIGH_WATER)
        ours.close()
        await asyncio.gather(client.ends(), server.ends())

    run(talk())


def test_writing_to_a_side_that_is_gone_is_a_reset(run, peer):
    async def talk():
        ours, theirs = joined_streams.pair()
        client, server = peer(ours), peer(theirs)
        theirs._transport.write(b"is anybody there?")
        ours._transport.close()
        assert (await server.ends()).kind is LossKind.RESET
        assert (await client.ends()).kind is LossKind.CLOSED

    run(talk())


def test_an_abort_is_an_end_of_file_for_the_other(run, peer):
    async def talk():
        ours, theirs = joined_streams.pair()
        client, server = peer(ours), peer(theirs)
        ours.write(b"lost")
        ours.abort(Loss(LossKind.TIMEOUT))
        assert (await client.ends()).kind is LossKind.TIMEOUT
        assert (await server.ends()).kind is LossKind.CLOSED
        assert server.data == b""

    run(talk())


def test_the_transport_behaves_as_the_loops_do(run):
    class Protocol(asyncio.BufferedProtocol):
        def __init__(self):
            self.got, self.events, self.buffer = b"", [], bytearray(100)

        def get_buffer(self, sizehint):
            return self.buffer

        def buffer_updated(self, nbytes):
            self.got += self.buffer[:nbytes]

        def eof_received(self):
            self.events.append("eof")
            return True

        def pause_writing(self):
            self.events.append("pause")

        def resume_writing(self):
            self.events.append("resume")

        def connection_lost(self, exc):
            self.events.append(exc)

    async def script():
        loop = asyncio.get_running_loop()
        protocols = Protocol(), Protocol()
        one, other = (
            joined_streams.MemoryTransport(loop, protocol, 100, {"peername": ("h", 1)}) for protocol in protocols
        )
        one.other, other.other = other, one
        assert one.get_extra_info("peername") == ("h", 1)
        assert one.can_write_eof()
        assert one.is_reading()
        one.set_write_buffer_limits(high=150, low=100)
        other.pause_reading()
        assert not other.is_reading()
        one.writelines([b"a" * 100, b"b" * 100])
        await asyncio.sleep(0.01)
        assert (one.get_write_buffer_size(), protocols[0].events, protocols[1].got) == (200, ["pause"], b"")
        other.resume_reading()
        await asyncio.sleep(0.01)
        assert (protocols[0].events, protocols[1].got) == (["pause", "resume"], b"a" * 100 + b"b" * 100)
        one.write_eof()
        one.write(b"after the end")
        await asyncio.sleep(0.01)
        assert (protocols[1].events, len(protocols[1].got)) == (["eof"], 200)
        other.write(b"still open")
        await asyncio.sleep(0.01)
        assert protocols[0].got == b"still open"
        other.close()
        other.close()
        assert other.is_closing()
        await asyncio.sleep(0.01)
        assert protocols[1].events == ["eof", None]
        other.resume_reading()
        other.write(b"nothing")
        other.abort()
        one.close()
        await asyncio.sleep(0.01)
        assert protocols[0].events == ["pause", "resume", "eof", None]

    run(script())
