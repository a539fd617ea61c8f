"""The configuration as a process has it that may only read; what it may ask for is in node/test_config_judge.py."""

from __future__ import annotations

import os
import subprocess
import sys

import apsw
import pytest

from gatepost.store.changes import CONFIGURATION, ConfigConflict, ConfigStore
from gatepost.store.config_requests import WRITE_ACCESS, ConfigReply, ConfigRequest, ReplyKind, RequestedConfig
from gatepost.store.interface import OutcomeUnknown, StoreBusy, StoreFailure
from gatepost.store.sqlite import database
from gatepost.store.sqlite.schema import PATIENCE_MS
from gatepost.store.sqlite.wal_index import hold_indexes
from gatepost.store.storage import Storage

ANOTHER = """
import sys
from contextlib import closing
from pathlib import Path
from gatepost.store.changes import ConfigStore
with closing(ConfigStore(Path(sys.argv[1]))) as store:
    print(store.apply({"organization": {sys.argv[2]: {}}}, author="ann") if sys.argv[2:] else store.version())
"""


@pytest.fixture
def path(tmp_path):
    store = ConfigStore(tmp_path / CONFIGURATION.file)
    store.apply({"organization": {"contoso": {"a": 1}}}, author="ann", content={"secret": b"s"})
    store.close()
    return store.path


@pytest.fixture
def requests(monkeypatch):
    """What was asked for; the first item is the reply."""
    made = [ConfigReply(ReplyKind.DONE, 7)]

    def ask(request):
        made.append(request)
        return made[0]

    monkeypatch.setattr(WRITE_ACCESS, "ask", ask)
    return made


@pytest.fixture
def reader(path, requests):
    made = RequestedConfig(path)
    yield made
    made.close()


def another(path, *words):
    """Another process reads or writes, as processes do that may."""
    subprocess.run([sys.executable, "-c", ANOTHER, path, *words], check=True, capture_output=True)


def test_it_reads_all_that_is_there_and_what_comes(reader, path):
    assert reader.load() == (1, {"organization": {"contoso": {"a": 1}}})
    assert (reader.version(), reader.content("secret"), len(reader.history())) == (1, b"s", 1)
    another(path, "fabrikam")
    assert reader.version() == 2
    assert set(reader.load()[1]["organization"]) == {"contoso", "fabrikam"}
    other = reader.another()
    assert (type(other), other.version()) == (RequestedConfig, 2)
    other.close()
    connection = reader._database.another()
    assert connection.path == path
    connection.close()


def test_changes_are_asked_for(reader, requests):
    document = {"certificate": {"a": {"leaf": (1, 2)}, "b": None}}
    assert reader.apply(document, author="gatepost", note="why", expected=3, content={"place": b"x", "gone": None}) == 7
    reader.keep_apart({"place": b"y"})
    assert requests[1:] == [
        ConfigRequest(document, {"place": b"x", "gone": None}, "why", 3),
        ConfigRequest({}, {"place": b"y"}),
    ]
    assert reader.version() == 1, "nobody did it"


@pytest.mark.parametrize(
    ("kind", "failure"),
    [
        (ReplyKind.CONFLICT, ConfigConflict),
        (ReplyKind.BUSY, StoreBusy),
        (ReplyKind.FAILED, StoreFailure),
        (ReplyKind.DENIED, StoreFailure),
    ],
)
def test_what_was_not_done_is_raised(reader, requests, kind, failure):
    requests[0] = ConfigReply(kind, text="because")
    with pytest.raises(failure, match="because") as raised:
        reader.apply({}, author="x", content={"place": b"x"})
    assert raised.type is failure


def test_no_answer_may_be_either(reader, requests):
    requests[0] = None
    with pytest.raises(OutcomeUnknown, match="may have been changed"):
        reader.apply({}, author="x", content={"place": b"x"})


def test_nothing_is_written_directly(reader, requests):
    for write in (
        lambda: reader.content_once("new", lambda: b"x"),
        lambda: reader.change_content("secret", lambda _: b"x"),
    ):
        with pytest.raises(StoreFailure, match="may only read"):
            write()
    with pytest.raises(StoreFailure, match="may only read"), reader._database.single():
        pytest.fail("it may not")
    reader._database.announce(None, [])
    reader._database.forget()
    assert (reader.content("secret"), requests[1:]) == (b"s", [])


def test_the_storage_gives_it_to_those_who_ask(path, requests, monkeypatch):
    storage = Storage("sqlite:", path.parent)
    kinds = []
    for ask in (WRITE_ACCESS.ask, None):
        monkeypatch.setattr(WRITE_ACCESS, "ask", ask)
        store = storage.configuration()
        kinds.append(type(store))
        store.close()
    assert kinds == [RequestedConfig, ConfigStore]


@pytest.mark.parametrize("content", [b"", b"this is not a database, and long enough to be seen as none" * 20])
def test_what_cannot_be_read_is_said(tmp_path, requests, content):
    (tmp_path / "config.db").write_bytes(content)
    with pytest.raises(StoreFailure, match=r"config\.db"):
        RequestedConfig(tmp_path / "config.db")
    with pytest.raises(StoreFailure, match=r"nowhere\.db"):
        RequestedConfig(tmp_path / "nowhere.db")


@pytest.fixture
def kept_from_the_index(monkeypatch):
    """SQLite may not write the index, as in a confined process."""

    def opened(path):
        flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
        connection = apsw.Connection(f"file:{path}?readonly_shm=1", flags=flags)
        connection.set_busy_timeout(PATIENCE_MS)
        return connection

    monkeypatch.setattr(database, "open_for_reading", opened)


@pytest.fixture
def index(path):
    """The index, held as the gateway holds it."""
    (held,) = hold_indexes(path.parent, "config.db-shm")
    another(path)
    yield held
    os.close(held)


def test_a_reader_that_may_not_write_the_index_sees_what_is_new(kept_from_the_index, index, path, requests):
    reader = RequestedConfig(path)
    for number in range(3):
        another(path, f"one{number}")
        assert reader.version() == number + 2
        assert len(reader.load()[1]["organization"]) == number + 2
    reader.close()
    assert requests[1:] == []


def test_an_index_that_a_kill_left_in_pieces_is_made_anew_by_another(kept_from_the_index, index, path, monkeypatch):
    asked = []

    def ask(request):
        asked.append(request)
        another(path)

    monkeypatch.setattr(WRITE_ACCESS, "ask", ask)
    reader = RequestedConfig(path)
    assert reader.version() == 1
    os.pwrite(index, bytes(96), 0)
    assert reader.version() == 1
    os.pwrite(index, bytes(96), 0)
    assert reader.load()[0] == 1
    os.pwrite(index, bytes(96), 0)
    assert reader.content("none") is None
    os.pwrite(index, bytes(96), 0)
    RequestedConfig(path).close()
    assert asked == [ConfigRequest()] * 4
    os.pwrite(index, bytes(96), 0)
    monkeypatch.setattr(WRITE_ACCESS, "ask", None)
    with pytest.raises(StoreFailure, match="readonly"):
        reader.version()
    reader.close()


def test_what_another_process_cannot_mend_is_a_failure(path, monkeypatch):
    asked = []
    monkeypatch.setattr(WRITE_ACCESS, "ask", asked.append)
    reader = RequestedConfig(path)
    reader.close()
    with pytest.raises(StoreFailure, match="has been closed"):
        reader.version()
    assert asked == []
