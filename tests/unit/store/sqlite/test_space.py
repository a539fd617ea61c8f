"""Room, reserve and shrinking, on real files. A wholly full disk: tests/system/test_full_disk."""

from __future__ import annotations

import asyncio
import errno
import os

import apsw
import pytest

from gatepost.store.interface import Settlement
from gatepost.store.sqlite import writer as module
from gatepost.store.sqlite.schema import QUEUE_FILE, StoreSettings, make_queue_tables, open_database
from gatepost.store.sqlite.space import NO_ROOM, Room, Space, allow_shrinking, over_quota

MIB = 1 << 20
MARK = 8 * MIB  # a reserve of 1 MiB in the WAL and 2 MiB in the database


@pytest.mark.parametrize(
    ("room", "size", "held"),
    [
        (Room(128 * MIB), 0, True),
        (Room(128 * MIB), 1, False),
        (Room(40 * MIB, 60 * MIB, 48 * MIB), 0, True),  # what is free within the files counts
        (Room(31 * MIB, 600 * MIB, 48 * MIB), 0, False),  # but the WAL needs room too
        (Room(40 * MIB, 600 * MIB, 48 * MIB), 9 * MIB, False),  # and so does a body of its own
        (Room(41 * MIB, 600 * MIB, 48 * MIB), 9 * MIB, True),
        (Room(999 * MIB, whole=False), 0, False),  # what is here already comes first
        (NO_ROOM, 0, False),
    ],
)
def test_what_may_still_come(room, size, held):
    assert room.holds(size, 128 * MIB, 256 << 10) is held


@pytest.mark.parametrize(
    ("room", "above"),
    [
        (Room(129 * MIB), MIB),
        (Room(40 * MIB, 600 * MIB, 48 * MIB), 8 * MIB),
        (Room(90 * MIB, 30 * MIB, 9 * MIB), MIB),
        (Room(1 * MIB), -127 * MIB),
        (Room(999 * MIB, whole=False), 0),
    ],
)
def test_what_may_still_come_in_all(room, above):
    assert room.above(128 * MIB) == above


def test_the_reserve_is_there_from_the_start_and_stays_after_a_stop(shop):
    wal = shop.shard / f"{QUEUE_FILE}-wal"

    async def main():
        async with shop.open(free_space_mark=MARK) as store:
            await shop.accept(store)
            assert store.room_for(1000)
            assert store._writer.room.whole
            assert wal.stat().st_blocks * 512 >= MARK // 8

    asyncio.run(main())
    assert wal.stat().st_blocks * 512 >= MARK // 8
    asyncio.run(main())


def test_on_a_disk_that_is_nearly_full_the_database_has_blocks_ahead(shop, monkeypatch):
    monkeypatch.setattr(Space, "near_full", True)

    async def main():
        async with shop.open(free_space_mark=MARK) as store:
            await shop.accept(store)
            assert (shop.shard / QUEUE_FILE).stat().st_blocks * 512 >= MARK // 4
            assert store._writer.room.reserved >= 3 * MARK // 8

    asyncio.run(main())


