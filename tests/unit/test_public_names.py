"""The names that docs/python.md promises are there and documented, and its examples run."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAliasType, get_args

import pytest

from gatepost.policy.connectors.record_base import Record

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "scripts"))

import public_names  # noqa: E402 - of scripts

NAMES = [(module, name) for _, module, name, _ in public_names.objects()]


@pytest.mark.parametrize(("module", "name"), NAMES, ids=lambda value: value)
def test_a_public_name_is_documented_where_it_is_defined(module, name):
    (thing,) = [one for _, place, called, one in public_names.objects() if (place, called) == (module, name)]
    assert thing.__module__ == f"gatepost.{module}", "import it from where it is defined"
    assert inspect.getdoc(thing)
    methods = vars(thing).items() if inspect.isclass(thing) else ()
    undocumented = [
        own for own, value in methods if not own.startswith("_") and callable(value) and not inspect.getdoc(value)
    ]
    assert undocumented == []
    texts = [inspect.getdoc(thing) or "", *(inspect.getdoc(value) or "" for _, value in methods)]
    assert [text for text in texts if "exchange.md" in text] == [], "name what readers have: an RFC, or a page of docs"


def test_attributes_are_documented_with_their_class():
    for _, _, name, thing in public_names.objects():
        owners = [one for one in getattr(thing, "__mro__", ()) if one.__module__.startswith("gatepost.")]
        texts = [inspect.getdoc(part) or "" for one in owners for part in (one, vars(one).get("__init__"))]
        known = set(re.findall(r"\w+", " ".join(texts)))
        assert {one for owner in owners for one in public_names.attributes(owner)} <= known, name


def test_no_public_name_is_private_or_twice():
    assert [name for _, name in NAMES if name.startswith("_")] == []
    assert len(set(NAMES)) == len(NAMES)


# Types of values that programs pass on: what is in them is not promised.
OPAQUE = {
    *(
        "AcceptedDomain",
        "AddressHolders",
        "AddressKey",
        "InboundEntry",
        "Mailbox",
        "MailboxMatch",
        "OauthIssuer",
        "OutboundIndex",
    ),
    *("PartnerIndex", "ApplicableHook", "Asks", "Attribution", "AuthenticationResults", "Claim", "ClassicalOnly"),
    *("ContentDemand", "FailureOutcome", "Introduction", "Nodes", "Others", "RecipientQuestion", "Returned", "Route"),
    *("SenderPart", "Signing", "TranscriptBudget", "UnmetLimit"),
}


def names_of(annotations: Iterable[str]) -> set[str]:
    return {word for text in annotations for word in re.findall(r"\w+", str(text))}


def annotations_of(thing: Any) -> Iterator[str]:
    """The annotations of a function, or of the fields, parameters and results of a class but for those of resources."""
    if isinstance(thing, TypeAliasType):
        yield from (one.__name__ for one in get_args(thing.__value__))
    if inspect.isclass(thing) and issubclass(thing, Record):
        return
    yield from getattr(thing, "__annotations__", {}).values()
    if inspect.isclass(thing):
        for name, member in vars(thing).items():
            function = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
            if name == "__init__":
                yield from public_names.attributes(thing).values()
            if name == "__init__" or not name.startswith("_"):
                yield from getattr(function, "__annotations__", {}).values()


def types_of(module: str) -> dict[str, str]:
    """The types of gatepost's that a module knows, for type checkers alone too, each with where it is defined."""
    types = {}
    for node in ast.walk(ast.parse(Path(import_module(f"gatepost.{module}").__file__ or "").read_text())):
        if isinstance(node, ast.ClassDef):
            types[node.name] = module
        elif isinstance(node, ast.TypeAlias):
            types[node.name.id] = module
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("gatepost."):
            types |= {one.name: (node.module or "")[9:] for one in node.names if one.name[0].isupper()}
    return types


def test_public_names_are_made_of_public_types():
    """A program can write down the type of all that it makes, matches or keeps."""
    reached = set()
    for _, module, _, thing in public_names.objects():
        types = types_of(module)
        reached |= {(types[name], name) for name in names_of(annotations_of(thing)) & types.keys() if name[0] != "_"}
    assert {name for _, name in reached - set(NAMES)} == OPAQUE


def test_a_signature_is_shown_without_types():
    def given(self, one: int, *, two: str = "x", three: object = object) -> int: ...

    assert public_names.signature(given) == "(one, *, two='x', three=…)"


def test_methods_are_those_of_the_class_and_its_gatepost_parents():
    from gatepost.testing.partner import Partner  # noqa: PLC0415 - only here

    shown = public_names.members(Partner)
    assert "connector(**fields)" in shown
    assert "wait_messages(count, *, timeout=60.0)" in shown
    assert {"address", "messages", "domain"} <= set(shown), "of both classes, also what __init__ sets"
    assert not [one for one in shown if one.startswith("_")]


HOST = """
import logging, os, signal, sys, threading, warnings

def state():
    signals = [signal.getsignal(one) for one in signal.valid_signals()]
    mask = os.umask(0o22)
    os.umask(mask)
    loggers = [logging.root.handlers[:], logging.root.level, "gatepost" in "".join(logging.root.manager.loggerDict)]
    return signals, loggers, threading.enumerate(), mask, dict(os.environ), sys.excepthook, os.listdir("/proc/self/fd")

before, modules = state(), sys.argv[1:]
for module in modules:
    __import__(module)
assert state() == before, [pair for pair in zip(before, state()) if pair[0] != pair[1]]
"""


def test_the_parts_without_io_leave_the_program_as_it_is():
    modules = sorted({f"gatepost.{module}" for module, _ in NAMES if not module.startswith("testing.")})
    done = subprocess.run([sys.executable, "-c", HOST, *modules], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def examples(folder):
    blocks = re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs/python.md").read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 5
    page = folder / "test_page.py"
    page.write_text("\n\n".join(blocks))
    return page


def test_the_examples_of_the_page_are_typed(tmp_path):
    """With the settings and the cache of `make types`, without which it takes twenty seconds."""
    page = examples(tmp_path)
    page.write_text("# mypy: disable-error-code=exhaustive-match\n" + page.read_text())  # events may be added
    command = [sys.executable, "-m", "mypy", "--strict", str(page)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_examples_of_the_page_run(tmp_path):
    examples(tmp_path)
    command = [sys.executable, "-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly"]
    done = subprocess.run([*command, tmp_path], cwd=tmp_path, capture_output=True, text=True, timeout=50, check=False)
    assert "5 passed" in done.stdout, done.stdout + done.stderr
