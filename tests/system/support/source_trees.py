"""Python files as trees, parsed once in each process, for tests that look at the source instead of running it.

`tests/unit/conftest.py` runs the tests of files that use this module first, one after the other, so that one process
of a run parses for all of them. Trees stay until it ends: 300 MB for all of the source.
"""

from __future__ import annotations

import ast
import gc
from functools import cache
from pathlib import Path


@cache
def tree(path: Path) -> ast.Module:
    gc.disable()  # to look for garbage among trees takes longer than to parse, now and ever after
    try:
        return ast.parse(path.read_bytes())
    finally:
        gc.freeze()
        gc.enable()


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """All nodes of a file, in the order of `ast.walk`: to walk takes as long as to parse, and several tests ask."""
    every: list[ast.AST] = [tree(path)]
    for node in every:
        for name in node._fields:
            value = getattr(node, name)
            if value.__class__ is list:
                every += [each for each in value if isinstance(each, ast.AST)]
            elif isinstance(value, ast.AST):
                every.append(value)
    return tuple(every)
