"""The SQL of the queue's owner: what one group commit writes, and how rows become records again.

`store.sqlite.writer` collects the work of a commit into a `CommitPlan` and executes it inside its transaction. Encoding
happens before, on the event loop, so that a message no column can hold is refused alone and early.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import msgspec

from gatepost.decoding import json_decoder
from gatepost.mail.model.message import Delivery, Message, Recipient, Return, sent_as
from gatepost.mail.model.queue_id import format_id
from gatepost.store.interface import AdminNotice, DestinationWork, Settlement
from gatepost.store.queue_admin import CANNOT_BE_READ, UNREADABLE_SECONDS, unreadable_delivery
from gatepost.store.sqlite.recovery import MAKE_DUE
from gatepost.store.suspension import ALL_DELAYED, JITTER, NO_DELAY_WANTED, NOTHING_ELSE, SPREAD, Suspension

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import apsw


type Row = tuple[Any, ...]

_log = logging.getLogger(__name__)

_encode = msgspec.json.Encoder().encode
_decode_message = json_decoder(Message)
_decode_return = json_decoder(Return)
_decode_recipients: Callable[[str | bytes], list[Recipient]] = json_decoder(list[Recipient])

_INSERT_MESSAGE = "INSERT INTO message (id, size, big, facts) VALUES (?, ?, ?, ?)"
_INSERT_BODY = "INSERT INTO body (id, data) VALUES (?, ?)"
_INSERT_DELIVERY = (
    "INSERT INTO delivery (message, id, destination, next_at, attempts, expires_at, last_error, recipients, held,"
    " quarantine) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_FINISH = "DELETE FROM delivery WHERE message = ? AND id = ?"
_DEFER = (
    "UPDATE delivery SET next_at = iif(returned = '', ?, 1.0), attempts = ?, expires_at = ?, last_error = ?,"
    " recipients = ? WHERE message = ? AND id = ?"
)
_SWEEP_DROPPED = "DELETE FROM delivery INDEXED BY dropped WHERE dropped AND next_at > 0 RETURNING message"
_REMOVE_MESSAGE = (
    "DELETE FROM message WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM delivery WHERE message = ?1) RETURNING id, big"
)
_REMOVE_BODY = "DELETE FROM body WHERE id = ?"
_LEASE = (
    "SELECT d.id, d.destination, CAST(d.recipients AS BLOB), d.attempts, d.next_at, d.expires_at, d.last_error,"
    " d.returned, CAST(m.facts AS BLOB), m.id"  # octets: a damaged text may be no UTF-8
    " FROM delivery AS d INDEXED BY due JOIN message AS m ON m.id = d.message"
    " WHERE d.destination = ? AND d.next_at > 0 AND d.next_at <= ? AND NOT d.held ORDER BY d.next_at LIMIT ?"
)
# From one destination to the next, and for each only what is beyond: to go through all entries of a million takes 6 s.
_BRING_FORWARD = """
WITH RECURSIVE names(name) AS (
    SELECT min(destination) FROM delivery INDEXED BY due WHERE next_at > 0 AND NOT held
    UNION ALL
    SELECT (
        SELECT min(destination) FROM delivery INDEXED BY due WHERE destination > name AND next_at > 0 AND NOT held
    ) FROM names WHERE name IS NOT NULL
)
UPDATE delivery SET next_at = ?1 WHERE (message, id) IN (
    SELECT message, id FROM names JOIN delivery INDEXED BY due
    ON destination = name AND next_at > ?1 AND next_at > 0 AND NOT held
)
"""
# Errors are in no index: one look at each row in the order of the table, a quarter of a second for a million.
_BRING_FAILED_FORWARD = """
UPDATE delivery NOT INDEXED SET next_at = ?1
WHERE next_at > ?1 AND NOT held AND substr(last_error, 1, length(?2)) = ?2
"""
# Damaged JSON would end the statement, and the commit with it.
_NUMBER = "iif(json_valid(recipients), json_array_length(recipients), -1)"
_FACTS = "iif(json_valid(facts), facts, '{}')"
# Each of the longest due is looked at, and the message only of what may be too old for one without a notice.
_SUSPEND = f"""
UPDATE delivery SET attempts = attempts + 1, last_error = :reply, next_at = max(1.0, min(expires_at,
    :now + json_extract(:waits, '$[' || min(attempts, :last) || ']') * (1 + {SPREAD} * (2 * {JITTER} - 1))))
WHERE (message, id) IN (
    SELECT message, id FROM delivery INDEXED BY due
    WHERE destination = :destination AND next_at > 0 AND next_at <= :now AND NOT held ORDER BY next_at LIMIT :limit)
