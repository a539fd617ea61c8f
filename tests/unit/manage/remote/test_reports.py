from __future__ import annotations

import time

import pytest

from gatepost.analysis.reports.received import Wished
from gatepost.analysis.reports.tls import Wanted
from gatepost.analysis.reports.tls_record import csv_rows
from gatepost.mail.model.trace_event import TraceEvent
from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.remote import reports
from gatepost.manage.use_cases import reports as here
from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.protocols.tlsrpt.received import ReceivedFailure, ReceivedPolicy, ReceivedReport
from gatepost.protocols.tlsrpt.result import ResultType
from gatepost.protocols.tlsrpt.tally import Count, PolicyType, applied, detail
from gatepost.store.received_reports import Kept, keep_report
from gatepost.store.sent_reports import SentReports
from gatepost.store.session_counts import SESSIONS_DIRECTORY, write_counts
from gatepost.store.trace import write_events

from .conftest import OWNER

NOW = time.time()
ALL = Wished("", "", "")
DAY = "2026-11-24"
TENANT = Principal("tim", frozenset({Scope.READ}), frozenset({"fabrikam"}))


def event(recipient, kind="SEND", organization="contoso", **more):
    ends = "a@contoso.example", recipient
    return TraceEvent(NOW, kind, "01", organization, "originating", "s", *ends, **more)


@pytest.fixture
def mailed(there):
    """Mail of several ways, a failure for TLS, and partners of two organizations."""
    secured = {"tls_version": "TLSv1.3", "achieved": "none/authenticated", "connector": "bank/out"}
    failed = event("c@c.example", "DEFER", result_type="certificate-expired")
    rows = [
        *(event("b@bank.example", **secured) for _ in range(12)),
        *(event("x@clear.example", organization="fabrikam", achieved="none/none") for _ in range(11)),
        failed,
    ]
    write_events(there.api.gateway.data / "trace", "0", rows)
    return there


@pytest.mark.parametrize("wanted", [{}, {"organization": "fabrikam"}, {"partner": "bank.example"}, {"at_least": 12}])
def test_how_mail_was_protected_is_the_same(mailed, wanted):
    days, asked = here.period(), Wanted(**wanted)
    found, expected = reports.tls_report(mailed, asked, days), here.tls_report(mailed.api.gateway, OWNER, asked, days)
    assert found == expected
    assert list(csv_rows(found)) == list(csv_rows(expected))
    assert any(hops.carried for hops in found.hops.values())


def test_partners_are_cut_there(mailed):
    found = reports.tls_report(mailed, Wanted(), here.period(), 1)
    assert found == here.tls_report(mailed.api.gateway, OWNER, Wanted(), here.period(), 1)
    assert len(found.partners) == 1
    assert "top=1&" in f"{mailed.calls[-1]}&"


def test_a_time_that_is_too_long_is_refused_there(there):
    with pytest.raises(Refusal) as refused:
        reports.tls_report(there, Wanted(), here.Period("2020-01-01", DAY))
    assert refused.value.kind is Kind.INPUT
    assert "more than 400 days" in refused.value.errors[0].message


def test_sessions_are_the_same(there):
    sts = applied(PolicyType.STS, "b.example", ["version: STSv1"], ["*.b.example"])
    failure = detail(
        ResultType.CERTIFICATE_HOST_MISMATCH, mx_host="mx.b.example", address="192.0.2.1", helo="h.b.example",
        sending_address="198.51.100.7", reason="SubjectMismatch",
    )  # fmt: skip
    counts = [
        Count(DAY, "b.example", sts, None, 90),
        Count(DAY, "b.example", sts, failure, 7),
        Count(DAY, "a.example", applied(PolicyType.NONE, "a.example"), None, 1),
    ]
    write_counts(there.api.gateway.data / SESSIONS_DIRECTORY, DAY, counts)
    for domain in ("", "b.example", "c.example"):
        found = reports.sessions(there, DAY, domain)
        assert found == here.sessions(there.api.gateway, OWNER, DAY, domain)
        assert found.days == [DAY]
    assert len(reports.sessions(there, DAY).found) == 2


@pytest.fixture
def received(there):
    failures = (ReceivedFailure("certificate-expired", 3, "198.51.100.7", "mx", "", "192.0.2.1", "why", "more"),)
    for number, policies in enumerate((failures, (), (ReceivedFailure("validation-failure", 1),))):
        policy = ReceivedPolicy("sts", "contoso.example", 7, sum(one.sessions for one in policies), failures=policies)
        report = ReceivedReport(f"Big {number}", "c", f"id{number}", NOW - 3600, NOW - 60, (policy,))
        keep_report(there.api.gateway.data, Kept(NOW, "198.51.100.1", report))
    write_events(there.api.gateway.data / "trace", "0", [event("x", "RECEIVE", peer_address="198.51.100.7")])
    return there


@pytest.mark.parametrize(
    "wished",
    [ALL, Wished("contoso.example", "ig 0", ""), Wished("", "", "validation-failure"), Wished("x.example", "", "")],
)
def test_what_others_report_is_the_same(received, wished, monkeypatch):
    monkeypatch.setattr("gatepost.manage.remote.connection._PAGE", 2)
    asked = wished, NOW - 7200, NOW
    assert reports.received_sums(received, *asked) == here.received_sums(received.api.gateway, OWNER, *asked)
    found = reports.received_failed(received, *asked)
    assert found == here.received_failed(received.api.gateway, OWNER, *asked)
    if wished is ALL:
        assert [bool(one.here) for one in found] == [True, False]


def test_what_we_sent_is_the_same(there):
    SentReports(there.api.gateway.data).plan(DAY, [("b.example", NOW), ("c.example", NOW)])
    for since, domain in ((DAY, ""), (DAY, "c.example"), ("2026-11-25", ""), ("2020-01-01", ""), ("2099-01-01", "")):
        assert reports.sent(there, since, domain) == here.sent(there.api.gateway, OWNER, since, domain)
    assert len(reports.sent(there, DAY)) == 2


def test_what_is_about_all_mail_is_refused_to_a_tenant(there):
    there.api.who = TENANT
    for asked in (lambda: reports.sent(there, DAY), lambda: reports.sessions(there, DAY)):
        with pytest.raises(Refusal) as refused:
            asked()
        assert refused.value.kind is Kind.FORBIDDEN
