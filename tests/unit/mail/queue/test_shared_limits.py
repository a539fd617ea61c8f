from __future__ import annotations

import errno
import subprocess
import sys
from contextlib import closing

import pytest

from gatepost.mail.queue.shared_limits import LIMITS_FILE, DividedLimits, NodeLimits


@pytest.fixture
def path(tmp_path):
    return tmp_path / "workers" / LIMITS_FILE


def test_moments_follow_one_another_over_restarts(path):
    with closing(NodeLimits(path, 0, 2)) as limits:
        assert [limits.reserve("a", 2.0, 100.0) for _ in range(3)] == [100.0, 102.0, 104.0]
        assert limits.reserve("b", 2.0, 100.0) == 100.0
    with closing(NodeLimits(path, 1, 2)) as limits:
        assert limits.reserve("a", 2.0, 100.0) == 106.0
        assert limits.reserve("a", 2.0, 200.0) == 200.0
    assert path.stat().st_mode & 0o077 == 0


def test_on_a_full_disk_a_limit_is_each_workers_own(path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with closing(NodeLimits(path, 0, 1)) as limits:
        monkeypatch.setattr("os.pwrite", full)
        assert [limits.reserve("a", 2.0, 100.0) for _ in range(3)] == [100.0, 102.0, 104.0]
        monkeypatch.undo()
        assert [limits.reserve("a", 2.0, 100.0) for _ in range(2)] == [106.0, 108.0]


def test_a_clock_that_is_put_back_blocks_nothing(path):
    with closing(NodeLimits(path, 0, 1)) as limits:
        limits.reserve("a", 1.0, 1_000_000.0)
        assert limits.reserve("a", 1.0, 100.0) == 100.0


def test_a_new_limit_takes_the_place_that_nobody_waits_for(path, monkeypatch):
    monkeypatch.setattr("gatepost.store.worker_rows._TRIED", 1)
    monkeypatch.setattr("gatepost.store.worker_rows._ROWS", 1)
    with closing(NodeLimits(path, 0, 1)) as limits:
        assert limits.reserve("a", 1.0, 100.0) == 100.0
        assert limits.reserve("b", 1.0, 100.0) == 100.0


def test_connections_are_divided_where_there_are_enough(path):
    with closing(NodeLimits(path, 1, 2)) as limits:
        assert not limits.is_scarce(3)
        assert [limits.take("a", 3) for _ in range(2)] == [0, None]
        limits.give("a", 0)
        limits.give("b", 0)
        assert limits.take("a", 3) == 0


_OTHER = """
import sys
from pathlib import Path
from gatepost.mail.queue.shared_limits import NodeLimits
limits = NodeLimits(Path(sys.argv[1]), 1, 3)
print(limits.take("a", 2), flush=True)
sys.stdin.read()
"""


def test_scarce_connections_are_locks_that_the_kernel_gives_back(path):
    pipe = subprocess.PIPE
    with (
        closing(NodeLimits(path, 0, 3)) as limits,
        subprocess.Popen([sys.executable, "-c", _OTHER, path], stdin=pipe, stdout=pipe) as other,
    ):
        assert limits.is_scarce(2)
        assert other.stdout.readline() == b"0\n"
        assert [limits.take("a", 2), limits.take("a", 2)] == [1, None]
        other.kill()
        other.wait()
        assert limits.take("a", 2) == 0
        limits.give("a", 0)
        assert limits.take("a", 2) == 0


def test_processes_that_share_a_queue_have_their_own_moments():
    both = [DividedLimits(lambda index=index: (index, 2)) for index in range(2)]
    times = [[limits.reserve("a", 1.0, 1000.5) for _ in range(3)] for limits in both]
    assert sorted(times[0] + times[1]) == [1001.0, 1002.0, 1003.0, 1004.0, 1005.0, 1006.0]
    assert both[0].reserve("a", 1.0, 10.0) == 10.0  # the clock was put back
    assert [both[0].take("a", 1), both[0].take("a", 1), both[0].is_scarce(1)] == [0, None, False]


def test_divided_limits_are_bounded(monkeypatch):
    monkeypatch.setattr("gatepost.mail.queue.shared_limits._KNOWN", 2)
    limits = DividedLimits(lambda: (0, 1))
    assert [limits.reserve(str(number), 1.0, 100.0) for number in range(5)] == [100.0] * 5
