"""Evidence log and message trace in files as parts of a move (`store.move_parts`).

`EvidenceFiles` writes a log that is moved here. A crash may leave half of a line at the end of a file: it does not
count, and the next line takes its place. A record of `TraceRowsPart` is a row: its day, its writer, and its place among
the rows of both; its columns. Rows are only ever added behind those that are there, so the number of rows says which
are. Only while nobody else writes the trace.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from gatepost.store.evidence_files import HEADS_FILE, day_files, log_directory, read_lines
from gatepost.store.evidence_keys import kept_keys, keys_directory, move_keys
from gatepost.store.move_parts import Key, MoveRecord, UnnumberedPart
from gatepost.store.sqlite.move_queue import reported
from gatepost.store.sqlite.schema import make_directory, make_file, open_for_reading
from gatepost.store.sqlite.trace import FULL, INSERT, newest_file, open_part, seal, table_columns
from gatepost.store.sqlite.trace_files import TraceFile, trace_files
from gatepost.store.trace import COLUMNS, storable_columns
from gatepost.times import day_text


class EvidenceFiles:
    """evidence: the directory of a log that nobody else writes, nor what lies beside it."""

    def __init__(self, evidence: Path) -> None:
        self._evidence = evidence
        self._known: dict[Path, tuple[int, int]] = {}  # whole lines of files that were read, and their octets

    def stored(self, day: str, writer: str) -> int:
        """See `EvidenceSink.stored`."""
        files = day_files(self._evidence, writer, since=day, until=day)
        return self._whole(files[0].path)[0] if files else 0

    def append(self, day: str, writer: str, _before: int, lines: Sequence[bytes]) -> None:
        """See `EvidenceSink.append`."""
        self._append(log_directory(self._evidence) / f"{day}.{writer}.log", lines)

    def stored_heads(self) -> int:
        """See `EvidenceSink.stored_heads`."""
        return self._whole(self._evidence / HEADS_FILE)[0]

    def append_heads(self, lines: Sequence[bytes]) -> None:
        """See `EvidenceSink.append_heads`."""
        self._append(self._evidence / HEADS_FILE, lines)

    def add_key(self, pem: bytes) -> None:
        """See `EvidenceSink.add_key`."""
        with reported(self._evidence):
            move_keys(self._evidence)
            if pem in kept_keys(self._evidence):
                return
            path = keys_directory(self._evidence) / f"moved-{hashlib.sha256(pem).hexdigest()[:16]}.pem"
            path.unlink(missing_ok=True)
            make_file(path)
            _write(path, pem)

    def clear_lines(self) -> None:
        """See `EvidenceSink.clear_lines`."""
        with reported(self._evidence):
            for file in day_files(self._evidence):
                file.path.unlink()
        self._known.clear()

    def clear_heads(self) -> None:
        """See `EvidenceSink.clear_heads`."""
        with reported(self._evidence):
            (self._evidence / HEADS_FILE).unlink(missing_ok=True)
        self._known.clear()

    def _whole(self, path: Path) -> tuple[int, int]:
        """How many lines of a file are whole, and how many octets they have."""
        if path not in self._known:
            count = size = last = 0
            with reported(path):
                for line in read_lines(path) if path.exists() else ():
                    count, size, last = count + 1, size + len(line), 0 if line.endswith(b"\n") else len(line)
            self._known[path] = (count - 1, size - last) if last else (count, size)
        return self._known[path]

    def _append(self, path: Path, lines: Sequence[bytes]) -> None:
        count, size = self._whole(path)
        with reported(path):
            make_directory(path.parent)
            make_file(path)
            os.truncate(path, size)
            content = b"".join(lines)
            _write(path, content)
        self._known[path] = count + len(lines), size + len(content)


def _write(path: Path, content: bytes) -> None:
    with path.open("ab") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


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
