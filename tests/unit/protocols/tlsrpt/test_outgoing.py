from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from gatepost.protocols.tlsrpt.outgoing import GRACE, GivenUp, Reporter, back_off, due_at, mail_address, outgoing
from gatepost.protocols.tlsrpt.received import parse_report, unpack

REPORTER = Reporter("Contoso Hospital", "tls@contoso.example", "contoso.example")
DAY = "2026-11-24"
MIDNIGHT = 1_795_564_800.0  # at the end of that day
REPORT: dict[str, Any] = {
    "date-range": {"start-datetime": f"{DAY}T00:00:00Z", "end-datetime": f"{DAY}T23:59:59Z"},
    "policies": [
        {
            "policy": {"policy-type": "no-policy-found", "policy-domain": "b.example"},
            "summary": {"total-successful-session-count": 7, "total-failure-session-count": 0},
        }
    ],
}


def test_a_report_says_who_sends_it() -> None:
    made = outgoing(REPORT, REPORTER, DAY, "b.example")
    assert list(made.document) == ["organization-name", "date-range", "contact-info", "report-id", "policies"]
    local_part, _, domain = made.report_id.partition("@")
    assert (domain, made.domain, made.submitter) == ("contoso.example", "b.example", "contoso.example")
    assert local_part.isalnum()
    assert local_part.startswith("20261124")
    assert made.file_name == f"contoso.example!b.example!1795478400!1795564799!{local_part}.json.gz"
    assert json.loads(gzip.decompress(made.content)) == made.document
    read = parse_report(unpack(made.content))
    assert (read.organization, read.contact) == (REPORTER.organization, REPORTER.contact)
    assert read.report_id == made.report_id
    assert (read.begin, read.end) == (MIDNIGHT - 86_400, MIDNIGHT - 1)
    assert [(one.type, one.domain, one.passed) for one in read.policies] == [("no-policy-found", "b.example", 7)]


def test_who_gets_a_report_twice_can_tell() -> None:
    one, again = (outgoing(REPORT, REPORTER, DAY, "b.example") for _ in range(2))
    assert one.content == again.content
    others = [
        outgoing(REPORT, REPORTER, DAY, "c.example"),
        outgoing(REPORT, REPORTER, "2026-11-25", "b.example"),
        outgoing(REPORT, Reporter("Contoso", "tls", "other.example"), DAY, "b.example"),
    ]
    assert len({one.report_id, *(other.report_id for other in others)}) == 4


def test_reports_do_not_all_go_at_midnight() -> None:
    times = [due_at(DAY, f"d{number}.example", 3600.0) - MIDNIGHT - GRACE for number in range(1000)]
    assert all(0 <= one < 3600 for one in times)
    assert 1500 < sum(times) / 1000 < 2100
    assert due_at(DAY, "b.example", 3600.0) == due_at(DAY, "b.example", 3600.0)
    assert due_at("2026-11-25", "b.example", 3600.0) - due_at(DAY, "b.example", 3600.0) == 86_400
    assert due_at(DAY, "b.example", 0) == MIDNIGHT + GRACE


def test_tries_are_further_and_further_apart_for_a_day() -> None:
    now, waits = 1000.0, []
    for tries in range(1, 100):
        try:
            again = back_off(tries, "b.example", 1000.0, now)
        except GivenUp:
            break
        waits.append(again - now)
        now = again
    assert now == 1000.0 + 86_400
    assert 8 <= len(waits) <= 12
    assert 300 <= waits[0] <= 450
    assert waits[:6] == sorted(waits[:6])
    assert max(waits) <= 1.5 * 14_400
    assert back_off(1, "c.example", 1000.0, 1000.0) != back_off(1, "b.example", 1000.0, 1000.0)


def test_a_try_that_ends_just_before_the_day_does_is_not_the_last_at_once() -> None:
    assert back_off(9, "b.example", 0.0, 86_399.5) == 86_400.5
    with pytest.raises(GivenUp):
        back_off(9, "b.example", 0.0, 86_400.0)


@pytest.mark.parametrize(
    ("uri", "address"),
    [
        ("mailto:tls@b.example", "tls@b.example"),
        ("MAILTO:tls@b.example?subject=x", "tls@b.example"),
        ("mailto:tls%21x@b.example", "tls!x@b.example"),
    ],
)
def test_the_address_of_a_mailto(uri: str, address: str) -> None:
    assert mail_address(uri) == address
