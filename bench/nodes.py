"""What several nodes on PostgreSQL cost: CPU a message against SQLite, growth from one to four nodes, a full queue.

    .venv/bin/python bench/nodes.py cost|growth|backlog|retries|capacity [--rounds N] [--seconds S] [--deferred N]
        [--within S]

Gateways as users run them, mail over STARTTLS on both sides, a PostgreSQL server of its own from Debian's package with
synced commits. Rounds are interleaved, and medians with their ranges printed: compare CPU and the ratios of one round,
since the clock shows whatever else the machine does. docs/scaling.md has the latest figures and what follows from them.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "system"))

from collections.abc import Iterator, Sequence

from nodes_backlog import backlog, retries
from nodes_figures import MEASURED, Run, fit, paired, span, table
from nodes_site import SERVER, Site
from nodes_traffic import Flow, Traffic
from support.postgres import Postgres

from gatepost.testing.pki import Pki

SIZES: Final = (4096, 65536)
GOAL: Final = 130
"""Microseconds of a gateway's CPU that a message may cost above SQLite."""


class World(NamedTuple):
    """What stands around the sites."""

    traffic: Traffic
    pki: Pki
    server: Postgres


@contextmanager
def world() -> Iterator[World]:
    """The partner and the database server."""
    with ExitStack() as stack:
        pki = Pki(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        traffic = stack.enter_context(Traffic(pki.leaf("partner.example")))
        yield World(traffic, pki, stack.enter_context(Postgres(durable=True, options=SERVER)))


def cost(given: argparse.Namespace) -> None:
    """A message with SQLite and with PostgreSQL, in alternating rounds."""
    with world() as (traffic, pki, server), Site(traffic, pki) as alone, Site(traffic, pki, server) as shared:
        alone.add()
        shared.add()
        for size in SIZES:
            flow = Flow(size=size, clients=given.clients, seconds=given.seconds)
            alone.run(flow), shared.run(flow)  # warm
            kept = shared.kept()
            rounds = [(alone.run(flow), shared.run(flow)) for _ in range(given.rounds)]
            print(f"\n{size} bytes, {given.clients} clients, {given.rounds} rounds of {given.seconds:g} s")
            _print_runs("SQLite", [left for left, _ in rounds])
            _print_runs("PostgreSQL", [right for _, right in rounds])
            bytes_kept = (shared.kept() - kept) / sum(right.messages for _, right in rounds)
            print(f"{bytes_kept / 1e3:.1f} KB a message in the trace and the evidence")
            more = [right.node_us - left.node_us for left, right in rounds]
            ratios = paired([left.node_us for left, _ in rounds], [right.node_us for _, right in rounds])
            print(f"PostgreSQL costs {span(more)} us more at the node ({span(ratios, '.2f')} times; goal {GOAL})")


def growth(given: argparse.Namespace) -> None:
    """Mail to one node of a site, to two, and so on; each has as many clients, so that its commits hold as many."""
    with world() as (traffic, pki, server), Site(traffic, pki, server) as site:
        for _ in range(given.nodes):
            site.add()
        counts = range(1, given.nodes + 1)
        flow = Flow(clients=given.clients, seconds=given.seconds)
        site.run(flow)
        rounds = [[site.run(flow, count) for count in counts] for _ in range(given.rounds)]
        print(
            f"\n{flow.size} bytes, {given.clients} clients for each node, {given.rounds} rounds of {given.seconds:g} s"
        )
        by_count = dict(zip(counts, zip(*rounds, strict=True), strict=True))
        for count, runs in by_count.items():
            _print_runs(f"{count} nodes", runs)
        for name in ("node_us", "server_us"):
            medians = {count: median(getattr(run, name) for run in runs) for count, runs in by_count.items()}
            print(f"each further node: {fit(medians):+.0f} us a message ({name})")
        idle = site.idle(2 * given.seconds)
        print(
            f"{given.nodes} nodes without mail, a second: nodes {idle.nodes * 1e3:.1f} ms, server"
            f" {idle.server * 1e3:.1f} ms of CPU, {idle.commits:.1f} commits, {idle.wal / 1e3:.1f} KB of WAL;"
            f" {site.connections()} connections"
        )


def deferred(given: argparse.Namespace) -> None:
    """A million deferred messages."""
    with world() as around:
        backlog(given, *around)


def retried(given: argparse.Namespace) -> None:
    """Deferred messages that are all tried again soon."""
    with world() as around:
        retries(given, *around)


def _print_runs(name: str, runs: Sequence[Run]) -> None:
    def said(values: Iterator[float], form: str = ".0f") -> str:
        return span(list(values), form)

    print(
        f"{name:11} node {said(run.node_us for run in runs)} us, server {said(run.server_us for run in runs)} us,"
        f" {said((run.used.commits / run.messages for run in runs), '.3f')} commits,"
        f" {said((run.used.syncs / run.messages for run in runs), '.3f')} syncs,"
        f" {said((run.used.wal / run.messages / 1e3 for run in runs), '.1f')} KB of WAL a message;"
        f" {said(run.rate for run in runs)} a second, p99 {said(run.latency_ms(0.99) for run in runs)} ms",
        flush=True,
    )


def capacities(_: argparse.Namespace) -> None:
    """The table of docs/scaling.md."""
    print(table(MEASURED))


PARTS: Final = {"cost": cost, "growth": growth, "backlog": deferred, "retries": retried, "capacity": capacities}


def main() -> None:
    """Measure a part, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=list(PARTS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--deferred", type=int, default=1_000_000)
    parser.add_argument("--within", type=float, default=3600.0)
    given = parser.parse_args()
    print(f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}")
    PARTS[given.part](given)


if __name__ == "__main__":
    main()
