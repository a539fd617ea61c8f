"""Queue administration in PostgreSQL: list and change what all nodes of a site have queued.

A delivery in the memory of a worker is only marked; its owner is notified, and honours the mark when it settles it. Of
what waits, all workers are notified, since any may lease it. They hear by NOTIFY, and look every few seconds besides.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import asyncpg
import msgspec

from gatepost.mail.model.message import Delivery, Return
from gatepost.mail.model.queue_id import made_at, parse_id
from gatepost.store import queue_admin
from gatepost.store.interface import QueueFilter, StoreBusy
from gatepost.store.postgres import queue_filter
from gatepost.store.postgres.database import PostgresConnection, PostgresDatabase
from gatepost.store.postgres.queue_rows import BODY, READ_CHUNK, REMOVE_DONE
from gatepost.store.postgres.queue_schema import CHANNEL, QUEUE_SCHEMA
from gatepost.store.sqlite.rows import listed_delivery

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gatepost.mail.model.trace_event import TraceEvent


SHARD: Final = "site"
"""The name that stands for the one queue of all nodes, where shards are named."""

_REPEATS: Final = 3
_PAUSE: Final = 0.1
_INLINE_PIECE: Final = 256 * 1024

_encode = msgspec.json.Encoder().encode

_LET_GO: Final = "UPDATE queue_delivery SET recipients = ? WHERE message = ? AND id = ?"
REMOVE: Final = (
    "DELETE FROM queue_delivery AS d USING unnest(?::bigint[], ?::bigint[]) AS u(message, id)"
    " WHERE d.message = u.message AND d.id = u.id"
)
_NOTICE: Final = (
    "INSERT INTO queue_notice (owner, action, destination, message, delivery, author) VALUES (?, ?, ?, ?, ?, ?)"
)
NOTICE_TO_ALL: Final = (
    "INSERT INTO queue_notice (owner, action, destination, message, delivery, author)"
    " SELECT epoch, CAST(? AS text), CAST(? AS text), 0, 0, CAST(? AS text) FROM queue_owner WHERE ended IS NULL"
)
_COUNTS: Final = (
    "SELECT count(*) FILTER (WHERE NOT held AND owner IS NOT NULL), count(*) FILTER (WHERE NOT held AND owner IS NULL),"
    " count(*) FILTER (WHERE held) FROM queue_delivery WHERE NOT dropped AND quarantine = ''"
)
_OCTETS: Final = "SELECT organization, sum(size)::bigint FROM queue_message GROUP BY 1"
_COUNTS_OF_WORKER: Final = (
    "SELECT held, count(*) FROM queue_owner JOIN queue_delivery ON owner = epoch"
    " WHERE node = ? AND worker = ? AND ended IS NULL AND owner IS NOT NULL AND NOT dropped GROUP BY held"
)
_UNREADABLE: Final = (
    "SELECT count(*), min(message) FROM queue_delivery WHERE last_error = ? AND owner IS NULL AND NOT held"
)
_OLDEST: Final = (
    "SELECT message, destination FROM queue_delivery WHERE NOT held AND NOT dropped ORDER BY message LIMIT 1"
)


class _Row(msgspec.Struct):
    """A delivery and whose it is, None while it waits."""

    entry: queue_admin.QueueEntry
    owner: int | None


def worker_depth(url: str, node: str, worker: int) -> queue_admin.Depth:
    """Count what a worker of a node has in memory; what is deferred belongs to no node. Raises StoreFailure."""
    with PostgresDatabase(url, QUEUE_SCHEMA).reading() as connection:
        rows = connection.rows(_COUNTS_OF_WORKER, (node, worker))
    counts: dict[bool, int] = dict(rows)
    return queue_admin.Depth(active=counts.get(False, 0), held=counts.get(True, 0))


class PostgresQueueAdmin(queue_admin.QueueAdmin):
    """The queue that all nodes of a site share."""

    def __init__(self, url: str, record: Callable[[Sequence[TraceEvent]], None]) -> None:
        """record: keeps what is done in the trace and in the evidence log. Raises StoreFailure."""
        self._database = PostgresDatabase(url, QUEUE_SCHEMA)
        super().__init__(record)

    def entries(self, wanted: QueueFilter, after: queue_admin.QueuePlace | None = None) -> list[queue_admin.QueueEntry]:
        """See `QueueAdmin.entries`."""
        where, sort = queue_filter.conditions(wanted), wanted.sort
        if sort.lstrip("-") not in {"", "received"}:
            terms, values = where
            with self._database.reading() as connection:
                if (
                    connection.value(queue_filter.count_to(terms), (*values, queue_admin.SORTED + 1))
                    > queue_admin.SORTED
                ):
                    queue_admin.refuse_order(sort)
        if after is not None and sort:
            where = queue_filter.after_place(where, after, sort)
        elif after is not None:
            where = queue_filter.after_delivery(where, after.message, after.delivery)
        return self._selected(where, wanted.limit, sort)

    def totals(self, wanted: QueueFilter) -> queue_admin.QueueTotals:
        """See `QueueAdmin.totals`."""
        terms, values = queue_filter.conditions(wanted)
        with self._database.reading() as connection:
            rows = connection.rows(queue_filter.totals(terms), (*values, queue_admin.COUNTED))
        return queue_admin.summed(rows, queue_admin.COUNTED)

    def applying(self, action: str, wanted: QueueFilter) -> list[queue_admin.QueueEntry]:
        """See `QueueAdmin.applying`."""
        return self._selected(queue_filter.applying(action, wanted), wanted.limit)

    def applying_to(self, action: str, wanted: QueueFilter) -> tuple[int, int]:
        """See `QueueAdmin.applying_to`."""
        terms, values = queue_filter.applying(action, wanted)
        with self._database.reading() as connection:
            ((deliveries, messages),) = connection.rows(queue_filter.count(terms), values)
        return deliveries, messages

    def destinations(self, wanted: QueueFilter) -> list[queue_admin.DestinationCount]:
        """See `QueueAdmin.destinations`."""
        terms, values = queue_filter.conditions(wanted)
        with self._database.reading() as connection:
            rows = connection.rows(queue_filter.by_destination(terms), (*values, wanted.limit or None))
        return [queue_admin.DestinationCount(*row) for row in rows]

    def body(self, message: str) -> Iterator[bytes]:
        """See `QueueAdmin.body`."""
        number = parse_id(message)
        with self._database.reading() as connection:
            rows = connection.rows(BODY, (number,))
        if not rows or rows[0][1:] == (None, None):
            raise LookupError(f"{message} is not in the queue")
        return self._chunks(*rows[0])

    def depth(self) -> queue_admin.Depth:
        """See `QueueAdmin.depth`."""
        with self._database.reading() as connection:
            ((active, deferred, held),) = connection.rows(_COUNTS)
            at, destination = _oldest(connection)
        return queue_admin.Depth(active=active, deferred=deferred, held=held, oldest=at, destination=destination)

    def oldest(self) -> tuple[float, str]:
        """See `QueueAdmin.oldest`."""
        with self._database.reading() as connection:
            return _oldest(connection)

    def unreadable(self) -> tuple[int, int]:
        """See `QueueAdmin.unreadable`."""
        with self._database.reading() as connection:
            ((number, oldest),) = connection.rows(_UNREADABLE, (queue_admin.CANNOT_BE_READ,))
        return number, oldest or 0

    def octets(self) -> dict[str, int]:
        """See `QueueAdmin.octets`."""
        with self._database.reading() as connection:
            return {organization: int(size) for organization, size in connection.rows(_OCTETS)}

    # ------------------------------------------------------------------------------------------- parts

    def _selected(self, where: queue_admin.Conditions, limit: int, sort: str = "") -> list[queue_admin.QueueEntry]:
        terms, values = where
        with self._database.reading() as connection:
            rows = connection.rows(queue_filter.select(terms, sort=sort), (*values, limit or None))
        return [_row(row).entry for row in rows]

    def _chunks(self, size: int, big: int | None, head: bytes | None) -> Iterator[bytes]:
        head = head or b""
        for first in range(0, len(head), _INLINE_PIECE):
            yield head[first : first + _INLINE_PIECE]
        left = size - len(head) if big is not None else 0
        number = 0
        while left > 0:
            with self._database.reading() as connection:
                chunk: bytes | None = connection.value(READ_CHUNK, (big, number))
            if chunk is None:
                raise LookupError("the message has just left the queue")
            yield chunk
            left -= len(chunk)
            number += 1

    def _change(
        self, action: str, wanted: QueueFilter, author: str, reason: str, text: str = ""
    ) -> list[queue_admin.QueueEntry]:
        work = queue_admin.QueueChange(action, wanted.limit, author, text, reason)
        where = queue_filter.applying(action, wanted)
        self._page_by_page(
            work, lambda last, page: self._change_page(work, queue_filter.after_delivery(where, *last), page)
        )
        return work.done

    def _change_page(
        self, work: queue_admin.QueueChange, where: queue_admin.Conditions, page: int
    ) -> list[queue_admin.QueueEntry]:
        """In one transaction; again if it got in the way of an owner's."""
        for _ in range(_REPEATS):
            try:
                return self._change_once(work, where, page)
            except StoreBusy as failure:
                if not isinstance(failure.__cause__, asyncpg.TransactionRollbackError):
                    raise
                time.sleep(_PAUSE)
        return self._change_once(work, where, page)

    def _change_once(
        self, work: queue_admin.QueueChange, where: queue_admin.Conditions, page: int
    ) -> list[queue_admin.QueueEntry]:
        terms, values = where
        with self._database.changing() as connection:
            rows = [_row(row) for row in connection.rows(queue_filter.select(terms, locked=True), (*values, page))]
            waiting = [row.entry.delivery for row in rows if row.owner is None]
            if rows:
                _apply(connection, work, rows, waiting)
        if work.action == "drop" and waiting:
            with self._database.reading() as connection:
                connection.execute(REMOVE_DONE, ([delivery.message.id for delivery in waiting],))
        return [row.entry for row in rows]


