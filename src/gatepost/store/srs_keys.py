"""Keys for rewritten reverse-paths (`protocols.message.srs`), in one file of the data directory for all workers.

Called by `node.site_secrets`. One key a line, in hexadecimal: the first signs, all verify. To change the key, put a new
line before the others and restart; take the old one out a month later, when no notice comes back any more. Nodes that
share what is stored have the same text as a content beside the configuration, so that each takes back the notices of
all.
"""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING, Protocol

from gatepost.protocols.message.srs import SrsKeys

if TYPE_CHECKING:
    from pathlib import Path

    from gatepost.store.changes import ConfigStore


SRS_KEYS_FILE = "srs.keys"

_KEY_OCTETS = 32
_LEAST_OCTETS = 16
_LIMIT = 65536
_PLACE = "srs/keys"
_PLAIN = frozenset(b"0123456789abcdef\n")


class Sealing(Protocol):
    """A vault (`pki.certificates.vault`), which this package does not know."""

    def seal(self, secret: bytes, place: str) -> bytes:
        """A secret as it may be stored at a place."""

    def open(self, sealed: bytes, place: str) -> bytes:
        """The secret that was sealed for a place."""


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
        return _parsed(file.read(_LIMIT), str(path))


def shared_srs_keys(store: ConfigStore, data_dir: Path, vault: Sealing | None) -> SrsKeys:
    """The keys of a site, made at first use: of the file of the node that is first, if it has one.

    vault: of the site's master key; without one they are not sealed. Raises OSError as `load_srs_keys`, StoreFailure,
    and what `vault` raises.
    """

    def make() -> bytes:
        path = data_dir / SRS_KEYS_FILE
        keys = load_srs_keys(data_dir).keys if path.exists() else (secrets.token_bytes(_KEY_OCTETS),)
        text = "".join(f"{key.hex()}\n" for key in keys).encode()
        return text if vault is None else vault.seal(text, _PLACE)

    content = store.content_once(_PLACE, make)
    if not set(content) <= _PLAIN:
        if vault is None:
            raise OSError(f"{_PLACE} is sealed, and store.master_key is not set")
        content = vault.open(content, _PLACE)
    return _parsed(content, _PLACE)


def _parsed(text: bytes, where: str) -> SrsKeys:
    try:
        keys = tuple(bytes.fromhex(line.decode("ascii")) for line in text.split())
    except ValueError:
        raise OSError(f"{where}: a line is no key in hexadecimal; correct it, or move the file away") from None
    if not keys or min(map(len, keys)) < _LEAST_OCTETS:
        raise OSError(
            f"{where}: a key of at least {_LEAST_OCTETS} octets is needed; move the file away to have one made"
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
