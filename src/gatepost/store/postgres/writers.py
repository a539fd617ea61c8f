"""The names of writers over all nodes, of the trace and of the evidence log. No I/O."""

from __future__ import annotations

import hashlib
from typing import Final

_LONGEST: Final = 32  # characters: the name of a file of evidence has no room for more
_KEPT: Final = 14  # of a long host name
_DIGITS: Final = 8  # of its hash, in hexadecimal


def writer_name(node: str, worker: int) -> str:
    """The name of a worker of a node: "mx1_example_com-0". node: its name; that of its host has no "_".

    Names with one, and long ones, end in a hash, so that no two nodes have one name.
    """
    label = "".join(
        letter if letter.isascii() and (letter.isalnum() or letter == "-") else "_" for letter in node.lower()
    )
    name = f"{label}-{worker}"
    if len(name) <= _LONGEST and "_" not in node:
        return name
    digits = hashlib.sha256(node.lower().encode("utf-8", "replace")).hexdigest()[:_DIGITS]
    return f"{label[:_KEPT]}_{digits}-{worker}"
