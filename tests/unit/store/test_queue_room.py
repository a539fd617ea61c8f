from __future__ import annotations

import errno
import os
from types import SimpleNamespace

import pytest

from gatepost.store.queue_room import QueueRoom

MARK = 1000


@pytest.fixture
def disk(monkeypatch):
    """A disk with so many octets that are free for everybody."""
    disk = SimpleNamespace(f_bavail=2100, f_frsize=1)
    monkeypatch.setattr(os, "statvfs", lambda _: disk)
    return disk


def test_twice_the_mark_stays_free(disk, tmp_path):
    room = QueueRoom(tmp_path, MARK)
    room.check(tmp_path, 100)
    with pytest.raises(OSError, match="is kept for the queue") as refused:
        room.check(tmp_path, 101)
    assert refused.value.errno == errno.ENOSPC


def test_without_a_mark_all_may_be_taken(disk, tmp_path):
    QueueRoom(tmp_path, 0).check(tmp_path, 10**12)


def test_another_disk_may_be_filled(disk, tmp_path):
    elsewhere = SimpleNamespace(stat=lambda: SimpleNamespace(st_dev=-1))
    QueueRoom(tmp_path, MARK).check(elsewhere, 10**12)
