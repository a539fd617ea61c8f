from __future__ import annotations

import contextlib
import shutil
import time
from datetime import UTC, datetime
from itertools import product

import apsw
import msgspec
import pytest

from gatepost.analysis.reports.tls import Protection, protection_of
from gatepost.decoding import from_json
from gatepost.mail.model.trace_event import TraceEvent
from gatepost.store.interface import TraceFilter
from gatepost.store.sqlite import message_trace
from gatepost.store.sqlite import trace as trace_module
from gatepost.store.sqlite.message_trace import scan_trace, search_trace, trace_page
from gatepost.store.sqlite.schema import open_for_reading
from gatepost.store.sqlite.trace import TraceWriter, is_sealed, is_whole, write_events
from gatepost.store.sqlite.trace_conditions import Conditions
from gatepost.store.text_pattern import TextPattern
from gatepost.store.trace import COLUMNS, TEXT_COLUMNS, Among, HopKind, TracePlace, trace_event

NOON = datetime(2025, 11, 24, 12, tzinfo=UTC).timestamp()
DAY = 86_400.0


def event(
    at, event="SEND", message="", session="", sender="bob@contoso.example", recipient="ann@partner.example", **more
):
    return TraceEvent(at, event, message, more.pop("organization", "contoso"), "", session, sender, recipient, **more)


# Searches change nothing: most tests look at the same files.


@pytest.fixture(scope="module")
def trace(tmp_path_factory):
    """Three days, two workers and the administrators' own file; the first day sealed."""
    folder = tmp_path_factory.mktemp("trace")
    write_events(
        folder,
        "0",
        [
            event(NOON, "RECEIVE", "0000000000000001", "sess-a", message_id="<One@contoso.example>"),
            event(NOON + 1, "SEND", "0000000000000001", "sess-a", connector="out"),
        ],
    )
    write_events(folder, "1", [event(NOON + 2, "REFUSE", "", "sess-b", "eve@evil.example", "joe@contoso.example")])
    TraceWriter(folder, "0").close()
    write_events(folder, "0", [event(NOON + DAY, "DEFER", "000000000000000a", "sess-c", "Ann@PARTNER.example")])
    write_events(folder, "1", [event(NOON + DAY + 5, "SEND", "000000000000000b", "sess-d", organization="fabrikam")])
    write_events(folder, "admin", [event(NOON + 2 * DAY, "HOLD", "000000000000000a", "sess-c", "Ann@PARTNER.example")])
    return folder


@pytest.fixture
def own_trace(trace, tmp_path):
    """A copy of it that a test may change."""
    return shutil.copytree(trace, tmp_path / "trace")


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


MANY = [
    event(NOON, "RECEIVE", "01", "s1", "Bob@Contoso.example", "ann@partner.example", achieved="none"),
    event(NOON + 1, "SEND", "01", "s1", "bob@contoso.example", "ann@PARTNER.example", achieved="none/none",
          peer_host="mx.partner.example", peer_address="192.0.2.1:25", result_type="starttls-not-supported",
          detail={"requirement_sources": ["rule:vip"]}),
    event(NOON + 2, "SEND", "02", "s2", "eve@partner.example", '"a@b"@partner.example', achieved="dnssec/authenticated",
          tls_version="TLSv1.3", tls_group="X25519MLKEM768", peer_address="[2001:db8::1]:25", connector="Bank"),
    event(NOON + 3, "SEND", "03", "s3", "", "x@my.partner.example", achieved="none/authenticated",
          tls_version="TLSv1.2", tls_group="secp256r1", peer_address="192.0.2.10:25",
          detail={"would_refuse_connector": "bank"}),
    event(NOON + 4, "REFUSE", "", "s4", "me@evil.example", "joe@contoso.example", achieved="authenticated",
          tls_version="TLSv1.3", tls_group="X25519", peer_address="192.0.2.1"),
]  # fmt: skip


