"""Text as every engine can store it: PostgreSQL takes no NUL and no halves of characters. No I/O."""

from __future__ import annotations

from typing import Any

import msgspec

from gatepost.decoding import from_json


def storable(text: str) -> str:
    """The text with U+FFFD for each NUL, and "?" for half of a character."""
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def storable_json(text: str) -> str:
    """JSON without NUL in its texts: PostgreSQL cannot look into one that has some."""
    if "\\u0000" not in text:
        return text
    return msgspec.json.encode(_without_nul(from_json(text))).decode()


def _without_nul(value: Any) -> Any:
    match value:
        case str():
            return storable(value)
        case dict():
            return {storable(name): _without_nul(item) for name, item in value.items()}
        case list():
            return [_without_nul(item) for item in value]
        case _:
            return value
