from __future__ import annotations

import asyncio
import os
import random
import threading
import time

import apsw
import pytest

from gatepost.mail.model.message import Recipient
from gatepost.mail.model.trace_event import TraceEvent
from gatepost.net.tasks import spawn
from gatepost.store import bodies
from gatepost.store.interface import MessageUnstorable, Settlement, StoreFailure, StoreFull
from gatepost.store.sqlite.schema import QUEUE_FILE
from gatepost.store.sqlite.space import NO_ROOM
from gatepost.store.sqlite.trace_files import day_of
from gatepost.store.suspension import Suspension

LIMIT = 256 * 1024


def rows(shop, table):
    connection = apsw.Connection(str(shop.shard / QUEUE_FILE))
    with connection:
        result = connection.execute(f"SELECT * FROM {table}").fetchall()  # noqa: S608 - a table's name
    connection.close()
    return result


def big_files(shop):
    return sorted(path.name for path in (shop.shard / "big").iterdir())


def test_mail_gets_its_turn_between_two_changes_of_administrators(shop, monkeypatch, eventually):
    """Who changes the queue tries so often; with SQLite's own ten times a second its worker would come last."""
    tries, sleep = [], time.sleep

    def count(seconds):
        if threading.current_thread().name.startswith("store-"):
            tries.append(seconds)
        sleep(seconds)

    async def main():
        async with shop.open() as store:
            message = shop.message(store)
            delivery = shop.delivery(store, message, "ann@partner.example")
            administrator = apsw.Connection(str(shop.shard / QUEUE_FILE))
            administrator.execute("BEGIN IMMEDIATE")
            monkeypatch.setattr(time, "sleep", count)
            commit = spawn(shop.commit(store, message, [delivery], [b"x"]), "commit")
            await eventually(lambda: len(tries) >= 10)
            administrator.execute("ROLLBACK")
            await commit
            administrator.close()

    asyncio.run(main())
    assert max(tries) < 0.005, "as long as the moment between two commits may be"
    assert len(rows(shop, "message")) == 1


@pytest.mark.parametrize("size", [0, 1, 4096, LIMIT, LIMIT + 1, 5_000_000])
def test_what_was_accepted_can_be_read_and_is_gone_after_the_last_delivery(shop, size):
    content = random.Random(size).randbytes(size)  # noqa: S311 - content for a test
    chunks = [content[first : first + 65536] for first in range(0, size, 65536)]

    async def main():
        async with shop.open() as store:
            message = shop.message(store)
            one = shop.delivery(store, message, "ann@partner.example")
            two = shop.delivery(store, message, "joe@other.example")
            await shop.commit(store, message, [one, two], chunks)
            assert message.size == size
            assert (one.body is None) == (size > LIMIT)
            assert one.body is None or one.body == two.body == content
            assert await shop.read(store, message.id) == content
            assert len(big_files(shop)) == (1 if size > LIMIT else 0)
            store.settle([Settlement(one, [])])
            await store.flushed()
            assert await shop.read(store, message.id) == content
            store.settle([Settlement(two, [])])
            await store.flushed()
            with pytest.raises(LookupError):
                await shop.read(store, message.id)
        assert big_files(shop) == []
        assert rows(shop, "message") == rows(shop, "body") == rows(shop, "delivery") == []

    asyncio.run(main())


def test_envelope_and_recipients_come_back_as_they_were(shop):
    async def main():
        async with shop.open() as store:
            message = shop.message(
                store,
                body_type="BINARYMIME",
                smtputf8=True,
                ret="HDRS",
                envid="a+2Bb",
                subject="Grüße 你好",
                hops=3,
                inbound={"tls": {"version": "TLSv1.3"}, "reasons": ["a", "b"]},
            )
            delivery = shop.delivery(store, message, "ünï@bücher.example", expires_at=123.5)
            delivery.recipients = [Recipient("ünï@bücher.example", "FAILURE,DELAY", "utf-8;x", delayed=True)]
            await shop.commit(store, message, [delivery])
            delivery.attempts = 2
            store.settle([Settlement(delivery, delivery.recipients, 5.0, "451 4.4.1 später")])
            (leased,) = await store.lease(delivery.destination, 10, 6.0)
        assert leased.message == message
        assert leased.recipients == delivery.recipients
        assert (leased.id, leased.attempts, leased.next_at, leased.expires_at) == (delivery.id, 2, 5.0, 123.5)
        assert leased.last_error == "451 4.4.1 später"
        assert leased.body is None

    asyncio.run(main())


