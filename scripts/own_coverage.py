"""Demands that each module of the pure packages, of store and of queue is covered, branch by branch, by its own tests.

src/gatepost/policy/decisions/home.py must reach 100 % from tests/unit/policy/decisions/test_home.py, without
help from any other test: so a test stands where one looks for it, and what it shows does not hang on the rest of the
suite. Prints one line for each module that falls short; exit 0 if none does, 1 otherwise, 2 on a usage error.

    .venv/bin/python scripts/own_coverage.py [PACKAGE | PACKAGE/MODULE]...     policy, or policy/decisions/home
    .venv/bin/python scripts/own_coverage.py --files        the test files that it runs, for who runs the others
"""

from __future__ import annotations

import ast
import json
import multiprocessing
import os
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn

import _hypothesis_pytestplugin
import coverage
import line_arcs
import pytest
import pytest_timeout

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "gatepost"
TESTS = ROOT / "tests" / "unit"
PURE = (
    *("protocols", "policy/connectors", "policy/decisions", "events/evidence", "events/metrics"),
    *("analysis/migration", "analysis/hybrid", "analysis/alarms"),
)
# Not pure, but what is lost there is lost for good. The engine of PostgreSQL cannot run without a server: system tests
# ask both engines the same.
GUARDED = ("store", "mail/queue", "mail/model")
WITH_SERVER = "store/postgres"
PURE_MODULES = (
    "decoding",
    "policy/logins/throttle",
    *(f"manage/access/{name}" for name in ("actions", "principal", "records", "fields")),
    *(f"manage/use_cases/{name}" for name in ("paging", "explain_visibility", "explain_text", "times")),
    *(f"manage/pages/{name}" for name in ("guard", "resource_kinds", "resource_paths", "svg")),
)
JOBS = int(os.environ.get("JOBS") or 2 * (os.cpu_count() or 1))
TIMEOUT = 600  # seconds for the tests of a module; they yield to system tests, which run beside them
PYTEST = ["-q", "-x", "-W", "ignore::pytest.PytestAssertRewriteWarning", "-p", "no:cacheprovider"]
PYTEST += ["-o", "tmp_path_retention_policy=failed", "-o", "timeout=180"]  # as in the Makefile

# Forks of one process that has imported what every test imports.
FORKS = multiprocessing.get_context("forkserver")
PRELOAD = ["preloaded"]

# Hypothesis repeats the same examples on every run: a branch that luck alone reaches is not covered.
ENVIRONMENT = {"HYPOTHESIS_PROFILE": "fixed"}


class _Plugins:
    """Those that pyproject.toml names, there already: for each name pytest reads the metadata of all that is installed.

    Nothing stands for those that a fork does without: they are never imported.
    """

    def pytest_addhooks(self, pluginmanager: pytest.PytestPluginManager) -> None:
        pluginmanager.register(pytest_timeout, "timeout")
        pluginmanager.register(_hypothesis_pytestplugin, "hypothesispytest")
        for name in ("xdist", "randomly"):
            pluginmanager.register(object(), name)


def run_pytest(files: list[Path]) -> int:
    """Run test files in this process, a fork made for them; pytest's exit status."""
    os.chdir(ROOT)
    return pytest.main([*PYTEST, *map(str, files)], plugins=[_Plugins()])


def has_code(path: Path) -> bool:
    """Whether a module holds anything besides its docstring and imports from __future__."""

    def inert(node: ast.stmt) -> bool:
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        return docstring or (isinstance(node, ast.ImportFrom) and node.module == "__future__")

    return not all(inert(node) for node in ast.parse(path.read_text()).body)


def chosen(words: list[str]) -> list[Path]:
    """The modules meant by the command line; all that must be covered if it names none."""
    packages = (*PURE, *GUARDED)
    modules = [path for package in packages for path in sorted((SOURCE / package).rglob("*.py")) if has_code(path)]
    modules = [path for path in modules if SOURCE / WITH_SERVER not in path.parents]
    modules += [SOURCE / f"{module}.py" for module in PURE_MODULES]
    if not words:
        return modules
    return [path for path in modules if any(_meant(path, word) for word in words)]


