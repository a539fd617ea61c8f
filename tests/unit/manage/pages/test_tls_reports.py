from __future__ import annotations

import csv
import io
import time

import pytest

from gatepost.mail.model.trace_event import TraceEvent
from gatepost.manage.use_cases.change import ChangeOptions
from gatepost.manage.use_cases.resources import apply_document
from gatepost.protocols.tlsrpt.received import ReceivedFailure, ReceivedPolicy, ReceivedReport
from gatepost.settings.store_url import SQLITE
from gatepost.store.sent_reports import RECEIVED, StoredReport
from gatepost.store.sqlite.trace import write_events
from gatepost.store.storage import Storage

from .conftest import MARKUP, OWNER

PATH = "/reports/tls-rpt"
DAY = 86_400.0
CLIENT = "192.0.2.9"
NAMES = ("received", "received-failures", "sent")


def day(back=0):
    return time.strftime("%Y-%m-%d", time.gmtime(time.time() - back * DAY))


def failure(result="certificate-expired", sessions=3, address=CLIENT, **more):
    return ReceivedFailure(result, sessions, address, **more)


def keep(centre, *policies, reporter="Big Mail", number="1", back=0.0):
    begin = time.time() - 3600 - back * DAY
    report = ReceivedReport(reporter, "x@big.example", number, begin, begin + 3000, policies, 0)
    Storage(SQLITE, centre.gateway.data).received_reports().keep(StoredReport(time.time(), "mail x", report))


def records(centre, table, who="owner", query=""):
    return centre.get(f"{PATH}?table={table}&format=json{query}", who).json


@pytest.fixture
def reported(centre):
    """Reports about both organizations' domains; one failure has a client that our own trace knows."""
    keep(
        centre,
        ReceivedPolicy("sts", "contoso.example", 10**12, 4, (), (), (failure(), failure("b", 1, ""))),
        ReceivedPolicy("tlsa", "fabrikam.example", 5, 0),
    )
    seen = {"session": "s", "sender": "x@big.example", "recipient": "ann@contoso.example", "peer_address": CLIENT}
    rows = [
        TraceEvent(
            at=time.time() - 3000, event=event, message=str(at), organization="contoso", direction="incoming", **seen
        )
        for at, event in enumerate(("RECEIVE", "RECEIVE", "REFUSE"))
    ]
    write_events(centre.gateway.data / "trace", "0", rows)
    return centre


def test_nobody_reported_anything(centre):
    words = centre.get(PATH).words
    assert "No TLS reports received" in words
    assert "The gateway sent no TLS report about this period" in words
    for name in NAMES:
        assert records(centre, name) == []
        assert centre.get(f"{PATH}?table={name}&format=csv").text.count("\n") == 1


def test_what_others_report(reported):
    first, second = records(reported, "received")
    assert first == {
        "reporter": "Big Mail", "domain": "contoso.example", "policy": "sts", "reports": 1, "passed": 10**12,
        "failed": 4, "results": "certificate-expired 3; b 1",
    }  # fmt: skip
    assert (second["domain"], second["failed"], second["results"]) == ("fabrikam.example", 0, "")
    words = reported.get(PATH, "reader").words
    assert "1,000,000,000,009" in words
    assert "> 99.9 %" in words, "not quite all is not all"


def test_failures_stand_beside_what_our_own_trace_has(reported):
    known, unknown = records(reported, "received-failures")
    assert (known["from"], known["received"], known["refused"], known["sessions"]) == (CLIENT, 2, 1, 3)
    assert (unknown["from"], unknown["received"], unknown["refused"]) == ("", "", "")
    assert f"peer={CLIENT}" in reported.get(PATH).text


def test_where_it_went_is_the_host_else_the_address(centre):
    found = (
        failure(mx_host="mx1", receiving_address="192.0.2.1"),
        failure("b", receiving_address="192.0.2.1"),
        failure("c"),
    )
    keep(centre, ReceivedPolicy("sts", "contoso.example", 1, 9, (), (), found))
    assert [one["to"] for one in records(centre, "received-failures")] == ["mx1", "192.0.2.1", ""]


def test_a_tenant_sees_reports_on_its_own_domains(reported):
    (only,) = records(reported, "received", "tenant")
    assert only["domain"] == "fabrikam.example"
    assert records(reported, "received-failures", "tenant") == []
    page = reported.get(PATH, "tenant")
    assert "contoso.example" not in page.text
    assert "Sent TLS reports" not in page.words
    assert reported.get(f"{PATH}?organization=contoso", "tenant").status == 404


