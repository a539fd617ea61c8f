from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from gatepost.settings.model import Settings
from gatepost.settings.store_url import SQLITE
from gatepost.store.changes import CONFIGURATION
from gatepost.store.config_requests import WRITE_ACCESS, RequestedConfig
from gatepost.store.interface import StoreFailure
from gatepost.store.postgres.configuration import COPY_FILE
from gatepost.store.storage import Storage

POSTGRESQL = "postgresql://gatepost@127.0.0.1:1/gatepost"
USES: dict[str, Callable[[Storage], object]] = {
    "database": lambda storage: storage.database(CONFIGURATION),
    "configuration": Storage.configuration,
    "configurations": lambda storage: storage.configurations().store().__enter__(),
    "login failures": lambda storage: storage.login_failures(lambda: 0.0),
}


def test_a_gateway_has_its_files_in_its_data_directory(tmp_path: Path) -> None:
    server = {"hostname": "mx.contoso.example", "data_dir": str(tmp_path)}
    storage = Storage.of(Settings(server=server))
    assert not storage.is_shared
    with closing(storage.configuration()) as store, closing(storage.configurations()) as stores:
        store.apply({"organization": {"contoso": {}}}, author="ann")
        assert store.path == tmp_path / "config.db"
        assert not store.is_shared
        with stores.store() as other:
            assert other.version() == 1
    with closing(storage.database(CONFIGURATION)) as database, database.reading() as connection:
        assert connection.value("SELECT count(*) FROM change") == 1
    with storage.login_failures(lambda: 7.5).counting() as lists:
        assert lists.clock() == 7.5
    storage.disconnect()


@pytest.mark.parametrize("use", USES)
def test_several_nodes_need_their_server(tmp_path: Path, use: str) -> None:
    storage = Storage(POSTGRESQL, tmp_path)
    assert storage.is_shared
    with pytest.raises(StoreFailure, match="PostgreSQL"):
        USES[use](storage)
    storage.disconnect()


@pytest.mark.parametrize("use", USES)
def test_several_nodes_need_a_package(tmp_path: Path, use: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("database", "configuration", "failures", "server"):
        monkeypatch.setitem(sys.modules, f"gatepost.store.postgres.{name}", None)
    with pytest.raises(StoreFailure, match="needs the package asyncpg: install gatepost"):
        USES[use](Storage(POSTGRESQL, tmp_path))


def test_a_process_that_may_not_write_reads_the_copy_of_the_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = Storage(POSTGRESQL, tmp_path, worker_role="gatepost_worker")
    for either in (storage, Storage(SQLITE, tmp_path)):
        either.make_index()
    monkeypatch.setattr(WRITE_ACCESS, "ask", lambda _: None)
    with closing(storage.configuration()) as store:
        assert isinstance(store, RequestedConfig)
        assert store.is_shared
        assert store.path == tmp_path / COPY_FILE


def test_workers_write_the_copy_of_the_node_only_where_they_have_the_gateways_role(tmp_path: Path) -> None:
    index = tmp_path / f"{COPY_FILE}-shm"
    mine = Storage(POSTGRESQL, tmp_path)
    assert mine.configuration_files() == []
    assert index in mine.prepare_worker_files()
    theirs = Storage(POSTGRESQL, tmp_path, worker_role="gatepost_worker")
    assert theirs.configuration_files()[-1] == index
    assert not set(theirs.prepare_worker_files()) & set(theirs.configuration_files())
    assert Storage(SQLITE, tmp_path).configuration_files()[-1] == tmp_path / "config.db-shm"


def test_it_is_sqlite_unless_the_settings_say_otherwise(tmp_path: Path) -> None:
    assert not Storage(SQLITE, tmp_path).is_shared
