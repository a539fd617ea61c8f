"""Choose and open the queue shards of a worker. Called by `node.assembly`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from gatepost.store.sqlite.queue import SqliteStore
from gatepost.store.sqlite.schema import StoreSettings
from gatepost.store.storage import Storage

if TYPE_CHECKING:
    from pathlib import Path

    from gatepost.node.evidence import EvidenceLog
    from gatepost.settings.model import Settings


def shards_of(root: Path, index: int, workers: int) -> list[int]:
    """The worker's own shard, and those of workers that are no more: dealt out among all that are."""
    present = sorted(int(path.name) for path in root.glob("*") if path.name.isdigit()) if root.is_dir() else []
    return [index, *(number for number in present if number >= workers and number % workers == index)]


async def open_shard(settings: Settings, data: Path, number: int, evidence: EvidenceLog) -> SqliteStore:
    """A shard, recovered. data: the data directory. Raises StoreFailure."""
    store = settings.store
    return await SqliteStore.open(
        data / "queue" / str(number),
        trace=partial(Storage.of(settings).trace().sink, days=settings.trace.days),
        worker=number,
        settings=StoreSettings(
            inline_limit=store.inline_limit,
            memory_budget=store.memory_budget,
            free_space_mark=store.free_space,
        ),
        evidence=evidence.writer,
    )
