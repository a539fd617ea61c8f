"""Merging a form with what others stored since it was made, field by field. Pure; called by `manage.pages.editor`.

Three texts of each field are compared: what its author saw, what is stored now, and what the form says. A field that
its author left alone keeps what is stored; only where both changed it, each to something else, must somebody choose.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Merge(NamedTuple):
    """texts: of the fields, merged; a field in conflict has the author's. conflicts: fields that both changed.

    kept: fields that others changed and the author did not.
    """

    texts: dict[str, str]
    conflicts: tuple[str, ...]
    kept: tuple[str, ...]


def merge(
    keys: Iterable[str], seen: Mapping[str, str] | None, stored: Mapping[str, str], given: Mapping[str, str]
) -> Merge:
    """Merge the fields `keys`. seen: what the author saw; None if that is not known: then all that differs conflicts.

    A key that `given` lacks was left alone.
    """
    texts = dict(given)
    conflicts: list[str] = []
    kept: list[str] = []
    for key in keys:
        now, mine = stored[key], _normal(given[key]) if key in given else None
        base = None if seen is None else seen[key]
        if mine is None or mine in {base, now}:
            texts[key] = now
            if base is not None and base != now != mine:
                kept.append(key)
        elif base is None or now != base:
            conflicts.append(key)
    return Merge(texts, tuple(conflicts), tuple(kept))


def _normal(text: str) -> str:
    """As a form's text counts, whatever line ends the browser sent."""
    return text.replace("\r\n", "\n").strip()
