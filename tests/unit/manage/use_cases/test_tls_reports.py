from __future__ import annotations

import time

import pytest

from gatepost.analysis.reports.tlsrpt import report_object
from gatepost.mail.model.trace_event import TraceEvent
from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases import tls_reports
from gatepost.manage.use_cases.context import Context
from gatepost.manage.use_cases.execution import execute
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.protocols.tlsrpt.received import ReceivedFailure, ReceivedPolicy, ReceivedReport
from gatepost.protocols.tlsrpt.result import ResultType
from gatepost.protocols.tlsrpt.tally import Count, PolicyType, applied, detail
from gatepost.settings.store_url import SQLITE
from gatepost.store.sent_reports import ReceivedReports, StoredReport
from gatepost.store.sqlite.trace import write_events
from gatepost.store.storage import Storage

NOW = time.time()
DAY = "2026-11-24"
ALL = Principal("ann", frozenset({Scope.READ}))
ONE = Principal("bob", frozenset({Scope.READ}), frozenset({"contoso"}))


def run(case, gateway, who=ALL, **request):
    return execute(case, Context(gateway, who, lambda: None), case.request(**request))


def failing(domain):
    failure = ReceivedFailure("certificate-expired", 3, "192.0.2.9", "mx1.example", "", "", "")
    return ReceivedPolicy("sts", domain, 10, 3, (), (), (failure,))


@pytest.fixture
def received(gateway):
    policies = (failing("contoso.example"), failing("fabrikam.example"))
    report = ReceivedReport("Big Mail", "x@big.example", "1", NOW - 3600, NOW - 60, policies, 0)
    Storage(SQLITE, gateway.data).received_reports().keep(StoredReport(NOW, "mail x", report))
    with gateway.config() as store:
        store.apply({"organization": {"contoso": {"accepted_domain": [{"name": "contoso.example"}]}}}, author="t")
    return gateway


def test_reports_of_others_are_seen_by_accepted_domain(received):
    row = TraceEvent(
        NOW - 90, "RECEIVE", "01", "contoso", "incoming", "s", "a@c.example", "b@x.example", peer_address="192.0.2.9"
    )
    write_events(received.data / "trace", "0", [row])
    for who, domains in ((ALL, ["contoso.example", "fabrikam.example"]), (ONE, ["contoso.example"])):
        found = run(tls_reports.list_received_reports, received, who).items
        assert sorted(one.domain for one in found) == domains
        assert found[0].results == {"certificate-expired": 3}
    (failed,) = run(tls_reports.list_received_failures, received, ONE).items
    assert (failed.here.received, failed.here.refused) == (1, 0)
    assert failed.failure.sessions == 3


def test_a_domain_with_all_below_it_has_the_reports_of_what_is_below_it(gateway):
    names = ("contoso.example", "below.contoso.example", "fabrikam.example", "notcontoso.example")
    report = ReceivedReport("Big Mail", "x@big.example", "1", NOW - 3600, NOW - 60, tuple(map(failing, names)), 0)
    Storage(SQLITE, gateway.data).received_reports().keep(StoredReport(NOW, "mail x", report))
    accepted = {"contoso": "*.contoso.example", "fabrikam": "fabrikam.example"}
    with gateway.config() as store:
        resources = {
            name: {"accepted_domain": [{"name": domain, "type": "internal-relay"}]} for name, domain in accepted.items()
        }
        store.apply({"organization": resources}, author="t")
    rows = run(tls_reports.list_received_reports, gateway, ONE).items
    assert sorted(row.domain for row in rows) == ["below.contoso.example", "contoso.example"]


def test_who_sees_all_needs_no_resources(received, monkeypatch):
    def unreadable(_):
        raise Refusal(RefusalKind.UNREADABLE, "no resources")

    monkeypatch.setattr(Context, "directory", unreadable)
    assert len(run(tls_reports.list_received_reports, received).items) == 2
    with pytest.raises(Refusal, match="no resources"):
        run(tls_reports.list_received_reports, received, ONE)


# what is asked for -> how many rows
WANTED = [
    ({}, 2), ({"domain": "Contoso.example"}, 1), ({"reporter": "big"}, 2), ({"reporter": "small"}, 0),
    ({"result": "certificate-expired"}, 2), ({"since": "30s"}, 0), ({"until": "2026-01-01"}, 0), ({"limit": 1}, 1),
]  # fmt: skip