def test_a_tenant_does_not_learn_what_others_got_from_the_same_client(centre):
    keep(centre, ReceivedPolicy("sts", "fabrikam.example", 1, 3, (), (), (failure(),)))
    seen = {"session": "s", "sender": "x@big.example", "recipient": "ann@contoso.example", "peer_address": CLIENT}
    row = TraceEvent(time.time() - 3000, "RECEIVE", "1", "contoso", "incoming", **seen)
    write_events(centre.gateway.data / "trace", "0", [row])
    assert [one["received"] for one in records(centre, "received-failures")] == [1]
    assert [one["received"] for one in records(centre, "received-failures", "tenant")] == [0]


def test_a_tenant_without_a_domain_sees_none(reported):
    apply_document(reported.gateway, OWNER, {"organization": {"contoso": {}, "fabrikam": {}}}, ChangeOptions("root"))
    assert records(reported, "received", "tenant") == []
    assert len(records(reported, "received")) == 2, "who sees all sees those of domains that are gone, too"


def plan(centre, back, *domains):
    Storage(SQLITE, centre.gateway.data).sent_reports().plan(day(back), [(one, 0.0) for one in domains])


def test_what_we_reported_is_for_who_sees_the_gateway(centre):
    plan(centre, 1, "a.example", MARKUP)
    found = records(centre, "sent")
    assert {(one["day"], one["domain"], one["state"], one["to"]) for one in found} == {
        (day(1), "a.example", "waiting", ""), (day(1), MARKUP, "waiting", ""),
    }  # fmt: skip
    assert "unknown" in centre.get(PATH).words
    assert records(centre, "sent", "tenant") == []
    assert "a.example" not in centre.get(PATH, "tenant").text


def test_days_are_those_that_are_asked_for(centre):
    for back in (1, 3, 5):
        plan(centre, back, f"d{back}.example")
        keep(centre, ReceivedPolicy("sts", "contoso.example", 1, 0), number=str(back), reporter=f"r{back}", back=back)
    query = f"&since={day(4)}&until={day(3)}"  # a report on an hour ago may be on the day before
    assert [one["domain"] for one in records(centre, "sent", query=query)] == ["d3.example"]
    assert {one["reporter"] for one in records(centre, "received", query=query)} == {"r3"}
    assert len(records(centre, "received", query=f"&since={day(6)}")) == 3


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("format=csv", 404), ("table=x&format=json", 404), ("table=outbound&format=csv", 404),
        ("table=sent&format=xls", 422), ("since=x", 422), ("since=2026-02-02&until=2026-02-01&format=csv", 422),
    ],
)  # fmt: skip
def test_a_file_that_there_is_not(centre, query, status):
    assert centre.get(f"{PATH}?{query}").status == status


def test_words_of_reporters_are_text_and_compute_nothing(centre):
    evil = failure(MARKUP, 1, MARKUP, mx_host=MARKUP, reason="=1+1", information=MARKUP)
    keep(centre, ReceivedPolicy(MARKUP, "contoso.example", 0, 0, (MARKUP,), (MARKUP,), (evil,)), reporter=MARKUP)
    page = centre.get(PATH)
    assert page.status == 200
    assert "<script>alert" not in page.text
    text = centre.get(f"{PATH}?table=received-failures&format=csv").text
    (row,) = csv.DictReader(io.StringIO(text))
    assert row["reason"] == "'=1+1"


def test_very_many_reports_make_no_very_large_page(centre):
    for number in range(60):
        policy = ReceivedPolicy("sts", "contoso.example", 9, 1, (), (), (failure(),))
        keep(centre, policy, reporter=f"reporter {number} with quite a long name", number=str(number))
    page = centre.get(PATH)
    assert "Showing 50 of 60" in page.words
    assert len(page.text) < 100_000
    assert len(records(centre, "received")) == 60


def test_reports_that_cannot_be_read_are_not_none(centre):
    (centre.gateway.data / RECEIVED.file).write_bytes(b"no database at all, though it may look like one" * 50)
    for who in ("owner", "tenant"):
        assert centre.get(PATH, who).status == 503
        assert centre.get(f"{PATH}?table=received&format=json", who).status == 503
