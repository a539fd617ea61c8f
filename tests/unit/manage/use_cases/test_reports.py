from __future__ import annotations

import time

import pytest

from gatepost.analysis.reports.tls import Direction
from gatepost.mail.model.trace_event import TraceEvent
from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases import reports
from gatepost.manage.use_cases.context import Context
from gatepost.manage.use_cases.execution import execute
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.store.sqlite.trace import write_events

NOW = time.time()
ALL = Principal("ann", frozenset({Scope.READ}))
ONE = Principal("bob", frozenset({Scope.READ}), frozenset({"contoso"}))


def run(case, gateway, who=ALL, **request):
    return execute(case, Context(gateway, who, lambda: None), case.request(**request))


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
    assert refused.value.kind is RefusalKind.INPUT
    assert [error.path for error in refused.value.errors] == [field]


def test_the_times_of_a_period():
    assert reports.Period("1970-01-02", "1970-01-03").times == (86_400.0, 3 * 86_400.0)
    assert reports.Period("1970-01-02", "1970-01-03").days == 2


# who, organization -> rows
SEEN = [(ALL, "", 3), (ONE, "", 1), (ONE, "contoso", 1), (ONE, "fabrikam", 0)]


def test_who_sees_some_organizations_has_their_mail_counted(gateway):
    write_events(gateway.data / "trace", "0", [sent(), sent("fabrikam"), sent("")])
    for who, organization, count in SEEN:
        report = run(reports.get_tls_report, gateway, who, organization=organization)
        assert report.hops["outbound"].carried == count
        counted = run(reports.get_tls_pictures, gateway, who, organization=organization, wait=30.0)
        assert counted.value.hops[Direction.OUTBOUND].carried == count


def test_lists_have_a_bound(gateway):
    rows = [sent() for _ in range(3)]
    rows += [
        TraceEvent(NOW, "SEND", "02", "contoso", "originating", "s", "a@c.example", f"x@d{n}.example") for n in range(5)
    ]
    write_events(gateway.data / "trace", "0", rows)
    report = run(reports.get_tls_report, gateway, top=2)
    assert report.partners[0].name == "lab.example"
    assert len(report.partners) == len(report.never_tls) == 2
    assert report.hops["outbound"].carried == 8


def test_connectors_are_of_all_partners(gateway):
    assert run(reports.get_connector_report, gateway).items == []
    write_events(gateway.data / "trace", "0", [sent(connector="out")])
    (found,) = run(reports.get_connector_report, gateway, partner="another.example").items
    assert (found.name, found.direction, found.carried) == ("out", "outbound", 1)


def test_names_of_domains():
    assert reports.domain_name("partner", "Bücher.example") == "xn--bcher-kva.example"
    assert reports.domain_name("partner", "") == ""
    with pytest.raises(Refusal) as refused:
        reports.domain_name("partner", "no domain")
    assert [error.path for error in refused.value.errors] == ["partner"]


def test_a_day():
    assert reports.utc_day("since", "2026-01-02") == "2026-01-02"
    with pytest.raises(Refusal):
        reports.utc_day("since", "2nd of January")
