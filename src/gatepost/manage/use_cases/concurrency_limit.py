"""Bound work that asks the world and takes long: so much at a time in this process, less of one caller or tenant."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from gatepost.manage.access.slots import Slots
from gatepost.manage.use_cases.refusal import BusyRefusal

if TYPE_CHECKING:
    from collections.abc import Iterator


class ConcurrencyLimit(Slots):
    """Slots of which a refusal says that there is none. busy: what it says.

    A subclass with `__init__(settings)` is what `Context.kept` gives.
    """

    def __init__(self, total: int, per_key: int, busy: str) -> None:
        super().__init__(total, per_key)
        self._busy = busy

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
        if not self.acquire(key, patience):
            raise BusyRefusal(self._busy)
