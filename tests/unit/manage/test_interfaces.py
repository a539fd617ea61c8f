"""docs/use-cases.md says which interface has which use case: what it promises is there, and what is there is in it."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from gatepost.manage.rest.routes import ENDPOINTS
from gatepost.manage.use_cases.catalogue import USE_CASES

ROOT = Path(__file__).parents[3]
sys.path.append(str(ROOT / "scripts"))

import door_matrix  # noqa: E402 - of scripts

CASES = {case.name: case for case in USE_CASES}


def promised():
    """{use case: (call of REST, commands, pages)} as the table in docs has it."""
    for line in (ROOT / "docs/use-cases.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("| `"):
            name, _summary, *doors = (re.findall("`([^`]+)`", cell) for cell in line.split("|")[1:-3])
            yield name[0], doors


PROMISED = dict(promised())


@pytest.mark.parametrize("name", CASES)
def test_interfaces_are_those_of_the_table(name):
    rest, commands, pages = PROMISED[name]
    assert [f"gatepost {words}" for words in door_matrix.command_doors()[name]] == commands
    assert list(door_matrix.page_doors()[name]) == pages
    assert [f"{one.case.method} {one.case.path}" for one in ENDPOINTS if one.case is CASES[name]] == rest


def test_every_use_case_is_in_the_table():
    assert PROMISED.keys() == CASES.keys()


def test_names_are_their_own():
    assert len(CASES) == len(USE_CASES)


@pytest.mark.parametrize("name", CASES)
def test_every_use_case_has_an_interface(name):
    assert any(PROMISED[name])


def test_use_cases_of_a_function_are_found():
    from gatepost.manage.pages import quarantine, queue  # noqa: PLC0415 - beside what is said of them

    assert door_matrix.used_by(queue._do) == {"act_on_queue"}
    assert door_matrix.used_by(quarantine._is_held) == {"get_quarantined"}
