"""Numbers with their noun, in the singular or the plural: "1 message", "2 messages"."""

from __future__ import annotations


def quantity(number: int, noun: str, plural: str = "") -> str:
    """A count as people read it. plural: where it is not the noun with an s, such as "deliveries"."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
