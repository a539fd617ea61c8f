"""Count what there is of the source, and print it; `make figures` writes docs/figures.md.

Code lines are those with code on them: no blank line, no comment, no docstring. A class counts as twice there if two
modules define a public class of one name.

    .venv/bin/python scripts/figures.py [--print]
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from code_lines import code_lines
from walks import Walk, walks

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "gatepost"
PAGE = ROOT / "docs" / "figures.md"
_BY_HAND = "\n## From a package to the first protected message\n"
SHORT = 40
BEFORE = {
    "queue drop": (51, 1305, 7, 241),
    "certificate switch": (67, 1491, 20, 399),
    "connector validate": (71, 1556, 26, 474),
    "user add": (58, 1297, 18, 260),
}
"""What `walks` counted before use cases were declared: files, code lines, own files, own code lines."""
HEAD = "| use case |" + "".join(f" {what} before | {what} |" for what in ("files", "lines", "own files", "own lines"))
PATH = ("mail/", "protocols/smtp/", "store/", "events/")
"""Rooms and packages that a message passes."""


@dataclass
class Figures:
    """Of one room, or of all. classes: modules by the name of a public class."""

    files: int = 0
    lines: int = 0
    imports: int = 0
    short: int = 0
    classes: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))


def import_lines(tree: ast.Module) -> int:
    """How many lines imports take."""
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    return sum((node.end_lineno or node.lineno) - node.lineno + 1 for node in nodes)


def counted() -> dict[str, Figures]:
    """By room."""
    rooms: dict[str, Figures] = defaultdict(Figures)
    for path in sorted(SOURCE.rglob("*.py")):
        name = path.relative_to(SOURCE).as_posix()
        text = path.read_text()
        tree = ast.parse(text)
        of_room = rooms[name.partition("/")[0] if "/" in name else "gatepost"]
        lines = len(code_lines(text, tree))
        of_room.files += 1
        of_room.lines += lines
        of_room.imports += import_lines(tree)
        of_room.short += path.name != "__init__.py" and len(text.splitlines()) < SHORT
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                of_room.classes[node.name].add(name)
    return rooms


def page(rooms: dict[str, Figures]) -> str:
    """docs/figures.md."""
    total = Figures()
    for one in rooms.values():
        total.files += one.files
        total.lines += one.lines
        total.imports += one.imports
        total.short += one.short
        for name, modules in one.classes.items():
            total.classes[name] |= modules
    rows = [_row(name, one) for name, one in sorted(rooms.items(), key=lambda item: -item[1].lines)]
    twice = {name: modules for name, modules in total.classes.items() if len(modules) > 1}
    on_path = Counter({name: sum(one.startswith(PATH) for one in modules) for name, modules in twice.items()})
    met = sorted(name for name, count in on_path.items() if count > 1)
    return "\n".join(
        [
            "# Figures\n",
            "The source, as `make figures` counts it. Code lines hold no blank line, comment or docstring.\n",
            "| package | files | code lines | lines of imports | files under 40 lines |",
            "|---|--:|--:|--:|--:|",
            *rows,
            _row("**all**", total),
            "",
            f"Imports are {total.imports / total.lines:.0%} of the code lines. {len(twice)} public class names are in "
            f"several modules, {len(met)} of them in several on the path of a message"
            + (f" ({', '.join(f'`{name}`' for name in met)})." if met else "."),
            "",
        ]
    )


def _row(name: str, one: Figures) -> str:
    return f"| {name} | {one.files} | {one.lines:,} | {one.imports:,} | {one.short} |"


def walks_page(walked: list[Walk]) -> str:
    """The part of docs/figures.md about use cases."""
    rows = [
        "| {} | {} | {} | {:,} | {:,} | {} | {} | {} | {} |".format(
            walk.name,
            *(number for pair in zip(BEFORE[walk.name], walk[1:], strict=True) for number in pair),
        )
        for walk in walked
    ]
    return "\n".join(
        [
            "\n## What a use case runs through\n",
            "Functions of `manage` that are entered when a command beside the gateway runs it, and a command for",
            "another machine through REST, as `scripts/walks.py` counts them. Own is what none of the other three",
            "enters. Before is when each interface stated the use case itself.\n",
            HEAD,
            "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
            *rows,
            "",
        ]
    )


def measured_by_hand() -> str:
    """The rest of the page, which whoever measures writes: it stays as it is."""
    _, title, rest = PAGE.read_text().partition(_BY_HAND)
    return title + rest


def main() -> int:
    parser = argparse.ArgumentParser(description="Count the source; writes docs/figures.md.")
    parser.add_argument("--print", action="store_true", help="only print them")
    text = page(counted()) + walks_page(list(walks())) + measured_by_hand()
    if parser.parse_args().print:
        sys.stdout.write(text)
    else:
        PAGE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
