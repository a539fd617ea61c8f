from __future__ import annotations

import json

import pytest

from gatepost.manage.cli import report_tlsrpt as module
from gatepost.net.lookups.question import LookupFailed
from gatepost.protocols.tlsrpt.received import parse_report
from gatepost.protocols.tlsrpt.record import TlsRptRecord, parse_record
from gatepost.protocols.tlsrpt.tally import Count, PolicyType, applied
from gatepost.settings.store_url import SQLITE
from gatepost.store.storage import Storage

DAY = "2026-11-24"
NOON = 1_795_608_000.0  # of the day after
SENDING = {
    "send": True,
    "organization_name": "Contoso",
    "contact": "tls@contoso.example",
    "mail_from": "tls@contoso.example",
}


@pytest.fixture
def counted(home, monkeypatch):
    monkeypatch.setattr(module.time, "time", lambda: NOON)
    home.settings(tls_reports=SENDING)
    names = ("a.example", "b.example")
    Storage(SQLITE, home.data).session_counts().write(
        DAY, [Count(DAY, one, applied(PolicyType.NONE, one), None, 7) for one in names]
    )
    return home


@pytest.fixture
def records(monkeypatch):
    """What look-ups find: a.example wants no report."""
    found = {"b.example": TlsRptRecord(("mailto:tls@b.example", "https://b.example/r")), "a.example": None}

    async def look(_resolver, domain):
        if isinstance(found[domain], Exception):
            raise found[domain]
        return found[domain]

    monkeypatch.setattr(module, "report_record", look)
    return found


def known(home):
    return [
        (one.domain, one.rua, str(one.state))
        for one in Storage(SQLITE, home.data).sent_reports().read(DAY, lambda _: True)
    ]


def test_reports_of_yesterday_become_due(counted):
    assert counted.call("report", "send").stdout == "a.example: due now\nb.example: due now\n"
    assert known(counted) == [("a.example", "", "waiting"), ("b.example", "", "waiting")]
    assert counted.json("report", "send", "--day", DAY) == {
        "day": DAY,
        "due": ["a.example", "b.example"],
        "sent_before": [],
    }


def test_what_was_sent_is_not_sent_again(counted):
    reports = Storage(SQLITE, counted.data).sent_reports()
    counted.call("report", "send", "--domain", "b.example")
    (one,) = reports.claim(NOON, 10, 60.0)
    reports.address([(one, ("mailto:tls@b.example",))], NOON)
    (one,) = reports.claim(NOON, 10, 60.0)
    reports.sent(one, "1a")
    result = counted.call("report", "send", "--domain", "B.example", code=1)
    assert "b.example: sent before" in result.stdout
    assert "were sent before" in result.stderr
    assert counted.json("report", "send") == {"day": DAY, "due": ["a.example"], "sent_before": ["b.example"]}


def test_a_dry_run_shows_and_changes_nothing(counted, records):
    shown = counted.call("report", "send", "--dry-run").stdout
    assert "a.example: there is no record at _smtp._tls.a.example, so the domain asks for no report\n" in shown
    assert "b.example: mailto:tls@b.example, https://b.example/r\n" in shown
    assert "contoso.example!b.example!1795478400!1795564799!" in shown
    assert known(counted) == []
    first, second = counted.json("report", "send", "--dry-run")
    assert (first["domain"], first["rua"]) == ("a.example", [])
    assert second["rua"] == ["mailto:tls@b.example", "https://b.example/r"]
    assert parse_report(json.dumps(second["report"]).encode()).organization == "Contoso"


def test_a_dry_run_works_where_nothing_is_sent(counted, records):
    counted.settings()
    assert counted.json("report", "send", "--dry-run", "--domain", "b.example")[0]["rua"]


def test_nobody_wants_one(counted, records):
    records["b.example"] = parse_record([[b"v=TLSRPTv1; rua=ftp://x"]])
    result = counted.call("report", "send", "--dry-run", code=1)
    assert 'b.example: its record cannot be used: "ftp://x" has no address' in result.stdout
    assert "no domain asks for a report" in result.stderr


def test_a_record_that_cannot_be_looked_up(counted, records):
    records["a.example"] = LookupFailed("no answer")
    result = counted.call("report", "send", "--dry-run", code=3)
    assert "a.example: its record cannot be looked up: no answer" in result.stdout
    assert "https://b.example/r" in result.stdout


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--day", "2026-11-25"], 2, "has not ended"),
        (["--day", "25.11."], 2, "is not a day; write it like 2026-11-24"),
        (["--day", "2026-11-20"], 1, "no TLS sessions were counted on 2026-11-20; there are counts of 2026-11-24"),
        (["--domain", "c.example"], 1, "no TLS sessions with c.example were counted"),
        (["--domain", "no domain"], 2, "is not a domain name"),
    ],
)
def test_what_cannot_be_sent(counted, words, code, says):
    assert says in counted.call("report", "send", *words, code=code).stderr


def test_sending_that_is_off(counted):
    counted.settings()
    assert "[tls_reports] send is false" in counted.call("report", "send", code=2).stderr


def test_a_file_that_cannot_be_written(counted):
    (counted.data / "sent-reports.db").write_bytes(b"no database" * 1000)
    assert "sent-reports.db" in counted.call("report", "send", code=3).stderr
