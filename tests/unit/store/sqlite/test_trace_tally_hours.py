from __future__ import annotations

import contextlib

import apsw

from gatepost.mail.model.trace_event import TraceEvent
from gatepost.store.sqlite import trace_tally as module
from gatepost.store.sqlite.trace import write_events
from gatepost.store.sqlite.trace_tally import TraceHours
from gatepost.store.trace import HOUR, Flow

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
    hours = TraceHours(tmp_path)
    for _ in range(2):
        assert hours.counted(BEGIN, BEGIN + 20 * HOUR, None) == everything
        assert hours.counted(BEGIN, BEGIN + 20 * HOUR, {"fabrikam"}) == dict(list(everything.items())[3:])
        assert hours.counted(BEGIN, BEGIN + 20 * HOUR, set()) == {}
        assert hours.counted(BEGIN + HOUR, BEGIN + 2 * HOUR, None) == dict(list(everything.items())[1:3])
    assert TraceHours(tmp_path / "none").counted(BEGIN, BEGIN + HOUR, None) == {}


def test_what_is_added_is_counted_beside_what_is_known(tmp_path, monkeypatch):
    read = []
    added = module._added
    monkeypatch.setattr(module, "_added", lambda path, after, among: read.append(after) or added(path, after, among))
    hours = TraceHours(tmp_path)
    write_events(tmp_path, "0", [row(BEGIN), row(BEGIN)])
    assert hours.counted(BEGIN, BEGIN + HOUR, None) == {Flow(BEGIN, "SEND", "encrypted"): 2}
    write_events(tmp_path, "0", [row(BEGIN), row(BEGIN, achieved="none/NONE"), row(BEGIN, organization="fabrikam")])
    expected = {Flow(BEGIN, "SEND", "encrypted"): 4, Flow(BEGIN, "SEND", "none"): 1}
    assert hours.counted(BEGIN, BEGIN + HOUR, None) == expected
    assert hours.counted(BEGIN, BEGIN + HOUR, None) == expected
    assert read == [0, 2]
    assert hours.counted(BEGIN, BEGIN + HOUR, {"fabrikam"}) == {Flow(BEGIN, "SEND", "encrypted"): 1}


def test_another_file_of_the_same_name_is_counted_anew(tmp_path):
    hours = TraceHours(tmp_path)
    write_events(tmp_path, "0", [row(BEGIN), row(BEGIN)])
    assert sum(hours.counted(BEGIN, BEGIN + HOUR, None).values()) == 2
    for file in tmp_path.iterdir():
        file.unlink()
    assert hours.counted(BEGIN, BEGIN + HOUR, None) == {}
    write_events(tmp_path, "0", [row(BEGIN, "RECEIVE", "none")])
    assert hours.counted(BEGIN, BEGIN + HOUR, None) == {Flow(BEGIN, "RECEIVE", "none"): 1}


def test_what_is_kept_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_KEPT", 2)
    write_events(tmp_path, "0", [row(BEGIN)])
    hours = TraceHours(tmp_path)
    for number in range(5):
        hours.counted(BEGIN, BEGIN + HOUR, {f"org{number}"})
    assert len(hours._known._values) == 2


def test_a_file_of_another_program_has_no_rows(tmp_path):
    with contextlib.closing(apsw.Connection(str(tmp_path / "2026-11-24.0.db"))) as connection:
        connection.execute("CREATE TABLE trace (something)")
    assert TraceHours(tmp_path).counted(BEGIN, BEGIN + HOUR, None) == {}
