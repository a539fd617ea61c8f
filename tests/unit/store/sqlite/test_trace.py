from __future__ import annotations

import contextlib
import time
from datetime import UTC, datetime
from itertools import batched

import apsw
import pytest

from gatepost.mail.model.trace_event import TraceEvent
from gatepost.store import buffer
from gatepost.store.interface import StoreFailure, TraceFilter
from gatepost.store.sqlite import schema
from gatepost.store.sqlite import trace as module
from gatepost.store.sqlite.message_trace import search_trace
from gatepost.store.sqlite.trace import TraceWriter, newest_file, open_part, write_events
from gatepost.store.sqlite.trace_files import day_of, trace_files
from gatepost.store.trace import COLUMNS

NOON = datetime(2025, 11, 24, 12, tzinfo=UTC).timestamp()


def event(at=NOON, message="0" * 16, **fields):
    fields = {
        "event": "SEND",
        "organization": "contoso",
        "direction": "originating",
        "session": "s1",
        "sender": "bob@contoso.example",
        "recipient": "ann@partner.example",
        **fields,
    }
    return TraceEvent(at=at, message=message, **fields)


def wait_for(condition, seconds=5.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def columns(path):
    connection = apsw.Connection(str(path))
    result = connection.execute("SELECT count(*) FROM trace").get, connection.pragma("user_version")
    indexes = [row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'index'")]
    mode = connection.pragma("journal_mode")
    connection.close()
    return *result, indexes, mode


def test_a_file_that_takes_rows_keeps_few_of_them_in_memory(tmp_path):
    part = open_part(tmp_path, newest_file(tmp_path, day_of(NOON), "0"))
    for some in batched((event(message=f"{number:016x}", detail={"text": "x" * 1000}) for number in range(5000)), 500):
        part.insert(list(some))
    used, _highest = part.connection.status(apsw.SQLITE_DBSTATUS_CACHE_USED)
    size = part.connection.pragma("page_count") * part.connection.pragma("page_size")
    part.connection.close()
    assert size > 5 << 20
    assert used < 3 << 20


def test_every_field_comes_back(tmp_path):
    full = event(
        message_id="<1@contoso.example>",
        subject="Grüße",
        size=5,
        peer_host="mx.partner.example",
        peer_address="192.0.2.1",
        connector="out",
        requirement="authenticated(*.partner.example)",
        achieved="none/encrypted",
        tls_version="TLSv1.3",
        tls_group="X25519MLKEM768",
        tls={"suite": "TLS_AES_256_GCM_SHA384", "chain": ["a", "b"]},
        reply="450 4.7.320 SubjectMismatch",
        result_type="certificate-host-mismatch",
        detail={"reasons": ["x"], "at": object},
    )
    write_events(tmp_path, "0", [full])
    (found,) = search_trace(tmp_path, TraceFilter())
    assert found.detail == {"reasons": ["x"], "at": "<class 'object'>"}
    full.detail = found.detail
    assert found == full


def test_days_are_utc(tmp_path):
    midnight = datetime(2025, 11, 25, tzinfo=UTC).timestamp()
    assert day_of(midnight - 0.001) == "2025-11-24"
    write_events(tmp_path, "3", [event(midnight - 1), event(midnight)])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2025-11-24.3.db", "2025-11-25.3.db"]


def test_rows_are_on_disk_soon_after_a_pause_or_at_500(tmp_path, monkeypatch):
    writer = TraceWriter(tmp_path, "0", interval=60)
    writer.add([event(time.time())])
    wait_for(lambda: len(search_trace(tmp_path, TraceFilter())) == 1)
    writer.close()
    monkeypatch.setattr(buffer, "_SOON", 60)
    writer = TraceWriter(tmp_path, "0", interval=60)
    writer.add([event(time.time())] * 499)
    time.sleep(0.05)
    assert len(search_trace(tmp_path, TraceFilter(limit=1000))) == 1
    writer.add([event(time.time())])
    wait_for(lambda: len(search_trace(tmp_path, TraceFilter(limit=1000))) == 501)
    writer.add([event(time.time())])
    writer.close()
    assert len(search_trace(tmp_path, TraceFilter(limit=1000))) == 502


def test_a_hot_file_has_one_index_and_a_sealed_one_all(whole_day, tmp_path):
    today = time.time()
    writer = TraceWriter(tmp_path, "0", interval=60)
    writer.add([event(NOON), event(today)])
    writer.close()
    writer = TraceWriter(tmp_path, "0", interval=60)  # a later day would do it too
    writer.close()
    count, version, indexes, mode = columns(tmp_path / "2025-11-24.0.db")
    assert (count, version, mode) == (1, 5, "delete")
    assert len(indexes) == 19
    assert sorted(path.name for path in tmp_path.glob("2025-11-24*")) == ["2025-11-24.0.db"]
    count, version, indexes, _ = columns(tmp_path / f"{day_of(today)}.0.db")
    assert (count, version, indexes) == (1, 0, ["by_message"])


def test_a_full_file_is_sealed_and_the_next_one_begun(whole_day, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "FULL", 3)
    now = time.time()
    for round_ in range(2):  # and a restart goes on in the last one
        writer = TraceWriter(tmp_path, "0", interval=60)
        for number in range(4):
            writer.add([event(now, str(round_ * 4 + number))])
            writer._buffer._due.set()
            wait_for(lambda many=round_ * 4 + number + 1: len(search_trace(tmp_path, TraceFilter())) == many)
        writer.close()
    names = [file.name.partition(".")[2] for file in trace_files(tmp_path)]
    assert names == ["0.db", "0.0002.db", "0.0003.db"]
    assert [columns(tmp_path / file.name)[:2] for file in trace_files(tmp_path)] == [(3, 5), (3, 5), (2, 0)]
    found = search_trace(tmp_path, TraceFilter())
    assert sorted(row.message for row in found) == [str(number) for number in range(8)]


def test_what_a_crash_left_full_but_hot_is_sealed(tmp_path):
    now = time.time()
    write_events(tmp_path, "0", [event(now)])
    first = trace_files(tmp_path)[0]
    (tmp_path / first.next.name).write_bytes((tmp_path / first.name).read_bytes())
    TraceWriter(tmp_path, "0").close()
    assert columns(tmp_path / first.name)[1] == 5
    assert columns(tmp_path / first.next.name)[1] == 0


def test_what_an_earlier_version_sealed_is_looked_up_as_it_is_and_sealed_anew(tmp_path):
    write_events(tmp_path, "0", [event(NOON)])
    TraceWriter(tmp_path, "0").close()
    with contextlib.closing(apsw.Connection(str(tmp_path / "2025-11-24.0.db"))) as connection:
        connection.execute("DROP INDEX by_trial; DROP INDEX by_handover; PRAGMA user_version = 3")
        assert module.is_sealed(connection)
    TraceWriter(tmp_path, "0").close()
    _, version, indexes, _ = columns(tmp_path / "2025-11-24.0.db")
    assert version == 5
    assert {"by_trial", "by_handover"} <= set(indexes)


def test_a_late_row_finds_its_sealed_day(tmp_path):
    for _ in range(2):
        writer = TraceWriter(tmp_path, "0", interval=60)
        writer.add([event(NOON)])
        writer.close()
    assert columns(tmp_path / "2025-11-24.0.db")[0] == 2


def test_what_a_crash_left_hot_is_sealed_at_the_next_start(tmp_path):
    write_events(tmp_path, "0", [event(NOON)])
    write_events(tmp_path, "1", [event(NOON)])
    TraceWriter(tmp_path, "0").close()
    assert columns(tmp_path / "2025-11-24.0.db")[1] == 5
    assert columns(tmp_path / "2025-11-24.1.db")[1] == 0


def test_a_sealed_file_is_one_again_after_a_crash(tmp_path):
    """The kill came when it had its indexes, before its write-ahead log was removed."""
    write_events(tmp_path, "0", [event(NOON)])
    TraceWriter(tmp_path, "0").close()
    path = tmp_path / "2025-11-24.0.db"
    with contextlib.closing(apsw.Connection(str(path))) as left:
        left.execute("PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; UPDATE trace SET size = 7").fetchall()
        for name in (path.name, f"{path.name}-wal"):
            (tmp_path / "copies").mkdir(exist_ok=True)
            (tmp_path / "copies" / name).write_bytes((tmp_path / name).read_bytes())
    TraceWriter(tmp_path / "copies", "0").close()
    assert [file.name for file in (tmp_path / "copies").iterdir()] == [path.name]
    assert [row.size for row in search_trace(tmp_path / "copies", TraceFilter())] == [7]


def test_a_row_that_cannot_be_written_does_not_take_the_others_along(tmp_path, caplog):
    write_events(tmp_path, "0", [event(), event(sender="\ud800"), event(detail={"a": "\ud800"}), event()])
    assert len(search_trace(tmp_path, TraceFilter())) == 2
    assert caplog.text.count("is left out") == 2


def test_rows_wait_while_the_disk_fails_and_are_bounded(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(buffer, "_MOST", 50)
    directory = tmp_path / "trace"
    directory.write_text("in the way")
    writer = TraceWriter(directory, "0", interval=0.02)
    for _ in range(10):
        writer.add([event(time.time())] * 10)
    wait_for(lambda: writer.trouble)
    assert "the message trace" in caplog.text
    directory.unlink()
    wait_for(lambda: directory.is_dir() and len(search_trace(directory, TraceFilter(limit=1000))) == 50)
    wait_for(lambda: not writer.trouble)
    writer.close()
    assert "50 rows were dropped" in caplog.text
    assert writer.dropped == 50


def test_few_rows_are_tried_while_the_disk_fails_and_all_afterwards(tmp_path, monkeypatch):
    insert, sizes = module.TraceFilePart.insert, []

    def fails(part, events):
        sizes.append(len(events))
        if len(sizes) < 3:
            raise OSError("no space left on device")
        insert(part, events)

    monkeypatch.setattr(module.TraceFilePart, "insert", fails)
    writer, few = TraceWriter(tmp_path, "0", interval=0.02), buffer.FEW
    writer.add([event(time.time())] * 3 * few)
    wait_for(lambda: len(sizes) >= 4)
    writer.close()
    assert sizes == [3 * few, few, few, 2 * few]
    assert len(search_trace(tmp_path, TraceFilter(limit=10_000))) == 3 * few
    assert not writer.trouble


def test_a_file_of_an_older_version_learns_new_columns(tmp_path):
    path = tmp_path / "2025-11-24.0.db"
    connection = apsw.Connection(str(path))
    old = [name for name in COLUMNS if name not in {"tls_group", "detail"}]
    connection.execute(f"CREATE TABLE trace ({', '.join(old)})")
    values = dict.fromkeys(old, "") | {"at": NOON, "size": 1, "tls": "{}", "event": "FAIL"}
    connection.execute(f"INSERT INTO trace VALUES ({', '.join('?' * len(old))})", list(values.values()))  # noqa: S608
    connection.close()
    (found,) = search_trace(tmp_path, TraceFilter())
    assert (found.event, found.tls_group, found.detail) == ("FAIL", "", {})
    write_events(tmp_path, "0", [event(tls_group="X25519")])
    assert sorted(found.tls_group for found in search_trace(tmp_path, TraceFilter())) == ["", "X25519"]


def test_a_file_that_is_no_database(tmp_path, caplog):
    (tmp_path / "2025-11-24.0.db").write_bytes(b"this is not a database" * 1000)
    write_events(tmp_path, "1", [event()])
    assert len(search_trace(tmp_path, TraceFilter())) == 1
    assert "cannot be read" in caplog.text
    with pytest.raises(StoreFailure):
        write_events(tmp_path, "0", [event()])


def test_what_cannot_be_written_until_the_end_is_told(tmp_path, caplog):
    (tmp_path / "trace").write_text("in the way")
    writer = TraceWriter(tmp_path / "trace", "0", interval=0.01)
    writer.add([event(time.time())] * 3)
    wait_for(lambda: "the message trace" in caplog.text)
    writer.close()
    assert "3 rows could not be written before the stop, and are lost" in caplog.text


def test_a_file_whose_table_is_another_ones(tmp_path):
    with contextlib.closing(apsw.Connection(str(tmp_path / "2025-11-24.0.db"))) as connection:
        connection.execute("CREATE VIEW trace AS SELECT 1 AS at")
    with pytest.raises(StoreFailure, match="trace of 2025-11-24: "):
        write_events(tmp_path, "0", [event()])


def test_a_file_that_another_process_keeps_busy(tmp_path, monkeypatch):
    write_events(tmp_path, "0", [event()])
    monkeypatch.setattr(schema, "PATIENCE_MS", 50)
    insert = module.TraceFilePart.insert
    with contextlib.closing(apsw.Connection(str(tmp_path / "2025-11-24.0.db"))) as other:

        def busy(part, events):
            other.execute("BEGIN IMMEDIATE")
            insert(part, events)

        monkeypatch.setattr(module.TraceFilePart, "insert", busy)
        with pytest.raises(StoreFailure, match=r"trace of 2025-11-24: .*locked"):
            write_events(tmp_path, "0", [event()])


def test_a_writer_keeps_subjects_unless_it_is_told_not_to(tmp_path):
    for subjects in (True, False):
        writer = TraceWriter(tmp_path, "0", subjects=subjects)
        writer.add([event(subject="Dismissal of Kim")])
        writer.close()
    assert sorted(one.subject for one in search_trace(tmp_path, TraceFilter())) == ["", "Dismissal of Kim"]
