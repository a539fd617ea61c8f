from __future__ import annotations

import stat
import threading
import time
from contextlib import closing

import apsw
import pytest

from gatepost.store.interface import Schema, StoreBusy, StoreFailure
from gatepost.store.sqlite import database as module
from gatepost.store.sqlite.database import SqliteDatabase, SqliteReader
from gatepost.values import replace

SCHEMA = Schema(
    name="fruit",
    file="fruit.db",
    application_id=0x67706163,
    version=3,
    tables="CREATE TABLE fruit (name TEXT PRIMARY KEY, colour TEXT NOT NULL DEFAULT '', weight REAL);",
    upgrades={
        1: "ALTER TABLE fruit ADD COLUMN colour TEXT NOT NULL DEFAULT ''",
        2: "ALTER TABLE fruit ADD weight REAL",
    },
    secret=True,
)
INSERT = "INSERT INTO fruit (name) VALUES (?)"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "data"


@pytest.fixture
def database(folder):
    with closing(SqliteDatabase(folder, SCHEMA)) as found:
        yield found


def fruits(database):
    with database.reading() as connection:
        return connection.value("SELECT count(*) FROM fruit")


def test_only_its_owner_may_read_it(database, folder):
    modes = [stat.S_IMODE(one.stat().st_mode) for one in folder.iterdir()]
    assert set(modes) == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert database.path == folder / "fruit.db"
    with database.reading() as connection:
        assert connection.value("PRAGMA secure_delete") == 1
        assert connection.value("PRAGMA synchronous") == 2


def test_statements(database):
    with database.changing() as connection:
        assert connection.execute(INSERT, ("pear",)) == 1
        connection.execute_many(INSERT, [("fig",), ["plum"]])
        assert connection.execute("UPDATE fruit SET weight = 2 WHERE name <> 'x'") == 3
        assert connection.execute("DELETE FROM fruit WHERE name = 'x'") == 0
    with database.reading_at_once() as connection:
        assert connection.rows("SELECT name FROM fruit ORDER BY name") == [("fig",), ("pear",), ("plum",)]
        assert connection.value("SELECT name FROM fruit WHERE name = ?", ("x",)) is None


def test_it_stays(database, folder):
    with database.changing() as connection:
        connection.execute(INSERT, ("pear",))
    before = database.data_version()
    with closing(SqliteDatabase(folder, SCHEMA, synchronous="NORMAL")) as other:
        assert fruits(other) == 1
        assert database.data_version() == before
        with other.changing() as connection:
            connection.execute(INSERT, ("fig",))
        assert database.data_version() != before
    with closing(SqliteDatabase(folder, replace(SCHEMA, secret=False), file="another.db")) as third:
        assert fruits(third) == 0


def test_whether_it_changed_cannot_be_said_of_what_cannot_be_read(database):
    database.close()
    with pytest.raises(StoreFailure, match=r"fruit\.db"):
        database.data_version()


def test_whoever_opens_it_does_not_wait_for_who_writes(database, folder):
    writer = apsw.Connection(str(database.path))
    writer.execute("BEGIN IMMEDIATE")
    writer.execute(INSERT, ("pear",))
    begun = time.monotonic()
    with closing(SqliteDatabase(folder, SCHEMA)) as other:
        assert fruits(other) == 0, "what is not committed is not there"
        assert time.monotonic() - begun < 2, "SQLite waits 5 s for the lock"
    writer.execute("ROLLBACK")
    writer.close()


def test_what_raises_changes_nothing(database):
    def change(error):
        with database.changing() as connection:
            connection.execute(INSERT, ("pear",))
            raise error

    for error in (ValueError("no"), apsw.FullError("disk full")):
        with pytest.raises((ValueError, StoreFailure)):
            change(error)
    assert fruits(database) == 0


def test_a_lock_that_stays_is_busy(database):
    database._connection.set_busy_timeout(10)
    with closing(apsw.Connection(str(database.path))) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreBusy, match=r"fruit\.db: .*locked"), database.changing():
            pass


def test_tables_that_another_process_made_a_moment_ago_stay(database, folder, monkeypatch):
    seen = iter([False])  # as it was at the first look
    really = SqliteDatabase._is_current
    monkeypatch.setattr(SqliteDatabase, "_is_current", lambda self: next(seen, None) is not False and really(self))
    with closing(SqliteDatabase(folder, SCHEMA)) as other:
        assert (fruits(other), list(seen)) == (0, [])


