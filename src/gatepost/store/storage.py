"""The one door to everything stored: which engine it is, where its files and tables are.

Nothing outside `store` names a file of the data directory, imports a library of a database, or asks which engine there
is. What a node keeps for itself (caches, local mailboxes, work files) has its place in the data directory here too.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gatepost.settings.store_url import SQLITE
from gatepost.store.destinations import DESTINATIONS_FILE, DestinationFile, DestinationStore
from gatepost.store.documents import DOCUMENTS, DocumentFiles, DocumentTable
from gatepost.store.interface import StoreFailure
from gatepost.store.leases import FixedLeases, SharedLeases
from gatepost.store.nodes import NodeRegistry
from gatepost.store.received_reports import RECEIVED, ReceivedReports
from gatepost.store.sent_reports import SENT, SentReports
from gatepost.store.session_counts import SESSIONS_DIRECTORY, SessionFiles
from gatepost.store.session_tables import SESSIONS, SessionTables
from gatepost.store.shared_destinations import HISTORY, DestinationTable, SharedDestinations
from gatepost.store.site_tables import SITE, STATEMENT_SECONDS
from gatepost.store.sqlite.database import SqliteDatabase

if TYPE_CHECKING:
    from gatepost.settings.model import Settings
    from gatepost.store.database import Database, Schema
    from gatepost.store.destinations import Destinations, WorkerDestinations
    from gatepost.store.documents import Documents
    from gatepost.store.leases import DutyLeases
    from gatepost.store.session_counts import SessionCounts


class Storage:
    """The store of one gateway. Opening it is cheap: files and connections come with their use."""

    @classmethod
    def of(cls, settings: Settings) -> Storage:
        """The store of a gateway."""
        return cls(settings.store.url, Path(settings.server.data_dir))

    def __init__(self, url: str, directory: Path) -> None:
        """url: of `[store]`. directory: the data directory."""
        self._url = url
        self._directory = directory

    @property
    def is_shared(self) -> bool:
        """Whether several nodes use it: then what is of the site is done by one of them, by lease."""
        return self._url != SQLITE

    def leases(self, node: str, worker: int) -> DutyLeases:
        """DutyLeases of what runs once for the site, as a worker of a node sees them."""
        if not self.is_shared:
            return FixedLeases(held=worker == 0)
        return SharedLeases(self._site, node, worker)

    def nodes(self) -> NodeRegistry:
        """The nodes of the site."""
        return NodeRegistry(self._site)

    def session_counts(self) -> SessionCounts:
        """Counts of TLS sessions, for reports to others."""
        if not self.is_shared:
            return SessionFiles(self._directory / SESSIONS_DIRECTORY)
        return SessionTables(lambda: self.database(SESSIONS))

    def sent_reports(self) -> SentReports:
        """TLS reports of ours."""
        return SentReports(lambda: self.database(SENT))

    def received_reports(self) -> ReceivedReports:
        """TLS reports of others."""
        return ReceivedReports(lambda: self.database(RECEIVED))

    def destinations(self) -> Destinations:
        """The history of destinations, for who lists and changes it. Raises StoreFailure."""
        if not self.is_shared:
            return DestinationFile(self._directory / DESTINATIONS_FILE)
        return DestinationTable(lambda: self.database(HISTORY))

    def worker_destinations(self) -> WorkerDestinations:
        """The same for a worker's event loop."""
        if not self.is_shared:
            return DestinationStore(self._directory / DESTINATIONS_FILE)
        return SharedDestinations(DestinationTable(lambda: self.database(HISTORY)))

    def documents(self, *folder: str) -> Documents:
        """Small documents by name, of results that lists show. folder: its path, each a plain name."""
        if not self.is_shared:
            return DocumentFiles(self._directory.joinpath(*folder))
        return DocumentTable(lambda: self.database(DOCUMENTS), "/".join(folder))

    def disconnect(self) -> None:
        """End this process's connections, as before a fork."""
        if self.is_shared:
            from gatepost.store.postgres.server import close_all  # noqa: PLC0415 - one engine is loaded

            close_all()

    def database(self, schema: Schema, *, synchronous: str = "FULL", statement: float = 30.0) -> Database:
        """The tables of a schema, made or brought up to date if need be. Raises StoreFailure.

        synchronous: of SQLite; "NORMAL" where a power cut may cost the last second. statement: seconds that one may
        take in PostgreSQL.
        """
        if not self.is_shared:
            return SqliteDatabase(self._directory, schema, synchronous=synchronous)
        try:
            from gatepost.store.postgres.database import PostgresDatabase  # noqa: PLC0415 - one engine is loaded
        except ImportError as error:
            raise StoreFailure("store.url: PostgreSQL needs the package asyncpg: install gatepost[postgres]") from error
        return PostgresDatabase(self._url, schema, statement=statement)

    def _site(self) -> Database:
        """Nodes and leases."""
        return self.database(SITE, synchronous="NORMAL", statement=STATEMENT_SECONDS)