AND {NOTHING_ELSE} AND expires_at > :now
AND (:received_after = 0 OR {ALL_DELAYED.format(number=_NUMBER)} OR {NO_DELAY_WANTED.format(number=_NUMBER)}
    OR (SELECT json_extract({_FACTS}, '$.received') > :received_after OR json_extract({_FACTS}, '$.reverse_path') = ''
        FROM message AS m WHERE m.id = delivery.message))
"""  # noqa: S608 - ours
_RETRY = "UPDATE delivery SET next_at = ? WHERE message = ? AND id = ? AND next_at > 0 AND NOT held"
_MARK_LEASED = "UPDATE delivery SET next_at = 0 WHERE message = ? AND id = ?"
_PUT_OFF = "UPDATE delivery SET next_at = ?, last_error = ? WHERE message = ? AND id = ?"
_EARLIEST = "SELECT min(next_at) FROM delivery INDEXED BY due WHERE destination = ? AND next_at > 0 AND NOT held"
_BODY = "SELECT message.big, body.data FROM message LEFT JOIN body ON body.id = message.id WHERE message.id = ?"
_BIG_SIZE = (
    "SELECT message.size - coalesce(length(body.data), 0) FROM message LEFT JOIN body ON body.id = message.id"
    " WHERE message.id = ?"
)
_DESTINATIONS = (
    "SELECT destination, min(next_at), count(*) FROM delivery INDEXED BY due"
    " WHERE next_at > 0 AND NOT held GROUP BY destination"
)


def message_row(message: Message, big: int | None) -> Row:
    """The columns of a message; `big`: the id of its body's own file, None if the body lies in the database."""
    return (message.id, message.size, big, _encode(message).decode())


def delivery_row(delivery: Delivery) -> Row:
    """The columns of a delivery, next_at as it stands in it."""
    return (
        delivery.message.id,
        delivery.id,
        delivery.destination,
        delivery.next_at,
        delivery.attempts,
        delivery.expires_at,
        delivery.last_error,
        _encode(delivery.recipients).decode(),
        int(delivery.quarantine != ""),
        delivery.quarantine,
    )


def deferred_row(settlement: Settlement) -> Row:
    """The changed columns of a settlement with remaining recipients. A next_at that was not given means now."""
    delivery = settlement.delivery
    return (
        max(settlement.next_at, 1.0),
        delivery.attempts,
        delivery.expires_at,
        settlement.last_error,
        _encode(settlement.remaining).decode(),
        delivery.message.id,
        delivery.id,
    )


class LeaseRequest:
    """A request for due deliveries of a destination, and its result."""

    __slots__ = ("destination", "granted", "limit", "now")

    def __init__(self, destination: str, limit: int, now: float) -> None:
        self.destination = destination
        self.limit = limit
        self.now = now
        self.granted: list[Delivery] = []


class CommitPlan:
    """The writes of one transaction, gathered by kind so that each statement runs over all of its rows at once.

    unlink: after `execute`, the big files whose messages are gone; remove them once it is committed.
    """

    __slots__ = (
        "bodies",
        "brought",
        "deferred",
        "deliveries",
        "finished",
        "leases",
        "leftovers",
        "messages",
        "retried",
        "suspensions",
        "unlink",
    )

    def __init__(self) -> None:
        self.messages: list[Row] = []
        self.bodies: list[Row] = []
        self.deliveries: list[Row] = []
        self.finished: list[tuple[int, int]] = []
        self.deferred: list[Row] = []
        self.leases: list[LeaseRequest] = []
        self.unlink: list[int] = []
        self.brought: list[tuple[float, str]] = []
        self.retried: list[tuple[float, int, int]] = []
        self.leftovers: list[tuple[float, int, int]] = []
        self.suspensions: list[Suspension] = []

    def execute(self, connection: apsw.Connection) -> None:
        """Write it all, inside the caller's transaction."""
        if self.messages:
            connection.executemany(_INSERT_MESSAGE, self.messages)
            connection.executemany(_INSERT_BODY, self.bodies)
            connection.executemany(_INSERT_DELIVERY, self.deliveries)
        left = [(message,) for message, _ in self.finished]
        if self.finished:
            connection.executemany(_FINISH, self.finished)
        if self.leftovers:
            connection.executemany(MAKE_DUE, self.leftovers)
        if self.deferred:
            connection.executemany(_DEFER, self.deferred)
        if self.leftovers or self.deferred:  # what was in memory, and an administrator dropped meanwhile
            left += connection.execute(_SWEEP_DROPPED)
        if left:
            self._remove_messages(connection, left)
        _suspend(connection, self.suspensions)  # before what makes mail due: an administrator's word goes before it
        for latest, failed in self.brought:
            values = (latest, failed) if failed else (latest,)
            connection.execute(_BRING_FAILED_FORWARD if failed else _BRING_FORWARD, values)
        if self.retried:
            connection.executemany(_RETRY, self.retried)
        for lease in self.leases:
            lease.granted = list(_lease(connection, lease))

    def _remove_messages(self, connection: apsw.Connection, left: list[tuple[int]]) -> None:
        gone = list(connection.executemany(_REMOVE_MESSAGE, left))
        connection.executemany(_REMOVE_BODY, [(number,) for number, _ in gone])
        self.unlink += [big for _, big in gone if big is not None]


