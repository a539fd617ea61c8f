"""Pictures as plain SVG from the server: the one drawing of charts, on pages, on paper and in files. Pure.

Colours are tones of gatepost.css, so that light, dark and paper have theirs (`colours`); what is unencrypted is
hatched, too, for who does not see colours. A series that is 0 is not drawn. Nothing in a picture is markup of others:
every text is escaped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import files
from typing import Final, NamedTuple

from markupsafe import Markup, escape

from gatepost.language import grouped

_TOKENS: Final = re.compile(r"--([a-z-]+): (?:light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\)|(#[0-9a-f]{6}));")


@cache
def colours() -> dict[str, tuple[str, str]]:
    """Each token's colour in the light and in the dark theme, as #rrggbb."""
    style = (files("gatepost.manage.pages") / "static" / "gatepost.css").read_text()
    first = style[: style.index("}")]
    return {name: (light or only, dark or only) for name, light, dark, only in _TOKENS.findall(first)}


@cache
def light_colours() -> dict[str, str]:
    """The same of the light theme alone."""
    return {name: pair[0] for name, pair in colours().items()}


_WIDTH: Final = 880
_HEIGHT: Final = 220
_LEFT: Final = 52
_BOTTOM: Final = 22
_TOP: Final = 8
_MARKS: Final = 8  # days that are named below
_HEAD: Final = 64  # of a file: its title and legend
_HEADING: Final = 26
_WORST: Final = "fail"
_TONES: Final = ("pass-deep", "pass", "pass-pale", "info", "accent", "unknown", "warn", "fail")


class Series(NamedTuple):
    """A part of a stack. tone: of gatepost.css. values: one for each place along the axis."""

    name: str
    tone: str
    values: Sequence[float]


def stacked(title: str, labels: Sequence[str], series: Sequence[Series], name: str = "") -> Markup:
    """Columns, the first series lowest. name: of this picture in its page, for its hatching."""
    heights = [sum(part.values[place] for part in series) for place in range(len(labels))]
    top = _ceiling(max(heights, default=0))
    inner = Markup("").join([_grid(top), *_columns(labels, series, top, name), _days(labels), _hatching(name)])
    return _picture(title, inner)


def shares(title: str, series: Sequence[Series]) -> Markup:
    """One small bar of all, each series with its first value."""
    whole = sum(part.values[0] for part in series)
    parts, at = [], 0.0
    for part in series:
        width = 100 * part.values[0] / whole if whole else 0.0
        if width:
            parts.append(
                Markup('<rect class="tone-{}" x="{}" width="{}" height="8"/>').format(
                    part.tone, _n(at), _n(max(1, width))
                )
            )
        at += width
    drawn = Markup(
        '<svg class="shares" viewBox="0 0 100 8" preserveAspectRatio="none" role="img" aria-label="{}">{}</svg>'
    )
    return drawn.format(title, Markup("").join(parts))


def document(title: str, pictures: Sequence[tuple[str, Markup]], legend: Sequence[Series]) -> str:
    """A file of its own, on white, with what its tones mean. pictures: each with its heading, one below the other."""
    parts = [Markup('<text class="title" x="{}" y="24">{}</text>').format(_LEFT, title), *_legend(legend)]
    for place, (heading, picture) in enumerate(pictures):
        y = _HEAD + place * (_HEIGHT + _HEADING)
        parts.append(Markup('<text class="title" x="{}" y="{}">{}</text>').format(_LEFT, y + 18, heading))
        box = Markup('<svg x="0" y="{}" width="{}" height="{}">{}</svg>')
        parts.append(box.format(y + _HEADING, _WIDTH, _HEIGHT, picture))
    height = _HEAD + len(pictures) * (_HEIGHT + _HEADING)
    drawn = Markup(
        '<svg xmlns="http://www.w3.org/2000/svg" width="{0}" height="{1}" viewBox="0 0 {0} {1}" role="img"'
        ' aria-label="{2}"><title>{2}</title><style>{3}</style><rect class="sheet" width="{0}" height="{1}"/>{4}</svg>'
        "\n"
    )
    return str(drawn.format(_WIDTH, height, title, _style(), Markup("").join(parts)))