@pytest.fixture(scope="module")
def written_many(tmp_path_factory):
    """The rows in one file without indexes, in one with all of them, and in several."""
    folders = {kind: tmp_path_factory.mktemp(kind) for kind in ("hot", "sealed", "parts")}
    write_events(folders["hot"], "0", MANY)
    write_events(folders["sealed"], "0", MANY)
    TraceWriter(folders["sealed"], "0").close()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trace_module, "FULL", 2)
        writer = TraceWriter(folders["parts"], "0", interval=60)
        for number, one in enumerate(MANY, 1):
            writer.add([one])
            writer._buffer._due.set()
            end = time.monotonic() + 20
            while len(search_trace(folders["parts"], TraceFilter())) < number:
                assert time.monotonic() < end
                time.sleep(0.01)
        writer.close()
    return folders


@pytest.fixture(params=["hot", "sealed", "parts"])
def many(request, written_many):
    return written_many[request.param]


@pytest.mark.parametrize(
    ("wanted", "rows"),
    [
        ({"domain": "partner.example"}, [2, 1, 0]),
        ({"domain": "Contoso.Example"}, [4, 1, 0]),
        ({"domain": "partner.example", "event": "SEND"}, [2, 1]),
        ({"domain": "partner.example", "limit": 1}, [2]),
        ({"domain": "b"}, []),
        ({"recipient": "@partner.example"}, [2, 1, 0]),
        ({"sender": "@PARTNER.example", "domain": "partner.example"}, [2]),
        ({"sender": "@my.partner.example"}, []),
        ({"achieved": "none"}, [1, 0]),
        ({"achieved": "authenticated"}, [4, 3, 2]),
        ({"achieved": "dnssec/authenticated"}, [2]),
        ({"achieved": "none/none"}, [1]),
        ({"achieved": "mta-sts/authenticated"}, []),
        ({"tls_version": "tlsv1.3"}, [4, 2]),
        ({"tls_version": "TLSv1.3", "tls_group": "x25519mlkem768"}, [2]),
        ({"tls_group": "secp256r1"}, [3]),
        ({"result_type": "starttls-not-supported"}, [1]),
        ({"connector": "bank"}, [2]),
        ({"peer": "192.0.2.1"}, [4, 1]),
        ({"peer": "mx.partner.example"}, [1]),
        ({"peer": "2001:db8::1"}, [2]),
        ({"peer": "192.0.2.1:25"}, [1]),
        ({"peer": "[2001:db8::1]:25"}, [2]),
        ({"peer": "192.0.2.1", "domain": "contoso.example", "event": "SEND"}, [1]),
        ({"peer": "192.0.2.%"}, []),
        ({"since": NOON + 1, "until": NOON + 3, "domain": "partner.example"}, [2, 1]),
        ({"message": "01", "sender": "bob@contoso.example"}, [1, 0]),
    ],
)
def test_every_filter_with_and_without_indexes(many, wanted, rows):
    expected = [MANY[number] for number in rows]
    assert search_trace(many, TraceFilter(**wanted)) == expected
    if "limit" not in wanted:
        columns = ("at", "event")
        assert [row[0] for row in scan_trace(many, TraceFilter(**wanted), columns)] == [one.at for one in expected]


TEXTS = [
    event(NOON, "RECEIVE", "01", "s1", "ann.lee@contoso.example", "bob@partner.example",
          message_id="<Q1@contoso.example>", subject="Re: Öppettider for the OFFICE"),
    event(NOON + 1, "SEND", "01", "s1", "ann.lee@contoso.example", "bob@partner.example",
          message_id="<Q1@contoso.example>", subject="Re: Öppettider for the OFFICE"),
    event(NOON + 2, "SEND", "01", "s1", "ann.lee@contoso.example", "eve@other.example",
          message_id="<Q1@contoso.example>", subject="Re: Öppettider for the OFFICE"),
    event(NOON + 3, "SEND", "02", "s2", "bob@partner.example", "ann.lee@contoso.example",
          subject="Счет 50% for a_b", organization="fabrikam"),
    event(NOON + 4, "REFUSE", "", "s3", "me@evil.example", "joe@contoso.example", organization="Contoso"),
    event(NOON + 5, "RECEIVE", "03", "s4", "", "joe*x@contoso.example", subject="A" + "a" * 200),
]  # fmt: skip


