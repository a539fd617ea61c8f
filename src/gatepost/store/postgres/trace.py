"""The message trace in PostgreSQL: `store.trace.Trace` over the rows of all nodes, from any of them.

The newest day is searched first, then the one before, then two, four and so on, until the page is full: most searches
end soon, and one for what is rare asks seldom. A scan reads by a cursor of the server, a day in a transaction:
neither the whole of it is in memory, nor does a long report keep the server from cleaning up for longer than a day
takes to read.
"""

from __future__ import annotations

import contextlib
import logging
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import asyncpg
import msgspec

from gatepost.store.interface import StoreFailure, TraceFilter
from gatepost.store.postgres.database import prepare_tables
from gatepost.store.postgres.server import DatabaseServer
from gatepost.store.postgres.trace_conditions import PostgresConditions
from gatepost.store.postgres.trace_counts import PostgresHours, tally_part
from gatepost.store.postgres.trace_tables import DAY, PARTS, REAL_DAY, SCHEMA, midnight, partition, writer_name
from gatepost.store.postgres.trace_writer import PostgresTraceWriter, write_rows
from gatepost.store.text_pattern import matcher
from gatepost.store.trace import COLUMNS, PATIENCE, TracePlace, trace_event, without_subjects
from gatepost.times import day_text

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Collection, Generator, Iterator, Mapping, Sequence

    from gatepost.mail.model.trace_event import TraceEvent
    from gatepost.store.trace import Among, HopKind, TracePart, TraceRow


_log = logging.getLogger(__name__)

_PAGED: Final = ("writer", "number", *COLUMNS)
_FETCHED: Final = 1000  # rows of a scan that are in memory at a time
_DAYS: Final = f"SELECT DISTINCT day FROM trace_part WHERE day >= $1 AND day <= $2 AND {REAL_DAY} ORDER BY day"  # noqa: S608 - ours
_TABLES: Final = (
    "SELECT relname FROM pg_class WHERE relkind = 'r' AND relname ~ '^trace_[0-9]{8}$' AND relname < $1"
    " AND relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = to_regclass('trace')) ORDER BY relname"
)


class PostgresPart(NamedTuple):
    """The rows of one day and writer."""

    day: str
    writer: str

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.day}.{self.writer}"


