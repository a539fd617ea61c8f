"""What several nodes over one PostgreSQL survive: no acknowledged message is lost, and mail goes on by itself.

Each named fault hits a site under load. Printed for each: acknowledged, delivered, lost (always 0), doubled, and the
seconds until mail was taken again. `make faults N=200` runs random ones (docs/reliability.md).
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from support.detour import Way
from support.nodes import Nodes, SiteLoad
from support.postgres import Postgres
from support.process import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RECOVERY = 25.0
"""Seconds within which a healthy destination gets new mail again, a take-over of 15 s included."""

RANDOM = int(os.environ.get("GATEPOST_FAULTS", "6"))


@dataclass(frozen=True, slots=True)
class Site:
    """What a fault may touch."""

    nodes: Nodes
    server: Postgres


def kill_worker(site: Site) -> None:
    """One worker of one node dies; its supervisor starts another."""
    node = random.choice(site.nodes.nodes)  # noqa: S311 - any
    os.kill(node.family()[1], signal.SIGKILL)


def kill_node(site: Site) -> None:
    """A node dies as by a power cut, is away for longer than its heartbeat counts, and comes back."""
    node = site.nodes.nodes[-1]
    node.kill()
    time.sleep(5)
    node.start()


def stop_node(site: Site) -> None:
    """A node is stopped in good order, and starts again."""
    node = site.nodes.nodes[-1]
    assert node.stop() == 0
    node.start()


def freeze_node(site: Site) -> None:
    """A node stands still until its rows were taken over, and then goes on as if nothing had been: a zombie."""
    family = site.nodes.nodes[-1].family()
    for pid in family:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(18)
    for pid in family:
        os.kill(pid, signal.SIGCONT)


def restart_database(site: Site) -> None:
    """The database is restarted in good order: every connection ends."""
    site.server.stop()
    time.sleep(2)
    site.server.start()


def crash_database(site: Site) -> None:
    """The database dies at once and recovers from its log."""
    site.server.kill()
    time.sleep(1)
    site.server.start()


def partition_node(site: Site) -> None:
    """Nothing passes between one node and the database, and nobody is told."""
    detour = site.nodes.detours[-1]
    detour.way = Way(swallowed=True)
    time.sleep(18)
    detour.way = Way()
    detour.cut()


def slow_database(site: Site) -> None:
    """Each piece takes 200 ms more to the database and back, for ten seconds."""
    for detour in site.nodes.detours:
        detour.way = Way(delay=0.1)
    time.sleep(10)
    for detour in site.nodes.detours:
        detour.way = Way()


def read_only_database(site: Site) -> None:
    """The database takes no writes for five seconds, as a standby does."""
    site.server.sql("ALTER SYSTEM SET default_transaction_read_only = on")
    site.server.sql("SELECT pg_reload_conf()")
    time.sleep(5)
    site.server.sql("ALTER SYSTEM RESET default_transaction_read_only")
    site.server.sql("SELECT pg_reload_conf()")


SHORT = {"kill_node", "restart_database"}
"""Those of `make test`; the others are for `make test-all`."""

FAULTS: dict[str, Callable[[Site], None]] = {
    fault.__name__: fault
    for fault in (
        kill_worker,
        kill_node,
        stop_node,
        freeze_node,
        restart_database,
        crash_database,
        partition_node,
        slow_database,
        read_only_database,
    )
}


@pytest.fixture
def site() -> Iterator[Site]:
    with Postgres(durable=True) as server, Nodes(server) as nodes:
        yield Site(nodes, server)


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    "fault",
    [pytest.param(fault, id=name, marks=() if name in SHORT else pytest.mark.long) for name, fault in FAULTS.items()],
)
def test_a_fault_loses_nothing_and_mail_goes_on(
    site: Site, fault: Callable[[Site], None], capsys: pytest.CaptureFixture[str]
) -> None:
    with SiteLoad(site.nodes) as load:
        load.wait_for_more(20)
        before = time.monotonic()
        fault(site)
        over = time.monotonic()
        load.wait_for_more(20, timeout=RECOVERY)
    judge(site, load, f"{fault.__name__} ({over - before:.0f} s)", capsys, faults=1, since=over)


@pytest.mark.long
@pytest.mark.timeout(14400)
def test_random_faults_lose_nothing(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    seed = int(os.environ.get("GATEPOST_SEED", "17"))
    chance = random.Random(seed)  # noqa: S311 - the same faults in every run of a seed
    with SiteLoad(site.nodes) as load:
        for number in range(RANDOM):
            fault = chance.choice(list(FAULTS.values()))
            load.wait_for_more(20, timeout=60)
            with capsys.disabled():
                print(f"fault {number + 1} of {RANDOM}: {fault.__name__}", file=sys.stderr)
            fault(site)
        load.wait_for_more(20, timeout=60)
    judge(site, load, f"{RANDOM} random faults, seed {seed}", capsys, faults=RANDOM)


def judge(
    site: Site, load: SiteLoad, what: str, capsys: pytest.CaptureFixture[str], *, faults: int, since: float = 0.0
) -> None:
    """Wait for the queue to run empty, print the figures, and demand that nothing is lost."""
    wait_until(lambda: site.nodes.queued() == [], "the queue of the site to run empty", timeout=90)
    arrived = site.nodes.arrived()
    lost = set(load.acknowledged) - set(arrived)
    doubled = sum(count - 1 for count in arrived.values())
    first = min((at for at in load.acknowledged.values() if at > since), default=since)
    with capsys.disabled():
        print(
            f"\n{what}: {len(load.acknowledged)} acknowledged, {load.unanswered} without an answer, "
            f"{dict(load.refused)} refused, {len(set(arrived))} delivered, {len(lost)} lost, {doubled} doubled"
            + (f", taken again {first - since:.1f} s after it" if since else ""),
            file=sys.stderr,  # pytest-xdist shows nothing else
        )
    assert lost == set()
    assert doubled <= faults * 60, "only what was in flight may come twice"
