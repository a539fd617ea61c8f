"""Prints which interface has which use case, as docs/use-cases.md has it: .venv/bin/python scripts/door_matrix.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatepost.manage.access.actions import action_label
from gatepost.manage.use_cases.catalogue import USE_CASES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

COLUMNS = ("use case", "what it does", "REST", "command", "page", "scope", "audit")


def rows() -> Iterator[tuple[str, ...]]:
    """A row of texts for each use case."""
    for one in USE_CASES:
        action = one.action or ("change" if one.guarded else "request")
        yield (
            f"`{one.name}`",
            one.summary,
            f"`{one.method} {one.path}`" if one.path else "",
            _listed(f"gatepost {words}" for words in one.commands),
            _listed(one.pages),
            f"`{one.scope}`" if one.scope else "any",
            f"{action_label(action)} (`{action}`)" if one.is_recorded else "",
        )


def table() -> str:
    """As Markdown."""
    lines = [COLUMNS, ("---",) * len(COLUMNS), *rows()]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def _listed(texts: Iterable[str]) -> str:
    return ", ".join(f"`{text}`" for text in texts)


if __name__ == "__main__":
    print(table(), end="")
