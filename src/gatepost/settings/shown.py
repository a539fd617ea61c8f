"""The settings in force, key by key, as a settings file writes them, each with its origin. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args, get_origin

import msgspec

from gatepost.policy.connectors.fields import Written
from gatepost.settings.section import Section, hints

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gatepost.settings.model import Settings


class ShownSetting(msgspec.Struct, frozen=True):
    """One key. table: the path of its table, such as "listener[0]". value: in JSON's types. origin: or "default"."""

    table: str
    heading: str
    name: str
    value: Any
    origin: str

    @property
    def key(self) -> str:
        """The whole path."""
        return f"{self.table}.{self.name}"

    @property
    def is_default(self) -> bool:
        """Whether nobody wrote it."""
        return self.origin == "default"


def shown(settings: Settings, origin: Callable[[str], str]) -> Iterator[ShownSetting]:
    """Every key of every table; of lists of tables, those of each table in it.

    origin: from the path of a written key to where it is written.
    """
    for key, declared in type(settings).settings.items():
        yield from _tables(key, getattr(settings, declared.name), origin)


def _tables(path: str, value: Any, origin: Callable[[str], str]) -> Iterator[ShownSetting]:
    if isinstance(value, Section):
        yield from _keys(path, f"[{path}]", value, origin)
    else:
        for place, section in enumerate(value):
            yield from _keys(f"{path}[{place}]", f"[[{path}]]", section, origin)


def _keys(path: str, heading: str, section: Section, origin: Callable[[str], str]) -> Iterator[ShownSetting]:
    """The plain keys of a table, then its lists of tables, as TOML wants them."""
    below = []
    for key, declared in type(section).settings.items():
        value = getattr(section, declared.name)
        if isinstance(value, Section) or (isinstance(value, tuple) and value and isinstance(value[0], Section)):
            below.append((key, value))
            continue
        source = origin(f"{path}.{key}") if declared.name in section.written else "default"
        yield ShownSetting(path, heading, key, written(value, hints(type(section))[key]), source)
    for key, value in below:
        yield from _tables(f"{path}.{key}", value, origin)


def written(value: Any, annotation: Any) -> Any:
    """A value as a settings file has it: durations and sizes with their units."""
    marks = getattr(annotation, "__metadata__", ())
    kind = annotation.__origin__ if marks else annotation
    if get_origin(kind) is tuple:
        return [written(entry, get_args(kind)[0]) for entry in value]
    return next((mark.write(value) for mark in marks if isinstance(mark, Written)), value)
