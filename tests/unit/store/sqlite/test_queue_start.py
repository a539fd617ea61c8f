"""A store that opens a long queue: mail is taken while older messages are looked through."""

from __future__ import annotations

import asyncio
import threading
import time

import apsw
import pytest

from gatepost.net.tasks import spawn
from gatepost.store.interface import StoreFailure
from gatepost.store.sqlite import queue
from gatepost.store.sqlite.schema import QUEUE_FILE


@pytest.fixture
def looking(shop, monkeypatch):
    """A queue with five leftovers that is looked through one message at a time, each when it is let."""
    go_on = threading.Semaphore(0)
    look_through = queue.look_through

    def wait(connection, **messages):
        assert go_on.acquire(timeout=30)
        return look_through(connection, **messages)

    async def fill():
        async with shop.open() as store:
            for _ in range(5):
                await shop.accept(store)

    asyncio.run(fill())
    for name in ("_NEWEST", "_ROWS"):
        monkeypatch.setattr(f"gatepost.store.sqlite.recovery.{name}", 0)
    monkeypatch.setattr(queue, "look_through", wait)
    return go_on


def due(shop):
    with apsw.Connection(str(shop.shard / QUEUE_FILE)) as connection:
        return connection.execute("SELECT count(*) FROM delivery WHERE next_at > 0").get


def test_new_mail_is_taken_while_leftovers_are_looked_for_and_leases_wait(shop, looking):
    async def main():
        async with shop.open() as store:
            lease = spawn(store.lease("contoso/partner.example", 9, time.time() + 9), "lease")
            asked = [spawn(store.destinations(), "destinations"), spawn(store.earliest("a/b"), "earliest")]
            fresh = await shop.accept(store)
            await store.flushed()
            assert due(shop) == 1  # the newest
            assert not lease.done()
            looking.release(9)
            leased = await lease
            assert len(leased) == 5
            assert fresh.id not in {delivery.id for delivery in leased}
            await asyncio.gather(*asked)
            assert await store.lease("contoso/partner.example", 9, time.time() + 9) == []

    asyncio.run(main())


def test_a_stop_cuts_it_short_and_the_next_start_goes_on(shop, looking, eventually):
    async def main():
        async with shop.open():
            looking.release(1)
            await eventually(lambda: due(shop) == 2)
            looking.release(1)
        assert due(shop) in {2, 3}  # what is looked through just then counts
        looking.release(9)
        async with shop.open() as store:
            assert len(await store.lease("contoso/partner.example", 9, time.time() + 9)) == 5

    asyncio.run(main())


def test_a_lease_that_waits_when_the_store_is_closed_is_told(shop, looking):
    async def main():
        async with shop.open() as store:
            lease = spawn(store.lease("contoso/partner.example", 9, time.time() + 9), "lease")
            closing = spawn(store.close(), "close")
            await asyncio.sleep(0)
            looking.release(1)
            await closing
            with pytest.raises(StoreFailure, match="the store is closed"):
                await asyncio.wait_for(lease, 30)

    asyncio.run(main())


def test_nobody_waits_for_it_once_the_process_is_to_stop(shop, looking):
    async def main():
        async with shop.open() as store:
            questions = [spawn(store.lease("contoso/partner.example", 9, time.time()), "lease")]
            questions.append(spawn(store.destinations(), "destinations"))
            await asyncio.sleep(0)
            store.stop_leasing()
            for question in questions:
                with pytest.raises(StoreFailure, match="the store is closed"):
                    await asyncio.wait_for(question, 30)
            assert due(shop) == 1, "no part was looked through"
            looking.release(1)  # `close` lets the one that has begun end
        assert due(shop) in {1, 2}

    asyncio.run(main())


def test_older_messages_without_leftovers_are_left_alone(shop, looking):
    with apsw.Connection(str(shop.shard / QUEUE_FILE)) as connection:
        connection.execute("UPDATE delivery SET next_at = 500.0")

    async def main():
        looking.release(9)
        async with shop.open() as store:
            assert await store.earliest("contoso/partner.example") == 500.0

    asyncio.run(main())


def test_ids_of_older_messages_are_not_given_out_again(shop, looking):
    """As with a clock that was put back: the highest id may be that of any delivery."""
    highest = 1 << 62
    with apsw.Connection(str(shop.shard / QUEUE_FILE)) as connection:
        connection.execute("UPDATE delivery SET id = ? WHERE message = (SELECT min(id) FROM message)", (highest,))

    async def main():
        looking.release(9)
        async with shop.open() as store:
            await store.destinations()
            assert store.new_id() > highest

    asyncio.run(main())


@pytest.mark.parametrize("error", [apsw.IOError("disk I/O error"), StoreFailure("on purpose")])
def test_a_queue_that_cannot_be_read_refuses_all(shop, looking, error, monkeypatch):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(queue, "look_through", fail)

    async def main():
        async with shop.open() as store:
            if isinstance(error, StoreFailure):
                store._fail(error)
            with pytest.raises(StoreFailure, match=r"disk I/O error|on purpose"):
                await store.lease("contoso/partner.example", 9, time.time())

    asyncio.run(main())
