"""Prints which interface has which use case, as docs/use-cases.md has it: .venv/bin/python scripts/door_matrix.py.

A use case declares its call of REST. Which commands and pages have it is read from their functions: each names the use
cases that it runs. tests/unit/manage/test_interfaces.py fails where the table in docs and the code differ.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from types import CodeType, FunctionType
from typing import Any

import click

from gatepost.manage.access.actions import action_label
from gatepost.manage.cli import main
from gatepost.manage.pages.connector import DIRECTIONS
from gatepost.manage.pages.resource_kinds import KindPage
from gatepost.manage.pages.routes import ROUTES
from gatepost.manage.use_cases.catalogue import USE_CASES
from gatepost.manage.use_cases.declaration import UseCase
from gatepost.manage.use_cases.name_lookup import INBOUND, KINDS, OUTBOUND, PartKind
from gatepost.manage.use_cases.part_cases import PARTS

COLUMNS = ("use case", "what it does", "REST", "command", "page", "scope", "audit")
_CASES = {case.name: case for case in USE_CASES}
_INTERFACES = ("gatepost.manage.cli", "gatepost.manage.pages")
_VERBS = ("add", "set", "put", "remove")  # of the table PARTS, which has the use cases of each kind


def rows() -> Iterator[tuple[str, ...]]:
    """A row of texts for each use case."""
    commands, pages = command_doors(), page_doors()
    for case in USE_CASES:
        action = case.action or ("change" if case.guarded else "request")
        yield (
            f"`{case.name}`",
            case.summary,
            f"`{case.method} {case.path}`" if case.path else "",
            _listed(f"gatepost {words}" for words in commands[case.name]),
            _listed(pages[case.name]),
            f"`{case.scope}`" if case.scope else "any",
            f"{action_label(action)} (`{action}`)" if case.is_recorded else "",
        )


def table() -> str:
    """As Markdown."""
    lines = [COLUMNS, ("---",) * len(COLUMNS), *rows()]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def _listed(texts: Iterable[str]) -> str:
    return ", ".join(f"`{text}`" for text in texts)


@cache
def command_doors() -> Mapping[str, Sequence[str]]:
    """Words behind `gatepost` of the commands that run each use case, by its name."""
    return _doors((words, used_by(function, _kinds_of(words, function))) for words, function in _commands(main))


@cache
def page_doors() -> Mapping[str, Sequence[str]]:
    """Paths of the pages that run each use case, by its name."""
    return _doors(
        (page.path, used_by(page.endpoint, _kinds_of(page.path, page.endpoint, page.name))) for page in ROUTES
    )


def _doors(places: Iterable[tuple[str, set[str]]]) -> Mapping[str, Sequence[str]]:
    doors: dict[str, dict[str, None]] = {name: {} for name in _CASES}
    for place, names in places:
        for name in names:
            doors[name][place] = None
    return {name: tuple(found) for name, found in doors.items()}


def _commands(command: click.Command, *words: str) -> Iterator[tuple[str, Any]]:
    """(words, function) of each command below `gatepost`."""
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            inner = command.get_command(click.Context(command), name)
            assert inner is not None  # noqa: S101 - it is listed
            yield from _commands(inner, *words, name)
    if command.callback is not None:
        yield " ".join(words), command.callback


def _kinds_of(place: str, function: Any, name: str = "") -> Sequence[PartKind]:
    """The kinds of parts that a command or page is about, where it takes its use cases from PARTS."""
    if place.startswith(("connector ", "/connectors")):
        return [KINDS[f"{name}_connector"]] if name in DIRECTIONS else (INBOUND, OUTBOUND)
    kinds: list[PartKind] = []
    while isinstance(function, partial):
        kinds += [page.kind for page in function.keywords.values() if isinstance(page, KindPage)]
        function = function.func
    return [*kinds, *(value for value in _cells(inspect.unwrap(function)) if isinstance(value, PartKind))]


def used_by(function: Any, kinds: Sequence[PartKind] = ()) -> set[str]:
    """Names of the use cases that a function, or one that it calls in the same interface, speaks of."""
    used: set[str] = set()
    seen: set[FunctionType] = set()
    left = [function]
    while left:
        value = left.pop()
        if isinstance(value, dict):  # what a form does, by its name
            left += value.values()
            continue
        while isinstance(value, partial):
            left += [each for word in value.keywords.values() if isinstance(word, tuple) for each in word]
            value = value.func
        value = inspect.unwrap(value) if callable(value) else value
        if isinstance(value, FunctionType) and value not in seen:
            seen.add(value)
            left += [cell for cell in _cells(value) if isinstance(cell, FunctionType | partial)]
            used |= _spoken_of(value, kinds)
            left += _called(value)
    return used


def _spoken_of(function: FunctionType, kinds: Sequence[PartKind]) -> set[str]:
    """The use cases that a function itself names, or was given together."""
    names, known = set(_names_in(function.__code__)), function.__globals__
    used = {name for name in names & _CASES.keys() if known.get(name, _CASES[name]) is _CASES[name]}
    used |= {
        case.name for cell in _cells(function) if isinstance(cell, tuple) for case in cell if isinstance(case, UseCase)
    }
    if "PARTS" in names:
        of = [*kinds, *(known[name] for name in names if isinstance(known.get(name), PartKind))]
        used |= {getattr(PARTS[kind.key], verb).name for kind in of for verb in _VERBS if verb in names}
    return used


def _called(function: FunctionType) -> Iterator[FunctionType]:
    """The functions of the same interface that a function names, by themselves or in a table."""
    for name in set(_names_in(function.__code__)):
        value = function.__globals__.get(name)
        if isinstance(value, FunctionType) and value.__module__.startswith(_INTERFACES):
            yield value
        elif isinstance(value, dict):  # of parts of a page, by their names
            yield from (part for part in value.values() if isinstance(part, FunctionType))


def _names_in(code: CodeType) -> Iterator[str]:
    """Every global name that a function, or one inside it, speaks of."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names_in(constant)


def _cells(function: Any) -> list[Any]:
    return [cell.cell_contents for cell in getattr(function, "__closure__", None) or ()]


if __name__ == "__main__":
    print(table(), end="")
