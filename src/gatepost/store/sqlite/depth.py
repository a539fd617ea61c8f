"""Measure the queue's size and age from another process, for metrics and alarms.

Reads each shard as `store.sqlite.administration` does: no lock that a writer waits for, nothing is changed. Blocks.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import apsw

from gatepost.mail.model.queue_id import made_at
from gatepost.store.interface import StoreFailure
from gatepost.store.queue_admin import Depth
from gatepost.store.sqlite.schema import QUEUE_FILE, check_queue_tables, open_for_reading

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


# Ids grow with time, and the table is sorted by them: the oldest is the first that is not held.
_OLDEST = "SELECT message, destination FROM delivery WHERE NOT held AND NOT dropped ORDER BY message LIMIT 1"
# What is deferred is counted by its index: of a million, that takes a third of the time.
_COUNTS = """
SELECT count(*) FILTER (WHERE NOT held), count(*) FILTER (WHERE held),
    (SELECT count(*) FROM delivery INDEXED BY due WHERE next_at > 0 AND NOT held)
    - (SELECT count(*) FROM delivery INDEXED BY dropped WHERE dropped AND next_at > 0 AND NOT held)
FROM delivery WHERE (next_at = 0 OR held) AND NOT dropped AND quarantine = ''
"""


def queue_depth(queue_directory: Path, shards: Sequence[int] | None = None) -> Depth:
    """Over all shards, or some of them. Raises StoreFailure if one cannot be read."""
    paths = _shards(queue_directory) if shards is None else [_shard(queue_directory, number) for number in shards]
    depths = [_depth(path) for path in paths]
    waiting = [depth for depth in depths if depth.oldest]
    first = min(waiting, key=lambda depth: depth.oldest, default=Depth())
    return Depth(
        sum(depth.active for depth in depths),
        sum(depth.deferred for depth in depths),
        sum(depth.held for depth in depths),
        first.oldest,
        first.destination,
    )


def _shards(directory: Path) -> list[Path]:
    if not directory.is_dir():
        return []
    return sorted(path / QUEUE_FILE for path in directory.iterdir() if (path / QUEUE_FILE).exists())


def _shard(directory: Path, number: int) -> Path:
    return directory / str(number) / QUEUE_FILE


def _depth(path: Path) -> Depth:
    try:
        with closing(open_for_reading(path)) as connection:
            check_queue_tables(connection, path)
            counts: Any = connection.execute(_COUNTS).fetchone()
            oldest: Any = connection.execute(_OLDEST).fetchone()
    except (apsw.Error, OSError) as error:
        raise StoreFailure(f"{path}: {error}") from error
    active, held, deferred = counts
    at, destination = (made_at(oldest[0]), oldest[1]) if oldest else (0.0, "")
    return Depth(active, deferred, held, oldest=at, destination=destination)
