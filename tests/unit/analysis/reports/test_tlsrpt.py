from __future__ import annotations

from pathlib import Path

from gatepost.analysis.reports.tlsrpt import PolicySummary, report_object, summaries
from gatepost.protocols.tlsrpt.result import ResultType
from gatepost.protocols.tlsrpt.tally import Count, PolicyType, applied, detail
from gatepost.settings.store_url import SQLITE
from gatepost.store.storage import Storage

DAY = "2026-11-24"
TLSA = applied(PolicyType.TLSA, "mx.b.example", [f"3 1 1 {'aa' * 32}"])
STS = applied(PolicyType.STS, "b.example", ["version: STSv1", "mode: testing"], ["*.b.example"])
NONE = applied(PolicyType.NONE, "a.example")
MISMATCH = detail(
    ResultType.CERTIFICATE_HOST_MISMATCH,
    mx_host="mx.b.example",
    address="192.0.2.1",
    helo="helo.b.example",
    sending_address="198.51.100.7",
    reason="SubjectMismatch",
)
NOT_FETCHED = detail(ResultType.STS_POLICY_FETCH_ERROR)


def write(directory: Path) -> None:
    Storage(SQLITE, directory).session_counts().write(
        DAY,
        [
            Count(DAY, "b.example", STS, None, 90),
            Count(DAY, "b.example", STS, NOT_FETCHED, 2),
            Count(DAY, "b.example", STS, MISMATCH, 7),
            Count(DAY, "b.example", TLSA, None, 99),
            Count(DAY, "a.example", NONE, NOT_FETCHED, 1),
        ],
    )


def test_a_day_by_domain_and_policy(tmp_path: Path) -> None:
    write(tmp_path)
    first, second = summaries(Storage(SQLITE, tmp_path).session_counts(), DAY)
    assert (first.domain, first.policies) == ("a.example", (PolicySummary(NONE, 0, ((NOT_FETCHED, 1),)),))
    assert (second.domain, second.day) == ("b.example", DAY)
    assert second.policies == (
        PolicySummary(TLSA, 99),
        PolicySummary(STS, 90, ((MISMATCH, 7), (NOT_FETCHED, 2))),
    )
    assert [one.failed for one in second.policies] == [0, 9]
    assert summaries(Storage(SQLITE, tmp_path).session_counts(), DAY, "b.example") == [second]
    assert (
        summaries(Storage(SQLITE, tmp_path).session_counts(), DAY, "c.example")
        == summaries(Storage(SQLITE, tmp_path).session_counts(), "2026-11-23")
        == []
    )


def test_the_report_has_the_names_of_the_rfc(tmp_path: Path) -> None:
    write(tmp_path)
    assert report_object(summaries(Storage(SQLITE, tmp_path).session_counts(), DAY, "b.example")[0]) == {
        "date-range": {"start-datetime": "2026-11-24T00:00:00Z", "end-datetime": "2026-11-24T23:59:59Z"},
        "policies": [
            {
                "policy": {
                    "policy-type": "tlsa",
                    "policy-string": [f"3 1 1 {'aa' * 32}"],
                    "policy-domain": "mx.b.example",
                },
                "summary": {"total-successful-session-count": 99, "total-failure-session-count": 0},
            },
            {
                "policy": {
                    "policy-type": "sts",
                    "policy-string": ["version: STSv1", "mode: testing"],
                    "policy-domain": "b.example",
                    "mx-host": ["*.b.example"],
                },
                "summary": {"total-successful-session-count": 90, "total-failure-session-count": 9},
                "failure-details": [
                    {
                        "result-type": "certificate-host-mismatch",
                        "sending-mta-ip": "198.51.100.7",
                        "receiving-mx-hostname": "mx.b.example",
                        "receiving-mx-helo": "helo.b.example",
                        "receiving-ip": "192.0.2.1",
                        "failed-session-count": 7,
                        "failure-reason-code": "SubjectMismatch",
                    },
                    {"result-type": "sts-policy-fetch-error", "failed-session-count": 2},
                ],
            },
        ],
    }
