from __future__ import annotations

import pytest

from gatepost.mail.model.trace_event import TraceEvent
from gatepost.store.interface import TraceFilter
from gatepost.store.sqlite import message_trace as module
from gatepost.store.sqlite.message_trace import first_answered
from gatepost.store.sqlite.trace import TraceWriter, write_events

NOON = 1_764_000_000.0  # on 24 November 2025
DAY = 86_400.0


def row(at, message, sender="ann@a.example", **more):
    return TraceEvent(at, "SEND", message, "contoso", "", f"s{message}", sender, "bob@b.example", **more)


ROWS = [
    row(NOON, "01", connector="one.example", peer_host="mx.b.example", peer_address="192.0.2.1:25"),
    row(NOON + 1, "02", "carl@one.example", message_id="<x@y.example>"),
    row(NOON + DAY, "03", peer_host="two.example", detail={"handover": {"message": "far", "session": "sfar"}}),
]


@pytest.fixture(params=["hot", "sealed", "several writers"])
def trace(tmp_path, request):
    for number, one in enumerate(ROWS):
        write_events(tmp_path, str(number) if request.param == "several writers" else "0", [one])
    if request.param == "sealed":
        TraceWriter(tmp_path, "0").close()
    return tmp_path


def ask(*names, text, **more):
    return [TraceFilter(**{name: text}, **more) for name in names]


@pytest.mark.parametrize(
    ("questions", "place"),
    [
        (ask("domain", "peer", "connector", text="one.example"), 0),
        (ask("peer", "connector", "domain", text="ONE.example"), 1),
        (ask("peer", "connector", text="two.example"), 0),
        (ask("domain", "peer", "connector", text="mx.b.example"), 1),
        (ask("domain", "peer", "connector", text="nowhere.example"), None),
        (ask("connector", "peer", text="192.0.2.1"), 1),
        (ask("message", "session", "connector", text="02"), 0),
        (ask("message", "session", "connector", text="s02"), 1),
        (ask("message", "session", text="far"), 0),
        (ask("session", "message", text="far"), 1),
        (ask("message", "session", text="sfar"), 1),
        (ask("message", "session", text="' OR 1"), None),
        (ask("address", text="x@y.example") + ask("message_id", text="<x@y.example>"), 1),
        (ask("sender", text="@b.example") + ask("recipient", text="@b.example"), 1),
        (ask("domain", "connector", text="one.example", since=NOON + 2), None),
        (ask("domain", "connector", text="one.example", until=NOON), 1),
        (ask("domain", "connector", text="one.example", organizations=frozenset({"fabrikam"})), None),
        (ask("domain", "connector", text="one.example", organizations=frozenset({"contoso"}), event="SEND"), 0),
    ],
)
def test_the_first_question_that_has_an_answer(trace, questions, place):
    assert first_answered(trace, questions) == place


def test_what_was_answered_ends_the_search_for_what_comes_behind_it(trace, monkeypatch):
    asked = []
    first = module._first
    monkeypatch.setattr(module, "_first", lambda path, some: asked.append(len(some)) or first(path, some))
    assert first_answered(trace, ask("peer", "connector", text="two.example")) == 0
    assert asked == [2]
    asked.clear()
    assert first_answered(trace, ask("connector", "peer", "domain", text="two.example")) == 1
    assert asked[:2] == [3, 1]
    assert set(asked[1:]) == {1}


def test_files_that_cannot_be_asked_hide_no_others(trace, caplog):
    (trace / "2025-11-24.9.db").write_bytes(b"no database, but long enough to be read as one " * 100)
    (trace / "2025-11-25.9.db").touch()
    assert first_answered(trace, ask("peer", "domain", text="one.example")) == 1
    assert "2025-11-24.9.db cannot be read" in caplog.text
    assert first_answered(trace / "none", ask("peer", "domain", text="one.example")) is None
