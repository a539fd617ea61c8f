"""Bound work that asks the world and takes long: so much at a time in this process, and less of one user or token."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from threading import Condition
from typing import TYPE_CHECKING

from gatepost.manage.use_cases.refusal import Busy

if TYPE_CHECKING:
    from collections.abc import Iterator


class ConcurrencyLimit:
    """Of one process, for any thread. total: of all. per_key: of one user or token. busy: what a refusal says.

    A subclass with `__init__(settings)` is what `Context.kept` gives.
    """

    def __init__(self, total: int, per_key: int, busy: str) -> None:
        self._total = total
        self._per_key = per_key
        self._busy = busy
        self._taken: Counter[str] = Counter()
        self._changed = Condition()

    @contextmanager
    def slot(self, key: str, patience: float = 0.0) -> Iterator[None]:
        """Within it work may be done. patience: seconds to wait for it. Raises Busy if there is none by then."""
        self.take(key, patience)
        try:
            yield
        finally:
            self.release(key)

    def take(self, key: str, patience: float = 0.0) -> None:
        """For work that ends elsewhere, where it must be released. Raises as `slot`."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._is_free(key), patience):
                raise Busy(self._busy)
            self._taken[key] += 1

    def release(self, key: str) -> None:
        """Let others have it."""
        with self._changed:
            self._taken -= Counter({key: 1})  # which forgets keys at 0
            self._changed.notify_all()

    def _is_free(self, key: str) -> bool:
        return self._taken.total() < self._total and self._taken[key] < self._per_key
