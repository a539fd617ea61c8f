"""Counts and reports behave alike on both engines, and several nodes add to one count and send one report."""

from __future__ import annotations

from pathlib import Path
from secrets import token_hex

import pytest
from support.process import Script

from gatepost.protocols.tlsrpt.received import ReceivedFailure, ReceivedPolicy, ReceivedReport
from gatepost.protocols.tlsrpt.result import ResultType
from gatepost.protocols.tlsrpt.tally import AppliedPolicy, Count, FailureDetail, PolicyType, applied, detail
from gatepost.settings.store_url import SQLITE
from gatepost.store.interface import StoreFailure, StoreFull
from gatepost.store.sent_reports import SentState, StoredReport
from gatepost.store.session_counts import MOST_FAILURES, MOST_POLICIES, SessionCounts
from gatepost.store.storage import Storage

DAY, DOMAIN = "2026-11-24", "b.example"
STS = applied(PolicyType.STS, DOMAIN, ["version: STSv1", "mode: enforce"], ["*.b.example"])
LONG = applied(PolicyType.STS, DOMAIN, ["mx: " + "x" * 60_000])
EXPIRED = detail(ResultType.CERTIFICATE_EXPIRED, mx_host="mx.b.example", address="192.0.2.1", reason="it's ?")
WRITER = """
import sys
from pathlib import Path
from gatepost.protocols.tlsrpt.result import ResultType
from gatepost.protocols.tlsrpt.tally import Count, PolicyType, applied, detail
from gatepost.store.storage import Storage
url, directory, day, name = sys.argv[1:]
counts = Storage(url, Path(directory)).session_counts()
policy = applied(PolicyType.STS, "b.example", ["mode: enforce"])
for number in range(10):
    failure = detail(ResultType.VALIDATION_FAILURE, address=f"{name}{number}")
    counts.write(day, [Count(day, "b.example", policy, None, 3), Count(day, "b.example", policy, failure, 1)])
"""


@pytest.fixture
def counts(storage: Storage) -> SessionCounts:
    return storage.session_counts()


def count(
    policy: AppliedPolicy = STS, failure: FailureDetail | None = None, sessions: int = 1, domain: str = DOMAIN
) -> Count:
    return Count(DAY, domain, policy, failure, sessions)


def test_sessions_are_added_up_by_day(counts: SessionCounts) -> None:
    assert counts.write(DAY, [count(STS, None, 3), count(STS, EXPIRED, 2), count(LONG), count(domain="a.example")]) == 0
    counts.write(DAY, [count(STS, EXPIRED, 1), count(STS, None, 1)])
    counts.write("2026-11-25", [count()._replace(day="2026-11-25")])
    found = counts.read(DAY)
    assert set(found) == {count(STS, None, 4), count(STS, EXPIRED, 3), count(LONG), count(domain="a.example")}
    assert [one.domain for one in found] == sorted(one.domain for one in found)
    assert set(counts.read(DAY, DOMAIN)) == set(found) - {count(domain="a.example")}
    assert list(counts.domains(DAY)) == ["a.example", DOMAIN]
    assert counts.days() == [DAY, "2026-11-25"]
    assert counts.prune("2026-11-25") == [DAY]
    assert counts.days() == ["2026-11-25"]


def test_bounds_hold_for_each_domain_and_day(counts: SessionCounts) -> None:
    many = [count(STS, detail(ResultType.VALIDATION_FAILURE, address=f"a{n}")) for n in range(MOST_FAILURES + 9)]
    policies = [count(applied(PolicyType.STS, "c.example", [f"id: {n}"]), domain="c.example") for n in range(25)]
    counts.write(DAY, [*many, *policies])
    counts.write(DAY, [many[-1]])
    found = counts.read(DAY)
    assert count(STS, FailureDetail(ResultType.VALIDATION_FAILURE), 10) in found
    assert sum(one.domain == DOMAIN for one in found) == MOST_FAILURES + 1
    assert sum(one.domain == "c.example" for one in found) == MOST_POLICIES + 1
    assert sum(one.sessions for one in found) == MOST_FAILURES + 10 + 25


def test_several_nodes_add_to_one_count(storage: Storage, tmp_path: Path) -> None:
    url = SQLITE if not storage.is_shared else storage._url
    writers = [Script(WRITER, url, str(tmp_path), DAY, name) for name in "abc"]
    assert [writer.close(60) for writer in writers] == [0, 0, 0]
    found = storage.session_counts().read(DAY)
    assert max(one.sessions for one in found) == 3 * 10 * 3
    assert len(found) == 1 + 30


