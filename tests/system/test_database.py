"""The tables beside the queue behave alike in SQLite and in PostgreSQL (`store.interface`)."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType

import pytest
from support.postgres import Postgres

from gatepost.store.interface import Database, Schema, StoreBusy, StoreFailure
from gatepost.store.storage import Storage
from gatepost.values import replace

SCHEMA = Schema(
    name="fruit",
    file="fruit.db",
    application_id=0x66727574,
    version=2,
    tables="""
    CREATE TABLE fruit (
        id     INTEGER PRIMARY KEY AUTOINCREMENT,
        name   TEXT NOT NULL UNIQUE,
        weight REAL NOT NULL,
        seed   BLOB
    );
    CREATE INDEX fruit_weight ON fruit (weight);
    """,
    upgrades=MappingProxyType({1: "ALTER TABLE fruit ADD COLUMN colour TEXT NOT NULL DEFAULT ''"}),
)
INSERT = "INSERT INTO fruit (name, weight, seed) VALUES (?, ?, ?)"


@pytest.fixture
def database(storage: Storage) -> Database:
    return storage.database(SCHEMA)


def test_what_is_written_is_read_with_its_types(database: Database) -> None:
    with database.changing() as change:
        assert change.execute(INSERT, ("apple", 0.25, b"\x00'")) == 1
        change.execute_many(INSERT, [("pear", 1, None), ("it's a ?", 2.5, b"")])
    with database.reading() as connection:
        assert connection.rows("SELECT name, weight, seed FROM fruit ORDER BY name") == [
            ("apple", 0.25, b"\x00'"),
            ("it's a ?", 2.5, b""),
            ("pear", 1.0, None),
        ]
        assert connection.value("SELECT count(*) FROM fruit WHERE name = ?", ("it's a ?",)) == 1
        assert connection.value("SELECT seed FROM fruit WHERE name = 'none'") is None
        assert connection.rows("SELECT ?2 || ?1 || ?2", ("b", "a")) == [("aba",)]


def test_changes_are_counted(database: Database) -> None:
    with database.changing() as change:
        change.execute_many(INSERT, [(name, 1, None) for name in "abc"])
        assert change.execute("UPDATE fruit SET weight = ? WHERE name <> ?", (2, "a")) == 2
        assert change.execute("DELETE FROM fruit WHERE name = 'x'") == 0
        assert change.rows("DELETE FROM fruit WHERE weight = 2 RETURNING name") == [("b",), ("c",)]
        again = (
            "INSERT INTO fruit (name, weight) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET weight = excluded.weight"
        )
        assert change.execute(again, ("a", 9)) == 1
        assert change.execute("INSERT INTO fruit (name, weight) VALUES ('a', 1) ON CONFLICT DO NOTHING") == 0


def test_what_raises_leaves_nothing(database: Database) -> None:
    def two(second: str) -> None:
        with database.changing() as change:
            change.execute(INSERT, ("apple", 1, None))
            change.execute(INSERT, (second, 1 / len(second), None))

    with pytest.raises(ZeroDivisionError):
        two("")
    with pytest.raises(StoreFailure):
        two("apple")
    with database.reading() as connection:
        assert connection.rows("SELECT name FROM fruit") == []


def test_two_changes_are_never_beside_each_other(storage: Storage) -> None:
    first, second = storage.database(SCHEMA), storage.database(SCHEMA)
    seen: list[str] = []

    def other() -> None:
        with second.changing() as change:
            seen.extend(name for (name,) in change.rows("SELECT name FROM fruit"))

    thread = threading.Thread(target=other)
    with first.changing() as change:
        change.execute(INSERT, ("apple", 1, None))
        thread.start()
        time.sleep(0.3)
        assert thread.is_alive()
    thread.join(60)
    assert seen == ["apple"]


def test_several_statements_see_one_state(storage: Storage) -> None:
    reader, writer = storage.database(SCHEMA), storage.database(SCHEMA)
    with reader.reading_at_once() as connection:
        assert connection.value("SELECT count(*) FROM fruit") == 0
        with writer.changing() as change:
            change.execute(INSERT, ("apple", 1, None))
        assert connection.value("SELECT count(*) FROM fruit") == 0
    with reader.reading() as connection:
        assert connection.value("SELECT count(*) FROM fruit") == 1


def test_many_threads_share_it(database: Database) -> None:
    def write(name: str) -> None:
        for number in range(5):
            with database.changing() as change:
                change.execute(INSERT, (f"{name}{number}", 1, None))

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcdefgh"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    with database.reading() as connection:
        assert connection.value("SELECT count(*) FROM fruit") == 40


def test_older_tables_are_brought_up_to_date(storage: Storage) -> None:
    older = storage.database(replace(SCHEMA, version=1, upgrades={}))
    with older.changing() as change:
        change.execute(INSERT, ("apple", 1, None))
    newer = storage.database(SCHEMA)
    with newer.reading() as connection:
        assert connection.rows("SELECT name, colour FROM fruit") == [("apple", "")]
    with older.changing() as change:  # whoever is of the version before goes on
        change.execute(INSERT, ("pear", 1, None))


def test_newer_tables_are_refused_and_stay(storage: Storage) -> None:
    newer = storage.database(replace(SCHEMA, version=7, oldest=7))
    with newer.changing() as change:
        change.execute(INSERT, ("apple", 1, None))
    with pytest.raises(StoreFailure, match=r"of version 7, .* knows 2: use "):
        storage.database(SCHEMA)
    with newer.reading() as connection:
        assert connection.value("SELECT count(*) FROM fruit") == 1


def test_several_may_make_the_tables_at_once(storage: Storage) -> None:
    made: list[Database] = []
    threads = [threading.Thread(target=lambda: made.append(storage.database(SCHEMA))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(made) == 4


def test_several_nodes_may_make_the_first_table_of_all_at_once(postgres: Postgres, tmp_path: Path) -> None:
    """Each new database once, as the table of versions is made once: 4 of 40 tries failed."""
    for _ in range(15):
        storage, made = Storage(postgres.database(), tmp_path), []
        make = functools.partial(lambda one, all_: all_.append(one.database(SCHEMA)), storage, made)
        threads = [threading.Thread(target=make) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert len(made) == 4


def test_a_server_that_goes_away_is_busy_and_comes_back(
    start_postgres: Callable[..., Postgres], tmp_path: Path
) -> None:
    server = start_postgres()
    database = Storage(server.database(), tmp_path).database(SCHEMA)
    server.stop()
    with pytest.raises(StoreBusy), database.changing() as change:
        change.execute(INSERT, ("apple", 1, None))
    server.start()
    deadline = time.monotonic() + 60
    while True:
        try:
            with database.changing() as change:
                change.execute(INSERT, ("apple", 1, None))
            break
        except StoreBusy:
            assert time.monotonic() < deadline
    with database.reading() as connection:
        assert connection.value("SELECT count(*) FROM fruit") == 1


def test_a_server_that_is_not_there_says_what_and_where(tmp_path: Path) -> None:
    with pytest.raises(StoreBusy, match=r"PostgreSQL at 127\.0\.0\.1:1 cannot be reached: .*nothing was changed"):
        Storage("postgresql://nobody@127.0.0.1:1/none", tmp_path).database(SCHEMA)
