from __future__ import annotations

import pytest

from gatepost.mail.model.trace_event import TraceEvent
from gatepost.store.interface import StoreFailure, TraceFilter
from gatepost.store.sqlite import message_trace as module
from gatepost.store.sqlite.message_trace import SqliteTrace
from gatepost.store.trace import HOUR, Flow

NOON = 1_764_000_000.0 - 1_764_000_000.0 % 86_400 + 43_200  # 2025-11-24


def row(at=NOON, event="SEND", **more):
    return TraceEvent(
        at, event, "1a", "contoso", "originating", "5e55", "a@a.example", "b@b.example", achieved="none/none", **more
    )


def test_what_is_written_is_found_counted_and_forgotten(tmp_path):
    trace = SqliteTrace(tmp_path / "trace")
    assert (trace.parts("", "9999"), trace.unreadable(), trace.search(TraceFilter())) == ({}, [], [])
    sink = trace.sink(3)
    sink.add([row()])
    sink.close()
    trace.write("admin", [row(NOON - 86_400), row(NOON + 1)])
    assert sink.dropped == 0
    assert [one.at for one in trace.search(TraceFilter())] == [NOON + 1, NOON, NOON - 86_400]
    first, place = trace.page(TraceFilter(limit=2), None, NOON + 9)
    assert [one.at for one in first + trace.page(TraceFilter(limit=2), place, NOON + 9)[0]] == [
        NOON + 1,
        NOON,
        NOON - 86_400,
    ]
    assert [at for (at,) in trace.scan(TraceFilter(), ("at",), oldest_first=True)] == [NOON - 86_400, NOON, NOON + 1]
    assert trace.first_answered([TraceFilter(sender="x@x.example"), TraceFilter(sender="a@a.example")]) == 1
    parts = trace.parts("2025-11-24", "2025-11-24")
    assert [part.name for part in parts] == ["2025-11-24.3.db", "2025-11-24.admin.db"]
    assert [trace.tally(part)[0] for part in parts] == [1, 1]
    begin = int(NOON)
    assert trace.hours().counted(begin, begin + HOUR, None) == {Flow(begin, "SEND", "none"): 2}
    assert trace.forget(NOON) == ["2025-11-23.admin.db"]
    assert trace.unreadable() == []


def test_a_part_of_another_trace_is_refused(tmp_path):
    with pytest.raises(TypeError):
        SqliteTrace(tmp_path).tally("2025-11-24")


def test_a_part_that_cannot_be_read_is_a_failure(tmp_path):
    trace = SqliteTrace(tmp_path)
    (tmp_path / "2025-11-24.0.db").write_bytes(b"no database, but long enough to be read as one " * 100)
    (part,) = trace.parts("", "9999")
    with pytest.raises(StoreFailure, match="not a database"):
        trace.tally(part)


def test_a_directory_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(module.os, "access", lambda *_: False)  # root may read all
    assert SqliteTrace(tmp_path).unreadable() == [str(tmp_path)]
    assert SqliteTrace(tmp_path / "none").unreadable() == []


def test_no_row_has_a_subject_where_none_is_kept(tmp_path):
    trace = SqliteTrace(tmp_path, subjects=False)
    trace.write("admin", [row(subject="Dismissal of Kim")])
    sink = trace.sink(0)
    sink.add([row(subject="Dismissal of Kim")])
    sink.close()
    assert [event.subject for event in trace.search(TraceFilter())] == ["", ""]
