from __future__ import annotations

import pytest

from gatepost.analysis.checks.tasks import PROBE_TASKS, HostReport, Task, TaskStatus, host_records, skipped, waiting
from gatepost.language import in_language
from gatepost.manage.pages.validation_tasks import detail_text, host_items, live_items, task_items, verdict_item

REPORT = HostReport(
    "mx.bank.example",
    "192.0.2.1:25",
    (
        Task("Resolve", TaskStatus.SUCCEEDED, "has 192.0.2.1", seconds=0.25),
        Task("Connect", TaskStatus.FAILED, "refused", "Ask them."),
        *skipped(["EHLO", "STARTTLS"], "Connect failed"),
    ),
    transcript=("< 220 mx", "> EHLO"),
)


def recorded(report):
    return host_records([report])[0]


def test_a_host_is_its_tasks_and_what_was_skipped_is_one():
    items = host_items(recorded(REPORT), several=False)
    assert [(item["title"], item["level"]) for item in items] == [
        ("Resolve", "pass"),
        ("Connect", "fail"),
        ("EHLO, STARTTLS", "waiting"),
    ]
    assert (items[0]["took"], items[1]["advice"], items[2]["word"]) == (0.25, "Ask them.", "Skipped")


def test_of_several_hosts_each_task_says_whose_it_is_and_has_a_key_of_its_own():
    other = HostReport("mx2.bank.example", "", REPORT.tasks)
    items = task_items({"hosts": [recorded(REPORT), recorded(other)], "outcome": "not-validated", "verdict": "no"})
    assert items[0]["key"] == "verdict"
    assert "mx.bank.example (192.0.2.1:25): Resolve" in [item["title"] for item in items]
    keys = [item["key"] for item in items]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    ("outcome", "level"),
    [("validated", "pass"), ("not-validated", "fail"), ("unknown", "unknown"), ("else", "unknown")],
)
def test_the_verdict_says_how_it_ended(outcome, level):
    item = verdict_item({"outcome": outcome, "verdict": "all is said", "notes": ["a", "b"]})
    assert (item["level"], item["title"], item["text"]) == (level, "All is said", "Note: a; b")


def test_what_failed_by_our_own_doing_is_no_failure():
    task = Task("Resolve", TaskStatus.FAILED, "no answer", ours=True)
    (item,) = host_items(recorded(HostReport("mx", "", (task,))), several=False)
    assert (item["level"], item["word"]) == ("unknown", "Inconclusive")


def test_what_was_said_to_a_host_is_with_its_last_task():
    first, *_, last = host_items(recorded(REPORT), several=False)
    assert "raw" not in first
    assert (last["raw"], last["raw_title"]) == (
        "< 220 mx\n> EHLO",
        "SMTP transcript with mx.bank.example (192.0.2.1:25)",
    )


def test_before_anything_is_known_all_wait_but_the_first():
    for record in (None, {"hosts": [], "tasks": []}):
        items = live_items(record)
        assert [item["title"] for item in items] == list(PROBE_TASKS)
        assert [item["level"] for item in items[:2]] == ["running", "waiting"]
        assert items[1]["word"] == "", "it waits, and is not skipped"


RUNNING = HostReport(
    "mx.bank.example",
    "192.0.2.1:25",
    (
        Task("Resolve", TaskStatus.SUCCEEDED, "has 192.0.2.1"),
        Task("Connect", TaskStatus.RUNNING, ""),
        *waiting(["EHLO", "STARTTLS"]),
    ),
)


def test_while_it_goes_on_each_task_is_shown_and_what_waits_of_several_hosts_is_one():
    record = {"hosts": [recorded(RUNNING)], "tasks": []}
    assert [(item["title"], item["level"]) for item in live_items(record)] == [
        ("Resolve", "pass"),
        ("Connect", "running"),
        ("EHLO", "waiting"),
        ("STARTTLS", "waiting"),
    ]
    titles = [item["title"].partition("): ")[2] for item in live_items({**record, "hosts": record["hosts"] * 2})]
    assert titles == ["Resolve", "Connect", "EHLO, STARTTLS"] * 2


def test_the_same_host_twice_has_keys_of_its_own():
    keys = [item["key"] for item in live_items({"hosts": [recorded(RUNNING)] * 3, "tasks": []})]
    assert len(set(keys)) == len(keys) == 9


@pytest.mark.parametrize(
    ("task", "swedish"),
    [
        ({"name": "STARTTLS", "status": "failed", "facts": ["not offered", "the connector asks for encrypted"]},
         "erbjuds inte; kopplingen kräver krypterat"),
        ({"name": "STARTTLS", "status": "failed", "detail": "not offered"}, "not offered"),
        ({"name": "EHLO", "status": "succeeded", "facts": ["the domain does not exist", "offers PIPELINING, SIZE 9"]},
         "the domain does not exist; erbjuder PIPELINING, SIZE 9"),
        ({"name": "Certificate", "status": "succeeded",
          "facts": ["trusted: the chain leads to CN=Root", "CN=a is among the names of the certificate"]},
         "betrott: kedjan leder till CN=Root; CN=a is among the names of the certificate"),
        ({"name": "Log in", "status": "skipped", "detail": "the secret is sent only once all else succeeded"},
         "hemligheten skickas först när allt annat har lyckats"),
    ],
)  # fmt: skip
def test_facts_are_told_in_the_language_of_the_page_but_for_what_the_host_said(task, swedish):
    with in_language("sv"):
        assert detail_text({"detail": "", **task}) == swedish
