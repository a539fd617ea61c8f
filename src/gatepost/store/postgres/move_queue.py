"""The queue in PostgreSQL as parts of a move (`store.move_parts`), as `store.sqlite.move_queue` has it in files.

Only while no process of a gateway uses it. Each method blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, Final

import msgspec

from gatepost.decoding import json_decoder
from gatepost.mail.model.message import Message
from gatepost.mail.model.queue_id import SHARDS, shard_of
from gatepost.store.interface import StoreBusy, StoreFailure
from gatepost.store.move_parts import Key, MoveRecord, UnnumberedPart
from gatepost.store.postgres import owners
from gatepost.store.postgres.queue_rows import REMOVE_DONE, REMOVE_LOOSE
from gatepost.store.postgres.server import DatabaseServer, reported
from gatepost.store.sqlite.move_queue import BODIES, MESSAGES
from gatepost.store.storable import storable

_PAGE: Final = 64  # messages, with their bodies
_CHUNKS: Final = 16  # pieces of 256 KiB

# Whoever wrote to the queue has ended when this is got: a process that was silent may have sent a statement before.
_WAIT_FOR_WRITERS: Final = "LOCK TABLE queue_message, queue_delivery, queue_chunk IN EXCLUSIVE MODE"
_END_ALL: Final = "UPDATE queue_owner SET ended = coalesce(ended, clock_timestamp()), swept = TRUE"
_EPOCHS: Final = "SELECT epoch FROM queue_owner"
_DROPPED: Final = "DELETE FROM queue_delivery WHERE dropped RETURNING message"
_NOBODY_WRITES: Final = "UPDATE queue_loose_body SET owner = NULL"
_FORGET_NOTICES: Final = "DELETE FROM queue_notice"

_BIG: Final = "SELECT id, big FROM queue_message WHERE big IS NOT NULL AND id > $1 ORDER BY id LIMIT 1000"
_PIECES: Final = (
    "SELECT number, data FROM queue_chunk WHERE body = $1 AND number > $2"  # noqa: S608 - our number
    f" ORDER BY number LIMIT {_CHUNKS}"
)
_COUNT_PIECES: Final = "SELECT count(*) FROM queue_chunk"
_KNOWN_PIECES: Final = (
    "SELECT c.body, c.number FROM queue_chunk AS c JOIN unnest($1::bigint[], $2::bigint[]) AS u(body, number)"
    " ON c.body = u.body AND c.number = u.number"
)
_ADD_PIECE: Final = "INSERT INTO queue_chunk (body, number, data) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"

_MESSAGES: Final = f"SELECT id, size, big, facts, body FROM queue_message WHERE id > $1 ORDER BY id LIMIT {_PAGE}"  # noqa: S608 - our number
_DELIVERIES: Final = (
    "SELECT message, id, next_at, held, attempts, expires_at, listed, destination, returned, last_error, recipients,"
    " quarantine"
    " FROM queue_delivery WHERE message = ANY($1::bigint[]) ORDER BY message, id"
)
_COUNT: Final = "SELECT count(*) FROM queue_message"
_KNOWN: Final = "SELECT id FROM queue_message WHERE id = ANY($1::bigint[])"
# alone: not said of any, so that each delivery looks for others when it is done.
_ADD: Final = (
    "INSERT INTO queue_message (id, size, big, facts, body, alone, organization, sender)"
    " VALUES ($1, $2, $3, $4, $5, FALSE, $6, $7) ON CONFLICT DO NOTHING"
)
_ADD_DELIVERY: Final = (
    "INSERT INTO queue_delivery (message, id, next_at, held, attempts, expires_at, listed, destination, returned,"
    " last_error, recipients, quarantine) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"
    " ON CONFLICT DO NOTHING"
)
# Places up to the highest one that made an id are taken by nobody, so that no id is ever given out again.
_TAKE_PLACES: Final = (
    "INSERT INTO queue_owner (place, epoch, node, worker, installation, last_id, ended, swept)"
    " SELECT place, nextval('queue_epoch'), 'moved', place, 'moved', $2, clock_timestamp(), TRUE"
    " FROM generate_series(0, $1::bigint) AS place ON CONFLICT (place) DO NOTHING"
)

_decode = json_decoder(Message)


class MoveConnection:
    """Statements to the server for a move; each method blocks. Raises StoreFailure."""

    def __init__(self, server: DatabaseServer) -> None:
        self._server = server

    def fetch(self, sql: str, *values: object) -> list[Any]:
        """All rows of a statement."""
        return self.work(lambda connection: connection.fetch(sql, *values))

    def value(self, sql: str, *values: object) -> Any:
        """The first column of the first row."""
        return self.work(lambda connection: connection.fetchval(sql, *values))

    def execute(self, sql: str, *values: object) -> None:
        """A statement whose result does not matter."""
        self.work(lambda connection: connection.execute(sql, *values))

    def work[T](self, work: Callable[[Any], Coroutine[Any, Any, T]]) -> T:
        """Run `work` with a connection."""
        with self._server.connection() as connection:
            return self._server.run(lambda: work(connection), "move")

    def together[T](self, work: Callable[[Any], Coroutine[Any, Any, T]]) -> T:
        """Run `work` in one transaction."""

        async def transaction(connection: Any) -> T:
            with reported("move"):
                async with connection.transaction():
                    return await work(connection)

        return self.work(transaction)


def check_place(found: int, expected: int) -> None:
    """Raise StoreBusy if another number of records is there than was asked for a moment ago.

    A move that was killed may have had a transaction on its way.
    """
    if found != expected:
        raise StoreBusy("records of a move that was cut off came meanwhile; run the command again")


def settle_queue(server: MoveConnection) -> None:
    """Take all mail from processes that are no more. They get nothing back, should they run still."""
    server.execute(_END_ALL)
    server.together(lambda connection: connection.execute(_WAIT_FOR_WRITERS))
    epochs = [epoch for (epoch,) in server.fetch(_EPOCHS)]
    server.work(lambda connection: _take_over(connection, epochs))
    while server.value(REMOVE_LOOSE):
        pass


async def _take_over(connection: Any, epochs: list[int]) -> None:
    with reported("move"):
        dropped = [message for (message,) in await connection.fetch(_DROPPED)]
        await connection.execute(REMOVE_DONE, dropped)
        more = True
        while more:
            _, more = await owners.take_over(connection, epochs)
        while left := await owners.messages_without_deliveries(connection):
            await connection.execute(REMOVE_DONE, left)
        await connection.execute(_NOBODY_WRITES)
        await connection.execute(_FORGET_NOTICES)


class PostgresBodies(UnnumberedPart):
    """Implements `store.move_parts.Part`, as `store.sqlite.move_queue.BodiesPart`."""

    name = BODIES

    def __init__(self, server: MoveConnection) -> None:
        self._server = server

    def count(self) -> int:
        """See `Part.count`."""
        return int(self._server.value(_COUNT_PIECES))

    def records(self) -> Iterator[MoveRecord]:
        """See `Part.records`."""
        last = -1
        while rows := self._server.fetch(_BIG, last):
            for message, body in rows:
                last, number = message, -1
                while pieces := self._server.fetch(_PIECES, body, number):
                    for number, data in pieces:
                        yield MoveRecord((message, body, number), (data,))

    def present(self, keys: Sequence[Key]) -> set[Key]:
        """See `Part.present`."""
        rows = self._server.fetch(_KNOWN_PIECES, [key[1] for key in keys], [key[2] for key in keys])
        known = {tuple(row) for row in rows}
        return {key for key in keys if key[1:] in known}

    def add(self, records: Sequence[MoveRecord]) -> None:
        """See `Part.add`."""
        rows = [(*record.key[1:], record.values[0]) for record in records]
        self._server.together(lambda connection: connection.executemany(_ADD_PIECE, rows))

    def clear(self) -> None:
        """See `Part.clear`."""
        self._server.execute("DELETE FROM queue_chunk")


class PostgresMessages(UnnumberedPart):
    """Implements `store.move_parts.Part`, as `store.sqlite.move_queue.MessagesPart`."""

    name = MESSAGES

    def __init__(self, server: MoveConnection) -> None:
        self._server = server

    def count(self) -> int:
        """See `Part.count`."""
        return int(self._server.value(_COUNT))

    def records(self) -> Iterator[MoveRecord]:
        """See `Part.records`."""
        last = -1
        while rows := self._server.fetch(_MESSAGES, last):
            last = rows[-1][0]
            deliveries: dict[int, list[tuple[Any, ...]]] = {}
            for message, *delivery in self._server.fetch(_DELIVERIES, [row[0] for row in rows]):
                deliveries.setdefault(message, []).append(tuple(delivery))
            for message, *values in rows:
                yield MoveRecord((message,), (*values, tuple(deliveries.get(message, ()))))

    def present(self, keys: Sequence[Key]) -> set[Key]:
        """See `Part.present`."""
        return {(message,) for (message,) in self._server.fetch(_KNOWN, [key[0] for key in keys])}

    def add(self, records: Sequence[MoveRecord]) -> None:
        """See `Part.add`."""
        messages = [_message_row(record) for record in records]
        deliveries = [(record.key[0], *delivery) for record in records for delivery in record.values[4]]

        async def insert(connection: Any) -> None:
            await connection.executemany(_ADD, messages)
            await connection.executemany(_ADD_DELIVERY, deliveries)

        self._server.together(insert)

    def clear(self) -> None:
        """See `Part.clear`."""
        self._server.execute("DELETE FROM queue_delivery")
        self._server.execute("DELETE FROM queue_message")

    def finish(self, _number: int, /) -> None:
        """See `Part.finish`: no process gets a place that made one of these ids."""
        places = highest = -1
        for message, big in self._ids():
            places = max(places, shard_of(message), -1 if big is None else shard_of(big))
            highest = max(highest, message, big or 0)
        if places >= 0:
            self._server.execute(_TAKE_PLACES, min(places, SHARDS - 1), highest)

    def _ids(self) -> Iterator[tuple[int, int | None]]:
        last = -1
        while rows := self._server.fetch(
            "SELECT id, big FROM queue_message WHERE id > $1 ORDER BY id LIMIT 10000", last
        ):
            last = rows[-1][0]
            yield from rows


def _message_row(record: MoveRecord) -> tuple[Any, ...]:
    size, big, facts, body, _ = record.values
    try:
        message = _decode(facts)
    except msgspec.MsgspecError as error:
        raise StoreFailure(f"queued message {record.key[0]:016x} cannot be read: {error}") from error
    return (record.key[0], size, big, facts, body, storable(message.organization), storable(message.reverse_path))
