"""The queue of a data directory as parts of a move (`store.move_parts`): large bodies, then messages with deliveries.

Only for who has the locks of all shards. Bodies come before the messages that name them.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import apsw

from gatepost.mail.model.queue_id import format_id, shard_of
from gatepost.store.bodies import CHUNK
from gatepost.store.interface import failing
from gatepost.store.move_parts import Key, MoveRecord, UnnumberedPart
from gatepost.store.sqlite import schema
from gatepost.store.sqlite.recovery import recover_all
from gatepost.store.storable import storable

BODIES: Final = "pieces of large bodies"
MESSAGES: Final = "queued messages"

_DELIVERIES: Final = (
    "SELECT id, destination, next_at, held, returned, attempts, expires_at, last_error, recipients, quarantine, listed"
    " FROM delivery WHERE message = ? AND NOT dropped ORDER BY id"
)
_ADD_DELIVERY: Final = (
    "INSERT INTO delivery (message, id, destination, next_at, held, returned, attempts, expires_at, last_error,"
    " recipients, quarantine, listed) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


class QueueShards:
    """The shards of a data directory, opened one after the other. workers: how many are to share what is added."""

    def __init__(self, data_dir: Path, workers: int) -> None:
        self.root = data_dir / schema.QUEUE_DIRECTORY
        self._workers = workers
        self._open: dict[int, apsw.Connection] = {}

    def numbers(self) -> list[int]:
        """Of those that are there."""
        if not self.root.is_dir():
            return []
        return sorted(
            int(path.parent.name) for path in self.root.glob(f"*/{schema.QUEUE_FILE}") if path.parent.name.isdigit()
        )

    def of(self, message: int) -> int:
        """The shard that takes a message."""
        return shard_of(message) % self._workers

    def big(self, number: int, body: int) -> Path:
        """The file of a large body."""
        return self.root / str(number) / schema.BIG_DIRECTORY / format_id(body)

    def connection(self, number: int) -> apsw.Connection:
        """A shard, made if it is not there. Raises StoreFailure."""
        if number not in self._open:
            schema.make_directory(self.root / str(number) / schema.BIG_DIRECTORY)
            path = self.root / str(number) / schema.QUEUE_FILE
            connection = schema.open_database(path, schema.StoreSettings(), shrinking=True)
            schema.make_queue_tables(connection, path)
            self._open[number] = connection
        return self._open[number]

    def settle(self) -> None:
        """Do what the start of a worker does: what a crash left is made whole, and all mail waits."""
        for number in self.numbers():
            recover_all(self.connection(number), self.root / str(number) / schema.BIG_DIRECTORY, time.time())

    def close(self) -> None:
        """Close all, and move what is in their logs into the files."""
        for connection in self._open.values():
            with contextlib.suppress(apsw.Error):
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            connection.close()
        self._open.clear()


@contextlib.contextmanager
def reported(place: Path) -> Iterator[None]:
    """Errors of SQLite and files as StoreFailure."""
    with failing(place, apsw.Error, OSError):
        yield


class BodiesPart(UnnumberedPart):
    """Implements `store.move_parts.Part`. A record is a piece of a large body: message, body, place; octets."""

    name = BODIES

    def __init__(self, shards: QueueShards) -> None:
        self._shards = shards

    def count(self) -> int:
        """See `Part.count`."""
        with reported(self._shards.root):
            return sum((schema.size_of(path) + CHUNK - 1) // CHUNK for _, _, path in self._bodies())

    def records(self) -> Iterator[MoveRecord]:
        """See `Part.records`. Of a body that is lost there is none."""
        with reported(self._shards.root):
            for message, body, path in self._bodies():
                with contextlib.suppress(FileNotFoundError), path.open("rb", buffering=0) as file:
                    number = 0
                    while chunk := file.read(CHUNK):
                        yield MoveRecord((message, body, number), (chunk,))
                        number += 1

    def present(self, keys: Sequence[Key]) -> set[Key]:
        """See `Part.present`. A last piece that is shorter than others is not known to be whole."""
        with reported(self._shards.root):
            return {key for key in keys if schema.size_of(self._path(key)) >= (key[2] + 1) * CHUNK}

    def add(self, records: Sequence[MoveRecord]) -> None:
        """See `Part.add`. A piece is written to its place: once more does no harm."""
        bodies: dict[Path, list[tuple[int, bytes]]] = {}
        for record in records:
            bodies.setdefault(self._path(record.key), []).append((record.key[2], record.values[0]))
        with reported(self._shards.root):
            for path, pieces in bodies.items():
                schema.make_directory(path.parent)
                _write(path, pieces)
                schema.sync_directory(path.parent)

    def clear(self) -> None:
        """See `Part.clear`."""
        with reported(self._shards.root):
            for path in self._shards.root.glob(f"*/{schema.BIG_DIRECTORY}/*"):
                path.unlink()

    def _path(self, key: Key) -> Path:
        return self._shards.big(self._shards.of(key[0]), key[1])

    def _bodies(self) -> Iterator[tuple[int, int, Path]]:
        for number in self._shards.numbers():
            rows: Any = self._shards.connection(number).execute(
                "SELECT id, big FROM message WHERE big IS NOT NULL ORDER BY id"
            )
            for message, body in rows:
                yield message, body, self._shards.big(number, body)


class MessagesPart(UnnumberedPart):
    """Implements `store.move_parts.Part`. A record is a message: its id; size, body, facts and deliveries."""

    name = MESSAGES

    def __init__(self, shards: QueueShards) -> None:
        self._shards = shards

    def count(self) -> int:
        """See `Part.count`."""
        with reported(self._shards.root):
            numbers = self._shards.numbers()
            return sum(
                self._shards.connection(number).execute("SELECT count(*) FROM message").get for number in numbers
            )

    def records(self) -> Iterator[MoveRecord]:
        """See `Part.records`."""
        with reported(self._shards.root):
            for number in self._shards.numbers():
                connection = self._shards.connection(number)
                rows: Any = connection.execute(
                    "SELECT message.id, size, big, facts, data FROM message LEFT JOIN body ON body.id = message.id"
                    " ORDER BY message.id"
                )
                for message, size, big, facts, data in rows:
                    deliveries = tuple(map(_delivery, connection.execute(_DELIVERIES, (message,))))
                    yield MoveRecord((message,), (size, big, facts, data, deliveries))

    def present(self, keys: Sequence[Key]) -> set[Key]:
        """See `Part.present`."""
        with reported(self._shards.root):
            return {
                key
                for key in keys
                if self._shards.connection(self._shards.of(key[0]))
                .execute("SELECT 1 FROM message WHERE id = ?", key)
                .get
            }

    def add(self, records: Sequence[MoveRecord]) -> None:
        """See `Part.add`. All or none in each shard."""
        shards: dict[int, list[MoveRecord]] = {}
        for record in records:
            shards.setdefault(self._shards.of(record.key[0]), []).append(record)
        with reported(self._shards.root):
            for number, some in shards.items():
                connection = self._shards.connection(number)
                with schema.exclusively(connection):
                    for record in some:
                        _insert(connection, record)

    def clear(self) -> None:
        """See `Part.clear`."""
        with reported(self._shards.root):
            for number in self._shards.numbers():
                with schema.exclusively(connection := self._shards.connection(number)):
                    for table in ("delivery", "body", "message"):
                        connection.execute(f"DELETE FROM {table}")  # noqa: S608 - our names


def _delivery(row: Any) -> tuple[Any, ...]:
    """A delivery as both engines have it."""
    number, destination, next_at, held, returned, attempts, expires_at, last_error, recipients, quarantine, listed = row
    texts = map(storable, (destination, returned, last_error, recipients, quarantine))
    return (number, next_at, bool(held), attempts, expires_at, listed, *texts)


def _insert(connection: apsw.Connection, record: MoveRecord) -> None:
    message, (size, big, facts, data, deliveries) = record.key[0], record.values
    connection.execute("INSERT INTO message (id, size, big, facts) VALUES (?, ?, ?, ?)", (message, size, big, facts))
    if data is not None:
        connection.execute("INSERT INTO body (id, data) VALUES (?, ?)", (message, data))
    for number, next_at, held, attempts, expires_at, listed, destination, returned, last_error, *rest in deliveries:
        recipients, quarantine = rest
        times = next_at, held, returned, attempts, expires_at
        connection.execute(
            _ADD_DELIVERY, (message, number, destination, *times, last_error, recipients, quarantine, listed)
        )


def _write(path: Path, pieces: list[tuple[int, bytes]]) -> None:
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb", buffering=0) as file:
        for number, piece in pieces:
            left, at = memoryview(piece), number * CHUNK
            while left:
                written = os.pwrite(file.fileno(), left, at)
                left, at = left[written:], at + written
        os.fdatasync(file.fileno())
