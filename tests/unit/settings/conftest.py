from __future__ import annotations

from collections.abc import Iterator

import pytest

from gatepost.language import in_language
from gatepost.sentences import ours
from gatepost.settings import environment, loader
from gatepost.settings.problem import SettingsProblem


@pytest.fixture(autouse=True)
def translated(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever a test finds wrong with settings can be said in every language."""
    problems: list[SettingsProblem] = []

    def problem(place: str, message: str, key: str = "") -> SettingsProblem:
        problems.append(SettingsProblem(place, message, key))
        return problems[-1]

    for module in (environment, loader):
        monkeypatch.setattr(module, "SettingsProblem", problem)
    yield
    messages = {problem.message for problem in problems}
    english = {language: untranslated(language, messages) for language in ("sv", "de")}
    assert english == {"sv": [], "de": []}


def untranslated(language: str, messages: set[str]) -> list[str]:
    with in_language(language):
        return [message for message in messages if ours(message) == message]
