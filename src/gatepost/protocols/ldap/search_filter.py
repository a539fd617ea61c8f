"""Search filters (RFC 4515) with placeholders for a mail address, and their encoding (RFC 4511 section 4.5.1.7). Pure.

Used by the fields of an accepted domain, which check one, and by `mail.inbound.recipient_directory`. The filter is
taken apart before an address is put into it, so that no character of an address, whatever it is, can be read as a part
of the filter: what RFC 4515 escapes in a text is here an octet of a value.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final

import msgspec

from gatepost.protocols.ldap.ber import OCTET_STRING, SEQUENCE, encode

PLACEHOLDERS: Final = ("address", "local", "domain")
"""What may stand in braces in a value: the whole address, and the parts before and behind its last "@"."""

_DEPTH: Final = 16
_GROUPS: Final = {"&": 0xA0, "|": 0xA1, "!": 0xA2}
_COMPARISONS: Final = {"=": 0xA3, ">=": 0xA5, "<=": 0xA6, "~=": 0xA8}
_SUBSTRINGS, _PRESENT, _EXTENSIBLE = 0xA4, 0x87, 0xA9
_RULED_ATTRIBUTE: Final = 0x82  # in an extensible match
_OR: Final = _GROUPS["|"]
_DESCRIPTION = r"[A-Za-z0-9][A-Za-z0-9.-]*(?:;[A-Za-z0-9-]+)*"
_ITEM: Final = re.compile(rf"(?P<attribute>{_DESCRIPTION})(?P<sign>=|>=|<=|~=)(?P<value>.*)", re.DOTALL)
_RULED: Final = re.compile(
    rf"(?P<attribute>{_DESCRIPTION})?(?P<dn>:dn)?(?::(?P<rule>[A-Za-z0-9][A-Za-z0-9.-]*))?:=(?P<value>.*)", re.DOTALL
)
_PIECE: Final = re.compile(
    r"\\(?P<octet>[0-9A-Fa-f]{2})|\{(?P<name>[^{}]*)\}|(?P<text>[^\\{}*()\0]+)|(?P<bad>.)", re.DOTALL
)


class FilterError(ValueError):
    """A text that is no search filter; it says what is wrong."""


class _Value(msgspec.Struct, frozen=True):
    """An element with a value. pieces: octets as they are, or the name of a placeholder."""

    tag: int
    pieces: tuple[bytes | str, ...]


class _Group(msgspec.Struct, frozen=True):
    """An element with others in it."""

    tag: int
    parts: tuple[_Group | _Value, ...]


class SearchFilter(msgspec.Struct, frozen=True):
    """A filter that was taken apart. placeholders: that are in it."""

    root: _Group | _Value
    placeholders: frozenset[str]

    def encoded(self, addresses: Iterable[str]) -> bytes:
        """The filter for any of these addresses, as a search request has it."""
        filters = [_encoded(self.root, _values(address)) for address in addresses]
        return filters[0] if len(filters) == 1 else encode(_OR, *filters)

    def encoded_for_others(self, address: str) -> bytes:
        """The filter for entries of whatever address: what compares with the address asks that the attribute is there.

        Behind "!" it stays, and is about this address.
        """
        return _encoded(_loosened(self.root), _values(address))


@lru_cache(256)
def parse_filter(text: str) -> SearchFilter:
    """The filter that a text is. Raises FilterError."""
    root, rest = _filter(text, 0)
    if rest:
        raise FilterError(f"{rest[:40]!r} stands behind the filter's last parenthesis")
    return SearchFilter(root, frozenset(_names(root)))


def _filter(text: str, depth: int) -> tuple[_Group | _Value, str]:
    """The filter that a text begins with, and what is behind it."""
    if depth > _DEPTH:
        raise FilterError(f"more than {_DEPTH} parentheses within each other")
    if not text.startswith("("):
        raise FilterError(f"a filter begins with a parenthesis, and not with {text[:40]!r}" if text else "it is empty")
    sign = text[1:2]
    if sign not in _GROUPS:
        inner, closed, rest = text[1:].partition(")")
        if not closed:
            raise FilterError(f"{text[:40]!r} has no closing parenthesis")
        return _item(inner), rest
    parts, rest = [], text[2:]
    while rest.startswith("("):
        part, rest = _filter(rest, depth + 1)
        parts.append(part)
    if not rest.startswith(")"):
        raise FilterError(f"{text[:40]!r} has no closing parenthesis")
    if not parts or (sign == "!" and len(parts) > 1):
        raise FilterError(f'"{sign}" needs {"exactly one filter" if sign == "!" else "a filter"} behind it')
    return _Group(_GROUPS[sign], tuple(parts)), rest[1:]


def _item(text: str) -> _Group | _Value:
    if (match := _ITEM.fullmatch(text)) is None:
        return _ruled(text)
    attribute, sign, value = match["attribute"], match["sign"], match["value"]
    if sign != "=" or "*" not in value:
        return _Group(_COMPARISONS[sign], (_plain(attribute), _value(OCTET_STRING, value)))
    if value == "*":
        return _Value(_PRESENT, (attribute.encode(),))
    first, *middle, last = value.split("*")
    parts = [_value(0x80, first)] if first else []
    parts += [_value(0x81, piece) for piece in middle if piece]
    parts += [_value(0x82, last)] if last else []
    if not parts:
        raise FilterError(f"{text!r}: write one * for any value")
    return _Group(_SUBSTRINGS, (_plain(attribute), _Group(SEQUENCE, tuple(parts))))


def _ruled(text: str) -> _Group:
    """An item with a matching rule, as Active Directory's (memberOf:1.2.840.113556.1.4.1941:=DN)."""
    match = _RULED.fullmatch(text)
    if match is None or not (match["attribute"] or match["rule"]):
        raise FilterError(f"{text[:40]!r} is no comparison: write (attribute=value)")
    parts = [_Value(0x81, (match["rule"].encode(),))] if match["rule"] else []
    parts += [_Value(_RULED_ATTRIBUTE, (match["attribute"].encode(),))] if match["attribute"] else []
    parts.append(_value(0x83, match["value"]))
    parts += [_Value(0x84, (b"\xff",))] if match["dn"] else []
    return _Group(_EXTENSIBLE, tuple(parts))