def _oldest(connection: PostgresConnection) -> tuple[float, str]:
    rows = connection.rows(_OLDEST)
    return (made_at(rows[0][0]), rows[0][1]) if rows else (0.0, "")


def _row(row: tuple[Any, ...]) -> _Row:
    *columns, held, owner, message, sender, size = row
    delivery = listed_delivery(columns, message, sender, size)
    delivery.held = held
    waits = owner is None and not delivery.returned and any(recipient.held for recipient in delivery.recipients)
    state = "held" if held or waits else "deferred" if owner is None else "active"
    return _Row(queue_admin.QueueEntry(delivery, SHARD, state), owner)


def _apply(
    connection: PostgresConnection,
    work: queue_admin.QueueChange,
    rows: list[_Row],
    waiting: list[Delivery],
) -> None:
    """Change deliveries, and leave notices for who has them in memory, or may have their destinations in mind."""
    more = (_encode(Return(work.author, work.text)).decode(),) if work.action == "return" else ()
    connection.execute(queue_filter.change(work.action), (*_ids([row.entry.delivery for row in rows]), *more))
    if work.action == "drop":
        connection.execute(REMOVE, _ids(waiting))
    if work.action == "release":
        readable = filter(queue_admin.is_readable, waiting)
        connection.execute_many(_LET_GO, [queue_admin.released_recipients(delivery) for delivery in readable])
    for row in rows:
        delivery = row.entry.delivery
        if row.owner is not None:
            values = (row.owner, work.action, delivery.destination, delivery.message.id, delivery.id, work.author)
            connection.execute(_NOTICE, values)
    if work.action in {"release", "retry", "return"}:
        for destination in sorted({delivery.destination for delivery in waiting}):
            connection.execute(NOTICE_TO_ALL, (work.action, destination, work.author))
    connection.execute("SELECT pg_notify(?, '')", (CHANNEL,))


def _ids(deliveries: list[Delivery]) -> tuple[list[int], list[int]]:
    return [delivery.message.id for delivery in deliveries], [delivery.id for delivery in deliveries]
