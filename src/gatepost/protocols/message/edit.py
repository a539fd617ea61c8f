"""Edit a header section: fields put before it, fields removed, another subject.

`mail.inbound.transaction` applies what a scanner asks for to the beginning of a message, while the rest stays where it
is. Trace fields are never taken away (RFC 5321 section 4.4), nor what loops are known by.

`mail.inbound.transaction` passes every message through a `HeaderSection` on its way to the store: what a submission
server adds and removes (`protocols.message.submission`), and what only own servers of an organization may say
(`protocols.message.organization_headers`). The body streams by untouched.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable
from typing import Final

import msgspec

_BLANKS = (b" ", b"\t")
_FIELD_END = re.compile(rb"\r\n(?![ \t])")


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

    @property
    def held(self) -> int:
        """Octets of the section that have come while it is not whole; 0 once it was passed on."""
        return len(self._buffer)

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


KEPT_FIELDS: Final = frozenset({"received", "return-path", "delivered-to"})
"""Names, in lower case, that can be neither added nor removed."""

_LINE: Final = 998  # octets, RFC 5322 section 2.1.1
_WORD: Final = 42  # octets of UTF-8 in one encoded word: with its frame 68 characters (RFC 2047 section 2)
_NAME: Final = 76


class EditError(ValueError):
    """An edit that would make an invalid header field. The text is for our log."""


class HeaderEdits(msgspec.Struct, frozen=True):
    """add: names and values, in the order in which they will stand, before everything else.

    remove: names, each with which one of that name: 1 is the first, -1 the last, 0 means all; in the section as it was.
    subject: instead of what it is, "" to leave it.
    """

    add: tuple[tuple[str, str], ...] = ()
    remove: tuple[tuple[str, int], ...] = ()
    subject: str = ""

    def __bool__(self) -> bool:
        """Whether anything would change."""
        return bool(self.add or self.remove or self.subject)

    def checked(self) -> HeaderEdits:
        """The same, if every field that is added can be written. Raises EditError."""
        for name, value in self.add:
            _field(name, value)
        if self.subject:
            _field("Subject", self.subject)
        return self


def edit_header(head: bytes, edits: HeaderEdits) -> bytes:
    """The beginning of a message with its header section changed; what follows the section stays as it is.

    head: with the whole header section. Raises EditError.
    """
    end = 0 if head.startswith(b"\r\n") else head.find(b"\r\n\r\n") + 2
    if end == 1:
        end = len(head)  # a message that is nothing but header
    fields = _fields(head[:end])
    gone = _gone(fields, edits.remove)
    kept = [field for place, field in enumerate(fields) if place not in gone]
    if edits.subject:
        kept = _with_subject(kept, _field("Subject", edits.subject))
    added = [_field(name, value) for name, value in edits.add]
    return b"".join([*added, *kept, head[end:]])


def _fields(section: bytes) -> list[bytes]:
    """The fields as they are, each with its folded lines."""
    return [field + b"\r\n" for field in _FIELD_END.split(section.removesuffix(b"\r\n"))] if section else []


def _name(field: bytes) -> str:
    """In lower case; a blank before the colon is an old way of writing (RFC 5322 section 4.5)."""
    return field.partition(b":")[0].rstrip().decode("latin-1").lower()


def _gone(fields: list[bytes], remove: tuple[tuple[str, int], ...]) -> set[int]:
    if not remove:
        return set()
    by_name: dict[str, list[int]] = {}
    for place, field in enumerate(fields):
        by_name.setdefault(_name(field), []).append(place)
    gone: set[int] = set()
    for name, which in remove:
        wanted = name.lower()
        places = by_name.get(wanted, []) if wanted not in KEPT_FIELDS else []
        if which == 0:
            gone.update(places)
        elif 0 < abs(which) <= len(places):
            gone.add(places[which - 1 if which > 0 else which])
    return gone


def _with_subject(fields: list[bytes], subject: bytes) -> list[bytes]:
    """The first Subject is another, at its place, and there is no second; where there is none it comes last."""
    numbers = [place for place, field in enumerate(fields) if _name(field) == "subject"]
    if not numbers:
        return [*fields, subject]
    rest = set(numbers[1:])
    return [subject if place == numbers[0] else field for place, field in enumerate(fields) if place not in rest]


def _field(name: str, value: str) -> bytes:
    """One field in US-ASCII, its lines folded as the value has them. Raises EditError."""
    if not 0 < len(name) <= _NAME or any(not "!" <= char <= "~" or char == ":" for char in name):
        raise EditError(f"{name[:_NAME]!r} is not a name of a field")
    if name.lower() in KEPT_FIELDS:
        raise EditError(f"{name} cannot be added")
    lines = value.replace("\r\n", "\n").strip().split("\n")
    for place, line in enumerate(lines):
        if place and (line[:1] not in {" ", "\t"} or not line.strip()):
            raise EditError(f"the value of {name} has a line that does not belong to it")
        if any((char < " " and char != "\t") or char == "\x7f" for char in line):
            raise EditError(f"the value of {name} has a control character")
    text = "\r\n".join(lines)
    if not text.isascii():
        text = _encoded(text)
    written = f"{name}: {text}\r\n".encode("ascii")
    if any(len(line) > _LINE for line in written.split(b"\r\n")):
        raise EditError(f"the value of {name} has a line of more than {_LINE} octets")
    return written


def _encoded(text: str) -> str:
    """Text as encoded words (RFC 2047), none of which cuts a character in two."""
    words, word = [], b""
    for char in " ".join(text.split()):
        octets = char.encode("utf-8", "replace")
        if len(word) + len(octets) > _WORD:
            words.append(word)
            word = b""
        word += octets
    return "\r\n ".join(f"=?utf-8?B?{b64encode(part).decode('ascii')}?=" for part in [*words, word])
