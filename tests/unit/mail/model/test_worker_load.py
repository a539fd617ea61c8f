from __future__ import annotations

import pytest

from gatepost.mail.model.worker_load import LEVELS, NORMAL, WorkerLoad
from gatepost.policy.decisions.load import Level


@pytest.mark.parametrize(
    ("load", "text"),
    [
        (WorkerLoad(), ""),
        (WorkerLoad(NORMAL, reason="90% of memory is in use", last=1.0), ""),
        (
            WorkerLoad("busy", 0.75, "the worker is 0.004 s behind"),
            "busy: the worker is 0.004 s behind; unknown clients may do 75% of their limits",
        ),
    ],
)
def test_only_a_level_above_normal_is_told(load: WorkerLoad, text: str) -> None:
    assert load.text == text
    assert load.level in LEVELS


def test_levels_are_those_that_are_decided() -> None:
    """They are written twice: what tells of a load does not import what decides on it."""
    assert tuple(level.label for level in Level) == LEVELS
