"""Every row of docs/threat-model.md and of the attacks in docs/reliability.md names a test that exists."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"
REFERENCE = re.compile(r"(?:tests/)?((?:\w+/)*test_\w+)(?:\.py)?(?:::(\w+))?")
QUOTED = re.compile(r'"([^"]+)"')


def rows(name: str, heading: str, columns: int) -> list[list[str]]:
    """Cells of the rows below the table's head that begins with `heading`."""
    found, inside = [], False
    for line in (ROOT / "docs" / name).read_text(encoding="utf-8").splitlines():
        inside = line.startswith(f"| {heading} |") or (inside and line.startswith("|"))
        if inside and not line.startswith(("|---", f"| {heading} |")):
            # A bar within code does not end a cell.
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]
            assert len(cells) == columns, line
            found.append(cells)
    assert len(found) > 10
    return found


THREATS = rows("threat-model.md", "attack", 3)
ATTACKS = rows("reliability.md", "attack", 2)
ROWS = [(cells[-1], " ".join(cells[:-1])[:80]) for cells in THREATS + ATTACKS]


@cache
def texts(module: str) -> tuple[str, ...]:
    """Files of a module's name, "test_x" or with its folders before it."""
    return tuple(path.read_text(encoding="utf-8") for path in TESTS.rglob(f"{module.rpartition('/')[2]}.py")
                 if str(path.with_suffix("")).endswith(module))  # fmt: skip


@cache
def names() -> str:
    """The names of all test functions."""
    return "\n".join(
        name for path in TESTS.rglob("test_*.py") for name in re.findall(r"def (test_\w+)", path.read_text())
    )


def missing(cell: str) -> list[str]:
    """What a cell names and no test has."""
    wrong = []
    modules = []
    for module, function in REFERENCE.findall(cell):
        if files := texts(module):
            modules += files
            if function and not any(f"def {function}(" in text for text in files):
                wrong.append(f"{module}::{function}")
        elif "/" in module or f"{module}\n" not in names() + "\n":
            wrong.append(module)
    for words in QUOTED.findall(cell):
        part = re.escape(words).replace(r"\ ", "[ _-]").replace("_", "[ _-]").replace("[ [ _-]-]", "[ _-]")
        if not any(re.search(part, text, re.IGNORECASE) for text in modules):
            wrong.append(f'"{words}"')
    return wrong if REFERENCE.search(cell) else [*wrong, "no test at all"]


@pytest.mark.parametrize(("cell", "row"), ROWS, ids=[f"{number} {row[:40]}" for number, (_, row) in enumerate(ROWS)])
def test_a_row_names_tests_that_exist(cell: str, row: str) -> None:
    assert missing(cell) == [], row


@pytest.mark.parametrize(
    ("cell", "wrong"),
    [
        ("nothing", ["no test at all"]),
        ('`system/test_hostile.py` "never reads"', []),
        ('`system/test_hostile.py` "was never tried"', ['"was never tried"']),
        ("`unit/test_none.py`", ["unit/test_none"]),
        ("`test_hostile.py::test_nothing`", ["test_hostile::test_nothing"]),
        ("`test_a_row_names_tests_that_exist`", []),
        ("`test_that_nobody_wrote`", ["test_that_nobody_wrote"]),
    ],
)  # fmt: skip
def test_what_is_missing(cell: str, wrong: list[str]) -> None:
    assert missing(cell) == wrong
