"""The Basic Encoding Rules as LDAP uses them (RFC 4511 section 5.1): definite lengths, tags of one octet. Pure.

Used by `protocols.ldap.messages` and `protocols.ldap.search_filter`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

INTEGER: Final = 0x02
OCTET_STRING: Final = 0x04
ENUMERATED: Final = 0x0A
SEQUENCE: Final = 0x30

_HEADER: Final = 6  # octets at most: the tag, and a length of up to four octets behind its own


class BerError(ValueError):
    """Octets that are no element of the Basic Encoding Rules, or one that is larger than allowed."""


class Element(msgspec.Struct, frozen=True):
    """One element: its tag, and what is in it."""

    tag: int
    content: bytes

    def elements(self) -> Iterator[Element]:
        """Yield the elements in it, one after the other. Raises BerError."""
        rest = self.content
        while rest:
            size = element_size(rest, len(rest))
            if size is None or size > len(rest):
                raise BerError("an element ends in the middle")
            yield _element(rest[:size])
            rest = rest[size:]

    def number(self) -> int:
        """The value of an INTEGER or ENUMERATED. Raises BerError for one of no or more than eight octets."""
        if not 1 <= len(self.content) <= 8:
            raise BerError(f"a number has {len(self.content)} octets")
        return int.from_bytes(self.content, signed=True)


def encode(tag: int, *parts: bytes) -> bytes:
    """An element with these parts in it."""
    content = b"".join(parts)
    if len(content) < 0x80:
        return bytes((tag, len(content))) + content
    length = len(content).to_bytes((len(content).bit_length() + 7) // 8)
    return bytes((tag, 0x80 | len(length))) + length + content


def encode_number(value: int, tag: int = INTEGER) -> bytes:
    """A number that is not negative."""
    return encode(tag, value.to_bytes(value.bit_length() // 8 + 1))


def element_size(data: bytes, most: int) -> int | None:
    """The octets of the first element in the data, None if its header is not whole yet. most: that are allowed.

    Raises BerError if it is larger, has an indefinite length, or a tag of several octets.
    """
    if len(data) < 2:
        return None
    if data[0] & 0x1F == 0x1F:
        raise BerError("a tag of several octets")
    first = data[1]
    if first < 0x80:
        return _allowed(2 + first, most)
    octets = first & 0x7F
    if not 1 <= octets <= _HEADER - 2:
        raise BerError("an indefinite or huge length")
    if len(data) < 2 + octets:
        return None
    return _allowed(2 + octets + int.from_bytes(data[2 : 2 + octets]), most)


def decode(data: bytes) -> Element:
    """The element that the data is, from its first octet to its last. Raises BerError."""
    if element_size(data, len(data)) != len(data):
        raise BerError("no element from the first octet to the last")
    return _element(data)


def _element(data: bytes) -> Element:
    header = 2 if data[1] < 0x80 else 2 + (data[1] & 0x7F)
    return Element(data[0], data[header:])


def _allowed(size: int, most: int) -> int:
    if size > most:
        raise BerError(f"an element of {size} octets, and {most} are allowed")
    return size
