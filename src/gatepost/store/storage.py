"""The one door to everything stored: which engine it is, where its files and tables are.

Nothing outside `store` names a file of the data directory, imports a library of a database, or asks which engine there
is. What a node keeps for itself (caches, local mailboxes, work files) has its place in the data directory here too.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from gatepost.settings.store_url import SQLITE
from gatepost.store.changes import CONFIGURATION, ConfigStore, ConfigStores
from gatepost.store.failures import FailuresInMemory
from gatepost.store.interface import StoreFailure
from gatepost.store.sqlite.database import SqliteDatabase

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gatepost.settings.model import Settings
    from gatepost.store.database import Database, Schema
    from gatepost.store.failures import FailureCounts


class Storage:
    """What is stored of one gateway. Opening it is cheap: files and connections come with their use."""

    @classmethod
    def of(cls, settings: Settings) -> Storage:
        """That of a gateway."""
        return cls(settings.store.url, Path(settings.server.data_dir))

    def __init__(self, url: str, directory: Path) -> None:
        """url: of `[store]`. directory: the data directory."""
        self._url = url
        self._directory = directory

    @property
    def is_shared(self) -> bool:
        """Whether several nodes use it: then what is of the site is done by one of them, by lease."""
        return self._url != SQLITE

    def database(self, schema: Schema) -> Database:
        """The tables of a schema, made or brought up to date if need be. Raises StoreFailure."""
        if not self.is_shared:
            return SqliteDatabase(self._directory, schema)
        with _needing_asyncpg():
            from gatepost.store.postgres.database import PostgresDatabase  # noqa: PLC0415 - one engine is loaded
        return PostgresDatabase(self._url, schema)

    def configuration(self) -> ConfigStore:
        """The configuration with its history and contents, to be closed. Raises StoreFailure."""
        if not self.is_shared:
            return ConfigStore(self._directory / CONFIGURATION.file)
        with _needing_asyncpg():
            from gatepost.store.postgres.configuration import COPY_FILE, SharedConfig  # noqa: PLC0415 - as above
        return ConfigStore(self._directory / COPY_FILE, SharedConfig(self._url, self._directory))

    def configurations(self) -> ConfigStores:
        """The same for many uses at a time, by the threads of a process."""
        if not self.is_shared:
            return ConfigStores(self._directory / CONFIGURATION.file, self.configuration)
        with _needing_asyncpg():
            from gatepost.store.postgres.configuration import COPY_FILE  # noqa: PLC0415 - as above
        return ConfigStores(self._directory / COPY_FILE, self.configuration)

    def login_failures(self, ticks: Callable[[], float]) -> FailureCounts:
        """Where failed log-ins of users are counted. ticks: seconds that never go back. Raises StoreFailure."""
        if not self.is_shared:
            return FailuresInMemory(ticks)
        with _needing_asyncpg():
            from gatepost.store.postgres.failures import SharedFailures  # noqa: PLC0415 - as above
        return SharedFailures(self._url)

    def disconnect(self) -> None:
        """End the threads and connections of this process, as before it forks; what comes after makes new ones."""
        if self.is_shared:
            with _needing_asyncpg():
                from gatepost.store.postgres.server import Server  # noqa: PLC0415 - as above
            Server.of(self._url).close()


@contextlib.contextmanager
def _needing_asyncpg() -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise StoreFailure("store.url: PostgreSQL needs the package asyncpg: install gatepost[postgres]") from error
