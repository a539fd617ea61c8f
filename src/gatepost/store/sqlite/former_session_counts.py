"""Counts of TLS sessions as earlier versions kept them, in `sessions/YYYY-MM-DD.db` of data_dir, are taken in."""

from __future__ import annotations

import contextlib
import logging
import re
from typing import TYPE_CHECKING, Final

import apsw

from gatepost.store.session_counts import counts_of
from gatepost.store.sqlite.schema import open_for_reading

if TYPE_CHECKING:
    from pathlib import Path

    from gatepost.store.session_counts import SessionCounts

FORMER_SESSIONS: Final = "sessions"
_FILE: Final = re.compile(r"(\d{4}-\d\d-\d\d)\.db", re.ASCII)
_READ: Final = """
SELECT domain, type, owner, strings, mx_hosts, passed, result, mx_host, address, helo, sending_address, reason, sessions
FROM policy LEFT JOIN failure ON failure.policy = policy.id ORDER BY domain, type DESC, id
"""

_log = logging.getLogger(__name__)


def take_in_day_files(directory: Path, counts: SessionCounts) -> None:
    """Add what is in the files to the counts, a day at a time, and remove them. For one process, while no worker runs.

    A day that is there already was taken in by a start that was killed before it removed the file. One that cannot be
    read is named in the log, and its file stays. Raises StoreFailure, OSError.
    """
    folder = directory / FORMER_SESSIONS
    if not folder.is_dir():
        return
    known = set(counts.days())
    for path in sorted(folder.glob("*.db")):
        day = _FILE.fullmatch(path.name)
        if day is None:
            continue
        if day[1] not in known:
            try:
                with contextlib.closing(open_for_reading(path)) as connection:
                    rows = connection.execute(_READ).fetchall()
            except apsw.Error:
                _log.warning("%s cannot be read: TLS reports about that day do not count what is in it", path)
                continue
            counts.write(day[1], counts_of(day[1], rows))
        for beside in ("", "-wal", "-shm"):
            folder.joinpath(f"{path.name}{beside}").unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()  # unless something else is in it
