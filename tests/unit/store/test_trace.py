from __future__ import annotations

from types import SimpleNamespace

import pytest

from gatepost.mail.model.trace_event import TraceEvent
from gatepost.store.interface import StoreFailure, TraceFilter
from gatepost.store.sqlite.message_trace import SqliteTrace
from gatepost.store.trace import (
    COLUMNS,
    storable_columns,
    stored_row,
    tally_days,
    tally_part,
    trace_event,
    unwritten,
    without_subjects,
)

NOON = 1_764_000_000.0 - 1_764_000_000.0 % 86_400 + 43_200


def row(at=NOON, **more):
    return TraceEvent(at, "SEND", "1a", "contoso", "originating", "5e55", "a@a.example", "b@b.example", **more)


def test_a_row_becomes_the_event_that_it_was(tmp_path):
    trace, event = SqliteTrace(tmp_path), row(tls={"suite": "X"}, detail={"attempt": 1}, size=5)
    trace.write("0", [event])
    (found,) = trace.scan(TraceFilter(), COLUMNS)
    assert trace_event(COLUMNS, found) == event


def test_columns_that_were_not_requested_are_empty():
    assert trace_event(("at", "sender"), (1.5, "a@a.example")) == TraceEvent(1.5, "", "", "", "", "", "a@a.example", "")


@pytest.mark.parametrize("text", ["", "x", "{", "null", "[1]", "1", "[" * 100_000])
def test_a_row_whose_properties_are_not_an_object_is_shown_without_them(text):
    found = trace_event(("event", "tls", "detail"), ("SEND", text, text))
    assert (found.event, found.tls, found.detail) == ("SEND", {}, {})


def test_days_are_counted_and_parts_that_cannot_be_are_named(tmp_path, caplog):
    trace = SqliteTrace(tmp_path)
    trace.write("0", [row(), row(), row(NOON - 86_400)])
    trace.write("1", [row()])
    (tmp_path / "2025-11-23.2.db").write_bytes(b"no database, but long enough to be read as one " * 100)
    unreadable: list[str] = []
    days = [(day, sum(kinds.values())) for day, kinds in tally_days(trace, "2025-11-01", "2025-11-30", unreadable)]
    assert (days, unreadable) == ([("2025-11-23", 1), ("2025-11-24", 2), ("2025-11-24", 1)], ["2025-11-23.2.db"])
    assert "2025-11-23.2.db cannot be counted" in caplog.text
    assert len(list(tally_days(trace, "2025-11-01", "2025-11-30"))) == 3
    (broken,) = (part for part in trace.parts("2025-11-23", "2025-11-23") if part.name == "2025-11-23.2.db")
    assert tally_part(trace, broken, 0) is None
    with pytest.raises(StoreFailure):
        trace.tally(broken)


def test_an_event_that_no_engine_can_store_is_left_out_with_a_line_in_the_log(caplog):
    assert stored_row(row(subject="half \ud83d")) is None
    assert "an event of 1a is left out" in caplog.text
    assert stored_row(row(subject="Grüße"))[COLUMNS.index("subject")] == "Grüße"


def test_columns_of_a_row_are_as_every_engine_takes_them():
    stored = stored_row(row(subject="a\0b", detail={"reason": "c\0d"}))
    found = dict(zip(COLUMNS, storable_columns(stored), strict=True))
    assert (found["subject"], found["detail"]) == ("a\ufffdb", '{"reason":"c\ufffdd"}')


def test_events_without_their_subjects_have_all_else():
    event = row(subject="Dismissal of Kim", message_id="<a@b>")
    assert without_subjects([event]) == [row(message_id="<a@b>")]


def test_why_records_wait_is_said_of_each_kind():
    trace, evidence = SimpleNamespace(trouble="disk full"), SimpleNamespace(trouble="no key")
    assert unwritten(trace, None) == {"message trace": "disk full", "evidence log": ""}
    assert unwritten(trace, evidence) == {"message trace": "disk full", "evidence log": "no key"}
