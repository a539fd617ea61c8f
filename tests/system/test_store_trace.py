"""The message trace is the same in SQLite and in PostgreSQL (`store.trace`), and PostgreSQL's bears what servers do."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from threading import Thread
from typing import Any

import msgspec
import pytest
from support.postgres import Postgres

from gatepost.decoding import from_json
from gatepost.mail.model.trace_event import TraceEvent
from gatepost.settings.store_url import SQLITE
from gatepost.store import buffer
from gatepost.store.interface import StoreBusy, TraceFilter
from gatepost.store.postgres import trace as postgres_trace
from gatepost.store.sqlite import message_trace as sqlite_search
from gatepost.store.storage import Storage
from gatepost.store.text_pattern import TextPattern
from gatepost.store.trace import COLUMNS, HOUR, TEXT_COLUMNS, Among, Flow, Trace, TracePlace, tally_days, trace_event
from gatepost.times import day_text

NOON = datetime(2025, 11, 24, 12, tzinfo=UTC).timestamp()
DAY = 86_400.0


def event(at: float = NOON, what: str = "SEND", message: str = "01", session: str = "s1",
          sender: str = "bob@contoso.example", recipient: str = "ann@partner.example", *,
          organization: str = "contoso", **more: Any) -> TraceEvent:  # fmt: skip
    return TraceEvent(at, what, message, organization, "originating", session, sender, recipient, **more)


@pytest.fixture(params=["sqlite", "postgresql"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "sqlite":
        return Storage(SQLITE, tmp_path)
    server: Postgres = request.getfixturevalue("postgres")
    return Storage(server.database(), tmp_path, node="mx1.a.example")


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may take longer than a page waits."""
    for module in (sqlite_search, postgres_trace):
        monkeypatch.setattr(module, "PATIENCE", 60.0)


@pytest.fixture
def trace(storage: Storage) -> Trace:
    return storage.trace()


def test_no_subject_is_kept_where_the_settings_say_so(storage: Storage, tmp_path: Path) -> None:
    secret = "Dismissal of Kim"
    storage._subjects = False
    trace = storage.trace()
    trace.write("admin", [event(NOON, message="01", subject=secret)])
    sink = trace.sink(1)
    sink.add([event(NOON + DAY, message="02", subject=secret)])
    sink.close()
    rows = trace.search(TraceFilter())
    assert [(row.message, row.subject) for row in rows] == [("02", ""), ("01", "")]
    assert trace.page(TraceFilter(patterns=parts("dismissal")), None, NOON + 9 * DAY) == ([], None)
    assert list(trace.scan(TraceFilter(), ("subject",))) == [("",), ("",)]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path.name for path in files if b"ismissal" in path.read_bytes()]


@pytest.fixture
def shared(postgres: Postgres, tmp_path: Path) -> str:
    """The address of an empty database."""
    return postgres.database()


def node(url: str, tmp_path: Path, name: str = "mx1.a.example") -> Trace:
    return Storage(url, tmp_path, node=name).trace()


def parts(*words: str) -> tuple[TextPattern, ...]:
    return tuple(TextPattern(TEXT_COLUMNS, word) for word in words)


MANY = [
    event(NOON, "RECEIVE", "01", "s1", "Bob@Contoso.example", "ann@partner.example", achieved="none"),
    event(NOON + 1, "SEND", "01", "s1", "bob@contoso.example", "ann@PARTNER.example", achieved="none/none",
          peer_host="mx.partner.example", peer_address="192.0.2.1:25", result_type="starttls-not-supported",
          detail={"requirement_sources": ["rule:vip"]}, message_id="<Two@b.example>"),
    event(NOON + 2, "SEND", "02", "s2", "eve@partner.example", '"a@b"@partner.example', achieved="dnssec/authenticated",
          tls_version="TLSv1.3", tls_group="X25519MLKEM768", peer_address="[2001:db8::1]:25", connector="Bank"),
    event(NOON + 3, "SEND", "03", "s3", "", "x@my.partner.example", achieved="none/authenticated",
          tls_version="TLSv1.2", tls_group="secp256r1", peer_address="192.0.2.10:25",
          detail={"would_refuse_connector": "bank"}),
    event(NOON + 4, "REFUSE", "", "s4", "me@evil.example", "joe@contoso.example", achieved="authenticated",
          tls_version="TLSv1.3", tls_group="X25519", peer_address="192.0.2.1", organization="fabrikam"),
    event(NOON + DAY, "SEND", "04", "s5", "a_b@x_y.example", "a%b@z.example", size=7, subject="Grüße \U0001f600",
          tls={"suite": "S", "list": [1, 2]}, detail={"handover": {"message": "99", "session": "far"}}),
]  # fmt: skip

