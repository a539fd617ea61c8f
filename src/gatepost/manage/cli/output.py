"""The output of commands: sentences in the language of the terminal, tables and JSON.

Data is an aligned table on a terminal, tab-separated values in a pipe, JSON on request. Texts in a language are in
gettext's catalogues below `locale`; English has none. LC_ALL, LC_MESSAGES or LANG names it, and where that is no C
locale, LANGUAGE may list others, as for all that use gettext. It is for people: a command with `--json` and a table in
a pipe are English, and files, logs, codes, states and the names of commands and options are the same in every language.

Used by all of `manage.cli`, which marks its sentences with `_`. Help is not marked: `manage.cli.localized_help`
translates it as a whole. What click says itself comes from the same catalogue. Texts are ours, never data.
"""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from gettext import GNUTranslations

    from gatepost.settings.problem import SettingsProblem


ENGLISH: Final = "en"
DOMAIN: Final = "commands"
LOCALE: Final = os.path.join(os.path.dirname(__file__), "locale")  # noqa: PTH118, PTH120 - pathlib costs more than this
LETTERS: Final[Mapping[str, str]] = {"sv": "åäöÅÄÖé", "de": "äöüÄÖÜß"}
"""Every language that there is a catalogue of, with the letters that it needs of the output's encoding."""
_NO_BREAK: Final = "\u00a0"
_THOUSANDS: Final[Mapping[str, str]] = {"sv": _NO_BREAK, "de": "."}
_NO_LANGUAGE: Final = frozenset({"", "C", "POSIX"})
_is_for_programs: ContextVar[bool] = ContextVar("is_for_programs", default=False)


def catalogue_file(language: str, suffix: str = "mo") -> str:
    """The catalogue of a language: "po" for people, "mo" for the program."""
    return os.path.join(LOCALE, language, "LC_MESSAGES", f"{DOMAIN}.{suffix}")  # noqa: PTH118 - as above


def language() -> str:
    """The language that commands speak now: of the environment, if its catalogue is complete and can be printed."""
    if _is_for_programs.get():
        return ENGLISH
    get = os.environ.get
    locale = get("LC_ALL") or get("LC_MESSAGES") or get("LANG") or ""
    if locale.partition(".")[0] in _NO_LANGUAGE:
        return ENGLISH
    return _chosen(get("LANGUAGE") or locale, _encoding())


@cache
def _chosen(languages: str, encoding: str) -> str:
    """The first of a list that is offered, which English always is; what is not complete has no compiled catalogue."""
    for name in languages.split(":"):
        code = name.partition(".")[0].partition("@")[0].partition("_")[0].lower()
        if code == ENGLISH:
            return ENGLISH
        if code in LETTERS and os.path.isfile(catalogue_file(code)):  # noqa: PTH113 - as above
            return code if _writes(encoding, LETTERS[code]) else ENGLISH
    return ENGLISH


def _encoding() -> str:
    """Of standard output."""
    return getattr(sys.stdout, "encoding", None) or "ascii"


def _writes(encoding: str, text: str) -> bool:
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def writes(sign: str) -> bool:
    """Whether standard output can show the sign."""
    return _writes(_encoding(), sign)


@cache
def _catalogue(code: str) -> GNUTranslations:
    from gettext import GNUTranslations  # noqa: PLC0415 - English does without

    with open(catalogue_file(code), "rb") as file:  # noqa: PTH123 - as above
        return GNUTranslations(file)


def speak() -> None:
    """Let click say its own sentences in the language, too: it asks gettext for them."""
    import gettext  # noqa: PLC0415 - click has imported it; what only translates needs it not

    _is_for_programs.set(False)
    gettext.bindtextdomain(DOMAIN, LOCALE)
    gettext.textdomain("messages" if language() == ENGLISH else DOMAIN)


def speak_to_programs() -> None:
    """Speak English until the command ends, as its output is for a program."""
    _is_for_programs.set(True)


@contextmanager
def to_programs() -> Iterator[None]:
    """Speak English until the end of the block."""
    token = _is_for_programs.set(True)
    try:
        yield
    finally:
        _is_for_programs.reset(token)


def _(text: str, /, **values: Any) -> str:
    """The text in the language of the terminal.

    values: of its placeholders, `%(name)s`, made harmless as `printable` does it; without any it has none.
    """
    code = language()
    if code != ENGLISH and text:
        text = _catalogue(code).gettext(text)
    return text % {name: printable(value) for name, value in values.items()} if values else text


