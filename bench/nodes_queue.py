"""What a message costs in the queue that nodes share, against the embedded one: accept, then settle as delivered.

    .venv/bin/python bench/nodes_queue.py [--size BYTES] [--senders N] [--seconds S]

Starts a PostgreSQL server of its own from Debian's package, with commits that are synced. Says for each engine the
messages per second, the CPU of this process a message, and that of the server's processes; and what PostgreSQL costs
more. The goal is 130 us of this process's CPU above SQLite.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "system"))

from collections.abc import Callable

from nodes_site import seconds_of
from support.postgres import Postgres
from support.queue_site import PostgresSite, Site, SqliteSite, accept

from gatepost.store.interface import Settlement, Store


class Cost(NamedTuple):
    """A message's: microseconds of CPU here and in the server; messages per second."""

    client: float
    server: float
    rate: float


async def measure(store: Store, size: int, senders: int, seconds: float, server: Callable[[], float]) -> Cost:
    """Senders accept and settle as fast as they can."""
    store.count_senders(lambda: senders)
    body = os.urandom(size)
    count, end = 0, 0.0

    async def send() -> None:
        nonlocal count
        while time.monotonic() < end:
            delivery = await accept(store, body=body)
            store.settle([Settlement(delivery, [])])
            count += 1

    end = time.monotonic() + 1
    await asyncio.gather(*[send() for _ in range(senders)])
    await store.flushed()
    count, begun = 0, time.monotonic()
    end = begun + seconds
    used, served = _used(), server()
    await asyncio.gather(*[send() for _ in range(senders)])
    await store.flushed()
    took = time.monotonic() - begun
    return Cost((_used() - used) / count * 1e6, (server() - served) / count * 1e6, count / took)


def _used() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def run(site: Site, server: Callable[[], float], given: argparse.Namespace) -> Cost:
    """One engine."""
    async with site.open() as store:
        return await measure(store, given.size, given.senders, given.seconds, server)


def main() -> None:
    """Measure both, and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--senders", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=5.0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Postgres(durable=True, options={"shared_buffers": "256MB"}) as server:
        embedded = asyncio.run(run(SqliteSite(Path(folder)), lambda: 0.0, given))
        shared = asyncio.run(run(PostgresSite(Path(folder), server), lambda: seconds_of(server.family()), given))
    print(f"{given.size} bytes, {given.senders} senders")
    for name, cost in (("SQLite", embedded), ("PostgreSQL", shared)):
        print(f"{name:12} {cost.client:6.0f} us here {cost.server:6.0f} us in the server {cost.rate:8.0f} a second")
    print(f"PostgreSQL costs {shared.client - embedded.client:.0f} us more here")


if __name__ == "__main__":
    main()
