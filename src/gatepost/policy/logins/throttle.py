"""Throttle failed logins: beyond a few failures each makes the next wait longer.

Used by `mail.inbound.login` for mailboxes and by `manage.access.login_rate_limiter` for users, once by the client's
address and once by the name it tries. An attempt is charged before it is known how it ends, so that many at once gain
nothing, and forgiven if it was right.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

_FIRST_WAIT = 10.0
_FORGOTTEN_AFTER = 3600.0
_DOUBLINGS = 20
_NONE = (0, 0.0)


class Failures(Protocol):
    """By key: how many, and when the last one was. There is a limit of keys: the one that failed longest ago goes."""

    def get(self, key: str, default: tuple[int, float], /) -> tuple[int, float]:
        """Those of a key."""

    def pop(self, key: str, default: tuple[int, float], /) -> tuple[int, float]:
        """Forget those of a key."""

    def __setitem__(self, key: str, value: tuple[int, float], /) -> None: ...


class FailuresInMemory(dict[str, tuple[int, float]]):
    """Implements `Failures` for as many keys as `most`."""

    def __init__(self, most: int = 10_000) -> None:
        super().__init__()
        self._most = most

    def __setitem__(self, key: str, value: tuple[int, float]) -> None:
        self.pop(key, None)
        super().__setitem__(key, value)
        if len(self) > self._most:
            del self[next(iter(self))]


class Throttle:
    """Waits by key. free: failures that cost nothing. longest: seconds that one can have to wait at most.

    clock: seconds, never back. failures: kept in memory if none are given.
    """

    __slots__ = ("_clock", "_failures", "_free", "_longest")

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        free: int,
        longest: float,
        failures: Failures | None = None,
    ) -> None:
        self._clock = clock
        self._free = free
        self._longest = longest
        self._failures: Failures = FailuresInMemory() if failures is None else failures

    def wait(self, key: str) -> float:
        """Seconds until an attempt is heard; 0 if it is now."""
        count, last = self._known(key)
        if count <= self._free:
            return 0.0
        pause = min(_FIRST_WAIT * 2.0 ** min(count - self._free - 1, _DOUBLINGS), self._longest)
        return max(0.0, last + pause - self._clock())

    def charge(self, key: str) -> None:
        """An attempt begins; it counts as a failure until it is forgiven."""
        count, _ = self._known(key)
        self._failures[key] = count + 1, self._clock()

    def forgive(self, key: str, *, everything: bool) -> None:
        """The attempt was right: it counts no more. everything: nor do those before it."""
        count, last = self._known(key)
        if everything or count <= 1:
            self._failures.pop(key, _NONE)
        else:
            self._failures[key] = count - 1, last

    def _known(self, key: str) -> tuple[int, float]:
        count, last = self._failures.get(key, _NONE)
        return _NONE if self._clock() - last > _FORGOTTEN_AFTER else (count, last)
