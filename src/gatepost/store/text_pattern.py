"""Parts of a text with wildcards, as people search for names and subjects: letters of any script without their case.

Used by the searches of the message trace and of the queue (`store.sqlite`, `store.postgres`). Matching takes time in
proportion to the text, whatever the pattern. Pure.
"""

from __future__ import annotations

import string
import unicodedata
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

_LOWER: Final = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
WILDCARD: Final = "*"
"""Stands for any text, also for none. An address may have it as a letter, which it finds as well."""


class TextPattern(msgspec.Struct, frozen=True):
    """A text that one of several columns must have.

    columns: names, at least one. text: with `WILDCARD` for any text. whole: the column is that text and nothing more;
    otherwise it stands anywhere in it.
    """

    columns: tuple[str, ...]
    text: str
    whole: bool = False

    @property
    def pieces(self) -> list[str]:
        """The texts between the wildcards, folded, in their order; a column that matches has each of them."""
        return [piece for piece in fold(self.text).split(WILDCARD) if piece]

    @property
    def needle(self) -> str:
        """The longest piece; "" if any text will do."""
        return max(self.pieces, key=len, default="")


def fold(text: str) -> str:
    """The text as it is compared: small letters, and each accent with its letter (NFC)."""
    return text.lower() if text.isascii() else unicodedata.normalize("NFC", text).lower()


def spellings(text: str) -> list[str]:
    """The text in the cases that people write, ASCII letters small, for engines that know the case of no others."""
    text = unicodedata.normalize("NFC", text)
    cases = (text, text.lower(), text.upper(), text.capitalize())
    return list(dict.fromkeys(spelling.translate(_LOWER) for spelling in cases))


def matcher(patterns: Sequence[TextPattern], columns: Sequence[str]) -> Callable[[Sequence[object]], bool]:
    """A function that tells of a row with these columns whether it matches every pattern."""
    places = [([columns.index(name) for name in pattern.columns], pattern) for pattern in patterns]

    def matches(row: Sequence[object]) -> bool:
        return all(any(_matches(pattern, fold(str(row[place]))) for place in among) for among, pattern in places)

    return matches


def _matches(pattern: TextPattern, text: str) -> bool:
    pieces = fold(pattern.text).split(WILDCARD)
    if not pattern.whole:
        return _in_order(pieces, text)
    first, *middle = pieces
    if not middle:
        return text == first
    last = middle.pop()
    if len(text) < len(first) + len(last) or not text.startswith(first) or not text.endswith(last):
        return False
    return _in_order(middle, text[len(first) : len(text) - len(last)])


def _in_order(pieces: Sequence[str], text: str) -> bool:
    """Whether the text has the pieces one behind the other: the first place of each leaves most for the others."""
    place = 0
    for piece in pieces:
        place = text.find(piece, place)
        if place < 0:
            return False
        place += len(piece)
    return True
