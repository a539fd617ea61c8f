"""Values of resources as pages write them, and as their forms send them back. Pure."""

from __future__ import annotations

import json
from html import escape
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["cut", "fitting", "in_words"]

_VALUE: Final = 500  # characters of a value
_ROOM: Final = 80_000  # octets of a page for a table of changes
_ROW: Final = 350  # octets of a row without its texts


def cut(text: str) -> str:
    """At most 500 characters of a value; the files beside a page have all of it."""
    return text if len(text) <= _VALUE else f"{text[:_VALUE]}…"


def fitting(rows: Iterable[tuple[str, str | None, str | None]]) -> list[tuple[str, str | None, str | None]]:
    """The first of the rows for `ui.diff`, as many as leave a page below 100 KB; long values are cut."""
    found: list[tuple[str, str | None, str | None]] = []
    left = _ROOM
    for key, before, after in rows:
        row = key, None if before is None else cut(before), None if after is None else cut(after)
        left -= _ROW + sum(len(escape(text).encode()) for text in row if text)
        if left < 0:
            break
        found.append(row)
    return found


def in_words(value: Any) -> str:
    """As a person writes it: lists with commas, switches as true and false, a part as its fields."""
    if isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, list | tuple):
        return ", ".join(map(in_words, value))
    if isinstance(value, dict):
        named = sorted(value, key=lambda key: key not in {"name", "address"})
        return "; ".join(f"{key} = {in_words(value[key])}" for key in named)
    return "" if value is None else str(value)
