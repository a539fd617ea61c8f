"""How data is printed: an aligned table on a terminal, tab-separated values in a pipe, JSON on request."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["moment", "print_json", "print_table", "printable"]


def printable(text: object) -> str:
    """Text from a peer made harmless for a terminal: control characters become "?" (log and terminal injection)."""
    return "".join(character if character.isprintable() else "?" for character in str(text))


def moment(seconds: float) -> str:
    """A time as 2026-11-24 16:12:52Z, "" for 0."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ") if seconds else ""


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Rows under their column names; in a pipe as tab-separated values, header included."""
    cells = [[printable(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        for line in ([*columns], *cells):
            click.echo("\t".join(line))
        return
    widths = [max(len(name), *(len(row[index]) for row in cells), 0) for index, name in enumerate(columns)]
    for line in ([name.upper() for name in columns], *cells):
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
