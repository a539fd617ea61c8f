"""Start a task: keeps a reference to it and reports its failure."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Coroutine


_log = logging.getLogger(__name__)
_running: set[asyncio.Task[Any]] = set()


def spawn[T](work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
    """Run `work` as a task of the running loop. An exception that no caller awaits is logged under `name`."""
    task = asyncio.get_running_loop().create_task(work, name=name)
    _running.add(task)
    task.add_done_callback(_ended)
    return task


def _ended(task: asyncio.Task[Any]) -> None:
    _running.discard(task)
    if not task.cancelled() and (failure := task.exception()) is not None:
        _log.error("task %s failed", task.get_name(), exc_info=failure)
