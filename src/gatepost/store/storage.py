"""The one door to everything stored: which engine it is, where its files and tables are.

Nothing outside `store` names a file of the data directory, imports a library of a database, or asks which engine there
is. What a node keeps for itself (caches, local mailboxes, work files) has its place in the data directory here too.
"""

from __future__ import annotations

import contextlib
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gatepost.settings.store_url import SQLITE, role_of
from gatepost.store.interface import Database, EventSink, Schema, Store, StoreFailure
from gatepost.store.site_tables import SITE, STATEMENT_SECONDS
from gatepost.store.sqlite.database import SqliteDatabase
from gatepost.store.sqlite.schema import (
    LOCK_FILE,
    QUEUE_DIRECTORY,
    QUEUE_FILE,
    QUEUE_MARK,
    QUEUE_VERSION,
    TRACE_DIRECTORY,
)
from gatepost.store.sqlite.versions import check_not_newer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import ModuleType

    from gatepost.mail.model.trace_event import TraceEvent
    from gatepost.settings.model import Settings
    from gatepost.store.changes import ConfigStore, ConfigStores
    from gatepost.store.destinations import DestinationTable, WorkerDestinations
    from gatepost.store.documents import Documents
    from gatepost.store.evidence_log import Evidence
    from gatepost.store.failures import FailureCounts
    from gatepost.store.leases import DutyLeases
    from gatepost.store.move import MoveSide
    from gatepost.store.nodes import NodeRegistry
    from gatepost.store.quarantine import Quarantine, QuarantineUsage
    from gatepost.store.queue_admin import Depth, QueueAdmin
    from gatepost.store.sending_usage import UsageTable
    from gatepost.store.sent_reports import ReceivedReports, SentReports
    from gatepost.store.session_counts import SessionCounts
    from gatepost.store.srs_keys import Sealing
    from gatepost.store.ticket_secrets import TicketSecrets
    from gatepost.store.trace import Trace

# What is imported only by who uses it, and used by each worker.
_SQLITE_MODULES = (
    "sqlite.queue",
    "sqlite.message_trace",
    "sqlite.administration",
    "sqlite.quarantine",
    "config_requests",
    "evidence_in_files",
    "shared_destinations",
)
_SHARED_MODULES = ("postgres.opening", "postgres.trace", "postgres.evidence")

_NO_LIBRARY = "store.url: PostgreSQL needs the package asyncpg: install gatepost[postgres]"


