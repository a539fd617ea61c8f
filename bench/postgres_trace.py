"""What the message trace costs in PostgreSQL: CPU time a row of us and of the server, size, and time of searches.

    .venv/bin/python bench/postgres_trace.py postgresql://USER@127.0.0.1/EMPTY_DATABASE [--rows N]

The server must run on this machine. Rows are written as a worker writes them, all into the table of today; searches are
the first page (100 rows), the best of three.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg

from gatepost.mail.model.trace_event import TraceEvent
from gatepost.store.interface import TraceFilter
from gatepost.store.storage import Storage
from gatepost.store.trace import Trace
from gatepost.times import day_text

_STEP = 500
_SEARCHES: tuple[dict[str, Any], ...] = (
    {},
    {"message": "000000000000004d"},
    {"sender": "user7@org7.example"},
    {"recipient": "@partner77.example"},
    {"domain": "partner9.example"},
    {"address": "nobody@nowhere.example"},
    {"organization": "org7"},
    {"organizations": frozenset({"org3"})},
    {"connector": "connector9"},
    {"peer": "192.0.7.9"},
    {"event": "HOLD"},
    {"tls_version": "TLSv1.1"},
    {"protection": "dane"},
    {"protection": "cleartext"},
)
_SIZES = (
    "SELECT sum(pg_relation_size(inhrelid))::bigint, sum(pg_total_relation_size(inhrelid))::bigint FROM pg_inherits"
)


def rows(count: int, begin: float) -> Iterator[TraceEvent]:
    """Of a day, two a message."""
    some = random.Random(7)  # noqa: S311 - no secret
    tls = {
        "suite": "TLS_AES_256_GCM_SHA384",
        "chain": "valid",
        "certificate": {"names": ["mx.example"], "sha256": "a" * 64},
    }
    for number in range(count):
        organization = some.randrange(50)
        yield TraceEvent(
            at=begin + number * 0.02,
            event=("RECEIVE", "SEND")[number % 2],
            message=f"{number // 2:016x}",
            organization=f"org{organization}",
            direction="originating",
            session=f"{number // 2:012x}",
            sender=f"user{some.randrange(5000)}@org{organization}.example",
            recipient=f"person{some.randrange(20_000)}@partner{some.randrange(3000)}.example",
            message_id=f"<{some.randrange(1 << 60):x}@mail.example>",
            subject="A subject of usual length",
            size=4711,
            peer_host=f"mx{some.randrange(3000)}.example",
            peer_address=f"192.0.{some.randrange(255)}.{some.randrange(255)}:25",
            connector=f"connector{some.randrange(60)}",
            requirement="authenticated (dane)",
            achieved="dnssec/authenticated",
            tls_version="TLSv1.3",
            tls_group="X25519MLKEM768",
            tls=tls,
            reply="250 2.0.0 Ok: queued as 4XYZ",
            detail={"requirement_sources": ["dane:mx.example"], "attempt": 1, "reason": "the connector demands it"},
        )


async def _asked(url: str, sql: str) -> list[Any]:
    connection = await asyncpg.connect(url)
    try:
        return list(await connection.fetch(sql))
    finally:
        await connection.close()


def server_seconds(url: str) -> float:
    """CPU time of the server's processes that live."""
    found = asyncio.run(_asked(url, "SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()"))
    ticks = 0
    for (pid,) in found:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def own_seconds() -> float:
    """Our CPU time."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def write(trace: Trace, url: str, count: int) -> None:
    """Write rows as a worker does, and print what it took."""
    sink = trace.sink(0)
    today = time.time() // 86_400 * 86_400
    given = list(rows(count, today))
    time.sleep(2.0)  # it has connected
    server, own = server_seconds(url), own_seconds()
    for first in range(0, count, _STEP):
        sink.add(given[first : first + _STEP])
        while first + _STEP - sum(map(int, trace.parts("", "9999").values())) > 10 * _STEP:  # type: ignore[call-overload]
            time.sleep(0.05)
    while sum(map(int, trace.parts("", "9999").values())) < count:  # type: ignore[call-overload]
        time.sleep(0.05)
    ours, theirs = (own_seconds() - own) / count, (server_seconds(url) - server) / count
    heap, whole = asyncio.run(_asked(url, _SIZES))[0]
    print(f"written: {ours * 1e6:.1f} us a row here, {theirs * 1e6:.1f} us in the server")
    print(f"size: {heap // count} B a row, with indexes {whole // count} B")
    sink.close()


def timed(name: str, work: Any) -> None:
    """Print the best wall time of three."""
    spans = []
    for _ in range(3):
        begin = time.perf_counter()
        found = work()
        spans.append(time.perf_counter() - begin)
    print(f"{min(spans) * 1000:9.1f} ms  {name}: {found}")


def main() -> None:
    """All of it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--rows", type=int, default=100_000)
    arguments = parser.parse_args()
    trace = Storage(arguments.url, Path("/nowhere"), node="bench.example").trace()
    write(trace, arguments.url, arguments.rows)
    asyncio.run(_asked(arguments.url, "ANALYZE"))
    for wanted in _SEARCHES:
        timed(f"search {wanted or 'the newest'}", lambda wanted=wanted: len(trace.search(TraceFilter(**wanted))))
    today = day_text(time.time())
    (part,) = trace.parts(today, today)
    timed("count by kind, all rows", lambda: len(trace.tally(part)[1]))
    begin = int(time.time() // 86_400 * 86_400)
    timed("count by the hour, all rows", lambda: len(trace.hours().counted(begin, begin + 86_400, None)))
    timed("scan of all rows, two columns", lambda: sum(1 for _ in trace.scan(TraceFilter(), ("event", "sender"))))
    words = ({"message_id": "<x>"}, {"message": "77"}, {"address": "a@nowhere.example"}, {"domain": "nowhere.example"})
    questions = [TraceFilter(**one) for one in words]
    timed("four meanings of a word that nothing has", lambda: trace.first_answered(questions))


if __name__ == "__main__":
    main()
