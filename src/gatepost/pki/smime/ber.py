"""Just enough of BER (ITU-T X.690) to read and write CMS: elements with their tags, in definite or indefinite length.

Used by `pki.smime.encryption` and `pki.smime.decryption`: mail programs write CMS in one pass, with indefinite lengths
and content in pieces, which readers of DER refuse. Pure. What is read comes from anybody: depth and number of elements
have bounds.

The names of CMS stand here, too: object identifiers of content, ciphers and key management (RFC 5652, 5753, 3565,
5084, 4055).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from cryptography.hazmat.primitives.hashes import SHA1, SHA224, SHA256, SHA384, SHA512, HashAlgorithm

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography import x509


INTEGER: Final = 0x02
OCTET_STRING: Final = 0x04
OID: Final = 0x06
SEQUENCE: Final = 0x30
SET: Final = 0x31

_CONSTRUCTED: Final = 0x20
_LONG_TAG: Final = 0x1F
_INDEFINITE: Final = 0x80
_DEPTH: Final = 24
# RSA keys of 1000 recipients are 30,000 elements; programs write content in pieces of 1000 octets or more.
_ELEMENTS: Final = 50_000
_OCTETS_AN_ELEMENT: Final = 256
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
        self._left = _ELEMENTS + len(octets) // _OCTETS_AN_ELEMENT

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


BLOCK: Final = 16
"""Octets of a block of AES."""

PIECE: Final = 1 << 20
"""Octets that go through a cipher at a time: so few that other threads have their turn in between."""


def oid(dotted: str) -> bytes:
    """The content of an object identifier."""
    first, second, *rest = map(int, dotted.split("."))
    octets = bytearray((first * 40 + second,))
    for arc in rest:
        groups = [arc & 0x7F]
        while arc := arc >> 7:
            groups.append(0x80 | (arc & 0x7F))
        octets += bytes(reversed(groups))
    return bytes(octets)


DATA: Final = oid("1.2.840.113549.1.7.1")
ENVELOPED: Final = oid("1.2.840.113549.1.7.3")
AUTH_ENVELOPED: Final = oid("1.2.840.113549.1.9.16.1.23")
RSA: Final = oid("1.2.840.113549.1.1.1")
OAEP: Final = oid("1.2.840.113549.1.1.7")
MGF1: Final = oid("1.2.840.113549.1.1.8")
_AES: Final = "2.16.840.1.101.3.4.1"
CBC: Final = {oid(f"{_AES}.{last}"): size for last, size in ((2, 16), (22, 24), (42, 32))}
GCM: Final = {oid(f"{_AES}.{last}"): size for last, size in ((6, 16), (26, 24), (46, 32))}
WRAP: Final = {oid(f"{_AES}.{last}"): size for last, size in ((5, 16), (25, 24), (45, 32))}
HASHES: Final[dict[bytes, type[HashAlgorithm]]] = {
    oid("1.3.14.3.2.26"): SHA1,
    oid("2.16.840.1.101.3.4.2.4"): SHA224,
    oid("2.16.840.1.101.3.4.2.1"): SHA256,
    oid("2.16.840.1.101.3.4.2.2"): SHA384,
    oid("2.16.840.1.101.3.4.2.3"): SHA512,
}
# ECDH by the hash of its key derivation (RFC 5753 section 7.1.4).
ECDH: Final[dict[bytes, type[HashAlgorithm]]] = {
    oid("1.3.133.16.840.63.0.2"): SHA1,
    **{oid(f"1.3.132.1.11.{last}"): kind for last, kind in ((0, SHA224), (1, SHA256), (2, SHA384), (3, SHA512))},
}


def shared_info(wrap: bytes, size: int, material: bytes = b"") -> bytes:
    """ECC-CMS-SharedInfo (RFC 5753 section 7.2). wrap: AlgorithmIdentifier. size: octets of the key that wraps."""
    user = write(context(0), write(OCTET_STRING, material)) if material else b""
    return write(SEQUENCE, wrap, user, write(context(2), write(OCTET_STRING, (size * 8).to_bytes(4))))


def issuer_of(certificate: x509.Certificate) -> bytes:
    """The issuer's name as it stands in the certificate, octet for octet: by it a RecipientInfo names the recipient."""
    tbs = read(certificate.tbs_certificate_bytes)
    return bytes(tbs.part(3 if tbs.parts[0].tag == context(0) else 2, SEQUENCE).raw)
