"""Print a sentence, or data: an aligned table on a terminal, tab-separated values in a pipe, JSON on request."""

from __future__ import annotations

import json
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import click
import msgspec

from gatepost.manage.cli.language import _, to_programs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence


JSON = "gatepost.json"
"""What `--json` leaves in the context of the command."""

_LONGEST = 4000  # characters of a line of an error: its end says what to do
_LAST = 80  # characters that the last column of a table gets in any case


def printable(text: object) -> str:
    """Text from a peer made harmless for a terminal: control characters become "?" (log and terminal injection)."""
    return "".join(character if character.isprintable() else "?" for character in str(text))


def bounded(text: str) -> str:
    """Lines of an error, harmless as `printable` makes them, and what somebody gave cut where it is very long."""
    return "\n".join(map(_bounded, text.split("\n")))


def _bounded(line: str) -> str:
    line = printable(line)
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST // 2]}{ellipsis()}{line[-_LONGEST // 2 :]}"


def say(text: str, /, *, err: bool = False, **values: Any) -> None:
    """Print a sentence in the language of the terminal, as `_` translates it. err: to standard error."""
    click.echo(_(text, **values), err=err)


def organizations_text(names: Sequence[str] | None) -> str:
    """For a table: "(all)" is the whole gateway."""
    return "(all)" if names is None else ", ".join(names)


def print_dialogue(lines: Sequence[str]) -> None:
    """An SMTP dialogue below the host that it was with."""
    click.echo(_("    SMTP dialogue:"))
    for line in lines:
        click.echo(f"      {printable(line)}")


def print_json(value: Any) -> None:
    """One JSON document on standard output. value: the result of a use case, or plain values.

    Letters stand as they are. What does something to a terminal (C1 controls, marks of direction) or is no character
    (half of a surrogate pair) is escaped, so that it reads back the same.
    """
    lines = json.dumps(msgspec.to_builtins(value), indent=2, ensure_ascii=False).split(
        "\n"
    )  # no value has a line end that is not escaped
    click.echo("\n".join(line if line.isprintable() else _escaped(line) for line in lines))


def printed_json(value: Any) -> bool:
    """Print a result as JSON where the command has `--json`; whether it was printed."""
    if is_json := wants_json():
        print_json(value)
    return is_json


def wants_json() -> bool:
    """Whether the command has `--json`."""
    context = click.get_current_context(silent=True)
    return context is not None and JSON in context.meta


def _escaped(line: str) -> str:
    return "".join(text if text.isprintable() else json.dumps(text)[1:-1] for text in line)


def table_language() -> AbstractContextManager[None]:
    """English for cells of a table in a pipe, which is for programs."""
    return nullcontext() if sys.stdout.isatty() else to_programs()


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Rows under their column names; in a pipe as tab-separated values, header included, and nothing cut.

    rows: made as they are printed, so that sentences in them are in the language of the table.

    Who pipes them by hand reads on the terminal that columns are separated by tabs, and of --json where there is it.

    On a terminal a last column that does not fit in the line (replies, reasons) is cut, and ends in "…" or "...".
    """
    with table_language():
        cells = [[printable(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        for line in ([*columns], *cells):
            click.echo("\t".join(line))
        _say_tabs()
        return
    from shutil import get_terminal_size  # noqa: PLC0415 - it loads what unpacks archives, and programs have no terminal

    columns = [_(name) for name in columns]
    room = max(
        _LAST, get_terminal_size().columns - sum(_width(columns, cells, at) + 2 for at in range(len(columns) - 1))
    )
    for row in cells:
        row[-1] = row[-1] if len(row[-1]) <= room else row[-1][: room - len(ellipsis())] + ellipsis()
    widths = [_width(columns, cells, at) for at in range(len(columns))]
    for line in ([name.upper() for name in columns], *cells):
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def print_rows[T](columns: Sequence[str], rows: Iterable[T], cells: Callable[[T], Sequence[object]]) -> None:
    """Results of a use case: as JSON, or as a table that has these cells of each."""
    rows = list(rows)
    if not printed_json(rows):
        print_table(columns, map(cells, rows))


def print_records(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Rows as they are: as JSON, where each is an object with these names, or as a table, lists with blanks in it."""
    if wants_json():
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
    else:
        print_table(columns, ([" ".join(cell) if isinstance(cell, tuple) else cell for cell in row] for row in rows))


def queue_states(active: int, deferred: int, held: int) -> str:
    """Numbers of deliveries by state: "1 active, 2 waiting, 0 held"."""
    return _("%(active)s active, %(waiting)s waiting, %(held)s held", active=active, waiting=deferred, held=held)


def print_facts(facts: Iterable[tuple[str, object]], *, indent: str = "", width: int = 13) -> None:
    """A line for each: its name in the language, and its value. width: of the names in English."""
    lines = [(_(name), value) for name, value in facts]
    width = max([width, *(len(name) for name, _value in lines)])
    for name, value in lines:
        click.echo(f"{indent}{name:{width}} {printable(value)}")


def _say_tabs() -> None:
    """Say on a terminal how a table in a pipe is written, and what is better for programs."""
    context = click.get_current_context(silent=True)
    if not sys.stderr.isatty() or context is None:
        return
    has_json = any("--json" in parameter.opts for parameter in context.command.params)
    more = _("; --json is for programs") if has_json else ""
    click.echo(_("(columns are separated by tabs%(more)s)", more=more), err=True)


def _width(columns: Sequence[str], cells: list[list[str]], at: int) -> int:
    return max(len(columns[at]), *(len(row[at]) for row in cells), 0)


def ellipsis() -> str:
    """Ellipsis that standard output can show."""
    try:
        "…".encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return "..."
    return "…"
