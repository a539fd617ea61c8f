"""The TLS history of destinations on disk: `destinations.db`, shared by workers and commands.

`DestinationTable` is read and changed by its holder, one transaction a change, in any engine; `DestinationFile` is that
in a file. `DestinationStore` is a worker's: it reads by primary key when a connection was opened, and hands sessions to
a thread that opens the file and writes them in batches. A session that cannot be written costs memory, never mail; what
cannot be read is the caller's to judge. What the records mean is `policy.decisions.destination_history`'s.

Sessions of a worker are noted on the event loop, and written by a thread: here into the file, by
`store.shared_destinations` into a table.
"""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import batched
from pathlib import Path
from typing import Any, Final

import msgspec

from gatepost.decoding import json_decoder
from gatepost.policy.decisions.destination_history import DestinationHistory, DestinationName, SeenSession, seen, warned
from gatepost.store.interface import Database, DatabaseConnection, Schema, StoredTables, StoreFailure
from gatepost.store.sqlite.database import SqliteDatabase

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

DESTINATIONS: Final = Schema(
    name="destinations",
    file=DESTINATIONS_FILE,
    application_id=0x67706473,  # "gpds"
    version=1,
    tables="""
CREATE TABLE destination (
    organization TEXT NOT NULL,
    domain       TEXT NOT NULL,
    connector    TEXT NOT NULL,
    at           REAL NOT NULL,
    document     TEXT NOT NULL,
    PRIMARY KEY (organization, domain, connector)
) WITHOUT ROWID;
CREATE INDEX longest_ago ON destination (at);
""",
)
"""With SQLite; where nodes share it, it is `store.shared_destinations.HISTORY`."""

DESTINATION_COLUMNS: Final = ("organization", "domain", "connector", "at", "document")
"""Those that every table has; the first three are the key."""

_NAME = ", ".join(DESTINATION_COLUMNS[:3])
_READ = "SELECT document FROM {table} WHERE organization = ? AND domain = ? AND connector = ?"
_READ_MANY = f"SELECT {_NAME}, document FROM {{table}} WHERE ({_NAME}) IN (VALUES {{among}})"  # noqa: S608 - ours
_LIST = (
    f"SELECT {_NAME}, document FROM {{table}} WHERE document <> ''"  # noqa: S608 - ours
    " AND (?1 = '' OR organization = ?1) AND (?2 = '' OR domain = ?2) AND (?3 = '' OR lower(connector) = lower(?3))"
    f"{{after}} ORDER BY {_NAME} LIMIT ?4"
)
_AFTER = f" AND ({_NAME}) > (?5, ?6, ?7)"
_WRITE = (
    f"INSERT INTO destination ({_NAME}, at, document) VALUES (?, ?, ?, ?, ?)"  # noqa: S608 - ours
    f" ON CONFLICT ({_NAME}) DO UPDATE SET at = excluded.at, document = excluded.document"
)
_REMOVE = "DELETE FROM destination WHERE organization = ? AND domain = ? AND connector = ?"
_COUNT = "SELECT count(*) FROM {table}"
# Of the organization that has the most: who makes one organization send to ever new domains takes no other's memory.
_TOO_MANY = (
    f"DELETE FROM {{table}} WHERE ({_NAME}) IN (SELECT {_NAME} FROM {{table}}"  # noqa: S608 - ours
    " ORDER BY row_number() OVER (PARTITION BY organization ORDER BY at DESC) DESC, at LIMIT ?)"
)

MOST: Final = 100_000
"""Destinations that are remembered; those that saw no session for the longest time go first."""
_AT_ONCE: Final = 1000  # rows of a statement
_ALL: Final = 2**62
_INTERVAL = 1.0
_LONGEST_WAIT = 60.0  # seconds between attempts while the file cannot be written

_encode = msgspec.json.Encoder(order="deterministic").encode
_decode = json_decoder(DestinationHistory)


class WorkerDestinations(ABC):
    """A worker's view of the history. `find` and `note` are for the event loop; writing happens on a thread.

    place: where sessions go, for the log: "disk" or "database".
    """

    def __init__(self, place: str) -> None:
        self._noted = NotedSessions(place)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="destinations", daemon=True)

    @abstractmethod
    def find(self, name: DestinationName) -> DestinationHistory:
        """The history of a destination, with this worker's sessions of the last second.

        Raises StoreFailure if it cannot be read, or was not read yet: then the history is not known.
        """

    def note(self, name: DestinationName, session: SeenSession, *, logged: bool = False) -> None:
        """Write a session within a second or so. logged: the log has a line that it does less than was seen."""
        self._noted.note(name, session, logged=logged)

    def close(self) -> None:
        """Write what waits and end the thread."""
        self._ending.set()
        self._thread.join()

    @abstractmethod
    def _run(self) -> None:
        """Write what waits, again and again, until the end."""