@pytest.fixture(scope="module")
def written_texts(tmp_path_factory):
    """The rows in a file without texts, in one with them, and in one of many blocks."""
    folders = {kind: tmp_path_factory.mktemp(kind) for kind in ("hot", "sealed", "blocks")}
    for folder in folders.values():
        write_events(folder, "0", TEXTS)
    TraceWriter(folders["sealed"], "0").close()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trace_module, "_ROWS", 2)
        TraceWriter(folders["blocks"], "0").close()
    return folders


@pytest.fixture(params=["hot", "sealed", "blocks"])
def texts(request, written_texts, monkeypatch):
    if request.param == "blocks":
        monkeypatch.setattr(trace_module, "_ROWS", 2)
    return written_texts[request.param]


def parts(*words):
    return tuple(TextPattern(TEXT_COLUMNS, word) for word in words)


@pytest.mark.parametrize(
    ("wanted", "rows"),
    [
        ({"patterns": parts("office")}, [2, 1, 0]),
        ({"patterns": parts("öppet")}, [2, 1, 0]),
        ({"patterns": parts("O\u0308PPET")}, [2, 1, 0]),
        ({"patterns": parts("СЧЕТ")}, [3]),
        ({"patterns": parts("ann.lee", "partner")}, [3, 1, 0]),
        ({"patterns": parts("ann.lee", "eve@")}, [2]),
        ({"patterns": parts("q1@contoso")}, [2, 1, 0]),
        ({"patterns": parts("re:*office")}, [2, 1, 0]),
        ({"patterns": parts("office*re:")}, []),
        ({"patterns": parts("example\tbob")}, []),
        ({"patterns": parts("50%")}, [3]),
        ({"patterns": parts("a_b")}, [3]),
        ({"patterns": parts("a-b")}, []),
        ({"patterns": parts("office"), "event": "SEND"}, [2, 1]),
        ({"patterns": parts("office"), "since": NOON + 1, "until": NOON + 1}, [1]),
        ({"patterns": parts("office"), "message": "02"}, []),
        ({"patterns": (TextPattern(("recipient",), "bob*", whole=True),)}, [1, 0]),
        ({"patterns": (TextPattern(("recipient",), "*@CONTOSO.example", whole=True),)}, [5, 4, 3]),
        ({"patterns": (TextPattern(("recipient",), "ontoso.example", whole=True),)}, []),
        ({"patterns": (TextPattern(("recipient",), "joe*x@contoso.example", whole=True),)}, [5]),
        ({"patterns": (TextPattern(("sender", "recipient"), "bob@*", whole=True),)}, [3, 1, 0]),
        ({"patterns": (TextPattern(("subject",), "ann.lee"),)}, []),
        ({"patterns": parts("contoso"), "organizations": frozenset({"contoso"})}, [5, 2, 1, 0]),
        ({"patterns": parts("contoso"), "organizations": frozenset({"fabrikam", "nobody"})}, [3]),
        ({"patterns": parts("contoso"), "organizations": frozenset()}, []),
        ({"patterns": parts("*".join("a" * 30) + "b")}, []),
    ],
)
def test_parts_of_texts_with_and_without_an_index(texts, wanted, rows):
    assert search_trace(texts, TraceFilter(**wanted)) == [TEXTS[number] for number in rows]
    for limit in (1, 2):
        assert [one for page in pages(texts, wanted, limit) for one in page] == [TEXTS[number] for number in rows]
        found = [one for page in pages(texts, wanted | {"oldest_first": True}, limit) for one in page]
        assert found == [TEXTS[number] for number in rows[::-1]]


