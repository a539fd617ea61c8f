from __future__ import annotations

from typing import Any

import pytest

from gatepost.analysis.checks.tasks import (
    HostReport,
    Task,
    TaskStatus,
    bounded_transcripts,
    detail_of,
    host_records,
    skipped,
    task_of,
    task_record,
    waiting,
)
from gatepost.policy.decisions.facts import HopFacts
from gatepost.policy.decisions.outbound import judge
from gatepost.policy.decisions.requirement import Encrypted, Opportunistic, Source
from gatepost.values import replace

GOOD = Task("Connect", TaskStatus.SUCCEEDED, "192.0.2.1:25", seconds=0.12345)
BAD = Task("EHLO", TaskStatus.FAILED, "closed", "look", ours=True)
ASKS = (Source("connector", "out"),)


def test_a_report_knows_its_first_failure() -> None:
    assert HostReport("mx", "192.0.2.1:25", (GOOD, BAD, BAD)).failed is BAD
    assert HostReport("mx", "192.0.2.1:25", (GOOD,)).failed is None


def test_a_report_is_usable_only_with_a_verdict_that_passed() -> None:
    facts = HopFacts("mx", "192.0.2.1:25")
    passed, not_passed = judge(Opportunistic(ASKS), facts), judge(Encrypted(ASKS), facts)
    assert HostReport("mx", "192.0.2.1:25", (GOOD,), facts, passed).usable
    assert not HostReport("mx", "192.0.2.1:25", (GOOD,), facts, not_passed).usable
    assert not HostReport("mx", "192.0.2.1:25", (GOOD, BAD), facts, passed).usable
    assert not HostReport("mx", "192.0.2.1:25", (GOOD,)).usable


def test_what_a_peer_says_remains_one_fact_whatever_signs_it_uses() -> None:
    task = Task("EHLO", TaskStatus.SUCCEEDED, detail_of("220 mx; ready; at last", "", "offers SIZE"))
    assert task.detail.split("\n") == ["220 mx; ready; at last", "offers SIZE"]
    assert task.first == "220 mx; ready; at last"
    assert task.text == "220 mx; ready; at last; offers SIZE"
    assert task_record(task)["detail"] == task.text


def test_tasks_that_were_not_tried() -> None:
    assert skipped(["A", "B"], "why") == [Task(name, TaskStatus.SKIPPED, "why") for name in ("A", "B")]


def test_records() -> None:
    assert task_record(GOOD) == {"name": "Connect", "status": "succeeded", "detail": "192.0.2.1:25", "seconds": 0.123}
    assert task_record(BAD)["advice"] == "look"
    assert task_record(BAD)["ours"] is True
    facts = HopFacts("mx", "192.0.2.1:25")
    report = HostReport("mx", "192.0.2.1:25", (GOOD,), facts, judge(Opportunistic(ASKS), facts), ("< 220 mx",))
    record: dict[str, Any]
    (record,) = host_records([report])
    assert record == {
        "host": "mx",
        "address": "192.0.2.1:25",
        "requirement": "opportunistic",
        "achieved": "none/none",
        "passed": True,
        "tls": {},
        "tasks": [task_record(GOOD)],
        "transcript": ["< 220 mx"],
    }
    assert host_records([HostReport("mx", "", (BAD,))])[0]["requirement"] == ""


@pytest.mark.parametrize(
    "task",
    [replace(GOOD, seconds=0.25), BAD, Task("EHLO", TaskStatus.WARNING, "220 mx; ready\noffers SIZE\n", "wait")],
)
def test_a_record_is_a_task_again(task: Task) -> None:
    assert task_of(task_record(task)) == task


def test_tasks_that_come_later() -> None:
    assert [(one.name, str(one.status)) for one in waiting(["A", "B"])] == [("A", "waiting"), ("B", "waiting")]


def test_dialogues_are_bounded_line_by_line_one_by_one_and_all_together() -> None:
    assert list(bounded_transcripts([["< 220 mx", "x" * 600], []])) == [["< 220 mx", "x" * 512 + "..."], []]
    (long,) = bounded_transcripts([["x" * 500] * 100])
    assert (len(long), long[-1]) == (33, "(68 more lines)")
    many = list(bounded_transcripts([["x" * 500] * 100] * 40))
    assert sum(len(line) for one in many for line in one) < 300_000
    assert many[-1] == ["(100 more lines)"]