def test_many_share_a_commit(shop):
    commits = []

    async def main():
        async with shop.open() as store:
            transaction = store._writer._transaction
            store._writer._transaction = lambda write: (commits.append(1), transaction(write))
            await asyncio.gather(*[shop.accept(store) for _ in range(300)])

    asyncio.run(main())
    assert len(rows(shop, "message")) == 300
    assert len(commits) < 100


def test_one_malformed_message_does_not_fail_the_others_of_its_commit(shop):
    async def main():
        async with shop.open() as store:
            taken = await shop.accept(store)
            twin = shop.message(store)
            twin.id = taken.message.id  # a constraint finds this, in the transaction
            huge = shop.message(store)
            huge.id = 2**64  # the binding finds this
            odd = shop.message(store, reverse_path="\ud800@contoso.example")  # encoding finds this
            alien = shop.message(store)
            attempts = [
                *[shop.accept(store) for _ in range(5)],
                shop.commit(store, twin, [shop.delivery(store, twin)]),
                shop.commit(store, huge, [shop.delivery(store, huge)]),
                shop.commit(store, odd, [shop.delivery(store, odd)]),
                shop.commit(store, alien, [shop.delivery(store, taken.message)]),
                shop.commit(store, alien, []),
                shop.commit(store, odd, [shop.delivery(store, odd)], [b"x" * (LIMIT + 1)]),
                *[shop.accept(store) for _ in range(5)],
            ]
            results = await asyncio.gather(*attempts, return_exceptions=True)
            assert [type(result) for result in results[5:11]] == [MessageUnstorable] * 6
            assert not any(isinstance(result, Exception) for result in results[:5] + results[11:])
            assert not results[5].final
            assert results[5].reply.text.startswith("451 4.3.0")
            assert store.failure is None
        assert big_files(shop) == []
        assert len(rows(shop, "message")) == 11

    asyncio.run(main())


def test_a_malformed_settlement_is_refused_at_once(shop):
    async def main():
        async with shop.open() as store:
            delivery = await shop.accept(store)
            for error, remaining in [("\ud800", delivery.recipients), ("", [Recipient("\ud800@partner.example")])]:
                with pytest.raises(MessageUnstorable):
                    store.settle([Settlement(delivery, remaining, 5.0, error)])
            store.settle([Settlement(delivery, [])])
            await store.flushed()

    asyncio.run(main())
    assert rows(shop, "delivery") == []


def test_leases(shop):
    async def main():
        async with shop.open() as store:
            first, second, third = [await shop.deferred(store, next_at=at) for at in (30.0, 10.0, 20.0)]
            other = await shop.deferred(store, "joe@other.example", next_at=5.0)
            fresh = await shop.accept(store)
            destination = first.destination
            assert {(work.destination, work.earliest, work.count) for work in await store.destinations()} == {
                (destination, 10.0, 3),
                (other.destination, 5.0, 1),
            }
            assert await store.earliest(destination) == 10.0
            assert await store.lease(destination, 10, 9.0) == []
            one, two = await asyncio.gather(store.lease(destination, 1, 25.0), store.lease(destination, 5, 25.0))
            assert [delivery.id for delivery in one] == [second.id]
            assert [delivery.id for delivery in two] == [third.id]
            assert await store.lease(destination, 5, 25.0) == []
            assert await store.earliest(destination) == 30.0
            store.settle([Settlement(one[0], one[0].recipients, 7.0)])
            assert [delivery.id for delivery in await store.lease(destination, 5, 8.0)] == [second.id]
            assert await store.earliest("contoso/nowhere.example") == 0
            assert fresh.next_at == 0

    asyncio.run(main())


