"""The DATA form of a message: transparency and the end mark (RFC 5321 sections 4.1.1.4 and 4.5.2).

`protocols.smtp.client.client` encodes with it what `protocols.smtp.server.data` decodes on the other side. Chunks may
be cut anywhere. It never changes line ends: what has a bare CR or LF was refused when it came in.
"""

from __future__ import annotations

_WITHIN_LINE, _AFTER_CR, _LINE_START = range(3)


class DotStuffer:
    """Encodes one message."""

    __slots__ = ("_position",)

    def __init__(self) -> None:
        self._position = _LINE_START

    def encode(self, data: bytes) -> bytes:
        """The chunk as it goes on the wire: a dot that begins a line is doubled. Returns `data` itself where it can."""
        if not data:
            return data
        stuffed = data
        if b"\r\n." in data:
            stuffed = data.replace(b"\r\n.", b"\r\n..")
        if self._position == _LINE_START and data.startswith(b"."):
            stuffed = b"." + stuffed
        elif self._position == _AFTER_CR and data.startswith(b"\n."):
            stuffed = b"\n." + stuffed[1:]
        if data.endswith(b"\r\n") or (data == b"\n" and self._position == _AFTER_CR):
            self._position = _LINE_START
        else:
            self._position = _AFTER_CR if data.endswith(b"\r") else _WITHIN_LINE
        return stuffed

    def finish(self) -> bytes:
        """The end of the message after its last chunk: the dot, and before it a CRLF where the message has none."""
        return b".\r\n" if self._position == _LINE_START else b"\r\n.\r\n"
