"""A bounded folder of small files that survive a restart, written atomically, shared by all workers.

Used by `net.lookups.mtasts_cache` and `net.lookups.revocation_lists`, which know what a file holds. Everything blocks:
call it in a thread.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path


def replace_file(path: Path, content: bytes, *, used: float | None = None) -> None:
    """Put `content` in place of the file, or leave the one that is there. Raises OSError.

    used: seconds since 1970 UTC that become its time of change, None for now. Only the owner may read it, and enter the
    folder if that is made here.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".new-", delete=False) as file:
        half = Path(file.name)
        try:
            file.write(content)
            file.flush()
            if used is not None:
                os.utime(file.fileno(), (used, used))
            os.fsync(file.fileno())  # or a power failure may leave an empty file in place of a good one
            half.replace(path)
        except OSError:
            half.unlink(missing_ok=True)  # on a full disk each try would leave its part
            raise


def make_room(folder: Path, *, files: int, octets: int) -> int:
    """Remove what was changed longest ago until the folder is within these bounds; how many were removed.

    Raises OSError if it cannot be read.
    """
    entries = []
    for path in folder.iterdir():
        with suppress(OSError):  # another worker may have removed it
            state = path.stat()
            entries.append((state.st_mtime, state.st_size, path))
    total = removed = 0
    for number, (_, size, path) in enumerate(sorted(entries, reverse=True)):
        total += size
        if total > octets or number >= files:
            path.unlink(missing_ok=True)
            removed += 1
    return removed
