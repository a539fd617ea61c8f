"""The mail that carries a TLS report of ours (RFC 8460 section 5.3). Pure. Called by `node.report_sending`.

The same values always make the same bytes; every line ends in CRLF, and no text from outside opens another field.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterator
from typing import Final

import msgspec

from gatepost.protocols.message.header_text import ascii_text, fold, format_date, host_text, token_text

_LINE: Final = 57  # octets that make a line of base64


class ReportMail(msgspec.Struct, frozen=True):
    """The contents of the mail.

    sender, to: addresses. message_id, report_id: without angle brackets. now: seconds since 1970. domain: the subject
    of the report; submitter: the domain that sends it. file_name: of the report, content: its octets as packed.
    """

    sender: str
    to: str
    message_id: str
    now: float
    domain: str
    submitter: str
    report_id: str
    file_name: str
    content: bytes


def report_subject(mail: ReportMail) -> str:
    """The subject that section 5.3 prescribes."""
    return (
        f"Report Domain: {host_text(mail.domain)} Submitter: {host_text(mail.submitter)} Report-ID: <{mail.report_id}>"
    )


def build_report_mail(mail: ReportMail) -> bytes:
    """The whole message, US-ASCII. It asks that no failure of TLS keep it (RFC 8689), as reports of failures are to."""
    boundary = f"=_{token_text(mail.report_id.partition('@')[0])}"
    fields = [
        ("From", f"<{ascii_text(mail.sender, 400)}>"),
        ("To", f"<{ascii_text(mail.to, 400)}>"),
        ("Date", format_date(mail.now)),
        ("Message-ID", f"<{mail.message_id}>"),
        ("TLS-Report-Domain", host_text(mail.domain)),
        ("TLS-Report-Submitter", host_text(mail.submitter)),
        ("TLS-Required", "No"),
        ("Auto-Submitted", "auto-generated"),
        ("MIME-Version", "1.0"),
        ("Content-Type", f'multipart/report; report-type="tlsrpt"; boundary="{boundary}"'),
    ]
    head = [fold([f"{name}:", *value.split()]) for name, value in fields]
    head.append(f"Subject: {ascii_text(report_subject(mail), 950)}")  # in one line, for those who sort mail by it
    file_name = ascii_text(mail.file_name, 800).replace('"', "?")
    lines = [
        *head,
        "",
        f"--{boundary}",
        "Content-Type: text/plain; charset=us-ascii",
        "Content-Transfer-Encoding: 7bit",
        "",
        "This is an aggregate TLS report (RFC 8460).",
        f"Policy domain: {host_text(mail.domain)}",
        f"Submitter: {host_text(mail.submitter)}",
        "",
        f"--{boundary}",
        "Content-Type: application/tlsrpt+gzip",
        "Content-Transfer-Encoding: base64",
        "Content-Disposition: attachment;",
        f'\tfilename="{file_name}"',
        "",
        *_base64(mail.content),
        "",
        f"--{boundary}--",
        "",
    ]
    return "\r\n".join(lines).encode("ascii")


def _base64(content: bytes) -> Iterator[str]:
    for at in range(0, len(content), _LINE):
        yield binascii.b2a_base64(content[at : at + _LINE], newline=False).decode("ascii")
