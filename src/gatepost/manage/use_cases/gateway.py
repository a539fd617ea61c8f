"""One gateway as its administrators see it: its settings, its resources, its files. Every function here begins with it.

Made once by a process that answers many (the admin centre), or for one command. May be used by several threads at a
time: what is kept is immutable and swapped whole, and stores are opened by whoever needs one. Everything blocks; call
it on a thread from an event loop.
"""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Any

from gatepost.manage.use_cases.refusal import Kind, Refusal
from gatepost.policy.connectors.errors import ResourceErrors
from gatepost.policy.connectors.grants import STORED_KINDS
from gatepost.store.changes import ConfigStores
from gatepost.store.directory import stored_directory
from gatepost.store.interface import StoreFailure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from gatepost.policy.connectors.directory import Directory
    from gatepost.settings.model import Settings
    from gatepost.store.changes import ConfigStore


class Gateway:
    """settings: of the server. data: its data directory."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.data = Path(settings.server.data_dir)
        self._stores = ConfigStores(self.data / "config.db")
        self._directory: Directory | None = None
        self._kept: dict[Any, Any] = {}
        self._keeping = RLock()  # what is made may need what else is kept

    def kept[T](self, kind: Callable[[Settings], T]) -> T:
        """The one instance of a class in this process, made of the settings on first use."""
        with self._keeping:
            if kind not in self._kept:
                self._kept[kind] = kind(self.settings)
            instance: T = self._kept[kind]
        return instance

    @contextmanager
    def config(self) -> Iterator[ConfigStore]:
        """The configuration store, for this use alone. Raises Refusal (UNREADABLE) if it cannot be opened or fails."""
        try:
            with self._stores.store() as store:
                yield store
        except StoreFailure as failure:
            raise Refusal(Kind.UNREADABLE, f"{self.data}: {failure}") from failure

    def directory(self) -> Directory:
        """The resources as they are stored, which a running gateway has in force; parsed once for each version.

        Raises Refusal (UNREADABLE) if they cannot be read, or not be used by this version.
        """
        with self.config() as store:
            known = self._directory
            if known is not None and known.version == store.version():
                return known
            return self.understood(store, *store.load(*STORED_KINDS))

    def understood(self, store: ConfigStore, version: int, document: Mapping[str, Any]) -> Directory:
        """The same of what was just read of the store, with its grants.

        Raises Refusal (UNREADABLE) if it cannot be used by this version.
        """
        known = self._directory
        if known is not None and known.version == version:
            return known
        try:
            self._directory = stored_directory(store, version, document, self.settings.limits.prefixes())
        except ResourceErrors as errors:
            text = f"{self.data}: the stored resources cannot be used by this version: {errors}"
            raise Refusal(Kind.UNREADABLE, text) from errors
        return self._directory
