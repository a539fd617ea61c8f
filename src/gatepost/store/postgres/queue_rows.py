"""The SQL of the queue's owners in PostgreSQL, what one group commit writes, and how rows become records.

Counterpart of `store.sqlite.rows` and `store.sqlite.work`. A commit is one statement with arrays as parameters, so one
round trip. Whatever changes a delivery names its owner: nothing happens to one that another process took over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gatepost.store.bodies import CHUNK, Body
from gatepost.store.sqlite.rows import Row, decode_delivery
from gatepost.store.sqlite.work import AcceptanceWork, SettlementWork
from gatepost.store.suspension import ALL_DELAYED, JITTER, NO_DELAY_WANTED, NOTHING_ELSE, SPREAD

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost.mail.model.message import Delivery, Message
    from gatepost.store.interface import Durable, Settlement


CHUNK_BYTES: Final = CHUNK
"""Octets of one row of a large body."""

# Every statement is short and by index, whatever the statistics say of a table that was empty when they were made. A
# process that is cut off as it begins an epoch has the owners locked: nobody waits for it longer than that.
SESSION: Final = """
SET idle_in_transaction_session_timeout = '2s';
SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off;
SET plan_cache_mode = force_generic_plan
"""

_COMMIT: Final = """
WITH
gone AS (
    DELETE FROM queue_delivery AS d USING unnest($15::bigint[], $16::bigint[], $17::bigint[]) AS u(message, id, owner)
    WHERE d.message = u.message AND d.id = u.id AND d.owner = u.owner RETURNING d.message),
waits AS (
    UPDATE queue_delivery AS d SET owner = NULL, next_at = CASE WHEN d.returned = '' THEN u.next_at ELSE 1 END,
        attempts = u.attempts, expires_at = u.expires_at, last_error = u.last_error, recipients = u.recipients
    FROM unnest($18::float8[], $19::bigint[], $20::float8[], $21::text[], $22::text[], $23::bigint[], $24::bigint[],
        $25::bigint[]) AS u(next_at, attempts, expires_at, last_error, recipients, message, id, owner)
    WHERE d.message = u.message AND d.id = u.id AND d.owner = u.owner RETURNING d.message, d.dropped),
allowed AS MATERIALIZED ({allowed}),
added AS (
    INSERT INTO queue_message (id, size, big, facts, alone, body, organization, sender)
    SELECT * FROM unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::boolean[], $7::bytea[],
        $27::text[], $28::text[])
    WHERE EXISTS (SELECT FROM allowed) RETURNING 1),
deliveries AS (
    INSERT INTO queue_delivery (message, id, destination, next_at, attempts, expires_at, last_error, recipients, owner,
        held, quarantine)
    SELECT message, id, destination, CASE WHEN quarantine = '' THEN 0 ELSE next_at END, attempts, expires_at,
        last_error, recipients, CASE WHEN quarantine = '' THEN $1::bigint END, quarantine <> '', quarantine
    FROM unnest($8::bigint[], $9::bigint[], $10::text[], $11::bigint[], $12::float8[], $13::text[], $14::text[],
        $29::float8[], $30::text[])
        AS u(message, id, destination, attempts, expires_at, last_error, recipients, next_at, quarantine)
    WHERE EXISTS (SELECT FROM allowed)),
arrived AS (DELETE FROM queue_loose_body WHERE body = ANY($4::bigint[]) AND EXISTS (SELECT FROM allowed)),
done AS (DELETE FROM queue_message AS m USING gone AS g WHERE m.id = g.message AND m.alone RETURNING m.id, m.big),
loose AS (INSERT INTO queue_loose_body (body) SELECT big FROM done WHERE big IS NOT NULL)
SELECT (SELECT count(*) FROM added), (SELECT count(*) FROM gone) + (SELECT count(*) FROM waits),
    (SELECT array_agg(DISTINCT message) FROM gone WHERE message NOT IN (SELECT id FROM done)),
    (SELECT array_agg(DISTINCT message) FROM waits WHERE dropped)
"""
COMMIT: Final = _COMMIT.format(
    allowed="""SELECT FROM queue_owner WHERE epoch = $1 AND ended IS NULL AND NOT EXISTS (
        SELECT FROM unnest($4::bigint[], $26::bigint[]) AS b(body, last) WHERE b.body IS NOT NULL AND NOT EXISTS (
            SELECT FROM queue_chunk AS c WHERE c.body = b.body AND c.number = b.last))"""
)
"""What was accepted and settled. Nothing is accepted for an epoch that has ended, or without the end of a body: behind
the same address there may be another server than the one that took it.

