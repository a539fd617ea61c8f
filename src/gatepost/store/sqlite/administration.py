"""Queue administration from a process of its own: list, and change.

Works on a running gateway as on a stopped one: rows are changed in the shard's database, and for its owner a notice row
is left, which it takes up within a second. A delivery in the owner's memory (next_at 0) is only marked here; the owner
honours the mark when it settles it. Used by `cli` and `admin`; blocks, so call it on a thread from an event loop.

The queue's depth, for metrics and alarms, is measured here without a lock that a writer waits for.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING, Any

import apsw

from gatepost.mail.model.queue_id import format_id, made_at, parse_id
from gatepost.store.interface import QueueFilter, failing
from gatepost.store.queue_admin import (
    CANNOT_BE_READ,
    COUNTED,
    SORTED,
    Conditions,
    Depth,
    DestinationCount,
    QueueAdmin,
    QueueChange,
    QueueEntry,
    QueuePlace,
    QueueTotals,
    refuse_order,
    summed,
)
from gatepost.store.sqlite.admin_rows import (
    after_delivery,
    after_place,
    apply,
    applying,
    conditions,
    count,
    count_to,
    select,
    select_destinations,
    select_sorted,
    totals,
)
from gatepost.store.sqlite.schema import (
    BIG_DIRECTORY,
    QUEUE_FILE,
    check_queue_tables,
    exclusively,
    open_for_change,
    open_for_reading,
)
from gatepost.store.trace import ADMIN_WRITER, Trace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from gatepost.mail.model.trace_event import TraceEvent


# Ids grow with time, and the table is sorted by them: the oldest is the first that is not held.
_OLDEST = "SELECT message, destination FROM delivery WHERE NOT held AND NOT dropped ORDER BY message LIMIT 1"
_UNREADABLE = "SELECT count(*), min(message) FROM delivery WHERE last_error = ? AND next_at > 0 AND NOT held"
# What is deferred is counted by its index: of a million, that takes a third of the time.
_COUNTS = """
SELECT count(*) FILTER (WHERE NOT held), count(*) FILTER (WHERE held),
    (SELECT count(*) FROM delivery INDEXED BY due WHERE next_at > 0 AND NOT held)
    - (SELECT count(*) FROM delivery INDEXED BY dropped WHERE dropped AND next_at > 0 AND NOT held)
