"""Share one run of a task among all who wait for it. Used by the fetchers of `lookups`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from gatepost.net.tasks import spawn

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable


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
