from __future__ import annotations

import contextlib
import threading
import time

import apsw
import pytest

from gatepost.policy.decisions.destination_history import (
    DestinationHistory,
    DestinationName,
    SeenSession,
    accept,
    best,
    seen,
    warned,
)
from gatepost.policy.decisions.requirement import Achieved, MxLevel, TlsLevel
from gatepost.store.destinations import DESTINATIONS_FILE, DestinationFile, DestinationStore
from gatepost.store.interface import StoreFailure
from gatepost.store.sqlite import schema
from gatepost.store.sqlite.database import SqliteDatabase

AUTH, TLS, CLEAR = Achieved(TlsLevel.AUTHENTICATED, MxLevel.DNSSEC), Achieved(TlsLevel.ENCRYPTED), Achieved(TlsLevel(0))
PARTNER, OTHER = DestinationName("contoso", "partner.example"), DestinationName("contoso", "", "Bank")
NOW = 1_700_000_000.0


def session(achieved=AUTH, at=NOW, host="mx1"):
    return SeenSession(host, achieved, at, "TLSv1.3" if achieved.tls else "")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data" / DESTINATIONS_FILE


@pytest.fixture
def file(path):
    file = DestinationFile(path)
    yield file
    file.close()


@pytest.fixture
def store(path):
    store = DestinationStore(path, interval=0.01)
    yield store
    store.close()


def apsw_of(path):
    return contextlib.closing(apsw.Connection(str(path)))


