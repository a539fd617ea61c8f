"""The message trace in SQLite files: `store.trace.Trace` of a directory, and searches over all writers' files.

`search_trace` finds a few rows, newest first, `scan_trace` goes over all rows of a time span, however many, a few at a
time, and `first_answered` finds which of several searches has a match, opening each file once. For the command line and
the admin centre, on a running gateway as on a stopped one. Blocks: call it on a thread from an event loop. A file that
cannot be read is named in the log and does not hide the others.
"""

from __future__ import annotations

import contextlib
import heapq
import logging
import os
import time
from functools import partial
from itertools import batched, groupby, islice
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Final

import apsw
import msgspec

from gatepost.store.interface import StoreFailure, TraceFilter
from gatepost.store.sqlite.schema import open_for_reading
from gatepost.store.sqlite.trace import TraceWriter, is_sealed, is_whole, rows_with, table_columns, write_events
from gatepost.store.sqlite.trace_conditions import FOLDED, Conditions
from gatepost.store.sqlite.trace_files import TraceFile, file_state, files_of_time, prune_trace, trace_files
from gatepost.store.sqlite.trace_tally import TraceHours, tally_file
from gatepost.store.text_pattern import fold, matcher
from gatepost.store.trace import (
    COLUMNS,
    PATIENCE,
    Among,
    HopKind,
    TracePart,
    TracePlace,
    TraceRow,
    trace_event,
    without_subjects,
)

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
    from pathlib import Path

    from gatepost.mail.model.trace_event import TraceEvent


def first_answered(directory: Path, questions: Sequence[TraceFilter]) -> int | None:
    """The place of the first question that any row answers, None if none does.

    All ask for the same time. An id is looked for among those of other nodes, too, where no row has it as its own, as
    `search_trace` does. A file that cannot be read, or that lacks a column of the conditions, has no match.
    """
    open_conditions = [
        (place, Conditions(question, elsewhere=elsewhere))
        for place, question in enumerate(questions)
        for elsewhere in ((False, True) if question.message or question.session else (False,))
    ]
    answered: int | None = None
    for file in reversed(files_of_time(directory, questions[0].since, questions[0].until)):
        try:
            number = _first(directory / file.name, [conditions for _, conditions in open_conditions])
        except apsw.Error as error:
            _log.warning("the message trace: %s cannot be read: %s", file.name, error)
            continue
        if number is not None:
            answered = open_conditions[number][0]
            open_conditions = open_conditions[:number]  # only those before it may still win
        if not open_conditions:
            break
    return answered


def _first(path: Path, questions: Sequence[Conditions]) -> int | None:
    """The same of one file. Raises apsw.Error."""
    with contextlib.closing(open_for_reading(path)) as connection:
        if not table_columns(connection):
            return None
        if not is_sealed(connection):
            return _read_whole(connection, questions)
        for number, question in enumerate(questions):
            for term, values in question.indexed:
                if connection.execute(f"SELECT 1 FROM trace WHERE {term} LIMIT 1", values).fetchone():  # noqa: S608 - ours
                    return number
    return None


def _read_whole(connection: apsw.Connection, questions: Sequence[Conditions]) -> int | None:
    """The newest row first, until one answers the first question."""
    terms = " ".join(f"WHEN {question.unindexed[0]} THEN {place}" for place, question in enumerate(questions))
    values = [value for question in questions for value in question.unindexed[1]]
    places = f"SELECT CASE {terms} END AS place FROM trace NOT INDEXED ORDER BY rowid DESC"  # noqa: S608 - our names
    best: int | None = None
    for (place,) in connection.execute(f"SELECT place FROM ({places}) WHERE place IS NOT NULL", values):  # noqa: S608
        best = place if best is None else min(best, place)
        if best == 0:
            break
    return best


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


class SqliteTrace:
    """Implements `store.trace.Trace`; opens nothing before it is asked. subjects: whether rows keep them."""

    def __init__(self, directory: Path, *, subjects: bool = True) -> None:
        self._directory = directory
        self._subjects = subjects
        self.search = partial(search_trace, directory)
        self.page = partial(trace_page, directory)
        self.scan = partial(scan_trace, directory)
        self.first_answered = partial(first_answered, directory)

    def sink(self, worker: int) -> TraceWriter:
        """See `Trace.sink`."""
        return TraceWriter(self._directory, str(worker), subjects=self._subjects)

    def write(self, writer: str, events: Sequence[TraceEvent]) -> None:
        """See `Trace.write`."""
        write_events(self._directory, writer, events if self._subjects else without_subjects(events))

    def parts(self, first: str, last: str) -> Mapping[TracePart, object]:
        """See `Trace.parts`: files, each with what `file_state` says of it."""
        files = (file for file in trace_files(self._directory) if first <= file.day <= last)
        return {file: file_state(self._directory, file) for file in files}

    def tally(self, part: TracePart, after: int = 0) -> tuple[int, Counter[HopKind]]:
        """See `Trace.tally`."""
        if not isinstance(part, TraceFile):
            raise TypeError("the part is not of this trace")
        try:
            return tally_file(self._directory, part, after)
        except apsw.Error as error:
            raise StoreFailure(str(error)) from error

    def hours(self) -> TraceHours:
        """See `Trace.hours`."""
        return TraceHours(self._directory)

    def unreadable(self) -> list[str]:
        """See `Trace.unreadable`."""
        readable = not self._directory.exists() or os.access(self._directory, os.R_OK | os.X_OK)
        return [] if readable else [str(self._directory)]

    def forget(self, before: float) -> list[str]:
        """See `Trace.forget`."""
        return prune_trace(self._directory, before)
