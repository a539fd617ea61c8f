from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import os
import subprocess
import sys
import textwrap
import time

import apsw
import pytest

from gatepost.mail.model.queue_id import format_id, parse_id
from gatepost.store.interface import Settlement, StoreFailure
from gatepost.store.sqlite.recovery import last_written, lock_shard, recover, recover_all
from gatepost.store.sqlite.schema import QUEUE_FILE

LIMIT = 256 * 1024
BIG = [b"x" * LIMIT, b"y"]


def test_fresh_leftovers_and_leases_are_due_now_deferred_ones_keep_their_time(shop):
    async def main():
        async with shop.open() as store:
            fresh = await shop.accept(store)
            leased = await shop.deferred(store, "joe@other.example")
            await store.lease(leased.destination, 5, time.time())
            later = await shop.deferred(store, "eve@third.example", next_at=time.time() + 5000)
            assert await store.earliest(fresh.destination) == 0
        before = time.time()
        async with shop.open() as store:
            work = {work.destination: work.earliest for work in await store.destinations()}
            assert before <= work[fresh.destination] <= time.time()
            assert before <= work[leased.destination] <= time.time()
            assert work[later.destination] == later_due(shop, later)
            (again,) = await store.lease(leased.destination, 5, time.time())
            assert again.id == leased.id
            assert store.new_id() > later.id

    asyncio.run(main())


def later_due(shop, delivery):
    connection = apsw.Connection(str(shop.shard / QUEUE_FILE))
    due = connection.execute("SELECT next_at FROM delivery WHERE id = ?", (delivery.id,)).get
    connection.close()
    return due


def in_parts(monkeypatch, rows):
    for name in ("_NEWEST", "_ROWS"):
        monkeypatch.setattr(f"gatepost.store.sqlite.recovery.{name}", rows)


def test_leftovers_of_all_messages_are_due_before_anything_is_leased(shop, monkeypatch):
    async def main():
        async with shop.open() as store:
            kept = [await shop.accept(store) for _ in range(7)]
            message = shop.message(store)
            several = [shop.delivery(store, message, f"{number}@partner.example") for number in range(4)]
            await shop.commit(store, message, several)
            kept += several
            later = await shop.deferred(store, next_at=time.time() + 5000)
        in_parts(monkeypatch, 2)
        async with shop.open() as store:
            leased = await store.lease(later.destination, 50, time.time())
            assert {delivery.id for delivery in leased} == {delivery.id for delivery in kept}
            assert await store.earliest(later.destination) == later_due(shop, later)

    asyncio.run(main())


def test_a_store_that_moves_has_all_leftovers_due(shop, monkeypatch):
    async def main():
        async with shop.open() as store:
            for _ in range(7):
                await shop.accept(store)

    asyncio.run(main())
    in_parts(monkeypatch, 2)
    connection = apsw.Connection(str(shop.shard / QUEUE_FILE))
    recover_all(connection, shop.shard / "big", 77.0)
    assert set(connection.execute("SELECT next_at FROM delivery")) == {(77.0,)}
    connection.close()


def test_a_start_reads_no_more_of_a_longer_queue(shop, monkeypatch):
    """New mail waits for it. By the steps of SQLite: all rows of a million would be 6 million of them."""
    in_parts(monkeypatch, 20)

    def steps(count):
        with contextlib.closing(apsw.Connection(str(shop.shard / QUEUE_FILE))) as connection:
            connection.execute(_MANY, {"count": count})
            counted = []
            connection.set_progress_handler(lambda: bool(counted.append(1)), 10)
            highest, rest = recover(connection, shop.shard / "big", 77.0)
            counted_here = len(counted)
            assert connection.execute("SELECT max(id) FROM delivery").get == highest
            assert rest == count - 21
        return counted_here

    async def main():
        async with shop.open():
            pass

    asyncio.run(main())
    few = steps(100)
    assert few > 5
    assert steps(10_000) <= few + 2


_MANY = """
DELETE FROM message;
DELETE FROM delivery;
WITH RECURSIVE numbers(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM numbers WHERE i < :count)
INSERT INTO message SELECT i, 5, NULL, '{}' FROM numbers;
INSERT INTO delivery (message, id, destination, next_at, attempts, expires_at, last_error, recipients)
SELECT id, id + 1, 'contoso/b.example', id % 3, 1, 9e9, '', '[]' FROM message
"""


