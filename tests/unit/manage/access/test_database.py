from __future__ import annotations

import stat
import threading
import time

import apsw
import pytest

from gatepost.manage.access import database as module
from gatepost.manage.access.database import AccessDatabase
from gatepost.store.interface import StoreFailure


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data" / "access.db"


@pytest.fixture
def database(path):
    found = AccessDatabase(path)
    yield found
    found.close()


def audit_events(database):
    with database.reading() as connection:
        return connection.execute("SELECT count(*) FROM audit_event").get


def insert(connection):
    connection.execute("INSERT INTO audit_event VALUES (NULL, 1, '', '', '', '', '', 'done', '{}')")


def test_only_its_owner_may_read_it(database, path):
    modes = [stat.S_IMODE(one.stat().st_mode) for one in path.parent.iterdir()]
    assert set(modes) == {0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    with database.reading() as connection:
        assert connection.pragma("secure_delete") == 1
        assert connection.pragma("synchronous") == 2


def test_it_stays(database, path):
    with database.changing() as connection:
        insert(connection)
    other = AccessDatabase(path)
    assert audit_events(other) == 1
    other.close()


def test_whoever_opens_it_does_not_wait_for_who_writes(database, path):
    writer = apsw.Connection(str(path))
    writer.execute("BEGIN IMMEDIATE")
    insert(writer)
    begun = time.monotonic()
    other = AccessDatabase(path)
    assert audit_events(other) == 0, "what is not committed is not there"
    assert time.monotonic() - begun < 2, "SQLite waits 5 s for the lock"
    other.close()
    writer.execute("ROLLBACK")
    writer.close()


def test_what_raises_changes_nothing(database):
    def change(error):
        with database.changing() as connection:
            insert(connection)
            raise error

    for error in (ValueError("no"), apsw.FullError("disk full")):
        with pytest.raises((ValueError, StoreFailure)):
            change(error)
    assert audit_events(database) == 0


@pytest.mark.parametrize(
    "text",
    [
        "CREATE TABLE other (a)",
        "PRAGMA user_version = 2",
        f"PRAGMA user_version = 1; PRAGMA application_id = {0x67706163}",
        f"PRAGMA user_version = 9; PRAGMA application_id = {0x67706163}",
    ],
)
def test_files_of_others_are_refused(tmp_path, text):
    path = tmp_path / "access.db"
    connection = apsw.Connection(str(path))
    connection.execute(text)
    connection.close()
    with pytest.raises(StoreFailure, match="does not hold the accounts"):
        AccessDatabase(path)


def test_what_cannot_be_opened(tmp_path):
    (tmp_path / "file").write_text("not a directory")
    with pytest.raises(StoreFailure, match="file"):
        AccessDatabase(tmp_path / "file" / "access.db")
    (tmp_path / "access.db").write_bytes(b"no database at all" * 1000)
    with pytest.raises(StoreFailure, match=r"access\.db"):
        AccessDatabase(tmp_path / "access.db")


def test_every_wait_ends(database, monkeypatch):
    monkeypatch.setattr(module, "_WAIT", 0.01)
    with database.reading(), pytest.raises(StoreFailure, match="busy"):
        audit_events(database)
    database.forget()
    assert audit_events(database) == 0


def test_threads_take_turns(database):
    def work():
        for _ in range(20):
            with database.changing() as connection:
                insert(connection)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert audit_events(database) == 80


def test_what_was_removed_is_not_in_the_files(database, path):
    with database.changing() as connection:
        connection.execute("INSERT INTO setup VALUES (1, ?, 0)", (b"remarkable-octets",))
    with database.changing() as connection:
        connection.execute("DELETE FROM setup")
    database.forget()
    assert not [one for one in path.parent.iterdir() if b"remarkable-octets" in one.read_bytes()]


def test_audit_events_of_an_older_file_are_kept(path):
    """Schema 2 called them deeds."""
    AccessDatabase(path).close()
    older = apsw.Connection(str(path))
    older.execute(
        "ALTER TABLE audit_event RENAME TO deed; DROP INDEX audit_event_at; DROP INDEX audit_event_of;"
        "DROP INDEX audit_event_refused; CREATE INDEX deed_at ON deed (at);"
        "CREATE INDEX deed_of ON deed (organization, id);"
        "CREATE INDEX deed_refused ON deed (who, action, id) WHERE outcome <> 'done'; PRAGMA user_version = 2"
    )
    for number in range(3):
        older.execute("INSERT INTO deed VALUES (NULL, ?, 'ann', '', 'log-in', '', '', 'done', '{}')", (number,))
    older.execute("DELETE FROM deed WHERE id = 3")
    older.close()
    for _ in range(2):
        database = AccessDatabase(path)
        with database.changing() as connection:
            insert(connection)
            rows = connection.execute("SELECT id, who FROM audit_event ORDER BY id").fetchall()
            names = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
        database.close()
    assert rows == [(1, "ann"), (2, "ann"), (4, ""), (5, "")], "a number never comes again"
    assert not {name for name in names if "deed" in name}
    assert {"audit_event_at", "audit_event_of", "audit_event_refused"} <= names
