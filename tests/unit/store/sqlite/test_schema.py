from __future__ import annotations

import os
import re
import time
from threading import Thread, Timer

import apsw
import pytest

from gatepost.store.interface import StoreFailure
from gatepost.store.sqlite import rows, schema
from gatepost.store.sqlite.schema import (
    StoreSettings,
    check_queue_tables,
    exclusively,
    make_directory,
    make_file,
    make_queue_tables,
    open_database,
    open_for_change,
    open_for_reading,
    size_of,
    sqlite_version,
)


def test_pragmas(tmp_path):
    connection = open_database(tmp_path / "q.db", StoreSettings(page_size=8192))
    make_queue_tables(connection, tmp_path / "q.db")
    assert connection.pragma("page_size") == 8192
    assert connection.pragma("journal_mode") == "wal"
    assert connection.pragma("synchronous") == 2
    assert connection.pragma("wal_autocheckpoint") == 0
    connection.close()


def test_a_sqlite_that_loses_commits_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: "3.46.1")
    with pytest.raises(StoreFailure, match=r"3\.46\.1 can lose commits"):
        open_database(tmp_path / "q.db", StoreSettings())


def test_a_path_that_cannot_be_made(tmp_path):
    with pytest.raises(StoreFailure, match=r"nowhere"):
        open_database(tmp_path / "nowhere" / "q.db", StoreSettings())


def test_another_programs_database_is_left_alone(tmp_path):
    connection = open_database(tmp_path / "q.db", StoreSettings())
    connection.execute("CREATE TABLE theirs (a)")
    with pytest.raises(StoreFailure, match="not a queue"):
        make_queue_tables(connection, tmp_path / "q.db")
    connection.close()


def test_a_change_never_makes_a_database(tmp_path):
    with pytest.raises(apsw.CantOpenError):
        open_for_change(tmp_path / "q.db")


def test_directories_are_private_all_the_way(tmp_path):
    make_directory(tmp_path / "a" / "b")
    make_directory(tmp_path / "a" / "b")
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("a", "a/b")] == [0o700, 0o700]


@pytest.mark.parametrize("statement", [rows._DESTINATIONS, rows._EARLIEST])
def test_questions_about_deferred_mail_read_the_index_alone(tmp_path, statement):
    connection = open_database(tmp_path / "q.db", StoreSettings())
    make_queue_tables(connection, tmp_path / "q.db")
    values = ("contoso/partner.example",) if "?" in statement else ()
    plan = connection.execute(f"EXPLAIN QUERY PLAN {statement}", values).fetchall()
    assert all("COVERING INDEX due" in row[3] for row in plan)
    connection.close()


@pytest.mark.parametrize("undone", [False, True])
def test_a_transaction_is_kept_whole_or_not_at_all(tmp_path, undone):
    connection = open_database(tmp_path / "q.db", StoreSettings())
    connection.execute("CREATE TABLE t (a)")

    def fail():
        with exclusively(connection):
            connection.execute("INSERT INTO t VALUES (2)")
            if undone:  # as SQLite does by itself when the disk is full
                connection.execute("ROLLBACK")
            raise KeyError

    with exclusively(connection):
        connection.execute("INSERT INTO t VALUES (1)")
        assert connection.in_transaction
    with pytest.raises(KeyError):
        fail()
    assert not connection.in_transaction
    assert connection.execute("SELECT * FROM t").fetchall() == [(1,)]
    connection.close()


