from __future__ import annotations

import pytest

from gatepost.events.delivery_problems import DowngradedDestination, FailingPartner
from gatepost.store.figures import (
    ProcessEnd,
    WorkerFigures,
    note_end,
    note_silent,
    note_unserved,
    read_all,
    read_ends,
    read_figures,
    read_silent,
    read_unserved,
    write_figures,
)

FIGURES = WorkerFigures(
    1,
    4711,
    10.0,
    5.0,
    3,
    [(["a", "x"], 2)],
    [(["h"], [1, 2], 0.5)],
    [(["g"], 1.5)],
    (FailingPartner("o", "n", "d", "encrypted", 1.0, 2.0, 3, "certificate-expired"),),
    (DowngradedDestination("o", "n", "d", "was", "now", 1.0),),
)


def test_what_a_worker_left_reads_back(tmp_path):
    write_figures(tmp_path / "workers", FIGURES)
    assert read_figures(tmp_path / "workers", 1) == FIGURES
    assert read_figures(tmp_path / "workers", 0) == WorkerFigures(0)
    write_figures(tmp_path / "workers", WorkerFigures(0))
    assert read_all(tmp_path / "workers") == [WorkerFigures(0), FIGURES]
    assert (tmp_path / "workers").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("content", [b"", b"{", b'{"worker": "x"}', b"[" * 100, b" " * ((8 << 20) + 1)])
def test_what_cannot_be_read_is_as_if_it_was_not_there(tmp_path, content):
    (tmp_path / "0.json").write_bytes(content)
    assert read_figures(tmp_path, 0) == WorkerFigures(0)
    assert read_all(tmp_path) == []


def test_a_file_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "workers").write_text("in the way")
    with pytest.raises(OSError, match="exists"):
        write_figures(tmp_path / "workers", FIGURES)


def test_processes_that_ended_are_kept_apart_and_not_for_ever(tmp_path):
    folder = tmp_path / "workers"
    assert read_ends(folder) == []
    for number in range(60):
        note_end(folder, ProcessEnd("worker 1", "signal 9 (SIGKILL)", float(number)))
    ends = read_ends(folder)
    assert (len(ends), ends[0].at, ends[-1].at) == (50, 10.0, 59.0)
    assert read_all(folder) == [], "they are no figures"
    (folder / "ends").write_bytes(b"{")
    assert read_ends(folder) == []


@pytest.mark.parametrize(
    "content", [b'[{"name":"\xff","how":"","at":1}]', b'[{"x":' + b"[" * 100_000, b" " * (1 << 20)]
)
def test_what_a_process_spoilt_ends_nobody_who_reads_it(tmp_path, content):
    (tmp_path / "ends").write_bytes(content)
    (tmp_path / "0.json").write_bytes(content[1:-1])
    assert read_figures(tmp_path, 0) == WorkerFigures(0)
    assert read_ends(tmp_path) == []
    note_end(tmp_path, ProcessEnd("worker 1", "1", 5.0))
    assert read_ends(tmp_path) == [ProcessEnd("worker 1", "1", 5.0)]


def test_processes_that_do_not_answer_read_back(tmp_path):
    directory = tmp_path / "workers"
    assert read_silent(directory) == frozenset()
    for pids in ({11, 7}, {7, 5}, set()):
        note_silent(directory, pids)
        assert read_silent(directory) == pids
        assert [file.stat().st_size for file in directory.iterdir()] == [0] * len(pids)  # a full disk takes them
    (directory / "silent-x").touch()
    assert read_silent(directory) == frozenset()


def test_why_the_port_of_acme_is_not_served_is_read_back(tmp_path):
    directory = tmp_path / "workers"
    note_unserved(directory, "")
    assert read_unserved(directory) == ""
    note_unserved(directory, "cannot listen: é")
    assert read_unserved(directory) == "cannot listen: é"
    (directory / "acme-port").write_bytes(b"\xff" * 1000)
    assert read_unserved(directory) == "\N{REPLACEMENT CHARACTER}" * 300, "what a process spoilt"
    note_unserved(directory, "")
    assert read_unserved(directory) == ""
