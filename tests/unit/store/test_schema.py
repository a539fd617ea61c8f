from __future__ import annotations

from threading import Thread

import apsw
import pytest

from gatepost.store import rows
from gatepost.store.interface import StoreFailure
from gatepost.store.schema import (
    StoreSettings,
    exclusively,
    make_directory,
    make_queue_tables,
    open_database,
    open_for_change,
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
