from __future__ import annotations

import pytest

from gatepost.protocols.tlsrpt.result import ResultType
from gatepost.protocols.tlsrpt.tally import Count, PolicyType, applied, detail
from gatepost.settings.store_url import SQLITE
from gatepost.store.storage import Storage

DAY = "2026-11-24"
STS = applied(PolicyType.STS, "b.example", ["version: STSv1", "mode: testing"], ["*.b.example"])
NONE = applied(PolicyType.NONE, "a.example")
MISMATCH = detail(
    ResultType.CERTIFICATE_HOST_MISMATCH, mx_host="mx.b.example", address="192.0.2.1", reason="SubjectMismatch"
)


@pytest.fixture
def counted(home):
    Storage(SQLITE, home.data).session_counts().write(
        DAY,
        [
            Count(DAY, "b.example", STS, None, 90),
            Count(DAY, "b.example", STS, MISMATCH, 7),
            Count(DAY, "b.example", STS, detail(ResultType.STS_POLICY_FETCH_ERROR), 2),
            Count(DAY, "a.example", NONE, None, 1),
        ],
    )
    return home


def test_a_day_as_a_table(counted):
    first, second, third = counted.table("report", "tlsrpt", "--day", DAY)
    assert first == {
        "domain": "a.example",
        "policy": "no-policy-found",
        "policy domain": "a.example",
        "passed": "1",
        "failed": "0",
        "result": "",
        "sessions": "",
        "host": "",
        "address": "",
        "reason": "",
    }
    assert [second[name] for name in ("domain", "policy", "passed", "failed")] == ["b.example", "sts", "90", "9"]
    assert [second[name] for name in ("result", "sessions", "host", "address", "reason")] == [
        "certificate-host-mismatch",
        "7",
        "mx.b.example",
        "192.0.2.1",
        "SubjectMismatch",
    ]
    assert [third[name] for name in ("domain", "passed", "result", "sessions")] == [
        "b.example",
        "",
        "sts-policy-fetch-error",
        "2",
    ]


def test_one_domain_for_machines(counted):
    found = counted.json("report", "tlsrpt", "--day", DAY, "--domain", "B.Example.")
    assert list(found) == ["day", "left_to_the_sender", "reports", "days"]
    assert found["left_to_the_sender"] == ["organization-name", "contact-info", "report-id"]
    (one,) = found["reports"]
    assert one["domain"] == "b.example"
    assert one["report"]["policies"][0]["summary"]["total-failure-session-count"] == 9
    assert not set(found["left_to_the_sender"]) & set(one["report"])


def test_today_is_the_default(counted, monkeypatch):
    monkeypatch.setattr("gatepost.manage.use_cases.tls_reports.time.time", lambda: 1_795_528_800.0)
    assert len(counted.table("report", "tlsrpt")) == 3


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--day", "2026-11-23"], 1, "no TLS sessions were counted on 2026-11-23; there are counts of 2026-11-24"),
        (["--day", DAY, "--domain", "c.example"], 1, "no TLS sessions with c.example were counted"),
        (["--day", "24.11.2026"], 2, "--day: must be a day (UTC), written like 2026-11-24"),
        (["--day", "2026-11-31"], 2, "not a day like 2026-11-24"),
        (["--domain", "no domain"], 2, "is not a domain name"),
    ],
)
def test_what_is_not_there(counted, words, code, says):
    result = counted.call("report", "tlsrpt", *words, code=code)
    assert says in result.stderr


def test_a_gateway_that_counted_nothing(home):
    assert "no day has counts" in home.call("report", "tlsrpt", code=1).stderr
    assert home.json("report", "tlsrpt", "--day", DAY, code=1)["reports"] == []


def test_several_days(counted):
    Storage(SQLITE, counted.data).session_counts().write("2026-11-20", [Count("2026-11-20", "b.example", STS, None, 1)])
    result = counted.call("report", "tlsrpt", "--day", "2026-11-01", code=1)
    assert "there are counts of 2026-11-20 to 2026-11-24" in result.stderr


def test_counts_that_cannot_be_read(home):
    home.data.mkdir()
    (home.data / "session-counts.db").write_bytes(b"this is not a database" * 100)
    assert "session-counts.db" in home.call("report", "tlsrpt", "--day", DAY, code=3).stderr
