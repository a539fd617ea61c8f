from __future__ import annotations

import sys

import pytest

from gatepost.settings.model import Settings
from gatepost.settings.store_url import SQLITE
from gatepost.store.database import Schema
from gatepost.store.evidence_in_files import EvidenceInFiles
from gatepost.store.interface import StoreBusy, StoreFailure
from gatepost.store.sqlite.message_trace import SqliteTrace
from gatepost.store.storage import Storage

SCHEMA = Schema("fruit", "fruit.db", 1, 1, "CREATE TABLE fruit (name TEXT)")


def test_the_files_of_a_gateway_are_in_its_data_directory(tmp_path):
    storage = Storage.of(Settings(server={"hostname": "mx1.contoso.example", "data_dir": str(tmp_path)}))
    assert not storage.is_shared
    with storage.database(SCHEMA).reading() as connection:
        assert connection.rows("SELECT * FROM fruit") == []
    assert (tmp_path / "fruit.db").exists()
    assert isinstance(storage.trace(), SqliteTrace)
    log = storage.evidence()
    assert isinstance(log, EvidenceInFiles)
    assert log.directory == tmp_path / "evidence"


def test_nodes_that_share_a_database_need_its_library(tmp_path, monkeypatch):
    storage = Storage("postgresql://gatepost@localhost/gatepost", tmp_path)
    assert storage.is_shared
    for module in ("asyncpg", "database", "trace", "evidence"):
        name = module if module == "asyncpg" else f"gatepost.store.postgres.{module}"
        monkeypatch.setitem(sys.modules, name, None)
    for opened in (lambda: storage.database(SCHEMA), storage.trace, storage.evidence):
        with pytest.raises(StoreFailure, match=r"install gatepost\[postgres\]"):
            opened()


def test_nothing_is_asked_of_a_server_before_it_must_be(tmp_path):
    storage = Storage("postgresql://gatepost@127.0.0.1:1/gatepost", tmp_path)
    assert storage.trace().unreadable() == []
    assert storage.evidence().name == "the evidence log"
    with pytest.raises(StoreBusy, match="cannot be reached"):
        storage.database(SCHEMA)
    assert Storage(SQLITE, tmp_path).is_shared is False
