"""Demands that each module of the pure packages, of store and of queue is covered, branch by branch, by its own tests.

src/gatepost/policy/decisions/home.py must reach 100 % from tests/unit/policy/decisions/test_home.py, without
help from any other test: so a test stands where one looks for it, and what it shows does not hang on the rest of the
suite. Prints one line for each module that falls short; exit 0 if none does, 1 otherwise, 2 on a usage error.

    .venv/bin/python scripts/own_coverage.py [PACKAGE | PACKAGE/MODULE]...     policy, or policy/decisions/home
    .venv/bin/python scripts/own_coverage.py --files        the test files that it runs, for who runs the others
"""

from __future__ import annotations

import ast
import gc
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import coverage
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

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
    f"{WITH_SERVER}/sql",
    "policy/logins/throttle",
    *(f"manage/access/{name}" for name in ("actions", "principal", "records", "fields")),
    *(f"manage/use_cases/{name}" for name in ("cursors", "explain_visibility", "explain_text", "list_page", "times")),
    *(f"manage/pages/{name}" for name in ("guard", "resource_kinds", "resource_paths", "svg")),
)
JOBS = int(os.environ.get("JOBS") or 2 * (os.cpu_count() or 1))
TIMEOUT = 300
PYTEST = ["-q", "-x", "-o", f"timeout={TIMEOUT}", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
PLUGINS = ("_hypothesis_pytestplugin", "pytest_timeout")
PYTEST += [word for plugin in (*PLUGINS, "no:cacheprovider") for word in ("-p", plugin)]

# What every test imports, beside gatepost.
PRELOAD = [
    *PLUGINS,
    "coverage",
    "pytest",
    "_pytest.assertion.rewrite",
    "hypothesis.strategies",
    "tomllib",
    "asyncio",
    "apsw",
    "idna",
]
PRELOAD += ["cryptography.x509", "cryptography.hazmat.primitives.asymmetric.ed25519", "msgspec.json", "msgspec.structs"]
PRELOAD += ["pydantic.json_schema", "pydantic.plugin._loader", "pydantic._internal._generate_schema"]

# Hypothesis repeats the same examples on every run: a branch that luck alone reaches is not covered. Plugins of pytest
# that happen to be installed take three times as long to load as a module's tests take.
ENVIRONMENT = {
    "HYPOTHESIS_PROFILE": "fixed",
    "COVERAGE_CORE": "ctrace",
    "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
}


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


class Forks:
    """Forks of this process, one for each module: each has imported whatever does not need its module, and not that.

    Most of what a module's tests cost was to import gatepost. So this process imports what the next tests need, less
    what needs a module that is not measured yet; after its own tests have begun it imports a module as well.
    """

    def __init__(self, folder: Path) -> None:
        self.shortfalls: dict[Path, str] = {}
        self._folder = folder
        self._running: dict[int, tuple[Path, float]] = {}
        self._pending: set[str] = set()

    def measure(self, modules: list[Path]) -> None:
        """Fill `shortfalls`: what keeps a module from being covered by its own tests, "" if nothing does."""
        self._pending = {name_of(module) for module in modules}
        for module in in_order(modules):
            if not own_tests(module):
                self.shortfalls[module] = f"no test_{module.stem}.py of its own"
            elif name_of(module) in sys.modules:
                self.shortfalls[module] = "something imported it that does not say so, before it could be measured"
            else:
                self._import_for(module)
                self._begin(module)
            self._pending.discard(name_of(module))
        self._wait(0)

    def _import_for(self, module: Path) -> None:
        for name in sorted(wishes(own_tests(module))):
            if name not in sys.modules and not {name, *closure(file_of(name))} & self._pending:
                import_module(name)

    def _begin(self, module: Path) -> None:
        self._wait(JOBS - 1)
        gc.freeze()  # a fork that looks for garbage would copy all that is here
        pid = os.fork()
        if not pid:
            _measure(module, own_tests(module), self._result(module))
        self._running[pid] = module, time.monotonic() + TIMEOUT

    def _wait(self, most: int) -> None:
        """Until at most so many run."""
        while len(self._running) > most:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid:
                module, _ = self._running.pop(pid)
                self.shortfalls[module] = self._read(module, os.waitstatus_to_exitcode(status))
                continue
            for pid, (_, until) in self._running.items():
                if time.monotonic() > until:
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)

    def _result(self, module: Path) -> Path:
        return self._folder / name_of(module).replace(".", "-")

    def _read(self, module: Path, status: int) -> str:
        own, result = own_tests(module)[0].relative_to(ROOT), self._result(module)
        if status == -signal.SIGKILL:
            return f"{own} takes longer than {TIMEOUT} s"
        if status:
            return f"{own} fails:\n{result.with_suffix('.txt').read_text(errors='replace').strip()}"
        return result.with_suffix(".short").read_text()


