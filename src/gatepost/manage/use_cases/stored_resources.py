"""The resources of a gateway as they are stored: opened for one use, and parsed once for each version.

For any thread: what is known is immutable and swapped whole, and a store is opened by whoever needs one.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from gatepost.manage.use_cases.refusal import RefusalKind, refusing
from gatepost.store.interface import StoreFailure

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from gatepost.policy.connectors.directory import Directory
    from gatepost.policy.connectors.resources import PrefixLimits
    from gatepost.store.changes import ConfigStore
    from gatepost.store.storage import Storage


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
