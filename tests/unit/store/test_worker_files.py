"""The files that confined processes write: made before, and used without making one."""

from __future__ import annotations

import pytest

from gatepost.store.changes import CONFIGURATION, ConfigStore
from gatepost.store.destinations import DESTINATIONS_FILE, DestinationFile
from gatepost.store.interface import StoreFailure
from gatepost.store.sending_usage import USAGE
from gatepost.store.sqlite.database import SqliteDatabase
from gatepost.store.worker_files import prepare_worker_files


def names(directory, paths):
    return {str(path.relative_to(directory)) for path in paths}


def test_all_are_there_afterwards_with_what_sqlite_keeps_beside_them(tmp_path):
    ConfigStore(tmp_path / CONFIGURATION.file).close()
    paths = prepare_worker_files(tmp_path)
    assert [path for path in paths if not path.exists()] == []
    assert names(tmp_path, paths) >= {"queue", "trace", "evidence", "workers", "session-counts.db", USAGE.file}
    assert not names(tmp_path, paths) & {"access.db", "config.db", "config.db-wal", "config.db-shm"}
    assert {path.stat().st_mode & 0o77 for path in paths} == {0}


def test_a_database_that_is_closed_and_opened_again_makes_no_file(tmp_path):
    ConfigStore(tmp_path / CONFIGURATION.file).close()
    before = {path: path.stat().st_ino for path in prepare_worker_files(tmp_path)}
    SqliteDatabase(tmp_path, USAGE).close()
    DestinationFile(tmp_path / DESTINATIONS_FILE).close()
    assert {path: path.stat().st_ino for path in before} == before


def test_where_all_else_is_in_postgresql_there_are_few(tmp_path):
    paths = prepare_worker_files(tmp_path, copy="configuration-copy-1.db", lock="copy.lock")
    assert names(tmp_path, paths) == {
        *("spool", "workers", "evidence", "copy.lock"),
        *(f"configuration-copy-1.db{beside}" for beside in ("", "-wal", "-shm")),
    }


def test_keys_that_cannot_be_read_are_for_others_to_report(tmp_path):
    (tmp_path / "srs").mkdir()
    (tmp_path / "srs/keys").write_text("no key")
    assert prepare_worker_files(tmp_path)


def test_what_cannot_be_made_is_said(tmp_path):
    (tmp_path / USAGE.file).write_bytes(b"this is not a database, and long enough to be seen as none" * 20)
    with pytest.raises(StoreFailure, match=USAGE.file):
        prepare_worker_files(tmp_path)
