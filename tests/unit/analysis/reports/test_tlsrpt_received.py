from __future__ import annotations

from typing import Any

import pytest

from gatepost.analysis.reports.tlsrpt import ReportFilter, SeenHere, failed_there, reported
from gatepost.protocols.tlsrpt.received import ReceivedFailure, ReceivedPolicy, ReceivedReport
from gatepost.store.sent_reports import StoredReport

EXPIRED = ReceivedFailure("certificate-expired", 3, "192.0.2.1", "mx1.contoso.example")
NO_TLS = ReceivedFailure("starttls-not-supported", 1, "192.0.2.2")
NOBODY = ReceivedFailure("validation-failure", 2)


def kept(organization: str, *policies: ReceivedPolicy) -> StoredReport:
    return StoredReport(9.0, "mail x", ReceivedReport(organization, "", "1", 0.0, 86_399.0, policies))


FOUND = [
    kept("Google Inc.", ReceivedPolicy("sts", "contoso.example", 90, 4, failures=(EXPIRED, NO_TLS))),
    kept("Google Inc.", ReceivedPolicy("sts", "contoso.example", 10, 3, failures=(EXPIRED,)),
         ReceivedPolicy("tlsa", "contoso.example", 5, 2, failures=(NOBODY,))),
    kept("Partner", ReceivedPolicy("sts", "fabrikam.example", 7, 0)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("wished", "expected"),
    [
        ({}, [("Google Inc.", "sts", 2, 100, 7), ("Google Inc.", "tlsa", 1, 5, 2), ("Partner", "sts", 1, 7, 0)]),
        ({"domain": "fabrikam.example"}, [("Partner", "sts", 1, 7, 0)]),
        ({"reporter": "google"}, [("Google Inc.", "sts", 2, 100, 7), ("Google Inc.", "tlsa", 1, 5, 2)]),
        ({"result": "validation-failure"}, [("Google Inc.", "tlsa", 1, 5, 2)]),
        ({"domain": "nowhere.example"}, []),
    ],
)
def test_sums(wished: dict[str, str], expected: list[tuple[Any, ...]]) -> None:
    found = reported(FOUND, ReportFilter(**wished))
    assert [(one.reporter, one.policy, one.reports, one.passed, one.failed) for one in found] == expected


def test_results_are_summed_up() -> None:
    assert reported(FOUND, ReportFilter())[0].results == {"certificate-expired": 6, "starttls-not-supported": 1}


def test_failures_beside_our_own_trace() -> None:
    here = {("RECEIVE", "192.0.2.1"): 5, ("REFUSE", "192.0.2.2"): 1, ("RECEIVE", ""): 99}
    found = list(failed_there(FOUND, ReportFilter(), here))
    assert [(one.failure.result, one.policy, one.here) for one in found] == [
        ("certificate-expired", "sts", SeenHere(5, 0)),
        ("starttls-not-supported", "sts", SeenHere(0, 1)),
        ("certificate-expired", "sts", SeenHere(5, 0)),
        ("validation-failure", "tlsa", None),
    ]
    only = failed_there(FOUND, ReportFilter(result="starttls-not-supported"), here)
    assert [one.failure for one in only] == [NO_TLS]
