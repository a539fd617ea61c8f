"""Write and read the place of a backup: a directory, or one .tar file. Written in order, read by name.

Used by `store.sqlite.backup` and `store.sqlite.restore`. Whoever calls makes the directory or opens the file, private
to the account and new; here nothing is replaced, no link is followed, and everything is synced. Blocks.

The manifest says what is in it, of when, with the SHA-256 of each file. It is written last, so that a backup that was
cut off has none.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import BinaryIO, Final, Protocol

import msgspec

from gatepost.decoding import from_json
from gatepost.store.interface import StoreFailure
from gatepost.store.sqlite.schema import make_directory, make_file, sync_directory

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
    except msgspec.DecodeError as error:
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


_CHUNK: Final = 1 << 20
_LARGEST_MANIFEST: Final = 1 << 29
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW


class BackupTarget(Protocol):
    """A backup that is being written. Methods raise OSError."""

    def database(self, path: str) -> Path:
        """An empty file for the copy of a database; `keep_database` follows."""

    def keep_database(self, path: str) -> BackupFile:
        """Take what was written there into the backup."""

    def add(self, path: str, source: BinaryIO, size: int) -> BackupFile:
        """Take the first `size` octets of a file."""

    def finish(self, manifest: bytes) -> None:
        """Make everything durable, then add the manifest."""


class HashedReader:
    """Reads the first `size` octets of a file, and hashes them. Raises OSError if it has fewer."""

    def __init__(self, source: BinaryIO, size: int) -> None:
        self._source = source
        self._left = size
        self._size = size
        self._hash = hashlib.sha256()

    def read(self, count: int) -> bytes:
        """At most `count` octets; b"" at the end."""
        data = self._source.read(min(count, self._left))
        if self._left and not data:
            raise OSError(f"{getattr(self._source, 'name', 'file')} became shorter while it was read")
        self._left -= len(data)
        self._hash.update(data)
        return data

    def result(self, path: str) -> BackupFile:
        """The entry of the manifest for it."""
        return BackupFile(path, self._size - self._left, self._hash.hexdigest())


def write_new(path: Path, reader: HashedReader) -> None:
    """Write everything that `reader` has into a new file of mode 0600, synced. Raises OSError."""
    with os.fdopen(os.open(path, _NEW, 0o600), "wb") as file:
        while chunk := reader.read(_CHUNK):
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())


class DirectoryTarget:
    """Implements BackupTarget. root: a new, empty directory of mode 0700."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def database(self, path: str) -> Path:
        """An empty file for the copy of a database."""
        place = self._place(path)
        make_file(place)
        return place

    def keep_database(self, path: str) -> BackupFile:
        """Sync and hash it where it is."""
        with (self._root / path).open("rb") as file:
            os.fsync(file.fileno())
            reader = HashedReader(file, os.fstat(file.fileno()).st_size)
            while reader.read(_CHUNK):
                pass
        return reader.result(path)

    def add(self, path: str, source: BinaryIO, size: int) -> BackupFile:
        """Take the first `size` octets of a file."""
        reader = HashedReader(source, size)
        write_new(self._place(path), reader)
        return reader.result(path)

    def finish(self, manifest: bytes) -> None:
        """The manifest comes under its name when it is whole."""
        for folder, _, _ in self._root.walk():
            sync_directory(folder)
        whole = self._root / f".{MANIFEST}"
        with os.fdopen(os.open(whole, _NEW, 0o600), "wb") as file:
            file.write(manifest)
            file.flush()
            os.fsync(file.fileno())
        whole.rename(self._root / MANIFEST)
        sync_directory(self._root)
        try:
            sync_directory(self._root.parent)
        except PermissionError:  # the caller's, which the account passes and does not list
            os.sync()

    def _place(self, path: str) -> Path:
        place = self._root / path
        make_directory(place.parent)
        return place


