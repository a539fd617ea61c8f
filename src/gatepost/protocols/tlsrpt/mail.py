"""Find the TLS report in a mail (RFC 8460 section 5.3). Called by `analysis.reports.tlsrpt_intake`. Pure."""

from __future__ import annotations

import email
import email.errors
from typing import TYPE_CHECKING, Final

from gatepost.protocols.tlsrpt.received import ReportError

if TYPE_CHECKING:
    from email.message import Message


MAX_MAIL: Final = 2 << 20
"""Octets of a mail that is looked into: a report of the size that is taken, in base64, fits."""

_KINDS: Final = frozenset({"application/tlsrpt+gzip", "application/tlsrpt+json"})
# What others have sent reports as; the name of the file then must say what it is.
_OTHERS: Final = frozenset(
    {
        "application/gzip", "application/x-gzip", "application/json", "application/octet-stream", "application/zip",
        "application/x-zip-compressed",
    }
)  # fmt: skip
_SUFFIXES: Final = (".json", ".json.gz", ".gz", ".zip")
# The parser holds each line against the boundary of each part that it is in, 2 us a pair: a stranger who writes much of
# both would keep it busy for minutes. A report in base64 has 20,000 lines, JSON as people write it twice as many.
_LINE_ENDS: Final = 200_000  # CR and LF, each for one
_BOUNDARIES: Final = 20


def report_part(mail: bytes) -> bytes:
    """The octets of the report, as they are packed. Raises ReportError if there is none."""
    if len(mail) > MAX_MAIL:
        raise ReportError(f"the mail has more than {MAX_MAIL} octets")
    if mail.count(b"\n") + mail.count(b"\r") > _LINE_ENDS or mail.lower().count(b"boundary") > _BOUNDARIES:
        raise ReportError("the mail has more lines or parts than any that brings a report")
    try:
        parts = [part for part in email.message_from_bytes(mail).walk() if not part.is_multipart()]
        message = next((part for part in parts if part.get_content_type() in _KINDS), None)
        message = message or next((part for part in parts if _is_file(part)), None)
        payload = message.get_payload(decode=True) if message is not None else None
    except (RecursionError, ValueError, LookupError, TypeError, email.errors.MessageError):
        raise ReportError("the mail's MIME structure cannot be read") from None
    if not isinstance(payload, bytes) or not payload:
        raise ReportError("the mail has no part with a TLS report")
    return payload


def _is_file(part: Message) -> bool:
    return part.get_content_type() in _OTHERS and _file_name(part).lower().endswith(_SUFFIXES)


def _file_name(part: Message) -> str:
    """Its octets as they stand there: Python would keep each charset that a stranger makes up for a name (RFC 2231)."""
    for header, parameter in (("content-disposition", "filename"), ("content-type", "name")):
        name = part.get_param(parameter, "", header)
        if name:
            return name[2] if isinstance(name, tuple) else name
    return ""
