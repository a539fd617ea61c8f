"""The message trace on disk: one file a day and writer, `YYYY-MM-DD.<writer>.db`, UTC.

Written by a thread of its own, off the commit path: rows wait at most a second or 500 of them, and are synced about
once a second. While a file is hot it has one index, on the queue id, which grows at its end (0.5 us a row; an index on
anything random costs ten times that); the others are made when its day is over. Read by `store.trace_search`.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import apsw
import msgspec

from gatepost.store.interface import StoreFailure, TraceEvent
from gatepost.store.schema import StoreSettings, make_directory, open_database, open_for_reading

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

__all__ = ["COLUMNS", "TraceWriter", "day_of", "table_columns", "write_events"]

_log = logging.getLogger(__name__)

COLUMNS = tuple(field.name for field in msgspec.structs.fields(TraceEvent))
_TLS = COLUMNS.index("tls")
_DETAIL = COLUMNS.index("detail")
_SETTINGS = StoreSettings(page_size=8192, checkpoint_pages=1000)
_SEALED = 2  # user_version of a file that is written no more
_ROWS = 500
_INTERVAL = 1.0
_MOST = 100_000  # rows that may wait for the disk; what comes on top is dropped and counted

# Text is compared as people compare addresses and names: ASCII letters without regard to case.
_TYPES = {
    "at": "REAL NOT NULL DEFAULT 0",
    "size": "INTEGER NOT NULL DEFAULT 0",
    "tls": "TEXT NOT NULL DEFAULT '{}'",
    "detail": "TEXT NOT NULL DEFAULT '{}'",
}
_DEFINITIONS = {name: f"{name} {_TYPES.get(name, "TEXT COLLATE NOCASE NOT NULL DEFAULT ''")}" for name in COLUMNS}
_HOT_INDEX = "CREATE INDEX IF NOT EXISTS by_message ON trace (message) WHERE message <> ''"
_SEALING = tuple(
    f"CREATE INDEX IF NOT EXISTS by_{name} ON trace ({name}) WHERE {name} <> ''"
    for name in ("session", "message_id", "sender", "recipient")
)
_INSERT = f"INSERT INTO trace ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"  # noqa: S608 - our names

_encode = msgspec.json.Encoder(enc_hook=str).encode


def day_of(at: float) -> str:
    """The UTC day of a time as the file names have it."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")


def write_events(directory: Path, writer: str, events: Sequence[TraceEvent]) -> None:
    """Write rows now, from a process that has no `TraceWriter` ("admin" is such a writer's name).

    Several processes may do so at once: SQLite's locks keep them apart. Raises StoreFailure.
    """
    for day, group in _by_day(events).items():
        connection = _open_day(directory, day, writer)
        try:
            _insert(connection, group)
        except apsw.Error as error:
            raise StoreFailure(f"trace of {day}: {error}") from error
        finally:
            connection.close()


