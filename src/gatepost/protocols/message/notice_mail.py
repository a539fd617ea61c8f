"""A mail in plain text that the gateway writes to a person (RFC 5322, RFC 3834). Pure.

Used for alarms and for the daily list of a quarantine. The same values always make the same bytes; every line ends in
CRLF, and no text from outside opens another field or line.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterable, Sequence

import msgspec

from gatepost.protocols.message.header_text import ascii_text, encoded_words, fold, format_date, host_text, shown_text

_SUBJECT = 200  # characters


class NoticeHead(msgspec.Struct, frozen=True):
    """The header of such a mail. name: shown as the sender's, whose address is the postmaster of a domain.

    to: addresses in US-ASCII. now: seconds since 1970. message_id: without angle brackets. language: of the text, as in
    Content-Language (RFC 3282).
    """

    name: str
    domain: str
    to: Sequence[str]
    subject: str
    now: float
    message_id: str
    language: str


def notice_mail(head: NoticeHead, lines: Iterable[str]) -> bytes:
    """The whole message. Its text is US-ASCII, or UTF-8 as quoted-printable."""
    text = "".join(f"{line}\r\n" for line in lines)
    fields = [
        ("From", f"{encoded_words(head.name)} <postmaster@{host_text(head.domain)}>"),
        ("To", ", ".join(f"<{ascii_text(address, 400)}>" for address in head.to)),
        ("Subject", encoded_words(shown_text(head.subject, _SUBJECT))),
        ("Date", format_date(head.now)),
        ("Message-ID", f"<{head.message_id}>"),
        ("Auto-Submitted", "auto-generated"),
        ("MIME-Version", "1.0"),
        ("Content-Language", head.language),
        ("Content-Type", f"text/plain; charset={'us-ascii' if text.isascii() else 'utf-8'}"),
        ("Content-Transfer-Encoding", "7bit" if text.isascii() else "quoted-printable"),
    ]
    header = "".join(f"{fold([f'{name}:', *value.split()])}\r\n" for name, value in fields)
    body = text.encode() if text.isascii() else binascii.b2a_qp(text.encode(), istext=True)
    return header.encode("ascii", "replace") + b"\r\n" + body
