"""The TLS history of destinations on disk: `destinations.db`, shared by workers and commands.

`DestinationFile` is the file: read and changed by its holder, one transaction a change. `DestinationStore` is a
worker's: it reads by primary key when a connection was opened, and hands sessions to a thread that opens the file and
writes them in batches. A session that cannot be written costs memory, never mail; what cannot be read is the caller's
to judge. What the records mean is `policy.decisions.destination_history`'s.

Sessions of a worker are noted on the event loop, and written by a thread: here into the file, by
`store.shared_destinations` into a table.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import defaultdict
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Protocol

import apsw
import msgspec

from gatepost.decoding import json_decoder
from gatepost.policy.decisions.destination_history import DestinationHistory, DestinationName, SeenSession, seen, warned
from gatepost.store.database import Schema
from gatepost.store.interface import StoreFailure
from gatepost.store.sqlite.schema import StoreSettings, exclusively, make_directory, open_database

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path


_MOST_WAITING: Final = 10_000  # that may wait


type NotedSession = tuple[SeenSession, bool]
"""A session, and whether the log has a line that it does less than was seen."""


class NotedSessions:
    """place: where they go, for the log: "disk" or "database"."""

    def __init__(self, place: str) -> None:
        self._place = place
        self._lock = threading.Lock()
        self._waiting: dict[DestinationName, list[NotedSession]] = defaultdict(list)
        self._leaving: dict[DestinationName, list[NotedSession]] = {}
        self._count = 0
        self._dropped = 0

    def __len__(self) -> int:
        """How many are not written yet."""
        return self._count

    def note(self, name: DestinationName, session: SeenSession, *, logged: bool) -> None:
        """Take a session; where too many wait it is dropped, and the log says so."""
        with self._lock:
            if self._count >= _MOST_WAITING:
                self._dropped += 1
                return
            self._count += 1
            self._waiting[name].append((session, logged))

    def of(self, name: DestinationName) -> list[NotedSession]:
        """Those of a destination that are not written yet.

        To be read before what is written: what is written meanwhile is counted twice, which changes nothing.
        """
        with self._lock:
            return [*self._leaving.get(name, ()), *self._waiting.get(name, ())]

    @contextmanager
    def leaving(self) -> Iterator[dict[DestinationName, list[NotedSession]]]:
        """All that wait, to be written within; if that fails they wait on, before later ones."""
        with self._lock:
            noted, self._waiting = self._waiting, defaultdict(list)
            self._leaving = noted
            dropped, self._dropped = self._dropped, 0
        if dropped:
            _log.error("the memory of destinations: %d sessions were dropped, the %s is behind", dropped, self._place)
        try:
            yield noted
        except BaseException:
            with self._lock:
                for name, sessions in noted.items():
                    self._waiting[name][:0] = sessions
                self._leaving = {}
            raise
        with self._lock:
            self._leaving = {}
            self._count -= sum(map(len, noted.values()))


def with_sessions(before: DestinationHistory, noted: Sequence[NotedSession]) -> DestinationHistory:
    """A history with sessions added."""
    after = before
    for session, logged in noted:
        after = seen(after, session)
        if logged:
            after = warned(after, session.at)
    return after


DESTINATIONS_FILE = "destinations.db"
"""Name of the file in the data directory."""

_log = logging.getLogger(__name__)

_SETTINGS = StoreSettings(page_size=4096, checkpoint_pages=1000)
_SCHEMA_VERSION = 1
_APPLICATION_ID = 0x67706473  # "gpds"
_TABLES = """
CREATE TABLE destination (
    organization TEXT NOT NULL,
    domain       TEXT NOT NULL,
    connector    TEXT NOT NULL,
    at           REAL NOT NULL,
    document     TEXT NOT NULL,
    PRIMARY KEY (organization, domain, connector)
) WITHOUT ROWID;
CREATE INDEX longest_ago ON destination (at);
"""
DESTINATIONS = Schema("destinations", DESTINATIONS_FILE, _APPLICATION_ID, _SCHEMA_VERSION, _TABLES)
"""With SQLite; where nodes share it, it is `store.shared_destinations.HISTORY`."""

_READ = "SELECT document FROM destination WHERE organization = ? AND domain = ? AND connector = ?"
_WRITE = "INSERT OR REPLACE INTO destination (organization, domain, connector, at, document) VALUES (?, ?, ?, ?, ?)"
_REMOVE = "DELETE FROM destination WHERE organization = ? AND domain = ? AND connector = ?"
_LIST = (
    "SELECT organization, domain, connector, document FROM destination"
    " WHERE (?1 = '' OR organization = ?1) AND (?2 = '' OR domain = ?2) AND (?3 = '' OR connector = ?3 COLLATE NOCASE)"
    " AND (?5 IS NULL OR (organization, domain, connector) > (?5, ?6, ?7))"
    " ORDER BY organization, domain, connector LIMIT ?4"
)
# Of the organization that has the most: who makes one organization send to ever new domains takes no other's memory.
_TOO_MANY = (
    "DELETE FROM destination WHERE (organization, domain, connector) IN"
    " (SELECT organization, domain, connector FROM destination"
    " ORDER BY row_number() OVER (PARTITION BY organization ORDER BY at DESC) DESC, at"
    " LIMIT ?)"
)
_COUNT = "SELECT count(*) FROM destination"

_MOST = 100_000  # destinations that are remembered; those that saw no session for the longest time go first
_INTERVAL = 1.0
_LONGEST_WAIT = 60.0  # seconds between attempts while the file cannot be written

_encode = msgspec.json.Encoder(order="deterministic").encode
_decode = json_decoder(DestinationHistory)


class Destinations(Protocol):
    """The history of all destinations, for who lists and changes it. Every method raises StoreFailure."""

    def find(self, name: DestinationName) -> DestinationHistory:
        """The history of a destination; an empty one if it was never seen."""

    def listed(
        self,
        *,
        organization: str = "",
        domain: str = "",
        connector: str = "",
        limit: int = -1,
        after: DestinationName | None = None,
    ) -> list[tuple[DestinationName, DestinationHistory]]:
        """The destinations that match, in order of their names; empty fields match all. limit: -1 for all."""

    def change(
        self, name: DestinationName, step: Callable[[DestinationHistory], DestinationHistory]
    ) -> DestinationHistory:
        """Change a history in one transaction. Returns the new one."""

    def forget(self, name: DestinationName) -> None:
        """Begin anew with a destination."""

    def settle(self) -> None:
        """Return when every worker goes by what was changed: seconds, where nodes share the history."""

    def close(self) -> None:
        """Close the file or the database."""


class WorkerDestinations(Protocol):
    """A worker's view of it. `find` and `note` are for the event loop and wait for nothing."""

    def find(self, name: DestinationName) -> DestinationHistory:
        """The history of a destination. Raises StoreFailure if it is not known."""

    def note(self, name: DestinationName, session: SeenSession, *, logged: bool = False) -> None:
        """Write a session soon. logged: the log has a line that it does less than was seen."""

    def close(self) -> None:
        """Write what waits. Blocks."""