def test_suspensions(shop):
    async def main():
        async with shop.open() as store:
            destination = "contoso/partner.example"
            for at in (10.0, 20.0, 30.0):
                await shop.deferred(store, next_at=at, attempts=1, expires_at=1e9)
            order = {"waits": (900.0,), "received_after": 0.0, "reply": "450 4.4.316 refused"}
            counts = [await store.suspend(Suspension(destination, 1, 25.0, **order)) for _ in range(3)]
            assert counts == [1, 1, 0]
            assert await store.earliest(destination) == 30.0

    asyncio.run(main())


def test_a_settlement_without_a_time_means_now(shop):
    async def main():
        async with shop.open() as store:
            delivery = await shop.deferred(store, next_at=0.0)
            assert len(await store.lease(delivery.destination, 5, time.time())) == 1

    asyncio.run(main())


def test_recipients_that_are_done_leave_and_the_others_stay(shop):
    async def main():
        async with shop.open() as store:
            delivery = await shop.accept(store, "ann@partner.example", "joe@partner.example")
            store.settle([Settlement(delivery, delivery.recipients[1:], 5.0, "452 4.2.2 full")])
            (leased,) = await store.lease(delivery.destination, 5, 6.0)
            assert [recipient.address for recipient in leased.recipients] == ["joe@partner.example"]

    asyncio.run(main())


@pytest.mark.parametrize("remaining", [True, False])
def test_notices_come_with_the_settlement_and_are_handed_over(shop, remaining):
    async def main():
        async with shop.open() as store:
            delivery = await shop.accept(store)
            dsn = shop.message(store, reverse_path="")
            notice = shop.delivery(store, dsn, "bob@contoso.example")
            left = delivery.recipients if remaining else []
            store.settle([Settlement(delivery, left, 5.0, "", [(dsn, [notice], b"a DSN\r\n")])])
            assert store.owner.offered == []
            await store.flushed()
            assert store.owner.offered == [notice]
            assert notice.body == b"a DSN\r\n"
            assert dsn.size == 7
            assert await shop.read(store, dsn.id) == b"a DSN\r\n"

    asyncio.run(main())
    assert len(rows(shop, "message")) == (2 if remaining else 1)


def test_a_notice_that_cannot_be_written_leaves_the_delivery_and_is_said(shop, caplog):
    async def main():
        async with shop.open() as store:
            delivery = await shop.accept(store)
            dsn = shop.message(store, reverse_path="")
            dsn.id = delivery.message.id
            store.settle([Settlement(delivery, [], notices=[(dsn, [shop.delivery(store, dsn)], b"a DSN\r\n")])])
            await store.flushed()
            assert store.owner.offered == []

    asyncio.run(main())
    assert len(rows(shop, "delivery")) == 1
    assert "was not settled" in caplog.text


def test_below_the_free_space_mark_nothing_is_accepted_and_mail_still_leaves(shop, eventually):
    async def main():
        async with shop.open() as store:
            delivery = await shop.accept(store)
            assert store.room == float("inf")
        async with shop.open(free_space_mark=1 << 60) as store:
            assert not store.room_for(1)
            assert store.room < 0
            with pytest.raises(StoreFull) as raised:
                await shop.accept(store)
            assert not raised.value.final
            assert raised.value.reply.text == "452 4.3.1 Insufficient system storage"
            assert store.failure is None
            (leased,) = await store.lease(delivery.destination, 5, time.time() + 1)
            store.settle([Settlement(leased, [])])
            await store.flushed()
        async with shop.open(free_space_mark=1 << 20) as store:
            store._writer.room = NO_ROOM
            assert not store.room_for(0)
            await eventually(lambda: store.room_for(1))
            await shop.accept(store)

    asyncio.run(main())


def test_a_shard_has_one_owner(shop):
    async def main():
        async with shop.open():
            with pytest.raises(StoreFailure, match="belongs to another process"):
                async with shop.open():
                    pass
        async with shop.open():
            pass

    asyncio.run(main())


