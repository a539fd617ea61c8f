"""Search the message trace: over the day files of all writers, newest first.

`search_trace` finds a few rows, `scan_trace` goes over all rows of a time span, however many, a few at a time. For the
command line and the admin centre, on a running gateway as on a stopped one. Blocks: call it on a thread from an event
loop. A file that cannot be read is named in the log and does not hide the others.
"""

from __future__ import annotations

import contextlib
import heapq
import logging
import time
from itertools import batched, groupby, islice
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Final

import apsw
import msgspec

from gatepost.store.sqlite.schema import open_for_reading
from gatepost.store.sqlite.trace import is_sealed, is_whole, table_columns
from gatepost.store.sqlite.trace_conditions import FOLDED, Conditions
from gatepost.store.sqlite.trace_files import files_of_time
from gatepost.store.sqlite.trace_texts import rows_with
from gatepost.store.text_pattern import fold, matcher
from gatepost.store.trace import COLUMNS, PATIENCE, TracePlace, trace_event

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
    from pathlib import Path

    from gatepost.mail.model.trace_event import TraceEvent
    from gatepost.store.interface import TraceFilter
    from gatepost.store.sqlite.trace_files import TraceFile
    from gatepost.store.trace import Among, TraceRow


_log = logging.getLogger(__name__)

_LOOKED_UP: Final = 500  # rows that one statement looks up


def search_trace(directory: Path, wanted: TraceFilter) -> list[TraceEvent]:
    """The newest `wanted.limit` rows that match, newest first.

    An id of a message or session that no row has as its own is looked for among those that another node of the site
    gave: a row of a hop between nodes has them beside its own.
    """
    events = _matching(directory, wanted, Conditions(wanted))
    if events or not (wanted.message or wanted.session):
        return events
    return _matching(directory, wanted, Conditions(wanted, elsewhere=True))


def trace_page(
    directory: Path, wanted: TraceFilter, after: TracePlace | None, now: float
) -> tuple[list[TraceEvent], TracePlace | None]:
    """As `search_trace`, a page at a time: the rows, and the place behind which the next ones are, None on the last.

    after: the place that the page before gave, None for the first. now: seconds since 1970.
    """
    begin = after or TracePlace(now)
    narrowed = msgspec.structs.replace(wanted, until=min(wanted.until or begin.until, begin.until))
    events, place = _page(directory, narrowed, begin)
    if events or after is not None or not (wanted.message or wanted.session):
        return events, place
    return _page(directory, narrowed, msgspec.structs.replace(begin, elsewhere=True))


def _page(directory: Path, wanted: TraceFilter, begin: TracePlace) -> tuple[list[TraceEvent], TracePlace | None]:
    where = Conditions(wanted, elsewhere=begin.elsewhere)
    matches: list[TraceEvent] = []
    place, full, looked, oldest_first = begin, False, 0, wanted.oldest_first
    deadline = time.monotonic() + PATIENCE
    for group in _days(directory, wanted, oldest_first=oldest_first):
        day = group[0].day
        if begin.day and (day < begin.day if oldest_first else day > begin.day):
            continue
        if wanted.patterns and looked and time.monotonic() > deadline:
            return matches, msgspec.structs.replace(begin, day=day, ends={})
        looked += 1
        ends = begin.ends if day == begin.day else {}
        reached = dict(ends)
        events: list[TraceEvent] = []
        reading = _Reading(directory, where, COLUMNS, oldest_first=oldest_first, ends=ends)
        with contextlib.closing(_merged(group, reading)) as rows:
            for *row, (writer, number, rowid) in rows:
                if full := len(matches) + len(events) == wanted.limit:
                    break
                events.append(trace_event(COLUMNS, tuple(row)))
                reached[writer] = number, rowid
        if events:
            place = msgspec.structs.replace(begin, day=day, ends=reached)
        matches += sorted(events, key=lambda event: event.at, reverse=not oldest_first)
        if full:
            return matches, place
    return matches, None


def _matching(directory: Path, wanted: TraceFilter, where: Conditions) -> list[TraceEvent]:
    matches: list[TraceEvent] = []
    for group in _days(directory, wanted):
        rows = _merged(group, _Reading(directory, where, COLUMNS))
        events = [trace_event(COLUMNS, row) for row in islice(rows, wanted.limit - len(matches))]
        rows.close()
        # Rows of one writer come as they were written, which is not quite the order in which things happened.
        matches += sorted(events, key=lambda event: event.at, reverse=True)
        if len(matches) >= wanted.limit:
            break
    return matches


def scan_trace(  # noqa: PLR0913 - what is read, which rows, and how
    directory: Path,
    wanted: TraceFilter,
    columns: Sequence[str],
    *,
    events: Collection[str] = (),
    oldest_first: bool = False,
    unreadable: list[str] | None = None,
    among: Among | None = None,
) -> Iterator[TraceRow]:
    """Every row that matches, whatever `wanted.limit` says, newest first, without having them all in memory.

    columns: names of TraceEvent's fields, only those that are needed. events: any of these; () is all. unreadable:
    takes the names of files that could not be read to their end. among: only these, which are looked up. Within a day
    the files of all writers are merged by time; rows of one writer come in the order in which they were written, so
    those of one message that were written together stay together.
    """
    where = Conditions(wanted, events, among=among)
    if among is None or among.holding:
        where.indexed = []
    reading = _Reading(directory, where, columns, oldest_first=oldest_first, unreadable=unreadable)
    for group in _days(directory, wanted, oldest_first=oldest_first):
        yield from _merged(group, reading)


