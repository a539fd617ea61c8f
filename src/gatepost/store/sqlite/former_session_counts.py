"""Counts of TLS sessions as earlier versions kept them, in `sessions/YYYY-MM-DD.db` of data_dir, are taken in."""

from __future__ import annotations

import contextlib
import logging
import re
from typing import TYPE_CHECKING, Final

import apsw

from gatepost.store.interface import StoreFailure
from gatepost.store.session_counts import counts_of
from gatepost.store.sqlite.schema import open_for_reading, sync_directory

if TYPE_CHECKING:
    from pathlib import Path

    from gatepost.store.session_counts import SessionCounts

FORMER_SESSIONS: Final = "sessions"
_FILE: Final = re.compile(r"(\d{4}-\d\d-\d\d)\.db", re.ASCII)
_MARK: Final = ".taken"  # a file is about to be added, or was
_READ: Final = """
SELECT domain, type, owner, strings, mx_hosts, passed, result, mx_host, address, helo, sending_address, reason, sessions
FROM policy LEFT JOIN failure ON failure.policy = policy.id ORDER BY domain, type DESC, id
"""

_log = logging.getLogger(__name__)


def take_in_day_files(directory: Path, counts: SessionCounts) -> None:
    """Add what is in the files to the counts, a day at a time, and remove them. For one process, while no worker runs.

    A day that is there already has more in its file where an earlier version ran once more (a roll-back), which is
    added; not so where a start was killed before it removed the file, of which a mark beside it tells. The log says how
    many results found no room. A file that cannot be read is named in the log, and stays. Raises StoreFailure, OSError.
    """
    folder = directory / FORMER_SESSIONS
    if not folder.is_dir():
        return
    known = set(counts.days())
    for mark in folder.glob(f"*.db{_MARK}"):
        if not mark.with_suffix("").exists():  # killed between the two
            mark.unlink()
    for path in sorted(folder.glob("*.db")):
        day = _FILE.fullmatch(path.name)
        if day is not None and _take_in(path, counts, day[1], is_known=day[1] in known):
            for beside in ("", "-wal", "-shm", _MARK):
                folder.joinpath(f"{path.name}{beside}").unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()  # unless something else is in it


def _take_in(path: Path, counts: SessionCounts, day: str, *, is_known: bool) -> bool:
    """Add a day's file to the counts, unless its mark says that this was done; False if it cannot be read."""
    mark = path.with_name(f"{path.name}{_MARK}")
    if is_known and mark.exists():
        return True
    try:
        with contextlib.closing(open_for_reading(path)) as connection:
            rows = connection.execute(_READ).fetchall()
    except apsw.Error:
        _log.warning("%s cannot be read: TLS reports about that day do not count what is in it", path)
        return False
    mark.touch(mode=0o600)
    sync_directory(path.parent)
    try:
        left_out = counts.write(day, counts_of(day, rows))
    except StoreFailure:
        mark.unlink()
        raise
    if left_out:
        _log.error("%s: there was no room for %d results of sessions: TLS reports lack them", path, left_out)
    return True