class PostgresTrace:
    """Implements `store.trace.Trace`. Connects when it is first asked.

    node: the name of this host. subjects: whether rows keep them.
    """

    def __init__(self, url: str, node: str, *, subjects: bool = True) -> None:
        self._url = url
        self._node = node
        self._subjects = subjects
        self._prepared = False

    def sink(self, worker: int) -> PostgresTraceWriter:
        """See `Trace.sink`."""
        return PostgresTraceWriter(self._url, writer_name(self._node, worker), subjects=self._subjects)

    def write(self, writer: str, events: Sequence[TraceEvent]) -> None:
        """See `Trace.write`."""
        with self._connection() as (server, connection):
            kept = events if self._subjects else without_subjects(events)
            server.run(lambda: write_rows(connection, writer, kept), "message trace")

    def search(self, wanted: TraceFilter) -> list[TraceEvent]:
        """See `Trace.search`."""
        return self._own_or_elsewhere(wanted, TracePlace(wanted.until))[0]

    def page(
        self, wanted: TraceFilter, after: TracePlace | None, now: float
    ) -> tuple[list[TraceEvent], TracePlace | None]:
        """See `Trace.page`."""
        begin = after or TracePlace(now)
        narrowed = msgspec.structs.replace(wanted, until=min(wanted.until or begin.until, begin.until))
        if after is not None:
            return self._page(narrowed, begin)
        return self._own_or_elsewhere(narrowed, begin)

    def _own_or_elsewhere(self, wanted: TraceFilter, begin: TracePlace) -> tuple[list[TraceEvent], TracePlace | None]:
        rows, place = self._page(wanted, begin)
        if rows or not (wanted.message or wanted.session):
            return rows, place
        return self._page(wanted, msgspec.structs.replace(begin, elsewhere=True))

    def _page(self, wanted: TraceFilter, begin: TracePlace) -> tuple[list[TraceEvent], TracePlace | None]:
        found: list[TraceEvent] = []
        place, deadline, oldest_first = begin, time.monotonic() + PATIENCE, wanted.oldest_first
        with self._connection() as (server, connection), _by_index(server, connection):
            days = _days_from(begin, _days(server, connection, wanted), oldest_first=oldest_first)
            for turn, span in enumerate(_spans(days, doubling=not wanted.patterns, oldest_first=oldest_first)):
                if wanted.patterns and turn and time.monotonic() > deadline:
                    return found, _edge(begin, span, oldest_first=oldest_first)
                conditions = PostgresConditions(wanted, elsewhere=begin.elsewhere)
                table = _table(conditions, span)
                behind = _following(conditions, begin, ">" if oldest_first else "<")
                sql = _select(_PAGED, table, conditions, behind, oldest_first=oldest_first)
                with contextlib.closing(_page_rows(server, connection, sql, conditions, wanted, len(found))) as rows:
                    for writer, number, *row in rows:
                        if len(found) == wanted.limit:
                            return found, place
                        event = trace_event(COLUMNS, tuple(row))
                        found.append(event)
                        ends = {writer: (0, number)}
                        place = msgspec.structs.replace(begin, day=day_text(event.at), ends=ends, at=event.at)
        return found, None

    def scan(
        self,
        wanted: TraceFilter,
        columns: Sequence[str],
        *,
        events: Collection[str] = (),
        oldest_first: bool = False,
        unreadable: list[str] | None = None,  # noqa: ARG002 - the server is there, or the whole scan fails
        among: Among | None = None,
    ) -> Iterator[TraceRow]:
        """See `Trace.scan`."""
        conditions = PostgresConditions(wanted, events, among=among)
        with self._connection() as (server, connection):
            days = _days(server, connection, wanted)
            for day in days if oldest_first else reversed(days):
                sql = _select(columns, partition(day), conditions, oldest_first=oldest_first)
                yield from _streamed(server, connection, sql, conditions)

    def first_answered(self, questions: Sequence[TraceFilter]) -> int | None:
        """See `Trace.first_answered`."""
        with self._connection() as (server, connection), _by_index(server, connection):
            days = _days(server, connection, questions[0])
            for place, question in enumerate(questions):
                for elsewhere in (False, True) if question.message or question.session else (False,):
                    conditions = PostgresConditions(question, elsewhere=elsewhere)
                    sql = f"{_select(('at',), _table(conditions, days), conditions)} LIMIT 1"
                    if days and _rows(server, connection, sql, conditions):
                        return place
        return None

    def parts(self, first: str, last: str) -> Mapping[TracePart, object]:
        """See `Trace.parts`: each with its number of rows."""
        with self._connection() as (server, connection):
            parts = server.run(lambda: connection.fetch(PARTS, first, last), "message trace")
        return {PostgresPart(day, writer): rows for day, writer, rows in parts}

    def tally(self, part: TracePart, after: int = 0) -> tuple[int, Counter[HopKind]]:
        """See `Trace.tally`."""
        if not isinstance(part, PostgresPart):
            raise TypeError("the part is not of this trace")
        with self._connection() as (server, connection):
            return tally_part(server, connection, (part.day, part.writer), after)

    def hours(self) -> PostgresHours:
        """See `Trace.hours`."""
        return PostgresHours(self._connection)

    def unreadable(self) -> list[str]:
        """See `Trace.unreadable`."""
        return []

    def forget(self, before: float) -> list[str]:
        """See `Trace.forget`. Once for the site; several at once do no harm. What is in use stays until the next."""
        with self._connection() as (server, connection):
            tables = server.run(lambda: connection.fetch(_TABLES, partition(day_text(before))), "message trace")
            names = [str(name) for (name,) in tables]
            return [name for name in names if server.run(partial(_dropped, connection, name), f"forget {name}")]

    @contextlib.contextmanager
    def _connection(self) -> Iterator[tuple[DatabaseServer, Any]]:
        """A connection, with the tables made."""
        server = DatabaseServer.of(self._url)
        with server.connection() as connection:
            if not self._prepared:
                server.run(lambda: prepare_tables(connection, SCHEMA), "prepare tables")
                self._prepared = True
            yield server, connection


def _days(server: DatabaseServer, connection: Any, wanted: TraceFilter) -> list[str]:
    """The days that may have rows of the time wanted, in order."""
    first = day_text(wanted.since) if wanted.since else ""
    last = day_text(wanted.until) if wanted.until else "9999"
    return [str(day) for (day,) in server.run(lambda: connection.fetch(_DAYS, first, last), "message trace")]


def _days_from(begin: TracePlace, days: list[str], *, oldest_first: bool) -> list[str]:
    """The days that are not before the place, in the order of pages."""
    return [day for day in days if not begin.day or (day >= begin.day if oldest_first else day <= begin.day)]


def _spans(days: Sequence[str], *, doubling: bool, oldest_first: bool) -> Iterator[Sequence[str]]:
    """Days in groups, the newest first or the oldest: one, one, two, four and so on, or one at a time."""
    if oldest_first:
        for span in _spans(days[::-1], doubling=doubling, oldest_first=False):
            yield span[::-1]
        return
    end, size = len(days), 1
    while end > 0:
        begin = max(0, end - size)
        yield days[begin:end]
        size = max(1, len(days) - begin) if doubling else 1
        end = begin


