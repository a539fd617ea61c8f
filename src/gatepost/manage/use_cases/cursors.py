"""A place in a list as text for a URL, and read again: what pages of REST and of the admin centre go on from. Pure.

It grants nothing: what may be seen is decided anew for every page.
"""

from __future__ import annotations

import base64

import msgspec

from gatepost.decoding import from_json


def cursor(place: object) -> str:
    """A position as text for a URL."""
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")


def position[T](text: str, kind: type[T]) -> T:
    """The position in a cursor. Raises ValueError for what `cursor` did not make of one of that kind."""
    # The errors of base64 and of msgspec, and UnicodeError, are ValueErrors.
    return from_json(base64.urlsafe_b64decode(text.encode() + b"=" * (-len(text) % 4)), kind)
