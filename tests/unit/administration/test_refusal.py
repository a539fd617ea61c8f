from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from gatepost.administration import refusal as refusal_module
from gatepost.administration.refusal import Kind, Refusal
from gatepost.connectors.errors import FieldError


def test_a_refusal_has_its_text_and_all_errors():
    errors = [FieldError("name", "is missing"), FieldError("priority", "is too small")]
    refusal = Refusal(Kind.INPUT, "2 error(s); nothing was changed", iter(errors))
    assert str(refusal) == refusal.text == "2 error(s); nothing was changed"
    assert (refusal.kind, refusal.errors) == (Kind.INPUT, tuple(errors))


def test_what_would_help_is_said_in_the_words_of_a_door():
    refusal = Refusal(Kind.INPUT, "say which", options=["organization", "direction"])
    assert refusal.told(lambda name: f"--{name}") == "say which (--organization or --direction)"
    assert refusal.text == "say which"
    assert Refusal(Kind.INPUT, "no").told(str) == "no"


PACKAGE = Path(refusal_module.__file__).parent
# What these say are commands, to be copied into a shell.
COMMANDS = {"changeover.py", "part_record.py"}


@pytest.mark.parametrize(
    "file", sorted(one for one in PACKAGE.glob("*.py") if one.name not in COMMANDS), ids=lambda one: one.stem
)
def test_no_text_names_an_option_of_a_command(file):
    """Pages and calls say the same texts; what would help is in `options`."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    prose = {
        node.body[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and isinstance(node.body[0], ast.Expr)
    }
    prose |= {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    texts = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in prose
    ]
    assert [text for text in texts if re.search(r"(?<![\w-])--[a-z]", text)] == []
