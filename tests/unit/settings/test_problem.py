from __future__ import annotations

import pytest

from gatepost.settings.problem import SettingsError, SettingsProblem


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        (SettingsProblem("g.toml:3", "is missing", "server.hostname"), "g.toml:3: server.hostname: is missing"),
        (SettingsProblem("GATEPOST_X", "is none"), "GATEPOST_X: is none"),
        (SettingsProblem("", "no settings file"), "no settings file"),
    ],
)
def test_a_problem_is_said_after_its_place(problem: SettingsProblem, text: str) -> None:
    assert str(problem) == text
    assert problem.where + problem.message == text


def test_an_error_holds_all_problems() -> None:
    problems = [SettingsProblem("a", "one"), SettingsProblem("b", "two")]
    error = SettingsError(problems)
    assert (str(error), error.problems) == ("a: one\nb: two", tuple(problems))