def test_a_search_of_one_organization_reads_no_texts_of_others(texts):
    wanted = TraceFilter(patterns=parts("office"), organizations=frozenset({"fabrikam"}))
    read = []
    with contextlib.closing(open_for_reading(next(texts.glob("*.db")))) as connection:
        if not is_whole(connection):
            pytest.skip("a file without texts")
        connection.set_exec_trace(lambda *_: True)
        connection.set_row_trace(lambda _, row: read.append(row) or row)
        assert list(trace_module.rows_with(connection, wanted.patterns, wanted.organizations, 0)) == []
    assert len(read) == 1
    assert b"office" not in read[0][-1]


def test_a_page_that_takes_long_ends_at_a_day_and_goes_on_there(tmp_path, monkeypatch):
    for day in range(4):
        write_events(tmp_path, "0", [event(NOON + day * DAY, message=f"0{day}", subject=f"report {day}")])
    monkeypatch.setattr(message_trace, "PATIENCE", -1.0)
    wanted = TraceFilter(patterns=parts("report 0"), limit=9)
    found, place, looks = [], None, 0
    while looks == 0 or place is not None:
        rows, place = trace_page(tmp_path, wanted, place, NOON + 9 * DAY)
        found += rows
        looks += 1
    assert [one.message for one in found] == ["00"]
    assert looks == 4


def test_a_file_of_the_version_before_is_searched_and_gets_its_texts_at_the_next_start(tmp_path):
    write_events(tmp_path, "0", TEXTS)
    TraceWriter(tmp_path, "0").close()
    path = next(tmp_path.glob("*.db"))
    with contextlib.closing(apsw.Connection(str(path))) as connection:
        connection.execute("DROP TABLE texts; PRAGMA user_version = 4")
    wanted = TraceFilter(patterns=parts("office"))
    assert search_trace(tmp_path, wanted) == TEXTS[2::-1]
    TraceWriter(tmp_path, "0").close()
    with contextlib.closing(open_for_reading(path)) as connection:
        assert is_whole(connection)
        assert connection.execute("SELECT count(*) FROM texts").get == 3
    assert search_trace(tmp_path, wanted) == TEXTS[2::-1]


@pytest.mark.parametrize(
    ("among", "rows"),
    [
        (Among(), [4, 3, 2, 1, 0]),
        (Among("BANK"), [2]),
        (Among("bank", tried=True), [3, 2]),
        (Among(recipients=("partner.example",)), [2, 1, 0]),
        (Among(recipients=("partner.example", "contoso.example")), [4, 2, 1, 0]),
        (Among(recipients=("nowhere.example",)), []),
        (Among(holding='"rule:vip"'), [1]),
        (Among("bank", holding='"rule:vip"'), []),
    ],
)
def test_few_of_many_rows_are_looked_up(many, among, rows):
    found = scan_trace(many, TraceFilter(), ("at", "event"), among=among)
    assert [row[0] for row in found] == [MANY[number].at for number in rows]


@pytest.mark.parametrize("many", ["sealed", "parts"], indirect=True)
@pytest.mark.parametrize(
    ("where", "index"),
    [
        (
            Conditions(TraceFilter(since=1.0), among=Among("nobody", tried=True)),
            {"by_connector", "by_event", "by_trial"},
        ),
        (Conditions(TraceFilter(), among=Among(recipients=("a.example",))), {"by_recipient_domain"}),
        (Conditions(TraceFilter(message="01"), elsewhere=True), {"by_handover"}),
        (Conditions(TraceFilter(session="s1", since=1.0), elsewhere=True), {"by_handover"}),
    ],
)
def test_what_few_rows_have_is_looked_up_in_the_index_of_those(many, where, index):
    explain = "EXPLAIN QUERY PLAN SELECT * FROM trace"
    with contextlib.closing(open_for_reading(many / "2025-11-24.0.db")) as connection:
        plans = [
            connection.execute(f"{explain} WHERE {term} ORDER BY rowid DESC", values).fetchone()
            for term, values in where.indexed
        ]
    assert {plan[-1].partition(" INDEX ")[2].split()[0] for plan in plans} == index


