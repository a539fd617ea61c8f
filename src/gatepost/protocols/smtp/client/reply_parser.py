"""Parse replies from bytes, for the client (RFC 5321 section 4.2, RFC 2034).

`protocols.smtp.client.client` feeds what a server sends and takes out whole replies. Nothing here knows which command a
reply answers. Line ends are CRLF and nothing else: a bare LF would let two readers of the same bytes see different
replies.
"""

from __future__ import annotations

import re
from functools import lru_cache

from gatepost.protocols.smtp.replies import Reply

MAX_LINE = 2048
"""Octets of one reply line with its CRLF. RFC 5321 section 4.5.3.1.5 says 512; real servers send longer ones."""

MAX_LINES = 100
"""Lines of one reply; the longest EHLO replies seen have about 20."""

MAX_TEXT = 4096
"""Octets of one reply's text that are kept, for each recipient in memory and in the trace; "..." is for the rest."""

MAX_EXTENSIONS = 512 * MAX_LINES
"""Octets of a positive reply to EHLO, no keyword of which may be lost: as many lines as the RFC lets be that long."""

# Status class and reply class must agree (RFC 2034 section 4): "451 5.7.3 ..." keeps its status as plain text.
_LINE = re.compile(rb"(([2-5])[0-9][0-9])(?:([ -])(?:(?!3)(\2\.[0-9]{1,3}\.[0-9]{1,3})(?: |\Z))?(.*))?", re.DOTALL)

# What a log, a DSN or a page shows must be printable US-ASCII: a control character is a space, 8-bit is "?".
_PRINTABLE = bytes(octet if 32 <= octet < 127 else 32 if octet < 128 else 63 for octet in range(256))


class ProtocolError(Exception):
    """The peer broke the protocol: the connection is of no more use. The text is for us and never goes on the wire."""


class ReplyParser:
    """Collects bytes, gives out replies; holds at most one unfinished line and one unfinished reply.

    hello: the next reply is to EHLO or LHLO: if positive, it is read whole.
    """

    __slots__ = ("_buffer", "_count", "_lines", "_size", "_start", "hello")

    def __init__(self) -> None:
        self.hello = False
        self._buffer = b""
        self._start = 0
        self._lines: list[Reply] = []
        self._count = self._size = 0  # lines of the unfinished reply, and their octets

    @property
    def pending(self) -> bool:
        """Whether bytes were fed that belong to no reply given out so far."""
        return self._start < len(self._buffer) or bool(self._lines)

    def feed(self, data: bytes) -> None:
        """Take bytes as they arrive, cut anywhere."""
        self._buffer = self._buffer[self._start :] + data if self._start < len(self._buffer) else data
        self._start = 0

    def next_reply(self) -> Reply | None:
        """The next whole reply, None if its end has not arrived. Raises ProtocolError on malformed input."""
        buffer, start = self._buffer, self._start
        while start < len(buffer):
            end = buffer.find(b"\n", start, start + MAX_LINE)
            if end < 0:
                if len(buffer) - start > MAX_LINE:
                    raise ProtocolError(f"a reply line of more than {MAX_LINE} octets")
                return None
            if end == start or buffer[end - 1] != 13:
                raise ProtocolError("a reply line ends in a bare LF")
            more, reply = _parse_line(buffer[start : end - 1])
            self._start = start = end + 1
            if not more and not self._lines:
                return reply
            self._add(reply)
            if not more:
                return self._joined()
        return None

    def _add(self, line: Reply) -> None:
        self._count += 1
        self._size += len(line.lines[0])
        is_whole = self.hello and line.positive
        if is_whole and self._size > MAX_EXTENSIONS:
            raise ProtocolError(f"a reply to EHLO of more than {MAX_EXTENSIONS} octets")
        if is_whole or self._size <= MAX_TEXT:
            self._lines.append(line)
        if line.code != self._lines[0].code:
            raise ProtocolError("the lines of one reply have different codes")
        if self._count > MAX_LINES:
            raise ProtocolError(f"a reply of more than {MAX_LINES} lines")

    def _joined(self) -> Reply:
        first = self._lines[0]
        # RFC 2034 section 4 repeats the status on each line; a line that differs keeps its own in its text.
        lines = tuple(
            line.lines[0] if line.enhanced in {"", first.enhanced} else f"{line.enhanced} {line.lines[0]}"
            for line in self._lines
        )
        if self._count > len(lines):
            lines += ("...",)
        self._lines.clear()
        self._count = self._size = 0
        return Reply(first.code, first.enhanced, lines)


@lru_cache(maxsize=256)  # servers repeat "250 2.1.5 Ok" all day; 256 lines of at most 2 KiB bound the memory
def _parse_line(line: bytes) -> tuple[bool, Reply]:
    """Whether more lines of the same reply follow, and this line as a reply of its own."""
    match = _LINE.fullmatch(line)
    if match is None:
        raise ProtocolError("a line that is no SMTP reply")
    code, _, separator, enhanced, text = match.groups(b"")
    return separator == b"-", Reply(int(code), enhanced.decode(), (text.translate(_PRINTABLE).decode(),))
