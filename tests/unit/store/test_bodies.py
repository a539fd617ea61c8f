from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import threading
import time
import tracemalloc
from itertools import pairwise

import apsw
import pytest

from gatepost.mail.model.queue_id import format_id
from gatepost.net.tasks import spawn
from gatepost.store import bodies as module
from gatepost.store.bodies import Bodies
from gatepost.store.interface import Settlement, StoreBusy, StoreFailure, StoreFull
from gatepost.store.sqlite.administration import Administration
from gatepost.store.sqlite.schema import QUEUE_FILE, StoreSettings

LIMIT = 256 * 1024


def big_files(shop):
    return list((shop.shard / "big").iterdir())


def test_small_bodies_stay_in_memory_and_are_counted(shop):
    async def main():
        async with shop.open() as store:
            body = store.body()
            assert body.write(b"x" * 1000) is None
            assert body.write(b"x" * 1000) is None
            assert body.size == store._bodies.in_memory == 2000
            body.abort()
            body.abort()
            assert store._bodies.in_memory == 0
            await shop.accept(store, body=b"x" * 5000)
            assert store._bodies.in_memory == 0

    asyncio.run(main())


def test_a_body_in_memory_is_kept_once_after_its_end(shop):
    async def main():
        async with shop.open() as store:
            body = store.body()
            body.write_head(b"head ")
            body.write(b"of a ")
            body.write(b"body")
            assert body.whole() == b"head of a body"
            body.replace_head(b"another head ")
            body.end()
            assert body.whole() == b"another head of a body"
            assert body.whole() is body.whole()
            body.release()
            assert store._bodies.in_memory == 0

    asyncio.run(main())


def test_beyond_the_memory_budget_small_bodies_go_to_files(shop):
    async def main():
        async with shop.open(memory_budget=10_000) as store:
            held = store.body()
            held.write(b"x" * 7000)
            delivery = await shop.accept(store, body=[b"y" * 1500, b"z" * 10])
            assert delivery.body is None
            assert len(big_files(shop)) == 1
            assert await shop.read(store, delivery.message.id) == b"y" * 1500 + b"z" * 10
            headed = store.body()
            headed.write_head(b"h" * 1500)
            headed.reserve(1500)
            headed.abort()
            held.abort()
            assert (await shop.accept(store, body=b"y" * 1500)).body is not None
            assert store._bodies.in_memory == 0

    asyncio.run(main())


def test_a_big_body_is_synced_as_it_grows_and_before_the_commit(shop, monkeypatch):
    synced = []
    fdatasync, fsync = os.fdatasync, os.fsync

    async def main():
        async with shop.open() as store:
            monkeypatch.setattr(os, "fdatasync", lambda fd: (synced.append(os.fstat(fd).st_size), fdatasync(fd)))
            monkeypatch.setattr(os, "fsync", lambda fd: (synced.append("directory"), fsync(fd)))
            await shop.accept(store, body=[b"x" * 65536] * 240)
            assert synced[-2:] == [240 * 65536, "directory"]
            steps = [0, *synced[:-1]]
            assert all(later - earlier < 6 * 1024 * 1024 for earlier, later in pairwise(steps))
            assert len(steps) >= 4

    asyncio.run(main())


