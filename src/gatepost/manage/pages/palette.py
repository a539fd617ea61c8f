"""Colours of the admin centre, which gatepost.css declares as custom properties: for files that bring a style along."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import Final

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
    return {name: light for name, (light, _) in colours().items()}