def test_a_report_is_claimed_by_one_node_at_a_time(storage: Storage) -> None:
    first, second = storage.sent_reports(), storage.sent_reports()
    first.plan(DAY, [("b.example", 100.0), ("a.example", 200.0)])
    second.plan(DAY, [("c.example", 1.0)])  # the day is planned
    assert second.planned_days() == [DAY]
    (one,) = first.claim(150.0, 10, 60.0)
    assert (one.domain, one.tries, one.first, one.next) == ("b.example", 1, 150.0, 210.0)
    assert second.claim(150.0, 10, 60.0) == []
    first.address([(one, ["mailto:x@b.example", "https://b.example/r"])], 160.0)
    mail, web = sorted(second.claim(160.0, 10, 60.0), key=lambda report: report.rua, reverse=True)
    second.sent(mail, "id1")
    second.failed(web, "404", None)
    assert [(report.rua, report.state, report.message) for report in first.read(DAY) if report.domain == DOMAIN] == [
        ("https://b.example/r", SentState.GIVEN_UP, ""),
        ("mailto:x@b.example", SentState.SENT, "id1"),
    ]
    first.make_due(DAY, ["b.example", "d.example"], 170.0)
    assert [report.rua for report in second.claim(170.0, 10, 60.0)] == ["https://b.example/r", ""]
    second.forget("2026-11-25")
    assert first.read(DAY) == first.planned_days() == []


def test_a_plan_that_breaks_off_is_made_anew(storage: Storage) -> None:
    def broken():  # type: ignore[no-untyped-def] # what a store that cannot be read does
        yield "c.example", 1.0
        raise StoreFailure("broken")

    reports = storage.sent_reports()
    with pytest.raises(StoreFailure, match="broken"):
        reports.plan(DAY, broken())
    assert reports.planned_days() == []


def test_a_report_that_is_received_counts_once(storage: Storage) -> None:
    def kept(name: str, organization: str = "Google Inc.", begin: float = 86400.0) -> StoredReport:
        failure = ReceivedFailure(
            "certificate-expired", 3, "192.0.2.1", "mx1.contoso.example", "", "192.0.2.9", "x", ""
        )
        policy = ReceivedPolicy("sts", "contoso.example", 10, 3, ("mode: enforce",), ("*.contoso.example",), (failure,))
        report = ReceivedReport(organization, "a@b.example", name, begin, begin + 86399, (policy,), 2)
        return StoredReport(begin + 2 * 86400.0, "mail x", report)

    first, second = storage.received_reports(), storage.received_reports()
    assert list(first.read(0, 9e9)) == []
    assert first.keep(kept("1"))
    assert not second.keep(kept("1", "GOOGLE INC."))
    assert second.keep(kept("2", begin=86400.0 * 3))
    assert list(first.read(0, 9e9)) == [kept("1"), kept("2", begin=86400.0 * 3)]
    assert list(first.read(86400.0 * 3, 9e9)) == [kept("2", begin=86400.0 * 3)]
    assert second.forget(86400.0 * 2) == 1
    assert [one.report.report_id for one in first.read(0, 9e9)] == ["2"]


def test_room_that_removed_rows_leave_is_had_again(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    counts, reports = storage.session_counts(), storage.received_reports()
    lines = tuple(token_hex(500) for _ in range(100))
    policies = (ReceivedPolicy("sts", "contoso.example", 1, 0, lines, ()),)

    def kept(number: int, at: float) -> StoredReport:
        return StoredReport(at, "mail x", ReceivedReport("Forger", "", str(number), 9e9, 9e9, policies, 0))

    monkeypatch.setattr("gatepost.store.sent_reports.MOST_OCTETS", 16_000_000)
    assert all(reports.keep(kept(number, 86400.0)) for number in range(9))
    with pytest.raises(StoreFull, match="today"):
        reports.keep(kept(9, 86400.0))
    assert reports.forget(86400.0 * 2) == 9
    assert reports.keep(kept(9, 86400.0))

    monkeypatch.setattr("gatepost.store.session_counts.MOST_OCTETS", 200_000)
    monkeypatch.setattr("gatepost.store.session_counts._MEASURED", 0.0)
    for number in range(60):
        long = [count(applied(PolicyType.STS, f"{number}.example", lines[:8]), domain=f"{number}.example")]
        full = counts.write("2026-11-01", long)
    assert full
    assert counts.prune("2026-11-24") == ["2026-11-01"]
    assert counts.write(DAY, [count()]) == 0
