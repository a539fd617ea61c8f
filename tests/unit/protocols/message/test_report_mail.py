from __future__ import annotations

import email
import email.policy
import re

import pytest

from gatepost.protocols.message.report_mail import ReportMail, build_report_mail, report_subject
from gatepost.values import replace

MAIL = ReportMail(
    sender="tls@contoso.example",
    to="reports@b.example",
    message_id="1a@mx1.contoso.example",
    now=1_795_528_800.0,
    domain="b.example",
    submitter="contoso.example",
    report_id="20261124xabc@contoso.example",
    file_name="contoso.example!b.example!1795478400!1795564799!20261124xabc.json.gz",
    content=bytes(range(256)) * 5,
)


def test_the_mail_is_as_the_rfc_has_it() -> None:
    built = build_report_mail(MAIL)
    mail = email.message_from_bytes(built, policy=email.policy.default)
    assert mail["Subject"] == report_subject(MAIL)
    assert report_subject(MAIL) == (
        "Report Domain: b.example Submitter: contoso.example Report-ID: <20261124xabc@contoso.example>"
    )
    assert (mail["TLS-Report-Domain"], mail["TLS-Report-Submitter"]) == ("b.example", "contoso.example")
    assert (mail["TLS-Required"], mail["Auto-Submitted"]) == ("No", "auto-generated")
    assert mail.get_content_type() == "multipart/report"
    assert mail["Content-Type"].params["report-type"] == "tlsrpt"
    text, report = mail.iter_parts()
    assert text.get_content_type() == "text/plain"
    assert "Policy domain: b.example" in text.get_content()
    assert report.get_content_type() == "application/tlsrpt+gzip"
    assert report.get_filename() == MAIL.file_name
    assert report.get_payload(decode=True) == MAIL.content
    assert not re.search(rb"(?<!\r)\n|\r(?!\n)", built)
    assert sorted(map(len, built.split(b"\r\n")))[-3] <= 78  # but for the subject and the name of the file


@pytest.mark.parametrize("name", ["domain", "submitter", "to", "sender", "file_name", "report_id"])
def test_nothing_opens_another_field(name: str) -> None:
    evil = 'x\r\nBcc: eve@e.example\r\n\r\n"y\u2028é'
    built = build_report_mail(replace(MAIL, **{name: evil}))
    head = built.partition(b"\r\n\r\n")[0]
    assert built.isascii()
    assert b"\nBcc" not in built
    assert len(re.findall(rb"\r\n(?![ \t])", head)) == 10


def test_a_very_long_name_stays_within_a_line() -> None:
    long = ".".join(["a" * 60] * 4)
    name = f"{long}!{long}!1795478400!1795564799!20261124x{'a' * 24}.json.gz"
    built = build_report_mail(replace(MAIL, domain=long, submitter=long, file_name=name, report_id=f"1@{long}"))
    assert max(map(len, built.split(b"\r\n"))) <= 998
    report = list(email.message_from_bytes(built).walk())[-1]
    assert report.get_filename() == name
    assert report.get_payload(decode=True) == MAIL.content
