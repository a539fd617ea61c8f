"""Counts of failed SMTP log-ins that the workers of a node share, so that several do not give several times the tries.

Made by `node.roles` for `mail.inbound.login`. They are kept while the gateway runs, and by digests alone: people type
passwords where a name is asked for. A worker that is started again finds them as they were.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Final

from gatepost.store.failures import LISTS, FailureLists
from gatepost.store.interface import StoreFailure
from gatepost.store.worker_rows import NAME_OCTETS, WorkerRows

FAILURES_FILE: Final = "failed-logins"
"""Beside the figures of the workers; removed at each start, as the times in it are of a clock that begins anew."""

_KEY: Final = bytes(NAME_OCTETS - 1) + b"k"  # the name of the row that has the key of the digests
_VALUES: Final = "dQ"  # when it failed last, and how often


class NodeFailures:
    """Implements `store.failures.FailureCounts`. clock: seconds, never back, the same in all processes.

    Strangers choose the names, so digests have a key: nobody can choose names that push out another's. Raises OSError.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._rows = WorkerRows(path, _VALUES)
        self._lists: dict[str, _List] = {}

    @contextmanager
    def counting(self) -> Iterator[FailureLists]:
        """See `FailureCounts`. Not for who is counting already. Raises StoreFailure, as where the disk is full."""
        try:
            with self._rows.locked():
                yield FailureLists(self._clock, self._of)
        except OSError as failure:
            raise StoreFailure(f"failed log-ins cannot be counted: {failure.strerror}") from failure

    def _of(self, name: str) -> _List:
        if not self._lists:
            key = self._key()
            self._lists = {known: _List(self._rows, number, key) for number, known in enumerate(LISTS, 1)}
        return self._lists[name]

    def _key(self) -> int:
        """That of the file: who is first makes it."""
        place, values = self._rows.find(_KEY)
        if values is not None:
            return int(values[1])
        key = secrets.randbits(64)
        self._rows.keep(place, _KEY, 0.0, key)
        return key

    def close(self) -> None:
        """Let go of the file."""
        self._rows.close()


class _List:
    """Implements `policy.logins.throttle.Failures`. The row of a key that is no more has a count of 0."""

    def __init__(self, rows: WorkerRows, number: int, key: int) -> None:
        self._rows = rows
        self._number = number
        self._key = key.to_bytes(8)

    def get(self, key: str, default: tuple[int, float], /) -> tuple[int, float]:
        _, values = self._rows.find(self._digest(key), self._number)
        return default if values is None or not values[1] else (values[1], values[0])

    def pop(self, key: str, default: tuple[int, float], /) -> tuple[int, float]:
        before = self.get(key, default)
        if before != default:
            self[key] = 0, 0.0
        return before

    def __setitem__(self, key: str, value: tuple[int, float]) -> None:
        count, last = value
        name = self._digest(key)
        place, _ = self._rows.find(name, self._number)
        self._rows.keep(place, name, last, count)

    def _digest(self, key: str) -> bytes:
        octets = key.encode("utf-8", "surrogatepass")
        return blake2b(octets, digest_size=NAME_OCTETS, key=self._key).digest()