def test_a_queue_of_the_version_before_is_brought_up_to_date(shop):
    async def main():
        async with shop.open() as store:
            delivery = await shop.accept(store)
        connection = apsw.Connection(str(shop.shard / QUEUE_FILE))
        connection.execute(
            "DROP INDEX quarantine; ALTER TABLE delivery DROP COLUMN quarantine;"
            "ALTER TABLE delivery DROP COLUMN listed;"
            "ALTER TABLE delivery DROP COLUMN returned; PRAGMA user_version = 1"
        )
        connection.close()
        for _ in range(2):
            async with shop.open() as store:
                (found,) = await store.lease(delivery.destination, 5, 9e9)
                assert (found.id, found.returned) == (delivery.id, None)

    asyncio.run(main())


def test_a_file_of_another_version_is_left_alone(shop):
    async def main():
        async with shop.open() as store:
            await shop.accept(store)
        connection = apsw.Connection(str(shop.shard / QUEUE_FILE))
        connection.execute("PRAGMA user_version = 99")
        connection.close()
        for _ in range(2):  # and the lock was given back
            with pytest.raises(StoreFailure, match="has tables of version 99"):
                async with shop.open():
                    pass

    asyncio.run(main())


def test_a_damaged_file_is_said(shop):
    shop.shard.mkdir(parents=True)
    (shop.shard / QUEUE_FILE).write_bytes(b"this is not a database, and long enough to be read as one" * 100)

    async def main():
        with pytest.raises(StoreFailure, match="not a database"):
            async with shop.open():
                pass

    asyncio.run(main())


def test_files_are_for_their_owner_only(shop):
    async def main():
        async with shop.open() as store:
            await shop.accept(store, body=[b"x" * (LIMIT + 1)])
            store.trace([TraceEvent(time.time(), "RECEIVE", "", "", "", "", "", "")])
        for path in shop.path.rglob("*"):
            assert path.stat().st_mode & 0o077 == 0, path

    asyncio.run(main())


def test_a_worker_number_out_of_range(shop):
    async def main():
        with pytest.raises(ValueError, match="not between"):
            async with shop.open(worker=1024):
                pass

    asyncio.run(main())
    assert not shop.queue.exists()


def test_a_call_back_that_fails_does_not_keep_the_others_waiting(shop, caplog):
    async def main():
        async with shop.open() as store:
            message = shop.message(store)

            def done(_failure):
                raise RuntimeError("my mistake")

            body = store.body()
            body.write(b"hello\r\n")
            store.accept(message, [shop.delivery(store, message)], body, done)
            await shop.accept(store)

    asyncio.run(main())
    assert "my mistake" in caplog.text


def test_a_cancelled_wait_does_no_harm(shop):
    async def main():
        async with shop.open() as store:
            delivery = await shop.deferred(store)
            for wait in (store.flushed(), store.lease(delivery.destination, 5, 0.5)):
                task = asyncio.get_running_loop().create_task(wait)
                await asyncio.sleep(0)
                task.cancel()
            await store.flushed()
            assert len(await store.lease(delivery.destination, 5, 6.0)) == 1

    asyncio.run(main())


def test_trace_goes_to_the_day_file(shop):
    async def main():
        async with shop.open(worker=5) as store:
            store.trace([TraceEvent(time.time(), "RECEIVE", "", "contoso", "incoming", "s", "a@b", "c@d")])

    asyncio.run(main())
    assert [path.name for path in shop.trace.iterdir()] == [f"{day_of(time.time())}.5.db"]


def test_a_closed_store_refuses_everything(shop):
    async def main():
        async with shop.open() as store:
            delivery = await shop.accept(store)
            await store.close()
            with pytest.raises(StoreFailure, match="closed"):
                await shop.accept(store)
            with pytest.raises(StoreFailure, match="closed"):
                store.settle([Settlement(delivery, [])])
            with pytest.raises(StoreFailure, match="closed"):
                await store.lease(delivery.destination, 1, 1.0)

    asyncio.run(main())


