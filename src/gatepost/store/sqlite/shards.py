"""Choose and open the queue shards of a worker. Called by `Storage.queues`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatepost.store.sqlite.queue import SqliteStore
from gatepost.store.sqlite.schema import QUEUE_DIRECTORY, StoreSettings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gatepost.settings.model import Settings
    from gatepost.store.interface import EventSink
    from gatepost.store.trace import TraceSink


def shards_of(root: Path, index: int, workers: int) -> list[int]:
    """The worker's own shard, and those of workers that are no more: dealt out among all that are."""
    present = sorted(int(path.name) for path in root.glob("*") if path.name.isdigit()) if root.is_dir() else []
    return [index, *(number for number in present if number >= workers and number % workers == index)]


async def open_shards(
    data: Path,
    settings: Settings,
    place: tuple[int, int],
    trace: Callable[[int], TraceSink],
    evidence: Callable[[int], EventSink | None],
) -> list[SqliteStore]:
    """The shards of a worker, recovered, its own first. data: the data directory. Raises StoreFailure."""
    return [
        await SqliteStore.open(
            data / QUEUE_DIRECTORY / str(number),
            trace=trace,
            worker=number,
            settings=store_settings(settings),
            evidence=evidence,
        )
        for number in shards_of(data / QUEUE_DIRECTORY, *place)
    ]


def store_settings(settings: Settings) -> StoreSettings:
    """The settings of the store, as far as a queue needs them."""
    store = settings.store
    return StoreSettings(
        inline_limit=store.inline_limit,
        memory_budget=store.memory_budget,
        free_space_mark=store.free_space,
    )