def _plain(text: str) -> _Value:
    return _Value(OCTET_STRING, (text.encode(),))


def _value(tag: int, text: str) -> _Value:
    pieces: list[bytes | str] = []
    for match in _PIECE.finditer(text):
        if match["octet"] is not None:
            pieces.append(bytes.fromhex(match["octet"]))
        elif match["name"] is not None:
            if match["name"] not in PLACEHOLDERS:
                known = ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)
                raise FilterError(f"{{{match['name']}}} is not a placeholder; there are {known}")
            pieces.append(match["name"])
        elif match["text"] is not None:
            pieces.append(match["text"].encode())
        else:
            raise FilterError(f"in a value, write {match['bad']!r} as \\{ord(match['bad']):02x}")
    return _Value(tag, tuple(pieces))


def _names(part: _Group | _Value) -> Iterable[str]:
    if isinstance(part, _Value):
        return [piece for piece in part.pieces if isinstance(piece, str)]
    return [name for inner in part.parts for name in _names(inner)]


def _loosened(part: _Group | _Value) -> _Group | _Value:
    """The part without comparisons with the address, but for those that are negated and those of no attribute."""
    if isinstance(part, _Value) or part.tag == _GROUPS["!"]:
        return part
    if part.tag in _GROUPS.values():
        return _Group(part.tag, tuple(map(_loosened, part.parts)))
    attribute = next((inner for inner in part.parts if inner.tag in {OCTET_STRING, _RULED_ATTRIBUTE}), None)
    if not isinstance(attribute, _Value) or not any(_names(part)):
        return part
    return _Value(_PRESENT, attribute.pieces)


def _values(address: str) -> Mapping[str, bytes]:
    local, _, domain = address.rpartition("@")
    return {"address": address.encode(), "local": local.encode(), "domain": domain.encode()}


def _encoded(part: _Group | _Value, values: Mapping[str, bytes]) -> bytes:
    if isinstance(part, _Value):
        return encode(part.tag, *(values[piece] if isinstance(piece, str) else piece for piece in part.pieces))
    return encode(part.tag, *(_encoded(inner, values) for inner in part.parts))
