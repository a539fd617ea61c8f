"""Change modules in small ways and see whether their own tests notice: a sample of mutants, the same for one seed.

A mutant is a module with one change: a comparison or an operator exchanged, a condition negated, a number one greater,
a statement left out. It is killed if tests/unit/PACKAGE/test_MODULE.py fails or takes too long. Each survivor is
printed with its line before and after: a hole in the tests, or a change that makes no difference. Exit 0, else 2.

    .venv/bin/python scripts/mutants.py [--seed N] [--each N] [--sample N] [PACKAGE | PACKAGE/MODULE]...
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib.abc
import importlib.util
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType
from typing import Any

import own_coverage
from own_coverage import ENVIRONMENT, FORKS, JOBS, PRELOAD, ROOT, SOURCE, TESTS, TIMEOUT, run_pytest

_SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.FloorDiv: ast.Mult, ast.Div: ast.Mult,
}  # fmt: skip
_SIMPLE = (ast.Expr, ast.Assign, ast.AugAssign, ast.Raise, ast.Break, ast.Continue)
_PATIENCE = 10.0  # seconds that a mutant's tests get beside four times what they take without it


@dataclass(frozen=True, slots=True)
class Mutant:
    """source: of the whole module. line: the first that differs, from 1. before, after: what differs."""

    source: str
    line: int
    before: str
    after: str


def mutants(source: str) -> list[Mutant]:
    """All mutants of a module, in the order of its lines."""
    tree = ast.parse(source)
    found = [_mutant(source, node, changed) for node in _live(tree) for changed in _changes(node)]
    return sorted((one for one in found if _matters(one)), key=lambda one: (one.line, one.after))


def _live(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes that are run and whose change a test can see: no annotations, docstrings, log calls, `__all__`."""
    for name, value in ast.iter_fields(node):
        if name in {"annotation", "returns", "type_params", "decorator_list"}:
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not _inert(child):
                yield child
                yield from _live(child)


def _inert(node: ast.AST) -> bool:
    text = ast.unparse(node) if isinstance(node, ast.Expr | ast.Assign | ast.If) else ""
    docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return docstring or text.startswith(("_log.", "__all__", "if TYPE_CHECKING"))


def _changes(node: ast.AST) -> Iterator[ast.AST]:
    """What one node can become."""
    match node:
        case ast.Compare(ops=[operator]) if type(operator) in _SWAPS:
            yield _with(node, ops=[_SWAPS[type(operator)]()])
        case ast.BoolOp() | ast.BinOp() if type(node.op) in _SWAPS:
            yield _with(node, op=_SWAPS[type(node.op)]())
        case ast.UnaryOp(op=ast.Not()):
            yield node.operand
        case ast.If() | ast.While() | ast.IfExp():
            yield ast.UnaryOp(ast.Not(), node.test)
        case ast.Constant(value=bool()):
            yield ast.Constant(not node.value)
        case ast.Constant(value=int() | float() as number):
            yield ast.Constant(number + 1)
        case ast.Return(value=ast.expr() as value) if not isinstance(value, ast.Constant) or value.value is not None:
            yield ast.Return(ast.Constant(None))
    if isinstance(node, _SIMPLE):
        yield ast.Pass()


def _with(node: ast.AST, **fields: Any) -> ast.AST:
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed


def _mutant(source: str, node: ast.AST, changed: ast.AST) -> Mutant:
    """The module with the text of one node replaced; of a statement with a condition, only that."""
    place: Any = node.test if isinstance(node, ast.If | ast.While | ast.IfExp) else node
    lines = source.splitlines(keepends=True)
    first, last = place.lineno - 1, place.end_lineno - 1
    before = "".join(lines[first : last + 1])
    head = lines[first].encode()[: place.col_offset].decode()
    tail = lines[last].encode()[place.end_col_offset :].decode()
    text = ast.unparse(changed)
    after = f"{head}({text}){tail}" if isinstance(changed, ast.expr) else f"{head}{text}{tail}"
    return Mutant("".join([*lines[:first], after, *lines[last + 1 :]]), first + 1, before, after)


def _matters(mutant: Mutant) -> bool:
    return "pragma: no cover" not in mutant.before and "_log." not in mutant.before


