"""A data directory as one side of a move: implements `store.move.MoveSide`."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from gatepost.store.changes import CONFIGURATION
from gatepost.store.destinations import DESTINATION_COLUMNS, DESTINATIONS
from gatepost.store.documents import DOCUMENT_FOLDERS, DocumentFiles
from gatepost.store.evidence_files import EvidenceDirectory, evidence_directory
from gatepost.store.interface import DatabaseConnection, Schema, StoreFailure
from gatepost.store.move import MoveRefused, SrsPart
from gatepost.store.move_mark import MoveMark, file_mark, write_file_mark
from gatepost.store.move_parts import HeadsPart, Key, LinesPart, MoveRecord, Part, UnnumberedPart
from gatepost.store.move_tables import Table, TablePart, table_parts
from gatepost.store.session_counts import SESSIONS, SessionCounts
from gatepost.store.sqlite.database import SqliteDatabase
from gatepost.store.sqlite.former_session_counts import FORMER_SESSIONS, take_in_day_files
from gatepost.store.sqlite.move_evidence import EvidenceFiles, TraceRowsPart
from gatepost.store.sqlite.move_queue import BodiesPart, MessagesPart, QueueShards, reported
from gatepost.store.sqlite.recovery import lock_shard
from gatepost.store.sqlite.restore import check_whole
from gatepost.store.sqlite.schema import QUEUE_DIRECTORY, TRACE_DIRECTORY, make_directory
from gatepost.store.srs_keys import SRS_KEYS_FILE, SrsKeyFile

DOCUMENT_FILES: Final = "results of validations and drills"


class DocumentsPart(UnnumberedPart):
    """Implements `store.move_parts.Part`. A record is a document: folder and name; time of its last change; octets."""

    name = DOCUMENT_FILES

    def __init__(self, data_dir: Path) -> None:
        self._data = data_dir

    def count(self) -> int:
        """See `Part.count`."""
        return sum(1 for _ in self._names())

    def records(self) -> Iterator[MoveRecord]:
        """See `Part.records`."""
        with reported(self._data):
            for folder, name in self._names():
                path = self._data / folder / name
                yield MoveRecord((folder, name), (_time_of(path.stat().st_mtime_ns), path.read_bytes()))

    def present(self, _keys: Sequence[Key], /) -> set[Key]:
        """See `Part.present`: none is known to have its time yet."""
        return set()

    def add(self, records: Sequence[MoveRecord]) -> None:
        """See `Part.add`. One that is there already is written once more."""
        with reported(self._data):
            for (folder, name), (at, content) in records:
                DocumentFiles(self._data / folder).replace(name, content)
                nanoseconds = round(at * 1_000_000) * 1000
                os.utime(self._data / folder / name, ns=(nanoseconds, nanoseconds))

    def clear(self) -> None:
        """See `Part.clear`."""
        with reported(self._data):
            for folder, name in list(self._names()):
                (self._data / folder / name).unlink()

    def _names(self) -> Iterator[tuple[str, str]]:
        with reported(self._data):
            for top in DOCUMENT_FOLDERS:
                for folder, folders, names in os.walk(self._data / top):
                    folders.sort()
                    place = os.path.relpath(folder, self._data)
                    yield from ((place, name) for name in sorted(names) if not name.startswith("."))


def _time_of(nanoseconds: int) -> float:
    """Seconds since 1970, to the microsecond, as every engine has them."""
    return round(nanoseconds / 1e9, 6)


DESTINATION_HISTORY: Final = "history of destinations"

# What a move writes. Not what belongs to the node whatever the engine: mailboxes, the key that signs evidence, caches.
_STORED: Final = (
    QUEUE_DIRECTORY,
    TRACE_DIRECTORY,
    FORMER_SESSIONS,
    "validations",
    "evidence/log",
    "evidence/heads.log",
    "evidence/drills",
    SRS_KEYS_FILE,
    DESTINATIONS.file,
)


class SqliteNumbering:
    """Implements `store.move_tables.Numbering`."""

    def highest(self, connection: DatabaseConnection, table: str) -> int:
        """See `Numbering.highest`."""
        return int(connection.value("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)) or 0)

    def advance(self, connection: DatabaseConnection, table: str, number: int) -> None:
        """See `Numbering.advance`."""
        if number > self.highest(connection, table):
            connection.execute("DELETE FROM sqlite_sequence WHERE name = ?", (table,))
            connection.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", (table, number))


class SqliteSide:
    """One data directory. schemas: of tables that both engines have in the same form. workers: that share the queue."""

    def __init__(self, data_dir: Path, schemas: Sequence[Schema], *, workers: int) -> None:
        self.place = f"sqlite:{data_dir}"
        self._data = data_dir
        self._schemas = schemas
        self._evidence = evidence_directory(data_dir)
        self._shards = QueueShards(data_dir, workers)
        self._locks: dict[str, int] = {}
        self._databases: dict[str, SqliteDatabase] = {}

    def mark(self) -> MoveMark | None:
        """See `MoveSide.mark`."""
        return file_mark(self._data)

    def set_mark(self, mark: MoveMark | None) -> None:
        """See `MoveSide.set_mark`."""
        write_file_mark(self._data, mark)

    def check_source(self) -> None:
        """See `MoveSide.check_source`."""
        if not self.contents():
            raise MoveRefused(f"{self.place}: nothing is stored here that could be moved")
        check_whole(self._data)

    def check_target(self) -> None:
        """See `MoveSide.check_target`."""
        check_whole(self._data)

    def prepare(self) -> None:
        """See `MoveSide.prepare`."""
        with reported(self._data):
            make_directory(self._data)

    def configuration(self) -> SqliteDatabase:
        """See `MoveSide.configuration`."""
        return self._database(CONFIGURATION)

    def check_idle(self) -> None:
        """See `MoveSide.check_idle`: takes the locks of the directory and of all shards, until `close`."""
        with reported(self._data):
            if not self._data.exists():
                return
            if "" not in self._locks:
                self._locks[""] = self._lock_directory()
            for path in sorted((self._data / QUEUE_DIRECTORY).glob("*")):
                if path.is_dir() and path.name not in self._locks:
                    self._locks[path.name] = self._lock_shard(path)

    def _lock_directory(self) -> int:
        descriptor = os.open(self._data, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise self._in_use() from error
        return descriptor

    def _lock_shard(self, path: Path) -> int:
        try:
            return lock_shard(path)
        except StoreFailure as failure:
            raise self._in_use() from failure

    def _in_use(self) -> MoveRefused:
        return MoveRefused(
            f"{self.place} is in use, by a gateway that serves or by another move: stop it, such as by systemctl stop "
            "gatepost, then run the command again"
        )

    def contents(self) -> str:
        """See `MoveSide.contents`."""
        names = (*_STORED, *(schema.file for schema in self._schemas))
        return ", ".join(name for name in names if _has_content(self._data / name))

    def settle(self) -> None:
        """See `MoveSide.settle`."""
        with reported(self._data):
            self._shards.settle()
            take_in_day_files(self._data, SessionCounts(lambda: self._database(SESSIONS)))

    def parts(self) -> list[Part]:
        """See `MoveSide.parts`."""
        numbering = SqliteNumbering()
        tables = [part for schema in self._schemas for part in table_parts(schema, self._database(schema), numbering)]
        history = Table("destination", DESTINATION_COLUMNS, DESTINATION_COLUMNS[:3])
        log, sink = EvidenceDirectory(self._evidence), EvidenceFiles(self._evidence)
        return [
            *tables,
            SrsPart(SrsKeyFile(self._data)),
            TablePart(DESTINATION_HISTORY, self._database(DESTINATIONS), history, numbering),
            DocumentsPart(self._data),
            BodiesPart(self._shards),
            MessagesPart(self._shards),
            LinesPart(log, sink),
            HeadsPart(log, sink),
            TraceRowsPart(self._data / TRACE_DIRECTORY),
        ]

    def public_keys(self) -> list[bytes]:
        """See `MoveSide.public_keys`."""
        with reported(self._evidence):
            return EvidenceDirectory(self._evidence).public_keys()

    def add_public_keys(self, keys: Sequence[bytes]) -> None:
        """See `MoveSide.add_public_keys`."""
        for pem in keys:
            EvidenceFiles(self._evidence).add_key(pem)

    def finish(self) -> None:
        """See `MoveSide.finish`: the next start needs nothing more."""

    def close(self) -> None:
        """Let go of everything."""
        for database in self._databases.values():
            database.forget()
            database.close()
        self._shards.close()
        for descriptor in self._locks.values():
            with contextlib.suppress(OSError):
                os.close(descriptor)
        self._databases.clear()
        self._locks.clear()

    def _database(self, schema: Schema) -> SqliteDatabase:
        if schema.name not in self._databases:
            self._databases[schema.name] = SqliteDatabase(self._data, schema)
        return self._databases[schema.name]


def _has_content(path: Path) -> bool:
    """Whether a file is there, or a directory with something in it."""
    if path.is_dir():
        return any(path.iterdir())
    return path.exists()
