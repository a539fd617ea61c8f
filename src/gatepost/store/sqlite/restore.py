"""Restore a backup into an empty data directory.

Everything is verified before anything is written. Files are made below `.restore` and come to their names at the end,
where nothing may lie yet; while that directory is there, the gateway does not start (`check_whole`). Blocks.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

import apsw

from gatepost.quantity import quantity
from gatepost.store.interface import StoreFailure, failing
from gatepost.store.sqlite.backup import RESTORE_DIRECTORY
from gatepost.store.sqlite.backup_archive import (
    BackupFile,
    BackupSource,
    HashedReader,
    Manifest,
    UnusableBackup,
    parse_manifest,
    write_new,
)
from gatepost.store.sqlite.schema import QUEUE_FILE, make_directory, sync_directory

_CHUNK: Final = 1 << 20
_MARGIN: Final = 16 << 20
_HARMLESS: Final = frozenset({"lost+found"})
_ACCOUNTS: Final = "access.db"


class NotEmpty(StoreFailure):
    """The data directory has something in it, so nothing is restored there."""


def verify(source: BackupSource) -> Manifest:
    """Read the whole backup and compare it with its manifest. Raises UnusableBackup, or StoreFailure if it cannot."""
    try:
        manifest = parse_manifest(source.manifest())
        _compare_names({file.path for file in manifest.files}, set(source.paths()))
        for file in manifest.files:
            with source.open(file.path) as content:
                _compare(content.read, file)
    except OSError as error:
        raise StoreFailure(f"{error.filename or 'the backup'}: {error.strerror or error}") from error
    return manifest


def _compare_names(listed: set[str], present: set[str]) -> None:
    if missing := sorted(listed - present):
        raise UnusableBackup(
            f"of its {quantity(len(listed), 'file')}, {len(missing)} cannot be found, such as {missing[0]}"
        )
    if strange := sorted(present - listed):
        raise UnusableBackup(f"it has a file that is not of it: {strange[0]}")


def _compare(read: Callable[[int], bytes], file: BackupFile) -> None:
    digest, left = hashlib.sha256(), file.size
    while left and (chunk := read(min(_CHUNK, left))):
        digest.update(chunk)
        left -= len(chunk)
    if left or read(1) or digest.hexdigest() != file.sha256:
        raise UnusableBackup(f"{file.path} is damaged: it is not what the manifest says")


def stored_contents(data_dir: Path, beginning: bytes) -> dict[str, bytes]:
    """Contents of the configuration store in a directory, by name, as far as they begin so. Raises StoreFailure."""
    config = data_dir / "config.db"
    if not config.exists():
        return {}
    with (
        failing(config, apsw.Error),
        closing(apsw.Connection(str(config), flags=apsw.SQLITE_OPEN_READONLY)) as connection,
    ):
        return dict(
            connection.execute("SELECT name, data FROM content WHERE substr(data, 1, length(?1)) = ?1", (beginning,))
        )


def check_whole(data_dir: Path) -> None:
    """Raise StoreFailure if a restore into the data directory is under way, or was cut off."""
    if (data_dir / RESTORE_DIRECTORY).exists():
        raise StoreFailure(
            f"{data_dir}: a restore is under way here, or was cut off. Wait for it to end; if none runs, empty the "
            "directory and restore again: gatepost store restore"
        )


def check_empty(data_dir: Path) -> None:
    """Raise NotEmpty unless there is nothing in the data directory, or no such directory."""
    try:
        check_whole(data_dir)
        names = sorted({entry.name for entry in os.scandir(data_dir)} - _HARMLESS)
    except FileNotFoundError:
        return
    except OSError as error:
        raise StoreFailure(f"{data_dir}: {error.strerror}") from error
    if names:
        raise NotEmpty(
            f"{data_dir} is not empty: it has {', '.join(names[:3])}. Stop the gateway, move the directory away, and "
            "restore again; nothing was changed"
        )


class Restore:
    """One restore. `run` once, after `verify`."""

    def __init__(
        self, source: BackupSource, manifest: Manifest, data_dir: Path, *, hold: bool, check: Callable[[Path], None]
    ) -> None:
        """hold: all queued mail is held, so that a gateway on a copy sends nothing.

        check: called with the restored files before they count; what it raises ends the restore, with nothing changed.
        """
        self._source = source
        self._manifest = manifest
        self._data = data_dir
        self._stage = data_dir / RESTORE_DIRECTORY
        self._hold = hold
        self._check = check

    def run(self) -> None:
        """Raises StoreFailure: NotEmpty, UnusableBackup, or another. Then nothing is changed, unless it says so."""
        check_empty(self._data)
        try:
            make_directory(self._data)
            self._check_space()
            self._stage.mkdir(mode=0o700)
            try:
                self._fill()
                self._check(self._stage)
                self._move()
            finally:
                shutil.rmtree(self._stage, ignore_errors=True)
            sync_directory(self._data)
        except (OSError, apsw.Error) as error:
            where = getattr(error, "filename", None) or self._data
            raise StoreFailure(f"{where}: {getattr(error, 'strerror', None) or error}") from error

    def _check_space(self) -> None:
        space = os.statvfs(self._data)
        free, needed = space.f_bavail * space.f_frsize, self._manifest.size + _MARGIN
        if free < needed:
            raise StoreFailure(f"{self._data}: {free >> 20} MiB are free, and {needed >> 20} MiB are needed")

    def _fill(self) -> None:
        for file in self._manifest.files:
            place = self._stage / file.path
            make_directory(place.parent)
            with self._source.open(file.path) as content:
                reader = HashedReader(content, file.size)
                write_new(place, reader)
            if reader.result(file.path) != file:
                raise UnusableBackup(f"{file.path} changed while it was restored; nothing was restored")
        if self._hold:
            for path in self._stage.glob(f"queue/*/{QUEUE_FILE}"):
                with closing(apsw.Connection(str(path))) as queue:
                    queue.execute("UPDATE delivery SET held = 1")
        self._end_sessions()
        for folder, _, _ in self._stage.walk():
            sync_directory(folder)

    def _end_sessions(self) -> None:
        """Nobody is logged in by the cookie of then: who logged out since, or was logged out, must not be in again."""
        if (self._stage / _ACCOUNTS).exists():
            with closing(apsw.Connection(str(self._stage / _ACCOUNTS))) as accounts:
                accounts.execute("PRAGMA secure_delete = ON")
                accounts.execute("DELETE FROM session")

    def _move(self) -> None:
        """Under their names, where nothing may lie: a gateway that was started meanwhile is not overwritten."""
        made: list[Path] = []
        for entry in sorted(self._stage.iterdir()):
            place = self._data / entry.name
            try:
                if entry.is_dir():
                    place.mkdir(mode=0o700)  # fails if it is there; then it is replaced, empty as it is
                    entry.rename(place)
                else:
                    os.link(entry, place, follow_symlinks=False)
            except OSError as error:
                for path in made:
                    _take_back(path)
                raise NotEmpty(
                    f"{place}: {error.strerror}; something else, such as the gateway, writes to {self._data}. Stop it, "
                    "empty the directory, and restore again"
                ) from error
            made.append(place)


def _take_back(place: Path) -> None:
    if place.is_dir():
        shutil.rmtree(place, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            place.unlink()
