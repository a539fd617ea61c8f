from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gatepost.store.sqlite.trace_files import TraceFile, day_of, file_state, files_of_time, prune_trace, trace_files

NOON = datetime(2025, 11, 24, 12, tzinfo=UTC).timestamp()
DAY = 86_400.0


@pytest.mark.parametrize(
    ("file", "name"),
    [
        (TraceFile("2025-11-24", "0"), "2025-11-24.0.db"),
        (TraceFile("2025-11-24", "admin"), "2025-11-24.admin.db"),
        (TraceFile("2025-11-24", "0").next, "2025-11-24.0.0002.db"),
        (TraceFile("2025-11-24", "0", 12345), "2025-11-24.0.12345.db"),
    ],
)
def test_names_both_ways(tmp_path, file, name):
    assert file.name == name
    (tmp_path / name).touch()
    assert trace_files(tmp_path) == [file]
    assert file.tally_name == name.replace(".db", ".tally")


def test_files_come_in_order_and_others_are_left_out(tmp_path):
    ours = ["2025-11-24.0.db", "2025-11-24.0.0002.db", "2025-11-24.0.0010.db", "2025-11-24.1.db", "2025-11-25.0.db"]
    others = ["notes.db", "2025-11-24.db", "2025-11-24.0.2.db", "2025-11-24.0.db-wal", "x2025-11-24.0.db"]
    for name in (*reversed(ours), *others):
        (tmp_path / name).touch()
    assert [file.name for file in trace_files(tmp_path)] == ours
    assert trace_files(tmp_path / "nowhere") == []


def test_days_are_utc():
    assert day_of(NOON) == "2025-11-24"
    assert day_of(NOON + DAY / 2 - 0.001) == "2025-11-24"
    assert day_of(NOON + DAY / 2) == "2025-11-25"


def test_old_days_are_forgotten_whole(tmp_path):
    kept = ["2025-11-25.0.db", "notes.db", "2025-11-25.0.db-wal"]
    gone = ["2025-11-23.0.db", "2025-11-24.0.db", "2025-11-24.0.0002.db", "2025-11-24.1.db"]
    for name in (*kept, *gone, "2025-11-24.1.db-wal", "2025-11-24.1.db-shm", "2025-11-24.1.tally"):
        (tmp_path / name).touch()
    assert prune_trace(tmp_path, NOON + DAY) == gone
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)
    assert prune_trace(tmp_path, NOON + DAY) == []
    assert prune_trace(tmp_path / "nowhere", NOON) == []


def test_what_a_kill_left_of_an_old_day_is_forgotten(tmp_path):
    """Subjects and addresses are in a write-ahead log, too."""
    gone = ["2025-11-24.1.db-wal", "2025-11-24.1.db-shm", "2025-11-24.1.tally", ".2025-11-24.1.tally.77"]
    kept = ["2025-11-24.notes", "2025-11-25.1.db-wal"]
    for name in (*gone, *kept):
        (tmp_path / name).touch()
    assert prune_trace(tmp_path, NOON + DAY) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == kept


@pytest.mark.parametrize(
    ("since", "until", "found"),
    [(0, 0, "345"), (NOON, 0, "45"), (0, NOON, "34"), (NOON, NOON, "4"), (NOON + 2 * DAY, 0, "")],
)
def test_files_of_a_time(tmp_path, since, until, found):
    for day in "345":
        (tmp_path / f"2025-11-2{day}.0.db").touch()
    assert "".join(file.day[-1] for file in files_of_time(tmp_path, since, until)) == found


def test_a_file_changes_its_state_with_what_is_added_to_it_or_its_log(tmp_path):
    file = TraceFile("2025-11-24", "0")
    assert file_state(tmp_path, file) == ()
    (tmp_path / file.name).touch()
    assert file_state(tmp_path, file) == ()  # nothing is in it
    states = set()
    for name, content in ((file.name, b"1"), (f"{file.name}-wal", b"1"), (f"{file.name}-wal", b"12")):
        (tmp_path / name).write_bytes(content)
        states.add(file_state(tmp_path, file))
    assert len(states) == 3
