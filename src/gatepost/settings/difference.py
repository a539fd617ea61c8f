"""The difference between two readings of a settings file, which a restart would put in force. Called on SIGHUP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatepost.settings.section import Section

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatepost.settings.model import Settings


def changed_keys(old: Settings, new: Settings) -> list[str]:
    """The keys with another value, as a settings file writes them: "server.drain", "listener". Values are not told."""
    return list(_changed(old, new))


def _changed(old: Section, new: Section, path: str = "") -> Iterator[str]:
    for key, declared in type(old).settings.items():
        before, after = getattr(old, declared.name), getattr(new, declared.name)
        if isinstance(before, Section) and isinstance(after, Section):
            yield from _changed(before, after, f"{path}{key}.")
        elif before != after:
            yield f"{path}{key}"
