"""Write rows of the message trace to PostgreSQL: batches of them by COPY into the table of their day.

A worker's rows come by a thread with a connection of its own, off the commit path; those that wait for the server are
bounded as those that wait for a disk are. The table of a day is made by whoever needs it first, and a day ahead. A
batch is committed without waiting for the server's disk: a crash of the server may take the last second of the trace,
as a crash of a node does with SQLite. Read by `store.postgres.trace`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import asyncpg

from gatepost.store.buffer import EventBuffer
from gatepost.store.interface import StoreFailure
from gatepost.store.postgres.database import MADE_MEANWHILE, prepare_tables
from gatepost.store.postgres.server import connect, reported
from gatepost.store.postgres.trace_tables import DAY, SCHEMA, partition
from gatepost.store.trace import COLUMNS, storable_columns, stored_row, without_subjects
from gatepost.times import day_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gatepost.mail.model.trace_event import TraceEvent


_log = logging.getLogger(__name__)

_INTERVAL: Final = 1.0
_BATCH: Final = 2000  # rows of one transaction: some megabytes
_PAUSE: Final = 60.0  # between two complaints of the same
_STORED: Final = ("writer", "number", *COLUMNS)

# Errors of a row itself, which no later attempt mends: text or numbers that the server does not take.
_UNSTORABLE: Final = (asyncpg.DataError, asyncpg.ProgramLimitExceededError, ValueError, OverflowError)

_IS_MADE: Final = "SELECT to_regclass($1) IS NOT NULL"
_COUNT: Final = (
    "INSERT INTO trace_part (day, writer, rows) VALUES ($1, $2, $3)"
    " ON CONFLICT (day, writer) DO UPDATE SET rows = trace_part.rows + excluded.rows RETURNING rows"
)
_ROWS: Final = "SELECT rows FROM trace_part WHERE day = $1 AND writer = $2"


class _Attempt(NamedTuple):
    """A batch whose commit was not answered. rows: how many the writer has of the day, if it went well."""

    day: str
    events: int
    rows: int


class PostgresTraceWriter:
    """Implements `store.trace.TraceSink`. dropped: rows that were lost since the start, as the server was away.

    trouble: why rows wait, "" if none do. add: keeps rows, stored within a second; for the event loop, never blocks.
    subjects: whether rows keep them.
    """

    def __init__(self, url: str, writer: str, *, interval: float = _INTERVAL, subjects: bool = True) -> None:
        self._url = url
        self._writer = writer
        self._interval = interval
        self._buffer = EventBuffer(prompt=True)
        self.add = self._buffer.add if subjects else lambda events: self._buffer.add(without_subjects(events))
        self.dropped, self.trouble = 0, ""
        self._connection: Any = None
        self._made = ""  # the day whose table, and that of the next day, are known to be there
        self._attempt: _Attempt | None = None
        self._complained = -_PAUSE
        self._thread = threading.Thread(target=self._run, name=f"trace-{writer}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Write what waits, as far as the server takes it, and end the thread."""
        self._buffer.close()
        self._thread.join()

    # ------------------------------------------------------------------------------------------- on the thread

    def _run(self) -> None:
        with asyncio.Runner() as runner:
            while not self._buffer.closing:
                runner.run(self._write())
                self._buffer.wait(self._interval)
            runner.run(self._write())
            runner.run(self._disconnect())
        events, dropped = self._buffer.take()
        if events or dropped:
            lost = len(events) + dropped
            _log.error("the message trace: %d rows could not be written before the stop, and are lost", lost)

    async def _write(self) -> None:
        """The trace never stops the mail: what fails is said, and tried again with the next rows."""
        try:
            with reported("message trace"):
                await self._flush()
            self.trouble = ""
        except StoreFailure as failure:
            self.trouble = str(failure)
            if time.monotonic() >= self._complained + _PAUSE:
                self._complained = time.monotonic()
                _log.error("the message trace: %s; rows wait in memory, as far as they fit", failure)
            await self._disconnect()

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):
                await connection.close(timeout=1.0)

    async def _flush(self) -> None:
        events, dropped = self._buffer.take()
        self.dropped += dropped
        if dropped:
            _log.error("the message trace: %d rows were dropped, the server is behind", dropped)
        batches = deque(_batches(events))
        try:
            if batches or self._made != day_text(time.time()):
                await self._connect()
            await self._settle_attempt(batches)
            while batches:
                await self._store_first(batches)
        except BaseException:
            self._buffer.put_back([event for _, batch in batches for event in batch])
            raise

    async def _connect(self) -> None:
        if self._connection is None or self._connection.is_closed():
            self._connection = await connect(self._url, role="trace")
            await self._connection.execute("SET synchronous_commit = off")
            await prepare_tables(self._connection, SCHEMA)
        today = day_text(time.time())
        if self._made != today:
            await make_partition(self._connection, today)
            await make_partition(self._connection, day_text(time.time() + DAY))
            self._made = today

    async def _settle_attempt(self, batches: deque[tuple[str, list[TraceEvent]]]) -> None:
        """Leave out what an unanswered commit has stored after all: it stands first among those of its day."""
        attempt = self._attempt
        if attempt is None or not batches:
            return
        rows = await self._connection.fetchval(_ROWS, attempt.day, self._writer)
        place = next((place for place, (day, _) in enumerate(batches) if day == attempt.day), None)
        if (rows or 0) >= attempt.rows and place is not None:
            day, first = batches[place]
            batches[place] = day, first[attempt.events :]
        self._attempt = None

    async def _store_first(self, batches: deque[tuple[str, list[TraceEvent]]]) -> None:
        """Store the first batch; of one that cannot be stored, its halves, down to the row that is at fault."""
        day, batch = batches[0]
        rows = [row for row in map(_storable_row, batch) if row is not None]
        try:
            if rows:
                await self._store(day, rows, len(batch))
        except _UNSTORABLE as error:
            self._attempt = None
            half = len(batch) // 2
            if half:
                batches.popleft()
                batches.extendleft(((day, batch[half:]), (day, batch[:half])))
                return
            for event in batch:
                _log.error("the message trace: an event of %s is left out: %s", event.message, error)
        except asyncpg.UndefinedTableError:  # of a day long past, or one that was forgotten meanwhile
            await make_partition(self._connection, day)
            return
        batches.popleft()

    async def _store(self, day: str, rows: list[list[Any]], count: int) -> None:
        async with self._connection.transaction():
            total = await insert_rows(self._connection, day, self._writer, rows)
            self._attempt = _Attempt(day, count, total)
        self._attempt = None


