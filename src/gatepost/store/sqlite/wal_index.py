"""Keep the disk space of write-ahead log indexes (`*-shm`) while a gateway starts.

Called by `manage.cli.serve`, before it opens a database. Whoever opens one first cuts its index to nothing and
makes it anew, lest what a crash left in it counts; on a full disk another program can take the room in between, and
then the database cannot be opened. Here the index is emptied in place, and held from then on as SQLite holds one that
is in use: no process truncates it. SQLite expects that of an index whose other users live on.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
from pathlib import Path
from typing import Final

_IN_USE: Final = 128  # the octet that SQLite locks while it has an index open: UNIX_SHM_DMS of os_unix.c


_NEEDED: Final = ("*.db-shm", "queue/*/*.db-shm")


def hold_indexes(data_dir: Path, *patterns: str) -> list[int]:
    """Empty and hold each index of a database that the start needs; returns the descriptors, which hold while open.

    patterns: of their names, if only some are meant. One that is held already is not emptied.

    The process that calls it must have none of the databases open: closing a descriptor would let go of SQLite's locks.
    An index that cannot be held is left to SQLite.
    """
    held = []
    for pattern in patterns or _NEEDED:
        for path in sorted(data_dir.glob(pattern)):
            with contextlib.suppress(OSError):
                held.append(_held(path))
    return held


def _held(path: Path) -> int:
    """Raises OSError."""
    index = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        if _lock(index, fcntl.F_WRLCK):  # no process has it open
            os.pwrite(index, bytes(os.fstat(index).st_size), 0)
        if not _lock(index, fcntl.F_RDLCK):  # another process makes it anew just now
            raise BlockingIOError
    except OSError:
        os.close(index)
        raise
    return index


def _lock(index: int, kind: int) -> bool:
    """Whether it was got. It belongs to the descriptor and its copies in children, not to the process."""
    try:
        fcntl.fcntl(index, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", kind, os.SEEK_SET, _IN_USE, 1, 0))
    except BlockingIOError:
        return False
    return True
