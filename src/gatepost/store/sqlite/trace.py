"""The message trace on disk: files of one day and writer (`store.sqlite.trace_files`), UTC.

Written by a thread of its own, off the commit path: rows wait a tenth of a second after a pause, else at most a second
or 500 of them, and are synced about once a second. While a file is hot it has one index, on the queue id, which grows
at its end (0.5 us a row; an index on anything random costs ten times that). The others are made when it is full or its
day is over: 10 us a row, and to look through a full file without them takes 14 ms (bench/trace_search.py). Read by
`store.sqlite.trace_search`.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from typing import TYPE_CHECKING

import apsw
import msgspec

from gatepost.store.buffer import FEW, EventBuffer
from gatepost.store.interface import StoreFailure
from gatepost.store.sqlite.schema import StoreSettings, make_directory, open_database, open_for_reading
from gatepost.store.sqlite.trace_files import TraceFile, day_of, trace_files
from gatepost.store.sqlite.trace_texts import make_texts
from gatepost.store.trace import COLUMNS, stored_row, without_subjects

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from gatepost.mail.model.trace_event import TraceEvent


_log = logging.getLogger(__name__)

# A file and its one index grow at their ends; the other indexes are made when it is full.
_SETTINGS = StoreSettings(page_size=8192, checkpoint_pages=1000, cache_bytes=2 * 1024 * 1024)
# user_version of a file that is written no more: since 3 with the indexes of what is looked for; 4 has those of peers,
# HANDED_OVER and TRIED as well, 5 the texts in which parts of words are found. Its writer makes an older one anew at
# its next start.
_SEALED, _INDEXED = 5, 3

FULL = 50_000
"""Rows after which a file is full."""

_INTERVAL = 1.0
_PAUSE = 60.0  # between two complaints of the same

# Text is compared as people compare addresses and names: ASCII letters without regard to case.
_TYPES = {
    "at": "REAL NOT NULL DEFAULT 0",
    "size": "INTEGER NOT NULL DEFAULT 0",
    "tls": "TEXT NOT NULL DEFAULT '{}'",
    "detail": "TEXT NOT NULL DEFAULT '{}'",
}
_DEFINITIONS = {name: f"{name} {_TYPES.get(name, "TEXT COLLATE NOCASE NOT NULL DEFAULT ''")}" for name in COLUMNS}
_HOT_INDEX = "CREATE INDEX IF NOT EXISTS by_message ON trace (message) WHERE message <> ''"


def domain_of(column: str) -> str:
    """The domain of an address as SQL has it: what is behind the last "@", all of it if there is none."""
    return f"substr({column}, length(rtrim({column}, replace({column}, '@', ''))) + 1) COLLATE NOCASE"


TLS_LEVEL = "substr(achieved, instr(achieved, '/') + 1) COLLATE NOCASE"
"""The level achieved on the TLS ladder: all of `achieved` inbound, the part after the MX ladder outbound."""

PEER_IP = (
    "CASE WHEN instr(peer_address, ']:') THEN substr(peer_address, 2, instr(peer_address, ']') - 2)"
    " WHEN instr(peer_address, '.') BETWEEN 1 AND instr(peer_address, ':')"
    " THEN substr(peer_address, 1, instr(peer_address, ':') - 1) ELSE peer_address END COLLATE NOCASE"
)
"""The IP address of the other side: outbound it is kept with its port, of IPv6 in brackets then."""

HANDED_OVER = """iif(instr(detail, '"handover"') > 0, 1, NULL)"""
"""1 for a row that may have another node's ids: few do, and a text without the word need not be understood for it."""
TRIED = "iif(instr(detail, 'would_refuse_connector') > 0 OR instr(detail, 'would go first') > 0, 1, NULL)"
"""1 for a row that tells of a connector in rehearsal which is not its own (`analysis.rehearsal.rehearsal`)."""