@pytest.mark.parametrize("version", [1, 2])
def test_older_tables_are_brought_up_to_date(folder, version):
    columns = {1: "name TEXT PRIMARY KEY", 2: "name TEXT PRIMARY KEY, colour TEXT NOT NULL DEFAULT ''"}
    older = replace(SCHEMA, version=version, upgrades={}, tables=f"CREATE TABLE fruit ({columns[version]});")
    with closing(SqliteDatabase(folder, older)) as database, database.changing() as connection:
        connection.execute(INSERT, ("pear",))
    for _ in range(2):
        with closing(SqliteDatabase(folder, SCHEMA)) as database, database.reading() as connection:
            assert connection.rows("SELECT name, colour, weight FROM fruit") == [("pear", "", None)]


@pytest.mark.parametrize(
    "text",
    [
        "CREATE TABLE other (a)",
        "PRAGMA user_version = 2",
        f"PRAGMA user_version = 9; PRAGMA application_id = {0x67706163}",
    ],
)
def test_files_of_others_are_refused(tmp_path, text):
    with closing(apsw.Connection(str(tmp_path / "fruit.db"))) as connection:
        connection.execute(text)
    with pytest.raises(StoreFailure, match="this version of gatepost knows 3: use the version"):
        SqliteDatabase(tmp_path, SCHEMA)


def test_what_cannot_be_opened(tmp_path):
    (tmp_path / "file").write_text("not a directory")
    with pytest.raises(StoreFailure, match="file"):
        SqliteDatabase(tmp_path / "file" / "below", SCHEMA)
    (tmp_path / "fruit.db").write_bytes(b"no database at all" * 1000)
    with pytest.raises(StoreFailure, match=r"fruit\.db"):
        SqliteDatabase(tmp_path, SCHEMA)


def test_a_file_that_another_process_keeps_busy(folder, monkeypatch):
    monkeypatch.setattr(module, "open_database", lambda path, *_, **__: apsw.Connection(str(path)))
    folder.mkdir()
    with closing(apsw.Connection(str(folder / "fruit.db"))) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreBusy, match=r"fruit\.db: .*locked"):
            SqliteDatabase(folder, SCHEMA)


def test_every_wait_ends(database, monkeypatch):
    monkeypatch.setattr(module, "_WAIT", 0.01)
    with database.reading(), pytest.raises(StoreBusy, match="busy"):
        fruits(database)
    with database.reading():
        database.forget()
    assert fruits(database) == 0


def test_threads_take_turns(database):
    def work(name):
        for number in range(20):
            with database.changing() as connection:
                connection.execute(INSERT, (f"{name}{number}",))

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert fruits(database) == 80


def test_what_was_removed_is_not_in_the_files(database, folder):
    with database.changing() as connection:
        connection.execute(INSERT, ("remarkable-octets",))
    with database.changing() as connection:
        connection.execute("DELETE FROM fruit")
    database.forget()
    assert not [one for one in folder.iterdir() if b"remarkable-octets" in one.read_bytes()]


# who may only read


def test_a_reader_sees_what_others_write_and_writes_nothing(database, folder):
    with closing(SqliteReader(folder, SCHEMA)) as reader:
        before = reader.data_version()
        with database.changing() as connection:
            connection.execute(INSERT, ("pear",))
        assert (fruits(reader), reader.data_version() != before) == (1, True)
        for write in (reader.changing, reader.single):
            with pytest.raises(StoreFailure, match="may only read"):
                write()
        with pytest.raises(StoreFailure, match="readonly"), reader.reading() as connection:
            connection.execute(INSERT, ("plum",))
        reader.forget()
        assert fruits(reader) == 1


def test_a_reader_makes_nothing(folder):
    folder.mkdir()
    with pytest.raises(StoreFailure, match="fruit"):
        SqliteReader(folder, SCHEMA)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("change", [{"version": 4}, {"application_id": 1}])
def test_a_reader_knows_its_tables(database, folder, change):
    with pytest.raises(StoreFailure, match="another version"):
        SqliteReader(folder, replace(SCHEMA, **change))
    with closing(SqliteReader(folder, replace(SCHEMA, file="other.db"), file="fruit.db")) as reader:
        assert fruits(reader) == 0


def test_an_event_loop_waits_for_no_other_process(folder, database):
    with closing(SqliteDatabase(folder, SCHEMA, waits=False)) as impatient:
        assert database._connection.pragma("busy_timeout") > 0
        assert impatient._connection.pragma("busy_timeout") == 0