def test_a_body_that_only_passes_through_is_not_synced(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    monkeypatch.setattr(os, "fsync", synced.append)

    async def main():
        arriving = Bodies(tmp_path, StoreSettings(), iter(range(1, 9)).__next__, synced=False)
        body = module.Body(arriving)
        for _ in range(100):
            if (wait := body.write(b"x" * 65536)) is not None:
                await wait
        body.end()
        done = asyncio.get_running_loop().create_future()
        body.finish(done.set_result)
        assert await done is None
        assert b"".join([chunk async for chunk in body.chunks()]) == b"x" * 6553600
        arriving.close()

    asyncio.run(main())
    assert synced == []


def test_the_sender_is_held_back_while_the_disk_is_behind(shop, monkeypatch):
    gate = threading.Event()
    writev = os.writev

    def slow(descriptor, chunks):
        gate.wait(10)
        return writev(descriptor, chunks)

    async def main():
        async with shop.open() as store:
            monkeypatch.setattr(os, "writev", slow)
            body = store.body()
            waits = [wait for _ in range(20) if (wait := body.write(b"x" * 65536)) is not None]
            assert waits
            assert store._bodies.waiting == 20 * 65536
            tasks = [asyncio.get_running_loop().create_task(wait) for wait in waits]
            await asyncio.sleep(0.02)
            assert not any(task.done() for task in tasks)
            gate.set()
            await asyncio.gather(*tasks)
            message = shop.message(store)
            done = asyncio.get_running_loop().create_future()
            store.accept(message, [shop.delivery(store, message)], body, done.set_result)
            assert await done is None
            assert store._bodies.waiting == 0

    asyncio.run(main())


def test_much_that_waits_for_the_disk_is_told_once_and_when_most_of_it_is_written(shop, monkeypatch):
    gate, told, writev = threading.Event(), [], os.writev
    monkeypatch.setattr(os, "writev", lambda descriptor, chunks: (gate.wait(10), writev(descriptor, chunks))[1])
    monkeypatch.setattr(module, "_MUCH", 1)

    async def main():
        async with shop.open(memory_budget=50_000) as store:
            store.watch_disk(told.append)
            bodies = [store.body() for _ in range(4)]
            waits = [body.write(b"x" * 60_000) for body in bodies[:3]]
            assert told == []
            waits += [bodies[3].write(b"x" * 60_000), bodies[3].write(b"x")]
            assert told == [True]
            gate.set()
            await asyncio.gather(*filter(None, waits))
            for body in bodies:
                body.abort()
            assert told == [True, False]

    asyncio.run(main())


def test_over_the_budget_each_chunk_waits(shop, monkeypatch):
    gate = threading.Event()
    writev = os.writev
    monkeypatch.setattr(os, "writev", lambda descriptor, chunks: (gate.wait(10), writev(descriptor, chunks))[1])

    async def main():
        async with shop.open(memory_budget=1000) as store:
            body = store.body()
            first, second = body.write(b"x" * 2000), body.write(b"x" * 2000)
            assert first is not None
            assert second is not None
            gate.set()
            await first
            assert body._waiting == 0  # with what came meanwhile
            await second
            body.abort()

    asyncio.run(main())
    assert big_files(shop) == []


def test_a_short_write_is_completed(shop, monkeypatch):
    writev = os.writev
    monkeypatch.setattr(os, "writev", lambda descriptor, chunks: writev(descriptor, [b"".join(chunks)[:1000]]))
    content = os.urandom(LIMIT + 5000)

    async def main():
        async with shop.open() as store:
            delivery = await shop.accept(store, body=[content[:100_000], content[100_000:]])
            assert await shop.read(store, delivery.message.id) == content

    asyncio.run(main())


@pytest.mark.parametrize("wait", [True, False])
def test_an_aborted_big_body_leaves_nothing(shop, wait):
    async def main():
        async with shop.open() as store:
            body = store.body()
            body.write(b"x" * 3 * LIMIT)
            if wait:
                await asyncio.sleep(0.05)
            body.abort()
            with pytest.raises(ValueError, match="has ended"):
                body.write(b"x")
            async with asyncio.timeout(20):  # what a thread is writing goes when it has written it
                while big_files(shop) or body.file is not None:  # noqa: ASYNC110 - a thread sets no event
                    await asyncio.sleep(0.005)

    asyncio.run(main())
    assert big_files(shop) == []


@pytest.mark.parametrize(
    ("number", "kind", "final"),
    [
        (errno.ENOSPC, StoreFull, False),
        (errno.EDQUOT, StoreFull, False),
        (errno.EMFILE, StoreBusy, False),
        (errno.EIO, StoreFailure, True),
    ],
)
@pytest.mark.parametrize("call", ["writev", "fdatasync"])
def test_what_the_disk_refuses(shop, monkeypatch, number, kind, final, call):
    def fail(*_arguments):
        raise OSError(number, os.strerror(number))

    async def main():
        async with shop.open() as store:
            monkeypatch.setattr(os, call, fail)
            with pytest.raises(StoreFailure) as raised:
                await shop.accept(store, body=[b"x" * 65536] * 8)
            assert type(raised.value) is kind
            assert (store.failure is not None) is final is raised.value.final
            assert store.owner.failures == ([store.failure] if final else [])
            monkeypatch.undo()
            if not final:
                await shop.accept(store, body=[b"x" * 65536] * 8)

    asyncio.run(main())
    assert len(big_files(shop)) == (0 if final else 1)


def test_after_a_failed_write_the_sender_is_told_at_the_next_one_and_at_accept(shop, monkeypatch):
    def fail(*_arguments):
        raise OSError(errno.ENOSPC, "no room")

    async def main():
        async with shop.open() as store:
            monkeypatch.setattr(os, "writev", fail)
            body = store.body()
            wait = body.write(b"x" * (LIMIT * 5))
            with pytest.raises(StoreFull):
                await wait
            with pytest.raises(StoreFull):
                body.write(b"x")
            message = shop.message(store)
            done = asyncio.get_running_loop().create_future()
            store.accept(message, [shop.delivery(store, message)], body, done.set_result)
            assert isinstance(await done, StoreFull)
            body.abort()

    asyncio.run(main())


def test_flushed_and_close_wait_for_bodies_on_their_way(shop):
    async def main():
        results = []
        async with shop.open() as store:
            for last in (False, True):
                message = shop.message(store)
                body = store.body()
                body.write(b"x" * (LIMIT + 1))
                store.accept(message, [shop.delivery(store, message)], body, results.append)
                if not last:
                    await store.flushed()
                    assert results == [None]
        assert results == [None, None]

    asyncio.run(main())
    assert len(big_files(shop)) == 2


def test_an_error_that_is_not_the_systems_is_final(shop, monkeypatch):
    def fail(*_arguments):
        raise TypeError("a mistake of ours")

    async def main():
        async with shop.open() as store:
            monkeypatch.setattr(os, "writev", fail)
            with pytest.raises(StoreFailure, match="a mistake of ours"):
                await shop.accept(store, body=[b"x" * (LIMIT + 1)])

    asyncio.run(main())


def test_a_reader_that_gives_up_closes_the_file(shop):
    async def main():
        async with shop.open() as store:
            delivery = await shop.accept(store, body=[b"x" * LIMIT] * 4)
            reading = store.read(delivery.message.id)
            assert len(await anext(reading)) == LIMIT
            await reading.aclose()
            sizes = [len(chunk) async for chunk in store.read(delivery.message.id)]
            assert max(sizes) <= module.CHUNK
            assert sum(sizes) == 4 * LIMIT

    asyncio.run(main())


def test_a_big_file_that_vanished_is_a_lookup_error(shop):
    async def main():
        async with shop.open() as store:
            delivery = await shop.accept(store, body=[b"x" * (LIMIT + 1)])
            for path in big_files(shop):
                path.unlink()
            with pytest.raises(LookupError):
                await shop.read(store, delivery.message.id)

    asyncio.run(main())


def test_a_closed_loop_is_not_told(shop):
    async def main():
        async with shop.open() as store:
            return store._bodies

    bodies = asyncio.run(main())
    assert isinstance(bodies, Bodies)
    bodies._threads = type("Now", (), {"submit": staticmethod(_Done)})()
    bodies.run(lambda: None, print)


class _Done:
    def __init__(self, job):
        job()

    def add_done_callback(self, call_back):
        call_back(self)

    def exception(self):
        return None


async def chunks_of(body):
    return b"".join([chunk async for chunk in body.chunks()])


@pytest.mark.parametrize("size", [10, LIMIT, 3 * LIMIT], ids=["small", "at the limit", "big"])
def test_a_head_is_kept_apart_until_it_is_replaced(shop, size):
    async def main():
        async with shop.open() as store:
            body = store.body()
            body.write_head(b"one ")
            body.write_head(b"two ")
            for _ in range(5):
                if (behind := body.write(b"x" * (size // 5))) is not None:
                    await behind
            rest = b"x" * (size // 5 * 5)
            assert await chunks_of(body) == b"one two " + rest
            assert await asyncio.gather(chunks_of(body), chunks_of(body)) == [b"one two " + rest] * 2
            body.replace_head(b"another and longer ")
            assert body.size == 19 + len(rest)
            delivery = await shop.accept(store, body=body)
            message = delivery.message
            assert message.size == body.size
            assert await shop.read(store, message.id) == b"another and longer " + rest
            assert store._bodies.in_memory == 0
        async with shop.open() as store:  # after a restart, too
            assert await shop.read(store, message.id) == b"another and longer " + rest
            administration = Administration(shop.queue, lambda _: None)
            assert b"".join(administration.body(format_id(message.id))) == b"another and longer " + rest
            (again,) = await store.lease(delivery.destination, 1, time.time() + 1)
            store.settle([Settlement(again, [])])
            await store.flushed()
            with pytest.raises(LookupError):
                await shop.read(store, message.id)
        assert big_files(shop) == []
        with contextlib.closing(apsw.Connection(str(shop.shard / QUEUE_FILE))) as connection:
            assert connection.execute("SELECT count(*) FROM body").get == 0

    asyncio.run(main())


@pytest.mark.parametrize("ends", ["abort", "release"])
def test_what_is_kept_beside_a_body_counts_while_it_arrives(shop, ends):
    async def main():
        async with shop.open(memory_budget=100) as store:
            body, other = store.body(), store.body()
            for size in (60, 90, 40, 100, 60):
                body.reserve(size)
                assert store._bodies.in_memory == size
            with pytest.raises(StoreBusy):
                other.reserve(41)
            with pytest.raises(StoreBusy):
                body.reserve(101)
            assert store._bodies.in_memory == 60
            other.reserve(40)
            if ends == "release":
                body.end()
            getattr(body, ends)()
            body.reserve(0)
            body.abort()
            assert store._bodies.in_memory == 40
            other.reserve(100 if ends == "release" else 0)
            other.abort()
            assert store._bodies.in_memory == 0

    asyncio.run(main())


def test_a_head_comes_first_and_only_while_there_is_memory(shop):
    async def main():
        async with shop.open(memory_budget=100) as store:
            body = store.body()
            body.write_head(b"x" * 60)
            with pytest.raises(StoreBusy):
                body.write_head(b"x" * 60)
            body.write(b"y")
            with pytest.raises(ValueError, match="before everything else"):
                body.write_head(b"x")
            body.abort()
            assert store._bodies.in_memory == 0
            body.replace_head(b"")
            assert store._bodies.in_memory == 0

    asyncio.run(main())


def test_what_was_not_kept_cannot_be_read(shop, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSPC, "full")

    async def main():
        async with shop.open() as store:
            monkeypatch.setattr(os, "writev", refuse)
            body = store.body()
            body.write_head(b"head")
            body.write(b"x" * 2 * LIMIT)
            with pytest.raises(StoreFull):
                await chunks_of(body)
            monkeypatch.undo()
            other = store.body()
            other.write(b"x" * 2 * LIMIT)
            await chunks_of(other)
            other.file.path.unlink()
            with pytest.raises(StoreBusy):
                await chunks_of(other)
            other.abort()

    asyncio.run(main())


@pytest.mark.parametrize(("budget", "waits"), [(32 * LIMIT, True), (2 * LIMIT - 2, False)], ids=["alone", "crowd"])
def test_the_beginning_of_a_big_body_waits_for_more_unless_much_waits_already(shop, budget, waits):
    async def main():
        async with shop.open(memory_budget=budget) as store:
            body = store.body()
            assert body.write(b"x" * (LIMIT + 1)) is None
            assert body._running is not waits
            behind = body.write(b"x" * (LIMIT - 1))
            assert body._running
            if behind is not None:
                await behind
            body.abort()

    asyncio.run(main())


@pytest.mark.parametrize("begin", [0, LIMIT + 1], ids=["in memory", "on its way to the disk"])
def test_pieces_of_a_few_octets_take_hardly_more_memory_than_they_are_counted_as(shop, begin):
    async def main():
        async with shop.open() as store:
            body = store.body()
            body.write(b"x" * begin)
            pieces = (b"%02d" % (number % 100) for number in range(20_000))
            tracemalloc.start()
            for piece in pieces:
                body.write(piece)
            taken = tracemalloc.get_traced_memory()[0]
            tracemalloc.stop()
            assert not body._running
            assert taken < 2 * 2 * 20_000
            assert await chunks_of(body) == b"x" * begin + b"".join(b"%02d" % at for at in range(100)) * 200
            body.abort()

    asyncio.run(main())


def test_who_reads_a_big_body_waits_for_no_more_of_it(shop):
    async def main():
        async with shop.open() as store:
            body = store.body()
            body.write(b"x" * (LIMIT + 1))
            assert not body._running
            async with asyncio.timeout(60):
                assert await chunks_of(body) == b"x" * (LIMIT + 1)
            body.abort()

    asyncio.run(main())


def test_a_body_ends_once(shop):
    async def main():
        async with shop.open() as store:
            body = store.body()
            body.end()
            with pytest.raises(ValueError, match="has ended"):
                body.end()

    asyncio.run(main())


def test_a_finished_body_that_is_not_accepted_leaves_nothing(shop, eventually):
    """The file of one is removed, of one in memory there is nothing to remove."""

    async def main():
        async with shop.open() as store:
            for content in (b"x" * 1000, b"x" * (LIMIT + 1)):
                body = store.body()
                if (wait := body.write(content)) is not None:
                    await wait
                body.end()
                if body.file is not None:
                    finished = asyncio.get_running_loop().create_future()
                    body.finish(finished.set_result)
                    assert await finished is None
                    assert len(big_files(shop)) == 1
                body.release()
                body.discard()
            await eventually(lambda: big_files(shop) == [])

    asyncio.run(main())


def test_a_file_that_is_too_short_is_said(shop):
    async def main():
        async with shop.open() as store:
            delivery = await shop.accept(store, body=b"x" * (LIMIT + 1))
            (path,) = big_files(shop)
            path.write_bytes(b"x" * LIMIT)
            with pytest.raises(LookupError, match="is 1 octets short"):
                await shop.read(store, delivery.message.id)

    asyncio.run(main())


def test_strays_are_removed_and_short_files_named(tmp_path):
    for name, content in (
        (format_id(1), b"12345"), (format_id(2), b"1"), (format_id(3), b"12345"), ("no id", b""),
    ):  # fmt: skip
        (tmp_path / name).write_bytes(content)
    assert module.remove_strays(tmp_path, {1: 5, 2: 5, 4: 5}) == [2, 4]
    assert sorted(path.name for path in tmp_path.iterdir()) == [format_id(1), format_id(2)]


def test_what_waits_for_the_disk_hears_of_its_failure(shop, monkeypatch):
    """The writer is told, whether it waits just then or comes later; a call-back of nobody is not called."""

    async def main():
        async with shop.open() as store:
            store._bodies.failed = lambda _failure: None
            gate = threading.Event()

            def fails(_descriptor, _chunks):
                gate.wait(10)
                raise OSError(errno.EIO, "broken")

            monkeypatch.setattr(os, "writev", fails)
            body = store.body()
            wait = None
            while wait is None:
                wait = body.write(b"x" * 65536)
            waiting = spawn(wait, "waiting")
            await asyncio.sleep(0)
            gate.set()
            with pytest.raises(StoreFailure):
                await waiting
            assert body.failure is not None

    asyncio.run(main())


def test_who_waits_for_the_disk_once_it_has_caught_up_goes_on_at_once(shop, eventually):
    async def main():
        async with shop.open() as store:
            body = store.body()
            while (wait := body.write(b"x" * 65536)) is None:
                pass
            await eventually(lambda: body._waiting == 0)
            assert await wait is None
            body.abort()

    asyncio.run(main())