@pytest.mark.parametrize("many", ["sealed", "parts"], indirect=True)
@pytest.mark.parametrize("wanted", [{"domain": "nowhere.example"}, {"achieved": "none"}, {"tls_group": "X"},
                                    {"sender": "@nowhere.example"}, {"peer": "192.0.2.77"},
                                    {"session": "s9"}, {"event": "DROP"}])  # fmt: skip
def test_a_sealed_file_is_never_read_whole_for_a_rare_value(many, wanted):
    plans = []
    where = Conditions(TraceFilter(**wanted, tls_version="TLSv1.3" if "tls_group" not in wanted else ""))
    connection = open_for_reading(many / "2025-11-24.0.db")
    assert is_sealed(connection)
    for term, values in where.indexed:
        plans += connection.execute(f"EXPLAIN QUERY PLAN SELECT * FROM trace WHERE {term} ORDER BY rowid DESC", values)  # noqa: S608
    connection.close()
    assert plans
    assert all(plan[-1].startswith("SEARCH trace USING INDEX by_") for plan in plans), plans


def test_no_trace_yet(tmp_path):
    assert search_trace(tmp_path / "trace", TraceFilter()) == []


def test_other_files_are_left_alone(own_trace):
    (own_trace / "notes.db").write_text("not ours")
    (own_trace / "2025-11-24.db").write_text("not ours")
    assert len(search_trace(own_trace, TraceFilter())) == 6


# scan_trace


@pytest.mark.parametrize(
    ("wanted", "events", "found"),
    [
        ({}, (), "HOLD SEND DEFER REFUSE SEND RECEIVE"),
        ({"limit": 1}, (), "HOLD SEND DEFER REFUSE SEND RECEIVE"),
        ({}, ("SEND", "REFUSE"), "SEND REFUSE SEND"),
        ({"sender": "@partner.example"}, ("DEFER",), "DEFER"),
        ({"since": NOON + 2, "until": NOON + DAY}, (), "DEFER REFUSE"),
        ({"message": "0000000000000001"}, (), "SEND RECEIVE"),
        ({"connector": "out", "organization": "fabrikam"}, (), ""),
    ],
)
def test_a_scan_goes_over_all_rows_in_either_direction(trace, wanted, events, found):
    for oldest_first in (False, True):
        rows = scan_trace(trace, TraceFilter(**wanted), ("event",), events=events, oldest_first=oldest_first)
        names = [name for (name,) in rows]
        assert names == (found.split()[::-1] if oldest_first else found.split())


def test_a_scan_gives_the_columns_that_were_asked_for(trace):
    wanted = TraceFilter(message="0000000000000001")
    assert list(scan_trace(trace, wanted, ("connector", "tls", "at"))) == [("out", "{}", NOON + 1), ("", "{}", NOON)]
    rows = list(scan_trace(trace, wanted, COLUMNS))
    assert [trace_event(COLUMNS, row) for row in rows] == search_trace(trace, wanted)
    (row,) = scan_trace(trace, TraceFilter(event="HOLD"), ("message", "detail"))
    assert trace_event(("message", "detail"), row) == TraceEvent(0.0, "", "000000000000000a", "", "", "", "", "")


def test_rows_of_several_writers_are_merged_by_time(tmp_path):
    for writer in range(3):
        write_events(tmp_path, str(writer), [event(NOON + 3 * number + writer) for number in range(50)])
    times = [at for (at,) in scan_trace(tmp_path, TraceFilter(), ("at",))]
    assert times == [NOON + number for number in reversed(range(150))]


