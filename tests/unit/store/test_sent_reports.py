from __future__ import annotations

import contextlib
from pathlib import Path

import apsw
import pytest

from gatepost.settings.store_url import SQLITE
from gatepost.store.interface import StoreFailure
from gatepost.store.sent_reports import SENT, SentReport, SentReports, SentState
from gatepost.store.storage import Storage

DAY, NEXT = "2026-11-24", "2026-11-25"
TLS = "mailto:tls@b.example"
WEB = "https://b.example/r"


def every(_: SentReport) -> bool:
    return True


def states(directory: Path, since: str = DAY) -> list[tuple[str, str, str, str]]:
    return [
        (one.day, one.domain, one.rua, str(one.state))
        for one in Storage(SQLITE, directory).sent_reports().read(since, every)
    ]


@pytest.fixture
def reports(tmp_path: Path) -> SentReports:
    made = Storage(SQLITE, tmp_path).sent_reports()
    made.plan(DAY, [("b.example", 100.0), ("a.example", 200.0)])
    return made


def test_a_day_is_planned_once(reports: SentReports, tmp_path: Path) -> None:
    reports.plan(DAY, [("c.example", 1.0)])
    reports.plan(NEXT, ())
    assert reports.planned_days() == [DAY, NEXT]
    assert states(tmp_path) == [(DAY, "a.example", "", "waiting"), (DAY, "b.example", "", "waiting")]


def test_a_plan_that_breaks_off_is_made_anew(reports: SentReports, tmp_path: Path) -> None:
    def broken():  # type: ignore[no-untyped-def] # what a file that cannot be read does
        yield "c.example", 1.0
        raise StoreFailure("broken")

    with pytest.raises(StoreFailure, match="broken"):
        reports.plan(NEXT, broken())
    assert reports.planned_days() == [DAY]
    assert states(tmp_path, NEXT) == []


def test_what_is_claimed_is_nobody_elses_until_the_lease_is_over(reports: SentReports, tmp_path: Path) -> None:
    assert reports.claim(99.0, 10, 60.0) == []
    (one,) = reports.claim(150.0, 10, 60.0)
    assert (one.domain, one.tries, one.first, one.next, one.tried) == ("b.example", 1, 150.0, 210.0, 150.0)
    assert Storage(SQLITE, tmp_path).sent_reports().claim(150.0, 10, 60.0) == []
    assert [two.domain for two in reports.claim(209.0, 10, 60.0)] == ["a.example"]
    (again,) = reports.claim(210.0, 10, 60.0)  # nobody said what became of it: a crash
    assert (again.domain, again.tries, again.first) == ("b.example", 2, 150.0)


def test_no_more_than_asked_for_are_claimed_the_longest_due_first(reports: SentReports) -> None:
    assert [one.domain for one in reports.claim(500.0, 1, 60.0)] == ["b.example"]
    assert [one.domain for one in reports.claim(500.0, 1, 60.0)] == ["a.example"]


def test_a_report_goes_to_each_address(reports: SentReports, tmp_path: Path) -> None:
    first, second = sorted(reports.claim(500.0, 10, 60.0), key=lambda one: one.domain)
    reports.address([(first, ())], 500.0)
    reports.address([(second, (TLS, WEB))], 500.0)
    assert states(tmp_path) == [(DAY, "b.example", WEB, "waiting"), (DAY, "b.example", TLS, "waiting")]
    web, mail = sorted(reports.claim(500.0, 10, 60.0), key=lambda one: one.rua)
    reports.failed(web, "status 500", 900.0)
    reports.sent(mail, "1a")
    waits, sent = Storage(SQLITE, tmp_path).sent_reports().read(DAY, every)
    assert (waits.state, waits.next, waits.detail, waits.tries) == (SentState.WAITING, 900.0, "status 500", 1)
    assert (sent.state, sent.message, sent.detail) == (SentState.SENT, "1a", "")
    assert reports.claim(899.0, 10, 60.0) == []
    (web,) = reports.claim(900.0, 10, 60.0)
    reports.failed(web, "status 404", None)
    assert [one.state for one in Storage(SQLITE, tmp_path).sent_reports().read(DAY, every)] == [
        SentState.GIVEN_UP,
        SentState.SENT,
    ]
    assert reports.claim(1e9, 10, 60.0) == []


