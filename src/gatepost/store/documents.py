"""Small documents by name, in folders: files of the data directory with SQLite, rows of a table where nodes share it.

For results of checks and drills (`analysis.checks.records`, `analysis.checks.evidence`). A document is replaced in one
step, or added under a name that nobody has. Blocks. Files raise OSError, the table StoreFailure.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Final, Protocol

from gatepost.store.interface import Database, DatabaseConnection, OnFirstUse, Schema, StoreFailure
from gatepost.store.sqlite.schema import make_directory, sync_directory

DOCUMENTS: Final = Schema(
    name="documents",
    file="documents.db",
    application_id=0x67706463,  # "gpdc"
    version=1,
    tables="""
    CREATE TABLE document (
        folder  TEXT NOT NULL,
        name    TEXT NOT NULL,
        at      REAL NOT NULL,
        content BLOB NOT NULL,
        PRIMARY KEY (folder, name)
    ) WITHOUT ROWID;
    """,
)


DOCUMENT_FOLDERS: Final = ("validations", "evidence/drills")
"""The folders in which documents, or further folders of them, lie: others do not exist."""


class Documents(Protocol):
    """The documents of one folder. place: where that is, for administrators of the gateway."""

    place: str

    def names(self) -> dict[str, float]:
        """All names, and when each was written: seconds since 1970."""

    def read(self, name: str, most: int) -> bytes | None:
        """A document; None if there is none. Of one larger than `most` bytes, only that many and one more."""

    def replace(self, name: str, content: bytes) -> None:
        """Write it in one step, whatever was there."""

    def remove(self, names: Iterable[str]) -> None:
        """Remove documents; one that is not there is no error."""

    def make_room(self, most: int) -> None:
        """Remove those that were written longest ago until all together have no more bytes than `most`."""

    def adding(self) -> AbstractContextManager[AddDocument]:
        """While it is open, nobody else adds one to this folder."""


class AddDocument(Protocol):
    """Adds a document durably, under a name of its own: FileExistsError if there is one of that name."""

    def __call__(self, name: str, content: bytes) -> None:
        """Add it."""


class DocumentFiles:
    """Implements `Documents` with files of mode 0600 in directories of 0700."""

    def __init__(self, directory: Path) -> None:
        self.place = str(directory)
        self._directory = directory

    def names(self) -> dict[str, float]:
        """All names, and when each was written."""
        try:
            with os.scandir(self._directory) as entries:
                return {entry.name: entry.stat().st_mtime for entry in entries if not entry.name.startswith(".")}
        except FileNotFoundError:
            return {}

    def read(self, name: str, most: int) -> bytes | None:
        """A document; None if there is none."""
        try:
            with (self._directory / name).open("rb") as file:
                return file.read(most + 1)
        except FileNotFoundError:
            return None

    def replace(self, name: str, content: bytes) -> None:
        """Write it in one step: readers see the one before or this one."""
        make_directory(self._directory)
        path = self._directory / name
        fresh = path.with_name(f".{name}.{secrets.token_hex(4)}")
        try:
            _write(fresh, content)
            os.replace(fresh, path)  # noqa: PTH105 - the name of the system call that is meant
        finally:
            fresh.unlink(missing_ok=True)

    def remove(self, names: Iterable[str]) -> None:
        """Remove documents."""
        for name in names:
            (self._directory / name).unlink(missing_ok=True)

    def make_room(self, most: int) -> None:
        """Remove those that were written longest ago."""
        with os.scandir(self._directory) as entries:
            sizes = [(entry.stat(), entry.name) for entry in entries if not entry.name.startswith(".")]
        newest = sorted(sizes, key=lambda sized: sized[0].st_mtime_ns, reverse=True)
        totals = accumulate(status.st_size for status, _ in newest)
        self.remove(name for (_, name), total in zip(newest, totals, strict=True) if total > most)

    @contextmanager
    def adding(self) -> Iterator[AddDocument]:
        """One writer at a time. Ends with the process at the latest."""
        make_directory(self._directory)
        descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield self._add
        finally:
            os.close(descriptor)

    def _add(self, name: str, content: bytes) -> None:
        """Whole or not at all, and never over another: the final name is made by link, which does not replace."""
        path = self._directory / name
        fresh = path.with_name(f".{name}.new")
        fresh.unlink(missing_ok=True)  # of a writer that died: we are alone
        try:
            _write(fresh, content, durable=True)
            os.link(fresh, path)
        finally:
            fresh.unlink(missing_ok=True)
        sync_directory(self._directory)


class DocumentTable:
    """Implements `Documents` in a table. For one thread at a time."""

    def __init__(self, opened: Callable[[], Database], folder: str) -> None:
        """opened: opens the database, at the first use."""
        self.place = folder
        self._database = OnFirstUse(opened)
        self._change: DatabaseConnection | None = None  # the transaction in which one is added

    def names(self) -> dict[str, float]:
        """All names, and when each was written."""
        with self._reading() as connection:
            rows = connection.rows("SELECT name, at FROM document WHERE folder = ?", (self.place,))
        return {str(name): float(at) for name, at in rows}

    def read(self, name: str, most: int) -> bytes | None:
        """A document; None if there is none."""
        sql = "SELECT substr(content, 1, ?3) FROM document WHERE folder = ?1 AND name = ?2"
        with self._reading() as connection:
            content = connection.value(sql, (self.place, name, most + 1))
        return None if content is None else bytes(content)

    def replace(self, name: str, content: bytes) -> None:
        """Write it in one step, whatever was there."""
        with self._database.changing() as change:
            sql = (
                f"INSERT INTO document VALUES (?, ?, {change.clock}, ?)"  # noqa: S608 - ours
                " ON CONFLICT (folder, name) DO UPDATE SET at = excluded.at, content = excluded.content"
            )
            change.execute(sql, (self.place, name, content))

    def remove(self, names: Iterable[str]) -> None:
        """Remove documents."""
        with self._database.changing() as change:
            for name in names:
                change.execute("DELETE FROM document WHERE folder = ? AND name = ?", (self.place, name))

    def make_room(self, most: int) -> None:
        """Remove those that were written longest ago."""
        sql = """
            DELETE FROM document WHERE folder = ?1 AND name IN (
                SELECT name FROM (
                    SELECT name, sum(length(content)) OVER (ORDER BY at DESC, name) AS total
                    FROM document WHERE folder = ?1
                ) AS newest
                WHERE total > ?2
            )
        """
        with self._database.changing() as change:
            change.execute(sql, (self.place, most))

    @contextmanager
    def adding(self) -> Iterator[AddDocument]:
        """One writer at a time, on all nodes."""
        with self._database.changing() as change:

            def add(name: str, content: bytes) -> None:
                self._add(change, name, content)

            self._change = change
            try:
                yield add
            finally:
                self._change = None

    def _add(self, change: DatabaseConnection, name: str, content: bytes) -> None:
        sql = f"INSERT INTO document VALUES (?, ?, {change.clock}, ?) ON CONFLICT DO NOTHING"  # noqa: S608 - ours
        if not change.execute(sql, (self.place, name, content)):
            raise FileExistsError(name)

    @contextmanager
    def _reading(self) -> Iterator[DatabaseConnection]:
        if self._change is not None:
            yield self._change
        else:
            with self._database.reading() as connection:
                yield connection


def folders_in_files(directory: Path) -> list[str]:
    """The names of the folders in a directory of documents. Raises OSError."""
    try:
        with os.scandir(directory) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []


def folders_in_table(database: Database, top: str) -> list[str]:
    """The names of the folders that have documents, in a folder. Raises StoreFailure."""
    with database.reading() as connection:
        rows = connection.rows(
            "SELECT DISTINCT folder FROM document WHERE substr(folder, 1, ?) = ?", (len(top) + 1, f"{top}/")
        )
    return [str(folder)[len(top) + 1 :] for (folder,) in rows]


def failure_text(documents: Documents, error: OSError | StoreFailure) -> str:
    """Why documents could not be read or written, for administrators."""
    return f"{documents.place}: {error.strerror or error}" if isinstance(error, OSError) else str(error)


def _write(path: Path, content: bytes, *, durable: bool = False) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        if durable:
            file.flush()
            os.fsync(file.fileno())
