from __future__ import annotations

import pytest

from gatepost.store.interface import OnFirstUse, Schema, StoredTables
from gatepost.store.sqlite.database import SqliteDatabase


def test_a_schema_has_no_upgrades_and_no_secrets_unless_it_says_so() -> None:
    schema = Schema(
        name="fruit", file="fruit.db", application_id=1, version=1, tables="CREATE TABLE fruit (name TEXT);"
    )
    assert dict(schema.upgrades) == {}
    assert not schema.secret


@pytest.mark.parametrize(
    ("version", "oldest", "suits"),
    [
        (3, 1, True),  # its own
        (2, 1, False),  # to be brought up to date
        (4, 1, True),  # of the next release, which only added
        (4, 3, True),
        (4, 4, False),  # which took away what this code uses
    ],
)
def test_newer_tables_are_used_if_they_only_have_more(version: int, oldest: int, *, suits: bool) -> None:
    schema = Schema(name="fruit", file="", application_id=1, version=3, tables="", oldest=2)
    assert schema.suits(version, oldest) is suits


def test_a_database_is_opened_at_the_first_use_and_anew_after_it_was_closed(tmp_path) -> None:
    schema = Schema(name="fruit", file="fruit.db", application_id=1, version=1, tables="CREATE TABLE fruit (a TEXT);")
    made = []

    def opened() -> SqliteDatabase:
        made.append(SqliteDatabase(tmp_path, schema))
        return made[-1]

    database = OnFirstUse(opened)
    database.close()
    assert (made, database.is_open) == ([], False)
    with database.changing() as change:
        change.execute("INSERT INTO fruit VALUES ('pear')")
    with database.single() as connection:
        connection.execute("INSERT INTO fruit VALUES ('plum')")
    assert (len(made), database.is_open) == (1, True)
    database.close()
    assert not database.is_open
    with database.reading() as connection:
        assert connection.rows("SELECT a FROM fruit ORDER BY a") == [("pear",), ("plum",)]
    assert len(made) == 2
    database.close()


def test_tables_are_opened_at_the_first_use_and_closed(tmp_path) -> None:
    schema = Schema(name="fruit", file="fruit.db", application_id=1, version=1, tables="CREATE TABLE fruit (a TEXT);")

    class Fruit(StoredTables):
        def names(self) -> list[str]:
            with self._database.reading() as connection:
                return [name for (name,) in connection.rows("SELECT a FROM fruit")]

        @property
        def is_open(self) -> bool:
            return self._database.is_open

    fruit = Fruit(lambda: SqliteDatabase(tmp_path, schema))
    assert not fruit.is_open
    assert (fruit.names(), fruit.is_open) == ([], True)
    fruit.close()
    assert not fruit.is_open
