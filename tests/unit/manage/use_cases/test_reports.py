from __future__ import annotations

import time

import pytest

from gatepost.analysis.reports.received import Wished
from gatepost.analysis.reports.tls import Direction, Wanted
from gatepost.mail.model.trace_event import TraceEvent
from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases import reports
from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.protocols.tlsrpt.received import ReceivedFailure, ReceivedPolicy, ReceivedReport
from gatepost.store.received_reports import Kept, keep_report
from gatepost.store.trace import write_events

NOW = time.time()
ALL = Principal("ann", frozenset({Scope.READ}))
ONE = Principal("bob", frozenset({Scope.READ}), frozenset({"contoso"}))


def sent(organization="contoso", event="SEND", **more):
    return TraceEvent(NOW, event, "01", organization, "originating", "s", "a@c.example", "b@lab.example", **more)


@pytest.mark.parametrize(
    ("since", "until", "expected"),
    [
        ("", "", ("1969-12-12", "1970-01-10")),
        ("", "2026-03-31", ("2026-03-02", "2026-03-31")),
        ("2026-03-31", "2026-03-31", ("2026-03-31", "2026-03-31")),
        ("2025-02-25", "2026-03-31", ("2025-02-25", "2026-03-31")),
        ("", "0001-01-03", ("0001-01-01", "0001-01-03")),
    ],
)
def test_periods(since, until, expected):
    assert reports.period(since, until, now=9.5 * 86_400) == expected


@pytest.mark.parametrize(
    ("since", "until", "field"),
    [
        ("x", "", "since"),
        ("", "2026-02-30", "until"),
        ("9999-12-01", "9999-12-31", "until"),
        ("2026-03-31", "2026-03-30", "since"),
        ("2025-02-24", "2026-03-31", "since"),
    ],
)
def test_what_is_no_period(since, until, field):
    with pytest.raises(Refusal) as refused:
        reports.period(since, until, now=NOW)
    assert refused.value.kind is Kind.INPUT
    assert [error.path for error in refused.value.errors] == [field]


def test_the_times_of_a_period():
    assert reports.Period("1970-01-02", "1970-01-03").times == (86_400.0, 3 * 86_400.0)
    assert reports.Period("1970-01-02", "1970-01-03").days == 2


def test_who_sees_some_organizations_has_their_mail_counted(gateway):
    write_events(gateway.data / "trace", "0", [sent(), sent("fabrikam"), sent("")])
    for who, wanted, count in [
        (ALL, Wanted(), 3), (ONE, Wanted(), 1), (ONE, Wanted("contoso"), 1), (ONE, Wanted("fabrikam"), 0)
    ]:  # fmt: skip
        report = reports.tls_report(gateway, who, wanted, reports.period())
        assert report.hops[Direction.OUTBOUND].carried == count
        counted = reports.pictures(gateway, who, wanted, reports.period(), 30)
        assert counted.value.hops[Direction.OUTBOUND].carried == count


def test_lists_have_a_bound_if_one_is_asked_for(gateway):
    rows = [sent() for _ in range(3)]
    rows += [
        TraceEvent(NOW, "SEND", "02", "contoso", "originating", "s", "a@c.example", f"x@d{n}.example") for n in range(5)
    ]
    write_events(gateway.data / "trace", "0", rows)
    report = reports.tls_report(gateway, ALL, Wanted(), reports.period(), most=2)
    assert report.partners[0].name == "lab.example"
    assert len(report.partners) == len(report.never_tls) == 2
    assert report.hops[Direction.OUTBOUND].carried == 8


def failing(domain):
    failure = ReceivedFailure("certificate-expired", 3, "192.0.2.9", "mx1.example", "", "", "")
    return ReceivedPolicy("sts", domain, 10, 3, (), (), (failure,))


@pytest.fixture
def received(gateway):
    policies = (failing("contoso.example"), failing("fabrikam.example"))
    report = ReceivedReport("Big Mail", "x@big.example", "1", NOW - 3600, NOW, policies, 0)
    keep_report(gateway.data, Kept(NOW, "mail x", report))
    with gateway.config() as store:
        store.apply({"organization": {"contoso": {"accepted_domain": [{"name": "contoso.example"}]}}}, author="t")
    return gateway


def test_reports_of_others_are_seen_by_accepted_domain(received):
    write_events(received.data / "trace", "0", [sent(event="RECEIVE", peer_address="192.0.2.9")])
    for who, domains in ((ALL, ["contoso.example", "fabrikam.example"]), (ONE, ["contoso.example"])):
        found = reports.received(received, who, Wished(), NOW - 7200, NOW)
        assert sorted(one.domain for one in found.sums()) == domains
        assert reports.received_record(found.sums()[0])["results"] == {"certificate-expired": 3}
    (failed,) = reports.received_failures(received, ONE, found)
    assert (failed.here.received, failed.here.refused) == (1, 0)
    assert reports.failures_record(failed)["failure"]["sessions"] == 3


def test_what_cannot_be_read_is_a_refusal(gateway):
    for name, read in (
        ("received-reports.db", lambda: reports.received(gateway, ALL, Wished(), 0, NOW)),
        ("sent-reports.db", lambda: reports.sent(gateway, ALL, "2026-01-01")),
    ):
        gateway.data.mkdir(exist_ok=True)
        (gateway.data / name).write_bytes(b"no database at all, though it may look like one" * 50)
        with pytest.raises(Refusal) as refused:
            read()
        assert refused.value.kind is Kind.UNREADABLE


def test_nothing_yet(gateway):
    assert reports.sent(gateway, ALL, "2026-01-01") == []
    assert reports.sessions(gateway, ALL, "2026-01-01") == ("2026-01-01", [], [])
    assert reports.sessions_record(reports.sessions(gateway, ALL, "2026-01-01"))["reports"] == []
    assert reports.connectors_record(reports.tls_report(gateway, ALL, Wanted(), reports.period())) == []


def test_names_of_domains():
    assert reports.domain_name("partner", "Bücher.example") == "xn--bcher-kva.example"
    assert reports.domain_name("partner", "") == ""
    with pytest.raises(Refusal) as refused:
        reports.domain_name("partner", "no domain")
    assert [error.path for error in refused.value.errors] == ["partner"]


@pytest.mark.parametrize("asked", [reports.sent, reports.sessions])
def test_what_is_about_all_mail_is_not_for_who_sees_some_of_it(gateway, asked):
    with pytest.raises(Refusal) as refused:
        asked(gateway, ONE, "2026-01-01")
    assert refused.value.kind is Kind.FORBIDDEN


def test_a_day():
    assert reports.utc_day("since", "2026-01-02") == "2026-01-02"
    with pytest.raises(Refusal):
        reports.utc_day("since", "2nd of January")
