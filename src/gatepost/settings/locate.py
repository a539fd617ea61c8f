"""Find the line of a key in a TOML file, for error messages: the standard library's parser keeps none.

Used by `settings.loader`. It reads headings and keys at the beginning of lines; a key inside an inline table or a
multi-line value is found at the line where that begins.
"""

from __future__ import annotations

import re

_TABLES = re.compile(r"\s*\[\[\s*([\w.-]+)\s*\]\]")
_TABLE = re.compile(r"\s*\[\s*([\w.-]+)\s*\]")
_KEY = re.compile(r"\s*([\w.-]+)\s*=")
_LAST_STEP = re.compile(r"(?:\.[^.\[]+|\[\d+\])$")


def lines(text: str) -> dict[str, int]:
    """The line, from 1, of each path that is written: "limits", "limits.recipients", "listener[0].role"."""
    result: dict[str, int] = {}
    heading = ""
    counts: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if tables := _TABLES.match(line):
            name = tables[1]
            heading = f"{name}[{counts.get(name, 0)}]"
            counts[name] = counts.get(name, 0) + 1
            result[heading] = number
        elif table := _TABLE.match(line):
            heading = table[1]
            result.setdefault(heading, number)
        elif key := _KEY.match(line):
            result.setdefault(f"{heading}.{key[1]}" if heading else key[1], number)
    return result


def line_of(path: str, lines: dict[str, int]) -> int | None:
    """The line of a path (of a list of tables: of the first), or of the nearest table around it that is written."""
    if f"{path}[0]" in lines:
        return lines[f"{path}[0]"]
    while path:
        if path in lines:
            return lines[path]
        shorter = _LAST_STEP.sub("", path)
        path = "" if shorter == path else shorter
    return None
