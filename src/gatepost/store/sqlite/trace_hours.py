"""Count protected and unprotected mail by the hour, for the chart of the last day.

A file is read whole the first time, and then only what was added to it, as rows are never changed. For pages; reports
over many days count otherwise (`store.sqlite.trace_tally`). Blocks.
"""

from __future__ import annotations

import contextlib
import logging
from collections import Counter, OrderedDict
from threading import Lock
from typing import TYPE_CHECKING, Final, NamedTuple

import apsw
import msgspec

from gatepost.store.sqlite.schema import open_for_reading
from gatepost.store.sqlite.trace import TLS_LEVEL, table_columns
from gatepost.store.sqlite.trace_files import file_state, files_of_time
from gatepost.store.trace import HOUR, Flow

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from gatepost.store.sqlite.trace_files import TraceFile


_log = logging.getLogger(__name__)

_KEPT: Final = 200  # counts of files: at most 144 numbers each
_ROWS: Final = "SELECT ifnull(max(rowid), 0) FROM trace"
_SELECT: Final = (
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
        self._known: OrderedDict[tuple[TraceFile, str | None], _Count] = OrderedDict()
        self._lock = Lock()

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
        with self._lock:
            known = self._known.get((file, among)) or _Count((), 0, Counter())
        state = file_state(self._directory, file)
        if known.state == state:
            return known.flows
        rows, flows = _added(self._directory / file.name, known.rows, among)
        if rows < known.rows:  # another file of that name
            known = _Count((), 0, Counter())
            rows, flows = _added(self._directory / file.name, 0, among)
        count = _Count(state, rows, known.flows + flows)
        with self._lock:
            self._known[file, among] = count
            self._known.move_to_end((file, among))
            while len(self._known) > _KEPT:
                self._known.popitem(last=False)
        return count.flows


def _added(path: Path, after: int, among: str | None) -> tuple[int, Counter[Flow]]:
    """Count the rows of a file, and by flow those after the first `after`. Raises apsw.Error."""
    flows: Counter[Flow] = Counter()
    with contextlib.closing(open_for_reading(path)) as connection:
        if not table_columns(connection).issuperset(_NEEDED):
            return 0, flows
        rows: int = connection.execute(_ROWS).get
        for hour, event, level, count in connection.execute(_SELECT, (after, rows, among)):
            flows[Flow(hour, event, level.lower())] += count
    return rows, flows