def ours(text: str) -> str:
    """A sentence of ours with values, as use cases and checks form them, in the language of the terminal.

    What the terminal cannot show stays in English, and so does a text that is none of ours. See `gatepost.sentences`.
    """
    code = language()
    if code == ENGLISH or not text:
        return text
    from gatepost.language import in_language  # noqa: PLC0415 - English does without
    from gatepost.sentences import ours as in_words  # noqa: PLC0415 - as above

    with in_language(code):
        said = in_words(text)
    return said if writes(said) else text


def in_words(problem: SettingsProblem) -> str:
    """A problem of the settings, with its place, in the language of the terminal."""
    return f"{problem.where}{ours(problem.message)}"


def ngettext(one: str, many: str, number: int, /, **values: Any) -> str:
    """The form of a text for a number, which is its placeholder `%(num)s`."""
    code = language()
    text = (one if number == 1 else many) if code == ENGLISH else _catalogue(code).ngettext(one, many, number)
    return text % {"num": grouped(number), **values}


def quantity(number: int, noun: str, plural: str = "") -> str:
    """A count with its noun, as `gatepost.quantity` in English: "2 messages", "2 meddelanden"."""
    return ngettext(f"%(num)s {noun}", f"%(num)s {plural or noun + 's'}", number)  # noqa: INT001 - by its nouns


def grouped(number: int) -> str:
    """A count with what the language sets between thousands: "1,204,331"."""
    return f"{number:,}".replace(",", _THOUSANDS.get(language(), ","))


JSON = "gatepost.json"
"""What `--json` leaves in the context of the command."""

_LONGEST = 4000  # characters of a line of an error: its end says what to do
_LAST = 80  # characters that the last column of a table gets in any case


def printable(text: object) -> str:
    """Text from a peer made harmless for a terminal: control characters become "?" (log and terminal injection)."""
    return "".join(character if character.isprintable() or character == _NO_BREAK else "?" for character in str(text))


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


def print_content(chunks: Iterable[bytes]) -> None:
    """Print a stored message: as it is in a pipe, with its lines harmless on a terminal, as `printable` makes them."""
    if not sys.stdout.isatty():
        for chunk in chunks:
            sys.stdout.buffer.write(chunk)
        return
    from codecs import iterdecode  # noqa: PLC0415 - other commands do without

    for text in iterdecode(chunks, "utf-8", "replace"):
        lines = text.replace("\r\n", "\n").replace("\r", "").split("\n")
        click.echo("\n".join(printable(line.expandtabs()) for line in lines), nl=False)


def print_dialogue(lines: Sequence[str]) -> None:
    """An SMTP dialogue below the host that it was with."""
    click.echo(_("    SMTP dialogue:"))
    for line in lines:
        click.echo(f"      {printable(line)}")


def print_json(value: Any) -> None:
    """One JSON document on standard output. value: the result of a use case, or plain values.

    Letters stand as they are. What does something to a terminal (C1 controls, marks of direction) or is not a character
    (half of a surrogate pair) is escaped, so that it reads back the same.
    """
    import json  # noqa: PLC0415 - `--help` does without

    import msgspec  # noqa: PLC0415 - as above

    def escaped(line: str) -> str:
        return "".join(text if text.isprintable() else json.dumps(text)[1:-1] for text in line)

    # No value has a line end that is not escaped.
    lines = json.dumps(msgspec.to_builtins(value), indent=2, ensure_ascii=False).split("\n")
    click.echo("\n".join(line if line.isprintable() else escaped(line) for line in lines))


def printed_json(value: Any) -> bool:
    """Print a result as JSON where the command has `--json`; whether it was printed."""
    if is_json := wants_json():
        print_json(value)
    return is_json


def wants_json() -> bool:
    """Whether the command has `--json`."""
    context = click.get_current_context(silent=True)
    return context is not None and JSON in context.meta


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
    columns = [_(name) for name in columns]
    room = max(_LAST, _terminal_width() - sum(_width(columns, cells, at) + 2 for at in range(len(columns) - 1)))
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
    return "…" if writes("…") else "..."


_NARROWEST = 60


def _terminal_width() -> int:
    from shutil import get_terminal_size  # noqa: PLC0415 - it loads what unpacks archives, and programs have no terminal

    return get_terminal_size().columns


def progress(text: str) -> None:
    """A line on a terminal that the next one replaces, "" takes it away; nothing in a pipe."""
    if sys.stderr.isatty():
        line = printable(text)[: _terminal_width() - 1]
        click.echo(f"\r\x1b[K{line}", err=True, nl=False)


def wrapped(text: str, indent: str) -> str:
    """Lines as wide as the terminal; one line in a pipe. indent: before each line but the first."""
    if not sys.stdout.isatty():
        return text
    import textwrap  # noqa: PLC0415 - as above

    return textwrap.fill(text, max(_NARROWEST, _terminal_width()), subsequent_indent=indent, break_on_hyphens=False)
