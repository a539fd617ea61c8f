"""What earlier versions counted is in the next report, once."""

from __future__ import annotations

import logging
import sqlite3
from contextlib import closing

import pytest

from gatepost.protocols.tlsrpt.result import ResultType
from gatepost.protocols.tlsrpt.tally import Count, FailureDetail, PolicyType, applied
from gatepost.settings.store_url import SQLITE
from gatepost.store.interface import StoreFailure
from gatepost.store.sqlite.former_session_counts import take_in_day_files
from gatepost.store.storage import Storage

FIRST, LAST = "2026-11-28", "2026-11-29"
STS = applied(PolicyType.STS, "b.example", ["mode: enforce"], ["*.b.example"])
EXPIRED = FailureDetail(ResultType.CERTIFICATE_EXPIRED, "mx.b.example", "192.0.2.1")
TABLES = """
CREATE TABLE policy (id INTEGER PRIMARY KEY, domain TEXT NOT NULL, type TEXT NOT NULL, owner TEXT NOT NULL,
    strings TEXT NOT NULL, mx_hosts TEXT NOT NULL, passed INTEGER NOT NULL DEFAULT 0);
CREATE TABLE failure (policy INTEGER NOT NULL, result TEXT NOT NULL, mx_host TEXT NOT NULL, address TEXT NOT NULL,
    helo TEXT NOT NULL, sending_address TEXT NOT NULL, reason TEXT NOT NULL, sessions INTEGER NOT NULL);
INSERT INTO policy VALUES (1, 'b.example', 'sts', 'b.example', '["mode: enforce"]', '["*.b.example"]', 3);
INSERT INTO failure VALUES (1, 'certificate-expired', 'mx.b.example', '192.0.2.1', '', '', '', 2);
"""


def counted(day, times=1):
    return [Count(day, "b.example", STS, None, 3 * times), Count(day, "b.example", STS, EXPIRED, 2 * times)]


def write_file(folder, day):
    folder.mkdir(exist_ok=True)
    with closing(sqlite3.connect(folder / f"{day}.db", isolation_level=None)) as database:
        database.executescript(f"PRAGMA journal_mode = WAL; {TABLES}")


@pytest.fixture
def counts(tmp_path):
    for day in (FIRST, LAST):
        write_file(tmp_path / "sessions", day)
    return Storage(SQLITE, tmp_path).session_counts()


def test_days_are_taken_in_once_and_their_files_go(counts, tmp_path):
    take_in_day_files(tmp_path, counts)
    take_in_day_files(tmp_path, counts)
    assert [counts.read(day) for day in (FIRST, LAST)] == [counted(FIRST), counted(LAST)]
    assert not (tmp_path / "sessions").exists()


def test_a_start_that_was_killed_before_a_file_went_is_made_up_for(counts, tmp_path, monkeypatch):
    class KilledError(Exception):
        pass

    def killed(*_, **__):
        raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr(type(tmp_path), "unlink", killed)
        with pytest.raises(KilledError):
            take_in_day_files(tmp_path, counts)
    assert counts.days() == [FIRST]
    take_in_day_files(tmp_path, counts)
    assert [counts.read(day) for day in (FIRST, LAST)] == [counted(FIRST), counted(LAST)]


def test_what_an_earlier_version_counted_after_a_roll_back_is_added(counts, tmp_path):
    take_in_day_files(tmp_path, counts)
    write_file(tmp_path / "sessions", LAST)
    take_in_day_files(tmp_path, counts)
    assert [counts.read(day) for day in (FIRST, LAST)] == [counted(FIRST), counted(LAST, 2)]
    write_file(tmp_path / "sessions", LAST)
    (tmp_path / "sessions" / f"{FIRST}.db.taken").touch()  # of a start that was killed before it removed the mark
    take_in_day_files(tmp_path, counts)
    assert counts.read(LAST) == counted(LAST, 3)
    assert not (tmp_path / "sessions").exists()


def test_a_day_that_found_no_room_on_the_disk_is_added_by_the_next_start(counts, tmp_path, monkeypatch):
    def full(*_):
        raise StoreFailure("disk full")

    take_in_day_files(tmp_path, counts)
    write_file(tmp_path / "sessions", LAST)
    with monkeypatch.context() as patched:
        patched.setattr(counts, "write", full)
        with pytest.raises(StoreFailure):
            take_in_day_files(tmp_path, counts)
    take_in_day_files(tmp_path, counts)
    assert counts.read(LAST) == counted(LAST, 2)


def test_what_finds_no_room_is_said(counts, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("gatepost.store.session_counts.MOST_OCTETS", 0)
    take_in_day_files(tmp_path, counts)
    assert [counts.read(day) for day in (FIRST, LAST)] == [[], []]
    said = f"{tmp_path}/sessions/{FIRST}.db: there was no room for 5 results of sessions"
    assert [said in message for message in caplog.messages] == [True, False]


def test_what_cannot_be_read_is_named_and_stays(counts, tmp_path, caplog):
    broken = tmp_path / "sessions" / f"{FIRST}.db"
    broken.write_bytes(b"no database" * 1000)
    (tmp_path / "sessions" / "notes.db").touch()
    caplog.set_level(logging.WARNING)
    take_in_day_files(tmp_path, counts)
    assert counts.days() == [LAST]
    assert f"{broken} cannot be read" in caplog.text
    assert sorted(path.name for path in (tmp_path / "sessions").iterdir()) == [f"{FIRST}.db", "notes.db"]


def test_without_such_files_nothing_is_made(tmp_path):
    take_in_day_files(tmp_path, Storage(SQLITE, tmp_path).session_counts())
    assert list(tmp_path.iterdir()) == []
