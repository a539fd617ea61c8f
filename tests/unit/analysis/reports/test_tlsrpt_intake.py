from __future__ import annotations

import gzip
import json
from email.message import EmailMessage

import pytest

from gatepost.analysis.reports.tlsrpt_intake import INBOX, ReportImport
from gatepost.settings.store_url import SQLITE
from gatepost.store.interface import StoreFailure
from gatepost.store.sent_reports import ReceivedReports
from gatepost.store.storage import Storage

DAY = 86_400.0
NOW = 1_795_521_600.0  # 2026-11-24T12:00:00Z


def packed(name="1", domain="contoso.example"):
    report = {
        "organization-name": "Partner Inc.",
        "date-range": {"start-datetime": "2026-11-23T00:00:00Z", "end-datetime": "2026-11-23T23:59:59Z"},
        "contact-info": "tls@partner.example",
        "report-id": name,
        "policies": [
            {
                "policy": {"policy-type": "sts", "policy-domain": domain},
                "summary": {"total-successful-session-count": 7, "total-failure-session-count": 2},
            }
        ],
    }
    return gzip.compress(json.dumps(report).encode())


def mail(data):
    message = EmailMessage()
    message["From"] = "tls@partner.example"
    message.set_content("A report.")
    message.add_attachment(data, maintype="application", subtype="tlsrpt+gzip")
    return message.as_bytes()


class World:
    def __init__(self, data):
        self.data = data
        self.maildir = data / "maildir" / "contoso.example" / "tls"
        for part in ("tmp", "new"):
            (self.maildir / part).mkdir(parents=True)
        (data / INBOX).mkdir()
        self.now = NOW
        self.intake = ReportImport(data, Storage(SQLITE, data).received_reports(), 30, lambda: self.now)

    def take(self, *domains):
        return self.intake.take([self.maildir, self.data / "nowhere"], domains or {"contoso.example"})

    def mails(self, part):
        return sorted(path.name for path in (self.maildir / part).glob("*"))

    def reports(self):
        return [
            (one.source, one.report.report_id) for one in Storage(SQLITE, self.data).received_reports().read(0, NOW * 2)
        ]


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def test_from_a_mailbox_and_from_the_web(world, caplog):
    caplog.set_level("INFO")
    (world.maildir / "new" / "1.a").write_bytes(mail(packed()))
    (world.data / INBOX / "2.b.192-0-2-1").write_bytes(packed("2"))
    assert world.take() == 2
    assert world.reports() == [("mail 1.a", "1"), ("https 2.b.192-0-2-1", "2")]
    assert (world.mails("new"), world.mails("cur")) == ([], ["1.a:2,S"])
    assert list((world.data / INBOX).iterdir()) == []
    assert "mail 1.a of Partner Inc.: 7 sessions passed, 2 failed" in caplog.text
    assert world.take() == 0


def test_one_that_comes_twice_counts_once(world, caplog):
    caplog.set_level("INFO")
    for name in ("1", "2"):
        (world.maildir / "new" / name).write_bytes(mail(packed()))
    assert world.take() == 1
    assert world.mails("cur") == ["1:2,S", "2:2,S"]
    assert "is there already: 1 of Partner Inc." in caplog.text


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"Subject: hello\r\n\r\nno report", "has no part with a TLS report"),
        (mail(b"no json"), "its JSON is not a TLS report"),
        (mail(packed(domain="elsewhere.example")), "it is about no domain of ours"),
        (mail(packed(domain="")), "it is about no domain of ours"),
    ],
    ids=range(4),
)
def test_other_mail_is_left_unread_and_looked_at_once(world, caplog, content, why):
    (world.maildir / "new" / "1").write_bytes(content)
    (world.maildir / "new" / "2").write_bytes(mail(packed()))
    assert world.take() == 1
    assert world.mails("cur") == ["1:2,", "2:2,S"]
    assert f"mail 1: {why}" in caplog.text.replace("the mail has", "has")
    caplog.clear()
    assert world.take() == 0
    assert caplog.text == ""


def test_what_is_about_our_hosts_is_ours(world):
    (world.data / INBOX / "1").write_bytes(packed(domain="mx1.contoso.example"))
    assert world.take() == 1


@pytest.mark.parametrize(("domain", "kept"), [("below.contoso.example", 1), ("contoso.example", 1), ("example", 0)])
def test_an_accepted_domain_with_all_below_it_has_their_reports(world, domain, kept):
    (world.maildir / "new" / "1").write_bytes(mail(packed(domain=domain)))
    assert world.take("*.contoso.example") == kept


def test_what_came_over_https_and_is_no_report_is_removed(world, caplog):
    (world.data / INBOX / "1").write_bytes(b"junk")
    (world.data / INBOX / ".2").write_bytes(b"being written")
    assert world.take() == 0
    assert [path.name for path in (world.data / INBOX).iterdir()] == [".2"]
    assert "https 1: its JSON is not a TLS report" in caplog.text


def test_nothing_is_lost_while_the_store_fails(world, caplog, monkeypatch):
    (world.maildir / "new" / "1").write_bytes(mail(packed("1")))
    for name in ("2", "3"):
        (world.data / INBOX / name).write_bytes(packed(name))
    with monkeypatch.context() as patch:

        def fails(*_):
            raise StoreFailure("the disk is full")

        patch.setattr(ReceivedReports, "keep", fails)
        assert (world.take(), world.take()) == (0, 0)
    assert [record.getMessage() for record in caplog.records] == [
        f"TLS reports: {name} and what came after it wait in {folder}: the disk is full"
        for name, folder in (("1", world.maildir / "new"), ("2", world.data / INBOX))
    ]
    assert world.take() == 3


def test_old_reports_are_forgotten_once_a_day(world, caplog, monkeypatch):
    (world.data / INBOX / "1").write_bytes(packed("1"))
    world.take()
    world.now += 40 * DAY
    world.take()
    assert world.reports() == []
    monkeypatch.setattr(ReceivedReports, "forget", lambda *_: pytest.fail("that was today already"))
    world.take()

    def fails(*_):
        raise StoreFailure("broken")

    monkeypatch.setattr(ReceivedReports, "forget", fails)
    world.now += DAY
    world.take()
    assert "old ones cannot be forgotten: broken" in caplog.text
    ReportImport(world.data, Storage(SQLITE, world.data).received_reports(), 0, lambda: world.now).take(
        [], set()
    )  # for ever
