from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

import pytest

from gatepost.analysis.reports.pictures import span
from gatepost.analysis.reports.tls import Direction, Protection
from gatepost.manage.pages.report_charts import ReportView, read_view
from gatepost.manage.use_cases.refusal import Refusal
from gatepost.manage.use_cases.reports import Period, period

NOW = 1_764_000_000.0  # 2025-11-24


def asked(href):
    return urlsplit(href).path, dict(parse_qsl(urlsplit(href).query))


@pytest.fixture
def view():
    return read_view({"since": "2025-11-20", "organization": "contoso"}, NOW)


def test_what_an_address_asks(view):
    assert view == ReportView(Period("2025-11-20", "2025-11-24"), "contoso", "2025-11-24")
    assert read_view({}, NOW).days == period("", "", NOW)
    with pytest.raises(Refusal):
        read_view({"since": "<b>"}, NOW)


@pytest.mark.parametrize(("days", "length"), [(1, 1), (31, 1), (32, 7), (217, 7), (218, 28), (400, 28)])
def test_a_chart_has_few_parts_that_are_all_of_the_time(days, length):
    last = "2025-11-24"
    first = span("2024-01-01", last)[-days]
    view = ReportView(Period(first, last), "", last)
    parts = view.parts
    assert len(parts) <= 31
    assert [place for part in parts for place in range(*part.places)] == list(range(days))
    assert [day for part in parts for day in span(part.first, part.last)] == span(first, last)
    assert parts[0].places == (0, min(length, days))
    assert parts[0].code == first.replace("-", "") + (f".{length}" if length > 1 else "")
    assert (parts[0].title == first) is (length == 1)


def test_the_trace_behind_a_number(view):
    part = view.parts[1]
    assert asked(view.protected(Direction.OUTBOUND, Protection.CLEARTEXT, part)) == (
        "/trace",
        {
            "since": "2025-11-21T00:00Z",
            "until": "2025-11-22T00:00Z",
            "organization": "contoso",
            "event": "SEND",
            "protection": "cleartext",
        },
    )
    assert asked(view.rows(Direction.INBOUND, None, **view.partner(Direction.INBOUND, "x.example"))) == (
        "/trace",
        {"since": "2025-11-20T00:00Z", "until": "2025-11-25T00:00Z", "organization": "contoso", "event": "RECEIVE",
         "sender": "@x.example"},
    )  # fmt: skip
    assert view.partner(Direction.OUTBOUND, "x.example") == {"recipient": "@x.example"}
    assert view.partner(Direction.OUTBOUND, "") == {}


def test_other_pages_and_days(view):
    assert asked(view.link("/reports/blocked", table="x")) == (
        "/reports/blocked",
        {"since": "2025-11-20", "until": "2025-11-24", "organization": "contoso", "table": "x"},
    )
    assert asked(view.last_days("/reports", 7))[1]["since"] == "2025-11-18"