def _edge(begin: TracePlace, span: Sequence[str], *, oldest_first: bool) -> TracePlace:
    """The place behind which the rows of some days are, and all that follow."""
    day = span[0] if oldest_first else span[-1]
    at = midnight(day) if oldest_first else midnight(day) + DAY
    return msgspec.structs.replace(begin, day=day, ends={"": (0, 0)}, at=float(at))


def _table(conditions: PostgresConditions, days: Sequence[str]) -> str:
    """The table that has some days: that of a single one, or that of all, with their bounds as a condition."""
    if len(days) < 2:
        return partition(days[0]) if days else "trace"
    conditions.between(midnight(days[0]), midnight(days[-1]) + DAY)
    return "trace"


def _following(conditions: PostgresConditions, begin: TracePlace, way: str) -> str:
    """The rows behind the place, in the order of `_select`."""
    for writer, (_, number) in begin.ends.items():
        values = (conditions.value(part) for part in (begin.at, writer, number))
        return f" AND (at, writer, number) {way} ({', '.join(values)})"
    return ""


def _select(
    columns: Sequence[str], table: str, conditions: PostgresConditions, behind: str = "", *, oldest_first: bool = False
) -> str:
    """The rows of a table, in order of time. Where few are meant they are looked up and sorted, not sought in order."""
    way = "ASC" if oldest_first else "DESC"
    at = "at + 0" if conditions.telling else "at"
    return (
        f"SELECT {', '.join(columns)} FROM {table} WHERE {conditions.where}{behind}"  # noqa: S608 - our names
        f" ORDER BY {at} {way}, writer {way}, number {way}"
    )


@contextlib.contextmanager
def _by_index(server: DatabaseServer, connection: Any) -> Iterator[None]:
    """Have tables read by an index, in order of time if by no other.

    The server cannot know how many rows meet conditions on JSON; it takes them for few, and would read and sort a day
    to find the hundred newest of very many.
    """
    server.run(lambda: connection.execute("SET enable_seqscan = off"), "search the trace")
    try:
        yield
    finally:
        with contextlib.suppress(StoreFailure):
            server.run(lambda: connection.execute("RESET enable_seqscan"), "search the trace")


def _rows(server: DatabaseServer, connection: Any, sql: str, conditions: PostgresConditions) -> list[Any]:
    """The rows of a query; none of a day that was forgotten meanwhile."""
    with contextlib.suppress(_Forgotten):
        found: list[Any] = server.run(lambda: _noticing(connection.fetch(sql, *conditions.values)), "search the trace")
        return found
    return []


def _page_rows(
    server: DatabaseServer,
    connection: Any,
    sql: str,
    conditions: PostgresConditions,
    wanted: TraceFilter,
    found: int,
) -> Generator[TraceRow]:
    """The rows that a page has room for, and one more. found: how many it has.

    Of rows with a pattern the server knows less than whether they match: they are streamed.
    """
    if not wanted.patterns:
        yield from _rows(server, connection, f"{sql} LIMIT {wanted.limit + 1 - found:d}", conditions)
        return
    with contextlib.closing(_streamed(server, connection, sql, conditions)) as rows:
        yield from filter(matcher(wanted.patterns, _PAGED), rows)


def _streamed(server: DatabaseServer, connection: Any, sql: str, conditions: PostgresConditions) -> Generator[TraceRow]:
    """The same, some at a time."""
    server.run(lambda: connection.execute("BEGIN READ ONLY"), "scan the trace")
    try:
        with contextlib.suppress(_Forgotten):
            opening = connection.cursor(sql, *conditions.values)
            cursor = server.run(lambda: _noticing(opening), "scan the trace")
            while rows := server.run(lambda: cursor.fetch(_FETCHED), "scan the trace"):
                yield from map(tuple, rows)
    finally:
        with contextlib.suppress(StoreFailure):
            server.run(lambda: connection.execute("ROLLBACK"), "scan the trace")


class _Forgotten(Exception):  # noqa: N818 - it names what happened
    """The table of a day is gone."""


async def _noticing(asked: Any) -> Any:
    try:
        return await asked
    except asyncpg.UndefinedTableError:
        raise _Forgotten from None


async def _dropped(connection: Any, name: str) -> bool:
    """Forget the day that has a table; whether it is gone, and not by another node."""
    try:
        await connection.execute("SELECT trace_drop_day($1)", name)
    except asyncpg.UndefinedTableError:
        return False
    except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
        _log.warning("the message trace is in use: %s stays, and is dropped at the next attempt", name)
        return False
    return True