def _style() -> str:
    """A file brings its style along, with the colours of the light theme."""
    colours = light_colours()
    tones = "".join(f".tone-{tone}{{fill:{colours[tone]}}}" for tone in _TONES)
    return (
        f"text{{font:11px sans-serif;fill:{colours['soft']}}}.title{{font-size:14px;fill:{colours['text']}}}"
        f".sheet{{fill:{colours['card']}}}.rule{{stroke:{colours['line']};fill:none}}{tones}"
        f".hatch{{stroke:{colours['card']};stroke-width:1.2;fill:none}}"
    )


def _legend(series: Sequence[Series]) -> Iterator[Markup]:
    step = (_WIDTH - _LEFT) / max(1, len(series))
    for place, part in enumerate(series):
        x = _LEFT + place * step
        yield Markup(
            '<rect class="tone-{}" x="{}" y="38" width="12" height="12"/><text x="{}" y="48">{}</text>'
        ).format(part.tone, _n(x), _n(x + 18), part.name)


def _picture(title: str, inner: Markup) -> Markup:
    """data-left: where columns begin, for the script that leads from one to its rows."""
    drawn = Markup('<svg class="picture" viewBox="0 0 {} {}" data-left="{}" role="img" aria-label="{}">{}</svg>')
    return drawn.format(_WIDTH, _HEIGHT, _LEFT, title, inner)


def _columns(labels: Sequence[str], series: Sequence[Series], top: float, name: str) -> Iterator[Markup]:
    step = (_WIDTH - _LEFT) / max(1, len(labels))
    room = _HEIGHT - _TOP - _BOTTOM
    below = [0.0] * len(labels)
    for number, part in enumerate(series, 1):
        parts = []
        for place, value in enumerate(part.values):
            if value:
                # What is little stays to be seen: a hair of a pixel and a half.
                height = max(1.5, room * value / top)
                y = _TOP + room - room * below[place] / top - height
                x, width = _LEFT + place * step + step * 0.08, _n(step * 0.84)
                parts.append(f"M{_n(x)} {_n(y)}h{width}v{_n(height)}h-{width}z")
                below[place] += value
        if parts:
            path = "".join(parts)
            for tone, fill in _fills(part.tone, name):
                shown = Markup(' fill="{}"').format(fill) if fill else Markup("")
                kind = Markup(' class="tone-{}"').format(tone) if tone else Markup("")
                yield Markup('<path{} d="{}"{} data-series="{}"/>').format(kind, path, shown, number)


def _fills(tone: str, name: str) -> list[tuple[str, str]]:
    """The tone and, over the worst, its hatching."""
    return [(tone, ""), ("", f"url(#hatch-{name})")] if tone == _WORST else [(tone, "")]


def _hatching(name: str) -> Markup:
    return Markup(
        '<defs><pattern id="hatch-{}" width="6" height="6" patternUnits="userSpaceOnUse">'
        '<path class="hatch" d="M-1 1l2-2M0 6l6-6M5 7l2-2"/></pattern></defs>'
    ).format(name)


def _grid(top: float) -> Markup:
    room = _HEIGHT - _TOP - _BOTTOM
    lines = []
    for value in (0.0, top / 2, top):
        if not value.is_integer():  # what is counted has no halves
            continue
        y = _n(_TOP + room * (1 - value / top))
        lines.append(
            Markup('<path class="rule" d="M{} {}H{}"/><text x="{}" y="{}" text-anchor="end">{}</text>').format(
                _LEFT, y, _WIDTH, _LEFT - 6, _n(float(y) + 4), grouped(int(value))
            )
        )
    return Markup("").join(lines)


def _days(labels: Sequence[str]) -> Markup:
    step = (_WIDTH - _LEFT) / max(1, len(labels))
    every = max(1, -(-len(labels) // _MARKS))
    return Markup("").join(
        Markup('<text x="{}" y="{}" text-anchor="{}">{}</text>').format(
            # The first name begins where the columns do: the 0 of the axis stands left of it.
            *((_n(_LEFT + (place + 0.5) * step), _HEIGHT - 6, "middle") if place else (_LEFT, _HEIGHT - 6, "start")),
            escape(label),
        )
        for place, label in enumerate(labels)
        if place % every == 0
    )


def _ceiling(value: float) -> float:
    """The next round number: 1, 2, 4, 5 or 10 times a power of ten."""
    size = 1.0
    while size * 10 < value:
        size *= 10
    return next((size * step for step in (1, 2, 4, 5, 10) if size * step >= value), 1.0)


def _n(value: float) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".")
