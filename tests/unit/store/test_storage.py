from __future__ import annotations

import asyncio
import importlib
import subprocess
import sys
from contextlib import closing

import pytest

from gatepost.mail.model.trace_event import TraceEvent
from gatepost.settings.model import Settings
from gatepost.store.evidence_in_files import EvidenceInFiles
from gatepost.store.interface import QueueFilter, Schema, StoreBusy, StoreFailure, TraceFilter
from gatepost.store.move_mark import MoveMark, MoveState, write_file_mark
from gatepost.store.postgres.server import close_all
from gatepost.store.quarantine import QuarantineFilter
from gatepost.store.queue_admin import Depth
from gatepost.store.sqlite.message_trace import SqliteTrace
from gatepost.store.storage import Storage

NOBODY = "postgresql://nobody@127.0.0.1:1/none"
FRUIT = Schema("fruit", "fruit.db", 1, 1, "CREATE TABLE fruit (id INTEGER PRIMARY KEY)")


@pytest.fixture
def settings(tmp_path):
    return Settings(server={"hostname": "mx.example", "data_dir": str(tmp_path)})


async def opened(storage, settings):
    stores = await storage.queues(settings, (0, 1), lambda _worker: None)
    for store in stores:
        await store.close()
    return len(stores)


def test_the_files_of_a_gateway_are_in_its_data_directory(settings, tmp_path):
    storage = Storage.of(settings)
    assert not storage.is_shared
    assert asyncio.run(opened(storage, settings)) == 1
    assert storage.queue_admin().entries(QueueFilter()) == []
    assert storage.worker_depth(0, 1) == Depth()
    assert storage.quarantine().entries(QuarantineFilter()) == []
    assert storage.quarantine_usage() == {}
    with closing(storage.sending_usage()) as table:
        assert table.since("2026-01-01")[0] == []
    assert (tmp_path / "queue" / "0").is_dir()
    assert storage.worker_lock(0).is_file()
    assert Storage(NOBODY, tmp_path).worker_lock(0) == tmp_path / "spool" / "0" / "lock"
    with storage.database(FRUIT).reading() as connection:
        assert connection.value("SELECT count(*) FROM fruit") == 0
    assert (tmp_path / "fruit.db").exists()
    assert storage.document_folders("results") == []
    storage.documents("results", "contoso").replace("a", b"{}")
    assert storage.document_folders("results") == ["contoso"]
    assert isinstance(storage.trace(), SqliteTrace)
    log = storage.evidence()
    assert isinstance(log, EvidenceInFiles)
    assert log.directory == tmp_path / "evidence"


def test_the_trace_keeps_subjects_only_where_the_settings_say_so(tmp_path):
    server = {"hostname": "mx.example", "data_dir": str(tmp_path)}
    event = TraceEvent(1.0, "SEND", "01", "contoso", "", "", "", "", subject="Dismissal of Kim")
    for trace in ({}, {"subjects": False}):
        storage = Storage.of(Settings(server=server, trace=trace))
        storage.trace().write("admin", [event])
    assert sorted(row.subject for row in storage.trace().search(TraceFilter())) == ["", "Dismissal of Kim"]


def test_files_that_a_confined_worker_writes_are_there_before(settings, tmp_path):
    storage = Storage.of(settings)
    storage.configuration().close()
    paths = storage.prepare_worker_files()
    assert {"nodes.db", "nodes.db-wal", "queue"} <= {path.name for path in paths}
    assert all(path.exists() for path in (*paths, *storage.configuration_files()))
    assert not {*paths} & {*storage.configuration_files()}
    databases = [path.name for path in Storage(NOBODY, tmp_path).prepare_worker_files() if path.suffix == ".db"]
    assert len(databases) == 1
    assert databases[0].startswith("configuration-copy-")
    assert Storage(NOBODY, tmp_path).configuration_files() == []


CALLS = [
    lambda storage, _: storage.database(FRUIT),
    lambda storage, _: storage.queue_admin(),
    lambda storage, _: storage.quarantine(),
    lambda storage, _: storage.worker_depth(0, 1),
    lambda storage, settings: asyncio.run(opened(storage, settings)),
    lambda storage, _: storage.document_folders("results"),
]
CALL_NAMES = ["database", "queue_admin", "quarantine", "worker_depth", "queues", "document_folders"]


