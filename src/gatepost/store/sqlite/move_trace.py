"""The message trace of a data directory as a part of a move (`store.move_parts`).

A record is a row: its day, its writer, and its place among the rows of both; its columns. Rows are only ever added
behind those that are there, so the number of rows says which are. Only while nobody else writes the trace.
"""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

from gatepost.store.move_parts import MoveRecord, UnnumberedPart
from gatepost.store.sqlite.move_queue import reported
from gatepost.store.sqlite.schema import open_for_reading
from gatepost.store.sqlite.trace import FULL, INSERT, newest_file, open_part, seal, table_columns
from gatepost.store.sqlite.trace_files import TraceFile, trace_files
from gatepost.store.trace import COLUMNS, storable_columns
from gatepost.times import day_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from gatepost.store.move_parts import Key

TRACE: Final = "rows of the message trace"

_MISSING: Final = {"at": "0.0", "size": "0", "tls": "'{}'", "detail": "'{}'"}  # of files that an older version made


class TraceRowsPart(UnnumberedPart):
    """Implements `store.move_parts.Part`."""

    name = TRACE

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def count(self) -> int:
        """See `Part.count`."""
        return sum(self._rows(file) for file in trace_files(self._directory))

    def records(self) -> Iterator[MoveRecord]:
        """See `Part.records`."""
        place: dict[tuple[str, str], int] = {}
        for file in trace_files(self._directory):
            part = file.day, file.writer
            for row in self._read(file):
                place[part] = place.get(part, 0) + 1
                yield MoveRecord((*part, place[part]), tuple(row))

    def present(self, keys: Sequence[Key]) -> set[Key]:
        """See `Part.present`."""
        rows = {part: self._rows_of(*part) for part in {key[:2] for key in keys}}
        return {key for key in keys if key[2] <= rows[key[:2]]}

    def add(self, records: Sequence[MoveRecord]) -> None:
        """See `Part.add`. All or none of each file."""
        parts: dict[tuple[str, str], list[tuple[Any, ...]]] = {}
        for record in records:
            parts.setdefault(record.key[:2], []).append(record.values)
        with reported(self._directory):
            for (day, writer), rows in parts.items():
                left = rows
                while left:
                    left = self._add(newest_file(self._directory, day, writer), left)

    def clear(self) -> None:
        """See `Part.clear`."""
        with reported(self._directory):
            for file in trace_files(self._directory):
                for name in (file.name, f"{file.name}-wal", f"{file.name}-shm", file.tally_name):
                    (self._directory / name).unlink(missing_ok=True)

    def finish(self, _number: int, /) -> None:
        """See `Part.finish`. Days that are over get the indexes of what is looked for."""
        today = day_text(time.time())
        with reported(self._directory):
            for file in trace_files(self._directory):
                if file.day < today:
                    seal(open_part(self._directory, file).connection)

    def _add(self, file: TraceFile, rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        """Add so many rows as one file takes; returns the others. A full file gets its indexes."""
        part = open_part(self._directory, file)
        if part.rows >= FULL:
            seal(part.connection)
            part = open_part(self._directory, file.next)
        room = FULL - part.rows
        with closing(part.connection) as connection:
            connection.execute("PRAGMA synchronous = FULL")
            with connection:
                connection.executemany(INSERT, rows[:room])
        return rows[room:]

    def _rows_of(self, day: str, writer: str) -> int:
        return sum(
            self._rows(file) for file in trace_files(self._directory) if (file.day, file.writer) == (day, writer)
        )

    def _rows(self, file: TraceFile) -> int:
        with reported(self._directory), closing(open_for_reading(self._directory / file.name)) as connection:
            if not table_columns(connection):
                return 0
            return int(connection.execute("SELECT coalesce(max(rowid), 0) FROM trace").get)

    def _read(self, file: TraceFile) -> Iterator[list[Any]]:
        with reported(self._directory), closing(open_for_reading(self._directory / file.name)) as connection:
            known = table_columns(connection)
            if known:
                columns = (name if name in known else _MISSING.get(name, "''") for name in COLUMNS)
                rows: Any = connection.execute(f"SELECT {', '.join(columns)} FROM trace ORDER BY rowid")  # noqa: S608 - our names
                for row in rows:
                    yield storable_columns(list(row))
