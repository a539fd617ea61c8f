"""The names that docs/python.md promises are there and documented, and its examples run."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

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


def test_no_public_name_is_private_or_twice():
    assert [name for _, name in NAMES if name.startswith("_")] == []
    assert len(set(NAMES)) == len(NAMES)


def test_a_signature_is_shown_without_types():
    def given(self, one: int, *, two: str = "x", three: object = object) -> int: ...

    assert public_names.signature(given) == "(one, *, two='x', three=…)"


def test_methods_are_those_of_the_class_and_its_gatepost_parents():
    from gatepost.testing.partner import Partner  # noqa: PLC0415 - only here

    shown = public_names.members(Partner)
    assert "connector(**fields)" in shown
    assert "wait_messages(count, *, timeout=60.0)" in shown
    assert "address" in shown
    assert not [one for one in shown if one.startswith("_")]


def test_the_examples_of_the_page_run(tmp_path):
    blocks = re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs/python.md").read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 4
    (tmp_path / "test_page.py").write_text("\n\n".join(blocks))
    command = [sys.executable, "-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly"]
    done = subprocess.run([*command, tmp_path], cwd=tmp_path, capture_output=True, text=True, timeout=50, check=False)
    assert "2 passed" in done.stdout, done.stdout + done.stderr