FILTERS: list[tuple[dict[str, Any], list[int]]] = [
    ({}, [5, 4, 3, 2, 1, 0]),
    ({"limit": 2}, [5, 4]),
    ({"message": "01"}, [1, 0]),
    ({"message": "1"}, []),
    ({"message": "99"}, [5]),
    ({"session": "FAR"}, []),
    ({"session": "far"}, [5]),
    ({"session": "S2"}, [2]),
    ({"message_id": "<two@B.example>"}, [1]),
    ({"sender": "BOB@contoso.example"}, [1, 0]),
    ({"sender": "@partner.example"}, [2]),
    ({"sender": "@artner.example"}, []),
    ({"sender": "@x_y.example"}, [5]),
    ({"sender": "@xay.example"}, []),
    ({"recipient": "a%b@z.example"}, [5]),
    ({"recipient": "%@z.example"}, []),
    ({"recipient": "@contoso.example"}, [4]),
    ({"recipient": "@" + "x" * 400}, []),
    ({"domain": "partner.example"}, [2, 1, 0]),
    ({"domain": "Contoso.Example"}, [4, 1, 0]),
    ({"domain": "partner.example", "event": "send"}, [2, 1]),
    ({"domain": "partner.example", "limit": 1}, [2]),
    ({"domain": "b"}, []),
    ({"address": "ann@partner.example"}, [1, 0]),
    ({"address": "me@evil.example", "event": "refuse"}, [4]),
    ({"achieved": "none"}, [1, 0]),
    ({"achieved": "authenticated"}, [4, 3, 2]),
    ({"achieved": "DNSSEC/authenticated"}, [2]),
    ({"achieved": "mta-sts/authenticated"}, []),
    ({"tls_version": "tlsv1.3"}, [4, 2]),
    ({"tls_version": "TLSv1.3", "tls_group": "x25519mlkem768"}, [2]),
    ({"result_type": "STARTTLS-not-supported"}, [1]),
    ({"connector": "bank"}, [2]),
    ({"organization": "Fabrikam"}, [4]),
    ({"peer": "192.0.2.1"}, [4, 1]),
    ({"peer": "MX.partner.example"}, [1]),
    ({"peer": "2001:db8::1"}, [2]),
    ({"peer": "192.0.2.1:25"}, [1]),
    ({"peer": "[2001:db8::1]:25"}, [2]),
    ({"peer": "192.0.2.%"}, []),
    ({"since": NOON + 1, "until": NOON + 3, "domain": "partner.example"}, [2, 1]),
    ({"since": NOON + 9 * DAY}, []),
    ({"until": NOON}, [0]),
    ({"organizations": frozenset({"fabrikam"})}, [4]),
    ({"organizations": frozenset({"Fabrikam"})}, []),
    ({"organizations": frozenset()}, []),
    ({"organizations": frozenset({"contoso"}), "peer": "192.0.2.1"}, [1]),
    ({"protection": "good"}, []),
    ({"sender": "' OR 1=1 --"}, []),
    ({"sender": "nul\0@x.example"}, []),
    ({"sender": "half\ud83d@x.example"}, []),
]


@pytest.fixture
def many(trace: Trace) -> Trace:
    trace.write("admin", MANY)
    return trace