@pytest.mark.parametrize("call", CALLS, ids=CALL_NAMES)
def test_a_server_that_is_not_there(settings, tmp_path, call):
    storage = Storage(NOBODY, tmp_path)
    assert storage.is_shared
    with pytest.raises(StoreBusy, match="PostgreSQL"):
        call(storage, settings)
    assert not (tmp_path / "queue").exists()
    close_all()


@pytest.mark.parametrize(
    "call",
    [
        *CALLS,
        lambda storage, _: storage.trace(),
        lambda storage, _: storage.evidence(),
        lambda storage, _: storage.load_worker_modules(),
    ],
    ids=[*CALL_NAMES, "trace", "evidence", "modules"],
)
def test_without_the_driver_it_says_what_to_install(settings, tmp_path, monkeypatch, call):
    for name in [name for name in sys.modules if name.startswith("gatepost.store.postgres")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(StoreFailure, match=r"install gatepost\[postgres\]"):
        call(Storage(NOBODY, tmp_path), settings)


LATE = """
import asyncio, sys
from gatepost.settings.model import Settings
from gatepost.store.storage import Storage

settings = Settings(server={"hostname": "mx.example", "data_dir": sys.argv[1]})
storage = Storage.of(settings)
storage.load_worker_modules()
before = set(sys.modules)

async def work():
    for store in await storage.queues(settings, (0, 1), lambda _worker: None):
        await store.close()

asyncio.run(work())
storage.trace().sink
storage.evidence()
storage.worker_depth(0, 1)
storage.quarantine_usage()
print(*(name for name in set(sys.modules) - before if name.startswith("gatepost.store")))
"""


def test_a_worker_imports_no_part_of_its_engine_after_the_fork(tmp_path):
    done = subprocess.run([sys.executable, "-c", LATE, tmp_path], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= {"gatepost.store.move_mark"}  # serve looks at it before


def test_the_modules_of_a_server_are_loaded_before_the_fork_too(tmp_path):
    pytest.importorskip("asyncpg")
    Storage(NOBODY, tmp_path).load_worker_modules()
    assert {f"gatepost.store.postgres.{name}" for name in ("opening", "trace", "evidence")} <= set(sys.modules)


def test_nothing_is_asked_of_a_server_before_it_must_be(tmp_path):
    storage = Storage(NOBODY, tmp_path)
    assert storage.trace().unreadable() == []
    assert storage.evidence().name == "the evidence log"


def test_old_primaries_are_those_that_this_process_saw(tmp_path, monkeypatch):
    timelines = importlib.import_module("gatepost.store.postgres.timelines")  # as it is now: another test removes it
    url = "postgresql://nobody@127.0.0.1:1,127.0.0.1:2/none"
    hosts = importlib.import_module("gatepost.store.postgres.hosts").each_host(url)
    monkeypatch.setattr(timelines, "_older", {hosts[0]: ("db1", 1, 2)})
    assert Storage(url, tmp_path).older_primaries() is None  # it has not looked at the other one
    monkeypatch.setitem(timelines._older, hosts[1], None)
    assert Storage(url, tmp_path).older_primaries() == [("db1", 1, 2)]
    assert Storage(NOBODY, tmp_path).older_primaries() == []
    assert Storage("sqlite:", tmp_path).older_primaries() == []


def test_a_store_that_was_moved_is_closed_to_all_who_open_it(settings, tmp_path):
    storage = Storage.of(settings)
    write_file_mark(tmp_path, MoveMark("word", MoveState.LEFT, "PostgreSQL at db1", 1.0))
    for call in (*CALLS[:3], CALLS[4], lambda storage, _: storage.configuration(), lambda s, _: s.check([])):
        with pytest.raises(StoreFailure, match=r"was moved to PostgreSQL at db1.*gatepost store reopen"):
            call(storage, settings)
    assert not (tmp_path / "queue").exists()


def test_either_engine_is_a_side_of_a_move(tmp_path):
    with closing(Storage("sqlite:", tmp_path).move_side([], [], workers=1, vault=None)) as side:
        assert side.place == f"sqlite:{tmp_path}"
    with closing(Storage(NOBODY, tmp_path).move_side([], [], workers=1, vault=None)) as side:
        assert side.place == "the database none of PostgreSQL at 127.0.0.1:1"
