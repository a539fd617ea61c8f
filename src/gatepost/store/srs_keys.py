"""Keys for rewritten reverse-paths (`protocols.message.srs`), in one file of the data directory for all workers.

The file has a directory of its own: others replace it, and confined workers read it (`store.worker_files`). Called by
`node.site_secrets`, `node.srs_keys` and `manage.use_cases.srs_keys`. One key a line, in hexadecimal: the first signs,
all verify. Nodes that share what is stored have the same text as a content beside the configuration, so that each takes
back the notices of all.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from gatepost.protocols.message.srs import SrsKeys
from gatepost.store.sqlite.schema import make_directory, sync_directory
from gatepost.store.whole_file import locked_directory, publish_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gatepost.store.changes import ConfigStore
    from gatepost.store.interface import Database


SRS_KEYS_FILE = "srs/keys"
SRS_PLACE = "srs/keys"
"""The name of the content beside the configuration, where nodes share it."""

_FORMER_FILE = "srs.keys"
_KEY_OCTETS = 32
_LEAST_OCTETS = 16
_LIMIT = 65536
_PLAIN = frozenset(b"0123456789abcdef\n")


class Sealing(Protocol):
    """A vault (`pki.certificates.vault`), which this package does not know."""

    def seal(self, secret: bytes, place: str) -> bytes:
        """A secret as it may be stored at a place."""

    def open(self, sealed: bytes, place: str) -> bytes:
        """The secret that was sealed for a place."""


def key_file(data_dir: Path) -> Path:
    """The place of the file, which is brought there from where earlier versions had it. Raises OSError."""
    path, former = data_dir / SRS_KEYS_FILE, data_dir / _FORMER_FILE
    if not path.exists() and former.exists():
        make_directory(path.parent)
        with suppress(FileNotFoundError):  # another process was quicker
            former.rename(path)
            sync_directory(data_dir)
    return path


def load_srs_keys(data_dir: Path) -> SrsKeys:
    """The keys, made at first use. Raises OSError if the file is not ours alone, or holds something else."""
    path = key_file(data_dir)
    if not path.exists():
        publish_file(path, _text(SrsKeys((new_key(),))))
    return _parsed(SrsKeyFile(data_dir).read() or b"", str(path))


def shared_srs_keys(store: ConfigStore, data_dir: Path, vault: Sealing | None) -> SrsKeys:
    """The keys of a site, made at first use: of the file of the node that is first, if it has one.

    vault: of the site's master key; without one they are not sealed. Raises OSError as `load_srs_keys`, StoreFailure,
    and what `vault` raises.
    """

    def make() -> bytes:
        path = key_file(data_dir)
        keys = load_srs_keys(data_dir).keys if path.exists() else (new_key(),)
        return sealed_keys(_text(SrsKeys(keys)), vault)

    return _parsed(opened_keys(store.content_once(SRS_PLACE, make), vault), SRS_PLACE)


def srs_keys_mark(store: ConfigStore, data_dir: Path) -> object:
    """A value that differs once the keys were changed; read in microseconds. Raises StoreFailure or OSError."""
    if store.is_shared:
        return store.content(SRS_PLACE)
    try:
        status = key_file(data_dir).stat()
    except FileNotFoundError:
        return None
    return (status.st_ino, status.st_mtime_ns, status.st_size, status.st_mode)


def change_srs_keys(data_dir: Path, step: Callable[[SrsKeys], SrsKeys]) -> SrsKeys:
    """Replace the keys of one node by what `step` makes of them. Raises as `load_srs_keys`, and what `step` raises."""
    with locked_directory(data_dir):  # the file is replaced
        keys = step(load_srs_keys(data_dir))
        publish_file(key_file(data_dir), _text(keys), replace=True)
    return keys


def change_shared_srs_keys(
    store: ConfigStore, data_dir: Path, vault: Sealing | None, step: Callable[[SrsKeys], SrsKeys]
) -> SrsKeys:
    """The same of a site. Raises as `shared_srs_keys`, and what `step` raises."""
    shared_srs_keys(store, data_dir, vault)

    def change(content: bytes) -> bytes:
        return sealed_keys(_text(step(_parsed(opened_keys(content, vault), SRS_PLACE))), vault)

    store.change_content(SRS_PLACE, change)
    return shared_srs_keys(store, data_dir, vault)


def sealed_keys(text: bytes, vault: Sealing | None) -> bytes:
    """The text of keys as it is stored beside the configuration. Raises what `vault` raises."""
    return text if vault is None else vault.seal(text, SRS_PLACE)


def opened_keys(content: bytes, vault: Sealing | None) -> bytes:
    """The text of keys from beside the configuration. Raises OSError, and what `vault` raises."""
    if set(content) <= _PLAIN:
        return content
    if vault is None:
        raise OSError(f"{SRS_PLACE} is sealed, and store.master_key is not set")
    return vault.open(content, SRS_PLACE)


class SrsKeyFile:
    """The text of the keys in a data directory, as it stands there. Raises OSError."""

    def __init__(self, data_dir: Path) -> None:
        self._path = key_file(data_dir)

    def read(self) -> bytes | None:
        """The text; None if there is no file."""
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return None
        with os.fdopen(descriptor, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o777
            if mode & 0o077:
                raise PermissionError(f"{self._path} has mode {mode:04o}, and others may read it; chmod 600 it")
            return file.read(_LIMIT)

    def replace(self, text: bytes) -> None:
        """Write another text in one step, durably."""
        publish_file(self._path, text, replace=True)

    def remove(self) -> None:
        """Remove the file."""
        self._path.unlink(missing_ok=True)


class SrsKeyRow:
    """The text of the keys in the tables of the configuration. Raises StoreFailure, and what `vault` raises."""

    def __init__(self, database: Database, vault: Sealing | None) -> None:
        self._database = database
        self._vault = vault

    def read(self) -> bytes | None:
        """The text; None if there is none."""
        with self._database.reading() as connection:
            content = connection.value("SELECT data FROM content WHERE name = ?", (SRS_PLACE,))
        return None if content is None else opened_keys(content, self._vault)

    def replace(self, text: bytes) -> None:
        """Store another text, sealed if there is a master key."""
        with self._database.changing() as change:
            change.execute(
                "INSERT INTO content (name, data) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET data = excluded.data",
                (SRS_PLACE, sealed_keys(text, self._vault)),
            )

    def remove(self) -> None:
        """Remove the text."""
        with self._database.changing() as change:
            change.execute("DELETE FROM content WHERE name = ?", (SRS_PLACE,))


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


def new_key() -> bytes:
    """A new key."""
    return secrets.token_bytes(_KEY_OCTETS)


def _text(keys: SrsKeys) -> bytes:
    return "".join(f"{key.hex()}\n" for key in keys.keys).encode()
