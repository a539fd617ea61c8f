from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gatepost.store.interface import TraceEvent, TraceFilter
from gatepost.store.trace import TraceWriter, write_events
from gatepost.store.trace_search import prune_trace, search_trace

NOON = datetime(2025, 11, 24, 12, tzinfo=UTC).timestamp()
DAY = 86_400.0


def event(
    at, event="SEND", message="", session="", sender="bob@contoso.example", recipient="ann@partner.example", **more
):
    return TraceEvent(at, event, message, more.pop("organization", "contoso"), "", session, sender, recipient, **more)


@pytest.fixture
def trace(tmp_path):
    """Three days, two workers and the administrators' own file; the first day sealed."""
    write_events(
        tmp_path,
        "0",
        [
            event(NOON, "RECEIVE", "0000000000000001", "sess-a", message_id="<One@contoso.example>"),
            event(NOON + 1, "SEND", "0000000000000001", "sess-a", connector="out"),
        ],
    )
    write_events(tmp_path, "1", [event(NOON + 2, "REFUSE", "", "sess-b", "eve@evil.example", "joe@contoso.example")])
    TraceWriter(tmp_path, "0").close()
    write_events(tmp_path, "0", [event(NOON + DAY, "DEFER", "000000000000000a", "sess-c", "Ann@PARTNER.example")])
    write_events(tmp_path, "1", [event(NOON + DAY + 5, "SEND", "000000000000000b", "sess-d", organization="fabrikam")])
    write_events(
        tmp_path, "admin", [event(NOON + 2 * DAY, "HOLD", "000000000000000a", "sess-c", "Ann@PARTNER.example")]
    )
    return tmp_path


@pytest.mark.parametrize(
    ("wanted", "events"),
    [
        ({}, "HOLD SEND DEFER REFUSE SEND RECEIVE"),
        ({"limit": 2}, "HOLD SEND"),
        ({"limit": 5}, "HOLD SEND DEFER REFUSE SEND"),
        ({"message": "000000000000000A"}, "HOLD DEFER"),
        ({"message": "0000000000000001"}, "SEND RECEIVE"),
        ({"message": "0000000000000002"}, ""),
        ({"session": "sess-a"}, "SEND RECEIVE"),
        ({"message_id": "<one@contoso.example>"}, "RECEIVE"),
        ({"sender": "bob@contoso.example"}, "SEND SEND RECEIVE"),
        ({"sender": "ann@partner.example"}, "HOLD DEFER"),
        ({"sender": "@partner.example"}, "HOLD DEFER"),
        ({"sender": "@artner.example"}, ""),
        ({"recipient": "@contoso.example"}, "REFUSE"),
        ({"recipient": "joe@contoso.example", "sender": "bob@contoso.example"}, ""),
        ({"organization": "Fabrikam"}, "SEND"),
        ({"connector": "out"}, "SEND"),
        ({"event": "defer"}, "DEFER"),
        ({"since": NOON + 2, "until": NOON + DAY}, "DEFER REFUSE"),
        ({"since": NOON + DAY}, "HOLD SEND DEFER"),
        ({"until": NOON}, "RECEIVE"),
        ({"since": NOON + 9 * DAY}, ""),
        ({"sender": "' OR 1=1 --"}, ""),
    ],
)
def test_filters(trace, wanted, events):
    assert " ".join(found.event for found in search_trace(trace, TraceFilter(**wanted))) == events


def test_no_trace_yet(tmp_path):
    assert search_trace(tmp_path / "trace", TraceFilter()) == []


def test_other_files_are_left_alone(trace):
    (trace / "notes.db").write_text("not ours")
    (trace / "2025-11-24.db").write_text("not ours")
    assert len(search_trace(trace, TraceFilter())) == 6


def test_old_days_are_forgotten_whole(trace):
    (trace / "2025-11-24.1.db-wal").write_bytes(b"")
    assert prune_trace(trace, NOON + DAY) == ["2025-11-24.1.db", "2025-11-24.0.db"]
    assert [found.event for found in search_trace(trace, TraceFilter())] == ["HOLD", "SEND", "DEFER"]
    assert not list(trace.glob("2025-11-24*"))
    assert prune_trace(trace, NOON + DAY) == []