@pytest.mark.parametrize(("wanted", "count"), WANTED)
def test_which_reports_of_others(received, wanted, count):
    assert len(run(tls_reports.list_received_reports, received, **wanted).items) == count


def test_pages_that_follow_read_nothing_again(received, monkeypatch):
    for case in (tls_reports.list_received_reports, tls_reports.list_received_failures):
        whole = run(case, received).items
        first = run(case, received, limit=1)
        with monkeypatch.context() as patched:
            patched.setattr(ReceivedReports, "read", lambda *_: 1 / 0)
            rest = run(case, received, limit=1, after=first.after)
        assert ([*first.items, *rest.items], rest.after) == (whole, None)
        assert len(run(case, received, ONE, limit=1, after=first.after).items) <= 1, "another's is made anew"


def test_what_cannot_be_read_is_a_refusal(gateway):
    for name, case in (
        ("received-reports.db", tls_reports.list_received_reports),
        ("sent-reports.db", tls_reports.list_sent_reports),
    ):
        gateway.data.mkdir(exist_ok=True)
        (gateway.data / name).write_bytes(b"no database at all, though it may look like one" * 50)
        with pytest.raises(Refusal) as refused:
            run(case, gateway)
        assert refused.value.kind is RefusalKind.UNREADABLE


def test_nothing_yet(gateway):
    assert run(tls_reports.list_sent_reports, gateway).items == []
    found = run(tls_reports.get_sessions, gateway, day="2026-01-01")
    assert (found.day, found.reports, found.days) == ("2026-01-01", [], [])


@pytest.mark.parametrize("case", [tls_reports.list_sent_reports, tls_reports.get_sessions])
def test_what_is_about_all_mail_is_not_for_who_sees_some_of_it(gateway, case):
    with pytest.raises(Refusal) as refused:
        run(case, gateway, ONE)
    assert refused.value.kind is RefusalKind.FORBIDDEN


@pytest.mark.parametrize(
    ("case", "wrong"),
    [
        (tls_reports.get_sessions, {"day": "2026-02-30"}),
        (tls_reports.get_sessions, {"domain": "no domain"}),
        (tls_reports.list_sent_reports, {"since": "2026-99-01"}),
        (tls_reports.list_received_reports, {"until": "x"}),
    ],
)
def test_what_is_wrong_is_said_by_field(gateway, case, wrong):
    with pytest.raises(Refusal) as refused:
        run(case, gateway, **wrong)
    assert [one.path for one in refused.value.errors] == list(wrong)


def test_report_objects_tell_all_that_was_counted(gateway):
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
    Storage(SQLITE, gateway.data).session_counts().write(DAY, counts)
    for domain, count in (("", 2), ("b.example", 1), ("c.example", 0)):
        found = run(tls_reports.get_sessions, gateway, day=DAY, domain=domain)
        counted, _ = tls_reports.counted_sessions(gateway.storage.session_counts(), DAY, domain)
        assert [one["report"] for one in found.reports] == [report_object(summary) for summary in counted]
        assert (len(found.reports), found.days) == (count, [DAY])
    (judged,) = run(tls_reports.get_sessions, gateway, day=DAY, domain="b.example").reports[0]["report"]["policies"]
    assert judged["policy"] == {
        "policy-type": "sts", "policy-string": ["version: STSv1"], "policy-domain": "b.example",
        "mx-host": ["*.b.example"],
    }  # fmt: skip
    assert judged["summary"] == {"total-successful-session-count": 90, "total-failure-session-count": 7}
    assert judged["failure-details"] == [
        {
            "result-type": "certificate-host-mismatch", "sending-mta-ip": "198.51.100.7",
            "receiving-mx-hostname": "mx.b.example", "receiving-mx-helo": "h.b.example", "receiving-ip": "192.0.2.1",
            "failed-session-count": 7, "failure-reason-code": "SubjectMismatch",
        }
    ]  # fmt: skip


def test_what_we_sent(gateway):
    Storage(SQLITE, gateway.data).sent_reports().plan(DAY, [("b.example", NOW), ("c.example", NOW)])
    for wanted, count in (
        ({"since": DAY}, 2),
        ({"since": DAY, "domain": "c.example"}, 1),
        ({"since": "2099-01-01"}, 0),
    ):
        found = run(tls_reports.list_sent_reports, gateway, **wanted).items
        assert [one.state for one in found] == ["waiting"] * count
