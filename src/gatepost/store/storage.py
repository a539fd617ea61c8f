"""The one door to everything stored: which engine it is, where its files and tables are.

Nothing outside `store` names a file of the data directory, imports a library of a database, or asks which engine there
is. What a node keeps for itself (caches, local mailboxes, work files) has its place in the data directory here too.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gatepost.settings.store_url import SQLITE
from gatepost.store.interface import StoreFailure
from gatepost.store.sqlite.database import SqliteDatabase
from gatepost.store.sqlite.schema import QUEUE_DIRECTORY, TRACE_DIRECTORY

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gatepost.mail.model.trace_event import TraceEvent
    from gatepost.settings.model import Settings
    from gatepost.store.database import Database, Schema
    from gatepost.store.interface import EventSink, Store
    from gatepost.store.queue_admin import QueueAdmin


_NO_POSTGRES = "store.url: PostgreSQL needs the package asyncpg: install gatepost[postgres]"


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
        try:
            from gatepost.store.postgres.database import PostgresDatabase  # noqa: PLC0415 - one engine is loaded
        except ImportError as error:
            raise StoreFailure(_NO_POSTGRES) from error
        return PostgresDatabase(self._url, schema)

    async def queues(
        self, settings: Settings, place: tuple[int, int], evidence: Callable[[int], EventSink | None]
    ) -> list[Store]:
        """Open the queue of one worker, on its event loop; the first is for its own mail. Raises StoreFailure.

        place: its number, from 0, and how many workers the node has. evidence: makes the writer of the evidence log of
        a worker, None if there is to be no such log.
        """
        if not self.is_shared:
            from gatepost.store.sqlite.shards import open_shards  # noqa: PLC0415 - one engine is loaded

            return [*await open_shards(self._directory, settings, place, evidence)]
        try:
            from gatepost.store.postgres.opening import open_queue  # noqa: PLC0415 - as above
        except ImportError as error:
            raise StoreFailure(_NO_POSTGRES) from error
        return [await open_queue(self._url, self._directory, settings, place[0], evidence)]

    def queue_admin(self, evidence: Callable[[Sequence[TraceEvent]], None] = lambda _: None) -> QueueAdmin:
        """The queue for who looks at it or changes it. evidence: keeps what is done; may raise StoreFailure.

        Raises StoreFailure.
        """
        from gatepost.store.sqlite.administration import Administration, trace_writer  # noqa: PLC0415 - not all need it

        if not self.is_shared:
            return Administration(self._directory / QUEUE_DIRECTORY, self._directory / TRACE_DIRECTORY, evidence)
        try:
            from gatepost.store.postgres.queue_admin import PostgresQueueAdmin  # noqa: PLC0415 - one engine is loaded
        except ImportError as error:
            raise StoreFailure(_NO_POSTGRES) from error
        return PostgresQueueAdmin(self._url, trace_writer(self._directory / TRACE_DIRECTORY, evidence))
