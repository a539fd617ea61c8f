"""The canonicalizations of header fields and bodies (RFC 6376 section 3.4).

Used by `protocols.dkim.signature`, `protocols.dkim.verification` and those who hash bodies for them. What is signed
here is relaxed: a fold or a blank that a mail server adds on the way would break the simple one, which is only for
signatures of others. A body is taken in chunks, cut anywhere, and never joined. Only CRLF ends a line here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

_CRLF: Final = b"\r\n"
_MANY: Final = 4096
_LINES: Final = _CRLF * _MANY
_BLANK: Final = b" \t"
_MARK: Final = b"\0"


def relaxed_field(field: bytes) -> bytes:
    """A field, "Name: value" with its folds and with or without its last CRLF, in relaxed form without one.

    Section 3.4.2: the name in lower case, nothing folded, blanks as one space, none at the end or around the colon.
    """
    name, _, value = field.partition(b":")
    return name.strip(_BLANK).lower() + b":" + _words(value.replace(_CRLF, b""))


def _words(value: bytes) -> bytes:
    return b" ".join(filter(None, value.replace(b"\t", b" ").split(b" ")))


class _Lines:
    """Passes on data with the ends of its lines, of which those at the end are kept back until something follows."""

    __slots__ = ("_kept", "_update")

    def __init__(self, update: Callable[[bytes], object]) -> None:
        self._update = update
        self._kept = 0

    def pass_on(self, data: bytes) -> bool:
        """Whether anything was passed on. data: does not end in a CR of which the next octet says what it is."""
        ends = len(data.rstrip(_CRLF))
        rest = data[ends:].replace(_CRLF, _MARK)  # pairs; of a binary body also a CR or LF of its own
        text = rest.rstrip(_MARK)
        something = bool(ends or text)
        if something:
            self.release()
            self._update(data[:ends] + text.replace(_MARK, _CRLF))
        self._kept += len(rest) - len(text)
        return something

    def release(self) -> None:
        """Pass on what was kept back: something follows."""
        while self._kept:
            some = min(self._kept, _MANY)
            self._update(_LINES[: 2 * some])
            self._kept -= some


class RelaxedBody:
    """Passes a body on in relaxed form, to a hash (section 3.4.4).

    Blanks at the ends of lines and empty lines at the end are left out, other blanks become one space, and the last
    line is ended if it was not: BDAT lets it be open, and DATA closes it on the wire.
    """

    __slots__ = ("_begun", "_lines", "_tail", "_update")

    def __init__(self, update: Callable[[bytes], object]) -> None:
        """update: takes what the canonical body has, in pieces."""
        self._update = update
        self._begun = False
        self._tail = b""  # blanks, as one, and a CR, of which the next octet says what they are
        self._lines = _Lines(update)

    def feed(self, chunk: bytes) -> None:
        """The next octets of the body."""
        data = self._tail + chunk
        tail = b""
        if data.endswith(b"\r"):
            data, tail = data[:-1], b"\r"
        kept = data.rstrip(_BLANK)
        if len(kept) < len(data):
            data, tail = kept, b" " + tail
        self._tail = tail
        self._begun |= self._lines.pass_on(_without_blanks(data))

    def finish(self) -> None:
        """The body has ended."""
        if self._tail not in {b"", b" "}:
            self._begun |= self._lines.pass_on(self._tail)
        if self._begun:
            self._update(_CRLF)


class SimpleBody:
    """Passes a body on in simple form, to a hash: unchanged, but for empty lines at its end (section 3.4.3)."""

    __slots__ = ("_lines", "_tail", "_update")

    def __init__(self, update: Callable[[bytes], object]) -> None:
        """update: takes what the canonical body has, in pieces."""
        self._update = update
        self._tail = b""  # a CR, of which the next octet says whether it ends a line
        self._lines = _Lines(update)

    def feed(self, chunk: bytes) -> None:
        """The next octets of the body."""
        data = self._tail + chunk
        self._tail = b"\r" if data.endswith(b"\r") else b""
        self._lines.pass_on(data[: len(data) - len(self._tail)])

    def finish(self) -> None:
        """The body has ended. It ends with one line end, even if it is empty."""
        if self._tail:
            self._lines.release()
            self._update(self._tail)
        self._update(_CRLF)


def _without_blanks(data: bytes) -> bytes:
    data = data.replace(b"\t", b" ")
    while b"  " in data:  # each time half as many: no body makes it slow
        data = data.replace(b"  ", b" ")
    return data.replace(b" \r\n", _CRLF)
