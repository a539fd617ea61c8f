"""Delivery status notifications as messages (RFC 3464, 3461, 6522; RFC 6533 where SMTPUTF8 is at hand).

`mail.queue.bounce` calls `build_dsn` and queues the result with the null reverse-path. Date, ids and boundary are
given; the same report always makes the same bytes. Whatever the report holds, every line ends in CRLF and no field
opens another.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING

from gatepost.protocols.message.dsn_report import Action, DsnReport, RedactedNotice
from gatepost.protocols.message.dsn_status import MAX_ADDRESS, delivery_status
from gatepost.protocols.message.dsn_text import human_text, redacted_text, subject_of
from gatepost.protocols.message.fields import HeaderScanner
from gatepost.protocols.message.header_text import fold, format_date, shown_text

if TYPE_CHECKING:
    from gatepost.protocols.message.fields import HeaderFacts


_LINE = 998  # octets without CRLF, RFC 5322 section 2.1.1
_NOT_BOUNDARY = re.compile(r"[^0-9A-Za-z'()+_,./:=?-]")
_NOT_MESSAGE_ID = re.compile(r"[^0-9A-Za-z!#$%&'*+/=?^_`{|}~.@\[\]:-]")
# Controls, and CR and LF that end no line by now; a tab may stand in a header.
_NOT_TEXT = bytes(octet if octet == 9 or (octet >= 32 and octet != 127) else 63 for octet in range(256))


def build_dsn(report: DsnReport) -> bytes:
    """The whole message, header section included.

    It has three parts: a text for people, the fields of RFC 3464, and the message or its header section. The message is
    returned only for a failure, only if RET=FULL asked for it, and only if it is complete, not larger than
    `return_limit`, and no BINARYMIME; else its header section is. Without utf8 the result is US-ASCII, an 8-bit message
    in base64, as nobody knows whether each hop on the way back takes 8 bits. It is UTF-8, and utf8 taken for granted,
    if the sender's own address is beyond US-ASCII. Raises ValueError without recipients, and for the null reverse-path.
    """
    if not report.recipients or not report.to:
        raise ValueError("a notification about nobody, or to nobody")
    utf8 = report.utf8 or not report.to.isascii()
    scanner = HeaderScanner(len(report.original))
    scanner.feed(report.original)
    scanner.finish()
    facts = scanner.facts
    returned, sentence = _returned(report, facts, utf8=utf8)
    kind = "message/global-delivery-status" if utf8 else "message/delivery-status"
    status = delivery_status(report, utf8=utf8).encode()
    parts = [
        _text_part(human_text(report, facts, sentence), utf8=utf8),
        _part(kind, "8bit" if utf8 else "7bit", status),
        returned,
    ]
    boundary = _boundary(report.boundary, parts)
    head = _head(report, facts, boundary, utf8=utf8).encode()
    delimiter = b"\r\n--" + boundary.encode()
    body = b"".join(delimiter + b"\r\n" + part for part in parts)
    return head + b"\r\nThis is a report in MIME format.\r\n" + body + delimiter + b"--\r\n"


def _head(report: DsnReport, facts: HeaderFacts, boundary: str, *, utf8: bool) -> str:
    fields = [
        ("From", f"Mail Delivery System <{_address(report.postmaster, utf8=utf8)}>"),
        ("To", f"<{_address(report.to, utf8=utf8)}>"),
        ("Subject", _unstructured(subject_of(report, facts), utf8=utf8)),
        ("Date", format_date(report.now)),
        ("Message-ID", _message_id(report.message_id)),
        # RFC 3834 section 5, so that nobody answers. In-Reply-To lets mailers show it beside the message.
        ("Auto-Submitted", "auto-replied"),
        ("In-Reply-To", facts.message_id if facts.message_id == _message_id(facts.message_id) else ""),
        ("MIME-Version", "1.0"),
        ("Content-Type", f'multipart/report; report-type=delivery-status; boundary="{boundary}"'),
        ("Content-Transfer-Encoding", "8bit" if utf8 else "7bit"),
    ]
    return _fields(fields)


def _fields(fields: list[tuple[str, str]]) -> str:
    return "".join(f"{fold([f'{name}:', *value.split()])}\r\n" for name, value in fields if value)


def build_redacted(notice: RedactedNotice) -> bytes:
    """The whole message, in US-ASCII: the Message-ID and the kind of failure, and nothing else of the original.

    It says no address, name or subject, and so may travel unprotected (RFC 8689 section 5).
    """
    about = _message_id(notice.about) if notice.about else ""
    head = _fields(
        [
            ("From", f"Mail Delivery System <{_address(notice.postmaster, utf8=False)}>"),
            ("To", f"<{_address(f'postmaster@{notice.domain}', utf8=False)}>"),
            ("Subject", "A delivery status notification was not sent: REQUIRETLS"),
            ("Date", format_date(notice.now)),
            ("Message-ID", _message_id(notice.message_id)),
            ("Auto-Submitted", "auto-generated"),
            ("MIME-Version", "1.0"),
            ("Content-Type", "text/plain; charset=us-ascii"),
            ("Content-Transfer-Encoding", "7bit"),
        ]
    )
    return f"{head}\r\n{redacted_text(notice, about)}".encode("ascii", "replace")


def _address(address: str, *, utf8: bool) -> str:
    """An addr-spec of a field. One that cannot stand there is of no use for an answer, but must not do harm either."""
    shown = shown_text(address, MAX_ADDRESS // 2).replace("<", "?").replace(">", "?")
    return shown if utf8 else shown.encode("ascii", "replace").decode()


def _message_id(text: str) -> str:
    return f"<{_NOT_MESSAGE_ID.sub('?', text.strip('<>')[: _LINE // 2])}>"


def _unstructured(text: str, *, utf8: bool) -> str:
    """Text of a field, as encoded words of at most 75 characters if it must be US-ASCII and is not (RFC 2047)."""
    if utf8 or text.isascii():
        return text
    pieces = [text[at : at + 11].encode() for at in range(0, len(text), 11)]  # 44 octets make 60 of base64 at most
    return " ".join(f"=?utf-8?B?{base64.b64encode(piece).decode()}?=" for piece in pieces)


def _boundary(wanted: str, parts: list[bytes]) -> str:
    """The boundary asked for, made legal and longer until no part has it."""
    boundary = _NOT_BOUNDARY.sub("_", wanted[:60]) or "_"
    while any(b"--" + boundary.encode() in part for part in parts):
        boundary += "_"
    return boundary


def _returned(report: DsnReport, facts: HeaderFacts, *, utf8: bool) -> tuple[bytes, str]:
    """The last part, and a sentence for people on what it holds."""
    original = report.original
    failed = any(recipient.action is Action.FAILED for recipient in report.recipients)
    if failed and report.ret == "FULL" and report.original_complete and _fit(report):
        return _whole(original, utf8=utf8), "The message is attached."
    if not original:
        return _header_part(b"", utf8=utf8), "The message itself could not be read any more, and is not attached."
    section, sentence = original[: facts.bytes], "The header section of the message is attached."
    if len(section) > report.return_limit:
        section = b"".join(section[: report.return_limit].rpartition(b"\r\n")[:2])
        sentence = "The first part of the message's header section is attached."
    return _header_part(section, utf8=utf8), sentence


def _whole(original: bytes, *, utf8: bool) -> bytes:
    """The message itself. With octets beyond US-ASCII only message/global can be encoded (RFC 6532 section 3.7)."""
    content = original if original.endswith(b"\r\n") else original + b"\r\n"
    if content.isascii():
        return _part("message/rfc822", "7bit", content)
    if utf8:
        return _part("message/global", "8bit", content)
    return _part("message/global", "base64", base64.encodebytes(content).replace(b"\n", b"\r\n"))


def _fit(report: DsnReport) -> bool:
    """Whether the message may go back as it is: not too large, and no need of BINARYMIME."""
    original = report.original
    if not 0 < len(original) <= report.return_limit or b"\0" in original:
        return False
    return original.count(b"\r") == original.count(b"\n") == original.count(b"\r\n")


def _header_part(section: bytes, *, utf8: bool) -> bytes:
    lines = [line.translate(_NOT_TEXT) for line in section.split(b"\r\n")]
    content = b"\r\n".join(lines)
    if content and not content.endswith(b"\r\n"):
        content += b"\r\n"
    short = all(len(line) <= _LINE for line in lines)
    if short and content.isascii():
        return _part("text/rfc822-headers", "7bit", content)
    if short and utf8 and _is_utf8(content):
        return _part("message/global-headers", "8bit", content)
    return _part("text/rfc822-headers", "quoted-printable", binascii.b2a_qp(content))


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _text_part(text: str, *, utf8: bool) -> bytes:
    if text.isascii():
        return _part("text/plain; charset=us-ascii", "7bit", text.encode())
    if utf8:
        return _part("text/plain; charset=utf-8", "8bit", text.encode())
    return _part("text/plain; charset=utf-8", "quoted-printable", binascii.b2a_qp(text.encode()))


def _part(kind: str, encoding: str, content: bytes) -> bytes:
    return f"Content-Type: {kind}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n".encode() + content
