"""Numbers, sizes, times and values of resources as pages write them: Jinja filters, pure.

Installed by `manage.pages.rendering`; templates use them by name: `{{ row.seen|moment }}`. What is not there (None) is
a dash, for every one of them. Times are seconds since 1970, shown in the time zone of who looks, with UTC as a hint
(`manage.pages.time_zones`).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, tzinfo
from typing import Any, Final

from markupsafe import Markup

from gatepost.language import _, grouped, in_sentence, point
from gatepost.policy.connectors.trust_anchors import anchors_label
from gatepost.quantity import quantity
from gatepost.sentences import ours
from gatepost.texts import N_
from gatepost.times import day_text, minute_text, rfc3339, second_text

NOTHING: Final = Markup('<span class="soft">–</span>')  # noqa: RUF001 - a dash is what is meant
_UNITS: Final = ((86400 * 365, N_("y")), (86400, N_("d")), (3600, "h"), (60, "min"), (1, "s"))
_SAID: Final = 20  # of one field: a list may have a hundred thousand wrong entries
_AFTER_SIGN: Final = re.compile(r"(?<=[@.:])(?<!\*\.)(?=.)", re.DOTALL)
_OCTETS: Final = ("B", "kB", "MB", "GB", "TB", "PB")


def sentence(text: str) -> str:
    """With a capital letter at its beginning, unless that is a name or an id: "s2026._domainkey.a.example" stays."""
    first = text.split(" ", maxsplit=1)[0].rstrip(":;,.")
    return text[:1].upper() + text[1:] if first.isalpha() else text


def texts_by_field[T](said: Iterable[tuple[str, T]], worded: Callable[[str, T], str]) -> dict[str, str]:
    """The texts of each field, such as its errors, in one line, each ended before the next begins.

    said: fields, each with what is said; of each field the first `_SAID` are shown, and how many more there are.
    worded: gives the text of a field and what is said of it, of those that are shown alone.
    """
    texts: dict[str, list[str]] = {}
    more: Counter[str] = Counter()
    for field, item in said:
        first = texts.setdefault(field, [])
        if len(first) < _SAID:
            first.append(worded(field, item))
        else:
            more[field] += 1
    for field, count in more.items():
        texts[field].append(_("And %(count)s more.", count=grouped(count)))
    return {
        field: " ".join([*(f"{text.rstrip('.')}." for text in first[:-1]), *first[-1:]])
        for field, first in texts.items()
    }


def iso(seconds: float) -> str:
    """RFC 3339 in UTC, whole seconds: "2026-11-26T22:01:05Z"; beyond the calendar, its first or last second."""
    return rfc3339(seconds)


def duration(seconds: float | None) -> str | Markup:
    """The largest unit and, where it says something, the next: "4 s", "3 min 20 s", "2 d 4 h"; below 1 s: "240 ms"."""
    if seconds is None:
        return NOTHING
    span = abs(seconds)
    if span < 1:
        return f"{span * 1000:.0f} ms" if span else "0 s"
    rest = int(span)
    at = next(at for at, (size, _unit) in enumerate(_UNITS) if rest >= size)
    size, unit = _UNITS[at]
    words = [f"{rest // size} {_(unit)}"]
    if at + 1 < len(_UNITS) and rest // size < 10:
        smaller, name = _UNITS[at + 1]
        if rest % size >= smaller:
            words.append(f"{rest % size // smaller} {_(name)}")
    return " ".join(words)


def relative(seconds: float, now: float) -> str:
    """Where a moment lies from now: "3 min ago", "in 2 d 4 h", "now"."""
    gap = seconds - now
    if abs(gap) < 1:
        return _("now")
    return _("in %(span)s", span=duration(gap)) if gap > 0 else _("%(span)s ago", span=duration(gap))


def moment(seconds: float | None, now: float, zone: tzinfo) -> Markup:
    """A point in time, to the second, with UTC and how long ago it is as a hint."""
    if seconds is None:
        return NOTHING
    return _time(seconds, second_text(seconds, zone), _hint(seconds, now, zone))


def minute(seconds: float | None, now: float, zone: tzinfo) -> Markup:
    """The same, to the minute."""
    if seconds is None:
        return NOTHING
    return _time(seconds, minute_text(seconds, zone), _hint(seconds, now, zone))


def ago(seconds: float | None, now: float, zone: tzinfo) -> Markup:
    """Time since then, with the point in time as a hint."""
    if seconds is None:
        return NOTHING
    local, utc = second_text(seconds, zone), second_text(seconds)
    return _time(seconds, relative(seconds, now), local if local == utc else f"{local}, {utc}")


def day(seconds: float | None, now: float, zone: tzinfo) -> Markup:
    """A date, with UTC and how long ago it is as a hint."""
    if seconds is None:
        return NOTHING
    return _time(seconds, day_text(seconds, zone), _hint(seconds, now, zone))


def hour(seconds: float | None, now: float, zone: tzinfo) -> str | Markup:  # noqa: ARG001 - as the others have it
    """The time of day that an hour begins with, for an axis: "17:00"."""
    return NOTHING if seconds is None else minute_text(seconds, zone)[11:16]


def utc_day(seconds: float | None, now: float, zone: tzinfo) -> Markup:  # noqa: ARG001 - as the others have it
    """The date in UTC, of what is counted by days in UTC."""
    if seconds is None:
        return NOTHING
    text = day_text(seconds)
    return Markup('<time datetime="{}" title="{}">{}</time>').format(text, relative(seconds, now), text)


def _hint(seconds: float, now: float, zone: tzinfo) -> str:
    past = relative(seconds, now)
    return past if zone is UTC else f"{second_text(seconds)}, {past}"


def _time(seconds: float, text: str, hint: str) -> Markup:
    return Markup('<time datetime="{}" title="{}">{}</time>').format(rfc3339(seconds), hint, text)


def octets(size: float | None) -> str | Markup:
    """A size in powers of 1000, three digits: "812 B", "1.24 MB"."""
    if size is None:
        return NOTHING
    value, unit = float(size), 0
    while abs(value) >= 999.5 and unit < len(_OCTETS) - 1:
        value, unit = value / 1000, unit + 1
    if unit == 0:
        return f"{value:.0f} B"
    return f"{_digits(value, 2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0)} {_OCTETS[unit]}"


def count(number: float | None) -> str | Markup:
    """A number as the language writes it: "1,204,331"."""
    return NOTHING if number is None else grouped(number)


def percent(share: float | None, digits: int = 1) -> str | Markup:
    """A share of 1: "99.9 %". What is not all is never shown as 100 %, nor what is something as 0 %."""
    if share is None:
        return NOTHING
    least = 10.0**-digits
    value = share * 100
    if 0 < value < least:
        return f"< {_digits(least, digits)} %"
    if 100 - least < value < 100:
        return f"> {_digits(100 - least, digits)} %"
    return f"{_digits(value, digits)} %" if value % 1 else f"{value:.0f} %"


def _digits(value: float, digits: int) -> str:
    return f"{value:.{digits}f}".replace(".", point())


def breakable(name: str | None) -> Markup:
    """An address or host name that breaks after its signs first, and within a label only where that is too long.

    One with A-labels stays in one piece: `unicode_domains` writes their letters behind whole names only.
    """
    if name is None:
        return NOTHING
    return Markup("<wbr>").join([name] if "xn--" in name.lower() else _AFTER_SIGN.split(name))


def initial(word: str) -> str | Markup:
    """A word of which a cell shows what stands before "|", and the rest is for screen readers."""
    shown, bar, rest = word.partition("|")
    return Markup("{}<i>{}</i>").format(shown, rest) if bar else shown


def remarks(warnings: Iterable[str]) -> list[str]:
    """Warnings of ours as sentences that can follow each other."""
    return [f"{sentence(ours(text)).removesuffix('.')}." for text in warnings]


def sorts(column: Sequence[Any]) -> list[tuple[str, str]]:
    """Keys that a column of `ui.table` sorts by, each after its text."""
    key = column[1] if len(column) > 1 else ""
    return [*([(column[0], key)] if key else []), *(column[3] if len(column) > 3 else ())]


def thumbprint(digest: str | None) -> str | Markup:
    """A digest in hex, in groups of eight that can break across lines."""
    if not digest:
        return NOTHING
    text = digest.replace(":", "").upper()
    return Markup("<wbr>").join(text[at : at + 8] for at in range(0, len(text), 8))


def age(seconds: float | None, now: float, zone: tzinfo) -> str | Markup:  # noqa: ARG001 - as the others have it
    """Duration since then."""
    return NOTHING if seconds is None else duration(max(0.0, now - seconds))


FILTERS: Final[dict[str, Callable[..., str | Markup]]] = {
    "amount": quantity,
    "breakable": breakable,
    "count": count,
    "duration": duration,
    "in_sentence": in_sentence,
    "initial": initial,
    "iso": iso,
    "octets": octets,
    "percent": percent,
    "sentence": sentence,
    "thumbprint": thumbprint,
}
"""Filters that need nothing but their value."""

CLOCKED: Final[dict[str, Callable[[float | None, float, tzinfo], str | Markup]]] = {
    "age": age,
    "ago": ago,
    "day": day,
    "hour": hour,
    "minute": minute,
    "moment": moment,
    "utc_day": utc_day,
}
"""Filters that take the present and the time zone of who looks: `manage.pages.rendering` gives both to them."""

_VALUE: Final = 500  # characters of a value


def cut(text: str) -> str:
    """At most 500 characters of a value; the files beside a page have all of it."""
    return text if len(text) <= _VALUE else f"{text[:_VALUE]}…"


def in_words(value: Any) -> str:
    """As a person writes it: lists with commas, switches as true and false, a part as its fields.

    Certificates are their fingerprints.
    """
    if isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, list | tuple):
        return ", ".join(map(in_words, value))
    if isinstance(value, dict):
        named = sorted(value, key=lambda key: key not in {"name", "address"})
        return "; ".join(f"{key} = {in_words(value[key])}" for key in named)
    return "" if value is None else anchors_label(str(value))
