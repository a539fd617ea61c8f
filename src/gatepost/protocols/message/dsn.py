"""Build delivery status notifications (RFC 3464, 3461, 6522; RFC 6533 where SMTPUTF8 is available).

`mail.queue.bounce` calls `build_dsn` and queues the result with the null reverse-path. Date, ids and boundary are
given; the same report always makes the same bytes. Whatever the report holds, every line ends in CRLF and no field
opens another.
"""

from __future__ import annotations

import binascii
import re

from gatepost.protocols.message.dsn_report import DsnAction, DsnReport, RedactedNotice
from gatepost.protocols.message.dsn_seven_bit import original_part
from gatepost.protocols.message.dsn_status import MAX_ADDRESS, delivery_status
from gatepost.protocols.message.dsn_text import human_text, redacted_text, subject_of
from gatepost.protocols.message.fields import HeaderFacts, HeaderScanner
from gatepost.protocols.message.header_text import encoded_words, fold, format_date, shown_text

_LINE = 998  # octets without CRLF, RFC 5322 section 2.1.1
_NOT_BOUNDARY = re.compile(r"[^0-9A-Za-z'()+_,./:=?-]")
_NOT_MESSAGE_ID = re.compile(r"[^0-9A-Za-z!#$%&'*+/=?^_`{|}~.@\[\]:-]")
# Controls, and CR and LF that end no line by now; a tab may stand in a header.
_NOT_TEXT = bytes(octet if octet == 9 or (octet >= 32 and octet != 127) else 63 for octet in range(256))


def build_dsn(report: DsnReport) -> bytes:
    """The whole message, header section included.

    It has three parts: a text for people, the fields of RFC 3464, and the message or its header section. The message is
    returned only for a failure, only if RET=FULL asked for it, and only if it is complete, not larger than
    `return_limit`, and no BINARYMIME; else its header section is. Without utf8 the result is US-ASCII but for an 8-bit
    message, which is returned as it is; `dsn_seven_bit` converts it for a next hop that does not take that. It is
    UTF-8, and utf8 taken for granted, if the sender's own address is beyond US-ASCII. Raises ValueError without
    recipients, and for the null reverse-path.
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
        _part(kind, status),
        returned,
    ]
    boundary = _boundary(report.boundary, parts)
    encoding = "7bit" if all(part.isascii() for part in parts) else "8bit"
    head = _head(report, facts, boundary, encoding, utf8=utf8).encode()
    delimiter = b"\r\n--" + boundary.encode()
    body = b"".join(delimiter + b"\r\n" + part for part in parts)
    return head + b"\r\nThis is a report in MIME format.\r\n" + body + delimiter + b"--\r\n"


def _head(report: DsnReport, facts: HeaderFacts, boundary: str, encoding: str, *, utf8: bool) -> str:
    subject = subject_of(report, facts)
    fields = [
        ("From", f"Mail Delivery System <{_address(report.postmaster, utf8=utf8)}>"),
        ("To", f"<{_address(report.to, utf8=utf8)}>"),
        ("Subject", subject if utf8 else encoded_words(subject)),
        ("Date", format_date(report.now)),
        ("Message-ID", _message_id(report.message_id)),
        # RFC 3834 section 5, so that nobody answers. In-Reply-To lets mailers show it beside the message.
        ("Auto-Submitted", "auto-replied"),
        ("In-Reply-To", facts.message_id if facts.message_id == _message_id(facts.message_id) else ""),
        ("MIME-Version", "1.0"),
        ("Content-Type", f'multipart/report; report-type=delivery-status; boundary="{boundary}"'),
        ("Content-Transfer-Encoding", encoding),
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


def _boundary(wanted: str, parts: list[bytes]) -> str:
    """The boundary asked for, made legal and longer until no part has it."""
    boundary = _NOT_BOUNDARY.sub("_", wanted[:60]) or "_"
    while any(b"--" + boundary.encode() in part for part in parts):
        boundary += "_"
    return boundary


def _returned(report: DsnReport, facts: HeaderFacts, *, utf8: bool) -> tuple[bytes, str]:
    """The last part, and a sentence for people on what it holds."""
    original = report.original
    failed = any(recipient.action is DsnAction.FAILED for recipient in report.recipients)
    if failed and report.ret == "FULL" and report.original_complete and _fit(report):
        return _whole(original, facts, utf8=utf8), "The message is attached."
    if not original:
        return _header_part(b"", utf8=utf8), "The message itself could not be read any more, and is not attached."
    section, sentence = original[: facts.bytes], "The header section of the message is attached."
    if len(section) > report.return_limit:
        section = b"".join(section[: report.return_limit].rpartition(b"\r\n")[:2])
        sentence = "The first part of the message's header section is attached."
    return _header_part(section, utf8=utf8), sentence


def _whole(original: bytes, facts: HeaderFacts, *, utf8: bool) -> bytes:
    """The message itself, as message/global only if its header is what RFC 6532 allows and more mailers could not show.

    Lines that are too long for 7bit and 8bit (RFC 2045 sections 2.7 and 2.8) need an encoding.
    """
    content = original if original.endswith(b"\r\n") else original + b"\r\n"
    if max(map(len, content.split(b"\r\n"))) > _LINE:
        return original_part(content)
    section = original[: facts.bytes]
    internationalized = utf8 and not section.isascii() and _is_utf8(section)
    return _part("message/global" if internationalized else "message/rfc822", content)


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
        return _part("text/rfc822-headers", content)
    if short and utf8 and _is_utf8(content):
        return _part("message/global-headers", content)
    return _encoded_part("text/rfc822-headers", content)


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _text_part(text: str, *, utf8: bool) -> bytes:
    kind = f"text/plain; charset={'us-ascii' if text.isascii() else 'utf-8'}"
    return _part(kind, text.encode()) if utf8 or text.isascii() else _encoded_part(kind, text.encode())


def _encoded_part(kind: str, content: bytes) -> bytes:
    return _part_head(kind, "quoted-printable") + binascii.b2a_qp(content)


def _part(kind: str, content: bytes) -> bytes:
    return _part_head(kind, "7bit" if content.isascii() else "8bit") + content


def _part_head(kind: str, encoding: str) -> bytes:
    return f"Content-Type: {kind}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n".encode()
