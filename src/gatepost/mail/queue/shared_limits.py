"""Share the limits of connectors among the workers of a node, or divide them where nodes share a queue.

`NodeLimits` keeps the next free moment of each limit in a small file that all workers map, and connections as locks on
its octets: the kernel gives back what a killed worker held. Nothing there is awaited: a lock is held for microseconds.
`DividedLimits` needs nobody else: each process has its part of the connections, and its own moments of every minute.
"""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from hashlib import blake2b
from math import ceil
from pathlib import Path
from typing import Final

from gatepost.mail.queue.allowance import AHEAD
from gatepost.mail.queue.lane_budget import share
from gatepost.store.worker_rows import NAME_OCTETS, WorkerRows

LIMITS_FILE = "sending-limits"
"""Beside the figures of the workers."""

_KNOWN: Final = 8192  # limits whose next moment a process keeps
_PLACES: Final = 1 << 40  # where locks of connections begin, far behind the rows
_MOST: Final = 1024  # octets for the connections of one limit, which are 1000 at most


class _Places:
    """The connections of this process, by limit."""

    def __init__(self) -> None:
        self._taken: dict[str, set[int]] = {}

    def _first(self, key: str, most: int, lock: Callable[[int], bool] = lambda _: True) -> int | None:
        """Take the first of `most` places that is not ours and can be locked."""
        taken = self._taken.get(key, set())
        place = next((number for number in range(most) if number not in taken and lock(number)), None)
        if place is not None:
            self._taken[key] = taken | {place}
        return place

    def give(self, key: str, place: int) -> None:
        """Give a connection back."""
        if left := self._taken.pop(key, set()) - {place}:
            self._taken[key] = left


class DividedLimits(_Places):
    """position: of this process among those that share the queue, and their number."""

    def __init__(self, position: Callable[[], tuple[int, int]]) -> None:
        super().__init__()
        self._position = position
        self._next: dict[str, int] = {}

    def reserve(self, key: str, interval: float, now: float) -> float:
        """See `SharedLimits.reserve`: the moments of a minute go round among the processes."""
        index, count = self._position()
        moment = ceil(now / interval)
        planned = self._next.get(key, 0)
        moment = max(moment, planned) if planned - moment <= AHEAD else moment
        moment += (index - moment) % count
        if len(self._next) >= _KNOWN:
            self._next.clear()
        self._next[key] = moment + 1
        return moment * interval

    def take(self, key: str, most: int) -> int | None:
        """See `SharedLimits.take`: at least one connection, or the mail of this process would wait for ever."""
        return self._first(key, share(most, *self._position()))

    def is_scarce(self, most: int) -> bool:  # noqa: ARG002 - each process has its own
        """See `SharedLimits.is_scarce`."""
        return False


class NodeLimits(_Places):
    """path: of the file, made if there is none. index, workers: of this process. Raises OSError.

    A process must open it once (`store.worker_rows`).
    """

    def __init__(self, path: Path, index: int, workers: int) -> None:
        super().__init__()
        self._index = index
        self._workers = workers
        self._rows = WorkerRows(path, "d")  # the next free moment
        self._unshared: dict[bytes, float] = {}

    def reserve(self, key: str, interval: float, now: float) -> float:
        """See `SharedLimits.reserve`. Survives the process: a restart does not begin a new minute."""
        name = _digest(key)
        with self._rows.locked():
            place, known = self._rows.find(name)
            free: float = known[0] if known is not None else self._unshared.pop(name, now)
            at = max(now, free) if free - now <= AHEAD * interval else now
            try:
                self._rows.keep(place, name, at + interval)
            except OSError:  # the disk is full: until there is room the limit is each worker's own
                self._unshared[name] = at + interval
        return at

    def take(self, key: str, most: int) -> int | None:
        """See `SharedLimits.take`: a part for each worker, or turns where there are more workers."""
        if self.is_scarce(most):
            return self._first(key, most, lambda place: self._lock(_offset(key, place)))
        return self._first(key, share(most, self._index, self._workers))

    def give(self, key: str, place: int) -> None:
        """See `SharedLimits.give`."""
        fcntl.lockf(self._rows.descriptor, fcntl.LOCK_UN, 1, _offset(key, place))
        super().give(key, place)

    def is_scarce(self, most: int) -> bool:
        """See `SharedLimits.is_scarce`."""
        return most < self._workers

    def close(self) -> None:
        """Give back everything."""
        self._rows.close()

    def _lock(self, offset: int) -> bool:
        try:
            fcntl.lockf(self._rows.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, offset)
        except OSError:
            return False
        return True


def _digest(key: str) -> bytes:
    return blake2b(key.encode(), digest_size=NAME_OCTETS).digest()


def _offset(key: str, place: int) -> int:
    """The octet that stands for a connection of a limit."""
    return _PLACES + int.from_bytes(_digest(key)[:5]) * _MOST + place