Returns how many messages were added, how many deliveries were settled, the messages of several deliveries of which one
is gone, and those of which a delivery waits that an administrator dropped.
"""

WITH_NOTICES: Final = _COMMIT.format(
    allowed="SELECT FROM gone WHERE cardinality($26::bigint[]) >= 0 UNION ALL SELECT FROM waits"
)
"""A settlement with its notices: they come only if it was ours to settle."""

REMOVE_DROPPED: Final = "DELETE FROM queue_delivery WHERE dropped AND owner IS NULL AND message = ANY($1::bigint[])"
REMOVE_DONE: Final = """
WITH done AS (
    DELETE FROM queue_message AS m WHERE m.id = ANY($1::bigint[])
        AND NOT EXISTS (SELECT FROM queue_delivery AS d WHERE d.message = m.id) RETURNING m.big)
INSERT INTO queue_loose_body (body) SELECT big FROM done WHERE big IS NOT NULL
"""
"""Messages without deliveries. In a transaction of its own, after theirs: whoever is last sees that all are gone."""

REFUSED: Final = """
WITH gone AS (DELETE FROM queue_delivery WHERE message = ANY($1::bigint[])),
done AS (DELETE FROM queue_message WHERE id = ANY($1::bigint[]) RETURNING big),
loose AS (INSERT INTO queue_loose_body (body) SELECT big FROM done WHERE big IS NOT NULL)
SELECT count(*) FROM done
"""
"""Messages of commits whose outcome is not known, and which their senders were told to send again."""

BRING_FORWARD_ROWS: Final = 500
"""Deliveries of one `BRING_FORWARD`: a commit waits behind it for 0.01 s."""

BRING_FORWARD: Final = f"""
WITH late AS (
    SELECT message, id FROM queue_delivery WHERE owner IS NULL AND NOT held AND next_at > $1
    ORDER BY next_at DESC LIMIT {BRING_FORWARD_ROWS} FOR UPDATE SKIP LOCKED)
UPDATE queue_delivery AS d SET next_at = $1 FROM late WHERE d.message = late.message AND d.id = late.id
RETURNING d.message, d.id
"""  # noqa: S608 - ours
BRING_FAILED_FORWARD: Final = f"""
WITH late AS (
    SELECT message, id FROM queue_delivery WHERE owner IS NULL AND NOT held AND next_at > $1
    AND starts_with(last_error, $2) AND (message, id) > ($3::bigint, $4::bigint)
    ORDER BY message, id LIMIT {BRING_FORWARD_ROWS} FOR UPDATE SKIP LOCKED)
UPDATE queue_delivery AS d SET next_at = $1 FROM late WHERE d.message = late.message AND d.id = late.id
RETURNING d.message, d.id
"""  # noqa: S608 - ours
"""Each delivery once, from one id to the next: what fails again for the same reason meanwhile waits its time."""

RETRY: Final = """
UPDATE queue_delivery AS d SET next_at = $1 FROM unnest($2::bigint[], $3::bigint[]) AS u(message, id)
WHERE d.message = u.message AND d.id = u.id AND d.owner IS NULL AND NOT d.held
"""
_NUMBER: Final = "json_array_length(recipients::json)"
SUSPEND: Final = f"""
WITH due AS (
    SELECT message, id, attempts, expires_at, recipients, returned, dropped FROM queue_delivery
    WHERE destination = $1 AND owner IS NULL AND NOT held AND next_at <= $2::float8 + $3::float8
    ORDER BY next_at LIMIT $4 FOR UPDATE SKIP LOCKED),
waits AS (
    SELECT message, id, least(expires_at, $2 + ($5::float8[])[least(attempts + 1, cardinality($5::float8[]))]
        * (1 + {SPREAD}::float8 * (2 * {JITTER}::float8 - 1))) AS at
    FROM due
    WHERE {NOTHING_ELSE.replace("instr", "strpos")} AND expires_at > $2
        AND ($6::float8 = 0 OR {ALL_DELAYED.format(number=_NUMBER)}
        OR {NO_DELAY_WANTED.format(number=_NUMBER).replace("instr", "strpos")}
        OR (SELECT m.sender = '' OR substring(m.facts FROM '"received":([-+.0-9Ee]+)')::float8 > $6
            FROM queue_message AS m WHERE m.id = message)))
UPDATE queue_delivery AS d SET attempts = attempts + 1, last_error = $7, next_at = greatest(1, waits.at + $3)
FROM waits WHERE d.message = waits.message AND d.id = waits.id
RETURNING 1
"""  # noqa: S608 - ours
"""What is due by our clock, $2; the server's is ahead by $3.

