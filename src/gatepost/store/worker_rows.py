"""Rows in a small file that all workers of a node map, each found by the digest of its name.

Used by `mail.queue.shared_limits` and `store.node_failures`. Nothing there is awaited: a lock is held for microseconds.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


NAME_OCTETS: Final = 8
"""Of the digest that stands for a name."""

_ROWS: Final = 8192  # in each table
_TRIED: Final = 32  # rows in which one may stand


class WorkerRows:
    """path: of the file, made if there is none. values: of a row, as `struct` has them; the first says how old it is.

    tables: that are in the file, apart from each other. Raises OSError. A process must open a file once: POSIX drops
    all its locks when a process closes it.
    """

    def __init__(self, path: Path, values: str, tables: int = 1) -> None:
        self._row = struct.Struct(f"={NAME_OCTETS}s{values}")
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        size = tables * _ROWS * self._row.size
        os.ftruncate(self.descriptor, size)
        self._memory = mmap.mmap(self.descriptor, size)

    def find(self, name: bytes, table: int = 0) -> tuple[int, tuple[Any, ...] | None]:
        """Where the row of a name stands, and its values; for a new one the place of the oldest that it may take, None.

        Called while it is `locked`, and so is `keep`.
        """
        first = int.from_bytes(name) % _ROWS
        places = [(table * _ROWS + (first + step) % _ROWS) * self._row.size for step in range(_TRIED)]
        rows = [(place, *self._row.unpack_from(self._memory, place)) for place in places]
        for place, known, *values in rows:
            if known == name:
                return place, tuple(values)
        place, *_ = min(rows, key=lambda row: row[2])
        return place, None

    def keep(self, place: int, name: bytes, *values: float) -> None:
        """Write a row."""
        self._row.pack_into(self._memory, place, name, *values)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """No other process reads or writes a row meanwhile. Not for one that holds it already."""
        fcntl.lockf(self.descriptor, fcntl.LOCK_EX, 1, 0)
        try:
            yield
        finally:
            fcntl.lockf(self.descriptor, fcntl.LOCK_UN, 1, 0)

    def close(self) -> None:
        """Give back everything."""
        self._memory.close()
        os.close(self.descriptor)
