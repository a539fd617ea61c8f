"""Keys for rewritten reverse-paths (`protocols.message.srs`), in one file of the data directory for all workers.

Called by `node.assembly`. One key a line, in hexadecimal: the first signs, all verify. To change the key, put a new
line before the others and restart; take the old one out a month later, when no notice comes back any more.
"""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

from gatepost.protocols.message.srs import SrsKeys

if TYPE_CHECKING:
    from pathlib import Path


SRS_KEYS_FILE = "srs.keys"

_KEY_OCTETS = 32
_LEAST_OCTETS = 16
_LIMIT = 65536


def load_srs_keys(data_dir: Path) -> SrsKeys:
    """The keys, made at first use. Raises OSError if the file is not ours alone, or holds something else."""
    path = data_dir / SRS_KEYS_FILE
    if not path.exists():
        _make(path)
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    with os.fdopen(descriptor, "rb") as file:
        mode = os.fstat(file.fileno()).st_mode & 0o777
        if mode & 0o077:
            raise PermissionError(f"{path} has mode {mode:04o}, and others may read it; chmod 600 it")
        lines = file.read(_LIMIT).split()
    try:
        keys = tuple(bytes.fromhex(line.decode("ascii")) for line in lines)
    except ValueError:
        raise OSError(f"{path}: a line is no key in hexadecimal; correct it, or move the file away") from None
    if not keys or min(map(len, keys)) < _LEAST_OCTETS:
        raise OSError(
            f"{path}: a key of at least {_LEAST_OCTETS} octets is needed; move the file away to have one made"
        )
    return SrsKeys(keys)


def _make(path: Path) -> None:
    """Write a fresh key. Of several processes that do so at once, one wins, and all read that one's."""
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(f"{secrets.token_hex(_KEY_OCTETS)}\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(fresh, path)
        except FileExistsError:
            return
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    finally:
        fresh.unlink(missing_ok=True)
