"""Open the queue of a worker in PostgreSQL as the settings want it. Called by `Storage.queues`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatepost.store.postgres.queue import PostgresSettings, PostgresStore
from gatepost.store.postgres.spool import SPOOL_DIRECTORY
from gatepost.store.sqlite.queue import store_settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gatepost.settings.model import Settings
    from gatepost.store.interface import EventSink
    from gatepost.store.trace import TraceSink


async def open_queue(
    url: str,
    data: Path,
    settings: Settings,
    worker: int,
    sinks: tuple[Callable[[int], TraceSink], Callable[[int], EventSink | None]],
) -> PostgresStore:
    """data: the data directory, for what passes through. sinks: of the trace and of evidence. Raises StoreFailure."""
    trace_of, evidence = sinks
    trace = trace_of(worker)
    try:
        return await PostgresStore.open(
            url,
            data / SPOOL_DIRECTORY,
            node=settings.server.node_name,
            worker=worker,
            trace=trace,
            settings=PostgresSettings(
                local=store_settings(settings),
                replicated=settings.store.durability == "replicated",
                pinned=bool(settings.store.worker_url),
                expiry=settings.store.takeover_after,
            ),
            evidence=evidence,
        )
    except BaseException:
        trace.close()
        raise
