"""A number with its noun: "1 message", "2 messages". Pure."""

from __future__ import annotations


def quantity(number: int, noun: str, plural: str = "") -> str:
    """Return the number and the noun in the right form. plural: where it is not the noun with an s ("entries")."""
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"
