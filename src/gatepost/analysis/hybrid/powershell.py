"""Quote values for PowerShell, whatever they contain.

Called by `analysis.hybrid.exchange` for everything that resources, settings or the command line say. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


_QUOTES = "'\u2018\u2019\u201a\u201b"
"""PowerShell takes each of these for a single quote."""


def quoted(text: str) -> str:
    """A verbatim string: nothing in it is expanded, and every quote is doubled. What cannot be printed becomes "?"."""
    plain = _printable(text)
    for quote in _QUOTES:
        plain = plain.replace(quote, quote * 2)
    return f"'{plain}'"


def listed(texts: Iterable[str]) -> str:
    """Several of them, as a parameter takes a list."""
    return ", ".join(quoted(text) for text in texts)


def comment(text: str) -> str:
    """A line that does nothing."""
    return f"# {_printable(text)}"


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)
