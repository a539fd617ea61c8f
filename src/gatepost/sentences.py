"""Sentences with values, as use cases and analysis form them, in the language of the page.

Such a text is English wherever it travels: in REST, logs, the store, between processes. Its template is in the
catalogue `sentences.po`, which `scripts/sentence_sources.py` finds in the sources: `f"mail to {domain} waits"` is "mail
to %(domain)s waits". A page that shows the text finds the template whose words it has, and writes that in its language.

Values stay as they are: names, numbers, and what a peer said. Only a value whose placeholder begins with `own_` is text
of ours by itself, and is translated as a sentence. Of several templates that fit, the one counts that leaves least of
the text to values, then the one with the longest text of its own; where that is not decided, or none fits, the text
stays in English. Sentences with "; " between them
are translated if each is ours, and so are parts of a value of ours with ", " between them. Only what is ours is to be
given to `ours`, never a reply of a peer by itself. Capital and full stop may differ from the template's, as sentences
are put together of such texts. Time is in proportion to the text.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, tzinfo
from functools import cache, lru_cache
from typing import Final, NamedTuple

from gatepost.language import ENGLISH, SENTENCES, catalogue, catalogue_file, grouped, in_language, language
from gatepost.times import local_times

OWN: Final = "own_"
"""Begins the name of a placeholder whose value is a sentence or number of ours, too."""
_LONGEST: Final = 4000  # characters of a text
_DEEPEST: Final = 4  # sentences within sentences
_MOST_JOINED: Final = 20  # of which a text is put together
_REMEMBERED: Final = 1000  # texts
_FEW: Final = 6  # letters, with fewer of which a template fits what it does not mean
_KEY: Final = 3  # characters by which templates are found
_PLACEHOLDER: Final = re.compile(r"%\((\w+)\)s")
_WORDS: Final = re.compile(r"[A-Za-z]{2} [A-Za-z]{2}")
_NUMBER: Final = re.compile(r"-?\d{1,15}|-?\d{1,3}(?:,\d{3}){1,4}")
_LABELLED: Final = re.compile(r"((?:connector|mail flow rule) (?:'[^']*'|\"[^\"]*\") of \S+) (.+)")
"""A reason that is put together of a label and what is said of that: of one form only, as both end anywhere."""
_ENDS: Final = (".", ":")
_zone: ContextVar[tzinfo] = ContextVar("zone", default=UTC)


class Template(NamedTuple):
    """A text with values, as it is compared. literals: one more than names. singular: of the plural that it is."""

    id: str
    literals: tuple[str, ...]
    names: tuple[str, ...]
    singular: str = ""

    @property
    def is_wide(self) -> bool:
        """Whether it has so few words that only its values of ours tell it from others."""
        return sum(map(str.isalpha, "".join(self.literals))) < _FEW

    def values(self, text: str, *, last: bool = False) -> list[tuple[int, int]] | None:
        """Where the values are in a text, None if it is another. last: each literal as late as it can be."""
        if not self.names:
            return [] if text == self.literals[0] else None
        first, *middle, end = self.literals
        start, stop = len(first), len(text) - len(end)
        if stop < start or not text.startswith(first) or not text.endswith(end):
            return None
        places = []
        for literal in reversed(middle) if last else middle:
            place = text.rfind(literal, start, stop) if last else text.find(literal, start, stop)
            if place < 0:
                return None
            places.append((place, place + len(literal)))
            start, stop = (start, place) if last else (place + len(literal), stop)
        edges = [len(first), *(edge for pair in sorted(places) for edge in pair), len(text) - len(end)]
        return list(zip(edges[::2], edges[1::2], strict=True))


class Reading(NamedTuple):
    """A text in the language. rest: characters of it that are of values, and in no template. words: of its template."""

    text: str
    rest: int
    words: int = 0


def template(text: str, singular: str = "") -> Template:
    """The template of a catalogue's text."""
    parts = _PLACEHOLDER.split(text)
    literals = [part.replace("%%", "%") if len(parts) > 1 else part for part in parts[::2]]
    literals[0] = _small(literals[0])
    literals[-1] = literals[-1].removesuffix(_end(literals[-1]))
    return Template(text, tuple(literals), tuple(parts[1::2]), singular)


@contextmanager
def in_zone(zone: tzinfo) -> Iterator[None]:
    """Until the end of the block, sentences tell times in that zone."""
    token = _zone.set(zone)
    try:
        yield
    finally:
        _zone.reset(token)


def ours(text: str) -> str:
    """A sentence of ours in the language and the time zone of the page; a text that is none as it is."""
    return text if not text or hasattr(text, "__html__") else local_times(_in_words(text), _zone.get())


def _in_words(text: str) -> str:
    chosen = language()
    if chosen == ENGLISH:
        return text
    if (marked := catalogue(chosen).gettext(text)) != text:
        return marked
    known = _sentences(chosen)
    if labelled := _LABELLED.fullmatch(text):
        label, why = map(known.in_words, labelled.groups())
        if label and why:
            return f"{label} {why}"
    return known.in_words(text) or text