def _days(directory: Path, wanted: TraceFilter, *, oldest_first: bool = False) -> Iterator[list[TraceFile]]:
    """The files that may have rows of the time wanted, day by day, the newest day first unless it is said otherwise."""
    files = files_of_time(directory, wanted.since, wanted.until)
    for _, group in groupby(files if oldest_first else files[::-1], key=attrgetter("day")):
        yield list(group)


def _merged(files: Sequence[TraceFile], reading: _Reading) -> Generator[TraceRow]:
    """Rows of the files of one day, those of all writers merged by time. A file is opened when its turn comes."""
    writers: dict[str, list[TraceFile]] = {}
    for file in files:
        writers.setdefault(file.writer, []).append(file)
    chains = [reading.rows(chain) for chain in writers.values()]
    with contextlib.ExitStack() as stack:
        for chain in chains:
            stack.callback(chain.close)
        for row in heapq.merge(*chains, key=itemgetter(0), reverse=not reading.oldest_first):
            yield row[1:]


class _Reading(msgspec.Struct, frozen=True):
    """The way in which files are read.

    ends: rows behind these alone, as `TracePlace` has them; each row then ends with its own place.
    """

    directory: Path
    where: Conditions
    columns: Sequence[str]
    oldest_first: bool = False
    unreadable: list[str] | None = None
    ends: Mapping[str, tuple[int, int]] | None = None

    def rows(self, files: Sequence[TraceFile]) -> Generator[TraceRow]:
        """The rows of one writer's files, in the order of the files."""
        for file in files:
            number, last = (self.ends or {}).get(file.writer, (file.number, 0))
            if file.number < number if self.oldest_first else file.number > number:
                continue
            last = last if file.number == number else 0
            path = self.directory / file.name
            try:
                with contextlib.closing(open_for_reading(path)) as connection:
                    rows = self._matching(self._rows(connection, last))
                    if self.ends is None:
                        yield from (row[:-1] for row in rows)
                    else:
                        yield from ((*row[:-1], (file.writer, file.number, row[-1])) for row in rows)
            except apsw.Error as error:
                _log.warning("the message trace: %s cannot be read: %s", path, error)
                if self.unreadable is not None:
                    self.unreadable.append(path.name)

    def _matching(self, rows: Iterator[TraceRow]) -> Iterator[TraceRow]:
        if not self.where.patterns:
            return rows
        return filter(matcher(self.where.patterns, ("at", *self.columns)), rows)

    def _rows(self, connection: apsw.Connection, last: int) -> Iterator[TraceRow]:
        """Rows of one file, each with its number there at its end. last: those behind this one, 0 for all."""
        present = table_columns(connection)
        if not present:
            return
        names = (name if name in present else _MISSING.get(name, "''") for name in ("at", *self.columns, "rowid"))
        shown = ", ".join(names)
        order, way = ("ASC", ">") if self.oldest_first else ("DESC", "<")
        behind = f" AND rowid {way} {last:d}" if last else ""
        if self.where.patterns:
            connection.create_scalar_function(FOLDED, _folded, 1, deterministic=True)
            if self.where.indexed and is_whole(connection):
                yield from self._looked_up(connection, shown, last)
                return
        sealed = is_sealed(connection) and bool(self.where.indexed)
        table, alternatives = ("trace", self.where.indexed) if sealed else ("trace NOT INDEXED", [self.where.unindexed])
        streams = [
            connection.execute(f"SELECT {shown} FROM {table} WHERE ({term}){behind} ORDER BY rowid {order}", values)  # noqa: S608 - our names
            for term, values in alternatives
        ]
        yield from (
            heapq.merge(*streams, key=itemgetter(-1), reverse=not self.oldest_first) if streams[1:] else streams[0]
        )

    def _looked_up(self, connection: apsw.Connection, shown: str, last: int) -> Iterator[TraceRow]:
        """Rows of a file whose texts tell which ones may match."""
        term, values = self.where.unindexed
        among = f"rowid IN (SELECT value FROM json_each(?)) AND ({term})"  # noqa: S608 - our names
        order = "ASC" if self.oldest_first else "DESC"
        sql = f"SELECT {shown} FROM trace WHERE {among} ORDER BY rowid {order}"  # noqa: S608 - our names
        below = 0 if self.oldest_first else last
        blocks = rows_with(connection, self.where.patterns, self.where.organizations, below)
        if self.oldest_first:  # of one file, which is bounded
            blocks = iter([sorted(number for numbers in blocks for number in numbers if number > last)])
        for numbers in blocks:
            for some in batched(numbers, _LOOKED_UP):
                yield from connection.execute(sql, (str(list(some)), *values))


def _folded(*texts: object) -> str:
    return fold(str(texts[0]))


# What a column holds in a file of a version that did not know it.
_MISSING = {"rowid": "rowid", "at": "0.0", "size": "0", "tls": "'{}'", "detail": "'{}'"}
