"""A queue with a million deferred messages beside an empty one: what a healthy destination feels of it, and how long
administrators, a start and a take-over wait. Part of bench/nodes.py.

The rows are copies of one that a gateway deferred, so that they have its shape: 4 KB bodies, four fifths of them for
one destination that refuses connections, the rest for 9,999 domains whose nameservers do not answer.
"""

from __future__ import annotations

import os
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from nodes_figures import Run, paired, span
from nodes_site import Site
from nodes_traffic import Flow, Traffic
from support.gateway import Gateway
from support.postgres import Postgres

from gatepost.store.interface import QueueFilter
from gatepost.store.storage import Storage
from gatepost.testing.pki import Pki
from gatepost.testing.process import free_port, wait_until

_STEP: Final = 50_000
_HOUR: Final = 3600.0
_TAIL: Final = 9_999
_OWNED: Final = 20_000
_FILLING: Final = 300.0  # seconds that a million rows may take
RETRY: Final = {"retry": ["15m", "15m", "4h"]}  # nothing of what is made here is due later than that
PACED: Final = Flow(clients=8, seconds=12.0, rate=40.0)
# Of the row that stands there: id and delivery go back in time by 86 ms a message (a million in a day), in units of
# the queue id's millisecond; what names the message or its recipient in JSON is changed along.
_COPY: Final = """
CREATE TEMP TABLE made AS
SELECT i, (i::bigint * 86) << 22 AS earlier,
    CASE WHEN i % 5 < 4 THEN 'dead.example' ELSE 'd' || i % {tail} || '.example' END AS domain
FROM generate_series({first}, {last}) AS i;
INSERT INTO queue_message (id, size, big, alone, organization, sender, facts, body)
SELECT m.id - earlier, m.size, m.big, m.alone, m.organization, replace(m.sender, 'alice', 'user' || i % 5000),
    replace(replace(m.facts, m.id::text, (m.id - earlier)::text), 'alice', 'user' || i % 5000), m.body
FROM made, queue_message AS m WHERE m.id = {message};
INSERT INTO queue_delivery (message, id, destination, next_at, attempts, expires_at, last_error, recipients)
SELECT d.message - earlier, d.id - earlier, 'contoso/' || domain, {now} + {ahead} + random() * {hour}, 5,
    {now} + 2 * 86400, d.last_error, replace(d.recipients, 'bob@dead.example', 'user' || i || '@' || domain)
FROM made, queue_delivery AS d WHERE d.message = {message};
"""
_DUE_NOW: Final = "UPDATE queue_delivery SET next_at = next_at - {hour} WHERE owner IS NULL AND id % 20 = {part}"
_OWN: Final = """
UPDATE queue_delivery SET owner = (SELECT epoch FROM queue_owner WHERE node = '{node}' AND ended IS NULL), next_at = 0
WHERE (message, id) IN (SELECT message, id FROM queue_delivery WHERE destination = 'contoso/dead.example' LIMIT {count})
"""


def fill(site: Site, count: int, *, ahead: float = _HOUR, within: float = _HOUR) -> None:
    """Defer so many messages, due `ahead` seconds from now and `within` so many seconds."""
    site.traffic.send([site.gateways[0].port], Flow(clients=1, messages=1, domain="dead.example", waits=True))
    message = wait_until(
        lambda: site.sql("SELECT message FROM queue_delivery WHERE owner IS NULL LIMIT 1"), "a deferral"
    )
    for first in range(1, count, _STEP):
        last = min(count - 1, first + _STEP - 1)
        given = {"first": first, "last": last, "tail": _TAIL, "message": message, "now": time.time(), "hour": within}
        site.sql(_COPY.format(**given, ahead=ahead))
    site.sql("VACUUM (ANALYZE) queue_message")
    site.sql("VACUUM (ANALYZE) queue_delivery")


def backlog(given: Namespace, traffic: Traffic, pki: Pki, server: Postgres) -> None:
    """All of it."""
    refuses = f"127.0.0.1:{free_port()}"
    with Site(traffic, pki, server) as empty, Site(traffic, pki, server) as full:
        empty.add(dead=refuses, queue=RETRY)
        node = full.add(dead=refuses, queue=RETRY)
        with _timed("filled"):
            fill(full, given.deferred)
        node.stop()
        _start(full, node)
        _ask(full, node)
        flow = Flow(clients=given.clients, seconds=given.seconds)
        _compare("nothing of it is due", [(empty.run(flow), full.run(flow)) for _ in range(given.rounds + 1)][1:])
        _compare("the same, 40 a second", [(empty.run(PACED), full.run(PACED)) for _ in range(given.rounds)])
        for part in range(20):
            full.sql(_DUE_NOW.format(hour=_HOUR + 60, part=part))
        time.sleep(20)
        _compare(
            "all is tried within an hour", [(empty.run(flow), full.run(flow)) for _ in range(given.rounds + 1)][1:]
        )
        _compare("the same, 40 a second", [(empty.run(PACED), full.run(PACED)) for _ in range(given.rounds)])
        before = int(full.sql(_UPDATES))
        used = full.idle(20)
        tried = (int(full.sql(_UPDATES)) - before) / 40  # leased, and deferred again
        print(
            f"without new mail: {tried:.0f} deferred again a second: nodes {used.nodes * 100:.1f} %, server"
            f" {used.server * 100:.1f} % of a core, {used.wal / 1e3:.0f} KB of WAL a second"
        )
        print(f"vacuum: {full.sql(_VACUUM)}; sizes: {full.sql(_SIZES)}", flush=True)
        _take_over(full, refuses)


