"""Files that earlier versions of gatepost made without a mark, room, and single statements."""

from __future__ import annotations

from types import MappingProxyType

import apsw
import pytest

from gatepost.store.interface import Schema, StoreFailure
from gatepost.store.sqlite.database import SqliteDatabase
from gatepost.values import replace

SCHEMA = Schema(
    name="fruit",
    file="fruit.db",
    application_id=0x66727574,
    version=2,
    tables="CREATE TABLE fruit (name TEXT, colour TEXT NOT NULL DEFAULT '')",
    upgrades=MappingProxyType({1: "ALTER TABLE fruit ADD COLUMN colour TEXT NOT NULL DEFAULT ''"}),
    unmarked="ALTER TABLE old RENAME TO fruit",
)


def make(path, sql):
    connection = apsw.Connection(str(path / SCHEMA.file))
    connection.execute(sql)
    connection.close()


def test_they_become_ours_and_are_brought_up_to_date(tmp_path):
    make(tmp_path, "CREATE TABLE old (name TEXT); INSERT INTO old VALUES ('apple')")
    for _ in range(2):
        database = SqliteDatabase(tmp_path, SCHEMA)
        with database.reading() as connection:
            assert connection.rows("SELECT name, colour FROM fruit") == [("apple", "")]
        database.close()


@pytest.mark.parametrize(
    ("sql", "schema"),
    [
        ("CREATE TABLE other (name TEXT)", SCHEMA),
        ("CREATE TABLE old (name TEXT); PRAGMA application_id = 7", SCHEMA),
        ("CREATE TABLE old (name TEXT); PRAGMA user_version = 9", SCHEMA),
        ("CREATE TABLE old (name TEXT)", replace(SCHEMA, unmarked="")),
    ],
)
def test_others_are_left_alone(tmp_path, sql, schema):
    make(tmp_path, sql)
    with pytest.raises(StoreFailure, match="fruit"):
        SqliteDatabase(tmp_path, schema)


def test_a_single_statement_is_committed_and_knows_the_time_and_the_room(tmp_path):
    database = SqliteDatabase(tmp_path, SCHEMA)
    with database.single() as connection:
        connection.execute("INSERT INTO fruit VALUES ('apple', '')")
        assert connection.value(f"SELECT {connection.clock} > 1700000000") == 1
        assert connection.octets() >= 8192
    other = SqliteDatabase(tmp_path, SCHEMA)
    with other.reading() as connection:
        assert connection.value("SELECT count(*) FROM fruit") == 1