class TarTarget:
    """Implements BackupTarget. file: new, for reading and writing. work: a new directory for one database at a time."""

    def __init__(self, file: BinaryIO, work: Path) -> None:
        self._file = file
        self._tar = tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT)  # noqa: SIM115 - closed by finish
        self._copy = work / "database"

    def database(self, path: str) -> Path:  # noqa: ARG002 - one at a time
        """An empty file for the copy of a database."""
        make_file(self._copy)
        return self._copy

    def keep_database(self, path: str) -> BackupFile:
        """Move it into the file."""
        with self._copy.open("rb") as copy:
            kept = self.add(path, copy, os.fstat(copy.fileno()).st_size)
        self._copy.unlink()
        return kept

    def add(self, path: str, source: BinaryIO, size: int) -> BackupFile:
        """Take the first `size` octets of a file."""
        reader = HashedReader(source, size)
        self._tar.addfile(_member(path, size), reader)  # type: ignore[arg-type]  # only read() is used
        return reader.result(path)

    def finish(self, manifest: bytes) -> None:
        """The manifest is the last file of all."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._tar.addfile(_member(MANIFEST, len(manifest)), io.BytesIO(manifest))
        self._tar.close()
        self._file.flush()
        os.fsync(self._file.fileno())


def _member(path: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(path)
    member.size, member.mode, member.mtime = size, 0o600, int(time.time())
    return member


class BackupSource(Protocol):
    """A backup that is read. Methods raise UnusableBackup or OSError."""

    def manifest(self) -> bytes:
        """The content of the manifest."""

    def paths(self) -> Iterator[str]:
        """All files but the manifest."""

    def open(self, path: str) -> AbstractContextManager[BinaryIO]:
        """One of them."""


_CUT_OFF: Final = (
    f"there is no {MANIFEST} in it: the backup was cut off before it was whole, or it is none; use another"
)


class DirectorySource:
    """Implements BackupSource. guard: around each opening, for rights that only the caller of a command has."""

    def __init__(self, root: Path, guard: Callable[[], AbstractContextManager[object]] = nullcontext) -> None:
        self._root = root
        self._guard = guard

    def manifest(self) -> bytes:
        """The content of the manifest."""
        try:
            with self.open(MANIFEST) as file:
                return file.read(_LARGEST_MANIFEST)
        except FileNotFoundError as error:
            raise UnusableBackup(_CUT_OFF) from error

    def paths(self) -> Iterator[str]:
        """All files but the manifest."""
        with self._guard():
            files = [
                str((folder / name).relative_to(self._root))
                for folder, _, names in self._root.walk(on_error=_raise)
                for name in names
            ]
        return (path for path in files if path != MANIFEST)

    def open(self, path: str) -> BinaryIO:
        """One of them; a link, a pipe or anything else that is not a file is refused."""
        with self._guard():
            descriptor = os.open(self._root / path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise UnusableBackup(f"{path} is not a file")
        return os.fdopen(descriptor, "rb")


def _raise(error: OSError) -> None:
    raise error


class TarSource:
    """Implements BackupSource. file: as TarTarget wrote it; links and anything else in it are refused."""

    def __init__(self, file: BinaryIO) -> None:
        try:
            self._tar = tarfile.open(fileobj=file, mode="r:")  # noqa: SIM115 - as long as the file
            self._members = self._tar.getmembers()
        except (tarfile.TarError, ValueError, OverflowError) as error:
            raise UnusableBackup(f"it was cut off, or is not a .tar file: {error}") from error
        self._by_name = {member.name: member for member in self._members}
        if len(self._by_name) < len(self._members):
            raise UnusableBackup("it has a file twice")
        for member in self._members:
            if member.type not in {tarfile.REGTYPE, tarfile.AREGTYPE}:
                raise UnusableBackup(f"{member.name} is not a file")

    def manifest(self) -> bytes:
        """The content of the manifest."""
        if MANIFEST not in self._by_name:
            raise UnusableBackup(_CUT_OFF)
        with self.open(MANIFEST) as file:
            return file.read(_LARGEST_MANIFEST)

    def paths(self) -> Iterator[str]:
        """All files but the manifest."""
        return (name for name in self._by_name if name != MANIFEST)

    def open(self, path: str) -> AbstractContextManager[BinaryIO]:
        """One of them."""
        member = self._tar.extractfile(self._by_name[path])
        assert member is not None  # noqa: S101 - it is a regular file
        return closing(member)  # type: ignore[arg-type]
