"""Rows in a small file that all workers of a node share, each found by the digest of its name.

Used by `mail.queue.shared_limits` and `store.node_failures`. Nothing there is awaited: a lock is held for microseconds,
and the file stays in the kernel's memory. It is not mapped: on a full disk a process that writes into a part of a map
that has no room yet is killed, where a write fails.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

NAME_OCTETS: Final = 8
"""Of the digest that stands for a name."""

_ROWS: Final = 8192  # in each table
_TRIED: Final = 32  # rows in which one may stand


class WorkerRows:
    """path: of the file, made if there is none. values: of a row, as `struct` has them; the first says how old it is.

    A table in the file is apart from the others. Raises OSError. A process must open a file once: POSIX drops all its
    locks when a process closes it.
    """

    def __init__(self, path: Path, values: str) -> None:
        self._row = struct.Struct(f"={NAME_OCTETS}s{values}")
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

    def find(self, name: bytes, table: int = 0) -> tuple[int, tuple[Any, ...] | None]:
        """Where the row of a name stands, and its values; for a new one the place of the oldest that it may take, None.

        Called while it is `locked`, and so is `keep`. Raises OSError.
        """
        first = int.from_bytes(name) % _ROWS
        rows = list(self._row.iter_unpack(self._read(table, first)))
        step = next((step for step, row in enumerate(rows) if row[0] == name), None)
        if step is not None:
            return self._place(table, first + step), rows[step][1:]
        oldest = min(range(len(rows)), key=lambda step: rows[step][1])
        return self._place(table, first + oldest), None

    def keep(self, place: int, name: bytes, *values: float) -> None:
        """Write a row. Raises OSError, as of a full disk."""
        os.pwrite(self.descriptor, self._row.pack(name, *values), place)

    def _place(self, table: int, number: int) -> int:
        return (table * _ROWS + number % _ROWS) * self._row.size

    def _read(self, table: int, first: int) -> bytes:
        """The rows in which one may stand; what was never written is empty."""
        before_end = min(_TRIED, _ROWS - first)
        parts = ((first, before_end), (0, _TRIED - before_end))
        octets = [(self._place(table, number), count * self._row.size) for number, count in parts if count]
        return b"".join(os.pread(self.descriptor, size, place).ljust(size, b"\0") for place, size in octets)

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
        os.close(self.descriptor)
