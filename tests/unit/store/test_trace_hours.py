from __future__ import annotations

from gatepost.store.interface import TraceEvent
from gatepost.store.trace import write_events
from gatepost.store.trace_hours import HOUR, Flow, trace_hours

BEGIN = 1_795_528_800  # 2026-11-24 14:00 UTC


def row(at, event="SEND", achieved="none/encrypted", organization="contoso"):
    return TraceEvent(
        at, event, "1a", organization, "originating", "5e55", "a@a.example", "b@b.example", achieved=achieved
    )


def test_rows_are_counted_by_hour_direction_and_level(tmp_path):
    rows = [
        row(BEGIN),
        row(BEGIN + 3599.9),
        row(BEGIN + 3600, achieved="dnssec/authenticated"),
        row(BEGIN + 3600, "RECEIVE", "none"),
        row(BEGIN + 10 * HOUR, "RECEIVE", "encrypted", "fabrikam"),  # of the next day
        row(BEGIN + 1, "DEFER"),
        row(BEGIN - 1),
        row(BEGIN + 20 * HOUR),
    ]
    write_events(tmp_path, "0", rows[::2])
    write_events(tmp_path, "1", rows[1::2])
    (tmp_path / "2026-11-24.2.db").write_bytes(b"no database, but long enough to be read as one " * 100)
    everything = {
        Flow(BEGIN, "SEND", "encrypted"): 2,
        Flow(BEGIN + HOUR, "SEND", "authenticated"): 1,
        Flow(BEGIN + HOUR, "RECEIVE", "none"): 1,
        Flow(BEGIN + 10 * HOUR, "RECEIVE", "encrypted"): 1,
    }
    assert trace_hours(tmp_path, BEGIN, BEGIN + 20 * HOUR, None) == everything
    assert trace_hours(tmp_path, BEGIN, BEGIN + 20 * HOUR, {"fabrikam"}) == dict(list(everything.items())[3:])
    assert trace_hours(tmp_path, BEGIN, BEGIN + 20 * HOUR, set()) == {}
    assert trace_hours(tmp_path / "none", BEGIN, BEGIN + HOUR, None) == {}
