"""The files of a worker whose queue is in PostgreSQL: arriving bodies that are too large for memory.

They are on their way to the database; what a crash leaves of them belongs to messages that were never acknowledged.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from pathlib import Path
from typing import Final

from gatepost.store.interface import failing
from gatepost.store.sqlite.recovery import lock_shard
from gatepost.store.sqlite.schema import BIG_DIRECTORY, make_directory, sync_directory

SPOOL_DIRECTORY: Final = "spool"

_INSTALLATION: Final = "installation"


def take_spool(root: Path, worker: int) -> tuple[int, Path, str]:
    """The lock of a worker's own part, its directory for bodies, and the name of this installation. Blocks.

    Raises StoreFailure, also if another process has it.
    """
    place = root / str(worker)
    with failing(place, OSError):
        make_directory(place / BIG_DIRECTORY)
        lock = lock_shard(place)
        for file in (place / BIG_DIRECTORY).iterdir():
            file.unlink()
        return lock, place / BIG_DIRECTORY, _installation(root)


def _installation(root: Path) -> str:
    """A name that no other data directory has; made once."""
    path = root / _INSTALLATION
    if not path.exists():
        fresh = root / f"{_INSTALLATION}.{os.getpid()}"
        fresh.write_text(f"{uuid.uuid4()}\n")
        with contextlib.suppress(FileExistsError):  # another worker was quicker
            os.link(fresh, path)
        fresh.unlink()
        sync_directory(root)
    return path.read_text().strip()
