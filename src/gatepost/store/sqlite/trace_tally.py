"""Count trace rows by kind and day, for reports over many days.

Read by `analysis.reports.tls`. A row is counted by its hop's protection; sender and recipient are left out
but for the partner's domain. Files that are written no more keep their count beside them, so that a month is counted
once. Blocks: call it on a thread from an event loop.

For the chart of the last day mail is counted by the hour: a file is read whole the first time, and then only what was
added to it, as rows are never changed.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Final, NamedTuple

import apsw
import msgspec

from gatepost.decoding import msgpack_decoder
from gatepost.newest import Newest
from gatepost.store.sqlite.schema import open_for_reading
from gatepost.store.sqlite.trace import TLS_LEVEL, domain_of, is_sealed, table_columns
from gatepost.store.sqlite.trace_files import TraceFile, file_state, files_of_time
from gatepost.store.trace import COLUMNS, HOUR, Flow, HopKind
from gatepost.store.trace_kinds import IS_COUNTED, Dialect, counted, refused_for_recipient

_KEPT: Final = 200  # counts of files: at most 144 numbers each
_HOUR_ROWS: Final = "SELECT ifnull(max(rowid), 0) FROM trace"
_SELECT_HOURS: Final = (
    f"SELECT CAST(at / {HOUR} AS INTEGER) * {HOUR}, event, {TLS_LEVEL}, count(*) FROM trace NOT INDEXED"  # noqa: S608
    " WHERE rowid > ?1 AND rowid <= ?2 AND event IN ('RECEIVE', 'SEND')"
    " AND (?3 IS NULL OR organization COLLATE BINARY IN (SELECT value FROM json_each(?3))) GROUP BY 1, 2, 3"
)
_NEEDED: Final = {"at", "event", "achieved", "organization"}


class _Count(NamedTuple):
    """Of one file. state: what it was like then. rows: how many were counted, its first ones."""

    state: tuple[int, ...]
    rows: int
    flows: Counter[Flow]


class TraceHours:
    """The hours of one trace, and what is kept of them. For any thread."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._known: Newest[tuple[TraceFile, str | None], _Count] = Newest(_KEPT)

    def counted(self, since: int, until: int, organizations: Collection[str] | None) -> Counter[Flow]:
        """Count the rows of each flow.

        since: included, until: not, both the beginning of an hour (UTC), seconds since 1970. organizations: of any of
        these, None for all.
        """
        among = None if organizations is None else msgspec.json.encode(sorted(organizations)).decode()
        total: Counter[Flow] = Counter()
        for file in files_of_time(self._directory, since, until):
            try:
                flows = self._of_file(file, among)
            except apsw.Error as error:
                _log.warning("the message trace: %s cannot be counted: %s", file.name, error)
                continue
            total.update({flow: count for flow, count in flows.items() if since <= flow.hour < until})
        return total

    def _of_file(self, file: TraceFile, among: str | None) -> Counter[Flow]:
        known = self._known.get((file, among)) or _Count((), 0, Counter())
        state = file_state(self._directory, file)
        if known.state == state:
            return known.flows
        rows, flows = _added(self._directory / file.name, known.rows, among)
        if rows < known.rows:  # another file of that name
            known = _Count((), 0, Counter())
            rows, flows = _added(self._directory / file.name, 0, among)
        count = _Count(state, rows, known.flows + flows)
        self._known.keep((file, among), count)
        return count.flows


def _added(path: Path, after: int, among: str | None) -> tuple[int, Counter[Flow]]:
    """Count the rows of a file, and by flow those after the first `after`. Raises apsw.Error."""
    flows: Counter[Flow] = Counter()
    with contextlib.closing(open_for_reading(path)) as connection:
        if not table_columns(connection).issuperset(_NEEDED):
            return 0, flows
        rows: int = connection.execute(_HOUR_ROWS).get
        for hour, event, level, count in connection.execute(_SELECT_HOURS, (after, rows, among)):
            flows[Flow(hour, event, level.lower())] += count
    return rows, flows


_log = logging.getLogger(__name__)

_VERSION = 5  # of what is counted: older counts are made anew


_KINDS = Dialect(
    detail="detail",
    tls="tls",
    find="instr",
    domain=domain_of,
    code="substr(reply, 5, instr(substr(reply, 5) || ' ', ' ') - 1)",
    other_sources="(SELECT json_group_array(value) FROM json_each(detail, '$.requirement_sources')"
    " WHERE value NOT LIKE 'connector:%' AND value NOT LIKE 'rule:%')",
    names="tls ->> '$.certificate.names'",
    trial_failed="detail ->> '$.rehearsal.passed' = 0",
    trial_sources="detail ->> '$.rehearsal.sources'",
)
_SPAN = f"FROM trace NOT INDEXED WHERE rowid > ?1 AND rowid <= ?2 AND {IS_COUNTED}"
_SELECT = (
    f"SELECT {', '.join(counted(_KINDS))} {_SPAN} UNION ALL SELECT {', '.join(refused_for_recipient(_KINDS))} {_SPAN}"
    " AND event = 'REFUSE' AND detail ->> '$.refused_by_connector' IS NOT NULL"
)
_ROWS = "SELECT ifnull(max(rowid), 0) FROM trace"


class _Kept(msgspec.Struct, array_like=True):
    """The count of a file as it is kept. rows: how many it had then; one more makes it worthless."""

    version: int
    rows: int
    kinds: list[tuple[HopKind, int]]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgpack_decoder(_Kept)


def tally_file(directory: Path, file: TraceFile, after: int = 0) -> tuple[int, Counter[HopKind]]:
    """Count the rows of a file, and by kind those after the first `after`, to go on where a count stopped.

    A file with fewer rows than that is another file, and is counted whole. Raises apsw.Error if it cannot be read.
    """
    with contextlib.closing(open_for_reading(directory / file.name)) as connection:
        if not table_columns(connection).issuperset(COLUMNS):
            return 0, Counter()  # of a version that kept too little to be counted by
        sealed = is_sealed(connection)
        rows: int = connection.execute(_ROWS).get
        if rows == after:
            return rows, Counter()
        path = directory / file.tally_name
        if 0 < after < rows:
            return rows, _count(connection, rows, after)
        if sealed and (kept := _read(path)) is not None and kept.rows == rows:
            return rows, Counter(dict(kept.kinds))
        kinds = _count(connection, rows)
    if sealed:
        _write(path, _Kept(_VERSION, rows, list(kinds.items())))
    return rows, kinds


def _count(connection: apsw.Connection, rows: int, after: int = 0) -> Counter[HopKind]:
    """Of as many rows as were seen: what is written meanwhile is counted the next time."""
    return Counter(map(HopKind._make, connection.execute(_SELECT, (after, rows))))


def _read(path: Path) -> _Kept | None:
    try:
        kept = _decode(path.read_bytes())
    except (OSError, msgspec.DecodeError):
        return None
    return kept if kept.version == _VERSION else None


def _write(path: Path, kept: _Kept) -> None:
    """Kept for the next time, if it can be: who may only read the trace counts anew each time."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(_encode(kept))
        new.replace(path)
    except OSError as error:
        _log.debug("%s cannot be kept: %s", path, error)
