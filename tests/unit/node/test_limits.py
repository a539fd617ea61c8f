"""Limits that a worker has of the settings and shares with others."""

from __future__ import annotations

import inspect
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gatepost.analysis.alarms.mail_flow import MailLimits
from gatepost.mail.inbound.quarantine import QuarantineLimits
from gatepost.mail.inbound.service import SessionLimits
from gatepost.mail.queue.memory_budget import QueueLimits
from gatepost.node import limits as module
from gatepost.node.limits import sending_limits
from gatepost.settings.sections import Alarms
from gatepost.settings.store_url import SQLITE
from gatepost.settings.traffic import Limits, Quarantine, Queue


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


@pytest.mark.parametrize(
    ("kind", "section"),
    [(SessionLimits, Limits), (QueueLimits, Queue), (QuarantineLimits, Quarantine), (MailLimits, Alarms)],
)
def test_each_limit_that_is_copied_from_a_section_is_a_setting_there(kind: Any, section: type) -> None:
    assert set(kind.__struct_fields__) <= set(inspect.get_annotations(section))


GB = 1 << 30


@pytest.mark.parametrize(
    ("free_space", "disk", "mark"),
    [(GB // 8, GB // 3, GB // 8), (GB // 8, 1000 * GB, 10 * GB), (20 * GB, 1000 * GB, 20 * GB), (0, 1000 * GB, 0)],
    ids=["tiny", "huge", "what was set is more", "without a mark"],
)
def test_what_organizations_leave_to_each_other_grows_with_the_disk(
    monkeypatch: pytest.MonkeyPatch, free_space: int, disk: int, mark: int
) -> None:
    monkeypatch.setattr("os.statvfs", lambda _: SimpleNamespace(f_blocks=disk // 4096, f_frsize=4096))
    settings: Any = SimpleNamespace(
        store=SimpleNamespace(free_space=free_space, url=SQLITE), server=SimpleNamespace(data_dir="/data")
    )
    assert module._shared_mark(settings) // GB == mark // GB
    assert (module._shared_mark(settings) == free_space) is (mark == free_space)
    settings.store.url = "postgresql://gatepost@db1/mail"  # whose disk is another one
    assert module._shared_mark(settings) == free_space


def test_a_disk_whose_size_is_not_known_has_the_mark_that_was_set() -> None:
    settings: Any = SimpleNamespace(
        store=SimpleNamespace(free_space=5, url=SQLITE), server=SimpleNamespace(data_dir="/does/not/exist")
    )
    assert module._shared_mark(settings) == 5
