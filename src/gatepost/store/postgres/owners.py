"""The worker processes of a site, as owners of deliveries: register, beat, and take over what the silent ones left.

All times are of the server's clock. An owner that was silent for `expiry` seconds has ended, whether it knows or not:
what it says of its deliveries then is no longer heard (`store.postgres.queue_rows`). It begins again under a new epoch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from gatepost.mail.model.queue_id import SHARDS, last_id
from gatepost.store.interface import DestinationWork, StoreBusy
from gatepost.store.move_mark import check_open, decoded_mark
from gatepost.store.postgres.queue_rows import REMOVE_DONE
from gatepost.store.postgres.server import mark_document

BATCH: Final = 1000
"""Deliveries that are taken over in one transaction."""

_AHEAD: Final = 60.0  # seconds by which the ids that a place may give out are ahead of its last beat
# Seconds after its end in which something of an owner may still become visible: longer than any statement takes.
_LATE: Final = 60

_LOCK: Final = "LOCK TABLE queue_owner IN EXCLUSIVE MODE"
_END_THE_LAST: Final = (
    "UPDATE queue_owner SET ended = clock_timestamp()"
    " WHERE installation = $1 AND worker = $2 AND node = $3 AND ended IS NULL"
)
_PLACES: Final = "SELECT count(*), (SELECT place FROM queue_owner WHERE swept ORDER BY ended LIMIT 1) FROM queue_owner"
_TAKE_PLACE: Final = """
INSERT INTO queue_owner (place, epoch, node, worker, installation, last_id)
VALUES ($1, nextval('queue_epoch'), $2, $3, $4, 0)
ON CONFLICT (place) DO UPDATE SET epoch = excluded.epoch, node = excluded.node, worker = excluded.worker,
    installation = excluded.installation, started = clock_timestamp(), beat = clock_timestamp(), ended = NULL,
    swept = FALSE
RETURNING epoch, last_id
"""
_BEAT: Final = """
UPDATE queue_owner SET beat = clock_timestamp(), last_id = greatest(last_id, $2)
WHERE epoch = $1 AND ended IS NULL
RETURNING extract(epoch FROM clock_timestamp())::float8,
    (SELECT count(*) FROM queue_owner WHERE ended IS NULL AND epoch < $1),
    (SELECT count(*) FROM queue_owner WHERE ended IS NULL)
"""
_NOW: Final = "SELECT extract(epoch FROM clock_timestamp())::float8"
_END: Final = "UPDATE queue_owner SET ended = clock_timestamp() WHERE epoch = $1 AND ended IS NULL"
_END_SILENT: Final = (
    "UPDATE queue_owner SET ended = clock_timestamp()"
    " WHERE ended IS NULL AND (beat < clock_timestamp() - make_interval(secs => $1)"
    " OR beat > clock_timestamp() + make_interval(secs => $1)) RETURNING epoch, node, worker"
)
_UNSWEPT: Final = "SELECT epoch FROM queue_owner WHERE ended IS NOT NULL AND NOT swept"
_TAKE_OVER: Final = """
WITH left_behind AS (
    SELECT message, id FROM queue_delivery WHERE owner = ANY($1::bigint[]) LIMIT $2 FOR UPDATE SKIP LOCKED)
UPDATE queue_delivery AS d SET owner = NULL, next_at = extract(epoch FROM clock_timestamp())
FROM left_behind AS l WHERE d.message = l.message AND d.id = l.id
RETURNING d.destination
"""
_DROPPED: Final = "DELETE FROM queue_delivery WHERE owner = ANY($1::bigint[]) AND dropped RETURNING message"
_LOOSE: Final = """
UPDATE queue_loose_body SET owner = NULL WHERE owner IN (
    SELECT epoch FROM queue_owner
    WHERE ended < clock_timestamp() - make_interval(secs => $1) AND NOT swept)
"""
_SWEPT: Final = """
UPDATE queue_owner AS o SET swept = TRUE
WHERE ended < clock_timestamp() - make_interval(secs => $1) AND NOT swept
    AND NOT EXISTS (SELECT FROM queue_delivery WHERE owner = o.epoch)
    AND NOT EXISTS (SELECT FROM queue_loose_body WHERE owner = o.epoch)
