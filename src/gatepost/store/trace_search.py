"""Reading the message trace: over the day files of all writers, newest first; and forgetting old days.

`search_trace` finds a few rows, `scan_trace` goes over all rows of a time span, however many, a few at a time. For the
command line and the admin centre, on a running gateway as on a stopped one. Blocks: call it on a thread from an event
loop. A file that cannot be read is named in the log and does not hide the others.
"""

from __future__ import annotations

import contextlib
import heapq
import logging
import re
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import apsw
import msgspec

from gatepost.store.interface import TraceEvent, TraceFilter
from gatepost.store.schema import open_for_reading
from gatepost.store.trace import COLUMNS, day_of, table_columns

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Iterator, Sequence
    from pathlib import Path

__all__ = ["TraceRow", "prune_trace", "scan_trace", "search_trace", "trace_event"]

type TraceRow = tuple[Any, ...]
"""Columns of a row as they are stored, in the order in which they were asked for: `tls` and `detail` are JSON text."""

_log = logging.getLogger(__name__)

_FILE = re.compile(r"(\d{4}-\d\d-\d\d)\..+\.db", re.ASCII)
_WHOLE = ("message", "message_id", "session", "organization", "connector", "event")
_IDS = ("message", "session")
_ADDRESSES = ("sender", "recipient")


def search_trace(directory: Path, wanted: TraceFilter) -> list[TraceEvent]:
    """The newest `wanted.limit` rows that match, newest first.

    An id of a message or session that no row has as its own is looked for among those that another node of the site
    gave: a row of a hop between nodes has them beside its own.
    """
    found = _matching(directory, wanted, _conditions(wanted))
    if found or not (wanted.message or wanted.session):
        return found
    return _matching(directory, wanted, _conditions(wanted, elsewhere=True))


def _matching(directory: Path, wanted: TraceFilter, condition: tuple[str, list[str | float]]) -> list[TraceEvent]:
    where, values = condition
    found: list[TraceEvent] = []
    for _, files in groupby(_files(directory, wanted), key=_day):
        events = [event for path in files for event in _search(path, where, (*values, wanted.limit))]
        found += sorted(events, key=lambda event: event.at, reverse=True)
        if len(found) >= wanted.limit:
            break
    return found[: wanted.limit]


def scan_trace(
    directory: Path,
    wanted: TraceFilter,
    columns: Sequence[str],
    *,
    events: Collection[str] = (),
    oldest_first: bool = False,
    unreadable: list[str] | None = None,
) -> Iterator[TraceRow]:
    """Every row that matches, whatever `wanted.limit` says, newest first, without having them all in memory.

    columns: names of TraceEvent's fields, only those that are needed. events: any of these; () is all. unreadable:
    takes the names of files that could not be read to their end. Within a day the files of all writers are merged by
    time; rows of one writer come in the order in which they were written, so those of one message that were written
    together stay together.
    """
    where, values = _conditions(wanted)
    if events:
        where += f" AND event IN ({', '.join('?' * len(events))})"
        values += events
    files = _files(directory, wanted)
    for _, group in groupby(files[::-1] if oldest_first else files, key=_day):
        scans = [_scan(path, (where, values), ("at", *columns), oldest_first, unreadable) for path in group]
        with contextlib.ExitStack() as stack:
            for scan in scans:
                stack.callback(scan.close)
            for row in heapq.merge(*scans, key=itemgetter(0), reverse=not oldest_first):
                yield row[1:]


def trace_event(columns: Sequence[str], row: TraceRow) -> TraceEvent:
    """A row of `scan_trace` as an event; columns that were not asked for are empty."""
    return _event({**_NOTHING, **dict(zip(columns, row, strict=True))})


_NOTHING: dict[str, Any] = dict.fromkeys(
    ("event", "message", "organization", "direction", "session", "sender", "recipient"), ""
) | {"at": 0.0}


