"""The one door to everything stored: which engine it is, where its files and tables are.

Nothing outside `store` names a file of the data directory, imports a library of a database, or asks which engine there
is. What a node keeps for itself (caches, local mailboxes, work files) has its place in the data directory here too.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from gatepost.settings.store_url import SQLITE
from gatepost.store.interface import StoreFailure
from gatepost.store.sqlite.database import SqliteDatabase
from gatepost.store.sqlite.restore import check_whole

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

    from gatepost.settings.model import Settings
    from gatepost.store.database import Database, Schema

_NO_LIBRARY = "store.url: PostgreSQL needs the package asyncpg: install gatepost[postgres]"


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

    def check(self, schemas: Sequence[Schema]) -> None:
        """Check before anything is opened that it can be used, for whoever is to start; changes nothing.

        schemas: all tables that the gateway uses. Raises StoreFailure with what is wrong, where, and what to do;
        StoreBusy where trying again may help.
        """
        if self.is_shared:
            self._postgres().check_server(self._url, schemas)
        else:
            check_whole(self._directory)

    def prepare(self, schemas: Sequence[Schema]) -> dict[str, int | None]:
        """Make tables of PostgreSQL, or bring them up to date; returns their versions of before, None for no tables.

        Files of SQLite are made by who opens them: {}. Raises as `check`.
        """
        return self._postgres().prepare_server(self._url, schemas).tables if self.is_shared else {}

    def server_state(self, schemas: Sequence[Schema]) -> dict[str, Any]:
        """Version, role, TLS and tables of the PostgreSQL server, for people and programs. Raises as `check`."""
        return dict(self._postgres().check_server(self._url, schemas)._asdict())

    @staticmethod
    def _postgres() -> ModuleType:
        try:
            from gatepost.store.postgres import check  # noqa: PLC0415 - one engine is loaded
        except ImportError as error:
            raise StoreFailure(_NO_LIBRARY) from error
        return check

    def database(self, schema: Schema) -> Database:
        """The tables of a schema, made or brought up to date if need be. Raises StoreFailure."""
        if not self.is_shared:
            return SqliteDatabase(self._directory, schema)
        try:
            from gatepost.store.postgres.database import PostgresDatabase  # noqa: PLC0415 - one engine is loaded
        except ImportError as error:
            raise StoreFailure(_NO_LIBRARY) from error
        return PostgresDatabase(self._url, schema)