RETURNING epoch
"""
_FORGET_NOTICES: Final = "DELETE FROM queue_notice WHERE owner = ANY($1::bigint[])"
_WITHOUT_DELIVERIES: Final = (
    "SELECT array_agg(id) FROM (SELECT id FROM queue_message AS m WHERE NOT EXISTS"
    " (SELECT FROM queue_delivery AS d WHERE d.message = m.id) LIMIT 1000) AS left_behind"
)


@dataclass(frozen=True, slots=True)
class OwnerIdentity:
    """The name of a worker process. installation: of the data directory, which one gateway uses at a time."""

    node: str
    worker: int
    installation: str


@dataclass(frozen=True, slots=True)
class Owner:
    """An epoch, and the place from which it gives out queue ids above `last_id`."""

    epoch: int
    place: int
    last_id: int


@dataclass(frozen=True, slots=True)
class Pulse:
    """The state of the site. now: by the server's clock, seconds since 1970. rank: among the `workers` that live."""

    now: float
    rank: int
    workers: int


async def register(connection: Any, identity: OwnerIdentity) -> Owner:
    """Begin an epoch. Raises StoreBusy; StoreFailure if the database was moved to another engine meanwhile.

    The one before it of the same worker has ended, as only one process has its place in the data directory.
    """
    async with connection.transaction():
        await connection.execute(_LOCK)
        if (document := await mark_document(connection)) is not None:
            check_open(decoded_mark(document, "PostgreSQL"), "PostgreSQL")
        await connection.execute(_END_THE_LAST, identity.installation, identity.worker, identity.node)
        count, free = await connection.fetchrow(_PLACES)
        place = count if count < SHARDS else free
        if place is None:
            raise StoreBusy(f"PostgreSQL: {SHARDS} worker processes use the queue or have just ended; try again later")
        values = (place, identity.node, identity.worker, identity.installation)
        epoch, last = await connection.fetchrow(_TAKE_PLACE, *values)
    return Owner(epoch, place, last)


async def beat(connection: Any, epoch: int, now: float) -> Pulse | None:
    """Say that a process lives; None if its epoch has ended. now: by its own clock, seconds since 1970."""
    row = await connection.fetchrow(_BEAT, epoch, last_id(now + _AHEAD))
    return None if row is None else Pulse(*row)


async def server_time(connection: Any) -> float:
    """The time by the server's clock, seconds since 1970."""
    now: float = await connection.fetchval(_NOW)
    return now


async def end(connection: Any, epoch: int) -> None:
    """End one's own epoch, and let others have what is left."""
    await connection.execute(_END, epoch)
    more = True
    while more:
        _, more = await take_over(connection, [epoch])


async def end_silent(connection: Any, expiry: float) -> list[tuple[int, str, int]]:
    """End the epochs of those that were silent for `expiry` seconds: epoch, node and worker of each.

    Also where they were heard of so far in the future: a clock was set back, or that of a promoted standby is behind.
    """
    return [tuple(row) for row in await connection.fetch(_END_SILENT, expiry)]


async def ended_owners(connection: Any) -> list[int]:
    """The epochs that have ended and may own something still."""
    return [epoch for (epoch,) in await connection.fetch(_UNSWEPT)]


async def take_over(connection: Any, epochs: Sequence[int]) -> tuple[list[DestinationWork], bool]:
    """Make a batch of what ended owners had due now, for any worker, and remove what was dropped meanwhile.

    Returns its destinations, and whether there may be more.
    """
    if dropped := [message for (message,) in await connection.fetch(_DROPPED, epochs)]:
        await connection.execute(REMOVE_DONE, dropped)
    rows = await connection.fetch(_TAKE_OVER, epochs, BATCH)
    work = [DestinationWork(destination, 1.0, 1) for destination in {destination for (destination,) in rows}]
    return work, len(rows) == BATCH


async def sweep(connection: Any) -> bool:
    """Finish with owners that ended a while ago; returns whether there were any."""
    await connection.execute(_LOOSE, _LATE)
    swept = [epoch for (epoch,) in await connection.fetch(_SWEPT, _LATE)]
    if swept:
        await connection.execute(_FORGET_NOTICES, swept)
    return bool(swept)


async def messages_without_deliveries(connection: Any) -> list[int]:
    """Some of the messages that a process left between its last delivery and the message, as it was killed there."""
    return await connection.fetchval(_WITHOUT_DELIVERIES) or []
