"""Just enough of BER (ITU-T X.690) to read and write CMS: elements with their tags, in definite or indefinite length.

Used by `pki.smime.cms`: mail programs write CMS in one pass, with indefinite lengths and content in pieces, which
readers of DER refuse. Pure. What is read comes from anybody: depth and number of elements have bounds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence


INTEGER: Final = 0x02
OCTET_STRING: Final = 0x04
OID: Final = 0x06
SEQUENCE: Final = 0x30
SET: Final = 0x31

_CONSTRUCTED: Final = 0x20
_LONG_TAG: Final = 0x1F
_INDEFINITE: Final = 0x80
_DEPTH: Final = 24
_ELEMENTS: Final = 500_000
_LENGTH_OCTETS: Final = 5


class BerError(ValueError):
    """The octets are no BER, or more of it than is read."""


def context(number: int, *, constructed: bool = True) -> int:
    """The tag of a context-specific element."""
    return 0x80 | number | (_CONSTRUCTED if constructed else 0)


class Element(msgspec.Struct, frozen=True, eq=False):
    """One element. tag: its first octet. raw: all of it. content: what a primitive one holds. parts: of another one."""

    tag: int
    raw: memoryview
    content: memoryview
    parts: tuple[Element, ...] = ()

    @property
    def octets(self) -> bytes:
        """The content of a string, which may come in pieces (X.690 section 8.7)."""
        if not self.tag & _CONSTRUCTED:
            return bytes(self.content)
        return b"".join(part.octets for part in self.parts)

    def part(self, place: int, tag: int) -> Element:
        """The part at a place, which must have the tag. Raises BerError."""
        if place >= len(self.parts) or self.parts[place].tag != tag:
            raise BerError(f"part {place} of an element is missing or is not of tag {tag:#04x}")
        return self.parts[place]


class _Reader:
    def __init__(self, octets: memoryview) -> None:
        self._octets = octets
        self._left = _ELEMENTS

    def element(self, at: int, end: int, depth: int = 0) -> tuple[Element, int]:
        """The element at a position, and the position behind it."""
        self._left -= 1
        if depth > _DEPTH or self._left < 0:
            raise BerError("the elements are nested too deep, or too many")
        begin, tag = at, self._octet(at, end)
        if tag & _LONG_TAG == _LONG_TAG:
            raise BerError("an element has a tag beyond 30")
        length, at = self._length(at + 1, end)
        if length is None:
            if not tag & _CONSTRUCTED:
                raise BerError("a primitive element has no length")
            parts, at = self._until_mark(at, end, depth)
            return Element(tag, self._octets[begin:at], self._octets[:0], parts), at
        if length > end - at:
            raise BerError("an element is cut off")
        content, end = self._octets[at : at + length], at + length
        parts = self._until_end(at, end, depth) if tag & _CONSTRUCTED else ()
        return Element(tag, self._octets[begin:end], content, parts), end

    def _octet(self, at: int, end: int) -> int:
        if at >= end:
            raise BerError("an element is cut off")
        return self._octets[at]

    def _length(self, at: int, end: int) -> tuple[int | None, int]:
        first = self._octet(at, end)
        if first < _INDEFINITE:
            return first, at + 1
        if first == _INDEFINITE:
            return None, at + 1
        count = first - _INDEFINITE
        if count > _LENGTH_OCTETS or at + 1 + count > end:
            raise BerError("a length is cut off, or absurd")
        return int.from_bytes(self._octets[at + 1 : at + 1 + count]), at + 1 + count

    def _until_end(self, at: int, end: int, depth: int) -> tuple[Element, ...]:
        parts = []
        while at < end:
            part, at = self.element(at, end, depth + 1)
            parts.append(part)
        return tuple(parts)

    def _until_mark(self, at: int, end: int, depth: int) -> tuple[tuple[Element, ...], int]:
        parts = []
        while bytes(self._octets[at : min(at + 2, end)]) != b"\0\0":
            part, at = self.element(at, end, depth + 1)
            parts.append(part)
        return tuple(parts), at + 2


def read(octets: bytes) -> Element:
    """The element that the octets begin with; what follows it is left out. Raises BerError."""
    element, _ = _Reader(memoryview(octets)).element(0, len(octets))
    return element


def write(tag: int, *contents: bytes) -> bytes:
    """An element in DER with what it holds."""
    return b"".join(enclosed(tag, contents))


def enclosed(tag: int, contents: Sequence[bytes]) -> list[bytes]:
    """The same in pieces, so that large contents are joined only once, at the end."""
    size = sum(map(len, contents))
    if size < _INDEFINITE:
        return [bytes((tag, size)), *contents]
    length = size.to_bytes((size.bit_length() + 7) // 8)
    return [bytes((tag, _INDEFINITE | len(length))) + length, *contents]