def written(path, name=PARTNER, count=1):
    """What is on disk, once it is there."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        file = DestinationFile(path)
        remembered = file.find(name)
        file.close()
        if len(remembered.hosts) >= count:
            return remembered
        time.sleep(0.01)
    raise AssertionError("nothing was written")


def test_what_is_changed_in_the_file_is_known_at_once(tmp_path):
    file = DestinationFile(tmp_path / DESTINATIONS_FILE)
    begun = time.monotonic()
    file.settle()
    assert time.monotonic() - begun < 1
    file.close()


def test_it_begins_empty(file):
    assert file.find(PARTNER) == DestinationHistory()
    assert file.listed() == []
    file.forget(PARTNER)


def test_what_was_written_reads_back_the_same(file, path):
    file.write({PARTNER: [(session(), False), (session(CLEAR, NOW + 86400, "mx2"), True)]})
    wanted = warned(seen(seen(DestinationHistory(), session()), session(CLEAR, NOW + 86400, "mx2")), NOW + 86400)
    assert file.find(PARTNER) == wanted
    accepted = file.change(PARTNER, lambda before: accept(before, at=NOW, by="ann"))
    assert accepted.hosts["mx2"].accepted.by == "ann"
    again = DestinationFile(path)
    assert again.find(PARTNER) == accepted
    again.close()


def test_one_destination_is_forgotten_and_others_stay(file):
    file.write({PARTNER: [(session(), False)], OTHER: [(session(), False)]})
    file.forget(PARTNER)
    assert file.find(PARTNER) == DestinationHistory()
    assert [name for name, _ in file.listed()] == [OTHER]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, [OTHER, PARTNER, DestinationName("fabrikam", "partner.example", "bank")]),
        ({"organization": "contoso"}, [OTHER, PARTNER]),
        ({"domain": "partner.example"}, [PARTNER, DestinationName("fabrikam", "partner.example", "bank")]),
        ({"connector": "bank"}, [OTHER, DestinationName("fabrikam", "partner.example", "bank")]),
        ({"connector": "bank", "organization": "fabrikam"}, [DestinationName("fabrikam", "partner.example", "bank")]),
        ({"domain": "nobody.example"}, []),
        ({"limit": 1}, [OTHER]),
    ],
)
def test_the_list(file, wanted, found):
    names = [PARTNER, OTHER, DestinationName("fabrikam", "partner.example", "bank")]
    file.write({name: [(session(), False)] for name in names})
    assert [name for name, _ in file.listed(**wanted)] == found


def test_the_destinations_that_were_not_used_for_the_longest_time_go(path):
    file = DestinationFile(path, most=3)
    names = [DestinationName("contoso", f"d{number}.example") for number in range(5)]
    for number, name in enumerate(names):
        file.write({name: [(session(at=NOW - number), False)]})
    assert {name for name, _ in file.listed()} == set(names[:3])
    file.close()


def test_who_makes_us_send_to_ever_new_domains_takes_nothing_from_other_organizations(path):
    file = DestinationFile(path, most=6)
    old = [DestinationName("contoso", f"d{number}.example") for number in range(3)]
    file.write({name: [(session(at=NOW - 86400 + number), False)] for number, name in enumerate(old)})
    for number in range(20):
        name = DestinationName("fabrikam", f"d{number}.example")
        file.write({name: [(session(at=NOW + number), False)]})
    kept = [DestinationName("fabrikam", f"d{number}.example") for number in (17, 18, 19)]
    assert [name for name, _ in file.listed()] == old + kept
    file.close()


def test_writers_do_not_undo_each_others_sessions(path):
    files = [DestinationFile(path) for _ in range(4)]

    def write(number, file):
        for step in range(20):
            file.write({PARTNER: [(session(TLS, NOW + step * 1000, f"mx{number}"), False)]})
        file.close()

    threads = [threading.Thread(target=write, args=pair) for pair in enumerate(files)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    remembered = written(path)
    assert {name: host.at for name, host in remembered.hosts.items()} == {f"mx{n}": NOW + 19000 for n in range(4)}


def make_foreign(path):
    path.parent.mkdir()
    connection = apsw.Connection(str(path))
    connection.execute("CREATE TABLE something (id)")
    connection.close()


def make_rubbish(path):
    path.parent.mkdir()
    path.write_bytes(b"no database " * 1000)


def make_unusable_folder(path):
    path.parent.write_text("a file")


@pytest.mark.parametrize("spoil", [make_foreign, make_rubbish, make_unusable_folder])
def test_what_is_no_memory_is_refused_and_left_alone(path, spoil):
    spoil(path)
    spoilt = path if path.is_file() else path.parent
    before = spoilt.read_bytes()
    with pytest.raises(StoreFailure, match="data"):
        DestinationFile(path)
    assert spoilt.read_bytes()[100:] == before[100:]  # the head of a database says that it was opened


def test_a_failure_in_a_change_changes_nothing(file):
    file.write({PARTNER: [(session(), False)]})
    with pytest.raises(KeyError):
        file.change(PARTNER, lambda before: DestinationHistory({"mx2": before.hosts["mx9"]}))
    assert list(file.find(PARTNER).hosts) == ["mx1"]


def test_a_document_that_is_none_is_a_failure_not_an_empty_memory(file, path):
    file.write({PARTNER: [(session(), False)]})
    connection = apsw.Connection(str(path))
    connection.execute("UPDATE destination SET document = '{\"hosts\": 5}'")
    connection.close()
    for step in (lambda: file.find(PARTNER), lambda: file.change(PARTNER, lambda history: history)):
        with pytest.raises(StoreFailure, match=DESTINATIONS_FILE):
            step()


@pytest.mark.parametrize("document", ["no json", '{"hosts":7}'])
def test_one_that_cannot_be_read_is_listed_kept_and_forgotten_and_others_go_on(file, path, caplog, document):
    file.write({PARTNER: [(session(), False)], OTHER: [(session(), False)]})
    with apsw_of(path) as connection:
        connection.execute("UPDATE destination SET document = ? WHERE domain <> ''", (document,))
    file.write({PARTNER: [(session(CLEAR), False)], OTHER: [(session(host="mx2"), False)]})
    assert (
        "what organization contoso has seen partner.example do is not remembered until it is forgotten" in caplog.text
    )
    with pytest.raises(StoreFailure):  # who holds mail below it must not take it for new
        file.find(PARTNER)
    assert {name: len(history.hosts) for name, history in file.listed()} == {PARTNER: 0, OTHER: 2}
    file.forget(PARTNER)
    assert file.find(PARTNER) == DestinationHistory()


def test_a_session_is_known_at_once_and_on_disk_soon(store, path):
    assert store.find(PARTNER) == DestinationHistory()
    store.note(PARTNER, session())
    assert best(store.find(PARTNER), NOW).achieved == AUTH
    store.note(PARTNER, session(CLEAR, NOW + 1), logged=True)
    assert store.find(PARTNER).warned == NOW + 1
    assert list(written(path).hosts) == ["mx1"]


def test_workers_see_what_the_others_wrote(store, path):
    other = DestinationStore(path, interval=0.01)
    other.note(PARTNER, session())
    written(path)
    assert best(store.find(PARTNER), NOW).achieved == AUTH
    other.close()


def test_what_waits_is_written_at_the_end(path):
    store = DestinationStore(path, interval=3600)
    store.note(PARTNER, session())
    store.find(PARTNER)
    store.close()
    assert list(written(path).hosts) == ["mx1"]


def test_what_cannot_be_written_waits_and_is_known_meanwhile(path, caplog):
    make_rubbish(path)
    store = DestinationStore(path, interval=0.01)
    store.note(PARTNER, session())
    with pytest.raises(StoreFailure):
        store.find(PARTNER)
    deadline = time.monotonic() + 20
    while "memory of destinations" not in caplog.text and time.monotonic() < deadline:
        time.sleep(0.01)
    path.unlink()  # an administrator moves it away
    assert list(written(path).hosts) == ["mx1"]
    assert best(store.find(PARTNER), NOW).achieved == AUTH
    store.close()


def test_a_file_that_breaks_while_it_is_open_is_opened_anew(store, path):
    store.note(PARTNER, session())
    written(path)
    store.find(PARTNER)
    connection = apsw.Connection(str(path))
    connection.execute("UPDATE destination SET document = 'rubbish'")
    connection.close()
    with pytest.raises(StoreFailure):
        store.find(PARTNER)
    for name in path.parent.iterdir():
        name.unlink()
    assert list(found_at_last(store).hosts) == []


def found_at_last(store):
    """Once the thread has opened the file anew."""
    deadline = time.monotonic() + 20
    while True:
        try:
            return store.find(PARTNER)
        except StoreFailure:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_a_file_that_another_process_keeps_for_itself_holds_up_nobody(path, monkeypatch):
    """The loop neither waits for a lock nor opens the file: who holds it must be able to let go on the same thread."""
    DestinationStore(path, interval=0.01).close()
    other = apsw.Connection(str(path))
    other.execute("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE").fetchall()
    monkeypatch.setattr(schema, "PATIENCE_MS", 200)
    store = DestinationStore(path, interval=0.01)
    with pytest.raises(StoreFailure, match="tried again"):
        store.find(PARTNER)
    other.close()
    assert found_at_last(store) == DestinationHistory()
    store.close()


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "data").write_text("a file")
    with pytest.raises(StoreFailure, match="Not a directory"):
        DestinationFile(tmp_path / "data" / "below" / DESTINATIONS_FILE)


def test_a_new_file_that_another_process_keeps_busy(path, monkeypatch):
    monkeypatch.setattr(schema, "PATIENCE_MS", 50)
    path.parent.mkdir()
    other = apsw.Connection(str(path))
    other.execute("PRAGMA journal_mode = WAL")
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreFailure, match="locked"):
        DestinationFile(path)
    other.close()


def test_a_file_that_somebody_else_made_a_moment_ago(path, monkeypatch):
    DestinationFile(path).close()
    found = iter([False, True])
    monkeypatch.setattr(SqliteDatabase, "_is_current", lambda _self: next(found))
    file = DestinationFile(path)
    assert file.listed() == []
    file.close()


def test_a_change_that_changes_nothing_writes_nothing(file):
    file.write({PARTNER: [(session(), False)]})
    before = file.find(PARTNER)
    assert file.change(PARTNER, lambda one: one) == before
    assert file.change(OTHER, lambda one: one) == DestinationHistory()
    assert [name for name, _ in file.listed()] == [PARTNER]


def test_sessions_that_cannot_be_written_come_before_those_of_later(path, caplog):
    make_rubbish(path)
    store = DestinationStore(path, interval=3600)
    store.note(PARTNER, session(host="mx1"))
    assert not store._flush()
    store.note(PARTNER, session(host="mx2"))
    assert [one.host for one, _ in store._noted.of(PARTNER)] == ["mx1", "mx2"]
    path.unlink()
    assert store._flush()
    store.note(PARTNER, session(host="mx3"))
    assert store._flush()
    assert len(store._noted) == 0
    store._writing.close()
    store._writing = None
    store.close()  # nothing could be read at the start, and nothing is open
    assert list(written(path, count=3).hosts) == ["mx1", "mx2", "mx3"]
    assert "the memory of destinations: " in caplog.text