class Sentences:
    """The templates of a language. texts: English, each with its plural or ""."""

    def __init__(self, language: str, texts: Iterable[tuple[str, str]]) -> None:
        self._language = language
        self._translations = catalogue(language, SENTENCES)
        self._known = lru_cache(_REMEMBERED)(self._read)
        self._by_begin: dict[str, list[Template]] = {}
        for text, plural in texts:
            for made in (template(text, text), template(plural, text)) if plural else (template(text),):
                key = made.literals[0][:_KEY] if len(made.literals[0]) >= _KEY else ""
                self._by_begin.setdefault(key, []).append(made)

    def in_words(self, text: str) -> str | None:
        """The text in the language, None if it is no sentence of ours, or can be read in two ways."""
        reading = self._known(text, 0)
        return reading and reading.text

    def _read(self, text: str, depth: int) -> Reading | None:
        if not text or len(text) > _LONGEST or depth > _DEEPEST:
            return None
        core = _small(text).removesuffix(_end(text))
        candidates = (*self._by_begin.get(core[:_KEY], ()), *self._by_begin.get("", ()))
        fitting = [candidate for candidate in candidates if candidate.values(core) is not None]
        both = [self._reading(each, text, core, last=last, depth=depth) for each in fitting for last in (False, True)]
        readings = [reading for reading in both if reading is not None]
        least = min((reading.rest for reading in readings), default=len(text))
        if least and (joined := self._joined(text, "; ", depth)) and joined.rest < least:
            return joined
        readings = [reading for reading in readings if reading.rest == least]
        most = max((reading.words for reading in readings), default=0)
        readings = [reading for reading in readings if reading.words == most]
        return readings[0] if len({reading.text for reading in readings}) == 1 else None

    def _joined(self, text: str, sign: str, depth: int) -> Reading | None:
        """Several sentences with a sign between them, None if it is one, or not each is ours."""
        parts = text.split(sign, _MOST_JOINED)
        if not 1 < len(parts) <= _MOST_JOINED:
            return None
        readings = [self._own(part, depth + 1) for part in parts]
        known = [reading for reading in readings if reading is not None]
        if len(known) < len(parts):
            return None
        return Reading(sign.join(reading.text for reading in known), sum(reading.rest for reading in known))

    def _value(self, text: str, depth: int) -> Reading | None:
        """A value of ours: a sentence, or several with commas between them, whichever leaves less."""
        readings = [self._own(text, depth + 1), self._joined(text, ", ", depth)]
        return min((reading for reading in readings if reading), key=lambda reading: reading.rest, default=None)

    def _own(self, text: str, depth: int) -> Reading | None:
        """A part of a text, as a sentence with values or as what pages mark."""
        marked = catalogue(self._language).gettext(text) if text else ""
        return self._known(text, depth) if marked == text else Reading(marked, 0)

    def _reading(self, template: Template, text: str, core: str, *, last: bool, depth: int) -> Reading | None:
        pieces = [text[start:stop] for start, stop in template.values(core, last=last) or ()]
        values = dict(zip(template.names, pieces, strict=True))
        if [values[name] for name in template.names] != pieces:  # a name that stands in it twice
            return None
        if template.singular:
            counted = self._counted(template, values)
            return Reading(counted, 0) if counted else None
        own = {name: self._value(value, depth) for name, value in values.items() if name.startswith(OWN)}
        if template.is_wide and not (all(own.values()) if own else self._are_names(values)):
            return None
        shown = values | {name: reading.text for name, reading in own.items() if reading}
        translation = self._translations.gettext(template.id)
        filled = self._as_text(translation % shown if shown else translation, text, template)
        known = {name: reading.rest for name, reading in own.items() if reading}
        rest = sum(known.get(name, len(value)) for name, value in values.items())
        return Reading(filled, rest, sum(map(len, template.literals)))

    @staticmethod
    def _are_names(values: Mapping[str, str]) -> bool:
        """Whether none of the values is a sentence, of which a template with few words would translate a part."""
        return not any(map(_WORDS.search, values.values()))

    def _counted(self, template: Template, values: dict[str, str]) -> str:
        if not _NUMBER.fullmatch(values["num"]):
            return ""
        number = int(values["num"].replace(",", ""))
        with in_language(self._language):
            shown = grouped(number)
        return self._translations.ngettext(template.singular, "", number) % {"num": shown}

    def _as_text(self, translation: str, text: str, template: Template) -> str:
        """With the capital and the sign at the end that the text has, unlike its template."""
        if template.literals[0]:
            is_capital, was_capital = text[0].isupper(), template.id[0].isupper()
            if is_capital and not was_capital:
                translation = translation[:1].upper() + translation[1:]
            elif was_capital and not is_capital and self._language != "de":
                translation = translation[:1].lower() + translation[1:]
        if (end := _end(text)) != (expected := _end(template.id)):
            translation = translation.removesuffix(expected) + end
        return translation


def _small(text: str) -> str:
    """With a small letter at its beginning."""
    return text[:1].lower() + text[1:] if text[:1].isascii() else text


def _end(text: str) -> str:
    return next((end for end in _ENDS if text.endswith(end)), "")


@cache
def _sentences(language: str) -> Sentences:
    return Sentences(language, compiled_texts(catalogue_file(language, domain=SENTENCES).read_bytes()))


def compiled_texts(octets: bytes) -> Iterator[tuple[str, str]]:
    """The English texts of a compiled catalogue: each, and its plural or "" (GNU gettext manual, section 10.3)."""
    _magic, _version, count, begin = struct.unpack_from("<4I", octets)
    for place in range(count):
        length, start = struct.unpack_from("<2I", octets, begin + 8 * place)
        text, _zero, plural = octets[start : start + length].decode().partition("\0")
        if text:
            yield text, plural
