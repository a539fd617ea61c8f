"""Keep the newest of many values in memory: those that were put in last, so many of them. For any thread.

What expires, or counts by its size, is for `net.lookups.cache`.
"""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock


class Newest[Key, Value]:
    """most: values that are kept; of more the oldest goes."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: OrderedDict[Key, Value] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Key) -> Value | None:
        """The value of a key, None if there is none, or none any more."""
        with self._lock:
            return self._values.get(key)

    def keep(self, key: Key, value: Value) -> None:
        """Keep a value in place of the one before; it is the newest then."""
        with self._lock:
            self._values[key] = value
            self._values.move_to_end(key)
            while len(self._values) > self._most:
                self._values.popitem(last=False)