def _measure(module: Path, files: list[Path], data: Path) -> NoReturn:
    """Run a module's own tests in this process, a fork made for them, and end it with pytest's exit status."""
    output = os.open(data.with_suffix(".txt"), os.O_WRONLY | os.O_CREAT)
    os.dup2(output, 1)
    os.dup2(output, 2)
    status = 1
    try:
        # No settings file: beside its `source` coverage would ignore `include` and trace the whole of gatepost.
        measured = coverage.Coverage(data_file=str(data), config_file=False, branch=True, include=[str(module)])
        measured.start()
        status = pytest.main([*PYTEST, *map(str, files)])
        measured.stop()
        measured.save()
        data.with_suffix(".short").write_text(missing(module, data))
    except BaseException:  # noqa: BLE001 - whatever it is must not go on as the process that forks
        traceback.print_exc()
        status = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


# ---------------------------------------------------------------------------------------------------- who imports what


def name_of(module: Path) -> str:
    """ "gatepost.policy.decisions.home" """
    return ".".join(module.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__")


def file_of(name: str) -> Path:
    """Where a module or package of gatepost is; a path that does not exist if there is none of that name."""
    place = SOURCE.parent.joinpath(*name.split("."))
    return place / "__init__.py" if place.is_dir() else place.with_suffix(".py")


@cache
def imports(file: Path) -> frozenset[str]:
    """The modules of gatepost that a file imports when it is imported itself."""
    return _of_gatepost(_imported(ast.parse(file.read_text()).body))


def _of_gatepost(names: Iterable[str]) -> frozenset[str]:
    return frozenset(name for name in names if name.partition(".")[0] == "gatepost" and file_of(name).exists())


def _imported(statements: Iterable[ast.stmt]) -> Iterator[str]:
    for statement in statements:
        if isinstance(statement, ast.Import):
            yield from (alias.name for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom):
            yield from (statement.module or "", *(f"{statement.module}.{alias.name}" for alias in statement.names))
        elif isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.unparse(statement.test):
            yield from _imported(statement.orelse)
        elif isinstance(statement, ast.If | ast.Try | ast.With):
            for part in ("body", "handlers", "orelse", "finalbody"):
                yield from _imported(getattr(statement, part, ()))
        elif isinstance(statement, ast.ExceptHandler):
            yield from _imported(statement.body)


@cache
def closure(file: Path) -> frozenset[str]:
    """The modules of gatepost that are imported with a file, each of which may import others."""
    found: set[str] = set()
    new = set(imports(file))
    while new:
        found |= new
        new = {name for one in new for name in imports(file_of(one))} - found
    return frozenset(found)


def wishes(tests: list[Path]) -> set[str]:
    """The modules of gatepost that test files may import, or fixtures for them, and what is imported with those."""
    above = (folder / "conftest.py" for folder in tests[0].parents if folder.is_relative_to(TESTS.parent))
    files = [*tests, *(file for file in above if file.exists())]
    names = {name for file in files for name in _of_gatepost(_anywhere(file))}
    return names.union(*(closure(file_of(name)) for name in names))


def _anywhere(file: Path) -> Iterator[str]:
    """What a file imports when it is imported, or later."""
    yield from _imported(node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.stmt))


def in_order(modules: list[Path]) -> list[Path]:
    """What others need comes first; before the rest all that every test needs."""
    common = closure(TESTS / "conftest.py")
    return sorted(modules, key=lambda one: (name_of(one) not in common, len(closure(one)), one))


# ---------------------------------------------------------------------------------------------------- what is missing


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
    os.chdir(ROOT)
    for name in PRELOAD:
        import_module(name)
    with tempfile.TemporaryDirectory() as folder:
        forks = Forks(Path(folder))
        forks.measure(modules)
    failures = [f"{module.relative_to(ROOT)}: {short}" for module in modules if (short := forks.shortfalls[module])]
    for failure in failures:
        print(failure)
    print(f"own_coverage: {len(modules)} modules, {len(failures)} not covered by their own tests", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
