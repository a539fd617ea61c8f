"""Write a small file, such as a key, whole or not at all.

Used for keys: `store.srs_keys`, `store.evidence_keys`, `pki.certificates.evidence_key`. Blocks. One process at a time
writes so in a directory: what lies there beside the files is of a process that was killed, and goes. It may be a key
that was removed since, or the plain text of one that was sealed.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from gatepost.store.sqlite.schema import make_directory

_FRESH: Final = ".new"


def publish_file(path: Path, content: bytes, *, replace: bool = False) -> None:
    """Write a file durably, for the owner of its directory alone; without `replace` one that is there stays.

    The directory is made if it is missing. Raises OSError.
    """
    make_directory(path.parent)
    with locked_directory(path.parent) as directory:
        for left in path.parent.glob(f".*{_FRESH}"):
            left.unlink()
        if replace or not path.exists():
            fresh = path.with_name(f".{path.name}{_FRESH}")
            try:
                write_fresh(fresh, content)
                fresh.replace(path)
            finally:
                fresh.unlink(missing_ok=True)
        os.fsync(directory)


@contextmanager
def locked_directory(path: Path) -> Iterator[int]:
    """Have a directory alone of all who ask for it so; it is open meanwhile. Raises OSError."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        yield directory
    finally:
        os.close(directory)


def write_fresh(path: Path, content: bytes) -> None:
    """Write a file that is not there yet, and synchronize it. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        owner = path.parent.stat()
        if os.geteuid() != owner.st_uid:  # a command of root leaves it to the gateway's account
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
        os.fsync(descriptor)
