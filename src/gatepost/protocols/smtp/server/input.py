"""The input buffer of a session: unread octets, and the command lines among them.

Used by `protocols.smtp.server.server` alone. A line ends at CRLF and nowhere else (RFC 5321 section 2.3.8); a line that
is too long, or holds a bare CR or LF, is reported once and its remains are read over without being kept.
"""

from __future__ import annotations

from enum import StrEnum

_SHOWN = 80  # octets of a bad line that are worth showing
_FULL = 65_536
_CR, _LF = b"\r\n"  # as numbers: `in` finds a number several times as fast as an octet in bytes


class LineFault(StrEnum):
    """What is wrong with a line. ENDLESS: looking for the end of bad lines has cost more than the session is worth."""

    BARE_LINE_END = "bare-line-end"
    TOO_LONG = "line-too-long"
    ENDLESS = "endless-line"


class BadLine:
    """A line that is not a command. start: its octets up to what is wrong, at most 80."""

    __slots__ = ("fault", "start")

    def __init__(self, fault: LineFault, start: bytes = b"") -> None:
        self.fault = fault
        self.start = start


class Input:
    """A buffer read from the front, in lines or as it is.

    buffer: b"" exactly if nothing waits; else what waits is behind octets that were taken. discarded: octets read over
    so far; the caller adds what it reads over itself, so that one limit holds for both.
    """

    __slots__ = ("_discard_limit", "_line_limit", "_reading_over", "_start", "buffer", "discarded")

    def __init__(self, command_line: int, discard_bytes: int) -> None:
        """command_line: the longest line in octets, with its CRLF. discard_bytes: the most to read over."""
        self.buffer = b""
        self._start = 0
        self._line_limit = command_line - 2
        self._discard_limit = discard_bytes
        self._reading_over = False
        self.discarded = 0

    def add(self, data: bytes) -> None:
        """Keep what arrived."""
        if self.buffer:
            self.put_back(self.buffer[self._start :] + data)
        else:
            self.buffer = data

    def __len__(self) -> int:
        return len(self.buffer) - self._start

    @property
    def full(self) -> bool:
        """Whether so much waits (64 KiB) that no more should be read from the network."""
        return len(self.buffer) - self._start >= _FULL

    @property
    def exhausted(self) -> bool:
        """Whether more was read over than is allowed."""
        return self.discarded > self._discard_limit

    def take_all(self) -> bytes:
        """Everything that waits, as it is. What turns out to be for later comes back with `put_back`."""
        data = self.buffer[self._start :]
        self.put_back(b"")
        return data

    def put_back(self, data: bytes) -> None:
        """What `take_all` gave too much."""
        self.buffer = data
        self._start = 0

    def take_line(self) -> bytes | BadLine | None:
        """The next line without its CRLF; None if it has not arrived whole."""
        if self._reading_over:
            self._read_over()
            if self.exhausted:
                return BadLine(LineFault.ENDLESS)
            if self._reading_over:
                return None
        start = self._start
        buffer = self.buffer
        end = buffer.find(b"\r\n", start)
        if end < 0:
            return self._judge_beginning() if buffer else None
        line = buffer[start:end]
        if len(line) > self._line_limit or _LF in line or _CR in line:
            return self._bad(line)
        if end + 2 == len(buffer):
            self.buffer, self._start = b"", 0
        else:
            self._start = end + 2
        return line

    def _judge_beginning(self) -> BadLine | None:
        """A line that is wrong already is reported at once: its end may never come while the client waits."""
        line = self.buffer[self._start :].removesuffix(b"\r")
        if len(line) > self._line_limit or _LF in line or _CR in line:
            return self._bad(line)
        return None

    def _bad(self, line: bytes) -> BadLine:
        """Name what is wrong first: the same octets give the same answer, whole or in pieces."""
        self._reading_over = True
        judged = line[: self._line_limit + 1]
        bare = min((at for at in (judged.find(b"\n"), judged.find(b"\r")) if at >= 0), default=-1)
        if bare < 0:
            return BadLine(LineFault.TOO_LONG, line[:_SHOWN])
        return BadLine(LineFault.BARE_LINE_END, line[: min(bare, _SHOWN)])

    def _read_over(self) -> None:
        """Drop a bad line up to its end, or what there is of it but for a CR whose LF may follow."""
        end = self.buffer.find(b"\r\n", self._start)
        if end >= 0:
            self.discarded += end - self._start
            self.put_back(self.buffer[end + 2 :])
            self._reading_over = False
            return
        kept = b"\r" if self.buffer.endswith(b"\r") else b""
        self.discarded += len(self) - len(kept)
        self.put_back(kept)
