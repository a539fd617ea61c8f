"""A bounded cache of answers, each until it expires. Used by all of `lookups`; independent of its values.

Files that survive a restart lie in a bounded folder that all workers share: `net.lookups.mtasts_cache` and
`net.lookups.revocation_lists` know what they hold. What reads and writes them blocks: call it in a thread.
"""

from __future__ import annotations

import os
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Hashable
from contextlib import suppress
from pathlib import Path


def replace_file(path: Path, content: bytes, *, used: float | None = None) -> None:
    """Put `content` in place of the file, or leave the one that is there. Raises OSError.

    used: seconds since 1970 UTC that become its time of change, None for now. Only the owner may read it, and enter the
    folder if that is made here.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".new-", delete=False) as file:
        half = Path(file.name)
        try:
            file.write(content)
            file.flush()
            if used is not None:
                os.utime(file.fileno(), (used, used))
            os.fsync(file.fileno())  # or a power failure may leave an empty file in place of a good one
            half.replace(path)
        except OSError:
            half.unlink(missing_ok=True)  # on a full disk each try would leave its part
            raise


def make_room(folder: Path, *, files: int, octets: int) -> int:
    """Remove what was changed longest ago until the folder is within these bounds; how many were removed.

    Raises OSError if it cannot be read.
    """
    entries = []
    for path in folder.iterdir():
        with suppress(OSError):  # another worker may have removed it
            state = path.stat()
            entries.append((state.st_mtime, state.st_size, path))
    total = removed = 0
    for number, (_, size, path) in enumerate(sorted(entries, reverse=True)):
        total += size
        if total > octets or number >= files:
            path.unlink(missing_ok=True)
            removed += 1
    return removed


class Cache[Key: "Hashable", Value]:
    """Least recently used values leave first, so that what strangers make us look up cannot grow without bound.

    capacity: the sum of all costs that is kept. clock: seconds, never going back. share: what costs more than this part
    of the capacity is not kept.
    """

    def __init__(self, capacity: int, clock: Callable[[], float], *, share: int = 100) -> None:
        self._capacity = capacity
        self._share = share
        self._clock = clock
        self._held = 0
        self._entries: OrderedDict[Key, tuple[Value, float, int]] = OrderedDict()

    def get(self, key: Key) -> Value | None:
        """The value of `key`, None if there is none or its time is over."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        value, expires, _ = entry
        if expires <= self._clock():
            self.drop(key)
            return None
        self._entries.move_to_end(key)
        return value

    def put(self, key: Key, value: Value, seconds: float, cost: int) -> None:
        """Keep `value` for `seconds`. What costs more than its share of the capacity, or 0 seconds, is not kept."""
        self.drop(key)
        if seconds <= 0 or cost * self._share > self._capacity:
            return
        self._entries[key] = (value, self._clock() + seconds, cost)
        self._held += cost
        while self._held > self._capacity:
            self.drop(next(iter(self._entries)))

    def drop(self, key: Key) -> None:
        """Forget `key`."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._held -= entry[2]

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._held = 0

    def __len__(self) -> int:
        return len(self._entries)
