from __future__ import annotations

import pytest

from gatepost.analysis.alarms.alarm import Kind, Severity
from gatepost.analysis.alarms.machine import DiskRoom, EndedProcess, MachineFacts, SilentNode, judge_machine
from gatepost.values import replace

NOW = 1_800_000_000.0
MIB = 1 << 20
DISK = DiskRoom("/var/lib/gatepost", 600 * MIB, 128 * MIB, 50_000)
FULL = "the disk of data_dir has no more room than store.free_space"


def judged(**facts):
    return list(judge_machine(MachineFacts(**facts)))


def test_a_machine_that_has_what_it_needs():
    assert judged(disk=DISK) == judged(disk=replace(DISK, inodes=None)) == judged(silent=None) == []


@pytest.mark.parametrize(
    ("refusals", "title"),
    [
        ((FULL, FULL), "no mail is accepted, as it cannot be stored"),
        ((FULL,), "1 of 2 workers cannot store mail, and accept none"),
    ],
)
def test_mail_that_is_not_taken(refusals, title):
    found, low = judged(refusals=refusals, workers=2, disk=replace(DISK, free=0))
    assert low.kind is Kind.DISK_LOW
    assert (found.kind, found.severity, found.title) == (Kind.MAIL_REFUSED, Severity.CRITICAL, title)
    assert FULL in found.detail
    assert found.lines == ("gatepost doctor", "gatepost status")


@pytest.mark.parametrize(
    ("fields", "said", "line"),
    [
        ({"free": 511 * MIB}, "511MB are free at /var/lib/gatepost; with less than 128MB", "du -x -h --max-depth=2"),
        ({"inodes": 9_999}, "Less than 10,000 files can still be made", "du -x --inodes --max-depth=2"),
    ],
)
def test_a_disk_that_fills_is_told_while_mail_is_still_taken(fields, said, line):
    (found,) = judged(disk=replace(DISK, **fields))
    assert (found.kind, found.severity) == (Kind.DISK_LOW, Severity.ERROR)
    assert said in found.detail
    assert found.lines == (f"{line} /var/lib/gatepost",)


def test_a_node_that_is_silent():
    (found,) = judged(silent=(SilentNode("mx2", "host2", NOW),))
    assert (found.kind, found.severity, found.about) == (Kind.NODE_SILENT, Severity.ERROR, "mx2")
    assert found.detail.startswith("Its last heartbeat came at 2027-01-15 08:00:00Z, from host2.")
    assert found.lines == ("gatepost node list", "gatepost node remove mx2")


def test_a_process_that_ended_unasked():
    (found,) = judged(ended=(EndedProcess("worker 1", "signal 9 (SIGKILL)", NOW, 2),))
    assert (found.kind, found.severity, found.about) == (Kind.PROCESS_ENDED, Severity.ERROR, "worker 1")
    assert "ended 2 times, at last at 2027-01-15 08:00:00Z with signal 9 (SIGKILL)." in found.detail


@pytest.mark.parametrize(
    ("fields", "is_low"),
    [
        ({"free": 511 * MIB}, True),
        ({"free": 520 * MIB}, False),
        ({"free": 520 * MIB, "was_low": True}, True),
        ({"free": 570 * MIB, "was_low": True}, False),
        ({"inodes": 10_500}, False),
        ({"inodes": 10_500, "was_low": True}, True),
        ({"inodes": 11_500, "was_low": True}, False),
    ],
)
def test_a_disk_at_the_mark_raises_and_ends_no_alarm_each_minute(fields, is_low):
    disk = replace(DISK, **fields)
    assert disk.is_low == is_low
    assert [alarm.kind for alarm in judge_machine(MachineFacts(disk=disk))] == [Kind.DISK_LOW] * is_low
