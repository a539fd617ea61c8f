"""Check what is stored in a data directory, without changing it, also while the gateway serves.

Every database is read by SQLite's quick_check and must be of a version that this gatepost knows; every message of the
queue must have its body and its deliveries. The evidence log is checked apart (`manage.use_cases.evidence_audit`).
Blocks.
"""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import apsw

from gatepost.mail.model.queue_id import format_id, parse_id
from gatepost.quantity import quantity
from gatepost.store.sqlite.backup import RESTORE_DIRECTORY, backup_paths, is_database
from gatepost.store.sqlite.schema import (
    BIG_DIRECTORY,
    LOCK_FILE,
    QUEUE_FILE,
    QUEUE_MARK,
    QUEUE_VERSION,
    open_for_reading,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gatepost.store.interface import Schema

_NAMED: Final = 5  # ids that a problem names
_LOCKS: Final = Path("/proc/locks")

# What this version reads beside the schemas: mark and newest version of the tables, by the name of the file, or of its
# directory with "/".
_KNOWN: Final = {
    "access.db": (0x67706163, 3),
    "config.db": (0x67706366, 3),
    "destinations.db": (0x67706473, 1),
    "queue/": (QUEUE_MARK, QUEUE_VERSION),
}

_WITHOUT_BODY: Final = """
SELECT id FROM message WHERE big IS NULL AND size > 0
 AND size != coalesce((SELECT length(data) FROM body WHERE body.id = message.id), -1)
"""
_WITHOUT_DELIVERY: Final = """
SELECT id FROM message WHERE NOT EXISTS (SELECT 1 FROM delivery WHERE delivery.message = message.id)
"""
_WITHOUT_MESSAGE: Final = """
SELECT DISTINCT message FROM delivery WHERE NOT EXISTS (SELECT 1 FROM message WHERE message.id = delivery.message)
UNION SELECT id FROM body WHERE NOT EXISTS (SELECT 1 FROM message WHERE message.id = body.id)
"""
_BIG: Final = """
SELECT message.id, big, size - coalesce(length(data), 0) FROM message LEFT JOIN body ON body.id = message.id
 WHERE big IS NOT NULL
"""


class Problem(NamedTuple):
    """Something that is wrong. path: below the data directory. text: what, and what to do."""

    path: str
    text: str


class Unreadable(NamedTuple):
    """Something that could not be checked, and why."""

    path: str
    text: str


class StoreCheck:
    """The check of a data directory, and its findings.

    databases, messages, deliveries: how many there are. shards: by name, whether in use.
    """

    def __init__(self, data_dir: Path, schemas: Sequence[Schema]) -> None:
        """schemas: of which those that have a file are checked."""
        self._data = data_dir
        filed = [schema for schema in schemas if schema.file]
        self._known = _KNOWN | {schema.file: (schema.application_id, schema.version) for schema in filed}
        self._unmarked = {schema.file for schema in filed if schema.unmarked}
        self.problems: list[Problem] = []
        self.unreadable: list[Unreadable] = []
        self.databases = self.messages = self.deliveries = 0
        self.shards: dict[str, bool] = {}
        self.arriving = 0
        """Big files without a row: bodies that arrive now, or what a crash left, which the next start removes."""

    def run(self) -> None:
        """Check everything. What cannot be read is in `unreadable`; raises nothing."""
        try:
            if (self._data / RESTORE_DIRECTORY).exists():
                self.problems.append(Problem(RESTORE_DIRECTORY, "a restore runs, or was cut off; it must be repeated"))
            paths = [path for path in backup_paths(self._data, mailboxes=False) if is_database(path)]
        except OSError as error:
            self.unreadable.append(Unreadable(str(error.filename), error.strerror or str(error)))
            return
        for path in paths:
            try:
                self._check_database(path)
            except (apsw.CorruptError, apsw.NotADBError) as error:
                self.problems.append(Problem(path, f"damaged: {error}; restore it from a backup"))
            except (apsw.Error, OSError) as error:
                if (self._data / path).exists():  # a day of the trace may go meanwhile
                    self.unreadable.append(Unreadable(path, str(error)))

    def _check_database(self, path: str) -> None:
        self.databases += 1
        with closing(open_for_reading(self._data / path)) as connection:
            for (line,) in connection.execute("PRAGMA quick_check(3)"):
                if line != "ok":
                    self.problems.append(Problem(path, f"damaged: {line}; restore it from a backup"))
                    return
            if not connection.execute("SELECT count(*) FROM sqlite_schema").get:
                return  # it is being made
            if wrong := self._version_problem(path, connection):
                self.problems.append(Problem(path, wrong))
            elif path.startswith("queue/") and path.endswith(f"/{QUEUE_FILE}"):
                self._check_shard(Path(path).parent, connection)

    def _version_problem(self, path: str, connection: apsw.Connection) -> str:
        """What is wrong with the version of a database; "" if nothing is, or if its readers check it themselves."""
        known = next((known for start, known in self._known.items() if path == start or path.startswith(start)), None)
        if known is None:
            return ""
        mark, version = connection.pragma("application_id"), connection.pragma("user_version")
        if path in self._unmarked and not mark and not version:
            return ""  # an earlier gatepost made it; who opens it marks it
        if mark != known[0]:
            return "another program made it; move it away, or restore it from a backup"
        if version > known[1]:
            return (
                f"its tables have version {version}, and this version of gatepost knows {known[1]}: use the version of "
                "gatepost that wrote it, or a newer one"
            )
        return ""

    def _check_shard(self, shard: Path, connection: apsw.Connection) -> None:
        self.shards[shard.name] = _is_locked(self._data / shard / LOCK_FILE)
        path = f"{shard}/{QUEUE_FILE}"
        with connection:  # one state for all
            self.messages += connection.execute("SELECT count(*) FROM message").get
            self.deliveries += connection.execute("SELECT count(*) FROM delivery").get
            for sql, what in (
                (_WITHOUT_BODY, "without a whole body: their senders get a notice when they expire"),
                (_WITHOUT_DELIVERY, "without a delivery: they will never be sent; restore the queue from a backup"),
                (_WITHOUT_MESSAGE, "of which only a delivery or a body is left: restore the queue from a backup"),
            ):
                self._add(path, [number for (number,) in connection.execute(sql)], what)
            big: list[Any] = connection.execute(_BIG).fetchall()
        short = [message for message, number, size in big if _size(self._big(shard, number)) < size]
        still = [number for number in short if connection.execute("SELECT 1 FROM message WHERE id = ?", (number,)).get]
        self._add(path, still, "whose big file is missing or short: their senders get a notice when they expire")
        self.arriving += len(set(_numbers(self._data / shard / BIG_DIRECTORY)) - {number for _, number, _ in big})

    def _big(self, shard: Path, number: int) -> Path:
        return self._data / shard / BIG_DIRECTORY / format_id(number)

    def _add(self, path: str, numbers: list[int], what: str) -> None:
        if numbers:
            ids = ", ".join(map(format_id, numbers[:_NAMED]))
            more = f" and {len(numbers) - _NAMED} more" if len(numbers) > _NAMED else ""
            self.problems.append(Problem(path, f"{quantity(len(numbers), 'message')}, {what} ({ids}{more})"))


def _is_locked(lock: Path) -> bool:
    """Whether a process has the shard, by the kernel's list: a try would be in the way of a gateway that starts."""
    try:
        number = lock.stat().st_ino
    except FileNotFoundError:
        return False
    ends = f":{number}"
    lines = [line.split() for line in _LOCKS.read_text(encoding="ascii").splitlines()]
    return any(words[1] == "FLOCK" and words[-3].endswith(ends) for words in lines)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1


def _numbers(directory: Path) -> Iterator[int]:
    try:
        names = os.listdir(directory)  # noqa: PTH208 - names alone
    except FileNotFoundError:
        return
    for name in names:
        try:
            yield parse_id(name)
        except ValueError:
            yield -1