def test_what_was_not_sent_is_made_due_again_and_what_was_is_not(reports: SentReports, tmp_path: Path) -> None:
    reports.make_due(DAY, ["a.example"], 50.0)
    (one,) = reports.claim(50.0, 10, 60.0)
    reports.address([(one, (TLS, WEB))], 50.0)
    mail, web = sorted(reports.claim(50.0, 10, 600.0), key=lambda one: one.rua, reverse=True)
    reports.make_due(DAY, ["a.example"], 60.0)
    assert reports.claim(60.0, 10, 60.0) == [], "they are being tried"
    reports.sent(mail)
    reports.failed(web, "gone", None)
    reports.make_due(DAY, ["a.example"], 70.0)
    (again,) = reports.claim(70.0, 10, 60.0)
    assert (again.rua, again.tries, again.first) == (WEB, 1, 70.0)


def test_who_wanted_none_is_asked_again(reports: SentReports, tmp_path: Path) -> None:
    for one in reports.claim(500.0, 10, 60.0):
        reports.address([(one, ())], 500.0)
    assert states(tmp_path) == []
    reports.make_due(DAY, ["b.example"], 600.0)
    reports.make_due("2026-11-20", ["c.example"], 600.0)
    assert states(tmp_path, "2026-11-01") == [
        ("2026-11-20", "c.example", "", "waiting"),
        (DAY, "b.example", "", "waiting"),
    ]
    assert reports.planned_days() == [DAY], "days between them are not to follow by themselves"


def test_old_days_are_forgotten(reports: SentReports, tmp_path: Path) -> None:
    reports.plan(NEXT, [("b.example", 1.0)])
    reports.forget(NEXT)
    assert reports.planned_days() == [NEXT]
    assert states(tmp_path) == [(NEXT, "b.example", "", "waiting")]
    assert Storage(SQLITE, tmp_path).sent_reports().read(DAY, lambda one: one.domain == "c.example") == []


def test_before_anything_was_sent(tmp_path: Path) -> None:
    assert Storage(SQLITE, tmp_path).sent_reports().read(DAY, every) == []
    (tmp_path / SENT.file).touch()
    assert Storage(SQLITE, tmp_path).sent_reports().read(DAY, every) == []


def test_a_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / SENT.file).write_bytes(b"no database" * 1000)
    with pytest.raises(StoreFailure, match=SENT.file):
        Storage(SQLITE, tmp_path).sent_reports().claim(1.0, 1, 1.0)
    with pytest.raises(StoreFailure, match=SENT.file):
        Storage(SQLITE, tmp_path).sent_reports().read(DAY, every)


def test_a_file_of_other_tables(tmp_path: Path) -> None:
    with contextlib.closing(apsw.Connection(str(tmp_path / SENT.file))) as connection:
        connection.execute("CREATE TABLE report (something)")
    with pytest.raises(StoreFailure, match=SENT.file):
        Storage(SQLITE, tmp_path).sent_reports().claim(1.0, 1, 1.0)


def test_a_file_of_an_earlier_version_goes_on(tmp_path: Path) -> None:
    with contextlib.closing(apsw.Connection(str(tmp_path / SENT.file))) as connection:
        connection.execute("""
            CREATE TABLE day (day TEXT PRIMARY KEY) WITHOUT ROWID;
            CREATE TABLE report (
                day TEXT NOT NULL, domain TEXT NOT NULL, rua TEXT NOT NULL, state TEXT NOT NULL,
                tries INTEGER NOT NULL DEFAULT 0, first REAL NOT NULL DEFAULT 0, next REAL NOT NULL,
                tried REAL NOT NULL DEFAULT 0, detail TEXT NOT NULL DEFAULT '', message TEXT NOT NULL DEFAULT '',
                PRIMARY KEY (day, domain, rua)
            ) WITHOUT ROWID;
            CREATE INDEX by_next ON report (state, next);
            INSERT INTO day VALUES ('2026-11-24');
            INSERT INTO report (day, domain, rua, state, next) VALUES ('2026-11-24', 'b.example', '', 'waiting', 5);
        """)
    reports = Storage(SQLITE, tmp_path).sent_reports()
    assert reports.planned_days() == [DAY]
    assert [one.domain for one in reports.claim(10.0, 1, 60.0)] == ["b.example"]
    reports.close()
    assert [one.tries for one in reports.read(DAY)] == [1]


def test_what_was_never_used_is_closed_at_once(tmp_path: Path) -> None:
    Storage(SQLITE, tmp_path).sent_reports().close()
    assert list(tmp_path.iterdir()) == []
