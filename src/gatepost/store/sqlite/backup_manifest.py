"""The manifest of a backup: what is in it, of when, with the SHA-256 of each file.

Written last, so that a backup that was cut off has none. Used by `store.sqlite.backup` and `store.sqlite.restore`. No
I/O.
"""

from __future__ import annotations

from typing import Final

import msgspec

from gatepost.decoding import from_json
from gatepost.store.interface import StoreFailure

MANIFEST: Final = "manifest.json"

FORMAT: Final = 1
"""The form of backups that this version makes; it reads that one alone."""

_LONGEST: Final = 1024  # octets of a path
_SHA256_DIGITS: Final = 64
_HEXADECIMAL: Final = frozenset("0123456789abcdef")


class UnusableBackup(StoreFailure):
    """A backup that cannot be restored as it is: cut off, damaged or of another form. The text says which."""


class BackupFile(msgspec.Struct, frozen=True):
    """One file. path: below the data directory, with "/". sha256: hex, lower case."""

    path: str
    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """The description of a backup.

    version: of gatepost. hostname: of the gateway. began, ended: seconds since 1970; mail that was accepted before
    `began` and was not delivered then is in it. messages, deliveries: of the queue, held ones and those in quarantine
    too. mailboxes: whether the mailboxes that this gateway keeps are in it. quarantined: None in older backups, which
    count what is in quarantine as held.
    """

    format: int
    version: str
    hostname: str
    began: float
    ended: float
    messages: int
    deliveries: int
    held: int
    mailboxes: bool
    files: list[BackupFile]
    quarantined: int | None = None

    @property
    def size(self) -> int:
        """Octets of all files."""
        return sum(file.size for file in self.files)

    def encoded(self) -> bytes:
        """As it is stored: JSON, indented for people."""
        return msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n"


def parse_manifest(content: bytes) -> Manifest:
    """Read a manifest. Raises UnusableBackup, also for a path that would lead out of the data directory."""
    try:
        manifest = from_json(content, Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnusableBackup(f"{MANIFEST} is damaged: {error}") from error
    if manifest.format != FORMAT:
        raise UnusableBackup(
            f"the backup has form {manifest.format}, made by gatepost {manifest.version}, and this version reads form "
            f"{FORMAT}: use the version that made it"
        )
    for file in manifest.files:
        if not _is_safe(file.path) or file.size < 0 or not _is_hash(file.sha256):
            raise UnusableBackup(f"{MANIFEST} is damaged: it has the file {file.path[:_LONGEST]!r}")
    if len({file.path for file in manifest.files}) < len(manifest.files):
        raise UnusableBackup(f"{MANIFEST} is damaged: it names a file twice")
    return manifest


def _is_safe(path: str) -> bool:
    """Whether a path stays below the directory that it is joined to."""
    parts = path.split("/")
    return len(path.encode()) <= _LONGEST and "\0" not in path and not {"", ".", ".."} & set(parts)


def _is_hash(text: str) -> bool:
    return len(text) == _SHA256_DIGITS and _HEXADECIMAL.issuperset(text)
