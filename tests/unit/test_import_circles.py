"""No two source files need each other, neither when they run nor for their types.

The contracts of `make imports` hold between packages; within one, a circle of files can only be read as a whole.
"""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from support import source_trees

SOURCE = Path(__file__).resolve().parents[2] / "src"


def modules(source: Path) -> dict[str, Path]:
    """The modules below a folder by their names."""
    files = {
        path.relative_to(source).with_suffix("").as_posix().replace("/", "."): path for path in source.rglob("*.py")
    }
    return {name.removesuffix(".__init__"): path for name, path in files.items()}


def imported(path: Path, known: dict[str, Path]) -> set[str]:
    """The modules among those known that a file takes names from, anywhere in it."""
    taken = {
        f"{node.module}.{alias.name}" if f"{node.module}.{alias.name}" in known else node.module
        for node in source_trees.nodes(path)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    return {name for name in taken if name in known}


def circle(source: Path) -> list[str]:
    """The modules of a circle, each importing the one before it; [] if there is none."""
    known = modules(source)
    try:
        TopologicalSorter({name: imported(path, known) - {name} for name, path in known.items()}).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_files_do_not_import_each_other() -> None:
    assert circle(SOURCE) == []


@pytest.mark.parametrize("guard", ["", "if TYPE_CHECKING:\n    "])
def test_a_circle_is_seen(tmp_path: Path, guard: str) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p/__init__.py").write_text("")
    (tmp_path / "p/a.py").write_text("from p import b\n")
    (tmp_path / "p/b.py").write_text(f"{guard}from p.a import A\n")
    assert set(circle(tmp_path)) == {"p.a", "p.b"}
