"""Make a backup of a data directory while the gateway serves: each database as it stands at one moment, then its files.

Databases are copied by `VACUUM INTO`, which is one read transaction; SQLite's backup API would begin again with each
commit of the gateway and never end (docs/decisions/0068). Of a queue the rows come first, then the big files that they
name: one that is gone by then was of a message that was settled meanwhile. Blocks; nothing of the data directory is
changed, and nothing that the gateway waits for is locked.

Everything is taken but what is named here, so that nothing new is forgotten. The order lets nothing fall between two
copies: what passes mail on is copied before what takes it. So mail that moves meanwhile is in the backup twice, never
missing.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO, Final

import apsw

from gatepost.mail.model.queue_id import format_id
from gatepost.store.interface import StoreFailure, StoreFull
from gatepost.store.sqlite.backup_archive import FORMAT, BackupFile, BackupTarget, Manifest
from gatepost.store.sqlite.schema import BIG_DIRECTORY, LOCK_FILE, QUEUE_FILE, open_for_reading, size_of

RESTORE_DIRECTORY: Final = ".restore"
"""In data_dir, while a restore is under way."""

MAILBOXES: Final = "maildir"

# Caches, work files and figures of running processes: made anew by whoever needs them.
_NODE_LOCAL: Final = frozenset(
    {"cache", "made", "workers", "setup-address", "own-connection", RESTORE_DIRECTORY, "lost+found"}
)
_BESIDE: Final = ("-wal", "-shm", "-journal", ".tally", ".lock", ".new")

# Reports that were sent are noted before their mail is queued: with an older note they are sent twice, not never. The
# queue passes mail to mailboxes and to the inbox of reports, which passes it to a database.
_FIRST: Final = ("sent-reports.db", "queue/", "tls-reports-inbox/", f"{MAILBOXES}/")
# Heads first: the log that they are of goes on. Keys after what they have signed.
_KEYS: Final = "evidence-keys/"
_LAST: Final = ("evidence/heads.log", "evidence/", _KEYS, "trace/")


def backup_paths(data_dir: Path, *, mailboxes: bool) -> list[str]:
    """Paths below the data directory, in the order in which they are copied, without the big files of the queue.

    Raises OSError.
    """
    return sorted(_walk(data_dir, "", mailboxes=mailboxes), key=lambda path: (_rank(path), path))


def is_database(path: str) -> bool:
    """Whether it is copied as a database."""
    return path.endswith(".db") and not path.startswith(f"{MAILBOXES}/")


def is_log(path: str) -> bool:
    """Whether lines are appended to it."""
    return path.startswith("evidence/") and path.endswith(".log")


def _rank(path: str) -> int:
    for number, start in enumerate(_FIRST):
        if path.startswith(start):
            return number - len(_FIRST)
    return next((number for number, start in enumerate(_LAST, 1) if path.startswith(start)), 0)


def _walk(folder: Path, above: str, *, mailboxes: bool) -> Iterator[str]:
    try:
        with os.scandir(folder) as scan:
            entries = list(scan)
    except FileNotFoundError:  # gone meanwhile, as days of the trace go
        return
    for entry in entries:
        path = f"{above}{entry.name}"
        if _is_left_out(path, entry.name, mailboxes=mailboxes):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(folder / entry.name, f"{path}/", mailboxes=mailboxes)
        elif entry.is_file(follow_symlinks=False):
            yield path


def _is_left_out(path: str, name: str, *, mailboxes: bool) -> bool:
    parts = path.split("/")
    if parts[0] in _NODE_LOCAL:
        return True
    if parts[0] == MAILBOXES:
        return not mailboxes or name == "tmp"
    if parts[0] == "queue" and parts[2:3] == [BIG_DIRECTORY]:
        return True
    return name == LOCK_FILE or name.endswith(_BESIDE)


_TAIL: Final = 1 << 20  # octets at the end of a log in which its last line ends
_MARGIN: Final = 16 << 20  # octets beyond what is copied
_COUNTS: Final = (
    "SELECT count(*), coalesce(sum(held AND {0} = ''), 0), coalesce(sum({0} != ''), 0) FROM delivery WHERE NOT dropped"
)
_QUARANTINE_SINCE: Final = 3  # the version of the queue's tables that has the column


def needed_space(data_dir: Path, *, mailboxes: bool, is_tar: bool) -> int:
    """Octets that a backup may take, at most. A .tar needs its largest database twice. Raises StoreFailure."""
    largest = total = 0
    try:
        for path in backup_paths(data_dir, mailboxes=mailboxes):
            size = size_of(data_dir / path) + (size_of(data_dir / f"{path}-wal") if is_database(path) else 0)
            total += size
            largest = max(largest, size if is_database(path) else 0)
        for big in data_dir.glob(f"queue/*/{BIG_DIRECTORY}/*"):
            total += size_of(big)
    except OSError as error:
        raise StoreFailure(f"{error.filename or data_dir}: {error.strerror}") from error
    return total + _MARGIN + (largest if is_tar else 0)


class Backup:
    """One backup that is made. `run` once."""

    def __init__(self, data_dir: Path, target: BackupTarget, *, mailboxes: bool, clock: Callable[[], float]) -> None:
        """clock: seconds since 1970."""
        self._data = data_dir
        self._target = target
        self._mailboxes = mailboxes
        self._clock = clock
        self._files: list[BackupFile] = []
        self._messages = self._deliveries = self._held = self._quarantined = 0

    def run(self, *, version: str, hostname: str) -> Manifest:
        """Copy everything, then write the manifest. version: of gatepost. Raises StoreFailure; StoreFull if it is room.

        What was written so far is then the caller's to remove.
        """
        began = self._clock()
        path = ""
        try:
            for path in backup_paths(self._data, mailboxes=self._mailboxes):
                self._copy(path)
            self._copy_moved()
            manifest = Manifest(
                FORMAT,
                version,
                hostname,
                began,
                self._clock(),
                self._messages,
                self._deliveries,
                self._held,
                self._mailboxes,
                self._files,
                self._quarantined,
            )
            self._target.finish(manifest.encoded())
        except (apsw.Error, OSError) as error:
            raise _failure(path, error) from error
        return manifest

    def _copy(self, path: str) -> None:
        if not is_database(path):
            self._copy_file(path)
        elif (self._data / path).exists():
            self._copy_database(path)

    # ------------------------------------------------------------------------------------------------ databases

    def _copy_database(self, path: str) -> None:
        copy = self._target.database(path)
        with closing(open_for_reading(self._data / path)) as source:
            source.execute("VACUUM INTO ?", (str(copy),))
        if path.startswith("queue/") and path.endswith(f"/{QUEUE_FILE}"):
            self._complete_shard(Path(path).parent, copy)
        self._files.append(self._target.keep_database(path))

    def _complete_shard(self, shard: Path, copy: Path) -> None:
        """Copy the big files that the rows name, and take out rows of messages that were settled meanwhile."""
        with closing(apsw.Connection(str(copy))) as connection:
            if not connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'message'").get:
                return  # a shard that is being made
            rows: list[Any] = connection.execute("SELECT id, big FROM message WHERE big IS NOT NULL").fetchall()
            gone = [message for message, big in rows if not self._copy_big(shard, big)]
            self._remove(connection, shard, gone)
            self._messages += connection.execute("SELECT count(*) FROM message").get
            column = "quarantine" if connection.pragma("user_version") >= _QUARANTINE_SINCE else "''"
            deliveries, held, quarantined = connection.execute(_COUNTS.format(column)).get
            self._deliveries += deliveries
            self._held += held
            self._quarantined += quarantined

    def _copy_big(self, shard: Path, number: int) -> bool:
        return self._copy_file(f"{shard}/{BIG_DIRECTORY}/{format_id(number)}")

    def _remove(self, copy: apsw.Connection, shard: Path, messages: list[int]) -> None:
        """Those that the queue has not any more. One that it still has stays: then the loss of its body is older."""
        if not messages:
            return
        with closing(open_for_reading(self._data / shard / QUEUE_FILE)) as source:
            settled = [
                (number,)
                for number in messages
                if source.execute("SELECT 1 FROM message WHERE id = ?", (number,)).get is None
            ]
        with copy:
            for table, column in (("delivery", "message"), ("body", "id"), ("message", "id")):
                copy.executemany(f"DELETE FROM {table} WHERE {column} = ?", settled)  # noqa: S608 - names of ours

    # ------------------------------------------------------------------------------------------------ files

    def _copy_file(self, path: str) -> bool:
        """Whether it was there. A log of evidence that was compressed meanwhile is taken so."""
        for name in (path, f"{path}.gz") if is_log(path) else (path,):
            try:
                descriptor = os.open(self._data / name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            except FileNotFoundError:
                continue
            with os.fdopen(descriptor, "rb") as file:
                size = os.fstat(file.fileno()).st_size
                self._files.append(self._target.add(name, file, _whole_lines(file, size) if is_log(name) else size))
            return True
        return False

    def _copy_moved(self) -> None:
        """Copy what has another name since.

        Mail that its reader moved within a mailbox, whose name begins as before; keys of the evidence log, which a
        start of the gateway moved or sealed.
        """
        known = {file.path for file in self._files}
        mail = {_mail_name(path) for path in known if path.startswith(f"{MAILBOXES}/")}
        for path in backup_paths(self._data, mailboxes=self._mailboxes):
            is_mail = path.startswith(f"{MAILBOXES}/") and _mail_name(path) not in mail
            if is_mail or (path.startswith(_KEYS) and path not in known):
                self._copy_file(path)


def _mail_name(path: str) -> str:
    return path.rpartition("/")[2].partition(":")[0]


def _whole_lines(file: BinaryIO, size: int) -> int:
    """The size without a last line that is being written. The file is at its beginning afterwards."""
    start = max(0, size - _TAIL)
    file.seek(start)
    end = file.read(size - start).rfind(b"\n") + 1
    file.seek(0)
    return start + end if end else 0 if not start else size


def _failure(path: str, error: apsw.Error | OSError) -> StoreFailure:
    text = getattr(error, "strerror", None) or str(error)
    if isinstance(error, apsw.FullError) or getattr(error, "errno", None) in {errno.ENOSPC, errno.EDQUOT}:
        return StoreFull(f"{path}: no room is left where the backup is written: {text}")
    return StoreFailure(f"{getattr(error, 'filename', None) or path}: {text}")
