"""Measure what a queue full of mail for dead destinations does to a healthy one and to a start, with SQLite.

    .venv/bin/python bench/queue_backlog.py [--deferred N] [--rounds N] [--seconds S] [--only start|sweep]

Two gateways of one worker, one with an empty queue, are loaded in turn. The other has N (a million) copies of one
message that it deferred: four fifths for a destination that refuses connections, the rest for 9,999 domains whose
nameservers do not answer, due within the next hour or two. The start is measured after a stop and after a kill.

With `--only sweep` all of it is for the destination that refuses connections, and due when the gateway starts: what it
costs to put it off, without new mail, and what mail for a healthy destination costs meanwhile.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Final

import apsw

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "system"))

from nodes_backlog import RETRY
from nodes_figures import Run, paired, span
from nodes_site import Site, seconds_of
from nodes_traffic import Flow, Traffic
from support.gateway import Gateway

from gatepost.testing.pki import Pki
from gatepost.testing.process import free_port, wait_until

_HOUR: Final = 3600.0
_TAIL: Final = 9_999
_STEP: Final = 100_000
PACED: Final = Flow(clients=8, seconds=10.0, rate=40.0)
# As in bench/nodes_backlog.py: ids go back in time by 86 ms a message. Lowest id first, as rows are added at the end.
_MADE: Final = """
CREATE TEMP TABLE made AS
WITH RECURSIVE numbers(i) AS (SELECT :first UNION ALL SELECT i - 1 FROM numbers WHERE i > :last)
SELECT i, (i * 86) << 22 AS earlier,
    CASE WHEN :all OR i % 5 < 4 THEN 'dead.example' ELSE 'd' || (i % :tail) || '.example' END AS domain FROM numbers
"""
_MESSAGES: Final = """
INSERT INTO message (id, size, big, facts) SELECT m.id - earlier, m.size, m.big, replace(m.facts, m.id, m.id - earlier)
FROM made, message AS m WHERE m.id = :message
"""
_BODIES: Final = """
INSERT INTO body (id, data) SELECT b.id - earlier, b.data FROM made, body AS b WHERE b.id = :message
"""
_DELIVERIES: Final = """
INSERT INTO delivery (message, id, destination, next_at, attempts, expires_at, last_error, recipients)
SELECT d.message - earlier, d.id - earlier, 'contoso/' || domain,
    :due + CASE WHEN :all THEN 3600.0 * (1 - i / CAST(:count AS REAL)) ELSE abs(random() % 3600) END,
    5, :due + 2 * 86400,
    d.last_error, replace(d.recipients, 'bob@dead.example', 'user' || i || '@' || domain)
