"""What a submission server owes the header section of a message that a user hands in (RFC 6409 section 8).

`inbound.transaction` passes a submitted message through a `SubmittedHeader` on its way to the store. A missing Date or
Message-ID is added, blind copies are taken out, nothing else is touched; the body streams by. Without clock or names of
its own.
"""

from __future__ import annotations

import re

from gatepost.message.header_text import format_date, host_text, token_text

__all__ = ["SubmittedHeader"]

_BLIND = re.compile(rb"(?:resent-)?bcc[ \t]*:", re.IGNORECASE)
_DATE = re.compile(rb"\r\ndate[ \t]*:", re.IGNORECASE)
_MESSAGE_ID = re.compile(rb"\r\nmessage-id[ \t]*:", re.IGNORECASE)


class SubmittedHeader:
    """Takes a message in chunks, gives it back completed. Nothing is passed on before the header section is whole.

    A section of more than `limit` octets is passed on as it is: such a message is refused anyway.
    """

    __slots__ = ("_buffer", "_done", "_hostname", "_limit", "_now", "_queue_id")

    def __init__(self, limit: int, *, queue_id: str, hostname: str, now: float) -> None:
        """queue_id, hostname: what a Message-ID is made of. now: seconds since 1970."""
        self._limit = limit
        self._queue_id = queue_id
        self._hostname = hostname
        self._now = now
        self._buffer = bytearray()
        self._done = False

    def feed(self, chunk: bytes) -> bytes:
        """The next chunk, cut anywhere; what may be passed on by now, b"" if nothing."""
        if self._done:
            return chunk
        begin = max(len(self._buffer) - 3, 0)
        self._buffer += chunk
        if self._buffer.startswith(b"\r\n"):
            return self._end(0)
        if (end := self._buffer.find(b"\r\n\r\n", begin)) >= 0:
            return self._end(end + 2)
        if len(self._buffer) > self._limit + 2:
            self._done = True
            return self._rest(0)
        return b""

    def finish(self) -> bytes:
        """The message has ended; what of it was not passed on yet. Without an empty line, all of it is header."""
        return b"" if self._done else self._end(len(self._buffer))

    def _end(self, size: int) -> bytes:
        self._done = True
        section = bytes(self._buffer[:size])
        return self._missing(section) + _without_blind_copies(section) + self._rest(size)

    def _rest(self, start: int) -> bytes:
        rest = bytes(self._buffer[start:])
        self._buffer = bytearray()
        return rest

    def _missing(self, section: bytes) -> bytes:
        """The fields that are not there, to stand first: behind the section could be in the middle of a field."""
        text = b"\r\n" + section
        added = ""
        if not _DATE.search(text):
            added += f"Date: {format_date(self._now)}\r\n"
        if not _MESSAGE_ID.search(text):
            added += f"Message-ID: <{token_text(self._queue_id)}@{host_text(self._hostname)}>\r\n"
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
