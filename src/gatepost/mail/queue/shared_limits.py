"""Share the limits of connectors among the workers of a node, or divide them where nodes share a queue.

`NodeLimits` keeps the next free moment of each limit in a small file that all workers map, and connections as locks on
its octets: the kernel gives back what a killed worker held. Nothing there is awaited: a lock is held for microseconds.
`DividedLimits` needs nobody else: each process has its part of the connections, and its own moments of every minute.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from contextlib import contextmanager
from hashlib import blake2b
from math import ceil
from typing import TYPE_CHECKING, Final

from gatepost.mail.queue.allowance import AHEAD
from gatepost.mail.queue.lane_budget import share

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


LIMITS_FILE = "sending-limits"
"""Beside the figures of the workers."""

_ROW: Final = struct.Struct("=8sd")  # digest of the name of a limit, and the next free moment
_ROWS: Final = 8192
_TRIED: Final = 32  # rows in which a limit may stand
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
        if len(self._next) >= _ROWS:
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

    A process must open it once: POSIX drops all locks of a file when a process closes it.
    """

    def __init__(self, path: Path, index: int, workers: int) -> None:
        super().__init__()
        self._index = index
        self._workers = workers
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        os.ftruncate(self._descriptor, _ROWS * _ROW.size)
        self._rows = mmap.mmap(self._descriptor, _ROWS * _ROW.size)

    def reserve(self, key: str, interval: float, now: float) -> float:
        """See `SharedLimits.reserve`. Survives the process: a restart does not begin a new minute."""
        name = _digest(key)
        with self._locked():
            place, free = self._find(name, now)
            at = max(now, free) if free - now <= AHEAD * interval else now
            _ROW.pack_into(self._rows, place, name, at + interval)
        return at

    def take(self, key: str, most: int) -> int | None:
        """See `SharedLimits.take`: a part for each worker, or turns where there are more workers."""
        if self.is_scarce(most):
            return self._first(key, most, lambda place: self._lock(_offset(key, place)))
        return self._first(key, share(most, self._index, self._workers))

    def give(self, key: str, place: int) -> None:
        """See `SharedLimits.give`."""
        fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, _offset(key, place))
        super().give(key, place)

    def is_scarce(self, most: int) -> bool:
        """See `SharedLimits.is_scarce`."""
        return most < self._workers

    def close(self) -> None:
        """Give back everything."""
        self._rows.close()
        os.close(self._descriptor)

    def _lock(self, offset: int) -> bool:
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, offset)
        except OSError:
            return False
        return True

    def _find(self, name: bytes, now: float) -> tuple[int, float]:
        """Where a limit stands, and its next free moment; the place of one that nobody waits for, if it is new."""
        first = int.from_bytes(name) % _ROWS
        places = [(first + step) % _ROWS * _ROW.size for step in range(_TRIED)]
        rows = [(place, *_ROW.unpack_from(self._rows, place)) for place in places]
        for place, known, free in rows:
            if known == name:
                return place, free
        place, _, _ = min(rows, key=lambda row: row[2])
        return place, now

    @contextmanager
    def _locked(self) -> Iterator[None]:
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX, 1, 0)
        try:
            yield
        finally:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, 0)


def _digest(key: str) -> bytes:
    return blake2b(key.encode(), digest_size=8).digest()


def _offset(key: str, place: int) -> int:
    """The octet that stands for a connection of a limit."""
    return _PLACES + int.from_bytes(_digest(key)[:5]) * _MOST + place