class DestinationFile:
    """For one thread at a time; methods may wait for another process's lock, and raise StoreFailure."""

    def __init__(self, path: Path, *, most: int = _MOST, timeout_ms: int = 5000) -> None:
        """Open `path`, made if it is not there. most: destinations kept. Raises StoreFailure."""
        self._path = path
        self._most = most
        try:
            make_directory(path.parent)
        except OSError as error:
            raise StoreFailure(f"{path.parent}: {error.strerror}") from error
        # A power cut may cost the last second of memory, which the next connections bring back.
        self._connection = open_database(path, _SETTINGS, synchronous="NORMAL", lasting=True)
        try:
            self._connection.execute("PRAGMA wal_autocheckpoint = 1000")
            if not self._is_made():
                with exclusively(self._connection):
                    self._make_tables()
        except StoreFailure:
            self._connection.close()
            raise
        except apsw.Error as error:
            self._connection.close()
            raise StoreFailure(f"{path}: {error}") from error
        self._connection.set_busy_timeout(timeout_ms)

    def find(self, name: DestinationName) -> DestinationHistory:
        """The history of a destination; an empty one if it was never seen."""
        with self._reported():
            document: str | None = self._connection.execute(_READ, tuple(name)).get
            return DestinationHistory() if document is None else _decode(document)

    def listed(
        self,
        *,
        organization: str = "",
        domain: str = "",
        connector: str = "",
        limit: int = -1,
        after: DestinationName | None = None,
    ) -> list[tuple[DestinationName, DestinationHistory]]:
        """The destinations that match, in order of their names; empty fields match all. limit: -1 for all.

        after: only those behind this name.
        """
        place = tuple(after) if after is not None else (None, None, None)
        with self._reported():
            rows: list[tuple[Any, ...]] = self._connection.execute(
                _LIST, (organization, domain, connector, limit, *place)
            ).fetchall()
            return [(DestinationName(*row[:3]), _decode(row[3])) for row in rows]

    def change(
        self, name: DestinationName, step: Callable[[DestinationHistory], DestinationHistory]
    ) -> DestinationHistory:
        """Change a history in one exclusive transaction. Returns the new one."""
        with self._reported(), exclusively(self._connection):
            return self._change(name, step)

    def forget(self, name: DestinationName) -> None:
        """Begin anew with a destination."""
        with self._reported():
            self._connection.execute(_REMOVE, tuple(name))

    def settle(self) -> None:
        """At once: workers read the file."""

    def write(self, noted: Mapping[DestinationName, Sequence[NotedSession]]) -> None:
        """Add sessions, each with whether the log has a line about it, to the history as it is by now."""
        with self._reported(), exclusively(self._connection):
            self._write(noted)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _is_made(self) -> bool:
        version = self._connection.pragma("user_version")
        return bool(version == _SCHEMA_VERSION and self._connection.pragma("application_id") == _APPLICATION_ID)

    def _make_tables(self) -> None:
        if self._is_made():  # by another process a moment ago
            return
        version = self._connection.pragma("user_version")
        if version or self._connection.execute("SELECT count(*) FROM sqlite_schema").get:
            raise StoreFailure(f"{self._path} is no memory of destinations of this version (schema {version})")
        self._connection.execute(_TABLES)
        self._connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        self._connection.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")

    def _write(self, noted: Mapping[DestinationName, Sequence[NotedSession]]) -> None:
        for name, sessions in noted.items():
            self._change(name, lambda before, sessions=sessions: with_sessions(before, sessions))  # type: ignore[misc] # mypy#12557
        count = int(self._connection.execute(_COUNT).get)
        if count > self._most:
            # Some more than must go, so that not every batch sorts them all.
            self._connection.execute(_TOO_MANY, (count - self._most + self._most // 100,))

    def _change(
        self, name: DestinationName, step: Callable[[DestinationHistory], DestinationHistory]
    ) -> DestinationHistory:
        document: str | None = self._connection.execute(_READ, tuple(name)).get
        before = DestinationHistory() if document is None else _decode(document)
        after = step(before)
        if after is not before:
            self._connection.execute(_WRITE, (*name, after.at, _encode(after).decode()))
        return after

    @contextlib.contextmanager
    def _reported(self) -> Iterator[None]:
        """Errors of SQLite, and documents that are none, as StoreFailure."""
        try:
            yield
        except (apsw.Error, msgspec.MsgspecError, OSError) as error:
            raise StoreFailure(f"{self._path}: {error}") from error


class DestinationStore:
    """A worker's memory of destinations. `find` and `note` are for the event loop; writing happens on a thread."""

    def __init__(self, path: Path, *, interval: float = _INTERVAL, most: int = _MOST) -> None:
        """Never raises: a file that cannot be opened is tried again on the thread."""
        self._path = path
        self._interval = interval
        self._most = most
        self._noted = NotedSessions("disk")
        self._ending = threading.Event()
        self._failed: DestinationFile | None = None  # the loop could not read it
        self._reading = self._made()
        self._writing: DestinationFile | None = None
        self._thread = threading.Thread(target=self._run, name="destinations", daemon=True)
        self._thread.start()

    def _made(self) -> DestinationFile | None:
        """The file for reading on the event loop, without waiting: a writer is in no reader's way."""
        try:
            return DestinationFile(self._path, timeout_ms=0)
        except StoreFailure as failure:
            _log.error("the memory of destinations: %s", failure)
            return None

    def find(self, name: DestinationName) -> DestinationHistory:
        """The history of a destination, with this worker's sessions of the last second.

        Raises StoreFailure if it cannot be read: then the history is not known.
        """
        noted = self._noted.of(name)  # before the file is read
        reading = self._reading
        if reading is None or reading is self._failed:
            raise StoreFailure(f"{self._path} cannot be opened; it is tried again")
        try:
            return with_sessions(reading.find(name), noted)
        except StoreFailure:
            self._failed = reading
            raise

    def note(self, name: DestinationName, session: SeenSession, *, logged: bool = False) -> None:
        """Write a session within a second or so. logged: the log has a line that it does less than was seen."""
        self._noted.note(name, session, logged=logged)

    def close(self) -> None:
        """Write what waits and end the thread."""
        self._ending.set()
        self._thread.join()
        if self._reading is not None:
            self._reading.close()

    # ------------------------------------------------------------------------------------------- on the thread

    def _run(self) -> None:
        wait = self._interval
        while not self._ending.wait(wait):
            self._reopen()
            wait = self._interval if self._flush() else min(wait * 2, _LONGEST_WAIT)
        self._flush()
        if self._writing is not None:
            self._writing.close()

    def _reopen(self) -> None:
        """Reopen a file that the event loop cannot read: that may take seconds."""
        if self._reading is None or self._reading is self._failed:
            self._reading, self._failed = _let_go(self._reading), None
            self._reading = self._made()

    def _flush(self) -> bool:
        """Write what waits. False if that failed: it waits on."""
        try:
            with self._noted.leaving() as noted:
                if noted:
                    if self._writing is None:
                        self._writing = DestinationFile(self._path, most=self._most)
                    self._writing.write(noted)
        except StoreFailure as failure:
            _log.error("the memory of destinations: %s", failure)
            self._writing = _let_go(self._writing)
            return False
        return True


def _let_go(file: DestinationFile | None) -> DestinationFile | None:
    """Close a file that failed. None: it is opened anew, as another file may be in its place."""
    if file is not None:
        file.close()
    return None