class Storage:
    """The store of one gateway. Opening it is cheap: files and connections come with their use."""

    @classmethod
    def of(cls, settings: Settings) -> Storage:
        """The store of a gateway."""
        url, server = settings.store.url, settings.server
        node = server.hostname if url == SQLITE else server.node_name
        workers = role_of(settings.store.worker_url)
        return cls(url, Path(server.data_dir), node=node, subjects=settings.trace.subjects, worker_role=workers)

    def __init__(
        self, url: str, directory: Path, *, node: str = "localhost", subjects: bool = True, worker_role: str = ""
    ) -> None:
        """url: of `[store]`. directory: the data directory. node: the name of this node.

        subjects: whether the message trace keeps them. worker_role: of PostgreSQL, that of processes which talk to the
        network; "" if they have that of all others.
        """
        self._worker_role = worker_role
        self._url = url
        self._directory = directory
        self._node = node
        self._subjects = subjects

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
            from gatepost.store.sqlite.restore import check_whole  # noqa: PLC0415 - as above

            check_whole(self._directory)
            self._check_versions(schemas)
            self._check_open()

    def check_standby(self) -> None:
        """With PostgreSQL: raise StoreFailure if no synchronous standby is there to have what is committed."""
        self._postgres().check_standby(self._url)

    def _check_versions(self, schemas: Sequence[Schema]) -> None:
        """Raise StoreFailure if a newer gatepost wrote the data."""
        for schema in schemas:
            if schema.file:
                check_not_newer(self._directory / schema.file, schema.application_id, schema.version)
        for path in sorted(self._directory.glob(f"{QUEUE_DIRECTORY}/*/{QUEUE_FILE}")):
            check_not_newer(path, QUEUE_MARK, QUEUE_VERSION)

    def prepare(self, schemas: Sequence[Schema]) -> dict[str, int | None]:
        """Make tables of PostgreSQL, or bring them up to date; returns their versions of before, None for no tables.

        The role of workers, if there is one, gets its rights.

        Files of SQLite are made by who opens them: {}. Raises as `check`.
        """
        if not self.is_shared:
            return {}
        return dict(self._postgres().prepare_server(self._url, schemas, self._worker_role).tables)

    def check_workers(self) -> None:
        """Raise StoreFailure if the role of workers has not just its rights. Raises as `check`; changes nothing."""
        if self._worker_role:
            self._postgres().check_workers(self._url, self._worker_role)

    def remarks_on_workers(self) -> list[tuple[str, str]]:
        """Doubtful rights and settings of the role of workers, each with what helps. Raises as `check`."""
        return list(self._postgres().remarks_on_workers(self._url, self._worker_role)) if self._worker_role else []

    def lets_in(self) -> bool:
        """Whether PostgreSQL takes the role of the address. Raises StoreFailure if no server of it says."""
        return bool(self._postgres().lets_in(self._url))

    def older_primaries(self) -> list[tuple[str, int, int]] | None:
        """Servers of PostgreSQL that take writes though another took over, as this process saw them last.

        Each with its place, its timeline and the newest one. None if it has not looked yet.
        """
        if not self.is_shared:
            return []
        from gatepost.store.postgres.hosts import others  # noqa: PLC0415 - as above
        from gatepost.store.postgres.timelines import older_primaries  # noqa: PLC0415 - as above

        return older_primaries(others(self._url))

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

    def database(self, schema: Schema, *, synchronous: str = "FULL", statement: float = 30.0) -> Database:
        """The tables of a schema, made or brought up to date if need be. Raises StoreFailure.

        synchronous: of SQLite; "NORMAL" where a power cut may cost the last second. statement: seconds that one may
        take in PostgreSQL.
        """
        if not self.is_shared:
            self._check_open()
            return SqliteDatabase(self._directory, schema, synchronous=synchronous)
        with _loading_postgres():
            from gatepost.store.postgres.database import PostgresDatabase  # noqa: PLC0415 - one engine is loaded
        return PostgresDatabase(self._url, schema, statement=statement)

    def leases(self, node: str, worker: int) -> DutyLeases:
        """Leases of what runs once for the site, as a worker of a node sees them."""
        from gatepost.store.leases import FixedLeases, SharedLeases  # noqa: PLC0415 - few processes ask for it

        if not self.is_shared:
            return FixedLeases(held=worker == 0)
        return SharedLeases(self._site, node, worker)

    def nodes(self) -> NodeRegistry:
        """The nodes of the site."""
        from gatepost.store.nodes import NodeRegistry  # noqa: PLC0415 - few processes ask for it

        return NodeRegistry(self._site)

    def ticket_secrets(self, sealing: Sealing | None) -> TicketSecrets:
        """Where secrets for session tickets come from.

        sealing: of the site's master key; without it none is stored, and each node has its own.
        """
        from gatepost.store.ticket_secrets import TICKETS, NodeTicketSecrets, SiteTicketSecrets  # noqa: PLC0415 - few processes ask for it

        if not self.is_shared or sealing is None:
            return NodeTicketSecrets()
        return SiteTicketSecrets(lambda: self.database(TICKETS, statement=STATEMENT_SECONDS), sealing)

    def session_counts(self) -> SessionCounts:
        """Counts of TLS sessions, for reports to others."""
        from gatepost.store.session_counts import SESSIONS, SessionCounts  # noqa: PLC0415 - few processes ask for it

        return SessionCounts(lambda: self.database(SESSIONS, synchronous="NORMAL"))

    def sent_reports(self) -> SentReports:
        """TLS reports of ours."""
        from gatepost.store.sent_reports import SENT, SentReports  # noqa: PLC0415 - few processes ask for it

        return SentReports(lambda: self.database(SENT))

    def received_reports(self) -> ReceivedReports:
        """TLS reports of others."""
        from gatepost.store.sent_reports import RECEIVED, ReceivedReports  # noqa: PLC0415 - few processes ask for it

        return ReceivedReports(lambda: self.database(RECEIVED))

    def destinations(self) -> DestinationTable:
        """The history of destinations, for listing and changing it. Raises StoreFailure."""
        from gatepost.store.destinations import DESTINATIONS_FILE, DestinationFile  # noqa: PLC0415 - few processes ask for it
        from gatepost.store.shared_destinations import HISTORY, SharedTable  # noqa: PLC0415 - few processes ask for it

        if not self.is_shared:
            return DestinationFile(self._directory / DESTINATIONS_FILE)
        return SharedTable(lambda: self.database(HISTORY))

    def worker_destinations(self) -> WorkerDestinations:
        """The same for a worker's event loop."""
        from gatepost.store.destinations import DESTINATIONS_FILE, DestinationStore  # noqa: PLC0415 - few processes ask for it
        from gatepost.store.shared_destinations import HISTORY, SharedDestinations, SharedTable  # noqa: PLC0415 - few processes ask for it

        if not self.is_shared:
            return DestinationStore(self._directory / DESTINATIONS_FILE)
        return SharedDestinations(SharedTable(lambda: self.database(HISTORY)))

    def sending_usage(self) -> UsageTable:
        """The table of what users and own servers sent today, and lately."""
        from gatepost.store.sending_usage import USAGE, UsageTable  # noqa: PLC0415 - few processes ask for it

        return UsageTable(lambda: self.database(USAGE, synchronous="NORMAL"))

    def documents(self, *folder: str) -> Documents:
        """Small documents by name, of results that lists show. folder: its path, each a plain name."""
        from gatepost.store.documents import DOCUMENTS, DocumentFiles, DocumentTable  # noqa: PLC0415 - few processes ask for it

        if not self.is_shared:
            return DocumentFiles(self._directory.joinpath(*folder))
        return DocumentTable(lambda: self.database(DOCUMENTS), "/".join(folder))

    def document_folders(self, top: str) -> list[str]:
        """The names of the folders of documents in a folder. Raises OSError, StoreFailure."""
        from gatepost.store.documents import DOCUMENTS, folders_in_files, folders_in_table  # noqa: PLC0415 - as above

        if not self.is_shared:
            return folders_in_files(self._directory / top)
        return folders_in_table(self.database(DOCUMENTS), top)

    def trace(self) -> Trace:
        """The message trace. Opens nothing before it is asked."""
        if not self.is_shared:
            from gatepost.store.sqlite.message_trace import SqliteTrace  # noqa: PLC0415 - few commands ask for it

            return SqliteTrace(self._directory / TRACE_DIRECTORY, subjects=self._subjects)
        with _loading_postgres():
            from gatepost.store.postgres.trace import PostgresTrace  # noqa: PLC0415 - one engine is loaded

        return PostgresTrace(self._url, self._node, subjects=self._subjects)

    def evidence(self) -> Evidence:
        """The evidence log of this gateway. Opens nothing before it is asked."""
        from gatepost.store.evidence_files import evidence_directory  # noqa: PLC0415 - few processes ask for it

        directory = evidence_directory(self._directory)
        if not self.is_shared:
            from gatepost.store.evidence_in_files import EvidenceInFiles  # noqa: PLC0415 - few commands ask for it

            return EvidenceInFiles(directory, self._node)
        with _loading_postgres():
            from gatepost.store.postgres.evidence import PostgresEvidence  # noqa: PLC0415 - one engine is loaded

        return PostgresEvidence(self._url, directory, self._node)

    async def queues(
        self, settings: Settings, place: tuple[int, int], evidence: Callable[[int], EventSink | None]
    ) -> list[Store]:
        """Open the queue of one worker, on its event loop; the first is for its own mail. Raises StoreFailure.

        place: its number, from 0, and how many workers the node has. evidence: makes the writer of the evidence log of
        a worker, None if there is to be no such log.
        """
        sink = self.trace().sink
        if not self.is_shared:
            from gatepost.store.sqlite.queue import open_shards  # noqa: PLC0415 - one engine is loaded

            self._check_open()
            return [*await open_shards(self._directory, settings, place, sink, evidence)]
        with _loading_postgres():
            from gatepost.store.postgres.opening import open_queue  # noqa: PLC0415 - as above
        return [await open_queue(self._url, self._directory, settings, place[0], (sink, evidence))]

    def worker_lock(self, worker: int) -> Path:
        """The file that a worker of this node has locked while it runs, with the number of its process in it."""
        if not self.is_shared:
            return self._directory / QUEUE_DIRECTORY / str(worker) / LOCK_FILE
        from gatepost.store.postgres.spool import SPOOL_DIRECTORY  # noqa: PLC0415 - one engine is loaded

        return self._directory / SPOOL_DIRECTORY / str(worker) / LOCK_FILE

    def queue_admin(self, evidence: Callable[[Sequence[TraceEvent]], None] = lambda _: None) -> QueueAdmin:
        """The queue for who looks at it or changes it. evidence: keeps what is done; may raise StoreFailure.

        Raises StoreFailure.
        """
        from gatepost.store.sqlite.administration import Administration, trace_writer  # noqa: PLC0415 - not all need it

        keep = trace_writer(self.trace(), evidence)
        if not self.is_shared:
            self._check_open()
            return Administration(self._directory / QUEUE_DIRECTORY, keep)
        with _loading_postgres():
            from gatepost.store.postgres.queue_admin import PostgresQueueAdmin  # noqa: PLC0415 - one engine is loaded
        return PostgresQueueAdmin(self._url, keep)

    def quarantine(self, evidence: Callable[[Sequence[TraceEvent]], None] = lambda _: None) -> Quarantine:
        """The quarantine, for who looks at it or changes it. evidence: as for `queue_admin`. Raises StoreFailure."""
        from gatepost.store.sqlite.administration import trace_writer  # noqa: PLC0415 - not all need it

        return self.quarantine_kept_by(trace_writer(self.trace(), evidence))

    def quarantine_kept_by(self, keep: Callable[[Sequence[TraceEvent]], None]) -> Quarantine:
        """The same, where the caller keeps the rows of the trace. Raises StoreFailure."""
        from gatepost.store.quarantine import Quarantine  # noqa: PLC0415 - few processes ask for it

        if not self.is_shared:
            from gatepost.store.sqlite.quarantine import SqliteQuarantine  # noqa: PLC0415 - one engine is loaded

            self._check_open()
            return Quarantine(SqliteQuarantine(self._directory / QUEUE_DIRECTORY), keep)
        with _loading_postgres():
            from gatepost.store.postgres.quarantine import PostgresQuarantine  # noqa: PLC0415 - as above
        return Quarantine(PostgresQuarantine(self._url), keep)

    def quarantine_usage(self) -> dict[str, QuarantineUsage]:
        """The amount of mail that each organization has in quarantine. Raises StoreFailure."""
        return self.quarantine_kept_by(lambda _: None).usage()

    def worker_depth(self, worker: int, workers: int) -> Depth:
        """The part of the queue that a worker of this node has: of a shared one, what it has in memory.

        workers: how many the node has. Raises StoreFailure.
        """
        if not self.is_shared:
            from gatepost.store.sqlite.administration import queue_depth  # noqa: PLC0415 - few processes ask for it
            from gatepost.store.sqlite.queue import shards_of  # noqa: PLC0415 - as above

            directory = self._directory / QUEUE_DIRECTORY
            return queue_depth(directory, shards_of(directory, worker, workers))
        with _loading_postgres():
            from gatepost.store.postgres.queue_admin import worker_depth  # noqa: PLC0415 - one engine is loaded
        return worker_depth(self._url, self._node, worker)

    def configuration(self) -> ConfigStore:
        """The configuration with its history and contents, to be closed. Raises StoreFailure.

        A process that may not write it has changes written by another (`store.config_requests`).
        """
        from gatepost.store.changes import CONFIGURATION, ConfigStore  # noqa: PLC0415 - few processes ask for it
        from gatepost.store.config_requests import WRITE_ACCESS, RequestedConfig  # noqa: PLC0415 - as above

        if not self.is_shared:
            self._check_open()
            path = self._directory / CONFIGURATION.file
            return ConfigStore(path) if WRITE_ACCESS.ask is None else RequestedConfig(path)
        with _loading_postgres():
            from gatepost.store.postgres.configuration import COPY, COPY_FILE, SharedConfig  # noqa: PLC0415 - as above
        if WRITE_ACCESS.ask is not None:
            return RequestedConfig(self._directory / COPY_FILE, COPY, is_shared=True)
        return ConfigStore(self._directory / COPY_FILE, SharedConfig(self._url, self._directory))

    def configurations(self) -> ConfigStores:
        """The same for many uses at a time, by the threads of a process."""
        from gatepost.store.changes import CONFIGURATION, ConfigStores  # noqa: PLC0415 - few processes ask for it

        if not self.is_shared:
            return ConfigStores(self._directory / CONFIGURATION.file, self.configuration)
        with _loading_postgres():
            from gatepost.store.postgres.configuration import COPY_FILE  # noqa: PLC0415 - as above
        return ConfigStores(self._directory / COPY_FILE, self.configuration)

    def load_worker_modules(self) -> None:
        """Import what a worker uses of its engine, before workers are forked: else each would, into memory of its own.

        Raises StoreFailure.
        """
        names = _SHARED_MODULES if self.is_shared else _SQLITE_MODULES
        with _loading_postgres():
            for name in names:
                import_module(f"gatepost.store.{name}")

    def prepare_worker_files(self) -> list[Path]:
        """Make and return what a worker writes in the data directory, as confined processes make nothing there.

        Raises StoreFailure, OSError.
        """
        from gatepost.store.worker_files import prepare_worker_files  # noqa: PLC0415 - few processes ask for it

        if not self.is_shared:
            return prepare_worker_files(self._directory)
        with _loading_postgres():
            from gatepost.store.postgres.configuration import COPY_FILE, RENEWAL_LOCK  # noqa: PLC0415 - as above
        files = prepare_worker_files(self._directory, copy=COPY_FILE, lock=RENEWAL_LOCK)
        return [path for path in files if path not in self.configuration_files()]

    def configuration_files(self) -> list[Path]:
        """The files that change with the configuration and that workers may not write; a database's index is last."""
        from gatepost.store.changes import CONFIGURATION  # noqa: PLC0415 - few processes ask for it
        from gatepost.store.worker_files import with_logs  # noqa: PLC0415 - as above

        if not self.is_shared:
            return with_logs(self._directory, CONFIGURATION.file)
        if not self._worker_role:
            return []
        with _loading_postgres():
            from gatepost.store.postgres.configuration import COPY_FILE, RENEWAL_LOCK  # noqa: PLC0415 - as above
        return [self._directory / RENEWAL_LOCK, *with_logs(self._directory, COPY_FILE)]

    def make_index(self) -> None:
        """Make anew what readers of the configuration need beside its file; they cannot. Raises StoreFailure."""
        from gatepost.store.changes import CONFIGURATION  # noqa: PLC0415 - few processes ask for it

        schema = CONFIGURATION
        if self.is_shared:
            with _loading_postgres():
                from gatepost.store.postgres.configuration import COPY as schema  # noqa: PLC0415, N811 - as above
        with contextlib.closing(SqliteDatabase(self._directory, schema)) as database, database.reading() as connection:
            connection.value("SELECT count(*) FROM content")

    def login_failures(self, ticks: Callable[[], float]) -> FailureCounts:
        """Where failed log-ins of users are counted. ticks: seconds that never go back. Raises StoreFailure."""
        if not self.is_shared:
            from gatepost.store.failures import ProcessFailures  # noqa: PLC0415 - few processes ask for it

            return ProcessFailures(ticks)
        with _loading_postgres():
            from gatepost.store.postgres.failures import SharedFailures  # noqa: PLC0415 - as above
        return SharedFailures(self._url)

    def disconnect(self) -> None:
        """End the threads and connections of this process, as before it forks; what comes after makes new ones."""
        if self.is_shared:
            with _loading_postgres():
                from gatepost.store.postgres.server import close_all  # noqa: PLC0415 - as above
            close_all()

    def move_side(
        self, same: Sequence[Schema], schemas: Sequence[Schema], *, workers: int, vault: Sealing | None
    ) -> MoveSide:
        """One side of a move to the other engine, a `store.move.MoveSide`: also of a store that is closed.

        same: schemas whose tables are the same in both engines. schemas: all of them. workers: that share the queue
        with SQLite. vault: of the master key. Raises StoreFailure.
        """
        if not self.is_shared:
            from gatepost.store.sqlite.move_side import SqliteSide  # noqa: PLC0415 - one command needs it

            return SqliteSide(self._directory, same, workers=workers)
        with _loading_postgres():
            from gatepost.store.postgres.move_side import PostgresSide  # noqa: PLC0415 - as above
        return PostgresSide(self._url, self._directory, same, all_schemas=schemas, vault=vault)

    def _check_open(self) -> None:
        """Raise StoreFailure if the files were moved to another engine, or are being moved."""
        from gatepost.store.move_mark import check_open, file_mark  # noqa: PLC0415 - no need for it on a server

        check_open(file_mark(self._directory), f"{SQLITE}{self._directory}")

    def _site(self) -> Database:
        """Nodes and leases."""
        return self.database(SITE, synchronous="NORMAL", statement=STATEMENT_SECONDS)


@contextlib.contextmanager
def _loading_postgres() -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise StoreFailure(_NO_LIBRARY) from error