def test_a_new_file_that_several_open_at_once(tmp_path):
    failures = []

    def opened(path):
        try:
            open_database(path, StoreSettings()).close()
        except StoreFailure as failure:
            failures.append(failure)

    for number in range(20):
        threads = [Thread(target=opened, args=(tmp_path / f"{number}.db",)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []


def test_what_lasts_keeps_its_log_when_it_is_closed_and_others_do_not(tmp_path):
    for name, lasting in (("lasting.db", True), ("other.db", False)):
        connection = open_database(tmp_path / name, StoreSettings(), lasting=lasting)
        connection.execute("CREATE TABLE t (a)")
        connection.close()
        assert (tmp_path / f"{name}-wal").exists() is lasting


def test_a_new_database_that_can_shrink(tmp_path):
    modes = []
    for name, shrinking in (("shrinking.db", True), ("other.db", False)):
        connection = open_database(tmp_path / name, StoreSettings(), shrinking=shrinking)
        connection.execute("CREATE TABLE t (a)")
        modes.append(connection.pragma("auto_vacuum"))
        connection.close()
    assert modes == [2, 0]


@pytest.mark.parametrize("error", [apsw.FullError("full"), apsw.IOError("disk I/O error")])
def test_a_full_disk_is_named_where_a_database_cannot_be_opened(tmp_path, monkeypatch, error):
    def fails(*_arguments, **_options):
        raise error

    monkeypatch.setattr(apsw, "Connection", fails)
    with pytest.raises(StoreFailure, match=str(error)) as raised:
        open_database(tmp_path / "q.db", StoreSettings())
    assert "the disk is full" not in str(raised.value)
    room = os.statvfs(tmp_path)
    monkeypatch.setattr(os, "statvfs", lambda _path: os.statvfs_result((*room[:4], 1, *room[5:10])))
    with pytest.raises(
        StoreFailure, match=r"the disk is full, and a database needs \d+ KiB beside it; make room there"
    ):
        open_database(tmp_path / "q.db", StoreSettings())


def test_where_the_room_cannot_be_told_the_error_stands_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "statvfs", lambda _path: (_ for _ in ()).throw(OSError("gone")))
    with pytest.raises(StoreFailure, match=r"nowhere.*: No such file or directory$"):
        open_database(tmp_path / "nowhere" / "q.db", StoreSettings())


def test_a_file_that_another_keeps_for_itself_is_waited_for_and_not_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(schema, "PATIENCE_MS", 300)
    other = apsw.Connection(str(tmp_path / "q.db"))
    other.execute("CREATE TABLE t (a)")
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreFailure, match="locked"):
        open_database(tmp_path / "q.db", StoreSettings())
    other.execute("ROLLBACK")
    open_database(tmp_path / "q.db", StoreSettings()).close()
    other.close()


def test_where_sqlite_does_not_wait_it_is_asked_again(tmp_path, monkeypatch):
    other = apsw.Connection(str(tmp_path / "q.db"))
    other.execute("CREATE TABLE t (a)")
    other.execute("BEGIN EXCLUSIVE")
    connection = apsw.Connection(str(tmp_path / "q.db"))  # which waits for nobody
    with pytest.raises(apsw.BusyError):
        connection.execute("PRAGMA journal_mode = WAL")
    monkeypatch.setattr(schema.time, "sleep", lambda _seconds: other.execute("ROLLBACK"))
    schema._into_wal(connection)
    assert connection.pragma("journal_mode") == "wal"
    connection.close()
    other.close()


def test_reading_and_changing_what_another_connection_owns(tmp_path):
    owner = open_database(tmp_path / "q.db", StoreSettings())
    make_queue_tables(owner, tmp_path / "q.db")
    check_queue_tables(owner, tmp_path / "q.db")
    change = open_for_change(tmp_path / "q.db")
    change.execute("INSERT INTO body (id, data) VALUES (1, x'00')")
    assert change.pragma("wal_autocheckpoint") == 0
    assert change.pragma("synchronous") == 2
    change.close()
    reading = open_for_reading(tmp_path / "q.db")
    assert reading.execute("SELECT count(*) FROM body").get == 1
    with pytest.raises(apsw.ReadOnlyError):
        reading.execute("DELETE FROM body")
    reading.close()
    owner.close()
    with pytest.raises(apsw.CantOpenError):
        open_for_reading(tmp_path / "nowhere.db")


