"""The files of the message trace: `YYYY-MM-DD.<writer>.db`, then `YYYY-MM-DD.<writer>.0002.db` and so on.

A writer begins the next file of a day when the last one is full, so that no file is large while it has no index. Used
by `store.sqlite.trace`, which writes them, and `store.sqlite.message_trace`, which reads them.
"""

from __future__ import annotations

import re
from pathlib import Path

import msgspec

from gatepost.times import day_text

_NAME = re.compile(r"(?P<day>\d{4}-\d\d-\d\d)\.(?P<writer>[^.]+)(\.(?P<number>\d{4,}))?\.db", re.ASCII)
# Of a day: a file, its log and index, its tally, and a tally that a kill left unfinished.
_OF_DAY = re.compile(r"\.?(?P<day>\d{4}-\d\d-\d\d)\..+\.(db(-wal|-shm)?|tally(\.\d+)?)", re.ASCII)


def day_of(at: float) -> str:
    """The UTC day of a time as the file names have it."""
    return day_text(at)


class TraceFile(msgspec.Struct, frozen=True, order=True):
    """One file. number: 1 for the first of a writer's day. In order: by day, then writer, then number."""

    day: str
    writer: str
    number: int = 1

    @property
    def name(self) -> str:
        """Its name in the trace's directory."""
        return f"{self.day}.{self.writer}.db" if self.number == 1 else f"{self.day}.{self.writer}.{self.number:04}.db"

    @property
    def tally_name(self) -> str:
        """The name of what `store.sqlite.trace_tally` keeps beside it."""
        return self.name.removesuffix(".db") + ".tally"

    @property
    def next(self) -> TraceFile:
        """The one that follows when it is full."""
        return TraceFile(self.day, self.writer, self.number + 1)


def trace_files(directory: Path) -> list[TraceFile]:
    """All files of the trace, in order; other names are left out. [] if there is no directory yet."""
    matches = (_NAME.fullmatch(path.name) for path in directory.glob("*.db"))
    return sorted(TraceFile(name["day"], name["writer"], int(name["number"] or 1)) for name in matches if name)


def files_of_time(directory: Path, since: float, until: float) -> list[TraceFile]:
    """Those that may have rows of a time, in order. since, until: seconds since 1970, both included; 0 for no bound."""
    first, last = day_of(since) if since else "", day_of(until) if until else "9999"
    return [file for file in trace_files(directory) if first <= file.day <= last]


def file_state(directory: Path, file: TraceFile) -> tuple[int, ...]:
    """Changes whenever rows are added: in the file, or in its log before they are moved there."""
    return *_stat(directory / file.name), *_stat(directory / f"{file.name}-wal")


def _stat(path: Path) -> tuple[int, ...]:
    """Nothing for an empty file: a process that opens a database leaves an empty log."""
    try:
        state = path.stat()
    except OSError:
        return ()
    return (state.st_ino, state.st_size, state.st_mtime_ns) if state.st_size else ()


def prune_trace(directory: Path, before: float) -> list[str]:
    """Forget the days that ended before a time (seconds since 1970); returns the names of the files removed.

    What belongs to such a day goes without its file, too: a kill may have come after that was removed.
    """
    first = day_of(before)
    gone = [file for file in trace_files(directory) if file.day < first]
    for path in directory.glob("*"):
        match = _OF_DAY.fullmatch(path.name)
        if match and match["day"] < first:
            path.unlink(missing_ok=True)
    return [file.name for file in gone]