FROM delivery WHERE (next_at = 0 OR held) AND NOT dropped AND quarantine = ''
"""
_OCTETS = (
    "SELECT organization, sum(size), max(id) FROM"
    " (SELECT id, size, iif(json_valid(facts), facts ->> '$.organization', '') AS organization"
    " FROM message WHERE id > ? ORDER BY id LIMIT ?) GROUP BY 1"
)
_PIECE = 20_000  # messages that are read in one transaction: a tenth of a second


def queue_depth(queue_directory: Path, shards: Sequence[int] | None = None) -> Depth:
    """Over all shards, or some of them. Raises StoreFailure if one cannot be read."""
    paths = _shards(queue_directory) if shards is None else [_shard(queue_directory, number) for number in shards]
    depths = [_depth(path) for path in paths]
    return Depth(
        sum(depth.active for depth in depths),
        sum(depth.deferred for depth in depths),
        sum(depth.held for depth in depths),
        *_first((depth.oldest, depth.destination) for depth in depths),
    )


def _first(oldest: Iterable[tuple[float, str]]) -> tuple[float, str]:
    return min((each for each in oldest if each[0]), key=lambda each: each[0], default=(0.0, ""))


def _shards(directory: Path) -> list[Path]:
    if not directory.is_dir():
        return []
    return sorted(path / QUEUE_FILE for path in directory.iterdir() if (path / QUEUE_FILE).exists())


def _shard(directory: Path, number: int) -> Path:
    return directory / str(number) / QUEUE_FILE


def _depth(path: Path) -> Depth:
    with failing(path, apsw.Error, OSError), closing(open_for_reading(path)) as connection:
        check_queue_tables(connection, path)
        counts: Any = connection.execute(_COUNTS).fetchone()
        at, destination = _oldest(connection)
    active, held, deferred = counts
    return Depth(active, deferred, held, oldest=at, destination=destination)


def _oldest(connection: apsw.Connection) -> tuple[float, str]:
    row: Any = connection.execute(_OLDEST).fetchone()
    return (made_at(row[0]), row[1]) if row else (0.0, "")


_CHUNK = 256 * 1024
_BODY = "SELECT m.big, b.data FROM message AS m LEFT JOIN body AS b ON b.id = m.id WHERE m.id = ?"


class Administration(QueueAdmin):
    """The queue of a data directory."""

    def __init__(self, queue_directory: Path, keep: Callable[[Sequence[TraceEvent]], None]) -> None:
        """`queue_directory` holds one directory a shard. keep: as in `QueueAdmin`."""
        self._queue = queue_directory
        super().__init__(keep)

    def entries(self, wanted: QueueFilter, after: QueuePlace | None = None) -> list[QueueEntry]:
        """The deliveries that match, shard by shard, oldest first.

        after: only those behind the one that stands, or stood, there. Raises ValueError for what is no queue id,
        StoreFailure if a shard cannot be read.
        """
        if wanted.sort:
            return self._sorted(wanted, after)
        return self._selected(conditions(wanted), wanted.limit, after)

    def totals(self, wanted: QueueFilter) -> QueueTotals:
        """Sums over the deliveries that match, of the first `COUNTED`. Raises as `entries`."""
        where, left, sums = conditions(wanted), COUNTED, []
        for shard in self._shards():
            with opened(shard, open_for_reading) as connection:
                sums.append(totals(connection, where, left))
            left -= sums[-1][0]
        return summed(sums, COUNTED)

    def destinations(self, wanted: QueueFilter) -> list[DestinationCount]:
        """The deliveries that match, counted by destination, the fullest first; `wanted.limit` is of destinations.

        Raises as `entries`.
        """
        where = conditions(wanted)
        found: dict[str, DestinationCount] = {}
        for shard in self._shards():
            with opened(shard, open_for_reading) as connection:
                for destination in select_destinations(connection, where, wanted.limit or -1):
                    found[destination.destination] = (
                        _sum(found[destination.destination], destination)
                        if destination.destination in found
                        else destination
                    )
        return sorted(found.values(), key=lambda destination: (-destination.count, destination.destination))

    def _sorted(self, wanted: QueueFilter, after: QueuePlace | None) -> list[QueueEntry]:
        """The first of every shard, merged: ids are those of the whole queue."""
        where, sort, left, entries = conditions(wanted), wanted.sort, SORTED, []
        behind = where if after is None else after_place(where, after, sort)
        for shard in self._shards():
            with opened(shard, open_for_reading) as connection:
                if sort.removeprefix("-") != "received":
                    left -= count_to(connection, where, left + 1)
                    if left < 0:
                        refuse_order(sort)
                entries += select_sorted(connection, shard.name, behind, sort, wanted.limit or -1)

        def key(entry: QueueEntry) -> tuple[float | str, int, int]:
            return entry.order_key(sort), entry.delivery.message.id, entry.delivery.id

        entries.sort(key=key, reverse=sort.startswith("-"))
        return entries[: wanted.limit] if wanted.limit else entries

    def _selected(self, wanted: Conditions, limit: int, after: QueuePlace | None) -> list[QueueEntry]:
        entries: list[QueueEntry] = []
        for shard in self._shards():
            if after is not None and shard.name < after.shard:
                continue
            left = limit - len(entries) if limit else -1
            where = wanted
            if after is not None and shard.name == after.shard:
                where = after_delivery(wanted, after.message, after.delivery)
            with opened(shard, open_for_reading) as connection:
                entries += select(connection, shard.name, where, left)
        return entries

    def applying(self, action: str, wanted: QueueFilter) -> list[QueueEntry]:
        """The deliveries that "hold", "release", "retry", "return" or "drop" would change. Raises as `entries`."""
        return self._selected(applying(action, wanted), wanted.limit, None)

    def applying_to(self, action: str, wanted: QueueFilter) -> tuple[int, int]:
        """Count the deliveries and their messages; `wanted.limit` is ignored. Raises as `entries`."""
        where, deliveries, messages = applying(action, wanted), 0, 0
        for shard in self._shards():
            with opened(shard, open_for_reading) as connection:
                numbers = count(connection, where)
            deliveries, messages = deliveries + numbers[0], messages + numbers[1]
        return deliveries, messages

    def body(self, message: str) -> Iterator[bytes]:
        """The stored body of a queued message, in chunks.

        Raises ValueError for what is no queue id, LookupError if it is not in the queue.
        """
        number = parse_id(message)
        for shard in self._shards():
            with opened(shard, open_for_reading) as connection:
                row: tuple[int | None, bytes | None] | None = connection.execute(_BODY, (number,)).fetchone()
            if row is not None:
                return _chunks(shard, *row)
        raise LookupError(f"{message} is not in the queue")

    def depth(self) -> Depth:
        """The size and the age of the whole queue. Raises StoreFailure."""
        return queue_depth(self._queue)

    def oldest(self) -> tuple[float, str]:
        """See `QueueAdmin.oldest`."""
        first = []
        for shard in self._shards():
            with opened(shard, open_for_reading) as connection:
                first.append(_oldest(connection))
        return _first(first)

    def unreadable(self) -> tuple[int, int]:
        """See `QueueAdmin.unreadable`."""
        rows: list[Any] = []
        for shard in self._shards():
            with opened(shard, open_for_reading) as connection:
                rows += connection.execute(_UNREADABLE, (CANNOT_BE_READ,))
        return sum(number for number, _ in rows), min((oldest for _, oldest in rows if oldest), default=0)

    def octets(self) -> dict[str, int]:
        """See `QueueAdmin.octets`. Read in pieces: while a disk is nearly full nothing may keep the log from ending."""
        octets: Counter[str] = Counter()
        for shard in self._shards():
            with opened(shard, open_for_reading) as connection:
                last = -1
                while rows := list(connection.execute(_OCTETS, (last, _PIECE))):
                    octets.update({organization: size for organization, size, _ in rows})
                    last = max(number for _, _, number in rows)
        return dict(octets)

    def _shards(self) -> list[Path]:
        return shards_of(self._queue)

    def _change(self, action: str, wanted: QueueFilter, author: str, reason: str, text: str = "") -> list[QueueEntry]:
        change = QueueChange(action, wanted.limit, author, text, reason)
        where = applying(action, wanted)
        for shard in self._shards():
            with opened(shard, open_for_change) as connection:

                def step(last: tuple[int, int], page: int) -> list[QueueEntry]:
                    return _change_page(connection, change, page, after_delivery(where, *last), shard)  # noqa: B023 - called before the next

                self._page_by_page(change, step)
        return change.done


def trace_writer(
    trace: Trace, evidence: Callable[[Sequence[TraceEvent]], None]
) -> Callable[[Sequence[TraceEvent]], None]:
    """Keeps what administrators do in the trace, and in the evidence log whatever became of that."""

    def keep(rows: Sequence[TraceEvent]) -> None:
        try:
            trace.write(ADMIN_WRITER, rows)
        finally:
            evidence(rows)

    return keep


def _sum(one: DestinationCount, other: DestinationCount) -> DestinationCount:
    older = min(one, other, key=lambda each: each.oldest)
    return DestinationCount(
        one.destination,
        one.count + other.count,
        one.active + other.active,
        one.held + other.held,
        older.oldest,
        older.last_error,
    )


def _change_page(
    connection: apsw.Connection, change: QueueChange, page: int, where: Conditions, shard: Path
) -> list[QueueEntry]:
    with exclusively(connection):
        entries = select(connection, shard.name, where, page)
        deliveries = [entry.delivery for entry in entries]
        unlink = apply(connection, change.action, deliveries, change.author, time.time(), change.text)
    for number in unlink:
        (shard / BIG_DIRECTORY / format_id(number)).unlink(missing_ok=True)
    return entries


def shards_of(queue_directory: Path) -> list[Path]:
    """The directories of all shards."""
    return sorted(path.parent for path in queue_directory.glob(f"*/{QUEUE_FILE}"))


@contextlib.contextmanager
def opened(shard: Path, opener: Callable[[Path], apsw.Connection]) -> Iterator[apsw.Connection]:
    """A shard's database, if it is of our version; errors of SQLite become StoreFailure."""
    with failing(shard, apsw.Error), contextlib.closing(opener(shard / QUEUE_FILE)) as connection:
        check_queue_tables(connection, shard / QUEUE_FILE)
        yield connection


def _chunks(shard: Path, big: int | None, data: bytes | None) -> Iterator[bytes]:
    if data:
        yield data
    if big is None:
        return
    try:
        with (shard / BIG_DIRECTORY / format_id(big)).open("rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk
    except FileNotFoundError as error:
        raise LookupError("the message has just left the queue") from error
