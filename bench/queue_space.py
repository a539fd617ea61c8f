"""What the queue's files cost: an accept with and without pages to give back, and while a large file shrinks.

    .venv/bin/python bench/queue_space.py [FOLDER]

FOLDER: on the disk to be measured, an empty one. Accepts of 4 KB by 20 senders, each settled at once; then the same at
200 a second while 300 MB of free pages go back to the file system. Says CPU and wall time of an accept.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path

from gatepost.mail.model.message import Delivery, Message, Recipient
from gatepost.store.interface import Settlement
from gatepost.store.sqlite import writer
from gatepost.store.sqlite.message_trace import SqliteTrace
from gatepost.store.sqlite.queue import SqliteStore
from gatepost.store.sqlite.schema import StoreSettings, open_for_reading

SENDERS = 20
SECONDS = 4.0


async def accept(store: SqliteStore, size: int) -> Delivery:
    """One message, durable."""
    message = Message(store.new_id(), "contoso", time.time(), "bob@contoso.example")
    delivery = Delivery(store.new_id(), message, "contoso/partner.example", [Recipient("ann@partner.example")])
    body = store.body()
    if (behind := body.write(b"x" * size)) is not None:
        await behind
    done: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    store.accept(message, [delivery], body, done.set_result)
    if (failure := await done) is not None:
        raise SystemExit(f"not accepted: {failure}")
    return delivery


async def steady(store: SqliteStore, pause: float, until: float) -> list[float]:
    """Accept and settle one after the other; the seconds that each accept took."""
    taken = []
    while time.monotonic() < until:
        begun = time.monotonic()
        delivery = await accept(store, 4000)
        taken.append(time.monotonic() - begun)
        store.settle([Settlement(delivery, [])])
        await asyncio.sleep(pause)
    return taken


def said(what: str, taken: list[float], cpu: float) -> None:
    """One line of the table."""
    taken.sort()
    p99, most = taken[len(taken) * 99 // 100] * 1000, taken[-1] * 1000
    print(
        f"{what:34} {len(taken):7} accepts, {cpu / len(taken) * 1e6:4.0f} us CPU, p99 {p99:5.1f} ms, max {most:5.1f} ms"
    )


async def measured(store: SqliteStore, what: str, pause: float, seconds: float) -> None:
    """Several senders for a while."""
    cpu, until = time.process_time(), time.monotonic() + seconds
    found = await asyncio.gather(*(steady(store, pause, until) for _ in range(SENDERS)))
    said(what, [one for taken in found for one in taken], time.process_time() - cpu)


def _pages(folder: Path) -> int:
    """Pages of 16 KiB that the database has."""
    connection = open_for_reading(folder / "0/q.db")
    pages = int(connection.pragma("page_count"))
    connection.close()
    return pages


async def main(folder: Path) -> None:
    """All of it."""
    store = await SqliteStore.open(
        folder / "0", trace=SqliteTrace(folder / "trace").sink, worker=0, settings=StoreSettings()
    )
    store.count_senders(lambda: SENDERS)
    await measured(store, "full speed", 0.0, SECONDS)
    await measured(store, "200 a second", SENDERS / 200, SECONDS)
    deliveries = [one for _ in range(75) for one in await asyncio.gather(*(accept(store, 200_000) for _ in range(20)))]
    for delivery in deliveries:
        store.settle([Settlement(delivery, [])])
    await store.flushed()
    writer._QUIET = 0.0  # noqa: SLF001 - shrink at once, beside the mail
    pages = _pages(folder)
    await measured(store, "200 a second while it shrinks", SENDERS / 200, 12.0)
    print(f"the database went from {pages >> 6} MiB to {_pages(folder) >> 6} MiB meanwhile")
    await store.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as made:
        asyncio.run(main(Path(made)))
