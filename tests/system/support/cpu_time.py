"""What the tests cost, in seconds of CPU, by file and by program: on a busy machine they change far less than the time.

A plugin of pytest, which `conftest.py` registers. Each process of the run counts itself and what it started, as far as
it has ended: so what a fixture of a file keeps running counts for the file's last test. What a fixture of the whole run
kept running is not a file's, though it ends with some test: it has a line of its own. The end of the run shows the
dearest files, and with GATEPOST_CPU=1 every file, the dearest tests and every kind of program.
"""

from __future__ import annotations

import os
import resource
import subprocess
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support import fork_server

ALL = bool(os.environ.get("GATEPOST_CPU"))
MOST = 120
"""Seconds of CPU that the short tests of one file may take: a tenth of what two cores do in ten minutes.

A file with more is named in red. The run does not fail: on a machine with many neighbours a second of CPU was seen to
do a fifth of what it does on a quiet one.
"""
_NAME = "cpu seconds"
_OF_RUN = "servers of the whole run"
_BEFORE = {"setpriv", "env", "ip", "netns", "exec", "unshare", "timeout"}  # programs that start another one


def spent() -> float:
    """Seconds of CPU of this process, of what it started and has waited for, and of what its fork server did."""
    usage = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in usage) + sum(fork_server.seconds.values())


def _of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


class CpuTime:
    """The plugin: in each process that runs tests it measures, in the one that controls them it adds up."""

    def __init__(self) -> None:
        self._tests: dict[str, float] = {}
        self._short: set[str] = set()
        self._starts: Counter[str] = Counter()
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._all = 0.0
        self._last = self._finalized = spent()
        self._of_run = 0.0  # of fixtures that lasted for the whole run
        if ALL:
            self._watch_programs()

    def _watch_programs(self) -> None:
        """Each time that a program was waited for, what children spent has grown by what it did."""
        ended: Callable[..., None] = subprocess.Popen._handle_exitstatus  # type: ignore[attr-defined]
        before = _of_children()

        def handle_exitstatus(popen: subprocess.Popen[Any], *status: Any) -> None:
            nonlocal before
            now = _of_children()
            name = _program(popen.args)
            self._add(name, 1, now - before)
            before = now
            ended(popen, *status)

        subprocess.Popen._handle_exitstatus = handle_exitstatus  # type: ignore[attr-defined]

    def pytest_collection_finish(self) -> None:
        """What collecting took is no test's."""
        self._last = spent()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_teardown(self) -> None:
        """What a fixture's end shows is counted from here, or from the end of the one before."""
        self._finalized = spent()

    def pytest_fixture_post_finalizer(self, fixturedef: pytest.FixtureDef[Any]) -> None:
        """Servers of the whole run end with its last test, which did not use what they did meanwhile."""
        now = spent()
        if fixturedef.scope == "session":
            self._of_run += now - self._finalized
            self._last += now - self._finalized
        self._finalized = now

    @contextmanager
    def of_the_run(self) -> Iterator[None]:
        """What children are waited for within did their work for several files."""
        before = spent()
        yield
        took = spent() - before
        self._of_run += took
        self._last += took

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, call: pytest.CallInfo[None]) -> Iterator[Any]:
        """What was spent since the last test goes to this one: module fixtures to the first and the last."""
        report = yield
        if call.when == "teardown":
            now = spent()
            report.user_properties.append((_NAME, now - self._last))
            self._last = now
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """In the process that controls the run."""
        if report.when == "teardown":
            self._tests[report.nodeid] = dict(report.user_properties).get(_NAME, 0.0)
            if "long" not in report.keywords:
                self._short.add(report.nodeid)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Tell the process that controls the run what this one did."""
        output = getattr(session.config, "workeroutput", None)
        if output is not None:
            for name, seconds in fork_server.seconds.items():
                self._add(name, fork_server.starts[name], seconds)
            self._add(_OF_RUN, 1, self._of_run)
            output["cpu_time"] = [spent(), {name: (self._starts[name], self._seconds[name]) for name in self._seconds}]

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Add what another process did."""
        total, programs = getattr(node, "workeroutput", {}).get("cpu_time", (0.0, {}))
        self._all += total
        for name, (starts, seconds) in programs.items():
            self._add(name, starts, seconds)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """The dearest files; everything with GATEPOST_CPU=1."""
        write, files = terminalreporter.write_line, _by_file(self._tests)
        of_run = self._of_run + self._seconds.pop(_OF_RUN, 0.0)
        together = f", {self._all:.0f} s with collecting them" if self._all else ""
        write(f"CPU: {sum(files.values()):.0f} s in tests, {of_run:.0f} s in {_OF_RUN}{together}; the dearest files:")
        for file, seconds in files.most_common(None if ALL else 5):
            write(f"{seconds:8.1f} s  {file}")
        if ALL:
            for test, seconds in sorted(self._tests.items(), key=lambda one: -one[1])[:100]:
                write(f"{seconds:8.1f} s  {test}")
            for name, seconds in sorted(self._seconds.items(), key=lambda one: -one[1]):
                write(f"{seconds:8.1f} s  {self._starts[name]:6} x  {name}")
        for file, seconds in self._too_dear().items():
            line = f"{file}: its short tests took {seconds:.0f} s of CPU, of at most {MOST} (CONTRIBUTING.md)"
            write(line, red=True, bold=True)

    def _too_dear(self) -> dict[str, float]:
        short = _by_file({test: seconds for test, seconds in self._tests.items() if test in self._short})
        return {file: seconds for file, seconds in short.items() if seconds > MOST}

    def _add(self, name: str, starts: int, seconds: float) -> None:
        self._starts[name] += starts
        self._seconds[name] += seconds


def _by_file(tests: Mapping[str, float]) -> Counter[str]:
    files: Counter[str] = Counter()
    for test, seconds in tests.items():
        files[test.partition("::")[0]] += seconds  # type: ignore[assignment] # a Counter sorts floats as well
    return files


def _program(arguments: Any) -> str:
    """What was started: "real gatepost queue list", "postgres", "python3.13 -m"."""
    words = [arguments] if isinstance(arguments, str | bytes | Path) else list(arguments)
    names = [Path(os.fsdecode(word)).name for word in words]
    while len(names) > 1 and (names[0] in _BEFORE or names[0].startswith("-") or "=" in names[0]):
        names = names[1:]
    if names[0] == "gatepost":
        return fork_server.kind(names[1:], real=True)
    return " ".join(names[:2]) if names[0].startswith("python") else names[0]