def test_a_change_gets_its_turn_between_two_commits_of_an_owner_that_is_at_work(tmp_path, monkeypatch):
    owner = open_database(tmp_path / "q.db", StoreSettings())
    owner.execute("CREATE TABLE t (a)")
    owner.execute("BEGIN IMMEDIATE")
    clock, pauses = [100.0], []

    def sleep(seconds):
        clock[0] += seconds
        pauses.append(seconds)
        if len(pauses) == 30:
            owner.execute("ROLLBACK")

    monkeypatch.setattr(schema.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(schema.time, "sleep", sleep)
    change = open_for_change(tmp_path / "q.db")
    with exclusively(change):
        assert len(pauses) == 30
        assert max(pauses) < 0.005  # as long as the moment between two commits may be
    owner.execute("BEGIN IMMEDIATE")
    with pytest.raises(apsw.BusyError), exclusively(change):
        pass
    assert clock[0] == pytest.approx(110, abs=1)  # for ten seconds, counted anew
    change.close()
    owner.close()


def test_who_only_reads_takes_back_what_a_crash_cut_short(tmp_path):
    writing = apsw.Connection(str(tmp_path / "day"))
    writing.execute("PRAGMA cache_size = 1; CREATE TABLE t (x); INSERT INTO t VALUES (1)")
    writing.execute("BEGIN; UPDATE t SET x = 2")
    writing.executemany("INSERT INTO t VALUES (randomblob(9000))", [()] * 50)
    for name in ("day", "day-journal"):  # as the disk has them at a crash
        (tmp_path / f"crashed{name[3:]}").write_bytes((tmp_path / name).read_bytes())
    writing.close()
    reading = open_for_reading(tmp_path / "crashed")
    assert reading.execute("SELECT x FROM t").fetchall() == [(1,)]
    reading.close()


@pytest.mark.parametrize("version", [1, 2])
def test_a_queue_of_a_version_before_is_brought_up_to_date(tmp_path, version, monkeypatch):
    monkeypatch.setattr(schema, "_MAKING_S", 0.01)
    connection = open_database(tmp_path / "q.db", StoreSettings())
    make_queue_tables(connection, tmp_path / "q.db")
    connection.execute("DROP INDEX quarantine")
    for column in ("quarantine", "listed", "returned")[: 4 - version]:
        connection.execute(f"ALTER TABLE delivery DROP COLUMN {column}")
    connection.execute(f"PRAGMA user_version = {version}")
    with pytest.raises(StoreFailure, match="not a queue of this version"):
        check_queue_tables(connection, tmp_path / "q.db")
    make_queue_tables(connection, tmp_path / "q.db")
    check_queue_tables(connection, tmp_path / "q.db")
    columns = {row[1] for row in connection.execute("PRAGMA table_info(delivery)")}
    assert columns >= {"returned", "quarantine", "listed"}
    connection.close()


def test_a_queue_that_its_worker_just_makes_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(schema, "_MAKING_S", 6.0)  # on a busy machine
    writing = open_database(tmp_path / "q.db", StoreSettings())
    reading = open_for_reading(tmp_path / "q.db")
    worker = Timer(0.1, make_queue_tables, (writing, tmp_path / "q.db"))
    worker.start()
    check_queue_tables(reading, tmp_path / "q.db")
    worker.join()
    reading.close()
    writing.close()


def test_a_queue_of_a_later_version_is_not_waited_for(tmp_path, monkeypatch):
    connection = open_database(tmp_path / "q.db", StoreSettings())
    make_queue_tables(connection, tmp_path / "q.db")
    connection.execute("PRAGMA user_version = 99")
    monkeypatch.setattr(time, "sleep", pytest.fail)
    with pytest.raises(StoreFailure, match=r"q\.db has tables of version 99, and .* knows 3: use"):
        check_queue_tables(connection, tmp_path / "q.db")
    connection.close()


def test_a_file_and_its_name_are_private_and_stay_as_they_are(tmp_path):
    make_file(tmp_path / "f")
    (tmp_path / "f").write_bytes(b"kept")
    make_file(tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == b"kept"
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o600


def test_it_is_a_version():
    assert re.fullmatch(r"3\.\d+\.\d+", sqlite_version())


def test_the_size_of_a_file(tmp_path):
    (tmp_path / "file").write_bytes(b"12345")
    assert size_of(tmp_path / "file") == 5
    assert size_of(tmp_path / "none") == 0
