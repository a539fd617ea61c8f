"""One instance of each kind that use cases keep in a process: caches, limits, jobs. For any thread."""

from __future__ import annotations

from threading import RLock
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost.settings.model import Settings


class KeptInstances:
    """settings: what each is made of."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._made: dict[Any, Any] = {}
        self._making = RLock()  # what is made may need what else is kept

    def of[T](self, kind: Callable[[Settings], T]) -> T:
        """The one instance of what `kind`, a class or a function of a module, makes of the settings; on first use."""
        with self._making:
            if kind not in self._made:
                self._made[kind] = kind(self._settings)
            instance: T = self._made[kind]
        return instance