Rows are judged as they are once they are locked: an administrator may have changed them since the statement began. A
message's facts are no json to PostgreSQL where a text of them has a NUL.
"""

LEASE: Final = """
WITH due AS (
    SELECT d.message, d.id, d.next_at
    FROM unnest($1::text[], $2::float8[], $3::bigint[]) AS a(destination, latest, most) CROSS JOIN LATERAL (
        SELECT message, id, next_at FROM queue_delivery
        WHERE destination = a.destination AND owner IS NULL AND NOT held AND next_at <= a.latest AND NOT dropped
        ORDER BY next_at LIMIT a.most FOR UPDATE SKIP LOCKED) AS d),
leased AS (
    UPDATE queue_delivery AS d SET owner = $4, next_at = $5 FROM due WHERE d.message = due.message AND d.id = due.id
        AND EXISTS (SELECT FROM queue_owner WHERE epoch = $4 AND ended IS NULL)
    RETURNING d.id, d.destination, d.recipients, d.attempts, due.next_at, d.expires_at, d.last_error, d.returned,
        d.message)
SELECT l.id, l.destination, l.recipients, l.attempts, l.next_at, l.expires_at, l.last_error, l.returned, m.facts,
    l.message
FROM leased AS l JOIN queue_message AS m ON m.id = l.message ORDER BY l.next_at, l.id
"""
"""Of several destinations, each named once. next_at gets $5, at most 0 and another for each statement: what was leased
by one of which nothing was heard is given back by it."""

PUT_OFF: Final = (
    "UPDATE queue_delivery AS d SET owner = NULL, next_at = extract(epoch FROM clock_timestamp()) + $1, last_error = $5"
    " FROM unnest($2::bigint[], $3::bigint[]) AS u(message, id)"
    " WHERE d.message = u.message AND d.id = u.id AND d.owner = $4"
)
GIVE_BACK: Final = "UPDATE queue_delivery SET owner = NULL, next_at = $3 WHERE owner = $1 AND next_at = $2"
EARLIEST: Final = "SELECT min(next_at) FROM queue_delivery WHERE destination = $1 AND owner IS NULL AND NOT held"
DESTINATIONS: Final = (
    "SELECT destination, min(next_at), count(*) FROM queue_delivery WHERE owner IS NULL AND NOT held"
    " GROUP BY destination"
)
# Goes from one destination to the next in the index of what is due, without a look at its rows.
OVERDUE_BY_DESTINATION: Final = """
WITH RECURSIVE first AS (
    (SELECT destination, next_at FROM queue_delivery WHERE owner IS NULL AND NOT held
        ORDER BY destination, next_at LIMIT 1)
    UNION ALL
    SELECT n.destination, n.next_at FROM first CROSS JOIN LATERAL (
        SELECT destination, next_at FROM queue_delivery
        WHERE owner IS NULL AND NOT held AND destination > first.destination
        ORDER BY destination, next_at LIMIT 1) AS n)
SELECT destination, next_at, 1 FROM first WHERE next_at <= $1
"""
OVERDUE: Final = """
SELECT destination, min(next_at), count(*) FROM (
    SELECT destination, next_at FROM queue_delivery WHERE owner IS NULL AND NOT held AND next_at <= $1
    ORDER BY next_at LIMIT $2) AS due
GROUP BY destination
"""
BODY: Final = "SELECT size, big, body FROM queue_message WHERE id = $1"
READ_CHUNK: Final = "SELECT data FROM queue_chunk WHERE body = $1 AND number = $2"
WRITE_CHUNKS: Final = """
WITH loose AS (INSERT INTO queue_loose_body (body, owner) VALUES ($1, $2) ON CONFLICT (body) DO NOTHING)
INSERT INTO queue_chunk (body, number, data) SELECT $1, * FROM unnest($3::bigint[], $4::bytea[])
"""
GIVE_UP_BODY: Final = "UPDATE queue_loose_body SET owner = NULL WHERE body = ANY($1::bigint[])"
REMOVE_LOOSE: Final = """
WITH loose AS (
    DELETE FROM queue_loose_body WHERE body = (
        SELECT body FROM queue_loose_body WHERE owner IS NULL LIMIT 1 FOR UPDATE SKIP LOCKED)
    RETURNING body),
