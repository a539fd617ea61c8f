from __future__ import annotations

from contextlib import closing

import apsw
import pytest

from gatepost.manage.access.schema import ACCESS
from gatepost.settings.store_url import SQLITE
from gatepost.store.interface import StoreFailure
from gatepost.store.storage import Storage

EVENT = "INSERT INTO audit_event (at, who, address, action, organization, subject, outcome, detail) VALUES "


@pytest.fixture
def path(tmp_path):
    return tmp_path / "access.db"


def opened(path):
    return closing(Storage(SQLITE, path.parent).database(ACCESS))


def test_audit_events_of_an_older_file_are_kept(path):
    """Schema 2 called them deeds."""
    with opened(path):
        pass
    with closing(apsw.Connection(str(path))) as older:
        older.execute(
            "ALTER TABLE audit_event RENAME TO deed; DROP INDEX audit_event_at; DROP INDEX audit_event_of;"
            "DROP INDEX audit_event_refused; ALTER TABLE setup DROP COLUMN sealed; CREATE INDEX deed_at ON deed (at);"
            'ALTER TABLE "user" DROP COLUMN preferences;'
            "CREATE INDEX deed_of ON deed (organization, id);"
            "CREATE INDEX deed_refused ON deed (who, action, id) WHERE outcome <> 'done'; PRAGMA user_version = 2"
        )
        for number in range(3):
            older.execute("INSERT INTO deed VALUES (NULL, ?, 'ann', '', 'log-in', '', '', 'done', '{}')", (number,))
        older.execute("DELETE FROM deed WHERE id = 3")
    for _ in range(2):
        with opened(path) as database, database.changing() as connection:
            connection.execute(f"{EVENT} (1, '', '', '', '', '', 'done', '{{}}')")
            rows = connection.rows("SELECT id, who FROM audit_event ORDER BY id")
            rows_of_setup = [name for _, name, *_ in connection.rows("PRAGMA table_info(setup)")]
            rows_of_user = [name for _, name, *_ in connection.rows('PRAGMA table_info("user")')]
            names = {name for (name,) in connection.rows("SELECT name FROM sqlite_schema")}
    assert rows == [(1, "ann"), (2, "ann"), (4, ""), (5, "")], "a number never comes again"
    assert not {name for name in names if "deed" in name}
    assert "sealed" in rows_of_setup
    assert "preferences" in rows_of_user
    assert {"audit_event_at", "audit_event_of", "audit_event_refused"} <= names


def test_a_file_of_version_1_is_refused(path):
    with closing(apsw.Connection(str(path))) as older:
        older.execute(f"PRAGMA user_version = 1; PRAGMA application_id = {0x67706163}")
    with pytest.raises(StoreFailure, match="version 1, and this version of gatepost knows 5"):
        opened(path)


def test_what_is_removed_is_overwritten(path):
    with opened(path) as database, database.reading() as connection:
        assert connection.value("PRAGMA secure_delete") == 1