def test_rows_that_were_written_together_stay_together(tmp_path):
    write_events(tmp_path, "0", [event(NOON, recipient=f"{number}@a.example") for number in range(9)])
    rows = scan_trace(tmp_path, TraceFilter(), ("recipient",))
    assert [name for (name,) in rows] == [f"{number}@a.example" for number in reversed(range(9))]


def test_a_scan_that_is_not_finished_closes_its_files(trace):
    rows = scan_trace(trace, TraceFilter(), ("event",))
    assert next(rows) == ("HOLD",)
    rows.close()
    assert list(rows) == []


def test_what_cannot_be_read_is_named_and_hides_nothing_else(own_trace):
    (own_trace / "2025-11-25.9.db").write_bytes(b"no database, but long enough to be read as one " * 100)
    unreadable = []
    rows = scan_trace(own_trace, TraceFilter(), ("event",), unreadable=unreadable)
    assert " ".join(name for (name,) in rows) == "HOLD SEND DEFER REFUSE SEND RECEIVE"
    assert unreadable == ["2025-11-25.9.db"]
    assert len(list(scan_trace(own_trace, TraceFilter(), ("event",)))) == 6


def test_a_file_of_an_older_version_has_empty_columns(tmp_path):
    connection = apsw.Connection(str(tmp_path / "2025-11-24.0.db"))
    connection.execute("CREATE TABLE trace (event TEXT)")
    connection.execute("INSERT INTO trace VALUES ('SEND')")
    connection.close()
    apsw.Connection(str(tmp_path / "2025-11-24.1.db")).close()  # made this moment
    columns = ("event", "at", "size", "connector", "tls", "detail")
    (row,) = scan_trace(tmp_path, TraceFilter(), columns)
    assert row == ("SEND", 0.0, 0, "", "{}", "{}")
    assert trace_event(columns, row).detail == {}


def test_ids_of_another_node_are_looked_for_where_no_row_has_them_as_its_own(own_trace):
    hop = {"handover": {"node": "mx2.a.example", "message": "0000000000000099", "session": "sess-z"}}
    write_events(own_trace, "0", [event(NOON + DAY + 9, "SEND", "000000000000000c", "sess-e", detail=hop)])
    for wanted in ({"message": "0000000000000099"}, {"session": "sess-z"}, {"session": "sess-z", "event": "SEND"}):
        assert [one.message for one in search_trace(own_trace, TraceFilter(**wanted))] == ["000000000000000c"]
    assert search_trace(own_trace, TraceFilter(session="sess-z", event="DEFER")) == []
    assert [one.session for one in search_trace(own_trace, TraceFilter(session="sess-e"))] == ["sess-e"]


def pages(directory, wanted, limit, now=NOON + 99 * DAY, between=lambda: None):
    """All pages; between: what happens after a page. Cursors are read back from JSON."""
    after, found = None, []
    while True:
        page, place = trace_page(directory, TraceFilter(**wanted, limit=limit), after, now)
        assert len(page) == limit or place is None
        found.append(page)
        if place is None:
            return found
        after = from_json(msgspec.json.encode(place), TracePlace)
        between()


PAGED = [
    {},
    {"sender": "bob@contoso.example"},
    {"until": NOON + DAY},
    {"message": "0000000000000001"},
    {"event": "DROP"},
]


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
@pytest.mark.parametrize("wanted", PAGED)
def test_pages_of_several_days_and_writers(trace, wanted, limit):
    found = [row for page in pages(trace, wanted, limit) for row in page]
    assert found == search_trace(trace, TraceFilter(**wanted))


@pytest.mark.parametrize("limit", [1, 2])
@pytest.mark.parametrize("wanted", [{}, {"domain": "partner.example"}, {"achieved": "authenticated"}])
def test_pages_with_and_without_indexes(many, wanted, limit):
    found = [row for page in pages(many, wanted, limit) for row in page]
    assert found == search_trace(many, TraceFilter(**wanted))


