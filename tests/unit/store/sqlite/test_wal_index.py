from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gatepost.store.sqlite.schema import StoreSettings, open_database
from gatepost.store.sqlite.wal_index import hold_indexes

LARGE = 3 * 32768  # more than a new index has: what was cut is seen


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """Of a database with one row, after it was closed; its log holds the row."""
    with contextlib.closing(open_database(tmp_path / "config.db", StoreSettings(), lasting=True)) as connection:
        connection.execute("CREATE TABLE t (x)")
        connection.execute("PRAGMA journal_size_limit = -1")
        connection.execute("INSERT INTO t VALUES (1)")
    return tmp_path / "config.db-shm"


def opened_elsewhere(index: Path, statement: str) -> str:
    """What a process of its own reads or writes."""
    code = (
        "import apsw, sys\n"
        "connection = apsw.Connection(sys.argv[1])\n"
        "connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)\n"  # which would remove log and index
        "print(connection.execute(sys.argv[2]).get)\n"
    )
    words = [sys.executable, "-c", code, str(index).removesuffix("-shm"), statement]
    return subprocess.run(words, capture_output=True, text=True, check=True, timeout=30).stdout.strip()


@pytest.mark.parametrize("held", [False, True])
def test_the_room_of_an_index_that_is_held_is_never_given_back(index: Path, held: bool) -> None:
    os.truncate(index, LARGE)
    descriptors = hold_indexes(index.parent) if held else []
    assert len(descriptors) == held
    assert opened_elsewhere(index, "SELECT x FROM t") == "1"
    assert (index.stat().st_size == LARGE) is held
    for one in descriptors:
        os.close(one)


def test_what_a_crash_left_in_an_index_does_not_count(index: Path, tmp_path: Path) -> None:
    # a log with the second row, and the index of before it
    code = (
        "import apsw, os, shutil, sys\n"
        "connection = apsw.Connection(sys.argv[1])\n"
        "connection.execute('INSERT INTO t VALUES (5)')\n"
        "shutil.copy(sys.argv[1] + '-shm', sys.argv[2])\n"
        "connection.execute('INSERT INTO t VALUES (2)')\n"
        "os._exit(0)\n"
    )
    old = tmp_path / "old"
    words = [sys.executable, "-c", code, str(index).removesuffix("-shm"), str(old)]
    subprocess.run(words, check=True, timeout=30)
    index.write_bytes(old.read_bytes())
    descriptors = hold_indexes(index.parent)
    assert opened_elsewhere(index, "SELECT sum(x) FROM t") == "8"
    for one in descriptors:
        os.close(one)


def test_an_index_in_use_is_held_as_it_is(index: Path) -> None:
    code = "import apsw, sys; c = apsw.Connection(sys.argv[1]); c.execute('SELECT 1 FROM t').get; print(); input()"
    words = [sys.executable, "-uc", code, str(index).removesuffix("-shm")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as user:
        assert user.stdout is not None
        user.stdout.readline()
        before = index.read_bytes()
        assert any(before)
        descriptors = hold_indexes(index.parent)
        assert index.read_bytes() == before
        assert opened_elsewhere(index, "SELECT x FROM t") == "1"
        user.communicate(b"\n", timeout=30)
    os.truncate(index, LARGE)
    assert opened_elsewhere(index, "SELECT x FROM t") == "1"
    assert index.stat().st_size == LARGE, "held on after its user is gone"
    for one in descriptors:
        os.close(one)


def test_shards_are_looked_for_and_what_cannot_be_held_is_left(tmp_path: Path) -> None:
    shard = tmp_path / "queue" / "0"
    shard.mkdir(parents=True)
    (shard / "q.db-shm").write_bytes(b"x" * 10)
    (tmp_path / "config.db-shm").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").write_bytes(b"theirs")
    (descriptor,) = hold_indexes(tmp_path)
    os.close(descriptor)
    assert (shard / "q.db-shm").read_bytes() == bytes(10)
    assert (tmp_path / "elsewhere").read_bytes() == b"theirs"


def test_an_index_that_somebody_makes_anew_just_now_is_left_alone(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gatepost.store.sqlite.wal_index._lock", lambda _index, kind: kind != fcntl.F_RDLCK)
    closed = []
    close = os.close
    monkeypatch.setattr(os, "close", lambda number: (closed.append(number), close(number)))
    assert hold_indexes(index.parent) == []
    assert len(closed) == 1