def test_every_filter_finds_the_same_rows(many: Trace) -> None:
    for wanted, rows in FILTERS:
        try:
            found = many.search(TraceFilter(**wanted))
        except UnicodeEncodeError:  # what SQLite says of half a character
            found = []
        assert found == [MANY[number] for number in rows], wanted
        if "limit" in wanted or {"99", "far"} & set(map(str, wanted.values())) or "half" in str(wanted):
            continue
        scanned = [trace_event(COLUMNS, row) for row in many.scan(TraceFilter(**wanted), COLUMNS)]
        assert scanned == found, wanted
        other_way = [at for (at,) in many.scan(TraceFilter(**wanted), ("at",), oldest_first=True)]
        assert other_way == [one.at for one in found[::-1]], wanted


@pytest.mark.parametrize(
    ("among", "rows"),
    [
        (Among(), [5, 4, 3, 2, 1, 0]),
        (Among("BANK"), [2]),
        (Among("bank", tried=True), [3, 2]),
        (Among(recipients=("partner.example", "contoso.example")), [4, 2, 1, 0]),
        (Among(recipients=("nowhere.example",)), []),
        (Among(holding='"rule:vip"'), [1]),
        (Among("bank", holding='"rule:vip"'), []),
    ],
)
def test_few_of_many_rows_are_looked_up(many: Trace, among: Among, rows: list[int]) -> None:
    found = many.scan(TraceFilter(), ("at",), among=among)
    assert [at for (at,) in found] == [MANY[number].at for number in rows]


def test_a_scan_may_be_left_and_others_go_on(many: Trace) -> None:
    for _ in range(12):  # more than there are connections
        rows = many.scan(TraceFilter(), ("event",), events=("SEND", "REFUSE"))
        assert next(rows) == ("SEND",)
        assert many.first_answered([TraceFilter(sender="no@x.example"), TraceFilter(domain="partner.example")]) == 1
        rows.close()
    assert many.first_answered([TraceFilter(event="HOLD"), TraceFilter(message="99")]) == 1
    assert many.first_answered([TraceFilter(event="HOLD")]) is None


def pages(
    trace: Trace, wanted: dict[str, Any], limit: int, between: Callable[[], None] = lambda: None
) -> list[TraceEvent]:
    """All pages; between: what happens after a page. Cursors are read back from JSON."""
    after, found = None, list[TraceEvent]()
    while True:
        page, place = trace.page(TraceFilter(**wanted, limit=limit), after, NOON + 99 * DAY)
        assert len(page) == limit or place is None
        found += page
        if place is None:
            return found
        after = from_json(msgspec.json.encode(place), TracePlace)
        between()


@pytest.mark.parametrize("limit", [1, 2, 5, 100])
@pytest.mark.parametrize("wanted", [{}, {"domain": "partner.example"}, {"message": "99"}, {"event": "DROP"}])
def test_pages_have_every_row_once(many: Trace, wanted: dict[str, Any], limit: int) -> None:
    assert pages(many, wanted, limit) == many.search(TraceFilter(**wanted))


@pytest.mark.parametrize("limit", [1, 4])
def test_pages_from_the_oldest_row_on(many: Trace, limit: int) -> None:
    """Whole values, parts of texts and nothing at all."""
    for wanted in ({}, {"since": NOON}, {"event": "SEND"}, *(wanted for wanted, _ in PARTS)):
        rows = many.search(TraceFilter(**wanted))
        assert pages(many, wanted | {"oldest_first": True}, limit) == rows[::-1], wanted


