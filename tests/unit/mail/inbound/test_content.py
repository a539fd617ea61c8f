from __future__ import annotations

import asyncio
import contextlib
import logging

import pytest
from support.exhaustion import no_descriptors

from gatepost.mail.inbound.content import _KEPT, ContentHooks, Examined
from gatepost.net.lookups.dns import Resolver
from gatepost.net.lookups.nameservers import Nameservers
from gatepost.net.tasks import spawn
from gatepost.policy.connectors.content_hook import ContentHook
from gatepost.policy.connectors.hook_index import ApplicableHook
from gatepost.protocols.scanners.finding import ScanAction
from gatepost.protocols.scanners.rspamd import Described
from gatepost.store.interface import StoreBusy

MESSAGE = b"Subject: x\r\n\r\nhello\r\n"
DESCRIBED = Described("192.0.2.1", "client.example", "", ("a@b.example",), "Q1", "mx.b.example")


async def content():
    yield MESSAGE


EXAMINED = Examined(DESCRIBED, len(MESSAGE), content)


def asked(address, **fields):
    kind = "rspamd" if "://" in address else "clamav"
    return ApplicableHook("contoso", ContentHook(**{"name": "h", "type": kind, "address": address} | fields))


@contextlib.asynccontextmanager
async def hooks(**options):
    resolver = Resolver(Nameservers(["127.0.0.1:9"], timeout=0.2))
    try:
        yield ContentHooks(resolver, **options)
    finally:
        await resolver.close()


@contextlib.asynccontextmanager
async def scanner(behave):
    """ "HOST:PORT" of a server that behaves like that, once it has read something."""

    async def serve(reader, writer):
        try:
            await reader.read(10)
            await behave(reader, writer)
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


def saying(answer):
    async def behave(_reader, writer):
        writer.write(answer)
        await writer.drain()
        await asyncio.sleep(0.05)

    return behave


CLEAN = saying(b"stream: OK\0")


async def silent(reader, _writer):
    await reader.read()


async def test_the_answer_of_each_hook_comes_in_its_place():
    async with hooks() as ours, scanner(CLEAN) as clean, scanner(saying(b"stream: X FOUND\0")) as infected:
        answers = await ours.ask([asked(infected, name="a"), asked(clean, name="b")], EXAMINED)
        assert [(one.asked.hook.name, one.finding.action) for one in answers] == [
            ("a", ScanAction.REJECT),
            ("b", ScanAction.NO_ACTION),
        ]
        assert all(one.milliseconds >= 0 and not one.failure for one in answers)


async def test_what_is_too_large_is_not_asked_about():
    async with hooks() as ours:
        (answer,) = await ours.ask([asked("127.0.0.1:1", max_size=1024)], Examined(DESCRIBED, 1025, content))
        assert (answer.too_large, answer.finding) == (True, None)


async def test_rspamd_is_told_whose_hook_asks():
    seen = []

    async def behave(reader, writer):
        seen.append(await reader.readuntil(MESSAGE))
        await saying(b'HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{"action": "reject"}')(reader, writer)

    async with hooks() as ours, scanner(behave) as address:
        hook = asked(f"http://{address}", settings_id="strict")
        (answer,) = await ours.ask([hook], EXAMINED)
        assert answer.finding.action is ScanAction.REJECT
        assert b"MTA-Tag: contoso\r\n" in seen[0]
        assert b"Settings-ID: strict\r\n" in seen[0]
        ours.reload()
        assert (await ours.ask([hook], EXAMINED))[0].finding is not None


async def test_anchors_that_cannot_be_read_are_a_failure_of_the_hook(tmp_path):
    async with hooks() as ours:
        (answer,) = await ours.ask([asked("https://127.0.0.1:1", trust_anchors=str(tmp_path / "none.pem"))], EXAMINED)
        assert answer.failure.startswith("trust_anchors: ")
        assert not answer.ours


async def test_without_descriptors_no_scanner_is_at_fault(gate, tmp_path):
    path = tmp_path / "root.pem"
    path.write_bytes(gate.authority.certificate_pem)
    hook = asked("https://127.0.0.1:1", trust_anchors=str(path))
    async with hooks() as ours:
        with no_descriptors():
            (short,) = await ours.ask([hook], EXAMINED)
        assert (short.ours, "Too many open files" in short.failure) == (True, True)
        (there,) = await ours.ask([hook], EXAMINED)
        assert not there.ours
        with no_descriptors():
            (short,) = await ours.ask([asked("http://127.0.0.1:1")], EXAMINED)
        assert short.ours


