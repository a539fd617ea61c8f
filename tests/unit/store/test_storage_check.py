"""The checks of a store before it is used. The server itself: tests/system/test_postgres_start.py."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing

import pytest

from gatepost.settings.store_url import SQLITE
from gatepost.store.changes import CONFIGURATION
from gatepost.store.interface import StoreBusy, StoreFailure
from gatepost.store.postgres.queue_schema import QUEUE_SCHEMA
from gatepost.store.sqlite.schema import QUEUE_MARK
from gatepost.store.storage import Storage

NOBODY = "postgresql://gatepost@127.0.0.1:1/gatepost"


def test_files_can_be_used_unless_a_restore_is_under_way(tmp_path):
    storage = Storage(SQLITE, tmp_path)
    storage.check([])
    assert storage.prepare([]) == {}
    (tmp_path / ".restore").mkdir()
    with pytest.raises(StoreFailure, match="a restore is under way here"):
        storage.check([])


@pytest.mark.parametrize("name", ["config.db", "queue/1/q.db"])
def test_data_of_a_newer_version_cannot_be_used(tmp_path, name):
    """`gatepost serve --check` and `doctor` said that it can; the start then refused it."""
    file = tmp_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(file)) as connection:
        mark = CONFIGURATION.application_id if name == CONFIGURATION.file else QUEUE_MARK
        connection.execute(f"PRAGMA application_id = {mark}")
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreFailure, match=f"{name} has tables of version 99, and this version of gatepost knows 3"):
        Storage(SQLITE, tmp_path).check([QUEUE_SCHEMA, CONFIGURATION])


@pytest.mark.parametrize("ask", [Storage.check, Storage.prepare, Storage.server_state])
def test_a_server_that_is_away(tmp_path, ask):
    with pytest.raises(StoreBusy, match=r"PostgreSQL at 127\.0\.0\.1:1 cannot be reached: .*; nothing was changed"):
        ask(Storage(NOBODY, tmp_path), [])


def test_rights_are_looked_at_where_workers_have_a_role(tmp_path):
    for storage in (Storage(SQLITE, tmp_path), Storage(NOBODY, tmp_path)):
        storage.check_workers()
        assert storage.remarks_on_workers() == []
    with_role = Storage(NOBODY, tmp_path, worker_role="gatepost_worker")
    for ask in (with_role.check_workers, with_role.remarks_on_workers):
        with pytest.raises(StoreBusy, match="cannot be reached"):
            ask()


@pytest.mark.parametrize("ask", [Storage.lets_in, Storage.check_standby])
def test_a_server_that_is_away_says_nothing_of_itself(tmp_path, ask):
    with pytest.raises(StoreBusy, match="cannot be reached"):
        ask(Storage(NOBODY, tmp_path))


def test_without_the_library(tmp_path, monkeypatch):
    for name in list(sys.modules):
        if name.startswith("gatepost.store.postgres"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("gatepost.store.postgres", raising=False)
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(StoreFailure, match=r"install gatepost\[postgres\]"):
        Storage(NOBODY, tmp_path).check([])