class TraceWriter:
    """Buffers rows and writes them on its thread. `add` is for the event loop and never blocks on the disk.

    dropped: rows that were lost since the start, as the disk was behind.
    """

    def __init__(self, directory: Path, writer: str, *, interval: float = _INTERVAL) -> None:
        self._directory = directory
        self._writer = writer
        self._interval = interval
        self._lock = threading.Lock()
        self._rows: list[TraceEvent] = []
        self._dropped = 0
        self.dropped = 0
        self._full = threading.Event()
        self._closing = False
        self._open: dict[str, apsw.Connection] = {}
        self._synced = 0.0
        self._thread = threading.Thread(target=self._run, name=f"trace-{writer}", daemon=True)
        self._thread.start()

    def add(self, events: Sequence[TraceEvent]) -> None:
        """Keep rows: on disk within a second."""
        with self._lock:
            waiting = len(self._rows)
            if waiting >= _MOST:
                self._dropped += len(events)
                return
            self._rows += events
        if waiting + len(events) >= _ROWS:
            self._full.set()

    def close(self) -> None:
        """Write what waits and end the thread."""
        self._closing = True
        self._full.set()
        self._thread.join()

    # ------------------------------------------------------------------------------------------- on the thread

    def _run(self) -> None:
        self._attempt(self._seal_older)
        while not self._closing:
            self._full.wait(self._interval)
            self._full.clear()
            self._attempt(self._flush)
        self._attempt(self._flush)
        self._close_days()

    def _attempt(self, step: Callable[[], None]) -> None:
        """The trace never stops the mail: what fails is said, and tried again with the next rows."""
        try:
            step()
        except (apsw.Error, OSError, StoreFailure) as error:
            _log.error("the message trace: %s", error)
            self._close_days()

    def _close_days(self) -> None:
        for connection in self._open.values():
            connection.close()
        self._open.clear()

    def _flush(self) -> None:
        with self._lock:
            rows, self._rows = self._rows, []
            dropped, self._dropped = self._dropped, 0
        self.dropped += dropped
        if dropped:
            _log.error("the message trace: %d rows were dropped, the disk is behind", dropped)
        groups = _by_day(rows)
        try:
            for day in sorted(groups):
                self._write(day, groups[day])
                del groups[day]
        except BaseException:
            with self._lock:
                self._rows[:0] = [event for group in groups.values() for event in group]
            raise
        today = day_of(time.time())
        for day in [day for day in self._open if day < today]:
            _seal(self._open.pop(day))

    def _write(self, day: str, events: list[TraceEvent]) -> None:
        connection = self._open.get(day)
        if connection is None:
            connection = self._open[day] = _open_day(self._directory, day, self._writer)
        due = time.monotonic() >= self._synced + _INTERVAL
        connection.execute(f"PRAGMA synchronous = {'FULL' if due else 'NORMAL'}")
        _insert(connection, events)
        if due:
            self._synced = time.monotonic()
        # A checkpoint is the usual one of SQLite: nothing waits for these commits.

    def _seal_older(self) -> None:
        """Finish files of earlier days that a stop or a crash left hot."""
        today = day_of(time.time())
        for path in sorted(self._directory.glob(f"*.{self._writer}.db")):
            if path.name < today and not _is_sealed(path):
                _seal(_open_day(self._directory, path.name.partition(".")[0], self._writer))


def _by_day(events: Sequence[TraceEvent]) -> dict[str, list[TraceEvent]]:
    groups: dict[str, list[TraceEvent]] = {}
    for event in events:
        groups.setdefault(day_of(event.at), []).append(event)
    return groups


def _open_day(directory: Path, day: str, writer: str) -> apsw.Connection:
    make_directory(directory)
    connection = open_database(directory / f"{day}.{writer}.db", _SETTINGS, synchronous="NORMAL")
    try:
        connection.execute("PRAGMA wal_autocheckpoint = 1000")
        with connection:
            _fit_table(connection)
    except apsw.Error as error:
        connection.close()
        raise StoreFailure(f"trace of {day}: {error}") from error
    return connection


def _fit_table(connection: apsw.Connection) -> None:
    """Make the table, or add the columns that the version which made it did not know."""
    present = table_columns(connection)
    if not present:
        connection.execute(f"CREATE TABLE trace ({', '.join(_DEFINITIONS.values())})")
        connection.execute(_HOT_INDEX)
        return
    for name in COLUMNS:
        if name not in present:
            connection.execute(f"ALTER TABLE trace ADD COLUMN {_DEFINITIONS[name]}")


def table_columns(connection: apsw.Connection) -> set[str]:
    """The columns that a day file has; none if it was made this moment."""
    return {str(row[1]) for row in connection.execute("PRAGMA table_info(trace)")}


def _insert(connection: apsw.Connection, events: list[TraceEvent]) -> None:
    rows = [row for row in map(_row, events) if row is not None]
    with connection:
        connection.executemany(_INSERT, rows)


def _row(event: TraceEvent) -> list[Any] | None:
    """The columns of an event, None if it cannot be written."""
    row = list(msgspec.structs.astuple(event))
    try:
        row[_TLS] = _encode(event.tls).decode()
        row[_DETAIL] = _encode(event.detail).decode()
        for value in row:
            if type(value) is str and not value.isascii():
                value.encode()
    except (UnicodeError, TypeError, ValueError) as error:
        _log.error("the message trace: an event of %s is left out: %s", event.message, error)
        return None
    return row


def _is_sealed(path: Path) -> bool:
    with contextlib.closing(open_for_reading(path)) as connection:
        sealed: bool = connection.pragma("user_version") == _SEALED
        return sealed


def _seal(connection: apsw.Connection) -> None:
    """The day is over: make the indexes, and one plain file out of three."""
    try:
        if connection.pragma("user_version") != _SEALED:
            connection.execute("PRAGMA synchronous = FULL")
            with connection:
                for statement in _SEALING:
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {_SEALED}")
        connection.execute("PRAGMA journal_mode = DELETE")
    finally:
        connection.close()
