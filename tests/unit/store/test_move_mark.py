from __future__ import annotations

from pathlib import Path

import pytest

from gatepost.store.interface import StoreFailure
from gatepost.store.move_mark import (
    MOVE_FILE,
    MoveMark,
    MoveState,
    check_open,
    closed_text,
    decoded_mark,
    encoded_mark,
    file_mark,
    write_file_mark,
)


def mark(state=MoveState.LEFT):
    return MoveMark("word", state, "the database gatepost of PostgreSQL at db1", 1_800_000_000.0)


def test_a_mark_is_kept_in_the_data_directory(tmp_path):
    assert file_mark(tmp_path / "no" / "where") is None
    assert file_mark(tmp_path) is None
    write_file_mark(tmp_path, mark())
    assert file_mark(tmp_path) == mark()
    assert (tmp_path / MOVE_FILE).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [MOVE_FILE]
    write_file_mark(tmp_path, None)
    write_file_mark(tmp_path, None)
    assert file_mark(tmp_path) is None


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (
            MoveState.LEFT,
            ("was moved to the database gatepost of PostgreSQL at db1", "2027-01-15", "gatepost store reopen"),
        ),
        (MoveState.LEAVING, ("is being moved to", "run the same gatepost store migrate again", "reopen")),
        (MoveState.ARRIVING, ("incomplete copy of", "run the same gatepost store migrate again")),
    ],
)
def test_a_closed_store_says_why_and_what_to_do(state, words):
    with pytest.raises(StoreFailure) as raised:
        check_open(mark(state), "sqlite:/data")
    assert str(raised.value) == closed_text(mark(state), "sqlite:/data")
    assert str(raised.value).startswith("sqlite:/data: ")
    for word in words:
        assert word in str(raised.value)


def test_a_store_that_arrived_or_never_moved_is_open():
    check_open(None, "")
    check_open(mark(MoveState.ARRIVED), "")
    assert not mark(MoveState.ARRIVED).closes


def test_a_mark_that_cannot_be_read_closes_the_store(tmp_path):
    assert decoded_mark(encoded_mark(mark()), "here") == mark()
    with pytest.raises(StoreFailure, match="here: the mark of a move cannot be read"):
        decoded_mark(b"{}", "here")
    (tmp_path / MOVE_FILE).mkdir()
    with pytest.raises(StoreFailure, match=r"store-move\.json: Is a directory"):
        file_mark(tmp_path)


def test_a_mark_that_cannot_be_written():
    with pytest.raises(StoreFailure, match=r"store-move\.json"):
        write_file_mark(Path("/proc/nowhere"), mark())