class DestinationTable(StoredTables):
    """The history in a table of any engine, for who lists and changes it. Every method raises StoreFailure.

    place: what errors name. table: its name.
    """

    table = "destination"

    def __init__(self, opened: Callable[[], Database], place: str, *, most: int = MOST) -> None:
        """opened: opens the database, at the first use. most: destinations kept."""
        super().__init__(opened)
        self._place = place
        self._most = most
        self._unchecked = 0  # sessions since it was asked whether there are too many

    def find(self, name: DestinationName) -> DestinationHistory:
        """The history of a destination; an empty one if it was never seen."""
        with self._database.reading() as connection:
            return self._of(connection, name)

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

        after: only those behind this name. One that cannot be read has an empty history, so that it can be forgotten.
        """
        sql = _LIST.format(table=self.table, after=_AFTER if after is not None else "")
        values = (organization, domain, connector, limit if limit >= 0 else _ALL, *(after or ()))
        with self._database.reading() as connection:
            rows = connection.rows(sql, values)
        return [(_name(row), self._readable(_name(row), row[3]) or DestinationHistory()) for row in rows]

    def change(
        self, name: DestinationName, step: Callable[[DestinationHistory], DestinationHistory]
    ) -> DestinationHistory:
        """Change a history in one transaction. Returns the new one."""
        with self._database.changing() as change:
            before = self._of(change, name)
            after = step(before)
            if after is not before:
                self._put(change, [_row(name, after)])
        return after

    def forget(self, name: DestinationName) -> None:
        """Begin anew with a destination."""
        with self._database.changing() as change:
            change.execute(_REMOVE, tuple(name))

    def settle(self) -> None:
        """Return when every worker goes by what was changed: at once, as they read the table."""

    def write(self, noted: Mapping[DestinationName, Sequence[NotedSession]]) -> None:
        """Add sessions, each with whether the log has a line about it, to the history as it is by now."""
        with self._database.changing() as change:
            for some in batched(noted, _AT_ONCE):
                known = self._known(change, some)
                histories = {name: known.get(name, DestinationHistory()) for name in some}
                # What is kept of one that cannot be read may say more than these sessions: they are dropped.
                before = {name: history for name, history in histories.items() if history is not None}
                after = {name: with_sessions(history, noted[name]) for name, history in before.items()}
                self._put(change, [_row(name, after[name]) for name in before if after[name] is not before[name]])
            self._unchecked += len(noted)
            if self._unchecked * 100 > self._most:
                self._unchecked = 0
                self._trim(change)

    def history(self, document: str | None) -> DestinationHistory:
        """A document as a value, an empty one for none. Raises StoreFailure for one of another version."""
        if not document:
            return DestinationHistory()
        try:
            return _decode(document)
        except msgspec.MsgspecError as error:
            raise StoreFailure(f"{self._place}: {error}") from error

    def _readable(self, name: DestinationName, document: str) -> DestinationHistory | None:
        """The same, None for one that cannot be read, which is said in the log."""
        try:
            return self.history(document)
        except StoreFailure as failure:
            _log.error(
                "what organization %s has seen %s do is not remembered until it is forgotten (gatepost destination "
                "forget): %s",
                name.organization,
                name.domain or f"connector {name.connector}",
                failure,
            )
            return None

    def _of(self, connection: DatabaseConnection, name: DestinationName) -> DestinationHistory:
        return self.history(connection.value(_READ.format(table=self.table), tuple(name)))

    def _known(
        self, connection: DatabaseConnection, names: Sequence[DestinationName]
    ) -> dict[DestinationName, DestinationHistory | None]:
        """Histories that there are, None for one that cannot be read."""
        sql = _READ_MANY.format(table=self.table, among=", ".join(["(?, ?, ?)"] * len(names)))
        rows: list[tuple[Any, ...]] = connection.rows(sql, [part for name in names for part in name])
        return {_name(row): self._readable(_name(row), row[3]) for row in rows}

    def _put(self, change: DatabaseConnection, rows: Sequence[tuple[object, ...]]) -> None:
        """Write rows of the columns that every table has."""
        change.execute_many(_WRITE, rows)

    def _trim(self, change: DatabaseConnection) -> None:
        count = int(change.value(_COUNT.format(table=self.table)))
        if count > self._most:
            # Some more than must go, so that not every batch sorts them all.
            change.execute(_TOO_MANY.format(table=self.table), (count - self._most + self._most // 100,))


def _name(row: Sequence[Any]) -> DestinationName:
    return DestinationName(*row[:3])


def _row(name: DestinationName, history: DestinationHistory) -> tuple[object, ...]:
    return (*name, history.at, _encode(history).decode())


class DestinationFile(DestinationTable):
    """The table in a file. For one thread at a time; methods may wait for another process's lock."""

    def __init__(self, path: Path, *, most: int = MOST, waits: bool = True) -> None:
        """Open `path`, made if it is not there. most: destinations kept. waits: see `SqliteDatabase`.

        Raises StoreFailure.
        """
        # A power cut may cost the last second of memory, which the next connections bring back.
        file = SqliteDatabase(path.parent, DESTINATIONS, synchronous="NORMAL", file=path.name, waits=waits)
        super().__init__(lambda: file, str(path), most=most)
        self._file = file

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class DestinationStore(WorkerDestinations):
    """A worker's memory of destinations in a file."""

    def __init__(self, path: Path, *, interval: float = _INTERVAL, most: int = MOST) -> None:
        """Never raises: a file that cannot be opened is tried again on the thread."""
        super().__init__("disk")
        self._path = path
        self._interval = interval
        self._most = most
        self._failed: DestinationFile | None = None  # the loop could not read it
        self._reading = self._made()
        self._writing: DestinationFile | None = None
        self._thread.start()

    def _made(self) -> DestinationFile | None:
        """The file for reading on the event loop, without waiting: a writer is in no reader's way."""
        try:
            return DestinationFile(self._path, waits=False)
        except StoreFailure as failure:
            _log.error("the memory of destinations: %s", failure)
            return None

    def find(self, name: DestinationName) -> DestinationHistory:
        """See `WorkerDestinations.find`."""
        noted = self._noted.of(name)  # before the file is read
        reading = self._reading
        if reading is None or reading is self._failed:
            raise StoreFailure(f"{self._path} cannot be opened; it is tried again")
        try:
            return with_sessions(reading.find(name), noted)
        except StoreFailure:
            self._failed = reading
            raise

    def close(self) -> None:
        """Write what waits, end the thread, and close the file."""
        super().close()
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
