"""Counts work under way, in all and by key: the one limiter of the admin centre, its calls and log-ins."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from math import inf
from threading import Condition


class Slots:
    """Of one process, for any thread and event loop. total: of all. per_key: of one of them.

    crowded: where so many are taken, one of them gets a slot only while it has fewer than `few`: what is left is for
    others, however many have come together to take all.
    """

    def __init__(self, total: float = inf, per_key: float = inf, *, crowded: float = inf, few: int = 1) -> None:
        self._total = total
        self._per_key = per_key
        self._crowded = crowded
        self._few = few
        self._taken: Counter[str] = Counter()
        self._changed = Condition()  # of an RLock: `acquire` is called with it, too
        self._wakers: list[Callable[[], None]] = []

    def acquire(self, key: str, patience: float = 0.0) -> bool:
        """Whether there is a slot within so many seconds; then it must be released."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._is_free(key), patience):
                return False
            self._taken[key] += 1
            return True

    async def acquire_async(self, key: str, patience: float) -> bool:
        """The same on an event loop, which goes on meanwhile."""
        loop, woken = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            loop.call_soon_threadsafe(woken.set)

        try:
            async with asyncio.timeout(patience):
                while not self._acquire_or_wait(key, wake):
                    await woken.wait()
                    woken.clear()
                return True
        except TimeoutError:
            return False
        finally:
            with self._changed:
                self._wakers = [waker for waker in self._wakers if waker is not wake]

    def release(self, key: str) -> None:
        """Let others have it."""
        with self._changed:
            self._taken -= Counter({key: 1})  # which forgets keys at 0
            self._changed.notify_all()
            wakers, self._wakers = self._wakers, []
        for wake in wakers:
            with suppress(RuntimeError):  # its loop has ended
                wake()

    def _acquire_or_wait(self, key: str, wake: Callable[[], None]) -> bool:
        with self._changed:
            if self.acquire(key):
                return True
            self._wakers.append(wake)
            return False

    def _is_free(self, key: str) -> bool:
        taken = self._taken.total()
        most = self._per_key if taken < self._crowded else min(self._few, self._per_key)
        return taken < self._total and self._taken[key] < most
