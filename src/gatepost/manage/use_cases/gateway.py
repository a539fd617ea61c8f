"""One gateway on this machine: its settings, its data directory, its resources, and what this process keeps for it.

Made once by a process that answers many (the admin centre), or for one command. For any thread. Everything blocks; call
it on a thread from an event loop.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gatepost.manage.use_cases.kept_instances import KeptInstances
from gatepost.manage.use_cases.stored_resources import StoredResources
from gatepost.store.storage import Storage

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from gatepost.policy.connectors.directory import Directory
    from gatepost.settings.model import Settings
    from gatepost.store.changes import ConfigStore


class Gateway:
    """Names the parts, and holds nothing itself. settings: of the server. data: the data directory. storage: of it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.data = Path(settings.server.data_dir)
        self.storage = Storage.of(settings)
        self.resources = StoredResources(self.data, settings.limits.prefixes())
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