def _meant(path: Path, word: str) -> bool:
    name = path.relative_to(SOURCE).with_suffix("").as_posix()
    return name == word or name.startswith(f"{word}/")


def own_tests(module: Path) -> list[Path]:
    """The test files of a module, the main one first; [] if there is none."""
    own = TESTS / module.parent.relative_to(SOURCE) / f"test_{module.stem}.py"
    if not own.exists():
        return []
    parts = sorted(own.parent.glob(f"{own.stem}_*.py"))  # test_manager_batches.py, unless there is a manager_batches.py
    return [own, *(one for one in parts if not module.with_name(one.name.removeprefix("test_")).exists())]


def shortfall(module: Path) -> str:
    """What keeps a module from being covered by its own tests, "" if nothing does."""
    files = own_tests(module)
    if not files:
        return f"no test_{module.stem}.py of its own"
    own = files[0]
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "coverage")
        child = FORKS.Process(target=_measure, args=(module, files, data))
        child.start()
        child.join(TIMEOUT)
        if child.exitcode is None:
            child.kill()
            child.join()
            return f"{own.relative_to(ROOT)} takes longer than {TIMEOUT} s"
        if child.exitcode:
            return f"{own.relative_to(ROOT)} fails:\n{data.with_suffix('.txt').read_text(errors='replace').strip()}"
        return missing(module, data)


def _measure(module: Path, files: list[Path], data: Path) -> NoReturn:
    """Run a module's own tests in this process, a fork made for them, and end it with pytest's exit status."""
    output = os.open(data.with_suffix(".txt"), os.O_WRONLY | os.O_CREAT)
    os.dup2(output, 1)
    os.dup2(output, 2)
    arcs = line_arcs.record(module)
    status = run_pytest(files)
    line_arcs.save(module, arcs, data)
    sys.stdout.flush()
    os._exit(status)


def missing(module: Path, data: Path) -> str:
    """Lines and branches of a module that the recorded run did not take, as "lines 12, 40-43; branches 17->exit"."""
    if not data.exists():
        return "its tests never import it"
    measured = coverage.Coverage(data_file=str(data), config_file=str(ROOT / "pyproject.toml"))
    measured.load()
    if str(module) not in measured.get_data().measured_files():
        return "its tests never import it"
    report = data.with_suffix(".json")
    measured.json_report(morfs=[str(module)], outfile=str(report))
    (facts,) = json.loads(report.read_text())["files"].values()
    branches = [
        f"{a}->{b if b > 0 else 'exit'}" for a, b in facts["missing_branches"] if b not in facts["missing_lines"]
    ]
    parts = {"lines": _ranges(facts["missing_lines"]), "branches": ", ".join(branches)}
    return "; ".join(f"{kind} {which}" for kind, which in parts.items() if which)


def _ranges(lines: list[int]) -> str:
    """ "12, 40-43" for 12, 40, 41, 42, 43 (lines without code between two missing ones break a range)."""
    runs: list[list[int]] = []
    for line in lines:
        if runs and runs[-1][1] == line - 1:
            runs[-1][1] = line
        else:
            runs.append([line, line])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def main(words: list[str]) -> int:
    if words == ["--files"]:
        print("\n".join(str(file.relative_to(ROOT)) for module in chosen([]) for file in own_tests(module)))
        return 0
    modules = chosen(words)
    if words and not modules:
        print(f"own_coverage: no module is called {' or '.join(words)}", file=sys.stderr)
        return 2
    os.environ.update(ENVIRONMENT)
    FORKS.set_forkserver_preload(PRELOAD)
    with ThreadPoolExecutor(JOBS) as pool:
        failures = [
            f"{module.relative_to(ROOT)}: {short}"
            for module, short in zip(modules, pool.map(shortfall, modules), strict=True)
            if short
        ]
    for failure in failures:
        print(failure)
    print(f"own_coverage: {len(modules)} modules, {len(failures)} not covered by their own tests", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