@pytest.mark.parametrize("near_full", [False, True])
def test_only_on_a_disk_that_is_nearly_full_the_database_grows_ahead_of_its_pages(
    connection, tmp_path, monkeypatch, near_full
):
    space = Space(connection, tmp_path, QUEUE_FILE, StoreSettings(free_space_mark=MARK))
    for nearly in (not near_full, near_full):  # what held before is of no meaning
        monkeypatch.setattr(Space, "near_full", nearly)
        assert space.measure().whole
    connection.execute("CREATE TABLE body (data BLOB)")
    connection.execute("INSERT INTO body VALUES (zeroblob(?))", (4 * MIB,))
    space.checkpoint()
    pages = connection.pragma("page_count") * connection.pragma("page_size")
    assert (tmp_path / QUEUE_FILE).stat().st_size == pages + (MARK // 4 if near_full else 0)


@pytest.mark.parametrize("chunk", [1 << 30, 5 * MIB], ids=["one chunk", "several"])
def test_what_the_database_has_ahead_stays_whatever_is_copied_into_it(connection, tmp_path, monkeypatch, chunk):
    """Or others may take it, and each shard sees more room and less again."""
    monkeypatch.setattr("gatepost.store.sqlite.space._MOST_CHUNK", chunk)
    monkeypatch.setattr(Space, "near_full", True)
    space, database = (
        Space(connection, tmp_path, QUEUE_FILE, StoreSettings(free_space_mark=MARK)),
        tmp_path / QUEUE_FILE,
    )
    connection.execute("CREATE TABLE body (data BLOB)")
    assert space.measure().whole
    for _ in range(5):
        connection.execute("INSERT INTO body VALUES (zeroblob(?))", (3 * MIB // 2,))
        space.checkpoint()
        ahead = database.stat().st_blocks * 512 - connection.pragma("page_count") * connection.pragma("page_size")
        assert MARK // 4 <= ahead < MARK // 4 + 65536
    connection.execute("DELETE FROM body")
    while space.shrink(idle=True):
        pass
    assert database.stat().st_size < 8 * MIB + MARK // 4


def test_what_the_database_has_ahead_stays_where_no_more_can_be_had(connection, tmp_path, monkeypatch):
    monkeypatch.setattr(Space, "near_full", True)
    space = Space(connection, tmp_path, QUEUE_FILE, StoreSettings(free_space_mark=MARK))
    connection.execute("CREATE TABLE body (data BLOB)")
    assert space.measure().whole
    before = (tmp_path / QUEUE_FILE).stat().st_size

    def fails(_connection, _size):
        raise apsw.FullError("full")

    monkeypatch.setattr("gatepost.store.sqlite.space._hint", fails)
    for _ in range(2):
        connection.execute("INSERT INTO body VALUES (zeroblob(?))", (MARK // 16,))
        space.checkpoint()
        assert before <= (tmp_path / QUEUE_FILE).stat().st_size < before + 65536


def test_a_database_gets_no_hole_where_there_is_no_room_ahead(connection, tmp_path, monkeypatch):
    monkeypatch.setattr(Space, "near_full", True)
    space = Space(connection, tmp_path, QUEUE_FILE, StoreSettings(free_space_mark=MARK))

    def fails(_connection, _size):
        raise apsw.FullError("full")

    monkeypatch.setattr("gatepost.store.sqlite.space._hint", fails)
    connection.execute("CREATE TABLE body (data BLOB)")
    connection.execute("INSERT INTO body VALUES (zeroblob(?))", (MIB,))
    pages, copied = space.checkpoint()
    assert pages == copied > 0
    assert (tmp_path / QUEUE_FILE).stat().st_size == connection.pragma("page_count") * connection.pragma("page_size")


def test_files_shrink_once_they_are_quiet(shop, monkeypatch, eventually):
    monkeypatch.setattr(module, "_QUIET", 0.1)
    monkeypatch.setattr(module, "_TIDY", 0.001)
    monkeypatch.setattr(module, "_LOOK", 0.05)
    database, wal = shop.shard / QUEUE_FILE, shop.shard / f"{QUEUE_FILE}-wal"

    async def main():
        async with shop.open(free_space_mark=MARK, checkpoint_pages=500) as store:
            deliveries = [await shop.accept(store, body=b"x" * 200_000) for _ in range(100)]
            kept = await shop.accept(store, body=b"y" * 200_000)
            for delivery in deliveries:
                store.settle([Settlement(delivery, [])])
            await store.flushed()
            assert database.stat().st_size + wal.stat().st_size > 20 * MIB
            await eventually(lambda: database.stat().st_size + wal.stat().st_size < 13 * MIB)
            assert await shop.read(store, kept.message.id) == b"y" * 200_000
            assert store.failure is None

    asyncio.run(main())


def test_a_database_of_an_earlier_version_is_written_anew_once(tmp_path, caplog):
    caplog.set_level("INFO")
    path = tmp_path / QUEUE_FILE
    connection = open_database(path, StoreSettings())
    make_queue_tables(connection, path)
    connection.execute("INSERT INTO body VALUES (1, zeroblob(1000000))")
    assert connection.pragma("auto_vacuum") == 0
    allow_shrinking(connection, path)
    assert connection.pragma("auto_vacuum") == 2
    assert connection.execute("SELECT length(data) FROM body").get == 1_000_000
    allow_shrinking(connection, path)
    connection.close()
    (record,) = caplog.records
    assert "was written anew, so that it can shrink" in record.message


def test_one_that_is_too_large_for_that_stays_as_it_is(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("gatepost.store.sqlite.space._MOST_REWRITTEN", 1000)
    path = tmp_path / QUEUE_FILE
    connection = open_database(path, StoreSettings())
    make_queue_tables(connection, path)
    allow_shrinking(connection, path)
    assert connection.pragma("auto_vacuum") == 0
    assert not Space(connection, tmp_path, QUEUE_FILE, StoreSettings(free_space_mark=0)).shrink(idle=True)
    connection.close()
    assert "cannot shrink yet" in caplog.text


def test_one_that_cannot_be_written_anew_now_works_as_it_is(tmp_path, caplog):
    path = tmp_path / QUEUE_FILE
    connection = open_database(path, StoreSettings())
    make_queue_tables(connection, path)
    reader = apsw.Connection(str(path))
    reader.execute("BEGIN IMMEDIATE")
    connection.set_busy_timeout(10)
    allow_shrinking(connection, path)
    reader.execute("ROLLBACK")
    reader.close()
    connection.close()
    assert "it is tried again at the next start" in caplog.text


@pytest.fixture
def connection(tmp_path):
    opened = open_database(tmp_path / QUEUE_FILE, StoreSettings(), shrinking=True)
    yield opened
    opened.close()


def test_without_a_mark_there_is_no_reserve(connection, tmp_path):
    space = Space(connection, tmp_path, QUEUE_FILE, StoreSettings(free_space_mark=0))
    found = space.measure()
    assert (found.whole, found.reserved) == (True, 0)
    assert not space.near_full


def test_after_the_log_was_cut_others_are_waited_for_as_before(connection, tmp_path, monkeypatch):
    other = apsw.Connection(str(tmp_path / QUEUE_FILE))
    monkeypatch.setattr("time.sleep", lambda _: other.in_transaction and other.execute("ROLLBACK"))
    Space(connection, tmp_path, QUEUE_FILE, StoreSettings(free_space_mark=0))._cut_wal()
    other.execute("BEGIN IMMEDIATE")
    connection.execute("BEGIN IMMEDIATE; ROLLBACK")  # at the first pause, in which SQLite's own would not stop
    other.close()


FAILURES = [apsw.FullError("full"), apsw.IOError("broken"), apsw.BusyError("busy")]


@pytest.mark.parametrize(
    "error",
    [*FAILURES, OSError(errno.ENOSPC, "no space"), OSError(errno.EDQUOT, "quota"), OSError(errno.EMFILE, "files")],
    ids=str,
)
def test_a_reserve_that_does_not_fit_is_not_whole(connection, tmp_path, monkeypatch, error):
    def fails(_space):
        raise error

    space = Space(connection, tmp_path, QUEUE_FILE, StoreSettings(free_space_mark=MARK))
    monkeypatch.setattr(Space, "_extend_wal", fails)
    assert not space.measure().whole


@pytest.fixture
def spoilt(connection, tmp_path, monkeypatch):
    """Measures while SQLite reports an error of the disk, and no file can be opened."""

    def measure(number):
        def fails(_space):
            raise apsw.IOError("SQLite says no more")

        def refused(_path, _flags):
            raise OSError(number, os.strerror(number))

        space = Space(connection, tmp_path, QUEUE_FILE, StoreSettings(free_space_mark=MARK))
        with monkeypatch.context() as patch:
            patch.setattr(Space, "_extend_wal", fails)
            patch.setattr("os.open", refused)
            return space.measure()

    return measure


def test_a_disk_that_has_become_read_only_is_not_taken_for_a_full_one(spoilt):
    with pytest.raises(OSError, match="Read-only"):
        spoilt(errno.EROFS)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
def test_a_process_that_has_too_many_files_open_says_nothing_of_the_disk(spoilt, number):
    """A moment with many clients must not end the store for good."""
    assert not spoilt(number).whole


def test_another_error_of_the_disk_is_none_of_room(connection, tmp_path, monkeypatch):
    def fails(_space):
        raise OSError(errno.EIO, "broken")

    space = Space(connection, tmp_path, QUEUE_FILE, StoreSettings(free_space_mark=MARK))
    monkeypatch.setattr(Space, "_extend_wal", fails)
    with pytest.raises(OSError, match="broken"):
        space.measure()


@pytest.mark.parametrize(
    ("error", "number", "is_quota"),
    [
        (apsw.IOError("x"), errno.EDQUOT, True),
        (apsw.IOError("x"), errno.EIO, False),
        (apsw.BusyError("x"), errno.EDQUOT, False),
        (OSError(errno.EDQUOT, "x"), errno.EDQUOT, False),
    ],
)
def test_a_quota_that_is_used_up(error, number, is_quota):
    assert over_quota(type("Connection", (), {"system_errno": number})(), error) is is_quota