# Columns of conditions, most selective first; `store.sqlite.trace_search` uses the first that a filter has.
_SEALING = (
    *(
        f"CREATE INDEX IF NOT EXISTS by_{name} ON trace ({name}) WHERE {name} <> ''"
        for name in ("session", "message_id", "sender", "recipient", "result_type", "connector")
    ),
    *(f"CREATE INDEX IF NOT EXISTS by_{name}_domain ON trace ({domain_of(name)})" for name in ("recipient", "sender")),
    *(
        f"CREATE INDEX IF NOT EXISTS by_{name} ON trace ({name}) WHERE {name} <> ''"
        for name in ("tls_group", "tls_version", "organization", "event", "peer_host")
    ),
    f"CREATE INDEX IF NOT EXISTS by_peer_ip ON trace ({PEER_IP})",
    f"CREATE INDEX IF NOT EXISTS by_tls_level ON trace ({TLS_LEVEL})",
    *(
        f"CREATE INDEX IF NOT EXISTS {name} ON trace ({rare}) WHERE {rare} IS NOT NULL"
        for name, rare in (("by_handover", HANDED_OVER), ("by_trial", TRIED))
    ),
)
INSERT = f"INSERT INTO trace ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"  # noqa: S608 - our names


def write_events(directory: Path, writer: str, events: Sequence[TraceEvent]) -> None:
    """Write rows now, from a process that has no `TraceWriter` ("admin" is such a writer's name).

    Several processes may do so at once: SQLite's locks keep them apart. Raises StoreFailure.
    """
    for day, group in _by_day(events).items():
        part = open_part(directory, newest_file(directory, day, writer))
        try:
            part.insert(group)
        except apsw.Error as error:
            raise StoreFailure(f"trace of {day}: {error}") from error
        finally:
            part.connection.close()


class TraceFilePart(msgspec.Struct):
    """An open file that takes rows."""

    file: TraceFile
    connection: apsw.Connection
    rows: int

    def insert(self, events: list[TraceEvent]) -> None:
        """Add rows in one transaction."""
        rows = [row for row in map(stored_row, events) if row is not None]
        with self.connection:
            self.connection.executemany(INSERT, rows)
        self.rows += len(rows)


