"""What system tests may cost, `support.cpu_time`: a run names a file whose short tests became too dear."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
from support.cpu_time import MOST, CpuTime
from support.fork_server import kind


def report(test: str, seconds: float, **keywords: int) -> pytest.TestReport:
    given: Any = {"keywords": keywords, "outcome": "passed", "longrepr": None, "when": "teardown"}
    return pytest.TestReport(test, (test, 0, test), **given, user_properties=[("cpu seconds", seconds)])


@pytest.mark.parametrize(
    ("reports", "told"),
    [
        ([report("a.py::one", MOST - 1), report("a.py::two", 2)], "a.py: its short tests took 121 s"),
        ([report("a.py::one", MOST - 1), report("b.py::two", 2)], ""),
        ([report("a.py::one", MOST + 1, long=1), report("a.py::two", 2)], ""),
    ],
    ids=["two of one file", "of two files", "a long one"],
)
def test_the_short_tests_of_a_file_have_a_limit(reports: list[pytest.TestReport], told: str) -> None:
    plugin, lines = CpuTime(), []
    for one in reports:
        plugin.pytest_runtest_logreport(one)
    plugin.pytest_terminal_summary(SimpleNamespace(write_line=lambda line, **_: lines.append(line)))
    warnings = [line for line in lines if "at most" in line]
    assert [line.startswith(told) for line in warnings] == [True] * bool(told)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--config", "/a/b.toml", "queue", "list", "--json"], "gatepost queue list"),
        (["--config", "/a/b.toml", "serve"], "gatepost serve"),
        (["apply", "-f", "resources.toml"], "gatepost apply"),
    ],
)
def test_commands_are_counted_by_their_names(words: list[str], expected: str) -> None:
    assert kind(words) == expected


@pytest.mark.parametrize(("scope", "told"), [("session", (2.0, 90.0)), ("module", (92.0, 0.0)), ("", (2.0, 90.0))])
def test_a_server_of_the_whole_run_is_not_charged_to_the_test_with_which_it_ends(
    scope: str, told: tuple[float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr("support.cpu_time.spent", lambda: clock[0])
    plugin, lines = CpuTime(), []
    clock[0] += 2  # the test itself
    plugin.pytest_runtest_teardown()
    with nullcontext() if scope else plugin.of_the_run():
        clock[0] += 90  # its server was waited for
    if scope:
        plugin.pytest_fixture_post_finalizer(SimpleNamespace(scope=scope))
    last = report("a.py::last", 0.0)
    measured = plugin.pytest_runtest_makereport(SimpleNamespace(when="teardown"))
    next(measured)
    last.user_properties.clear()
    with pytest.raises(StopIteration):
        measured.send(last)
    plugin.pytest_runtest_logreport(last)
    plugin.pytest_terminal_summary(SimpleNamespace(write_line=lambda line, **_: lines.append(line)))
    in_tests, of_run = told
    assert lines[0] == f"CPU: {in_tests:.0f} s in tests, {of_run:.0f} s in servers of the whole run; the dearest files:"
