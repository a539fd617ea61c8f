from __future__ import annotations

import pytest

from gatepost.analysis.alarms.alarm import Kind, Severity
from gatepost.analysis.alarms.machine import (
    MachineFacts,
    OldPrimary,
    SilentNode,
    judge_machine,
    judge_old_primaries,
    judge_silence,
)
from gatepost.events.machine_report import DiskRoom, EndedProcess
from gatepost.values import replace

NOW = 1_800_000_000.0
MIB = 1 << 20
DISK = DiskRoom("/var/lib/gatepost", 600 * MIB, 128 * MIB, 50_000)
FULL = "the disk of data_dir has no more room than store.free_space"


def judged(**facts):
    return list(judge_machine(MachineFacts(**facts)))


def test_a_machine_that_has_what_it_needs():
    assert judged(disk=DISK) == judged(disk=replace(DISK, inodes=None)) == []


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
        ({"free": 511 * MIB}, "511 MB are free at /var/lib/gatepost; with less than 128MB", "du -x -h --max-depth=2"),
        ({"inodes": 9_999}, "Less than 10,000 files can still be made", "du -x --inodes --max-depth=2"),
    ],
)
def test_a_disk_that_fills_is_told_while_mail_is_still_taken(fields, said, line):
    (found,) = judged(disk=replace(DISK, **fields))
    assert (found.kind, found.severity) == (Kind.DISK_LOW, Severity.ERROR)
    assert said in found.detail
    assert found.lines == (f"{line} /var/lib/gatepost",)


def test_a_node_that_is_silent():
    (found,) = judge_silence([SilentNode("mx2", "host2", NOW)])
    assert (found.kind, found.severity, found.about) == (Kind.NODE_SILENT, Severity.ERROR, "mx2")
    assert found.detail.startswith("Its last heartbeat came at 2027-01-15 08:00:00Z, from host2.")
    assert found.lines == ("gatepost node list", "gatepost node remove mx2")


def test_a_process_that_ended_unasked():
    (found,) = judged(ended=(EndedProcess("worker 1", "signal 9 (SIGKILL)", NOW, 2),))
    assert (found.kind, found.severity, found.about) == (Kind.PROCESS_ENDED, Severity.ERROR, "worker 1")
    assert "ended 2 times, at last at 2027-01-15 08:00:00Z with signal 9 (SIGKILL)." in found.detail


def test_of_several_nodes_an_alarm_names_the_one_whose_machine_it_is():
    ended = EndedProcess("worker 1", "signal 9 (SIGKILL)", NOW, 1)
    found = judged(refusals=(FULL,), workers=2, disk=replace(DISK, free=0), ended=(ended,), node="mx2")
    assert [(alarm.about, alarm.title) for alarm in found] == [
        ("mx2", "on mx2, 1 of 2 workers cannot store mail, and accept none"),
        ("mx2", "the disk of mx2 is nearly full"),
        ("worker 1 of mx2", "worker 1 of mx2 ended unexpectedly"),
    ]
    assert not any("/" in alarm.about for alarm in found), "what has one is about an organization's"


@pytest.mark.parametrize(
    ("ahead", "said"),
    [
        (299.9, None),
        (-299.9, None),
        (300.0, "It is 300 seconds ahead of the database's. "),
        (-300.0, "It is 300 seconds behind the database's. "),
        (7200.4, "It is 7,200 seconds ahead of the database's. "),
    ],
)
def test_a_clock_that_is_minutes_off_the_database_is_told(ahead, said):
    found = judged(node="mx2", ahead=ahead)
    assert [(alarm.kind, alarm.severity, alarm.about, alarm.title) for alarm in found] == [
        (Kind.CLOCK_JUMPED, Severity.ERROR, "mx2", "the clock of mx2 is wrong")
    ][: int(said is not None)]
    assert all(alarm.detail.startswith(said) for alarm in found)
    assert all(alarm.lines == ("timedatectl", "gatepost node list") for alarm in found)


@pytest.mark.parametrize(("node", "who"), [("", "the gateway"), ("mx2", "mx2")])
def test_challenges_of_acme_that_are_not_served(node, who):
    (one,) = judged(unserved="cannot listen on 0.0.0.0:80: Permission denied", node=node)
    assert (one.kind, one.severity, one.about) == (Kind.ACME_PORT, Severity.WARNING, node)
    assert one.title == f"{who} does not serve ACME challenges"
    assert one.detail.startswith("The reason: cannot listen on 0.0.0.0:80: Permission denied.")


def test_an_old_primary_that_takes_writes():
    (one,) = judge_old_primaries([OldPrimary("PostgreSQL at db1:5432", 1, 2)])
    assert (one.kind, one.severity, one.about) == ("old-primary", "critical", "PostgreSQL at db1:5432")
    assert "(timeline 2, it has 1)" in one.detail
