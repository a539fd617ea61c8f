"""The quarantine in PostgreSQL, for all nodes. Implements `store.quarantine.QuarantineEngine`.

Nothing of it is in any worker's memory; what is released belongs to nobody, and any worker may lease it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gatepost.store.postgres.database import PostgresConnection, PostgresDatabase
from gatepost.store.postgres.queue_admin import NOTICE_TO_ALL, REMOVE, PostgresQueueAdmin
from gatepost.store.postgres.queue_rows import REMOVE_DONE
from gatepost.store.postgres.queue_schema import CHANNEL, QUEUE_SCHEMA
from gatepost.store.quarantine import QuarantineRange, QuarantineUsage, released_row
from gatepost.store.queue_admin import is_readable
from gatepost.store.sqlite.rows import listed_delivery

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gatepost.mail.model.message import Delivery


_COLUMNS: Final = (
    "SELECT d.id, d.destination, d.recipients, d.attempts, d.next_at, d.expires_at, d.last_error, d.returned, m.facts,"
    " d.message, m.size, d.quarantine FROM queue_delivery AS d JOIN queue_message AS m ON m.id = d.message"
    " WHERE d.quarantine <> '' AND NOT d.dropped"
)
_AMONG: Final = " AND d.quarantine = ANY(?::text[])"
_RANGE: Final = " AND d.message > ? AND (d.message, d.id) < (?, ?) ORDER BY d.message DESC, d.id DESC LIMIT ?"
_EXPIRED: Final = " AND d.next_at <= ? LIMIT ?"
_THESE: Final = (
    " AND (d.quarantine, d.message, d.id) IN"
    " (SELECT * FROM unnest(?::text[], ?::bigint[], ?::bigint[])) ORDER BY d.message, d.id FOR UPDATE OF d"
)
_RELEASE: Final = (
    "UPDATE queue_delivery SET quarantine = ?, held = ?, next_at = ?, expires_at = ?, recipients = ?, listed = ?"
    " WHERE message = ? AND id = ?"
)
_USAGE: Final = (
    "SELECT q.quarantine, sum(q.deliveries)::bigint, sum(m.size)::bigint FROM (SELECT quarantine, message,"
    " count(*) AS deliveries FROM queue_delivery WHERE quarantine <> '' AND NOT dropped GROUP BY 1, 2) AS q"
    " JOIN queue_message AS m ON m.id = q.message GROUP BY 1"
)
_ADDRESS: Final = "lower((recipients::json -> 0 ->> 'address') COLLATE \"C\")"
_UNLISTED: Final = (
    f"SELECT DISTINCT {_ADDRESS} FROM queue_delivery WHERE quarantine <> '' AND quarantine = ?"  # noqa: S608 - ours
    f" AND NOT dropped AND listed = 0 AND {_ADDRESS} > ? ORDER BY 1 LIMIT ?"
)
_THEIRS: Final = (
    " AND d.quarantine = ? AND lower((d.recipients::json -> 0 ->> 'address') COLLATE \"C\") = ?"
    " ORDER BY d.message DESC, d.id DESC LIMIT 1000"
)
_OF_RECIPIENT: Final = f"WHERE quarantine <> '' AND quarantine = ? AND {_ADDRESS} = ?"
_LISTED: Final = f"SELECT max(listed) FROM queue_delivery {_OF_RECIPIENT}"  # noqa: S608 - ours
_LIST: Final = f"UPDATE queue_delivery SET listed = ? {_OF_RECIPIENT}"  # noqa: S608 - ours


class PostgresQuarantine:
    """url: of the database."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._database = PostgresDatabase(url, QUEUE_SCHEMA)

    def page(self, wanted: QuarantineRange, size: int) -> list[Delivery]:
        """See `QuarantineEngine.page`."""
        values: list[Any] = [wanted.after, *wanted.before, size]
        sql = _COLUMNS
        if wanted.organizations is not None:
            sql += _AMONG
            values.insert(0, sorted(wanted.organizations))
        with self._database.reading() as connection:
            return _deliveries(connection.rows(sql + _RANGE, values))

    def expired(self, now: float, size: int) -> list[Delivery]:
        """See `QuarantineEngine.expired`."""
        with self._database.reading() as connection:
            return _deliveries(connection.rows(_COLUMNS + _EXPIRED, (now, size)))

    def release(self, deliveries: Sequence[Delivery], now: float, author: str) -> list[Delivery]:
        """See `QuarantineEngine.release`."""
        with self._database.changing() as connection:
            present = [*filter(is_readable, _present(connection, deliveries))]
            rows = [(*released_row(delivery, now), delivery.message.id, delivery.id) for delivery in present]
            connection.execute_many(_RELEASE, rows)
            for destination in sorted({delivery.destination for delivery in present}):
                connection.execute(NOTICE_TO_ALL, ("release", destination, author))
            connection.execute("SELECT pg_notify(?, '')", (CHANNEL,))
        return present

    def remove(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """See `QuarantineEngine.remove`."""
        with self._database.changing() as connection:
            present = _present(connection, deliveries)
            connection.execute(REMOVE, _ids(present))
        with self._database.reading() as connection:
            connection.execute(REMOVE_DONE, ([delivery.message.id for delivery in present],))
        return present

    def usage(self) -> dict[str, QuarantineUsage]:
        """See `QuarantineEngine.usage`."""
        with self._database.reading() as connection:
            rows = connection.rows(_USAGE)
        return {organization: QuarantineUsage(deliveries, size) for organization, deliveries, size in rows}

    def unlisted(self, organization: str, after: str, size: int) -> list[str]:
        """See `QuarantineEngine.unlisted`."""
        with self._database.reading() as connection:
            return [address for (address,) in connection.rows(_UNLISTED, (organization, after, size))]

    def note_listed(self, organization: str, recipient: str, now: float, since: float) -> bool:
        """See `QuarantineEngine.note_listed`."""
        whose = organization, recipient
        with self._database.changing() as connection:
            before: float | None = connection.value(_LISTED, whose)
            if (before or 0.0) >= since:
                return False
            connection.execute(_LIST, (now, *whose))
        return True

    def of_recipient(self, organization: str, recipient: str) -> list[Delivery]:
        """See `QuarantineEngine.of_recipient`."""
        with self._database.reading() as connection:
            deliveries = _deliveries(connection.rows(_COLUMNS + _THEIRS, (organization, recipient)))
        return [*filter(is_readable, deliveries)]

    def body(self, message: str) -> Iterator[bytes]:
        """See `QuarantineEngine.body`."""
        return PostgresQueueAdmin(self._url, lambda _: None).body(message)


def _present(connection: PostgresConnection, deliveries: Sequence[Delivery]) -> list[Delivery]:
    """Those of the deliveries that are in the same quarantine still, locked until the commit."""
    holders = [delivery.quarantine for delivery in deliveries]
    return _deliveries(connection.rows(_COLUMNS + _THESE, (holders, *_ids(deliveries))))


def _ids(deliveries: Sequence[Delivery]) -> tuple[list[int], list[int]]:
    return [delivery.message.id for delivery in deliveries], [delivery.id for delivery in deliveries]


def _deliveries(rows: Sequence[tuple[Any, ...]]) -> list[Delivery]:
    deliveries = []
    for *columns, message, size, holder in rows:
        delivery = listed_delivery(columns, message, "", size)
        delivery.held, delivery.quarantine = True, holder
        deliveries.append(delivery)
    return deliveries
