"""Files and functions stay short enough to be read whole: 500 lines, 50 lines."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pytest
from support import source_trees

ROOT = Path(__file__).resolve().parents[2]
ROOMS = sorted(path.name for path in (ROOT / "src/gatepost").iterdir() if path.is_dir() and path.name[0] != "_")
# Each is a test of its own: parsing all of the source takes seconds of CPU, of which a busy machine makes a minute.
FOLDERS = [*(f"src/gatepost/{room}" for room in ROOMS), "scripts", "bench"]
MOST_LINES = {"file": 500, "function": 50}


@cache
def files(folder: str) -> dict[str, str]:
    paths = sorted((ROOT / folder).rglob("*.py"))
    return {path.relative_to(ROOT).as_posix(): path.read_text() for path in paths}


def long_functions(nodes: Iterable[ast.AST]) -> dict[str, int]:
    """Functions with too many lines, decorators aside."""
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    lengths = [(node.name, (node.end_lineno or node.lineno) - node.lineno + 1) for node in functions]
    return {name: length for name, length in lengths if length > MOST_LINES["function"]}


@pytest.mark.parametrize(("lines", "excess"), [(50, {}), (51, {"send": 51})])
def test_lines_of_a_function(lines, excess):
    text = "\n".join(["@decorated", "async def send():", *["    pass"] * (lines - 1)])
    assert long_functions(ast.walk(ast.parse(text))) == excess


@pytest.mark.parametrize(
    "head",
    [
        "class Sender:",
        "def outer():",
        "if here:\n    pass\nelse:",
        "try:\n    pass\nexcept OSError:",
        "try:\n    pass\nfinally:",
        "match here:\n  case 1:",
        "with here:",
        "while here:",
    ],
)
def test_a_function_is_measured_wherever_it_stands(head):
    text = "\n".join([head, "    def send():", *["        pass"] * 50])
    assert long_functions(ast.walk(ast.parse(text)))["send"] == 51


def test_rooms_are_all_of_the_source():
    modules = set(files("src")) - {name for folder in FOLDERS for name in files(folder)}
    assert all(name.count("/") == len(Path("src/gatepost").parts) for name in modules)
    assert len(modules) < 11, "the modules below all rooms, and no room that has no test"
    assert not any(long_functions(source_trees.nodes(ROOT / name)) for name in modules)


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_file_is_too_long(folder):
    lengths = {name: text.count("\n") for name, text in files(folder).items()}
    excess = {name: length for name, length in lengths.items() if length > MOST_LINES["file"]}
    assert excess == {}, "move one of its responsibilities out"


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_function_is_too_long(folder):
    every = {name: long_functions(source_trees.nodes(ROOT / name)) for name in files(folder)}
    excess = {name: functions for name, functions in every.items() if functions}
    assert excess == {}, "give a part of it a name of its own"
