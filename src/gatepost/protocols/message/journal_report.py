"""Write what a journal report has around the message that it is about.

A report is a message of its own: a text that names the sender and every recipient in the form of Exchange's journal
reports, which archives read, and the message as an attachment, octet by octet as it was accepted. Called by
`mail.outbound.body`; the message itself never passes through here, whatever its size.
"""

from __future__ import annotations

import quopri
from collections.abc import Iterator

import msgspec

from gatepost.protocols.message.header_text import encoded_words, fold, format_date, shown_text

MARK = "X-Gatepost-Journal"
"""The field in each copy by which it is known if its mailbox sends it back. Not Delivered-To, for which Postfix would
refuse it. Whoever forges it has a message of their own refused."""

_LONG = 900
_ADDRESS = 700  # two addresses and the words between them


class JournalReport(msgspec.Struct, frozen=True):
    """The contents of a report.

    to: the journal mailbox. author: the From address. report_id: of the Message-ID, without angle brackets. boundary:
    that cannot be guessed by who wrote the message. now: seconds since 1970. sender, subject, message_id: of the
    message; lines: of its recipients. body_type: of the message, as BODY= of MAIL names it. utf8: whether its header is
    beyond US-ASCII (RFC 6532). before: the journals that the message is a copy of, if it is a report itself.
    """

    to: str
    author: str
    report_id: str
    boundary: str
    now: float
    sender: str
    subject: str
    message_id: str
    lines: tuple[str, ...]
    body_type: str = "7BIT"
    utf8: bool = False
    before: tuple[str, ...] = ()


def report_head(report: JournalReport) -> bytes:
    """All that stands before the message."""
    encoding = "binary" if report.body_type == "BINARYMIME" else "8bit"
    text_encoding, text = _encoded("".join(f"{line}\r\n" for line in _text(report)))
    lines = [
        *(f"{MARK}: {address}" for address in (report.to, *report.before)),
        f"From: Journal <{report.author}>",
        f"To: <{report.to}>",
        fold(["Subject:", *encoded_words(shown_text(report.subject, _LONG)).split()]),
        f"Date: {format_date(report.now)}",
        f"Message-ID: <{report.report_id}>",
        "X-MS-Journal-Report:",
        "Auto-Submitted: auto-generated",
        "MIME-Version: 1.0",
        f'Content-Type: multipart/mixed;\r\n\tboundary="{report.boundary}"',
        f"Content-Transfer-Encoding: {encoding}",
        "",
        f"--{report.boundary}",
        "Content-Type: text/plain; charset=utf-8",
        f"Content-Transfer-Encoding: {text_encoding}",
        "",
        text,
        f"--{report.boundary}",
        f"Content-Type: message/{'global' if report.utf8 else 'rfc822'}",
        f"Content-Transfer-Encoding: {encoding}",
        "",
        "",
    ]
    return "\r\n".join(lines).encode("ascii", "replace")


def report_tail(report: JournalReport) -> bytes:
    """All that stands behind the message."""
    return f"\r\n--{report.boundary}--\r\n".encode("ascii")


def _text(report: JournalReport) -> Iterator[str]:
    yield f"Sender: {shown_text(report.sender, _ADDRESS) or '<>'}"
    yield f"Subject: {shown_text(report.subject, _LONG)}"
    yield f"Message-Id: {shown_text(report.message_id, _LONG)}"
    for line in report.lines:
        yield shown_text(line, _ADDRESS)


def _encoded(text: str) -> tuple[str, str]:
    """The text, and how it is encoded: as it is, unless it is beyond US-ASCII or too long for a line."""
    if text.isascii():
        return "7bit", text
    encoded = quopri.encodestring(text.replace("\r\n", "\n").encode(), quotetabs=True).replace(b"\n", b"\r\n")
    return "quoted-printable", encoded.decode("ascii")
