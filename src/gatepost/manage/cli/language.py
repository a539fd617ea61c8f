"""The language of the terminal, and texts in it, by gettext's catalogues below `locale`; English has none.

LC_ALL, LC_MESSAGES or LANG names it, and where that is no C locale, LANGUAGE may list others, as for all that use
gettext. It is for people: a command with `--json` and a table in a pipe are English, and files, logs, codes, states
and the names of commands and options are the same in every language.

Used by all of `manage.cli`, which marks its sentences with `_`. Help is not marked: `manage.cli.localized_help`
translates it as a whole. What click says itself comes from the same catalogue. Texts are ours, never data.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from gettext import GNUTranslations

    from gatepost.settings.problem import SettingsProblem


ENGLISH: Final = "en"
DOMAIN: Final = "commands"
LOCALE: Final = os.path.join(os.path.dirname(__file__), "locale")  # noqa: PTH118, PTH120 - pathlib costs more than this
LETTERS: Final[Mapping[str, str]] = {"sv": "åäöÅÄÖé", "de": "äöüÄÖÜß"}
"""Every language that there is a catalogue of, with the letters that it needs of the output's encoding."""
_THOUSANDS: Final[Mapping[str, str]] = {"sv": "\u00a0", "de": "."}
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
    return _chosen(get("LANGUAGE") or locale, getattr(sys.stdout, "encoding", None) or "ascii")


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


def _writes(encoding: str, letters: str) -> bool:
    try:
        letters.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


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
    """The text in the language of the terminal. values: of its placeholders, `%(name)s`; without any it has none."""
    code = language()
    if code != ENGLISH and text:
        text = _catalogue(code).gettext(text)
    return text % values if values else text


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
    return said if _writes(getattr(sys.stdout, "encoding", None) or "ascii", said) else text


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
