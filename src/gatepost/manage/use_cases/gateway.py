"""One gateway on this machine: its settings, what is stored, its resources, and what this process keeps for it.

Made once by a process that answers many (the admin centre), or for one command. For any thread. Everything blocks; call
it on a thread from an event loop.
"""

from __future__ import annotations

from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any

from gatepost.manage.use_cases.stored_resources import StoredResources
from gatepost.store.storage import Storage

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from gatepost.policy.connectors.directory import Directory
    from gatepost.settings.model import Settings
    from gatepost.store.changes import ConfigStore


class Gateway:
    """Names the parts, and holds nothing itself. settings: of the server. data: its directory. storage: all stored."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.data = Path(settings.server.data_dir)
        self.storage = Storage.of(settings)
        self.resources = StoredResources(self.storage, self.data, settings.limits.prefixes())
        self.instances = KeptInstances(settings)

    def config(self) -> AbstractContextManager[ConfigStore]:
        """The configuration store: see `StoredResources`."""
        return self.resources.config()

    def directory(self) -> Directory:
        """The resources in force: see `StoredResources`."""
        return self.resources.directory()

    def kept[T](self, kind: Callable[[Settings], T]) -> T:
        """The one instance of a class in this process: see `KeptInstances`."""
        return self.instances.of(kind)


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
