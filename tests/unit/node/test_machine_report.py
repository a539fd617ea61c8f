from __future__ import annotations

import os
import threading
import time
from types import SimpleNamespace

import msgspec

from gatepost.decoding import from_json
from gatepost.events.machine_report import EndedProcess, MachineReport
from gatepost.node.machine_report import MachineLook, UnhinderedLook
from gatepost.store.figures import WORKERS_DIRECTORY, ProcessEnd, note_end, note_unserved
from gatepost.store.interface import StoreFull


def look(home, data=None, **sections):
    home.data.mkdir(exist_ok=True)
    return MachineLook(
        home.settings(server={"hostname": "mx.gate.example", "data_dir": str(data or home.data)}, **sections)
    )


def test_why_a_worker_takes_no_mail(home):
    assert look(home).report(0.0, StoreFull("the disk is full")).refusal == "the disk is full"
    report = look(home).report(0.0, None)
    assert report.refusal == ""
    assert report.disk.directory == str(home.data)
    assert report.disk.free > 0


def test_processes_that_ended_in_the_last_hour(home):
    folder = home.data / WORKERS_DIRECTORY
    assert look(home).report(9000.0, None).ended == ()
    for name, at in (("worker 1", 1.0), ("worker 1", 6000.0), ("metrics", 7000.0), ("worker 1", 8000.0)):
        note_end(folder, ProcessEnd(name, "signal 9", at))
    assert look(home).report(9000.0, None).ended == (
        EndedProcess("metrics", "signal 9", 7000.0, 1),
        EndedProcess("worker 1", "signal 9", 8000.0, 2),
    )


def test_why_challenges_of_acme_are_not_served(home):
    note_unserved(home.data / WORKERS_DIRECTORY, "cannot listen")
    assert look(home).report(0.0, None).unserved == "", "the settings do not ask for it any more"
    (home.path / "master.key").touch(0o600)
    (home.path / "master.key").write_bytes(bytes(32))
    acme = {"acme": {"agree_tos": True}, "store": {"master_key": f"file:{home.path}/master.key"}}
    assert look(home, **acme).report(0.0, None).unserved == "cannot listen"


def test_a_disk_that_was_low_is_low_until_there_is_more_room(home):
    looking = look(home, store={"free_space": "9000000GB"})
    assert [looking.report(0.0, None).disk.was_low for _ in range(2)] == [False, True]


def test_a_disk_that_cannot_be_looked_at_is_not_known(home):
    assert look(home, home.data / "gone").report(0.0, None).disk is None


def test_a_disk_without_end_is_one_that_a_heartbeat_can_tell_of(home, monkeypatch):
    """File systems of clouds say that 8 EiB are free, and others that 2**64 - 1 files can be made."""
    looking = look(home)
    endless = SimpleNamespace(f_bavail=1 << 43, f_frsize=1 << 20, f_files=5, f_favail=(1 << 64) - 1)
    monkeypatch.setattr("os.statvfs", lambda _: endless)
    report = looking.report(0.0, None)
    assert from_json(msgspec.json.encode(report), MachineReport) == report
    assert not report.disk.is_low


def test_ends_that_a_worker_that_was_taken_over_wrote_are_bounded(home):
    """Beyond the bound nobody could read what any worker of the node says."""
    looking = look(home)
    (home.data / WORKERS_DIRECTORY).mkdir()
    ends = [ProcessEnd(f"worker {number}", "", 8000.0) for number in range(60)]
    (home.data / WORKERS_DIRECTORY / "ends").write_bytes(msgspec.json.encode(ends))
    report = looking.report(9000.0, None)
    assert from_json(msgspec.json.encode(report), MachineReport) == report


def test_a_file_system_that_hangs_holds_no_heartbeat(home, monkeypatch):
    home.data.mkdir(exist_ok=True)
    looking = UnhinderedLook(home.settings(server={"hostname": "mx.gate.example", "data_dir": str(home.data)}))
    goes_on, statvfs = threading.Event(), os.statvfs
    assert looking.report(0.0, None).disk.free > 0
    monkeypatch.setattr("os.statvfs", lambda path: goes_on.wait(30) and statvfs(path))
    begun = time.monotonic()
    try:
        hanging = [looking.report(0.0, StoreFull("the disk is full")) for _ in range(2)]
        assert hanging == [MachineReport("the disk is full")] * 2
        assert time.monotonic() - begun < 15.0
    finally:
        goes_on.set()
    looking._thread.join()
    assert looking.report(0.0, None).disk.free > 0
