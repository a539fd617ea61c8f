"""Whether files of tests can be kept in memory, where syncing costs nothing; asked by both conftest.py."""

from __future__ import annotations

import os

MEMORY = "/dev/shm"


def holds_test_files() -> bool:
    """Whether there is room for all, and programs may start there: what a container gives is often too small."""
    try:
        place = os.statvfs(MEMORY)
    except OSError:
        return False
    usable = os.access(MEMORY, os.W_OK | os.X_OK) and not place.f_flag & (os.ST_NOEXEC | os.ST_RDONLY)
    return usable and place.f_bavail * place.f_frsize > 2 << 30
