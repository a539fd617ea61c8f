"""Files and functions stay short enough to be read whole: 500 lines, 50 lines."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("src", "scripts", "bench")
MOST_LINES = {"file": 500, "function": 50}


@cache
def files() -> dict[str, str]:
    paths = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
    return {path.relative_to(ROOT).as_posix(): path.read_text() for path in paths}


def long_functions(text: str) -> dict[str, int]:
    """Functions with too many lines, decorators aside."""
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, kinds)]
    lengths = [(node.name, (node.end_lineno or node.lineno) - node.lineno + 1) for node in functions]
    return {name: length for name, length in lengths if length > MOST_LINES["function"]}


@pytest.mark.parametrize(("lines", "excess"), [(50, {}), (51, {"send": 51})])
def test_lines_of_a_function(lines, excess):
    text = "\n".join(["@decorated", "async def send():", *["    pass"] * (lines - 1)])
    assert long_functions(text) == excess


def test_no_file_is_too_long():
    lengths = {name: text.count("\n") for name, text in files().items()}
    excess = {name: length for name, length in lengths.items() if length > MOST_LINES["file"]}
    assert excess == {}, "move one of its responsibilities out"


def test_no_function_is_too_long():
    excess = {name: functions for name, text in files().items() if (functions := long_functions(text))}
    assert excess == {}, "give a part of it a name of its own"