def test_a_failed_sync_of_a_big_file_is_final(shop, monkeypatch, caplog):
    """The disk did not keep a file: nothing that it says afterwards is believed, and the owner hears of it once."""

    def fails(_descriptor):
        raise OSError("the disk is gone")

    async def main():
        async with shop.open(inline_limit=1000) as store:
            kept = await shop.accept(store)
            monkeypatch.setattr(bodies.os, "fdatasync", fails)
            for _ in range(2):
                with pytest.raises(StoreFailure, match="the disk is gone") as raised:
                    await shop.accept(store, body=[b"x" * 5000])
                assert raised.value.final
            monkeypatch.undo()
            assert store.failure is raised.value
            assert store.owner.failures == [store.failure]
            with pytest.raises(StoreFailure):
                await shop.accept(store)
            with pytest.raises(StoreFailure):
                store.settle([Settlement(kept, [])])
        assert caplog.text.count("nothing more is accepted: ") == 1

    asyncio.run(main())


def test_what_is_on_its_way_to_the_disk_is_waited_for(shop, monkeypatch):
    """`flushed` and `close` come after big bodies that are being synced, each for all that wait."""
    gate = threading.Event()
    fdatasync = os.fdatasync

    def slow(descriptor):
        gate.wait(10)
        fdatasync(descriptor)

    async def main():
        async with shop.open(inline_limit=1000) as store:
            monkeypatch.setattr(bodies.os, "fdatasync", slow)
            accepting = [spawn(shop.accept(store, body=[b"x" * 5000]), f"accept {number}") for number in range(2)]
            await asyncio.sleep(0.05)
            waiting = [spawn(store.flushed(), f"flushed {number}") for number in range(2)]
            closing = spawn(store.close(), "close")
            await asyncio.sleep(0.05)
            assert not any(task.done() for task in (*accepting, *waiting, closing))
            gate.set()
            await asyncio.gather(*accepting)
            await asyncio.gather(*waiting, return_exceptions=True)
            await closing
            await store.close()  # once more does no harm
        assert len(rows(shop, "delivery")) == 2

    asyncio.run(main())


def test_due_mail_is_brought_forward(shop):
    async def main():
        async with shop.open() as store:
            delivery = await shop.deferred(store, next_at=5000.0)
            assert store.owns(delivery)
            store.bring_forward(100.0)
            await store.flushed()
            assert await store.earliest(delivery.destination) == 100.0
            store.retry([(delivery.message.id, delivery.id)], 90.0)
            await store.flushed()
            assert await store.earliest(delivery.destination) == 90.0

    asyncio.run(main())


def test_a_store_without_an_owner_keeps_to_itself_what_it_would_say(shop, monkeypatch):
    async def main():
        async with shop.open() as store:
            store.attach(None)
            delivery = await shop.accept(store)
            notice = shop.message(store, reverse_path="")
            settlement = Settlement(delivery, [], notices=[(notice, [shop.delivery(store, notice)], b"x")])
            store.settle([settlement])
            await store.flushed()
            store._administered([])
            store._fail(StoreFailure("gone"))
            assert str(store.failure) == "gone"
            store._fail(StoreFailure("again"))
            assert str(store.failure) == "gone"
            assert store.owner.offered == store.owner.failures == store.owner.notices == []

    asyncio.run(main())


def test_its_numbers(shop, eventually):
    async def main():
        async with shop.open() as store:
            assert store.trace_dropped == 0
            assert store.unwritten == {"message trace": "", "evidence log": ""}
            store.count_senders(lambda: 7)
            assert store._writer.senders() == 7
            assert store.held_up() is None
            assert store.position is None
            await shop.accept(store)
            await eventually(lambda: store.counts.histograms)

    asyncio.run(main())


def test_a_shard_that_cannot_be_opened(shop, tmp_path):
    async def main():
        shop.shard.mkdir(parents=True)
        (shop.shard / "big").write_text("in the way")
        (shop.shard / QUEUE_FILE).mkdir()
        with pytest.raises(StoreFailure, match="queue/0"):
            async with shop.open():
                pass

    asyncio.run(main())
    shop.queue.rename(tmp_path / "elsewhere")
    shop.queue.write_text("in the way")
    with pytest.raises(StoreFailure, match="Not a directory"):
        asyncio.run(main_of(shop))


async def main_of(shop):
    async with shop.open():
        pass
