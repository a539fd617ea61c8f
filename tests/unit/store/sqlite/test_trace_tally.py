from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

import apsw
import pytest

from gatepost.mail.model.trace_event import TraceEvent
from gatepost.store.sqlite import trace_tally as module
from gatepost.store.sqlite.message_trace import SqliteTrace
from gatepost.store.sqlite.trace import TraceWriter, write_events
from gatepost.store.sqlite.trace_files import TraceFile
from gatepost.store.sqlite.trace_tally import tally_file
from gatepost.store.trace import HopKind, tally_days

NOON = datetime(2025, 11, 24, 12, tzinfo=UTC).timestamp()
DAY = 86_400.0


def event(at=NOON, event="SEND", sender="ann@Contoso.example", recipient="bob@Partner.example", **more):
    return TraceEvent(at, event, "01", "contoso", "originating", "s", sender, recipient, **more)


FULL = {
    "connector": "out",
    "requirement": "authenticated(dane)",
    "achieved": "dnssec/authenticated",
    "tls_version": "TLSv1.3",
    "tls_group": "X25519MLKEM768",
    "peer_host": "MX.partner.example",
    "result_type": "",
    "tls": {
        "suite": "TLS_AES_256_GCM_SHA384",
        "chain": "trusted",
        "certificate": {"names": ["a.example", "b.example"]},
    },
    "detail": {"requirement_sources": ["dane:mx", "connector:out"]},
}


@pytest.fixture
def trace(tmp_path):
    rows = [
        event(**FULL),
        event(**FULL),
        event(recipient='"x@y"@other.example'),
        event(NOON + DAY, "RECEIVE", "eve@E.example"),
    ]
    write_events(tmp_path, "0", rows)
    failed = event(NOON, "TLSFAIL", "", "", peer_host="a name that the client made up")
    write_events(tmp_path, "1", [event(NOON, "REFUSE", "", "bob@contoso.example"), failed, event()])
    return tmp_path


event_kind = HopKind("contoso", "originating", "SEND", "", "partner.example", *[""] * 10)
full_kind = HopKind(
    "contoso", "originating", "SEND", "out", "partner.example", "authenticated(dane)", '["dane:mx","connector:out"]',
    "dnssec/authenticated", "TLSv1.3", "X25519MLKEM768", "TLS_AES_256_GCM_SHA384", "trusted", "mx.partner.example",
    '["a.example","b.example"]', "",
)  # fmt: skip


def whole(directory, first="2025-11-01", last="2025-11-30", unreadable=None):
    found: dict[str, Counter[HopKind]] = {}
    for day, kinds in tally_days(SqliteTrace(directory), first, last, unreadable):
        found[day] = found.get(day, Counter()) + kinds
    return found


EXPECTED = {
    "2025-11-24": Counter(
        {
            full_kind: 2,
            event_kind: 1,
            event_kind._replace(partner="other.example"): 1,
            event_kind._replace(event="REFUSE", partner=""): 1,
        }
    ),
    "2025-11-25": Counter({event_kind._replace(event="RECEIVE", partner="e.example"): 1}),
}


def test_rows_are_counted_by_what_they_have_in_common(trace):
    assert whole(trace) == EXPECTED
    assert whole(trace, "2025-11-25") == {"2025-11-25": EXPECTED["2025-11-25"]}
    assert whole(trace, last="2025-11-23") == {}
    assert whole(trace / "nowhere") == {}
    assert not list(trace.glob("*.tally"))  # hot files change


def test_what_is_sealed_is_counted_once_unless_it_grows(trace, monkeypatch):
    TraceWriter(trace, "0").close()
    assert whole(trace) == EXPECTED
    assert sorted(path.name for path in trace.glob("*.tally")) == ["2025-11-24.0.tally", "2025-11-25.0.tally"]
    counted = []
    real = module._count
    monkeypatch.setattr(
        module, "_count", lambda connection, *rows: counted.append(connection) or real(connection, *rows)
    )
    assert whole(trace) == EXPECTED
    assert len(counted) == 1  # the hot file of writer 1
    write_events(trace, "0", [event()])
    assert whole(trace)["2025-11-24"][event_kind] == 2
    assert whole(trace)["2025-11-24"][event_kind] == 2


@pytest.mark.parametrize("damage", [b"", b"\x93", b"no count", b"\x93\x63\x01\x90"])
def test_a_damaged_or_foreign_count_is_made_anew(trace, damage):
    TraceWriter(trace, "0").close()
    whole(trace)
    (trace / "2025-11-24.0.tally").write_bytes(damage)
    assert whole(trace) == EXPECTED


def test_who_may_only_read_counts_each_time(trace, monkeypatch):
    TraceWriter(trace, "0").close()

    def refused(*_args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(module.os, "open", refused)
    assert whole(trace) == EXPECTED
    assert not list(trace.glob("*.tally"))


def test_files_that_cannot_be_counted_are_named_or_left_out(trace, caplog):
    (trace / "2025-11-26.0.db").write_bytes(b"this is not a database" * 1000)
    connection = apsw.Connection(str(trace / "2025-11-27.0.db"))
    connection.execute("CREATE TABLE trace (at, event)")
    connection.close()
    unreadable: list[str] = []
    found = whole(trace, unreadable=unreadable)
    assert unreadable == ["2025-11-26.0.db"]
    assert found["2025-11-27"] == Counter()
    assert "cannot be counted" in caplog.text
    assert whole(trace)["2025-11-24"] == EXPECTED["2025-11-24"]


def test_counting_goes_on_where_it_stopped(tmp_path):
    file = TraceFile("2025-11-24", "0")
    write_events(tmp_path, "0", [event(), event()])
    assert tally_file(tmp_path, file) == (2, Counter({event_kind: 2}))
    assert tally_file(tmp_path, file, 2) == (2, Counter())
    write_events(tmp_path, "0", [event(), event(event="REFUSE", sender="")])
    assert tally_file(tmp_path, file, 2) == (
        4,
        Counter({event_kind: 1, event_kind._replace(event="REFUSE", partner=""): 1}),
    )
    assert tally_file(tmp_path, file, 9)[1].total() == 4  # another file of that name
