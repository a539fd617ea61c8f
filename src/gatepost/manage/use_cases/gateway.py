"""One gateway on this machine: its settings, what is stored, its resources, and what this process keeps for it.

Resources are parsed once for each version, and immutable. Made once by a process that answers many (the admin centre),
or for one command. For any thread. Everything blocks; call it on a thread from an event loop.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any

from gatepost.manage.use_cases.refusal import RefusalKind, refusing
from gatepost.store.interface import StoreFailure
from gatepost.store.storage import Storage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from gatepost.policy.connectors.directory import Directory
    from gatepost.policy.connectors.resources import PrefixLimits
    from gatepost.settings.model import Settings
    from gatepost.store.changes import ConfigStore


class StoredResources:
    """data: the data directory, for errors. prefixes: of the settings."""

    def __init__(self, storage: Storage, data: Path, prefixes: PrefixLimits) -> None:
        self._data = data
        self._prefixes = prefixes
        self._stores = storage.configurations()
        self._directory: Directory | None = None

    @contextmanager
    def config(self) -> Iterator[ConfigStore]:
        """The configuration store, for this use alone. Raises Refusal (UNREADABLE) if it cannot be opened or fails."""
        with (
            refusing(RefusalKind.UNREADABLE, StoreFailure, text="{data}: {error}", data=self._data),
            self._stores.store() as store,
        ):
            yield store

    def directory(self) -> Directory:
        """The resources as they are stored, which a running gateway has in force; parsed once for each version.

        Raises Refusal (UNREADABLE) if they cannot be read, or not be used by this version.
        """
        from gatepost.policy.connectors.grants import STORED_KINDS  # noqa: PLC0415 - most commands need no resources

        with self.config() as store:
            known = self._directory
            if known is not None and known.version == store.version():
                return known
            return self.understood(store, *store.load(*STORED_KINDS))

    def understood(self, store: ConfigStore, version: int, document: Mapping[str, Any]) -> Directory:
        """The same of what was just read of the store, with its grants.

        Raises Refusal (UNREADABLE) if it cannot be used by this version.
        """
        from gatepost.policy.connectors.errors import ResourceErrors  # noqa: PLC0415 - most commands need no resources
        from gatepost.store.directory import stored_directory  # noqa: PLC0415 - as above

        known = self._directory
        if known is not None and known.version == version:
            return known
        with refusing(
            RefusalKind.UNREADABLE,
            ResourceErrors,
            text="{data}: the stored resources cannot be used by this version: {error}",
            data=self._data,
        ):
            self._directory = stored_directory(store, version, document, self._prefixes)
        return self._directory


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
