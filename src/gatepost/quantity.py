"""Numbers with their noun, in the singular or the plural: "1 message", "2 messages", "in 2 days"."""

from __future__ import annotations


def quantity(number: int, noun: str, plural: str = "") -> str:
    """A count as people read it. plural: where it is not the noun with an s, such as "deliveries"."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def in_number(number: int, one: str, many: str) -> str:
    """The form of a text for a number, which is its placeholder: "in %(num)s day" or "in %(num)s days".

    For nouns that other languages inflect after a word.
    """
    return (one if number == 1 else many) % {"num": f"{number:,}"}
