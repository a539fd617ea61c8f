from __future__ import annotations

import errno
from contextlib import closing

import pytest

from gatepost.store.worker_rows import WorkerRows


@pytest.fixture
def path(tmp_path):
    return tmp_path / "workers" / "rows"


def test_a_row_is_found_again_and_after_a_restart(path):
    with closing(WorkerRows(path, "dQ")) as rows, rows.locked():
        place, values = rows.find(b"12345678")
        assert values is None
        rows.keep(place, b"12345678", 2.5, 7)
        assert rows.find(b"12345678") == (place, (2.5, 7))
        assert rows.find(b"87654321")[1] is None
    with closing(WorkerRows(path, "dQ")) as rows:
        assert rows.find(b"12345678") == (place, (2.5, 7))
    assert path.stat().st_mode & 0o077 == 0


def test_tables_are_apart(path):
    with closing(WorkerRows(path, "d")) as rows:
        for table in (0, 1):
            place, values = rows.find(b"12345678", table)
            assert values is None
            rows.keep(place, b"12345678", float(table))
        assert [rows.find(b"12345678", table)[1] for table in (0, 1)] == [(0.0,), (1.0,)]


def test_the_oldest_gives_way(path, monkeypatch):
    monkeypatch.setattr("gatepost.store.worker_rows._ROWS", 2)
    monkeypatch.setattr("gatepost.store.worker_rows._TRIED", 2)
    with closing(WorkerRows(path, "d")) as rows:
        for number, name in enumerate((b"aaaaaaaa", b"bbbbbbbb", b"cccccccc")):
            rows.keep(rows.find(name)[0], name, 5.0 - number if number < 2 else 9.0)
        assert [rows.find(name)[1] for name in (b"aaaaaaaa", b"bbbbbbbb", b"cccccccc")] == [(5.0,), None, (9.0,)]


def test_what_finds_no_room_on_the_disk_fails_and_ends_no_process(path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with closing(WorkerRows(path, "d")) as rows:
        place, _ = rows.find(b"12345678")
        monkeypatch.setattr("os.pwrite", full)
        with pytest.raises(OSError, match="No space left"):
            rows.keep(place, b"12345678", 1.0)