async def insert_rows(connection: Any, day: str, writer: str, rows: list[list[Any]]) -> int:
    """Insert rows of one day, within a transaction; returns how many the writer has of it then.

    Raises asyncpg.UndefinedTableError if the table of the day is not there.
    """
    total: int = await connection.fetchval(_COUNT, day, writer, len(rows))
    records = [(writer, number, *row) for number, row in enumerate(rows, total - len(rows) + 1)]
    await connection.copy_records_to_table(partition(day), records=records, columns=_STORED)
    return total


async def write_rows(connection: Any, writer: str, events: Sequence[TraceEvent]) -> None:
    """Write rows now, each day in a transaction."""
    for day, batch in _batches(events):
        rows = [row for row in map(_storable_row, batch) if row is not None]
        await make_partition(connection, day)
        async with connection.transaction():
            await insert_rows(connection, day, writer, rows)


async def make_partition(connection: Any, day: str) -> None:
    """Make the table of a day, unless it is there. Several may try at once; readers and writers are not held up."""
    name = partition(day)
    if await connection.fetchval(_IS_MADE, name):
        return
    with contextlib.suppress(*MADE_MEANWHILE):
        await connection.execute("SELECT trace_make_day($1)", name)


def _day_number(at: float) -> int:
    return int(at // DAY)


def _batches(events: Sequence[TraceEvent]) -> Iterator[tuple[str, list[TraceEvent]]]:
    """Events by day, in their order, so many at a time."""
    days: dict[int, list[TraceEvent]] = {}
    for event in events:
        days.setdefault(_day_number(event.at), []).append(event)
    for number in sorted(days):
        group = days[number]
        for first in range(0, len(group), _BATCH):
            yield day_text(number * DAY), group[first : first + _BATCH]


def _storable_row(event: TraceEvent) -> list[Any] | None:
    row = stored_row(event)
    return None if row is None else storable_columns(row)
