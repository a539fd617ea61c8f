"""Write numbers with their nouns: "1 message", "1,204 messages".

Below all rooms, and used by all of them: the filter `amount` of the pages' templates is this function.
"""

from __future__ import annotations


def amount(number: int, one: str, many: str = "") -> str:
    """A number with its noun. one, many: what follows 1 and every other number; many is `one` and an s by default."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