def test_ids_do_not_go_back_with_the_clock(shop, monkeypatch):
    async def main():
        async with shop.open() as store:
            store.new_id._clock = lambda: time.time() + 86_400
            ahead = await shop.accept(store)
        async with shop.open() as store:
            assert store.new_id() > ahead.message.id

    asyncio.run(main())


@pytest.mark.parametrize("head", [b"", b"a head of its own"], ids=["", "head apart"])
@pytest.mark.parametrize("damage", ["missing", "short"])
def test_a_row_without_its_body_stays_so_that_its_sender_hears_of_it(shop, damage, head, caplog):
    async def main():
        async with shop.open() as store:
            message = shop.message(store)
            deliveries = [shop.delivery(store, message), shop.delivery(store, message, "joe@other.example")]
            body = store.body()
            if head:
                body.write_head(head)
            for chunk in BIG:
                body.write(chunk)
            await shop.commit(store, message, deliveries, body)
            whole = await shop.accept(store, body=BIG)
            (path, _) = sorted((shop.shard / "big").iterdir())
        if damage == "missing":
            path.unlink()
        else:
            os.truncate(path, LIMIT)
        async with shop.open() as store:
            assert await shop.read(store, whole.message.id) == b"".join(BIG)
            with pytest.raises(LookupError):
                await shop.read(store, message.id)
            assert sorted(work.count for work in await store.destinations()) == [1, 2]

    asyncio.run(main())
    assert "missing or short" in caplog.text


def test_files_without_rows_go(shop):
    async def main():
        async with shop.open() as store:
            await shop.accept(store, body=BIG)
        (shop.shard / "big" / format_id(5)).write_bytes(b"half a message")
        (shop.shard / "big" / "what is this").write_bytes(b"")
        async with shop.open():
            assert len(list((shop.shard / "big").iterdir())) == 1

    asyncio.run(main())


def test_what_an_administrator_dropped_in_flight_goes_at_the_next_start(shop):
    async def main():
        async with shop.open() as store:
            message = shop.message(store)
            one, two = shop.delivery(store, message), shop.delivery(store, message, "joe@other.example")
            await shop.commit(store, message, [one, two], BIG)
            alone = await shop.accept(store)
        connection = apsw.Connection(str(shop.shard / QUEUE_FILE))
        connection.execute("UPDATE delivery SET dropped = 1 WHERE id IN (?, ?)", (one.id, alone.id))
        connection.execute("INSERT INTO notice VALUES (1, 'drop', 'x/y', 1, 1, 'me')")
        connection.close()
        async with shop.open() as store:
            assert [work.destination for work in await store.destinations()] == [two.destination]
            with pytest.raises(LookupError):
                await shop.read(store, alone.message.id)
            assert await shop.read(store, message.id) == b"".join(BIG)
            (leased,) = await store.lease(two.destination, 5, time.time())
            store.settle([Settlement(leased, [])])
            await store.flushed()
            assert store.owner.notices == []
        assert list((shop.shard / "big").iterdir()) == []

    asyncio.run(main())


def test_the_lock_says_who_has_it(tmp_path):
    lock = lock_shard(tmp_path)
    with pytest.raises(StoreFailure, match="belongs to another process"):
        lock_shard(tmp_path)
    assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
    os.close(lock)
    os.close(lock_shard(tmp_path))


