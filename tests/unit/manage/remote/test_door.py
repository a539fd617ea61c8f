from __future__ import annotations

import inspect
from importlib import import_module
from importlib.util import find_spec
from pkgutil import iter_modules

import pytest

import gatepost.manage.remote
from gatepost.manage.remote.address import Address
from gatepost.manage.remote.door import OF_RESOURCES, RemoteDoor
from gatepost.manage.use_cases import status
from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.manage.use_cases.resources import seen

from .conftest import OWNER


def _counterparts():
    """ "module.function" for all there are."""
    for module in (one.name for one in iter_modules(gatepost.manage.remote.__path__)):
        if find_spec(f"gatepost.manage.use_cases.{module}"):
            here = import_module(f"gatepost.manage.use_cases.{module}")
            there = import_module(f"gatepost.manage.remote.{module}")
            yield from (
                f"{module}.{name}"
                for name, found in vars(there).items()
                if inspect.isfunction(found)
                and found.__module__ == there.__name__
                and inspect.isfunction(getattr(here, name, None))
            )


COUNTERPARTS = sorted(_counterparts())


@pytest.fixture
def door(there):
    made = RemoteDoor(Address("https://gate.example:443", "gate.example", 443, "gp_x"))
    made._connection = there
    return made


@pytest.mark.parametrize("name", COUNTERPARTS)
def test_a_counterpart_takes_what_its_function_takes(name):
    module, _, function = name.partition(".")
    here = getattr(import_module(f"gatepost.manage.use_cases.{module}"), function)
    there = getattr(import_module(f"gatepost.manage.remote.{module}"), function)
    wanted = list(inspect.signature(here).parameters)[2:]
    taken = list(inspect.signature(there).parameters)[1:]
    assert taken == [one for one in wanted if one in taken]
    left = set(wanted) - set(taken)
    assert left <= {"after", "before", "heard", "quick"}, "only what the command line never asks for"


@pytest.mark.parametrize("name", sorted(OF_RESOURCES))
def test_functions_of_resources_exist(name):
    module, _, function = name.partition(".")
    assert callable(getattr(import_module(f"gatepost.manage.use_cases.{module}"), function))


def test_what_reads_resources_reads_what_was_fetched(door, there):
    assert door(seen) == seen(there.api.gateway, OWNER)


def test_what_has_no_counterpart_is_refused(door):
    with pytest.raises(Refusal, match="not served over REST") as refused:
        door(status.configuration)
    assert refused.value.kind is Kind.INPUT
