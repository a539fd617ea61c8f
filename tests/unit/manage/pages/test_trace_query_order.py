from __future__ import annotations

import re
import time

import pytest

from gatepost.mail.model.trace_event import TraceEvent
from gatepost.manage.pages import trace
from gatepost.store.sqlite import message_trace
from gatepost.store.sqlite.trace import write_events

_ROW = re.compile(r'href="/trace/0+(\d)"')
_LINK = re.compile(r'<a class="button secondary" rel="(prev|next)" href="([^"]+)"')


def row(number, **more):
    given = {"sender": "x@bank.example", "recipient": f"r{number}@contoso.example", "session": f"5e{number}"}
    event = more.pop("event", "RECEIVE")
    return TraceEvent(time.time() - number * 60, event, f"{number:016x}", "contoso", "incoming", **(given | more))


@pytest.fixture
def traced(centre):
    """Six messages, the first the newest; each column has another order, and none is the order of time."""
    rows = [
        row(1, sender="b@x.example", size=3, subject="beta", connector="zeta", reply="450 later", achieved="none/none"),
        row(2, sender="C@x.example", size=1, subject="Alpha", event="REFUSE", achieved=""),
        row(3, sender="a@x.example", size=2, subject="gamma", connector="Alpha", achieved="dnssec/authenticated"),
        row(4, sender="d@x.example", size=9, subject="delta", event="SEND", achieved="none/encrypted"),
        row(5, sender="f@x.example", size=8, subject="zeta", event="FAIL", reply="250 ok", achieved=""),
        row(6, sender="e@x.example", size=7, subject="eta"),
    ]
    write_events(centre.gateway.data / "trace", "0", rows[::-1])
    return centre


def numbers(page):
    return "".join(_ROW.findall(page.text))


def links(page):
    return {rel: address.replace("&amp;", "&") for rel, address in _LINK.findall(page.text)}


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("sender", "312465"),
        ("-sender", "564213"),
        ("recipient", "123456"),
        ("size", "231654"),
        ("subject", "214635"),
        ("-subject", "536412"),
        ("connector", "312456"),
        ("reply", "512346"),
        ("protection", "143256"),
        ("-protection", "341256"),
        ("time", "654321"),
        ("nonsense", "123456"),
        ("", "123456"),
    ],
)
def test_messages_are_sorted_by_each_column(traced, sort, order):
    page = traced.get(f"/trace?sort={sort}")
    assert numbers(page) == order
    assert page.text.count("aria-sort=") == 1
    assert "ascending" in page.text


def test_results_are_sorted_as_they_are_called(traced):
    labels = [re.search(r"</svg>(.*?)</span>", cell)[1] for cell in cells(traced.get("/trace?sort=event"))]
    assert labels == sorted(labels)
    assert len(set(labels)) > 2


def cells(page):
    return re.findall(r'<td data-label="Event">(.*?)</td>', page.text)


def test_what_was_not_sorted_follows_sorted_by_itself(traced, monkeypatch):
    monkeypatch.setattr(trace.trace_query, "HELD", 4)
    first = traced.get("/trace?sort=subject")
    assert numbers(first) == "2143"
    assert "1 to 4 of 4 messages, sorted. They go back to 20" in first.words
    second = traced.get(links(first)["next"])
    assert numbers(second) == "65"
    assert "1 to 2 of 2 messages" in second.words
    assert numbers(traced.get(links(second)["prev"])) == "2143"


def test_pages_of_one_order_follow_each_other(centre):
    rows = [row(number, subject=f"of-{59 - number:02d}") for number in range(1, 60)]
    write_events(centre.gateway.data / "trace", "0", rows[::-1])
    first = centre.get("/trace?sort=subject")
    second = centre.get(links(first)["next"])
    subjects = re.findall(r'title="(of-\d\d)"', first.text + second.text)
    assert subjects == sorted(subjects)
    assert len(subjects) == 59
    assert "51 to 59 of 59 messages" in second.words
    assert links(second) == {"prev": "/trace?sort=subject&page=1"}


def test_what_a_search_found_until_its_time_was_over_is_sorted(traced, monkeypatch):
    monkeypatch.setattr(message_trace, "PATIENCE", -1.0)
    page = traced.get("/trace?words=eta&sort=subject")
    assert numbers(page) == "165", "beta, eta, zeta"


def test_what_is_watched_has_no_other_order(traced):
    page = traced.get("/trace?live=1&sort=subject")
    assert numbers(page) == "123456"
    assert 'class="sort"' not in page.text


def test_a_tenant_sorts_what_it_sees(traced):
    assert numbers(traced.get("/trace?sort=subject", "tenant")) == ""