def test_pages_from_the_oldest_row_on_leave_nothing_out(trace: Trace) -> None:
    for writer in range(3):
        rows = [event(NOON + number // 4 - number % 3, subject=f"{writer}/{number}") for number in range(20)]
        trace.write(str(writer), rows)
    found = [row.subject for row in pages(trace, {"oldest_first": True}, 7)]
    assert sorted(found) == sorted(f"{writer}/{number}" for writer in range(3) for number in range(20))


def test_pages_leave_nothing_out_where_rows_are_of_one_time_or_out_of_order(trace: Trace) -> None:
    for writer in range(3):
        rows = [event(NOON + number // 4 - number % 3, subject=f"{writer}/{number}") for number in range(20)]
        trace.write(str(writer), rows)
    found = [row.subject for row in pages(trace, {}, 7)]
    assert sorted(found) == sorted(f"{writer}/{number}" for writer in range(3) for number in range(20))


def test_what_is_written_meanwhile_is_on_no_later_page(trace: Trace) -> None:
    trace.write("0", [event(NOON + number, subject=str(number)) for number in range(6)])

    def later() -> None:
        for writer in ("0", "1"):
            trace.write(writer, [event(NOON + 199 * DAY, subject="later")])

    assert [row.subject for row in pages(trace, {}, 2, later)] == ["5", "4", "3", "2", "1", "0"]


LEVELS = ("", "none", "encrypted", "authenticated", "none/none", "dnssec/authenticated", "mta-sts/encrypted")
DEMANDS = ("", "opportunistic", "encrypted", "authenticated (dane)", "authenticated")
SOURCES: tuple[Any, ...] = (
    None, [], ["dane"], ["dane:mx.partner.example", "mta-sts:partner.example"], ["mta-sts:partner.example"],
    ["connector:dane:x"], ['connector:"dane:x'], ["danegeld:x", "mta-stsx"],
)  # fmt: skip


def of_every_kind() -> list[TraceEvent]:
    return [
        event(
            NOON + number,
            what,
            f"{number:04x}",
            recipient=f"r{number % 3}@p{number % 7}.Example",
            achieved=achieved,
            requirement=requirement,
            reply="250 2.0.0 ok" if what != "REFUSE" else "550 5.7.1 no",
            peer_host=f"MX{number % 5}.example",
            connector="Bank" if number % 2 else "",
            tls={"suite": "S", "chain": "valid", "certificate": {"names": ["a", "b"]}} if number % 5 else {},
            detail=({} if sources is None else {"requirement_sources": sources})
            | ({"connector_organization": "other"} if number % 11 == 0 else {})
            | ({"connector_of_recipient": "x"} if number % 13 == 0 else {})
            | ({"recipient_organization": "other"} if number % 7 == 0 else {})
            | ({"refused_by_connector": "in"} if number % 14 == 0 else {})
            | ({"would_refuse_connector": "in"} if number % 5 == 0 else {})
            | ({"would_refuse_organization": "contoso" if number % 2 else "other"} if number % 4 == 0 else {})
            | ({"rehearsal": {"passed": number % 4 == 0, "sources": ["connector:Bank"]}} if number % 3 == 0 else {}),
        )
        for number, (what, achieved, requirement, sources) in enumerate(
            product(("RECEIVE", "SEND", "DEFER", "REFUSE"), LEVELS, DEMANDS, SOURCES)
        )
    ]


def test_counts_and_protections_are_the_same(postgres: Postgres, tmp_path: Path) -> None:
    rows = of_every_kind()
    both = [Storage(SQLITE, tmp_path).trace(), node(postgres.database(), tmp_path)]
    for trace in both:
        trace.write("0", rows[:700])
        trace.write("1", [*rows[700:], event(NOON, "TLSFAIL", "", peer_host="a client's word")])  # no mail: not counted
    days = [list(tally_days(trace, "2025-11-01", "2025-11-30")) for trace in both]
    assert days[0] == days[1]
    twice = sum(row.event == "REFUSE" and "refused_by_connector" in row.detail for row in rows)
    assert twice
    assert sum(sum(kinds.values()) for _, kinds in days[1]) == len(rows) + twice
    assert list(tally_days(both[1], "2025-11-01", "2025-11-30")) == days[1]  # kept, since the day is over
    assert list(tally_days(both[1], "2025-11-25", "2025-11-30")) == []
    begin = int(NOON)
    hours = [trace.hours().counted(begin, begin + HOUR, None) for trace in both]
    assert hours[0] == hours[1]
    for protection in ("dane", "mta-sts", "verified", "encrypted", "cleartext"):
        found = [trace.search(TraceFilter(protection=protection, limit=10_000)) for trace in both]
        assert found[0] == found[1], protection
        assert found[0]
    seen = TraceFilter(organizations=frozenset({"contoso"}), connector="bank", limit=10_000)
    assert both[0].search(seen) == both[1].search(seen) != []


def test_a_part_is_counted_on_from_where_a_count_stopped(trace: Trace) -> None:
    trace.write("0", [event(), event(recipient="x@other.example")])
    (part,) = trace.parts("2025-11-24", "2025-11-24")
    before = trace.parts("", "9999")
    assert (trace.tally(part)[0], sum(trace.tally(part)[1].values())) == (2, 2)
    assert trace.tally(part, 2) == (2, {})
    trace.write("0", [event(recipient="y@new.example")])
    assert trace.parts("", "9999") != before
    rows, kinds = trace.tally(part, 2)
    assert (rows, [kind.partner for kind in kinds]) == (3, ["new.example"])
    assert sum(trace.tally(part, 9)[1].values()) == 3
    with pytest.raises(TypeError):
        trace.tally("2025-11-24")  # type: ignore[arg-type]


def test_hours_are_counted_as_rows_come(trace: Trace) -> None:
    begin, hours = int(NOON), trace.hours()
    trace.write("0", [event(achieved="none/encrypted"), event(NOON + HOUR, achieved="none/NONE")])
    for _ in range(2):
        assert hours.counted(begin, begin + HOUR, None) == {Flow(begin, "SEND", "encrypted"): 1}
    trace.write("0", [event(NOON + 1, achieved="none/encrypted"), event(NOON + 2, "DEFER")])
    trace.write("1", [event(NOON + 1, "RECEIVE", achieved="none", organization="fabrikam")])
    assert hours.counted(begin, begin + 2 * HOUR, None) == {
        Flow(begin, "SEND", "encrypted"): 2, Flow(begin + HOUR, "SEND", "none"): 1, Flow(begin, "RECEIVE", "none"): 1,
    }  # fmt: skip
    assert hours.counted(begin, begin + 2 * HOUR, {"fabrikam"}) == {Flow(begin, "RECEIVE", "none"): 1}
    assert hours.counted(begin, begin + 2 * HOUR, set()) == {}


def test_days_are_forgotten_whole(trace: Trace) -> None:
    trace.write("0", [event(NOON + number * DAY, subject=str(number)) for number in range(4)])
    trace.write("1", [event()])
    assert trace.forget(NOON - DAY) == []
    assert len(trace.forget(NOON + 2 * DAY)) in {2, 3}  # days, or files
    assert [row.subject for row in trace.search(TraceFilter())] == ["3", "2"]
    assert len(trace.parts("", "9999")) == 2
    trace.write("0", [event(subject="late")])  # of a day that was forgotten
    assert [row.subject for row in trace.search(TraceFilter())] == ["3", "2", "late"]


def await_rows(trace: Trace, count: int, seconds: float = 30.0) -> list[TraceEvent]:
    end = time.monotonic() + seconds
    while len(found := trace.search(TraceFilter(limit=1_000_000))) < count:
        assert time.monotonic() < end, len(found)
        time.sleep(0.05)
    return found


def test_what_a_sink_takes_is_there_within_a_second_or_so(trace: Trace) -> None:
    sink = trace.sink(3)
    sink.add([event(NOON + number, subject=str(number)) for number in range(5)])
    assert len(await_rows(trace, 5)) == 5
    sink.add([event(NOON + 5, subject="5")])
    sink.close()
    assert [row.subject for row in trace.search(TraceFilter())] == list("543210")
    assert sink.dropped == 0


def test_what_cannot_be_stored_as_it_is_hides_nothing_else(trace: Trace, caplog: pytest.LogCaptureFixture) -> None:
    sink = trace.sink(0)
    sink.add([
        event(subject="good"),
        event(NOON + 1, subject="half \ud83d"),
        event(NOON + 2, subject="nul \0", detail={"text": "a\0b", "n\0": ["\\u0000"]}),
        event(NOON + 3, message_id="<" + "i" * 5000 + ">", sender="s" * 5000),
        event(NOON + 4, subject="last"),
    ])  # fmt: skip
    sink.close()
    found = trace.search(TraceFilter())
    assert [row.at - NOON for row in found] == [4, 3, 2, 0]
    assert found[2].subject.rstrip("\0\ufffd") == "nul "
    assert found[2].detail[next(name for name in found[2].detail if name != "text")] == ["\\u0000"]
    assert trace.search(TraceFilter(message_id="<" + "I" * 5000 + ">")) == [found[1]]
    assert trace.search(TraceFilter(message_id="<" + "i" * 4999 + "j>")) == []
    assert "an event of 01 is left out" in caplog.text


# PostgreSQL alone


def test_a_number_that_the_server_does_not_take_leaves_out_its_row_alone(
    shared: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trace = node(shared, tmp_path)
    sink = trace.sink(0)
    sink.add([event(NOON + number, size=1 << 70 if number == 300 else 1) for number in range(1000)])
    sink.close()
    found = {row.at - NOON for row in trace.search(TraceFilter(limit=2000))}
    assert found == set(range(1000)) - {300}
    assert caplog.text.count("is left out") == 1


def test_rows_of_all_nodes_are_found_from_any(shared: str, tmp_path: Path) -> None:
    nodes = [node(shared, tmp_path, f"mx{number}.a.example") for number in range(3)]
    sinks = [one.sink(worker) for one in nodes for worker in range(2)]
    for number, sink in enumerate(sinks):
        sink.add([event(NOON + number, subject=str(number))])
    for sink in sinks:
        sink.close()
    for one in nodes:
        assert [row.subject for row in one.search(TraceFilter())] == list("543210")
    assert [part.name for part in nodes[0].parts("", "9999")] == [
        f"2025-11-24.mx{number}_a_example-{worker}" for number in range(3) for worker in range(2)
    ]


def at_once(work: Sequence[Callable[[], object]]) -> None:
    failures: list[BaseException] = []

    def run(one: Callable[[], object]) -> None:
        try:
            one()
        except BaseException as error:  # noqa: BLE001 - told below
            failures.append(error)

    threads = [Thread(target=run, args=(one,)) for one in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_two_nodes_at_midnight_make_the_tables_of_a_day_once(shared: str, tmp_path: Path) -> None:
    """Several days, each begun by four processes' threads at once, while another reads."""
    nodes = [node(shared, tmp_path, f"mx{number}.a.example") for number in range(4)]
    nodes[0].write("before", [event()])
    reading = nodes[0].scan(TraceFilter(), ("at",))
    next(reading)  # a long report at work holds up nobody
    for day in range(1, 4):
        midnight = NOON - NOON % DAY + day * DAY
        at_once([
            lambda one=one, at=midnight: one.write(f"w{nodes.index(one)}", [event(at - 1e-6), event(at), event(at + 1)])
            for one in nodes
        ])  # fmt: skip
    reading.close()
    assert len(nodes[3].search(TraceFilter(limit=1000))) == 1 + 3 * 4 * 3
    counts = {part.name: rows for part, rows in nodes[1].parts("2025-11-24", "2025-11-26").items()}
    assert counts == {"2025-11-24.before": 1} | {
        f"{day}.w{number}": rows
        for number in range(4)
        for day, rows in (("2025-11-24", 1), ("2025-11-25", 3), ("2025-11-26", 3))
    }


def test_the_tables_of_today_and_tomorrow_are_made_before_there_is_a_row(
    postgres: Postgres, shared: str, tmp_path: Path
) -> None:
    before = time.time()
    sink = node(shared, tmp_path).sink(0)
    sink.close()
    children = "SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'trace'::regclass ORDER BY 1::text"
    found = postgres.sql(children, shared.rpartition("/")[2])
    today = [[day_text(at + more).replace("-", "") for more in (0, DAY)] for at in (before, time.time())]
    assert found.split() in [[f"trace_{day}" for day in days] for days in today], "either, at midnight"


def test_several_processes_are_one_writer_without_losing_a_row_of_the_count(shared: str, tmp_path: Path) -> None:
    one = node(shared, tmp_path)
    at_once([lambda: [one.write("admin", [event()]) for _ in range(10)] for _ in range(4)])
    (part,) = one.parts("", "9999")
    assert one.parts("", "9999")[part] == 40
    rows, kinds = one.tally(part, 25)
    assert (rows, sum(kinds.values())) == (40, 15)


def test_nodes_may_forget_at_once_also_while_one_reads(shared: str, tmp_path: Path) -> None:
    nodes = [node(shared, tmp_path, f"mx{number}.a.example") for number in range(3)]
    nodes[0].write("0", [event(NOON + number * DAY) for number in range(9)])
    at_once([lambda one=one: one.forget(NOON + 7 * DAY) for one in nodes]
            + [lambda one=one: [one.search(TraceFilter()) for _ in range(20)] for one in nodes])  # fmt: skip
    nodes[2].forget(NOON + 7 * DAY)  # where two got into each other's way, the next look ends it
    assert len(nodes[1].search(TraceFilter())) == 2


def test_a_server_that_is_away_blocks_nothing_and_what_was_kept_arrives_in_order(
    start_postgres: Callable[..., Postgres], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    server = start_postgres()
    trace = node(server.database(), tmp_path)
    sink = trace.sink(0)
    number = 0

    def add(count: int) -> None:
        nonlocal number
        for _ in range(count):
            sink.add([event(NOON + number * 0.001, subject=str(number))])
            number += 1

    add(100)
    await_rows(trace, 100)
    for stop in (server.stop, server.kill):
        server.sql("CHECKPOINT")  # what was committed in the last second may be lost with a crash of the server
        stop()
        begun = time.monotonic()
        add(2000)
        assert time.monotonic() - begun < 10.0, "it does not wait for the server"
        with pytest.raises(StoreBusy):
            trace.search(TraceFilter())
        time.sleep(1.5)
        server.start()
        await_rows(trace, number)
    add(100)
    sink.close()
    subjects = [row.subject for row in await_rows(trace, number)]
    assert subjects == [str(one) for one in reversed(range(number))]
    assert "rows wait in memory" in caplog.text
    assert sink.dropped == 0
    monkeypatch.setattr(buffer, "_MOST", 50)
    server.stop()
    sink = trace.sink(1)
    for one in range(100):
        sink.add([event(subject=f"late {one}")])
    server.start()
    add_until = time.monotonic() + 60
    while sum(row.subject.startswith("late") for row in await_rows(trace, 1)) < 50:
        assert time.monotonic() < add_until
        time.sleep(0.05)
    sink.close()
    assert sink.dropped == 50


def test_common_searches_use_an_index(postgres: Postgres, shared: str, tmp_path: Path) -> None:
    from gatepost.store.postgres.trace import _select  # noqa: PLC0415 - the statement itself is what is tested
    from gatepost.store.postgres.trace_conditions import PostgresConditions  # noqa: PLC0415 - as above

    trace = node(shared, tmp_path)
    rows = [
        event(
            NOON + number * 0.01,
            ("RECEIVE", "SEND")[number % 2],
            f"{number:08x}",
            f"{number:06x}",
            f"u{number % 500}@d{number % 90}.example",
            f"r{number % 700}@p{number % 110}.example",
            organization=f"o{number % 40}",
            message_id=f"<{number}@x.example>",
            peer_host=f"mx{number % 200}.example",
            peer_address=f"192.0.{number % 250}.{number % 9}:25",
            connector=f"c{number % 60}",
        )
        for number in range(20_000)
    ]
    trace.write("0", rows)
    database = shared.rpartition("/")[2]
    postgres.sql("ANALYZE trace_20251124", database)
    searches: dict[str, dict[str, Any]] = {
        "message": {"message": "000000ff"}, "session": {"session": "00aaff"},
        "message_id": {"message_id": "<77@x.example>"},
        "sender": {"sender": "u7@d7.example"}, "recipient": {"recipient": "@p9.example"},
        "peer_ip": {"peer": "192.0.17.3"}, "peer_host": {"peer": "mx7.example"}, "event": {"event": "HOLD"},
        "connector": {"connector": "c17"}, "result_type": {"result_type": "validation-failure"},
        "organization": {"organization": "o7"}, "handover": {}, "at": {"limit": 100},
    }  # fmt: skip
    for index, wanted in searches.items():
        conditions = PostgresConditions(TraceFilter(**wanted or {"message": "0009"}), elsewhere=not wanted)
        sql = f"{_select(('at',), 'trace_20251124', conditions)} LIMIT 101"
        for place in range(len(conditions.values), 0, -1):
            value = conditions.values[place - 1]
            sql = sql.replace(f"${place}", "'" + str(value).replace("'", "''") + "'")
        plan = postgres.sql(f"EXPLAIN {sql}", database)
        assert f"trace_20251124_{index}" in plan or "Index" in plan, (index, plan)
        assert "Seq Scan" not in plan, (index, plan)
    either = PostgresConditions(TraceFilter(domain="p3.example"))
    assert either.telling


def test_a_scan_of_many_rows_is_not_whole_in_memory(shared: str, tmp_path: Path) -> None:
    trace = node(shared, tmp_path)
    trace.write("0", [event(NOON + number * 0.001) for number in range(6000)])
    rows: Iterator[tuple[Any, ...]] = trace.scan(TraceFilter(), ("at",))
    next(rows)
    trace.write("0", [event(NOON + 99.0)])  # the scan sees what was there when its day began
    assert sum(1 for _ in rows) == 5999


PARTS: list[tuple[dict[str, Any], list[int]]] = [
    ({"patterns": parts("BOB@")}, [1, 0]),
    ({"patterns": parts("partner", "ann")}, [1, 0]),
    ({"patterns": parts("grüße")}, [5]),
    ({"patterns": parts("GRÜ*\U0001f600")}, [5]),
    ({"patterns": parts("\U0001f600*grü")}, []),
    ({"patterns": parts("two@b")}, [1]),
    ({"patterns": parts("a_b@x")}, [5]),
    ({"patterns": parts("a%b")}, [5]),
    ({"patterns": parts("a-b@x")}, []),
    ({"patterns": parts("\0")}, []),
    ({"patterns": (TextPattern(("recipient",), "*@partner.example", whole=True),)}, [2, 1, 0]),
    ({"patterns": (TextPattern(("recipient",), "ann@*", whole=True),)}, [1, 0]),
    ({"patterns": (TextPattern(("recipient",), "nn@*", whole=True),)}, []),
    ({"patterns": (TextPattern(("sender", "recipient"), "*@contoso.EXAMPLE", whole=True),)}, [4, 1, 0]),
    ({"patterns": parts("contoso"), "organizations": frozenset({"fabrikam"})}, [4]),
    ({"patterns": parts("contoso"), "organizations": frozenset({"contoso"}), "event": "SEND"}, [1]),
]


def test_parts_of_texts_find_the_same_rows_on_every_page(many: Trace) -> None:
    for wanted, rows in PARTS:
        expected = [MANY[number] for number in rows]
        assert many.search(TraceFilter(**wanted)) == expected, wanted
        assert pages(many, wanted, 1) == expected, wanted


def test_a_search_for_parts_that_takes_long_ends_at_a_day_and_goes_on_there(
    many: Trace, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (sqlite_search, postgres_trace):
        monkeypatch.setattr(module, "PATIENCE", -1.0)
    for oldest_first in (False, True):
        wanted, looks = TraceFilter(patterns=parts("eve@"), limit=9, oldest_first=oldest_first), 1
        found, place = many.page(wanted, None, NOON + 99 * DAY)
        while place is not None:
            looks += 1
            rows, place = many.page(wanted, place, NOON + 99 * DAY)
            found += rows
        assert (found, looks) == ([MANY[2]], 2)
