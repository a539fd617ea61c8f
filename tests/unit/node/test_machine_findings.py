from __future__ import annotations

import errno
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from gatepost.node.machine_findings import Level, _unwritable, disk_findings, disk_refusal


@pytest.mark.parametrize(
    ("store", "said"),
    [
        ({}, ""),
        ({"free_space": "900000GB"}, "the disk of data_dir has no more room than store.free_space"),
        ({"free_space": "900000GB", "url": "postgresql://gatepost@/gatepost?host=/run"}, ""),
    ],
)
def test_a_full_disk_is_seen_from_outside_of_a_worker(home, store, said):
    home.data.mkdir(exist_ok=True)
    assert disk_refusal(home.settings(store=store)) == said


def test_a_disk_that_cannot_be_looked_at_refuses_nothing_that_is_known(home):
    server = {"hostname": "mx.gate.example", "data_dir": str(home.data / "gone")}
    assert disk_refusal(home.settings(server=server)) == ""


@pytest.mark.parametrize(
    ("free", "level", "told"),
    [
        (450, Level.WARN, False),
        (350, Level.WARN, True),
        (150, Level.FAIL, False),
    ],
)
def test_a_disk_where_mail_waits_although_some_is_taken_is_told_of(home, monkeypatch, free, level, told):
    home.data.mkdir(exist_ok=True)
    disk = SimpleNamespace(f_bavail=free, f_frsize=1 << 20, f_files=0, f_favail=0)
    monkeypatch.setattr(os, "statvfs", lambda _path: disk)
    found = next(disk_findings(home.settings(store={"free_space": "200MB"})))
    assert (found.level, "quarantine waits" in found.text) == (level, told)


@pytest.mark.parametrize(
    ("number", "level", "text", "fix"),
    [
        (errno.EROFS, Level.FAIL, "mail is answered 451", "findmnt -T /data"),
        (errno.EIO, Level.FAIL, "mail is answered 451", "findmnt -T /data"),
        (errno.ENOSPC, Level.FAIL, "mail is answered 452", "df -i /data"),
        (errno.EACCES, Level.UNKNOWN, "Permission denied", ""),
    ],
)
def test_a_disk_that_cannot_be_written_is_told_with_what_to_do(number, level, text, fix):
    found = _unwritable(Path("/data"), OSError(number, os.strerror(number)))
    assert (found.level, text in found.text) == (level, True)
    assert found.fix.endswith(fix)
