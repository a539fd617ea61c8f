"""Reading the message trace: over the day files of all writers, newest first; and forgetting old days.

For the command line and the admin centre, on a running gateway as on a stopped one. Blocks: call it on a thread from an
event loop. A file that cannot be read is named in the log and does not hide the others.
"""

from __future__ import annotations

import logging
import re
from itertools import groupby
from typing import TYPE_CHECKING, Any

import apsw
import msgspec

from gatepost.store.interface import TraceEvent, TraceFilter
from gatepost.store.schema import open_for_reading
from gatepost.store.trace import COLUMNS, day_of, table_columns

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["prune_trace", "search_trace"]

_log = logging.getLogger(__name__)

_FILE = re.compile(r"(\d{4}-\d\d-\d\d)\..+\.db", re.ASCII)
_WHOLE = ("message", "message_id", "session", "organization", "connector", "event")
_ADDRESSES = ("sender", "recipient")


def search_trace(directory: Path, wanted: TraceFilter) -> list[TraceEvent]:
    """The newest `wanted.limit` rows that match, newest first."""
    where, values = _conditions(wanted)
    found: list[TraceEvent] = []
    for _, files in groupby(_files(directory, wanted), key=_day):
        events = [event for path in files for event in _search(path, where, (*values, wanted.limit))]
        found += sorted(events, key=lambda event: event.at, reverse=True)
        if len(found) >= wanted.limit:
            break
    return found[: wanted.limit]


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


def _conditions(wanted: TraceFilter) -> tuple[str, list[str | float]]:
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
        else:
            # The second term is what lets a partial index be used.
            terms.append(f"{name} = ? AND {name} <> ''")
            values.append(text)
    return " AND ".join(terms), values


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
