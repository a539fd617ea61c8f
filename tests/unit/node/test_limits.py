"""Limits that a worker has of the settings and shares with others."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from gatepost.node.limits import sending_limits

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("position", "moments"),
    [
        ((0, 1), [1001.0, 1004.0, 1007.0]),  # the site has seen one worker yet, and the node has three
        ((3, 4), [1003.0, 1007.0, 1011.0]),
    ],
)
def test_a_worker_of_three_never_has_the_whole_of_a_limit(
    tmp_path: Path, position: tuple[int, int], moments: list[float]
) -> None:
    store = cast("Any", SimpleNamespace(position=position))
    limits, _ = sending_limits(tmp_path, store, (2, 3))
    assert [limits.reserve("slow", 1.0, 1000.5) for _ in moments] == moments