def test_pages_leave_nothing_out_where_rows_were_written_out_of_order(tmp_path):
    """Of one time, or not quite in the order of their times: each is on one page."""
    for writer in range(3):
        rows = [event(NOON + number // 4 - number % 3, subject=f"{writer}/{number}") for number in range(20)]
        write_events(tmp_path, str(writer), rows)
    found = [row.subject for page in pages(tmp_path, {}, 7) for row in page]
    assert sorted(found) == sorted(f"{writer}/{number}" for writer in range(3) for number in range(20))


def test_what_is_written_meanwhile_is_on_no_later_page(tmp_path):
    write_events(tmp_path, "0", [event(NOON + number, subject=str(number)) for number in range(6)])

    def later():
        for writer in ("0", "1"):
            write_events(tmp_path, writer, [event(NOON + 60, subject="later")])

    found = [row.subject for page in pages(tmp_path, {}, 2, now=NOON + 30, between=later) for row in page]
    assert found == ["5", "4", "3", "2", "1", "0"]


def test_pages_of_what_another_node_knows_by_its_ids(tmp_path):
    detail = {"handover": {"message": "", "session": "far"}}
    write_events(tmp_path, "0", [event(NOON + number, detail=detail, subject=str(number)) for number in range(5)])
    found = [row.subject for page in pages(tmp_path, {"session": "far"}, 2) for row in page]
    assert found == ["4", "3", "2", "1", "0"]


# organizations that are seen -> rows
@pytest.mark.parametrize(
    ("names", "events"),
    [(None, 6), ({"contoso"}, 5), ({"fabrikam"}, 1), ({"Fabrikam"}, 0), ({"contoso", "fabrikam"}, 6), (set(), 0)],
)
def test_rows_of_some_organizations(trace, names, events):
    wanted = TraceFilter(organizations=None if names is None else frozenset(names))
    assert len(search_trace(trace, wanted)) == events


LEVELS = ("", "none", "encrypted", "authenticated", "none/none", "dnssec/authenticated", "mta-sts/encrypted")
DEMANDS = ("", "opportunistic", "encrypted", "authenticated (dane)", "authenticated")
SOURCES = (
    None,
    [],
    ["dane"],
    ["dane:mx.partner.example", "mta-sts:partner.example"],
    ["mta-sts:partner.example"],
    ["connector:dane:x"],
    ['connector:"dane:x'],
    ["danegeld:x", "mta-stsx"],
)


@pytest.mark.parametrize("sealed", [False, True])
def test_protection_is_what_reports_count(tmp_path, sealed):
    rows = [
        event(
            NOON + number,
            what,
            f"{number:016x}",
            achieved=achieved,
            requirement=requirement,
            detail={} if sources is None else {"requirement_sources": sources},
        )
        for number, (what, achieved, requirement, sources) in enumerate(
            product(("RECEIVE", "SEND", "DEFER"), LEVELS, DEMANDS, SOURCES)
        )
    ]
    write_events(tmp_path, "0", rows)
    if sealed:
        TraceWriter(tmp_path, "0").close()
    expected = {one: [] for one in Protection}
    for row in rows:
        kind = HopKind(*("",) * 5, row.requirement, _sources(row.detail), row.achieved, *("",) * 7)
        if row.event != "DEFER":
            expected[protection_of(kind)].append(row.message)
    for protection, messages in expected.items():
        found = search_trace(tmp_path, TraceFilter(protection=str(protection), limit=10_000))
        assert [row.message for row in found] == messages[::-1], protection
        assert messages
    assert search_trace(tmp_path, TraceFilter(protection="good")) == []
    wanted = TraceFilter(protection="encrypted", domain="partner.example", event="SEND", limit=10_000)
    sent = {row.message for row in rows if row.event == "SEND"}
    assert [row.message for row in search_trace(tmp_path, wanted)] == [
        one for one in expected[Protection.ENCRYPTED][::-1] if one in sent
    ]


def _sources(detail):
    return msgspec.json.encode(detail["requirement_sources"]).decode() if detail else ""