def retries(given: Namespace, traffic: Traffic, pki: Pki, server: Postgres) -> None:
    """Only what is tried again: `deferred` messages within `within` seconds, whose rate is what matters."""
    refuses = f"127.0.0.1:{free_port()}"
    with Site(traffic, pki, server) as empty, Site(traffic, pki, server) as full:
        empty.add(dead=refuses, queue=RETRY)
        node = full.add(dead=refuses, queue=RETRY)
        with _timed("filled"):
            fill(full, given.deferred, ahead=_FILLING * given.deferred / 1e6, within=given.within)
        node.stop()
        node.start()
        time.sleep(10)
        before, begun = int(full.sql(_UPDATES)), time.monotonic()
        _compare("40 a second", [(empty.run(PACED), full.run(PACED)) for _ in range(given.rounds)])
        flow = Flow(clients=given.clients, seconds=given.seconds)
        _compare("as many as go", [(empty.run(flow), full.run(flow)) for _ in range(given.rounds + 1)][1:])
        tried = (int(full.sql(_UPDATES)) - before) / 2 / (time.monotonic() - begun)
        print(f"{tried:.0f} deferred again a second")


def _compare(name: str, rounds: list[tuple[Run, Run]]) -> None:
    left, right = zip(*rounds, strict=True)

    print(f"load average {os.getloadavg()[0]:.1f}", end="; ")

    def ratio(figure: str, *arguments: float) -> str:
        values = [
            [getattr(run, figure)(*arguments) if arguments else getattr(run, figure) for run in runs]
            for runs in (left, right)
        ]
        return f"{span(values[0])} -> {span(values[1])} ({span(paired(*values), '.2f')} times)"

    print(f"{name}, empty -> full: {ratio('rate')} a second; p50 {ratio('latency_ms', 0.5)} ms;")
    print(
        f"    p99 {ratio('latency_ms', 0.99)} ms; node {ratio('node_us')} us; server {ratio('server_us')} us",
        flush=True,
    )


def _start(site: Site, node: Gateway) -> None:
    with _timed("start of a node until it greets"):
        node.start()
    with _timed("and until mail goes through"):
        site.traffic.send([node.port], Flow(clients=1, messages=1))
    time.sleep(5)
    print(f"memory of the node: {node.resident() / 1e6:.0f} MB; sizes: {site.sql(_SIZES)}", flush=True)


_SIZES: Final = (
    "SELECT string_agg(relname || ' ' || pg_size_pretty(pg_total_relation_size(oid)), ', ') FROM pg_class"
    " WHERE relname IN ('queue_message', 'queue_delivery')"
)
_UPDATES: Final = "SELECT n_tup_upd FROM pg_stat_user_tables WHERE relname = 'queue_delivery'"
_VACUUM: Final = (
    "SELECT autovacuum_count || ' times, ' || n_dead_tup || ' dead rows' FROM pg_stat_user_tables"
    " WHERE relname = 'queue_delivery'"
)
_FILTERS: Final = {
    "the first page": {"limit": 50},
    "of a small destination": {"domain": "d77.example", "limit": 50},
    "of the dead one": {"domain": "dead.example", "limit": 50},
    "of a sender": {"sender": "user77@contoso.example", "limit": 50},
    "of a recipient": {"recipient": "user77000@dead.example", "limit": 50},
    "of an unknown recipient": {"recipient": "nobody@nowhere.example", "limit": 50},
    "of a tenant": {"organizations": frozenset({"contoso"}), "limit": 50},
    "of a tenant without any": {"organizations": frozenset({"fabrikam"}), "limit": 50},
    "deferred": {"state": "deferred", "limit": 50},
    "held": {"state": "held", "limit": 50},
    "active": {"state": "active", "limit": 50},
}


def _ask(site: Site, node: Gateway) -> None:
    """What administrators ask."""
    admin = Storage(site.url, Path("/nowhere")).queue_admin()
    with _timed("figures of the queue", best=3) as again:
        again(admin.depth)
    with _timed("queue by destination", best=3) as again:
        again(lambda: admin.destinations(QueueFilter(limit=0)))
    for name, wanted in _FILTERS.items():
        with _timed(f"queue list: {name}", best=3) as again:
            again(lambda wanted=wanted: admin.entries(QueueFilter(**wanted)))
    with _timed("count for an action on all", best=3) as again:
        again(lambda: admin.applying_to("retry", QueueFilter(limit=0)))
    for words in (("queue", "list"), ("queue", "list", "--domain", "d77.example"), ("status",)):
        with _timed("gatepost " + " ".join(words)):
            node.cli(*words, expect=None)


@contextmanager
def _timed(name: str, *, best: int = 0) -> Iterator[Callable[[Callable[[], object]], None]]:
    spans: list[float] = []

    def again(work: Callable[[], object]) -> None:
        for _ in range(best):
            begun = time.perf_counter()
            work()
            spans.append(time.perf_counter() - begun)

    begun = time.perf_counter()
    yield again
    took = min(spans) if spans else time.perf_counter() - begun
    print(f"{took * 1000:9.0f} ms  {name}", flush=True)


def _take_over(site: Site, refuses: str) -> None:
    """A second node dies with all that it may have in memory."""
    node = site.add(dead=refuses, queue=RETRY)
    site.sql(_OWN.format(node="node2", count=_OWNED))
    owned = "SELECT count(*) FROM queue_delivery WHERE owner = (SELECT epoch FROM queue_owner WHERE node = 'node2')"
    before = int(site.sql(owned))
    node.kill()
    died = time.monotonic()
    wait_until(lambda: int(site.sql(owned)) < before, "the take-over", timeout=60)
    began = time.monotonic()
    wait_until(lambda: site.sql(owned) == "0", "the end of the take-over", timeout=120)
    print(
        f"{before} deliveries of a dead node: taken over from {began - died:.1f} s to {time.monotonic() - died:.1f} s"
    )