GATEWAY = textwrap.dedent("""
    import asyncio, hashlib, os, random, sys, time
    from pathlib import Path
    from gatepost.mail.model.message import Delivery, Message, Recipient
    from gatepost.store.interface import Settlement
    from gatepost.store.sqlite.message_trace import SqliteTrace
    from gatepost.store.sqlite.schema import StoreSettings
    from gatepost.store.sqlite.queue import SqliteStore

    async def main(directory, seed):
        store = await SqliteStore.open(
            directory / "queue" / "0", trace=SqliteTrace(directory / "trace").sink, worker=0,
            settings=StoreSettings(free_space_mark=0, checkpoint_pages=200),
        )
        loop = asyncio.get_running_loop()
        chance = random.Random(seed)
        print("ready", flush=True)

        async def sender():
            while True:
                content = chance.randbytes(chance.choice([700, 4096, 50_000, 400_000]))
                body = store.body()
                for first in range(0, len(content), 65536):
                    if (wait := body.write(content[first : first + 65536])) is not None:
                        await wait
                message = Message(store.new_id(), "contoso", time.time(), "bob@contoso.example")
                message.subject = hashlib.sha256(content).hexdigest()
                recipients = [Recipient("ann@partner.example")]
                delivery = Delivery(store.new_id(), message, "contoso/partner.example", recipients)
                done = loop.create_future()
                store.accept(message, [delivery], body, done.set_result)
                assert await done is None
                os.write(1, b"accepted %d\\n" % message.id)
                fate = chance.random()
                if fate < 0.3:
                    os.write(1, b"delivered %d\\n" % message.id)
                    store.settle([Settlement(delivery, [])])
                elif fate < 0.5:
                    store.settle([Settlement(delivery, delivery.recipients, time.time() + 900)])

        await asyncio.gather(*[sender() for _ in range(12)])

    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
""")


def test_kill_9_under_load_loses_nothing_acknowledged(shop):
    accepted, delivered, kills, failures = set(), set(), 5, []
    for seed in range(kills):
        with subprocess.Popen(
            [sys.executable, "-c", GATEWAY, str(shop.path), str(seed)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as gateway:
            assert gateway.stdout.readline() == b"ready\n", gateway.stderr.read()
            # in the middle of its work, however slow the machine is
            lines = list(itertools.islice(gateway.stdout, 60 + 20 * seed))
            gateway.kill()
            lines += gateway.stdout.readlines()
            failures.append(gateway.stderr.read())
        for line in lines:
            word, _, number = line.decode().partition(" ")
            (accepted if word == "accepted" else delivered).add(int(number))

    async def main():
        lost = twice = 0
        async with shop.open() as store:
            kept = await everything(store)
            for number in accepted:
                if number in delivered:
                    twice += number in kept
                elif number not in kept:
                    lost += 1
            for number, subject in kept.items():
                await check(shop, store, number, subject)
        return lost, twice, len(kept)

    lost, twice, kept = asyncio.run(main())
    assert failures == [b""] * kills
    assert len(accepted) > 100
    assert kept
    assert lost == 0
    print(f"{kills} kills, {len(accepted)} acknowledged, {lost} lost, {twice} would be delivered twice")


async def everything(store):
    kept = {}
    for work in await store.destinations():
        for delivery in await store.lease(work.destination, work.count, time.time() + 10_000):
            kept[delivery.message.id] = delivery.message.subject
    return kept


async def check(shop, store, number, subject):
    assert hashlib.sha256(await shop.read(store, number)).hexdigest() == subject


def test_a_clock_that_was_put_back_repeats_no_id_of_what_is_gone(shop, monkeypatch):
    async def main():
        async with shop.open() as store:
            before = await shop.accept(store)
            store.settle([Settlement(before, [])])
            await store.flushed()
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now - 3600)
        async with shop.open() as store:
            assert store.new_id() > before.id

    asyncio.run(main())


def test_ids_of_bodies_and_deliveries_count_after_a_restart(shop, monkeypatch):
    async def main():
        async with shop.open() as store:
            delivery = await shop.accept(store, body=BIG)
            (file,) = (shop.shard / "big").iterdir()
        monkeypatch.setattr("gatepost.store.sqlite.queue.last_written", lambda *_: 0.0)
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now - 3600)
        async with shop.open() as store:
            assert store.new_id() > max(delivery.id, parse_id(file.name))

    asyncio.run(main())


def test_a_time_that_is_years_ahead_is_not_believed(tmp_path):
    assert last_written(tmp_path, 5.0) == 0.0
    file = tmp_path / QUEUE_FILE
    file.touch()
    os.utime(file, (5e9, 5e9))
    assert last_written(tmp_path, time.time()) == 0.0
    os.utime(file, (4e8, 4e8))
    assert 4e8 < last_written(tmp_path, time.time()) < 4e8 + 0.1
