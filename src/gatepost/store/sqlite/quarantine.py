"""The quarantine in the shards of a data directory. Implements `store.quarantine.QuarantineEngine`.

Works on a running gateway as on a stopped one, as `store.sqlite.administration` does: nothing of it is in the memory
of a shard's owner, which hears of what was released by a notice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from gatepost.mail.model.queue_id import format_id
from gatepost.store.quarantine import QuarantineRange, QuarantineUsage, released_row
from gatepost.store.queue_admin import is_readable
from gatepost.store.sqlite.admin_rows import remove
from gatepost.store.sqlite.administration import Administration, opened, shards_of
from gatepost.store.sqlite.rows import listed_delivery
from gatepost.store.sqlite.schema import BIG_DIRECTORY, exclusively, open_for_change, open_for_reading

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    import apsw

    from gatepost.mail.model.message import Delivery


_COLUMNS: Final = (
    "SELECT d.id, d.destination, d.recipients, d.attempts, d.next_at, d.expires_at, d.last_error, d.returned, m.facts,"
    " d.message, m.size, d.quarantine FROM delivery AS d INDEXED BY quarantine JOIN message AS m ON m.id = d.message"
    " WHERE d.quarantine != '' AND NOT d.dropped"
)
_AMONG: Final = " AND d.quarantine IN (SELECT value FROM json_each(?))"
_RANGE: Final = " AND d.message > ? AND (d.message, d.id) < (?, ?) ORDER BY d.message DESC, d.id DESC LIMIT ?"
_EXPIRED: Final = " AND d.next_at <= ? LIMIT ?"
_ONE: Final = " AND d.quarantine = ? AND d.message = ? AND d.id = ?"
_RELEASE: Final = (
    "UPDATE delivery SET quarantine = ?, held = ?, next_at = ?, expires_at = ?, recipients = ?, listed = ?"
    " WHERE message = ? AND id = ?"
)
_NOTICE: Final = "INSERT INTO notice (action, destination, message, delivery, author) VALUES ('release', ?, 0, 0, ?)"
_USAGE: Final = (
    "SELECT q.quarantine, sum(q.deliveries), sum(m.size) FROM (SELECT quarantine, message, count(*) AS deliveries"
    " FROM delivery INDEXED BY quarantine WHERE quarantine != '' AND NOT dropped GROUP BY 1, 2) AS q"
    " JOIN message AS m ON m.id = q.message GROUP BY 1"
)
_ADDRESS: Final = "iif(json_valid(recipients), lower(recipients ->> '$[0].address'), '')"
_UNLISTED: Final = (
    f"SELECT DISTINCT {_ADDRESS} FROM delivery INDEXED BY quarantine"  # noqa: S608 - ours
    " WHERE quarantine != '' AND quarantine = ? AND NOT dropped AND listed = 0"
    f" AND {_ADDRESS} > ? ORDER BY 1 LIMIT ?"
)
_OF_RECIPIENT: Final = (
    f" FROM delivery INDEXED BY quarantine WHERE quarantine != '' AND quarantine = ?1 AND {_ADDRESS} = ?2"
)
_THEIRS: Final = f" AND d.quarantine = ? AND {_ADDRESS} = ? ORDER BY d.message DESC, d.id DESC LIMIT 1000"
_LISTED: Final = f"SELECT max(listed){_OF_RECIPIENT}"
_LIST: Final = (
    "UPDATE delivery INDEXED BY quarantine SET listed = ?3"  # noqa: S608 - ours
    " WHERE quarantine != '' AND quarantine = ?1"
    f" AND {_ADDRESS} = ?2"
)


class SqliteQuarantine:
    """queue_directory: holds one directory a shard."""

    def __init__(self, queue_directory: Path) -> None:
        self._queue = queue_directory

    def page(self, wanted: QuarantineRange, size: int) -> list[Delivery]:
        """See `QuarantineEngine.page`. Ids tell the time in all shards alike."""
        values: list[Any] = [wanted.after, *wanted.before, size]
        sql = _COLUMNS
        if wanted.organizations is not None:
            sql += _AMONG
            values.insert(0, msgspec.json.encode(sorted(wanted.organizations)).decode())
        return _newest_first(self._select(sql + _RANGE, values))[:size]

    def expired(self, now: float, size: int) -> list[Delivery]:
        """See `QuarantineEngine.expired`."""
        return list(self._select(_COLUMNS + _EXPIRED, [now, size]))[:size]

    def release(self, deliveries: Sequence[Delivery], now: float, author: str) -> list[Delivery]:
        """See `QuarantineEngine.release`; a transaction in each shard."""
        done: list[Delivery] = []
        for shard in shards_of(self._queue):
            with opened(shard, open_for_change) as connection, exclusively(connection):
                present = [*filter(is_readable, _present(connection, deliveries))]
                rows = [(*released_row(delivery, now), delivery.message.id, delivery.id) for delivery in present]
                connection.executemany(_RELEASE, rows)
                destinations = sorted({delivery.destination for delivery in present})
                connection.executemany(_NOTICE, [(destination, author) for destination in destinations])
            done += present
        return done

    def remove(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """See `QuarantineEngine.remove`; a transaction in each shard."""
        done: list[Delivery] = []
        for shard in shards_of(self._queue):
            with opened(shard, open_for_change) as connection:
                with exclusively(connection):
                    present = _present(connection, deliveries)
                    unlink = remove(connection, present)
                for number in unlink:
                    (shard / BIG_DIRECTORY / format_id(number)).unlink(missing_ok=True)
            done += present
        return done

    def usage(self) -> dict[str, QuarantineUsage]:
        """See `QuarantineEngine.usage`."""
        usage: dict[str, QuarantineUsage] = {}
        for shard in shards_of(self._queue):
            with opened(shard, open_for_reading) as connection:
                for organization, deliveries, size in connection.execute(_USAGE):
                    known = usage.get(organization, QuarantineUsage())
                    usage[organization] = QuarantineUsage(known.deliveries + deliveries, known.size + size)
        return usage

    def unlisted(self, organization: str, after: str, size: int) -> list[str]:
        """See `QuarantineEngine.unlisted`."""
        recipients: set[str] = set()
        for shard in shards_of(self._queue):
            with opened(shard, open_for_reading) as connection:
                recipients.update(address for (address,) in connection.execute(_UNLISTED, (organization, after, size)))
        return sorted(recipients)[:size]

    def note_listed(self, organization: str, recipient: str, now: float, since: float) -> bool:
        """See `QuarantineEngine.note_listed`."""
        whose = organization, recipient
        shards = shards_of(self._queue)
        for shard in shards:
            with opened(shard, open_for_reading) as connection:
                if (connection.execute(_LISTED, whose).get or 0.0) >= since:
                    return False
        for shard in shards:
            with opened(shard, open_for_change) as connection, exclusively(connection):
                connection.execute(_LIST, (*whose, now))
        return True

    def of_recipient(self, organization: str, recipient: str) -> list[Delivery]:
        """See `QuarantineEngine.of_recipient`."""
        return _newest_first(filter(is_readable, self._select(_COLUMNS + _THEIRS, (organization, recipient))))

    def body(self, message: str) -> Iterator[bytes]:
        """See `QuarantineEngine.body`."""
        return Administration(self._queue, lambda _: None).body(message)

    def _select(self, sql: str, values: Sequence[Any]) -> Iterator[Delivery]:
        for shard in shards_of(self._queue):
            with opened(shard, open_for_reading) as connection:
                rows = connection.execute(sql, values).fetchall()
            yield from map(_delivery, rows)


def _newest_first(deliveries: Iterable[Delivery]) -> list[Delivery]:
    return sorted(deliveries, key=lambda delivery: (delivery.message.id, delivery.id), reverse=True)


def _present(connection: apsw.Connection, deliveries: Sequence[Delivery]) -> list[Delivery]:
    """Those of the deliveries that are in the same quarantine still."""
    present = []
    for delivery in deliveries:
        row = connection.execute(_COLUMNS + _ONE, (delivery.quarantine, delivery.message.id, delivery.id)).fetchone()
        if row is not None:
            present.append(_delivery(row))
    return present


def _delivery(row: tuple[Any, ...]) -> Delivery:
    *columns, message, size, holder = row
    delivery = listed_delivery(columns, message, "", size)
    delivery.held, delivery.quarantine = True, holder
    return delivery
