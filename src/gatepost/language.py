"""The language of the page or mail that is being made, and texts in it, by gettext's catalogues below `locale`.

The English text is the key of its translation. `manage.web.application` says which language a request gets, and
`in_language` is around a mail; everything else is English: REST, exports, logs.

Used by `manage.pages`, by what `manage.web` says to a person, and by mails to people. Templates have `_`,
`ngettext` and `pgettext`, and write a sentence with markup as `{% trans %}`. It translates texts that we wrote, never
data.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from gettext import GNUTranslations, NullTranslations
from pathlib import Path
from typing import Any, Final

from markupsafe import escape

ENGLISH: Final = "en"
LOCALE: Final = Path(__file__).with_name("locale")
NAMES: Final[Mapping[str, str]] = {ENGLISH: "English", "sv": "Svenska", "de": "Deutsch"}
"""Every language that there is a catalogue of, in its own words."""
PAGES: Final = "gatepost"
"""The catalogue of what pages mark."""
SENTENCES: Final = "sentences"
"""The catalogue of what `gatepost.sentences` translates."""
_THOUSANDS: Final[Mapping[str, str]] = {"sv": "\u00a0", "de": "."}
_current: ContextVar[str] = ContextVar("language", default=ENGLISH)


def catalogue_file(language: str, suffix: str = "mo", domain: str = PAGES) -> Path:
    """A catalogue of a language: "po" for people, "mo" for the program."""
    return LOCALE / language / "LC_MESSAGES" / f"{domain}.{suffix}"


@cache
def catalogue(language: str, domain: str = PAGES) -> NullTranslations:
    """Translations of a language; English has none."""
    if language == ENGLISH:
        return NullTranslations()
    with catalogue_file(language, domain=domain).open("rb") as file:
        return GNUTranslations(file)


@cache
def offered() -> tuple[str, ...]:
    """Languages that people may choose: English, and those whose catalogues are complete.

    `scripts/catalogues.py` compiles a catalogue only if nothing in it is missing, so one that is there is complete.
    """
    return tuple(language for language in NAMES if language == ENGLISH or _is_complete(language))


def _is_complete(language: str) -> bool:
    return all(catalogue_file(language, domain=domain).is_file() for domain in (PAGES, SENTENCES))


def language_choices() -> list[tuple[str, str]]:
    """The languages offered, each in its own words, as pairs for a form."""
    return [(language, NAMES[language]) for language in offered()]


def language() -> str:
    """The language of this page, as in `<html lang>`."""
    return _current.get()


def use(chosen: str) -> None:
    """Go on in that language, if it is offered."""
    if chosen in offered():
        _current.set(chosen)


@contextmanager
def in_language(chosen: str) -> Iterator[None]:
    """Until the end of the block in that language; in English, if it is not offered."""
    token = _current.set(chosen if chosen in offered() else ENGLISH)
    try:
        yield
    finally:
        _current.reset(token)


def _(text: str, /, **values: Any) -> str:
    """The text in the language of the page. values: of its placeholders, `%(name)s`; without any it has none.

    Where a value is markup, the result is, and all that is none is escaped.
    """
    return _filled(catalogue(_current.get()).gettext(text) if text else "", values)


def pgettext(context: str, text: str, /, **values: Any) -> str:
    """A text that other languages say in several ways, in that of the context: "Next" of pages is not that of keys."""
    return _filled(catalogue(_current.get()).pgettext(context, text), values)


def ngettext(one: str, many: str, number: int, /, **values: Any) -> str:
    """The form of a text for a number, which is its placeholder `%(num)s`."""
    return _filled(catalogue(_current.get()).ngettext(one, many, number), {"num": grouped(number), **values})


def translated[K](labels: Mapping[K, str]) -> dict[K, str]:
    """Labels by key, for a page."""
    return {key: _(label) for key, label in labels.items()}


def translated_choices(choices: Iterable[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Choices of a form: a value, and texts that are for people."""
    return [(value, *map(_, texts)) for value, *texts in choices]


def in_sentence(label: str) -> str:
    """A label as it is written within a sentence: without a capital, but for German, whose nouns keep theirs."""
    return label if _current.get() == "de" else label.lower()


def _filled(text: str, values: Mapping[str, Any]) -> str:
    if not values:
        return text
    if any(hasattr(value, "__html__") for value in values.values()):
        return escape(text) % values
    return text % values


def grouped(number: float) -> str:
    """A number with what the language sets between thousands: "1,204,331"."""
    text = f"{number:,}"
    return text.replace(",", "\0").replace(".", point()).replace("\0", _THOUSANDS.get(_current.get(), ","))


def point() -> str:
    """The decimal mark of the language."""
    return "." if _current.get() == ENGLISH else ","
