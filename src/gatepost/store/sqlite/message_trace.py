"""The message trace in SQLite files: `store.trace.Trace` of a directory, out of the modules `store.sqlite.trace_*`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import apsw

from gatepost.store.interface import StoreFailure
from gatepost.store.sqlite.trace import TraceWriter, write_events
from gatepost.store.sqlite.trace_files import TraceFile, file_state, prune_trace, trace_files
from gatepost.store.sqlite.trace_meanings import first_answered
from gatepost.store.sqlite.trace_search import scan_trace, search_trace, trace_page
from gatepost.store.sqlite.trace_tally import TraceHours, tally_file
from gatepost.store.trace import without_subjects

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from gatepost.mail.model.trace_event import TraceEvent
    from gatepost.store.interface import TraceFilter
    from gatepost.store.trace import Among, HopKind, TracePart, TracePlace, TraceRow


class SqliteTrace:
    """Implements `store.trace.Trace`; opens nothing before it is asked. subjects: whether rows keep them."""

    def __init__(self, directory: Path, *, subjects: bool = True) -> None:
        self._directory = directory
        self._subjects = subjects

    def sink(self, worker: int) -> TraceWriter:
        """See `Trace.sink`."""
        return TraceWriter(self._directory, str(worker), subjects=self._subjects)

    def write(self, writer: str, events: Sequence[TraceEvent]) -> None:
        """See `Trace.write`."""
        write_events(self._directory, writer, events if self._subjects else without_subjects(events))

    def search(self, wanted: TraceFilter) -> list[TraceEvent]:
        """See `Trace.search`."""
        return search_trace(self._directory, wanted)

    def page(
        self, wanted: TraceFilter, after: TracePlace | None, now: float
    ) -> tuple[list[TraceEvent], TracePlace | None]:
        """See `Trace.page`."""
        return trace_page(self._directory, wanted, after, now)

    def scan(
        self,
        wanted: TraceFilter,
        columns: Sequence[str],
        *,
        events: Collection[str] = (),
        oldest_first: bool = False,
        unreadable: list[str] | None = None,
        among: Among | None = None,
    ) -> Iterator[TraceRow]:
        """See `Trace.scan`."""
        return scan_trace(
            self._directory,
            wanted,
            columns,
            events=events,
            oldest_first=oldest_first,
            unreadable=unreadable,
            among=among,
        )

    def first_answered(self, questions: Sequence[TraceFilter]) -> int | None:
        """See `Trace.first_answered`."""
        return first_answered(self._directory, questions)

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
