from __future__ import annotations

from contextlib import closing

import apsw
import pytest

from gatepost.mail.model.trace_event import TraceEvent
from gatepost.store.move_parts import MoveRecord, copy_part, digest_of
from gatepost.store.sqlite import move_evidence as module
from gatepost.store.sqlite.move_evidence import TraceRowsPart
from gatepost.store.sqlite.trace import is_sealed, write_events
from gatepost.store.sqlite.trace_files import trace_files
from gatepost.times import day_text

DAY = 86_400.0
START = 1_700_000_000.0


def nothing(_done):
    pass


def event(at, message="m", **fields):
    return TraceEvent(at=at, event="RECEIVE", message=message, organization="contoso", direction="in", session="s",
                      sender="a@b.example", recipient="c@d.example", **fields)  # fmt: skip


@pytest.fixture
def sides(tmp_path):
    source = tmp_path / "a"
    write_events(source, "0", [event(START + number) for number in range(30)])
    write_events(source, "0", [event(START + DAY)])
    write_events(source, "admin", [event(START, "nul\0", detail={"reason": "a\0b"})])
    return source, tmp_path / "b"


def test_rows_move_and_days_that_are_over_are_indexed(sides, monkeypatch):
    monkeypatch.setattr(module, "FULL", 12)
    source, target = map(TraceRowsPart, sides)
    assert source.count() == 32
    copy_part(source, target, nothing)
    copy_part(source, target, nothing)
    assert target.count() == 32
    assert digest_of(source, nothing) == digest_of(target, nothing)
    files = trace_files(sides[1])
    assert [(file.day, file.writer, file.number) for file in files] == [
        (day_text(START), "0", 1),
        (day_text(START), "0", 2),
        (day_text(START), "0", 3),
        (day_text(START), "admin", 1),
        (day_text(START + DAY), "0", 1),
    ]
    with closing(apsw.Connection(str(sides[1] / files[0].name))) as connection:
        assert is_sealed(connection)
    target.clear()
    assert target.count() == 0
    assert not [path for path in sides[1].iterdir() if not path.name.endswith("-wal")]


def test_a_copy_goes_on_behind_what_is_there(sides):
    source, target = map(TraceRowsPart, sides)
    records = list(source.records())
    target.add(records[:10])
    assert target.present([record.key for record in records[:20]]) == {record.key for record in records[:10]}
    copy_part(source, target, nothing)
    assert digest_of(source, nothing) == digest_of(target, nothing)


def test_a_day_of_today_is_left_as_it_is(tmp_path):
    day = day_text(4_000_000_000.0)
    record = next(TraceRowsPart(tmp_path / "none").records(), None)
    assert record is None
    part = TraceRowsPart(tmp_path / "a")
    write_events(tmp_path / "c", "0", [event(4_000_000_000.0)])
    copy_part(TraceRowsPart(tmp_path / "c"), part, nothing)
    with closing(apsw.Connection(str(tmp_path / "a" / f"{day}.0.db"))) as connection:
        assert not is_sealed(connection)


def test_files_of_an_older_version_and_empty_ones(tmp_path):
    with closing(apsw.Connection(str(tmp_path / "2026-01-01.0.db"))) as connection:
        connection.execute("CREATE TABLE trace (at REAL, event TEXT)")
        connection.execute("INSERT INTO trace VALUES (1.5, 'SEND')")
    apsw.Connection(str(tmp_path / "2026-01-02.0.db")).close()
    (tmp_path / "2026-01-02.0.db").touch()
    part = TraceRowsPart(tmp_path)
    assert part.count() == 1
    (record,) = part.records()
    assert isinstance(record, MoveRecord)
    assert record.key == ("2026-01-01", "0", 1)
    assert dict(zip(module.COLUMNS, record.values, strict=True)) | {"tls": 0} == {
        **dict.fromkeys(module.COLUMNS, ""),
        "at": 1.5,
        "event": "SEND",
        "size": 0,
        "tls": 0,
        "detail": "{}",
    }
