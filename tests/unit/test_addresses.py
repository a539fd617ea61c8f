"""The addresses of servers on port 25, 53 or 443 in the system tests: files that run at once must not share one."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

from support import source_trees

SYSTEM = Path(__file__).parents[1] / "system"


def _nets(file: Path) -> set[str]:
    """The third octets that it takes by `loopback("N.1")`; fails on one that is not written there."""
    found = set()
    for node in source_trees.nodes(file):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "loopback":
            (given,) = node.args
            text = given.values[0] if isinstance(given, ast.JoinedStr) else given
            assert isinstance(text, ast.Constant), f"{file}:{node.lineno}: write the third octet there"
            octet, dot, _ = str(text.value).partition(".")
            assert octet.isdigit(), f"{file}:{node.lineno}: write the third octet there"
            assert dot or isinstance(given, ast.Constant), f"{file}:{node.lineno}: the third octet is written in part"
            found.add(octet)
    return found


def test_no_two_files_of_the_system_tests_have_the_same_addresses() -> None:
    files = defaultdict(list)
    for file in sorted(SYSTEM.rglob("*.py")):
        for net in _nets(file):
            files[net].append(str(file.relative_to(SYSTEM)))
    assert len(files) > 10
    assert {net: names for net, names in files.items() if len(names) > 1} == {}
