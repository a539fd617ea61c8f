"""Pass the header section of a streamed message to a function that rewrites it.

`mail.inbound.transaction` passes every message through a `HeaderSection` on its way to the store: what a submission
server adds and removes (`protocols.message.submission`), and what only an organization's own servers may say
(`protocols.message.organization_headers`). The body streams by untouched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


_BLANKS = (b" ", b"\t")


class HeaderSection:
    """Takes a message in chunks, gives it back changed. Nothing is passed on before the header section is whole.

    A message that begins with a blank has no header section, and gets the empty line that ends one: else its first line
    would continue the field that is put before it (RFC 5322 section 2.2.3).
    A section of more than `limit` octets is passed on as it is: such a message is refused anyway.
    """

    __slots__ = ("_buffer", "_change", "_limit")

    def __init__(self, limit: int, change: Callable[[bytes], bytes]) -> None:
        """change: gets the section with its last CRLF, without the empty line behind it; b"" if there is none."""
        self._limit = limit
        self._change: Callable[[bytes], bytes] | None = change  # until the section was passed on: it may hold us
        self._buffer = bytearray()

    def feed(self, chunk: bytes) -> bytes:
        """The next chunk, cut anywhere; what may be passed on by now, b"" if nothing."""
        if self._change is None:
            return chunk
        seen: bytes | bytearray = chunk  # most messages show the whole section at once: no copy then
        begin = 0
        if self._buffer:
            begin = max(len(self._buffer) - 3, 0)
            self._buffer += chunk
            seen = self._buffer
        if seen.startswith((b"\r\n", *_BLANKS)):
            return self._end(self._change, seen, 0)
        if (end := seen.find(b"\r\n\r\n", begin)) >= 0:
            return self._end(self._change, seen, end + 2)
        if len(seen) > self._limit + 2:
            self._change = None
            self._buffer = bytearray()
            return bytes(seen)
        if seen is chunk:
            self._buffer += chunk
        return b""

    def finish(self) -> bytes:
        """The message has ended; what of it was not passed on yet. Without an empty line, all of it is header."""
        return b"" if self._change is None else self._end(self._change, self._buffer, len(self._buffer))

    def _end(self, change: Callable[[bytes], bytes], seen: bytes | bytearray, size: int) -> bytes:
        self._change = None
        self._buffer = bytearray()
        section = bytes(seen[:size])
        changed = change(section)
        if seen.startswith(_BLANKS):  # no field begins so: all of it is body
            return changed + b"\r\n" + bytes(seen)
        return bytes(seen) if changed is section else changed + bytes(seen[size:])