def prune_trace(directory: Path, before: float) -> list[str]:
    """Forget the days that ended before a time (seconds since 1970); returns the names of the files removed."""
    first = day_of(before)
    gone = [path for path in _day_files(directory) if _day(path) < first]
    for path in gone:
        for suffix in ("", "-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
    return [path.name for path in gone]


def _day_files(directory: Path) -> list[Path]:
    return [path for path in sorted(directory.glob("*.db"), reverse=True) if _FILE.fullmatch(path.name)]


def _day(path: Path) -> str:
    return path.name.partition(".")[0]


def _files(directory: Path, wanted: TraceFilter) -> list[Path]:
    """The files that may have rows of the time wanted, newest day first."""
    first = day_of(wanted.since) if wanted.since else ""
    last = day_of(wanted.until) if wanted.until else "9999"
    return [path for path in _day_files(directory) if first <= _day(path) <= last]


def _conditions(wanted: TraceFilter, *, elsewhere: bool = False) -> tuple[str, list[str | float]]:
    """elsewhere: ids are those of another node."""
    terms = ["TRUE"]
    values: list[str | float] = []
    if wanted.since:
        terms.append("at >= ?")
        values.append(wanted.since)
    if wanted.until:
        terms.append("at <= ?")
        values.append(wanted.until)
    for name in (*_WHOLE, *_ADDRESSES):
        text: str = getattr(wanted, name)
        if not text:
            continue
        if name in _ADDRESSES and text.startswith("@"):
            terms.append(f"substr({name}, ?) = ? COLLATE NOCASE")
            values += [-len(text), text]
        elif elsewhere and name in _IDS:
            terms.append(f"json_extract(detail, '$.internal.{name}') = ?")
            values.append(text)
        else:
            # The second term is what lets a partial index be used.
            terms.append(f"{name} = ? AND {name} <> ''")
            values.append(text)
    return " AND ".join(terms), values


def _scan(
    path: Path,
    where: tuple[str, list[str | float]],
    wanted: Sequence[str],
    oldest_first: bool,  # noqa: FBT001 - as in `scan_trace`
    unreadable: list[str] | None,
) -> Generator[TraceRow]:
    try:
        with contextlib.closing(open_for_reading(path)) as connection:
            present = table_columns(connection)
            if not present:
                return
            shown = ", ".join(name if name in present else _MISSING.get(name, "''") for name in wanted)
            order = "ASC" if oldest_first else "DESC"
            yield from connection.execute(
                f"SELECT {shown} FROM trace NOT INDEXED WHERE {where[0]} ORDER BY rowid {order}",  # noqa: S608 - ours
                where[1],
            )
    except apsw.Error as error:
        _log.warning("the message trace: %s cannot be read: %s", path, error)
        if unreadable is not None:
            unreadable.append(path.name)


# What a column holds in a file of a version that did not know it.
_MISSING = {"at": "0.0", "size": "0", "tls": "'{}'", "detail": "'{}'"}


def _search(path: Path, where: str, values: tuple[str | float, ...]) -> list[TraceEvent]:
    try:
        connection = open_for_reading(path)
        try:
            columns = [name for name in COLUMNS if name in table_columns(connection)]
            statement = f"SELECT {', '.join(columns)} FROM trace WHERE {where} ORDER BY rowid DESC LIMIT ?"  # noqa: S608 - ours
            rows = connection.execute(statement, values).fetchall() if columns else []
        finally:
            connection.close()
    except apsw.Error as error:
        _log.warning("the message trace: %s cannot be read: %s", path, error)
        return []
    return [_event(dict(zip(columns, row, strict=True))) for row in rows]


def _event(row: dict[str, Any]) -> TraceEvent:
    """A row as it was given; a column that an older file does not have keeps its default."""
    for name in ("tls", "detail"):
        row[name] = msgspec.json.decode(row.get(name, "{}"))
    return TraceEvent(**row)
