"""Pages get what they show, and do what they do, by `execute` alone: nothing passes by scopes, limits and audit."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from pathlib import Path

import pytest

from gatepost.manage import pages
from gatepost.manage.use_cases.declaration import UseCase

MODULES = sorted(Path(pages.__file__).parent.glob("*.py"))
# What gives access to the gateway's data: a function that takes one of these reads or changes something.
SOURCES = re.compile(r"\b(Gateway|Context|Accounts|\w*Store|\w*Database|Inventory|Administration|Principal|Path)\b")
REACHING = re.compile(
    r"\b(gateway_of|accounts_of)\(|\.state\.(accounts|gateway)\b|\bcontext(_of\(\w+\))?\.(gateway|accounts)\b"
    r"|\.(directory|config)\(\)|\baccounts\.\w+\("
)
# Each with its reason. Nothing is added here: declare a use case.
FUNCTIONS = {
    "execute": "the way in",
    "may_enter": "decides about a principal and a record that the page has",
    "recording_refusals": "records that a form was refused which could not become a request",
}
PLACES = {
    "editor.py": "the version in force, by which a form sees that it was overtaken: a number, no resource",
    "wizard.py": "the same",
    "guard.py": "makes the context for `execute`",
    "rendering.py": "the menu of organizations of the frame of every page, of what the principal sees",
}


def imported(path):
    """(name, object) of everything that a module imports to run, but from pages and web."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    checked = [one for one in ast.walk(tree) if isinstance(one, ast.If) and ast.unparse(one.test) == "TYPE_CHECKING"]
    for_types = {id(each) for one in checked for each in ast.walk(one)}
    for one in ast.walk(tree):
        if isinstance(one, ast.ImportFrom) and id(one) not in for_types and one.module.startswith("gatepost."):
            module = importlib.import_module(one.module)
            for name in one.names:
                found = getattr(module, name.name, None) or importlib.import_module(f"{one.module}.{name.name}")
                yield name.name, found, one.module


def reads(found):
    """Whether it is a function that is given the gateway, or something to open it with."""
    if isinstance(found, UseCase) or not inspect.isfunction(found):
        return False
    return any(SOURCES.search(str(one.annotation)) for one in inspect.signature(found).parameters.values())


@pytest.mark.parametrize("path", MODULES, ids=lambda one: one.stem)
def test_no_function_is_called_past_execute(path):
    names = {
        name
        for name, found, module in imported(path)
        if not module.startswith(("gatepost.manage.pages", "gatepost.manage.web")) and reads(found)
    }
    assert names <= set(FUNCTIONS), "declare a use case (docs/decisions/0055), and execute it"


@pytest.mark.parametrize("path", MODULES, ids=lambda one: one.stem)
def test_no_page_reaches_for_the_data_itself(path):
    found = REACHING.findall(path.read_text(encoding="utf-8"))
    assert bool(found) == (path.name in PLACES), "an exception that is not needed any more is taken out"


def test_it_would_be_seen():
    from gatepost.manage.use_cases import certificates, resources  # noqa: PLC0415 - for this alone

    assert reads(certificates.certificate_listing)
    assert reads(resources.parts)
    assert not reads(certificates.in_order)
    assert REACHING.search("gateway_of(request).directory().resources")
    assert REACHING.search("request.app.state.accounts.user(name)")
    assert REACHING.search("context_of(request).accounts")