async def test_an_https_scanner_must_show_a_certificate_of_these_anchors(gate, tmp_path):
    path = tmp_path / "root.pem"
    path.write_bytes(gate.authority.certificate_pem)
    async with hooks() as ours, scanner(CLEAN) as address:
        (answer,) = await ours.ask([asked(f"https://{address}", trust_anchors=str(path), timeout=5)], EXAMINED)
        assert answer.failure


async def test_the_time_is_for_everything_and_connections_are_counted():
    async with hooks() as ours, scanner(silent) as address:
        one = asked(address, timeout=1, connections=1)
        answers = await asyncio.gather(*(ours.ask([one], EXAMINED) for _ in range(3)))
        reasons = {answer.failure for (answer,) in answers}
        # One of those that wait may get the connection in the very moment in which its own time is over.
        assert reasons == {
            "no connection was free within 1 s (connections = 1)",
            f"{address}: no whole answer within 1 s",
        }


@pytest.mark.parametrize("connections", [2, 8])
async def test_a_flood_for_one_organization_leaves_connections_to_others(connections):
    async def flood():
        yield b"flood"

    async def behave(reader, writer):
        content = await reader.read(100)
        await (silent if b"flood" in content else CLEAN)(reader, writer)

    async with hooks() as ours, scanner(behave) as address:
        mine, other = (
            asked(address, timeout=20, connections=connections)._replace(organization=name, shared=True)
            for name in ("contoso", "fabrikam")
        )
        flooding = [spawn(ours.ask([mine], Examined(DESCRIBED, 5, flood)), "a flood") for _ in range(30)]
        await asyncio.sleep(0.1)
        for _ in range(3):
            (answer,) = await asyncio.wait_for(ours.ask([other], EXAMINED), 5)
            assert answer.finding is not None
        (known,) = ours._scanners.values()
        assert known.connections.free == connections - max(1, connections * 3 // 4), "the flood has the rest"
        for each in flooding:
            each.cancel()
        await asyncio.gather(*flooding, return_exceptions=True)
        assert known.connections.free == connections


async def test_an_organization_alone_with_a_scanner_uses_all_its_connections():
    async with hooks() as ours, scanner(silent) as address:
        one = asked(address, timeout=20, connections=4)
        waiting = [spawn(ours.ask([one], EXAMINED), "a question") for _ in range(9)]
        await asyncio.sleep(0.05)
        assert ours._scanner(one.hook).connections.free == 0
        for each in waiting:
            each.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def test_who_gives_up_gives_the_connection_back():
    async with hooks() as ours, scanner(silent) as address:
        one = asked(address, connections=1)
        waiting = spawn(ours.ask([one], EXAMINED), "a question")
        await asyncio.sleep(0.05)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert ours._scanner(one.hook).connections.free == 1


async def test_a_message_that_cannot_be_read_is_the_stores_failure():
    async def unreadable():
        yield b"x"
        raise StoreBusy("gone")

    async with hooks() as ours, scanner(silent) as address:
        broken = Examined(DESCRIBED, 10, unreadable)
        for several in ([asked(address)], [asked(address), asked(address, name="i")]):
            with pytest.raises(StoreBusy):
                await ours.ask(several, broken)


async def test_the_log_tells_when_a_scanner_begins_to_fail_and_when_it_answers_again(caplog):
    caplog.set_level(logging.INFO)
    behaviours = [silent, silent, CLEAN, CLEAN]

    async def behave(reader, writer):
        await behaviours.pop(0)(reader, writer)

    told = []

    def tell(applicable, failure):
        told.append((applicable.hook.name, bool(failure)))

    async with hooks(told=tell) as ours, scanner(behave) as address:
        for _ in range(4):
            await ours.ask([asked(address, timeout=1)], EXAMINED)
    assert told == [("h", True), ("h", True), ("h", False), ("h", False)], "alarms are told of each"
    said = [record.message for record in caplog.records if "content hook" in record.message]
    assert len(said) == 2
    assert 'no whole answer within 1 s; until it answers again, on_failure = "defer" decides' in said[0]
    assert "answers again, after" in said[1]


async def test_scanners_are_not_remembered_without_end():
    async with hooks() as ours:
        for port in range(1, _KEPT + 10):
            ours._scanner(asked(f"127.0.0.1:{port}").hook)
        assert len(ours._scanners) <= _KEPT