chunks AS (DELETE FROM queue_chunk AS c USING loose WHERE c.body = loose.body)
SELECT count(*) FROM loose
"""
"""One body that no message names and nobody writes."""
TAKE_NOTICES: Final = (
    "DELETE FROM queue_notice WHERE owner = $1 RETURNING id, action, destination, message, delivery, author"
)
IS_OURS: Final = "SELECT EXISTS (SELECT FROM queue_delivery WHERE message = $1 AND owner = $2)"


class PostgresPlan:
    """The writes of one commit, gathered by kind as in `store.sqlite.rows.CommitPlan`; settlements have their owner."""

    __slots__ = ("bodies", "deferred", "deliveries", "finished", "messages", "senders")

    def __init__(self) -> None:
        self.messages: list[Row] = []
        self.senders: list[tuple[str, str]] = []  # of the messages, with their organizations before
        self.bodies: list[tuple[int, bytes]] = []
        self.deliveries: list[Row] = []
        self.finished: list[tuple[int, int, int]] = []
        self.deferred: list[Row] = []

    def parameters(self, epoch: int) -> list[Any]:
        """The parameters of `COMMIT` and `WITH_NOTICES`."""
        counts: dict[int, int] = {}
        for row in self.deliveries:
            counts[row[0]] = counts.get(row[0], 0) + 1
        bodies: dict[int, bytes] = dict(self.bodies)
        messages = [(*row, counts.get(row[0]) == 1, bodies.get(row[0])) for row in self.messages]
        deliveries = [(*row[:3], *row[4:8]) for row in self.deliveries]
        quarantines = [(row[3], row[9]) for row in self.deliveries]
        columns = (
            *_columns(messages, 6),
            *_columns(deliveries, 7),
            *_columns(self.finished, 3),
            *_columns(self.deferred, 8),
        )
        last = [None if big is None else _last_chunk(size - len(body or b"")) for _, size, big, _, _, body in messages]
        return [epoch, *columns, last, *_columns(self.senders, 2), *_columns(quarantines, 2)]


def _last_chunk(size: int) -> int:
    """The number of the last chunk of a body of so many octets."""
    return (size - 1) // CHUNK_BYTES


def _columns(rows: list[Any], width: int) -> list[list[Any]]:
    """Rows as one list for each column."""
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[]] * width


def leased_delivery(row: Any, owner: int, shift: float) -> Delivery:
    """A delivery of `LEASE`. shift: seconds by which the server's clock is ahead of ours.

    Raises ValueError if this release cannot read it.
    """
    delivery = decode_delivery(tuple(row)[:-1])
    delivery.owner = owner
    delivery.next_at -= shift
    return delivery


class OwnedAcceptance(AcceptanceWork):
    """A message to be queued, owned by the process that commits it."""

    __slots__ = ("_owned", "_sender", "epoch", "message_id")

    def __init__(self, message: Message, deliveries: list[Delivery], body: Body, done: Durable, epoch: int = 0) -> None:
        """epoch: in which its body was written into the database, 0 if it comes along. Raises MessageUnstorable."""
        super().__init__(message, deliveries, body, done)
        self.epoch = epoch
        self.message_id = message.id
        self._sender = message.organization, message.reverse_path
        self._owned = deliveries

    def collect(self, plan: PostgresPlan) -> None:  # type: ignore[override]  # of the same shape
        """The message, its deliveries and its body."""
        super().collect(plan)  # type: ignore[arg-type]  # as above
        plan.senders.append(self._sender)

    def committed(self, epoch: int) -> None:
        """Its rows were written as those of an epoch."""
        for delivery in self._owned:
            delivery.owner = epoch


class OwnedSettlement(SettlementWork):
    """A settlement, which counts only while its delivery is owned by the epoch that had it."""

    __slots__ = ("_owner", "added", "has_notices")

    def __init__(self, settlement: Settlement, offer: Callable[[list[Delivery]], None]) -> None:
        """Raises MessageUnstorable."""
        super().__init__(settlement, offer)
        self._owner = settlement.delivery.owner
        self.has_notices = bool(settlement.notices)
        self.added = True  # its notices were queued

    def collect(self, plan: PostgresPlan) -> None:  # type: ignore[override]  # the rows have their owner behind them
        """The delivery goes or waits; the notices come."""
        super().collect(plan)  # type: ignore[arg-type]  # of the same shape
        plan.senders += [(message.organization, message.reverse_path) for message, _, _ in self._settlement.notices]
        if self._deferred is None:
            plan.finished[-1] = (*plan.finished[-1][:2], self._owner)
        else:
            plan.deferred[-1] = (*plan.deferred[-1], self._owner)

    @property
    def may_be_many(self) -> bool:
        """A deferral, or one with notices: there may be as many as the queue is long, and nobody waits."""
        return self.has_notices or self._deferred is not None

    @property
    def notice_messages(self) -> list[int]:
        """The ids of its notices."""
        return [message.id for message, _, _ in self._settlement.notices]

    def committed(self, epoch: int) -> None:
        """The rows of its notices were written as those of an epoch."""
        for _, deliveries, _ in self._settlement.notices:
            for delivery in deliveries:
                delivery.owner = epoch

    def finish(self) -> None:
        """Hand the notices to the queue, if they were queued."""
        if self.failure is not None or self.added:
            super().finish()
