"""Failures of the disk and of other processes, made by a VFS that fails where it is told to."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import threading
import time

import apsw
import pytest

from gatepost.net.tasks import spawn
from gatepost.store.interface import MessageUnstorable, Settlement, StoreBusy, StoreFailure, StoreFull
from gatepost.store.sqlite import writer as module
from gatepost.store.sqlite.schema import QUEUE_FILE, StoreSettings, make_queue_tables, open_database, open_for_change
from gatepost.store.sqlite.work import Work
from gatepost.store.sqlite.writer import Writer


class Disk(apsw.VFS):
    """The usual file system, with faults on demand."""

    def __init__(self, name):
        super().__init__(name, base="")
        self.registered = name
        self.sync_fails = False
        self.writes_left = None
        self.most = None  # bytes of one transaction
        self.database_full = False
        self.quota_used_up = False

    def xGetLastError(self):  # noqa: N802 - SQLite's name
        return (errno.EDQUOT if self.quota_used_up else 0), ""

    def xOpen(self, name, flags):  # noqa: N802 - SQLite's name
        return DiskFile(self, name, flags)


class DiskFile(apsw.VFSFile):
    def __init__(self, disk, name, flags):
        self.disk = disk
        super().__init__("", name, flags)
        self.is_database = bool(flags[0] & apsw.SQLITE_OPEN_MAIN_DB)
        self.written = self.end = 0

    def xSync(self, flags):  # noqa: N802 - SQLite's name
        if self.disk.sync_fails:
            raise apsw.IOError("the disk is gone")
        self.written = 0
        return super().xSync(flags)

    def xWrite(self, data, offset):  # noqa: N802 - SQLite's name
        if self.disk.quota_used_up:
            raise apsw.IOError("quota")  # what SQLite makes of it
        if self.disk.writes_left is not None:
            self.disk.writes_left -= 1
            if self.disk.writes_left < 0:
                raise apsw.FullError("no room")
        if self.is_database and self.disk.database_full:
            raise apsw.FullError("no room")
        # A transaction in the WAL begins behind the last one that was committed, or where one failed.
        self.written = self.written + len(data) if offset == self.end else len(data)
        self.end = offset + len(data)
        if not self.is_database and self.disk.most is not None and self.written > self.disk.most:
            self.written = 0
            raise apsw.FullError("no room")
        return super().xWrite(data, offset)


@pytest.fixture
def disk(request):
    disk = Disk(f"disk-{request.node.name}")  # one for each test: SQLite's names are the process's
    yield disk
    disk.unregister()


def count(shop, table):
    connection = apsw.Connection(str(shop.shard / QUEUE_FILE))
    connection.set_busy_timeout(5000)
    result = connection.execute(f"SELECT count(*) FROM {table}").get  # noqa: S608 - a table's name
    connection.close()
    return result


def test_a_failed_sync_is_final_for_all_that_wait_and_all_that_come(shop, disk, eventually, caplog):
    async def main():
        async with shop.open(vfs=disk.registered) as store:
            kept = await shop.accept(store)
            waiting = await shop.deferred(store, "joe@other.example")
            disk.sync_fails = True
            attempts = [*[shop.accept(store) for _ in range(20)], store.lease(waiting.destination, 5, time.time())]
            results = await asyncio.gather(*attempts, return_exceptions=True)
            assert {type(result) for result in results} == {StoreFailure}
            assert all(result.final for result in results)
            assert results[0].reply.text.startswith("451 4.3.0")
            disk.sync_fails = False  # a later sync that succeeds means nothing: the pages are lost
            with pytest.raises(StoreFailure):
                await shop.accept(store)
            with pytest.raises(StoreFailure):
                store.settle([Settlement(kept, [])])
            for refused in (store.flushed(), store.destinations(), store.lease("x/y", 1, 1.0), store.earliest("x/y")):
                with pytest.raises(StoreFailure):
                    await refused
            await eventually(lambda: store.owner.failures)
            assert store.owner.failures == [store.failure]
            assert "the disk is gone" in str(store.failure)
        assert "nothing more is accepted" in caplog.text
        async with shop.open() as store:  # the start anew: what was acknowledged is there
            work = {work.destination: work.count for work in await store.destinations()}
            assert work[waiting.destination] == 1
            assert work[kept.destination] >= 1

    asyncio.run(main())


def test_commits_are_counted_with_what_is_in_them(shop):
    async def main():
        async with shop.open() as store:
            for _ in range(3):
                await shop.accept(store)
            await store.flushed()
        return store.counts.histograms

    found = {series[0]: one for series, one in asyncio.run(main()).items()}
    batches, seconds = found["gatepost_commit_batch"], found["gatepost_commit_seconds"]
    assert batches.sum >= 3
    assert sum(batches.counts) == sum(seconds.counts) >= 3
    assert seconds.sum > 0


def test_work_handed_over_as_the_store_fails_is_told_too(shop, disk):
    async def main():
        async with shop.open(vfs=disk.registered) as store:
            delivery = await shop.accept(store)
            disk.sync_fails = True
            store.settle([Settlement(delivery, [])])
            with pytest.raises(StoreFailure):
                await store.flushed()

    asyncio.run(main())


def test_a_full_disk_passes(shop, disk):
    async def main():
        async with shop.open(vfs=disk.registered) as store:
            delivery = await shop.accept(store)
            other = await shop.deferred(store, "joe@other.example")
            disk.writes_left = 0
            leasing = asyncio.get_running_loop().create_task(store.lease(other.destination, 5, time.time()))
            store.settle([Settlement(delivery, [])])
            with pytest.raises(StoreFull) as raised:
                await shop.accept(store)
            assert not raised.value.final
            assert await leasing == []
            assert store.failure is None
            flushed = asyncio.get_running_loop().create_task(store.flushed())
            await asyncio.sleep(0.05)
            assert not flushed.done()
            disk.writes_left = None
            await flushed  # the settlement was kept and is written now
            with pytest.raises(LookupError):
                await shop.read(store, delivery.message.id)
            await shop.accept(store)
            assert len(await store.lease(other.destination, 5, time.time())) == 1

    asyncio.run(main())


def test_a_quota_that_is_used_up_passes(shop, disk):
    async def main():
        async with shop.open(vfs=disk.registered, checkpoint_pages=1) as store:
            delivery = await shop.accept(store)
            disk.quota_used_up = True
            store.settle([Settlement(delivery, [])])
            with pytest.raises(StoreFull) as raised:
                await shop.accept(store)
            assert not raised.value.final
            await asyncio.sleep(1.5)  # looks and tidying, too
            assert store.failure is None
            disk.quota_used_up = False
            await store.flushed()
            with pytest.raises(LookupError):
                await shop.read(store, delivery.message.id)
            await shop.accept(store)

    asyncio.run(main())


def test_a_disk_that_stays_full_until_the_end_is_a_failure(shop, disk):
    async def main():
        async with shop.open(vfs=disk.registered) as store:
            delivery = await shop.accept(store)
            disk.writes_left = 0
            store.settle([Settlement(delivery, [])])
            waiting = asyncio.get_running_loop().create_task(store.flushed())
            await asyncio.sleep(0)
            await store.close()
            with pytest.raises(StoreFailure, match="no room"):
                await waiting
            disk.writes_left = None

    asyncio.run(main())
    assert count(shop, "delivery") == 1


def test_a_stop_does_not_wait_for_room_to_make_leftovers_due(shop, disk, monkeypatch, eventually):
    async def main():
        async with shop.open() as store:
            kept = [await shop.accept(store) for _ in range(5)]
        for name in ("_NEWEST", "_ROWS"):
            monkeypatch.setattr(f"gatepost.store.sqlite.recovery.{name}", 0)
        async with shop.open(vfs=disk.registered) as store:
            disk.writes_left = 0
            lease = spawn(store.lease(kept[0].destination, 9, time.time() + 9), "lease")
            await eventually(lambda: store._writer.holding)
            await asyncio.wait_for(store.close(), 10)
            with pytest.raises(StoreFailure):
                await lease
            disk.writes_left = None
        async with shop.open() as store:
            assert len(await store.lease(kept[0].destination, 9, time.time() + 9)) == 5

    asyncio.run(main())


def test_what_does_not_fit_alone_keeps_nothing_else_from_being_written(shop, disk, monkeypatch, eventually):
    monkeypatch.setattr(module, "_RETRY", 0.01)

    async def main():
        async with shop.open(vfs=disk.registered) as store:
            deliveries = [await shop.accept(store) for _ in range(40)]
            failed = await shop.accept(store)
            about = shop.message(store, reverse_path="")
            notice = (about, [shop.delivery(store, about, "bob@contoso.example")], b"n" * 200_000)
            disk.most = 100_000  # a commit of more finds no room
            store.settle([Settlement(failed, [], notices=[notice])])
            store.settle([Settlement(delivery, []) for delivery in deliveries])
            waiting = [spawn(store.flushed(), "flushed") for _ in range(3)]
            await eventually(lambda: count(shop, "delivery") == 1, seconds=45)
            assert not any(one.done() for one in waiting), "what was handed over before is not durable yet"
            held_up = store.held_up()
            disk.most = None
            await held_up
            await asyncio.gather(*waiting)
            assert store.held_up() is None
            assert count(shop, "delivery") == 1  # the notice
            assert [one.message.reverse_path for one in store.owner.offered] == [""]

    asyncio.run(main())


def test_a_checkpoint_that_finds_no_room_passes(shop, disk):
    async def main():
        async with shop.open(vfs=disk.registered, checkpoint_pages=20) as store:
            disk.database_full = True
            deliveries = [await shop.accept(store, body=b"x" * 50_000) for _ in range(20)]
            disk.database_full = False
            store.settle([Settlement(delivery, []) for delivery in deliveries])
            await store.flushed()
            assert store.failure is None

    asyncio.run(main())


def test_a_full_disk_in_the_middle_of_a_commit_rolls_all_of_it_back(shop, disk):
    async def main():
        async with shop.open(vfs=disk.registered) as store:
            await shop.accept(store)
            disk.writes_left = 3
            results = await asyncio.gather(
                *[shop.accept(store, body=b"x" * 100_000) for _ in range(20)], return_exceptions=True
            )
            assert {type(result) for result in results} <= {StoreFull, type(results[0])}
            disk.writes_left = None
            stored = sum(not isinstance(result, Exception) for result in results)
            await store.flushed()
            assert count(shop, "message") == count(shop, "body") == count(shop, "delivery") == stored + 1

    asyncio.run(main())


def test_a_lock_that_another_process_keeps_passes(shop):
    async def main():
        async with shop.open() as store:
            delivery = await shop.accept(store)
            store._writer._connection.set_busy_timeout(50)
            other = apsw.Connection(str(shop.shard / QUEUE_FILE))
            other.execute("BEGIN IMMEDIATE")
            store.settle([Settlement(delivery, [])])
            with pytest.raises(StoreBusy) as raised:
                await shop.accept(store)
            assert not raised.value.final
            other.execute("ROLLBACK")
            other.close()
            await store.flushed()
            await shop.accept(store)
            with pytest.raises(LookupError):
                await shop.read(store, delivery.message.id)

    asyncio.run(main())


def test_the_wal_is_copied_back_and_does_not_grow_for_ever(shop):
    wal = shop.shard / (QUEUE_FILE + "-wal")

    async def main():
        async with shop.open(checkpoint_pages=50) as store:
            for _ in range(100):
                store.settle([Settlement(await shop.accept(store, body=b"x" * 50_000), [])])
            assert wal.stat().st_size < 200 * 16384 * 1.1

    asyncio.run(main())
    assert not wal.exists()


def test_the_usual_wal_stays_so_short_that_nobody_waits_long_for_its_copy(shop):
    wal = shop.shard / (QUEUE_FILE + "-wal")

    async def main():
        async with shop.open() as store:
            for _ in range(12):
                await asyncio.gather(*(shop.accept(store, body=b"x" * 200_000) for _ in range(10)))
            assert wal.stat().st_size < 20 << 20  # of 24 MB of bodies

    asyncio.run(main())


def test_a_reader_of_an_old_state_holds_the_wal_and_lets_it_go(shop):
    wal = shop.shard / (QUEUE_FILE + "-wal")

    async def main():
        async with shop.open(checkpoint_pages=20) as store:
            await shop.accept(store)
            reader = apsw.Connection(str(shop.shard / QUEUE_FILE), flags=apsw.SQLITE_OPEN_READONLY)
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM message").fetchall()
            for _ in range(30):
                await shop.accept(store, body=b"x" * 50_000)
            grown = wal.stat().st_size
            assert grown > 60 * 16384
            reader.execute("COMMIT")
            reader.close()
            for _ in range(60):
                await shop.accept(store, body=b"x" * 1000)
            assert store.failure is None

    asyncio.run(main())


def test_a_failed_checkpoint_is_final(shop, disk, eventually):
    async def main():
        async with shop.open(vfs=disk.registered, checkpoint_pages=20) as store:
            await shop.accept(store)
            space = store._writer._space
            checkpoint = space._connection.wal_checkpoint

            class Failing:
                def __getattr__(self, name):
                    return getattr(connection, name)

                def wal_checkpoint(self, **arguments):
                    disk.sync_fails = True
                    return checkpoint(**arguments)

            connection, space._connection = space._connection, Failing()
            with contextlib.suppress(StoreFailure):
                for _ in range(30):
                    await shop.accept(store, body=b"x" * 50_000)
            await eventually(lambda: store.failure is not None)
            disk.sync_fails = False

    asyncio.run(main())


# ---------------------------------------------------------------------------------------------- step by step


class Piece(Work):
    """Work that writes rows of messages, and remembers how it ended."""

    __slots__ = ("ended", "numbers", "patient", "soon", "urgent", "weight")

    def __init__(self, *numbers, patient=True, weight=0):
        super().__init__()
        self.numbers, self.patient, self.weight, self.urgent, self.soon = numbers, patient, weight, True, False
        self.ended = []

    def collect(self, plan):
        plan.messages += [(number, 1, None, "{}") for number in self.numbers]

    def finish(self):
        self.ended.append(self.failure)


@pytest.fixture
def idle(tmp_path):
    """A writer whose thread was not begun, for a function of it that is called on a loop."""

    def run(step, **settings):
        async def main():
            with contextlib.closing(open_database(tmp_path / QUEUE_FILE, StoreSettings())) as connection:
                make_queue_tables(connection, tmp_path / QUEUE_FILE)
                chosen = StoreSettings(free_space_mark=0, **settings)
                writer = Writer(connection, tmp_path, chosen, asyncio.get_running_loop())
                step(writer)
                await asyncio.sleep(0.01)  # what it has to say comes by the loop
                return writer

        return asyncio.run(main())

    return run


def hand_over(writer, *pieces):
    for piece in pieces:
        writer.put(piece)


def test_a_commit_has_so_many_bytes(idle):
    pieces = [Piece(number, weight=60) for number in range(3)]

    def step(writer):
        hand_over(writer, *pieces)
        assert writer._gather() == pieces[:2]
        assert writer._gather() == pieces[2:]
        writer._looked = 0.0
        assert writer._gather() == []  # nobody waits, and it is time to look

    idle(step, batch_bytes=100)


def test_a_commit_has_so_many_pieces(idle, monkeypatch):
    monkeypatch.setattr(module, "_BATCH", 2)
    pieces = [Piece(number) for number in range(3)]

    def step(writer):
        hand_over(writer, *pieces)
        assert writer._gather() == pieces[:2]
        writer._queue.put(None)  # the end
        assert writer._gather() == pieces[2:]
        assert writer._closing

    idle(step)


@pytest.mark.parametrize(("settled", "waits"), [(1, "_LINGER_ALONE"), (2, "_LINGER"), (5, "_LINGER")])
def test_settlements_wait_for_a_commit_of_others_and_one_alone_waits_longer(idle, monkeypatch, settled, waits):
    monkeypatch.setattr(module, "_LINGER", 200.0)
    monkeypatch.setattr(module, "_LINGER_ALONE", 400.0)
    pieces = [Piece(number) for number in range(settled + 1)]
    for piece in pieces[:-1]:
        piece.urgent = False

    def step(writer):
        hand_over(writer, *pieces[:-1])
        assert writer._queue.empty()
        left = writer._timer.when() - asyncio.get_running_loop().time()
        assert getattr(module, waits) - 1 < left <= getattr(module, waits)
        writer.put(pieces[-1])
        assert writer._gather() == pieces
        assert writer._timer is None

    idle(step)


def test_a_settlement_that_may_be_steered_waits_less_even_alone(idle, monkeypatch):
    monkeypatch.setattr(module, "_LINGER", 200.0)
    piece = Piece(1)
    piece.urgent, piece.soon = False, True

    def step(writer):
        hand_over(writer, piece)
        assert 199 < writer._timer.when() - asyncio.get_running_loop().time() <= 200

    idle(step)


@pytest.mark.parametrize(("senders", "held_back"), [(None, False), (0, False), (1, True)])
def test_a_commit_waits_only_for_senders_that_are_on_their_way(idle, monkeypatch, senders, held_back):
    waited = []

    def step(writer):
        monkeypatch.setattr(writer._all_here, "wait", waited.append)
        if senders is not None:
            writer.senders = lambda: senders
        writer._pace()  # the last commit was long ago
        assert waited == []
        writer._ended = time.monotonic()
        writer._pace()

    idle(step)
    assert [0 < seconds <= module._PACE for seconds in waited] == [True] * held_back


def test_a_commit_begins_once_all_senders_are_there(idle, monkeypatch):
    monkeypatch.setattr(module, "_PACE", 60.0)
    coming = {"a", "b"}

    def step(writer):
        writer.senders, writer._ended = lambda: len(coming), time.monotonic()
        waiting = threading.Thread(target=writer._pace)
        waiting.start()
        while writer._all_here.is_set():
            time.sleep(0.001)
        for number, sender in enumerate(sorted(coming)):
            coming.remove(sender)
            assert waiting.is_alive()
            writer.put(Piece(number))
        waiting.join(10)
        assert not waiting.is_alive()

    idle(step)


def test_while_the_disk_is_full_patient_work_is_kept_and_the_rest_told(idle):
    patient, message = Piece(1), Piece(2, patient=False)

    def step(writer):
        writer._retry_at = time.monotonic() + 60
        hand_over(writer, patient, message)
        writer._queue.put(None)
        writer._set_aside()
        assert writer._kept == [patient]
        assert writer._closing

    idle(step)
    assert patient.ended == []
    assert [str(failure) for failure in message.ended] == ["the disk is full"]
    assert isinstance(message.ended[0], StoreFull)


def test_a_value_that_no_column_holds_fails_its_own_piece_alone(idle):
    good, twice, other = Piece(1), Piece(2, 2), Piece(3)

    def step(writer):
        writer._commit([good, twice, other])
        found = writer._connection.execute("SELECT id FROM message ORDER BY id").fetchall()
        assert found == [(1,), (3,)]
        assert writer.failure is None

    idle(step)
    assert (good.ended, other.ended) == ([None], [None])
    assert [type(failure) for failure in twice.ended] == [MessageUnstorable]


def test_nothing_is_written_after_a_failure(idle):
    piece, gone = Piece(1), StoreFailure("the disk is gone")
    told = []

    def step(writer):
        writer.failed = told.append
        writer._commit([])
        writer._fail([], gone)
        writer._fail([], StoreFailure("later"))
        writer._commit([piece])
        assert writer.failure is gone
        assert writer._connection.execute("SELECT count(*) FROM message").get == 0
        writer._space, writer._wal_pages, writer._untidy = None, 1 << 30, True  # nothing is asked of them any more
        for step in (writer._checkpoint, writer._look, writer._tidy):
            step()
        assert writer._next_duty() > time.monotonic()  # or the thread would never rest
        writer.stop()  # it was not begun, and that does no harm

    idle(step)
    assert (piece.ended, told) == ([gone], [gone])


class Spoilt:
    """A connection of which one method fails."""

    def __init__(self, connection, **methods):
        self.connection, self.methods = connection, methods

    def __getattr__(self, name):
        return self.methods.get(name) or getattr(self.connection, name)


def fails(error):
    def call(*_arguments, **_options):
        raise error

    return call


@pytest.mark.parametrize("error", [apsw.BusyError("busy"), apsw.FullError("full"), apsw.IOError("quota")], ids=str)
def test_a_checkpoint_that_cannot_be_made_now_is_made_when_the_wal_has_grown(idle, monkeypatch, error):
    monkeypatch.setattr(module, "over_quota", lambda _connection, found: isinstance(found, apsw.IOError))

    def step(writer):
        writer._space._connection = Spoilt(writer._connection, wal_checkpoint=fails(error))
        writer._wal_pages = 5000
        writer._checkpoint()
        assert writer._wal_pages == 0
        assert writer._checkpoint_at == 5000 + writer._settings.checkpoint_pages // 4
        assert writer.failure is None

    idle(step)


def test_a_checkpoint_that_a_broken_disk_fails_is_told(idle):
    def step(writer):
        writer._space._connection = Spoilt(writer._connection, wal_checkpoint=fails(apsw.IOError("broken")))
        writer._wal_pages = 5000
        with pytest.raises(apsw.IOError, match="broken"):
            writer._checkpoint()

    idle(step)


def test_what_does_not_shrink_now_is_left_for_later(idle):
    def step(writer):
        writer._untidy = True
        assert writer._next_duty() == module._TIDY
        writer._space = Spoilt(writer._space, shrink=fails(apsw.BusyError("busy")))
        writer._tidy()
        assert not writer._untidy
        assert writer._tidied > 0

    idle(step)


def leave(connection, action):
    """A notice, as an administrator leaves it."""
    connection.execute(
        "INSERT INTO notice (action, destination, message, delivery, author) VALUES (?, 'contoso/x', 0, 0, 'me')",
        (action,),
    )


def test_a_look_finds_what_administrators_left_and_says_it_once(idle, tmp_path):
    told = []

    def step(writer):
        writer.administered = told.append
        writer._look()  # nobody changed anything
        for action in ("hold", ""):
            with contextlib.closing(open_for_change(tmp_path / QUEUE_FILE)) as other:
                if action:
                    leave(other, action)
                else:
                    other.execute("INSERT INTO body (id, data) VALUES (1, x'00')")
            writer._looked = 0.0
            writer._look()
            writer._looked = 0.0
            writer._look()

    idle(step)
    assert [[notice.action for notice in notices] for notices in told] == [["hold"]]


def test_a_look_that_cannot_take_them_comes_again(idle, tmp_path):
    told = []

    def step(writer):
        writer.administered = told.append
        with contextlib.closing(open_for_change(tmp_path / QUEUE_FILE)) as other:
            leave(other, "hold")
            other.execute("BEGIN IMMEDIATE")
            writer._connection.set_busy_timeout(10)
            writer._looked = 0.0
            writer._look()
            other.execute("ROLLBACK")
        writer._looked = 0.0
        writer._look()

    idle(step)
    assert len(told) == 1


def test_a_mistake_of_one_caller_keeps_nobody_waiting(idle, caplog):
    class Mistaken(Piece):
        def finish(self):
            raise KeyError("mistake")

    good = Piece(2)
    idle(lambda writer: writer._commit([Mistaken(1), good]))
    assert good.ended == [None]
    assert "a call-back of the store failed" in caplog.text


def test_a_quota_met_while_it_looks_ends_nothing(shop, monkeypatch, eventually):
    """The thread goes on as after a full disk; any other error there is final."""
    monkeypatch.setattr(module, "_LOOK", 0.01)
    monkeypatch.setattr(module, "over_quota", lambda _connection, error: "quota" in str(error))

    async def main():
        async with shop.open() as store:
            for text, final in (("quota", False), ("broken", True)):
                looks = []
                monkeypatch.setattr(
                    store._writer,
                    "_look",
                    lambda text=text, looks=looks: looks.append(1) or fails(apsw.IOError(text))(),
                )
                await eventually(lambda looks=looks: len(looks) > 1 or store.failure is not None)
                assert (store.failure is not None) is final

    asyncio.run(main())


def test_a_commit_that_sqlite_took_back_itself_is_not_taken_back_twice(idle):
    def step(writer):
        def write():
            writer._connection.execute("ROLLBACK")
            raise apsw.FullError("full")

        with pytest.raises(apsw.FullError):
            writer._transaction(write)
        with pytest.raises(KeyError):
            writer._transaction(fails(KeyError("mistake")))
        assert not writer._connection.in_transaction

    idle(step)
