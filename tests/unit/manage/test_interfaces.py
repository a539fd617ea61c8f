"""What a use case declares of its interfaces is there, and what is there is declared."""

from __future__ import annotations

import inspect
from functools import partial
from types import CodeType, FunctionType

import click
import pytest

from gatepost.manage.cli import main
from gatepost.manage.pages.connector import DIRECTIONS
from gatepost.manage.pages.resource_kinds import KindPage
from gatepost.manage.pages.routes import ROUTES
from gatepost.manage.rest.routes import ENDPOINTS
from gatepost.manage.use_cases.catalogue import USE_CASES
from gatepost.manage.use_cases.part_cases import PARTS
from gatepost.manage.use_cases.parts import INBOUND, KINDS, OUTBOUND, PartKind

CASES = {one.name: one for one in USE_CASES}


def commands(command, *words):
    """(words, function) of each command below `gatepost`."""
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            yield from commands(command.get_command(click.Context(command), name), *words, name)
    if command.callback is not None:
        yield " ".join(words), command.callback


def names_of(code):
    """Every global name that a function, or one inside it, speaks of."""
    yield from code.co_names
    for one in code.co_consts:
        if isinstance(one, CodeType):
            yield from names_of(one)


CONNECTORS = (INBOUND, OUTBOUND)
VERBS = ("add", "set", "put", "remove")  # of the table PARTS, which has the use cases of each kind


def kinds_of(place, function, name=""):
    """The kinds of parts that a command or page is about, where it takes its use cases from PARTS."""
    if place.startswith(("connector ", "/connectors")):
        return [KINDS[f"{name}_connector"]] if name in DIRECTIONS else CONNECTORS
    found = []
    while isinstance(function, partial):
        found += [page.kind for page in function.keywords.values() if isinstance(page, KindPage)]
        function = function.func
    cells = (cell.cell_contents for cell in inspect.unwrap(function).__closure__ or ())
    return [*found, *(one for one in cells if isinstance(one, PartKind))]


def used_by(function, kinds=()):
    """The use cases that a function, or one that it calls in the same interface, speaks of."""
    used, seen, left = set(), set(), [function]
    while left:
        one = left.pop()
        if isinstance(one, dict):  # what a form does, by its name
            left += one.values()
            continue
        while isinstance(one, partial):
            left += [each for value in one.keywords.values() if isinstance(value, tuple) for each in value]
            one = one.func
        one = inspect.unwrap(one)
        if not isinstance(one, FunctionType) or one in seen:
            continue
        seen.add(one)
        cells = [cell.cell_contents for cell in one.__closure__ or ()]
        left += [value for value in cells if isinstance(value, FunctionType | partial)]
        names = set(names_of(one.__code__))
        spoken = [*kinds, *(known for name in names if isinstance(known := one.__globals__.get(name), PartKind))]
        if "PARTS" in names:
            used |= {getattr(PARTS[kind.key], verb).name for kind in spoken for verb in VERBS if verb in names}
        for name in names:
            known = one.__globals__.get(name)
            if name in CASES and (known is None or known is CASES[name]):
                used.add(name)
            elif isinstance(known, FunctionType) and known.__module__.startswith(
                ("gatepost.manage.cli", "gatepost.manage.pages")
            ):
                left.append(known)
            elif isinstance(known, dict):  # of parts of a page, by their names
                left += [value for value in known.values() if isinstance(value, FunctionType)]
    return used


def found(functions):
    """{use case: where it is used}."""
    places = {name: set() for name in CASES}
    for place, function, *name in functions:
        for used in used_by(function, kinds_of(place, function, *name)):
            places[used].add(place)
    return places


COMMANDS = found(commands(main))
PAGES = found((one.path, one.endpoint, one.name) for one in ROUTES)


@pytest.mark.parametrize("name", CASES)
def test_commands_and_pages_are_those_that_are_declared(name):
    assert COMMANDS[name] == set(CASES[name].commands)
    assert PAGES[name] == set(CASES[name].pages)


@pytest.mark.parametrize("name", CASES)
def test_rest_has_it(name):
    one = CASES[name]
    there = [(endpoint.case.method, endpoint.case.path) for endpoint in ENDPOINTS if endpoint.case is one]
    assert there == ([(one.method, one.path)] if one.path else [])


def test_names_are_their_own():
    assert len(CASES) == len(USE_CASES)
    assert all(one.commands or one.pages or one.path for one in USE_CASES)