FROM made, delivery AS d WHERE d.message = :message
"""


def fill(gateway: Gateway, site: Site, count: int, *, due: bool = False) -> None:
    """Defer so many messages, due an hour from now and later. The gateway is stopped afterwards.

    due: all for one destination, and due within the hour that is over, one after the other.
    """
    site.traffic.send([gateway.port], Flow(clients=1, messages=1, domain="dead.example", waits=True))
    file = gateway.data_dir / "queue" / "0" / "q.db"

    def deferred() -> int | None:
        with apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READONLY) as queue:
            return queue.execute("SELECT message FROM delivery WHERE next_at > 0").get

    message = wait_until(deferred, "a deferral")
    gateway.stop()
    queue = apsw.Connection(str(file))
    queue.execute("PRAGMA synchronous = OFF")
    for first in range(count - 1, 0, -_STEP):
        given = {
            "first": first,
            "last": max(1, first - _STEP + 1),
            "tail": _TAIL,
            "message": message,
            "due": time.time() + (-_HOUR if due else _HOUR),
            "all": due,
            "count": count,
        }
        queue.execute(_MADE, given)
        with queue:
            for statement in (_MESSAGES, _BODIES, _DELIVERIES):
                queue.execute(statement, given)
        queue.execute("DROP TABLE made")
    queue.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    rows = queue.execute("SELECT count(*) FROM delivery").get
    print(f"{rows} deliveries, {file.stat().st_size / 1e6:.0f} MB", flush=True)
    queue.close()


def memory(gateway: Gateway) -> float:
    """PSS of all processes, in MB."""
    total = 0
    for pid in gateway.family():
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
        total += int(text.partition("\nPss:")[2].split()[0])
    return total / 1024


def start(name: str, site: Site, gateway: Gateway) -> None:
    """Start it, and say how long it takes to the first arrival."""
    begun = time.monotonic()
    gateway.start()
    greeted = time.monotonic() - begun
    sent = site.traffic.send([gateway.port], Flow(clients=1, messages=1))
    arrived = sent.ended - begun
    used = seconds_of(gateway.family())
    time.sleep(4)
    later = seconds_of(gateway.family())
    print(
        f"{name}: greets after {greeted:.2f} s, arrival {arrived:.2f} s, CPU {used:.2f} s, 4 s later {later:.2f} s"
        f", PSS {memory(gateway):.0f} MB",
        flush=True,
    )


def compare(name: str, rounds: list[tuple[Run, Run]]) -> None:
    """Print the figures of the empty and of the full gateway, and the ratios."""
    for label, figure in {
        "a second": lambda run: run.rate,
        "p50 ms": lambda run: run.latency_ms(0.5),
        "p99 ms": lambda run: run.latency_ms(0.99),
        "CPU us a message": lambda run: run.node_us,
    }.items():
        left, right = ([figure(run) for run in side] for side in zip(*rounds, strict=True))
        print(
            f"{name}: {label}: {span(left, '.1f')} -> {span(right, '.1f')}, {median(paired(left, right)):.3f} times",
            flush=True,
        )


def threads(gateway: Gateway) -> dict[str, float]:
    """Seconds of CPU of the first threads of all processes, of which a worker's runs the loop, and of all others."""
    used = {"loop": 0.0, "threads": 0.0}
    for pid in gateway.family():
        for task in Path(f"/proc/{pid}/task").iterdir():
            spent = int((task / "schedstat").read_text(encoding="ascii").split()[0]) / 1e9
            used["loop" if task.name == str(pid) else "threads"] += spent
    return used


def put_off(gateway: Gateway) -> int:
    """The attempts that count for what is due later than now."""
    file = gateway.data_dir / "queue" / "0" / "q.db"
    with apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READONLY) as queue:
        return int(queue.execute("SELECT count(*) FROM delivery WHERE next_at > ?", (time.time() + 60,)).get)


def sweep(gateway: Gateway, seconds: float) -> None:
    """Say what it takes to put off what is due, for some seconds without new mail."""
    wait_until(lambda: put_off(gateway) > 100, "the second failure")
    counted, before, begun = put_off(gateway), threads(gateway), time.monotonic()
    time.sleep(seconds)
    after, count, took = threads(gateway), put_off(gateway) - counted, time.monotonic() - begun
    each = ", ".join(f"{name} {(spent - before[name]) / count * 1e6:.0f}" for name, spent in after.items())
    print(f"{count / took:.0f} put off a second; us of CPU each: {each}", flush=True)


def main() -> None:
    """All of it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--deferred", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--only", default="")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        pki = Pki(Path(folder))
        with Traffic(pki.leaf("partner.example")) as traffic, Site(traffic, pki) as empty, Site(traffic, pki) as full:
            refuses = f"127.0.0.1:{free_port()}"
            settings = {"queue": RETRY, "admin": {"address": ""}, "server": {"workers": 1}}
            nodes = [site.add(dead=refuses, **settings) for site in (empty, full)]
            nodes[0].stop()
            fill(nodes[1], full, given.deferred, due=given.only == "sweep")
            if given.only == "sweep":
                for node in nodes:
                    node.start()
                sweep(nodes[1], given.seconds)
                compare("40 a second", [(empty.run(PACED), full.run(PACED)) for _ in range(given.rounds)])
                print(f"{put_off(nodes[1])} of {given.deferred} are put off")
                return
            for name, site, node in (("empty", empty, nodes[0]), ("full", full, nodes[1])):
                start(f"{name}, after a stop", site, node)
                node.kill()
                start(f"{name}, after a kill", site, node)
            if given.only == "start":
                return
            flow = Flow(clients=20, seconds=given.seconds)
            compare("as many as go", [(empty.run(flow), full.run(flow)) for _ in range(given.rounds + 1)][1:])
            compare("40 a second", [(empty.run(PACED), full.run(PACED)) for _ in range(given.rounds)])
            print(f"PSS {memory(nodes[0]):.0f} -> {memory(nodes[1]):.0f} MB")


if __name__ == "__main__":
    main()
