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
        ({"free_space": "900000GB", "url": "postgresql://gatepost@localhost/gatepost?host=/run"}, ""),
    ],
)
def test_a_full_disk_is_seen_from_outside_of_a_worker(home, store, said):
    home.data.mkdir(exist_ok=True)
    assert disk_refusal(home.settings(store=store)) == said


def test_a_disk_that_cannot_be_looked_at_refuses_nothing_that_is_known(home):
    server = {"hostname": "mx.gate.example", "data_dir": str(home.data / "gone")}
    assert disk_refusal(home.settings(server=server)) == ""


def test_a_disk_where_mailboxes_get_no_mail_is_told_of(home, monkeypatch):
    home.data.mkdir(exist_ok=True)
    disk = SimpleNamespace(f_bavail=350, f_frsize=1 << 20, f_files=0, f_favail=0)
    monkeypatch.setattr(os, "statvfs", lambda _path: disk)
    settings = home.settings(store={"free_space": "200MB"})
    assert "wait" not in next(disk_findings(settings)).text
    (home.data / "maildir" / "b.example").mkdir(parents=True)
    found = next(disk_findings(settings))
    assert (found.level, found.text.rpartition(": ")[2]) == (Level.WARN, "mail for mailboxes there waits")
    disk.f_bavail = 450
    assert "wait" not in next(disk_findings(settings)).text
    disk.f_bavail = 150
    assert "452" in next(disk_findings(settings)).text


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