class _Loader(SourceFileLoader):
    """Loads one module with other source."""

    def __init__(self, name: str, path: str, source: str) -> None:
        super().__init__(name, path)
        self._source = source

    def get_code(self, fullname: str) -> CodeType:  # noqa: ARG002 - the loader has one module
        return compile(self._source, self.path, "exec")


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, module: Path, source: str) -> None:
        self._name = ".".join(("gatepost", *module.relative_to(SOURCE).with_suffix("").parts))
        self._loader = _Loader(self._name, str(module), source)

    def find_spec(self, fullname: str, *_: object) -> Any:
        return importlib.util.spec_from_loader(fullname, self._loader) if fullname == self._name else None


def _run(module: Path, source: str, output: Path) -> None:
    """Run a module's own tests with other source in this process, a fork made for them, and end it."""
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.meta_path.insert(0, _Finder(module, source))
    os._exit(run_pytest([own_tests(module)]))


def own_tests(module: Path) -> Path:
    return TESTS / module.parent.relative_to(SOURCE) / f"test_{module.stem}.py"


def passes(module: Path, source: str, seconds: float) -> bool:
    """Whether the module's own tests pass with this source, in time."""
    with tempfile.TemporaryDirectory() as folder:
        child = FORKS.Process(target=_run, args=(module, source, Path(folder, "output")))
        child.start()
        child.join(seconds)
        if child.exitcode is None:
            child.kill()
            child.join()
            return False
        return child.exitcode == 0


def judge(module: Path, each: int, seed: int) -> tuple[int, list[Mutant]]:
    """How many mutants of a module were tried, and those that survived; -1 if its tests fail without any."""
    source = module.read_text()
    begun = time.monotonic()
    if not own_tests(module).exists() or not passes(module, source, TIMEOUT):
        return -1, []
    patience = 4 * (time.monotonic() - begun) + _PATIENCE
    found = mutants(source)
    chosen = random.Random(f"{seed} {module.relative_to(SOURCE)}").sample(found, min(each, len(found)))  # noqa: S311 - a sample
    chosen.sort(key=lambda one: one.line)
    return len(chosen), [one for one in chosen if passes(module, one.source, patience)]


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("modules", nargs="*", help="PACKAGE or PACKAGE/MODULE; without any, of all that have own tests")
    parser.add_argument("--seed", type=int, default=1, help="which mutants (1)")
    parser.add_argument("--each", type=int, default=15, help="mutants of a module (15)")
    parser.add_argument("--sample", type=int, default=20, help="modules, if none is named (20)")
    given = parser.parse_args(words)
    modules = own_coverage.chosen(given.modules)
    if given.modules and not modules:
        parser.error(f"no module is called {' or '.join(given.modules)}")
    if not given.modules:
        modules = sorted(random.Random(given.seed).sample(modules, min(given.sample, len(modules))))  # noqa: S311 - a sample
    os.environ.update(ENVIRONMENT)
    FORKS.set_forkserver_preload(PRELOAD)
    tried = survived = 0
    with ThreadPoolExecutor(JOBS) as pool:
        results = pool.map(lambda module: judge(module, given.each, given.seed), modules)
        for module, (count, survivors) in zip(modules, results, strict=True):
            report(module, count, survivors)
            tried, survived = tried + max(count, 0), survived + len(survivors)
    killed = f"{tried - survived} killed ({100 * (tried - survived) // max(tried, 1)} %)"
    print(f"mutants: {tried} of {len(modules)} modules, seed {given.seed}: {killed}, {survived} survived")
    return 0


def report(module: Path, count: int, survivors: list[Mutant]) -> None:
    name = module.relative_to(SOURCE).with_suffix("").as_posix()
    told = f"{count - len(survivors)} of {count} killed" if count >= 0 else "its own tests fail, or there are none"
    print(f"{name}: {told}", flush=True)
    for mutant in survivors:
        print(f"  {module.relative_to(ROOT)}:{mutant.line}")
        for sign, text in (("-", mutant.before), ("+", mutant.after)):
            print("\n".join(f"  {sign} {line.rstrip()}" for line in text.splitlines()), flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
