from __future__ import annotations

import errno
import subprocess
import sys
from contextlib import closing

import pytest

from gatepost.store.interface import StoreFailure
from gatepost.store.node_failures import FAILURES_FILE, NodeFailures

SOURCE = "203.0.113.9"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "workers" / FAILURES_FILE


def clock():
    return 1000.0


def test_lists_are_apart_and_what_one_counts_the_other_finds(path):
    with closing(NodeFailures(path, clock)) as failures, failures.counting() as lists:
        assert lists.clock() == 1000.0
        lists.of("name")["ann"] = 2, 7.5
        lists.of("usual")["ann"] = 2**64 - 1, 8.5
        assert lists.of("address").get("ann", (0, 0.0)) == (0, 0.0)
    with closing(NodeFailures(path, clock)) as other, other.counting() as lists:
        assert lists.of("name").get("ann", (0, 0.0)) == (2, 7.5)
        assert lists.of("usual").get("ann", (0, 0.0)) == (2**64 - 1, 8.5)
        assert lists.of("name").pop("ann", (0, 0.0)) == (2, 7.5)
        assert lists.of("name").pop("ann", (0, 0.0)) == (0, 0.0)
        assert lists.of("name").get("ann", (1, 1.0)) == (1, 1.0)


def test_no_name_is_in_the_file(path):
    with closing(NodeFailures(path, clock)) as failures, failures.counting() as lists:
        lists.of("name")["a password"] = 1, 1.0
        lists.of("name")["\ud800"] = 1, 1.0  # what is not text is a name, too
        assert lists.of("name").get("\ud800", (0, 0.0)) == (1, 1.0)
    assert b"a password" not in path.read_bytes()


TRIES = """
import sys
from pathlib import Path
from gatepost.store.failures import login_throttles
from gatepost.store.node_failures import NodeFailures

failures, heard = NodeFailures(Path(sys.argv[1]), lambda: 1000.0), 0
for _ in range(50):
    with failures.counting() as lists:
        addresses, _names = login_throttles(lists)
        if not addresses.wait(sys.argv[2]):
            addresses.charge(sys.argv[2])
            heard += 1
print(heard)
"""


def test_several_processes_have_as_many_tries_as_one(path):
    command = [sys.executable, "-c", TRIES, str(path), SOURCE]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert sum(int(process.communicate(timeout=50)[0]) for process in processes) == 6


@pytest.mark.parametrize("known", [False, True], ids=["before the first", "later"])
def test_what_cannot_be_counted_is_a_failure_of_the_store(path, known, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with closing(NodeFailures(path, clock)) as failures:
        if known:
            with failures.counting() as lists:
                lists.of("name")["ann"] = 1, 1.0
        monkeypatch.setattr("os.pwrite", full)
        with pytest.raises(StoreFailure, match="No space left"), failures.counting() as lists:
            lists.of("name")["ann"] = 2, 1.0
        monkeypatch.undo()
        with failures.counting() as lists:  # the lock was given back
            assert lists.of("name").get("ann", (0, 0.0)) == ((1, 1.0) if known else (0, 0.0))
