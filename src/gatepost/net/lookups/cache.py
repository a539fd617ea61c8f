"""A bounded cache of answers, each until it expires. Used by all of `lookups`; independent of its values."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable


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
