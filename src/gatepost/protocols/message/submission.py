"""Complete the header section of a submitted message, as a submission server must (RFC 6409 section 8).

Called by `mail.inbound.transaction` when the section is whole. A missing Date or Message-ID is added, blind copies are
taken out, nothing else is touched. Without clock or names of its own.
"""

from __future__ import annotations

import re

from gatepost.protocols.message.header_text import format_date, host_text, token_text

_BLIND = re.compile(rb"(?:resent-)?bcc[ \t]*:", re.IGNORECASE)
_DATE = re.compile(rb"\r\ndate[ \t]*:", re.IGNORECASE)
_MESSAGE_ID = re.compile(rb"\r\nmessage-id[ \t]*:", re.IGNORECASE)


def submitted(section: bytes, *, queue_id: str, hostname: str, now: float) -> bytes:
    """The section completed. queue_id, hostname: what a Message-ID is made of. now: seconds since 1970."""
    return _missing(section, queue_id, hostname, now) + _without_blind_copies(section)


def _missing(section: bytes, queue_id: str, hostname: str, now: float) -> bytes:
    """The fields that are not there, to stand first: behind the section could be in the middle of a field."""
    text = b"\r\n" + section
    added = ""
    if not _DATE.search(text):
        added += f"Date: {format_date(now)}\r\n"
    if not _MESSAGE_ID.search(text):
        added += f"Message-ID: <{token_text(queue_id)}@{host_text(hostname)}>\r\n"
    return added.encode("ascii")


def _without_blind_copies(section: bytes) -> bytes:
    """The section without Bcc and Resent-Bcc, folded lines included (RFC 5322 section 3.6.3)."""
    if b"bcc" not in section.lower():
        return section
    kept: list[bytes] = []
    blind = False
    for line in section.split(b"\r\n"):
        if not line.startswith((b" ", b"\t")):
            blind = _BLIND.match(line) is not None
        if not blind:
            kept.append(line)
    return b"\r\n".join(kept)