def _suspend(connection: apsw.Connection, suspensions: Iterable[Suspension]) -> None:
    for suspension in suspensions:
        values: dict[str, str | float] = {
            "destination": suspension.destination,
            "limit": suspension.limit,
            "now": suspension.now,
            "waits": _encode(suspension.waits).decode(),
            "last": len(suspension.waits) - 1,
            "received_after": suspension.received_after,
            "reply": suspension.reply,
        }
        connection.execute(_SUSPEND, values)
        suspension.deferred = connection.changes()


def _lease(connection: apsw.Connection, lease: LeaseRequest) -> Iterable[Delivery]:
    rows: list[Row] = connection.execute(_LEASE, (lease.destination, lease.now, lease.limit)).fetchall()
    for *columns, message in rows:
        try:
            delivery = decode_delivery(tuple(columns))
        except ValueError:  # of a newer release, or damaged: the others go
            later = lease.now + UNREADABLE_SECONDS
            connection.execute(_PUT_OFF, (later, CANNOT_BE_READ, message, columns[0]))
            _log.error("message %s waits: %s", format_id(message), CANNOT_BE_READ)
            continue
        connection.execute(_MARK_LEASED, (delivery.message.id, delivery.id))
        yield delivery


def decode_delivery(row: Row) -> Delivery:
    """A leased delivery: id, destination, recipients, attempts, next_at, expires_at, last error, return, message.

    Raises ValueError for what this release cannot read.
    """
    number, destination, stored, attempts, next_at, expires_at, last_error, returned, facts = row
    recipients = _decode_recipients(stored)
    return Delivery(
        id=number,
        message=sent_as(_decode_message(facts), recipients, destination.partition("/")[0]),
        destination=destination,
        recipients=recipients,
        attempts=attempts,
        next_at=next_at,
        expires_at=expires_at,
        last_error=last_error,
        returned=_decode_return(returned) if returned else None,
    )


def listed_delivery(columns: Sequence[Any], message: int, sender: str, size: int) -> Delivery:
    """The same for who lists it: one that this release cannot read as `unreadable_delivery`."""
    try:
        return decode_delivery(tuple(columns))
    except ValueError:
        return unreadable_delivery(columns, message, sender, size)


def destinations(connection: apsw.Connection) -> list[DestinationWork]:
    """The destinations with deferred, unheld deliveries."""
    return [DestinationWork(*row) for row in connection.execute(_DESTINATIONS)]


def body(connection: apsw.Connection, message: int) -> tuple[int | None, bytes | None]:
    """The body of a message: the id of its big file, or its bytes; both if its head lies apart from the file.

    Raises LookupError if the message or its body is gone.
    """
    row: tuple[int | None, bytes | None] | None = connection.execute(_BODY, (message,)).fetchone()
    if row is None or row == (None, None):
        raise LookupError(f"no message {message}")
    return row


def big_size(connection: apsw.Connection, message: int) -> int:
    """The size of a message's big file: that of the message less what lies in the database; 0 if it is gone."""
    return int(connection.execute(_BIG_SIZE, (message,)).get or 0)


def earliest(connection: apsw.Connection, destination: str) -> float:
    """The time at which a destination's first deferred, unheld delivery is due; 0 without one."""
    first: float | None = connection.execute(_EARLIEST, (destination,)).get
    return first or 0.0


def take_notices(connection: apsw.Connection) -> list[AdminNotice]:
    """Read and remove what administrators left."""
    rows: list[Row] = connection.execute(
        "SELECT id, action, destination, message, delivery, author FROM notice ORDER BY id"
    ).fetchall()
    if rows:
        with connection:
            connection.execute("DELETE FROM notice WHERE id <= ?", (rows[-1][0],))
    return [AdminNotice(*row[1:]) for row in rows]
