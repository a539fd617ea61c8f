"""Start tasks, keep a reference to each and report its failure; end them; run one at a time, or share one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Hashable
from typing import Any

_LOOKS = 20  # at tasks that are to end, each after a turn of the loop at least

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


async def end_tasks(tasks: set[asyncio.Task[Any]], seconds: float) -> set[asyncio.Task[Any]]:
    """Cancel tasks, and return those that go on after `seconds`.

    They are seconds in which the loop runs: a process that stood still, or got no CPU, has not used them up.
    """
    for task in tasks:
        task.cancel()
    for _ in range(_LOOKS):
        if tasks:
            _, tasks = await asyncio.wait(tasks, timeout=seconds / _LOOKS)
    return tasks


class SingleTask:
    """Work of which no two pieces are under way at a time. task: the last that began, None before the first."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.task: asyncio.Task[Any] | None = None

    @property
    def is_running(self) -> bool:
        """Whether a piece is under way."""
        return self.task is not None and not self.task.done()

    def begin[**P](self, work: Callable[P, Coroutine[Any, Any, Any]], *args: P.args, **kwargs: P.kwargs) -> None:
        """Begin a piece, unless the one before has not ended. What it raises is logged under the name."""
        if not self.is_running:
            self.task = spawn(work(*args, **kwargs), self._name)

    def cancel(self) -> None:
        """Stop what is under way, without waiting for its end."""
        if self.task is not None:
            self.task.cancel()

    async def ended(self) -> None:
        """Wait for the end of what is under way, however it ends."""
        if self.task is not None:
            await asyncio.wait([self.task])


class Shared[Key: "Hashable", Value]:
    """Work under way, by key."""

    def __init__(self) -> None:
        self._running: dict[Key, asyncio.Task[Value]] = {}

    async def result(self, key: Key, work: Callable[[], Coroutine[Any, Any, Value]], name: str) -> Value:
        """The result of `work`, or of the same work that is under way already.

        Giving up waiting does not stop it: the next to ask may find it done. Failures must be values: an exception is
        logged under `name` as a fault.
        """
        task = self._running.get(key)
        if task is None:
            task = spawn(work(), name)
            self._running[key] = task
            task.add_done_callback(lambda _: self._running.pop(key, None))
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Stop all work; callers that wait for it are cancelled."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
