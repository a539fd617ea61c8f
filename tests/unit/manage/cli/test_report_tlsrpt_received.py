from __future__ import annotations

import time

import pytest

from gatepost.mail.model.trace_event import TraceEvent
from gatepost.protocols.tlsrpt.received import ReceivedFailure, ReceivedPolicy, ReceivedReport
from gatepost.settings.store_url import SQLITE
from gatepost.store.sent_reports import RECEIVED, StoredReport
from gatepost.store.sqlite.trace import write_events
from gatepost.store.storage import Storage

NOW = time.time()
FAILED = ReceivedFailure("certificate-expired", 3, "192.0.2.1", "mx1.contoso.example", reason="X509")


@pytest.fixture
def received(home):
    begin = NOW - 86_400
    policy = ReceivedPolicy("sts", "contoso.example", 90, 3, failures=(FAILED,))
    Storage(SQLITE, home.data).received_reports().keep(
        StoredReport(NOW, "mail x", ReceivedReport("Google\x1b Inc.", "", "1", begin, NOW - 1, (policy,)))
    )
    row = {"peer_address": "192.0.2.1"}
    events = [
        TraceEvent(begin + 5, "RECEIVE", "1", "contoso", "incoming", "s", "a@b.example", "ann@contoso.example", **row),
        TraceEvent(begin + 6, "RECEIVE", "2", "contoso", "incoming", "s", "a@b.example", "ann@contoso.example", **row),
        TraceEvent(begin + 7, "REFUSE", "", "contoso", "incoming", "s", "a@b.example", "x@contoso.example", **row),
        TraceEvent(begin + 8, "RECEIVE", "", "contoso", "incoming", "s", "a@b.example", "x@contoso.example"),
    ]
    write_events(home.data / "trace", "0", events)
    return home


def test_sums(received):
    (row,) = received.table("report", "received")
    assert row == {
        "reporter": "Google? Inc.",
        "domain": "contoso.example",
        "policy": "sts",
        "reports": "1",
        "passed": "90",
        "failed": "3",
        "results": "certificate-expired 3",
    }
    (one,) = received.json("report", "received", "--domain", "Contoso.example", "--since", "3d")
    assert (one["failed"], one["results"]) == (3, {"certificate-expired": 3})


def test_failures_beside_the_trace(received):
    (row,) = received.table("report", "received", "--failures")
    assert (row["result"], row["sessions"], row["from"], row["to"], row["reason"]) == (
        "certificate-expired",
        "3",
        "192.0.2.1",
        "mx1.contoso.example",
        "X509",
    )
    assert (row["received here"], row["refused here"]) == ("2", "1")
    (one,) = received.json("report", "received", "--failures", "--result", "certificate-expired")
    assert one["here"] == {"received": 2, "refused": 1}
    assert one["failure"]["mx_host"] == "mx1.contoso.example"


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--domain", "no domain"], 2, "is not a domain name"),
        (["--domain", "fabrikam.example"], 1, "no such reports for the time"),
        (["--until", "2020-01-01"], 1, "no such reports for the time"),
        (["--failures", "--result", "other"], 1, "no such reports for the time"),
    ],
)
def test_what_is_not_there(received, words, code, says):
    assert says in received.call("report", "received", *words, code=code).stderr


def test_what_cannot_be_read(home):
    (home.data / RECEIVED.file).parent.mkdir(exist_ok=True)
    (home.data / RECEIVED.file).write_bytes(b"no database " * 1000)
    assert RECEIVED.file in home.call("report", "received", code=3).stderr