class TraceWriter:
    """Buffers rows and writes them on its thread.

    dropped: rows that were lost since the start, as the disk was behind. trouble: why rows wait, "" if none do.

    add: keeps rows, on disk within a second; for the event loop, never blocks on the disk.

    subjects: whether rows keep them.
    """

    def __init__(self, directory: Path, writer: str, *, interval: float = _INTERVAL, subjects: bool = True) -> None:
        self._directory = directory
        self._writer = writer
        self._interval = interval
        self._buffer = EventBuffer(prompt=True)
        self.add = self._buffer.add if subjects else lambda events: self._buffer.add(without_subjects(events))
        self.dropped, self.trouble = 0, ""
        self._open: dict[str, TraceFilePart] = {}
        self._synced = 0.0
        self._complained = -_PAUSE
        self._thread = threading.Thread(target=self._run, name=f"trace-{writer}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Write what waits and end the thread."""
        self._buffer.close()
        self._thread.join()

    # ------------------------------------------------------------------------------------------- on the thread

    def _run(self) -> None:
        self._attempt(self._seal_older)
        while not self._buffer.closing:
            self._buffer.wait(self._interval)
            self._attempt(self._flush)
        self._attempt(self._flush)
        self._close_days()
        rows, dropped = self._buffer.take()
        if rows or dropped:
            _log.error(
                "the message trace: %d rows could not be written before the stop, and are lost", len(rows) + dropped
            )

    def _attempt(self, step: Callable[[], None]) -> None:
        """The trace never stops the mail: what fails is said, and tried again with the next rows."""
        try:
            step()
        except (apsw.Error, OSError, StoreFailure) as error:
            self.trouble = str(error)
            if time.monotonic() >= self._complained + _PAUSE:
                self._complained = time.monotonic()
                _log.error("the message trace: %s; rows wait in memory, as far as they fit", error)
            self._close_days()

    def _close_days(self) -> None:
        for part in self._open.values():
            part.connection.close()
        self._open.clear()

    def _flush(self) -> None:
        rows, dropped = self._buffer.take()
        self.dropped += dropped
        if dropped:
            _log.error("the message trace: %d rows were dropped, the disk is behind", dropped)
        groups = _by_day(rows)
        try:
            for day in sorted(groups):
                while groups[day]:
                    some = groups[day][:FEW] if self.trouble else groups[day]
                    self._write(day, some)
                    groups[day], self.trouble = groups[day][len(some) :], ""
        except BaseException:
            self._buffer.put_back([event for group in groups.values() for event in group])
            raise
        self.trouble = ""
        self._begin_next()
        today = day_of(time.time())
        for day in [day for day in self._open if day < today]:
            seal(self._open.pop(day).connection)

    def _write(self, day: str, events: list[TraceEvent]) -> None:
        part = self._open.get(day)
        if part is None:
            part = self._open[day] = open_part(self._directory, newest_file(self._directory, day, self._writer))
        due = time.monotonic() >= self._synced + _INTERVAL
        part.connection.execute(f"PRAGMA synchronous = {'FULL' if due else 'NORMAL'}")
        part.insert(events)
        if due:
            self._synced = time.monotonic()
        # A checkpoint is the usual one of SQLite: nothing waits for these commits.

    def _begin_next(self) -> None:
        """Rows of a day that has a full file go to the next one."""
        for day, part in list(self._open.items()):
            if part.rows >= FULL:
                self._open[day] = open_part(self._directory, part.file.next)
                seal(part.connection)

    def _seal_older(self) -> None:
        """Finish files that a stop or a crash left hot: those of earlier days, and those that another one follows."""
        own = [file for file in trace_files(self._directory) if file.writer == self._writer]
        today = day_of(time.time())
        for file in own:
            over = file.day < today or file.next in own
            if over and not _is_one_file(self._directory / file.name):
                seal(open_part(self._directory, file).connection)


def _by_day(events: Sequence[TraceEvent]) -> dict[str, list[TraceEvent]]:
    groups: dict[str, list[TraceEvent]] = {}
    for event in events:
        groups.setdefault(day_of(event.at), []).append(event)
    return groups


def newest_file(directory: Path, day: str, writer: str) -> TraceFile:
    """The file that takes a writer's rows of a day: the newest, or the first that is to be."""
    of_day = (file for file in trace_files(directory) if (file.day, file.writer) == (day, writer))
    return max(of_day, default=TraceFile(day, writer))


def open_part(directory: Path, file: TraceFile) -> TraceFilePart:
    """Open a file for more rows; it is made if it is not there. Raises StoreFailure."""
    make_directory(directory)
    connection = open_database(directory / file.name, _SETTINGS, synchronous="NORMAL")
    try:
        connection.execute("PRAGMA wal_autocheckpoint = 1000")
        with connection:
            _fit_table(connection)
        rows = connection.execute("SELECT ifnull(max(rowid), 0) FROM trace").get
    except apsw.Error as error:
        connection.close()
        raise StoreFailure(f"trace of {file.day}: {error}") from error
    return TraceFilePart(file, connection, rows)


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


def is_sealed(connection: apsw.Connection) -> bool:
    """Whether a file is written no more and has the indexes of what is looked for."""
    return bool(_INDEXED <= connection.pragma("user_version") <= _SEALED)


def is_whole(connection: apsw.Connection) -> bool:
    """Whether it has all indexes of this version, and the texts."""
    return bool(connection.pragma("user_version") == _SEALED)


def _is_one_file(path: Path) -> bool:
    """Whether it was sealed to the end: a crash may have come before the write-ahead log was removed."""
    with contextlib.closing(open_for_reading(path)) as connection:
        return is_whole(connection) and not path.with_name(f"{path.name}-wal").exists()


def seal(connection: apsw.Connection) -> None:
    """The day is over: make the indexes, and one plain file out of three."""
    try:
        if not is_whole(connection):
            connection.execute("PRAGMA synchronous = FULL")
            with connection:
                for statement in _SEALING:
                    connection.execute(statement)
                make_texts(connection)
                connection.execute(f"PRAGMA user_version = {_SEALED}")
        _make_one_file(connection)
    finally:
        connection.close()


def _make_one_file(connection: apsw.Connection) -> None:
    """Who reads it at this moment keeps it as three files, until the last one of them is done."""
    with contextlib.suppress(apsw.BusyError):
        connection.execute("PRAGMA journal_mode = DELETE")
