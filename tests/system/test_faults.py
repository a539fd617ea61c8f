"""What several nodes over one PostgreSQL survive: no acknowledged message is lost, and mail goes on by itself.

The site has three nodes, a primary and a synchronous standby, and `durability = "replicated"`. Each named fault hits it
under load. Printed for each: acknowledged, delivered, lost (always 0), doubled, and the seconds until mail was taken
again. `make faults N=200` runs random ones (docs/reliability.md). With GATEPOST_SILENCE=300 a node or the database
stands still, or is cut off, for as many seconds.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import pytest
from support.detour import Way
from support.disk import Filler
from support.nodes import Nodes, SiteLoad
from support.pace import Pace
from support.pair import Pair
from support.stranger import Stranger

from gatepost.testing.process import wait_until

RECOVERY = 25.0
"""Seconds within which a healthy destination gets new mail again, a take-over of 15 s included."""

PAUSE = 0.05  # seconds between two messages of a client: what it may send in half a minute is not what a fault hits
RANDOM = int(os.environ.get("GATEPOST_FAULTS", "6"))
SILENCE = float(os.environ.get("GATEPOST_SILENCE", "0"))  # 0: just longer than until others take over


@dataclass(frozen=True, slots=True)
class Site:
    """What a fault may touch. takeover: seconds after which others take over what a silent node has."""

    nodes: Nodes
    pair: Pair
    takeover: float


def kill_worker(site: Site) -> None:
    """One worker of one node dies; its supervisor starts another."""
    node = random.choice(site.nodes.nodes)  # noqa: S311 - any
    os.kill(node.family()[1], signal.SIGKILL)


def kill_node(site: Site) -> None:
    """A node dies as by a power cut, is away for longer than its heartbeat counts, and comes back."""
    node = site.nodes.nodes[-1]
    node.kill()
    time.sleep(site.takeover / 3)
    node.start()


def stop_node(site: Site) -> None:
    """A node is stopped in good order, and starts again."""
    node = site.nodes.nodes[-1]
    assert node.stop() == 0
    node.start()


def freeze_node(site: Site) -> None:
    """A node stands still until its rows were taken over, and then goes on as if nothing had been: a zombie."""
    freeze(site.nodes.nodes[-1].family(), SILENCE or site.takeover + 3)


def freeze_database(site: Site) -> None:
    """The database stands still: it takes connections, and answers nothing."""
    freeze(site.pair.primary.family(), SILENCE or site.takeover + 3)


def freeze(family: list[int], seconds: float) -> None:
    for pid in family:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(seconds)
    for pid in family:
        os.kill(pid, signal.SIGCONT)


def restart_database(site: Site) -> None:
    """The database is restarted in good order: every connection ends."""
    site.pair.primary.stop()
    time.sleep(2)
    site.pair.primary.start()


def crash_database(site: Site) -> None:
    """The database dies at once and recovers from its log."""
    site.pair.primary.kill()
    time.sleep(1)
    site.pair.primary.start()


def promote_standby(site: Site) -> None:
    """The primary dies for good; the standby becomes the primary, and gets a standby of its own."""
    site.pair.fail_over()
    site.pair.add_standby()


def kill_standby(site: Site) -> None:
    """The standby dies, so that nothing can be acknowledged, and comes back."""
    standby = site.pair.standby
    assert standby is not None
    standby.kill()
    time.sleep(site.takeover * 0.8)
    standby.start()


def partition_node(site: Site) -> None:
    """Nothing passes between one node and the database, and nobody is told."""
    detours = site.nodes.detours[-1]
    detours.lead(Way(swallowed=True))
    time.sleep(SILENCE or site.takeover + 3)
    detours.lead(Way())
    detours.cut()


def slow_database(site: Site) -> None:
    """Each piece takes 200 ms more to the database and back."""
    for detours in site.nodes.detours:
        detours.lead(Way(delay=0.1))
    time.sleep(site.takeover / 1.5)
    for detours in site.nodes.detours:
        detours.lead(Way())


def read_only_database(site: Site) -> None:
    """The database takes no writes for five seconds, as a standby does."""
    site.pair.sql("ALTER SYSTEM SET default_transaction_read_only = on")
    site.pair.sql("SELECT pg_reload_conf()")
    time.sleep(5)
    site.pair.sql("ALTER SYSTEM RESET default_transaction_read_only")
    site.pair.sql("SELECT pg_reload_conf()")


def fill_disk(site: Site) -> None:
    """The disk of the database is full for five seconds, and whatever it frees is taken, too."""
    primary = site.pair.primary
    assert primary.disk is not None
    filler = Filler(primary.disk / "filler")
    filler.start()
    try:
        time.sleep(5)
    finally:
        filler.remove()
    if not primary.is_running:  # it ends itself if it cannot write its log, and is started by who runs it
        primary.stop()
        primary.start()


def exhaust_connections(site: Site) -> None:
    """A stranger has all connections of the database for five seconds; those of the nodes are cut."""
    with Stranger(site.pair.host, site.pair.primary.port):
        time.sleep(5)


SHORT = {"kill_node", "promote_standby"}
"""Those of `make test`; the others are for `make test-all`."""

FAULTS: dict[str, Callable[[Site], None]] = {
    fault.__name__: fault
    for fault in (
        kill_worker,
        kill_node,
        stop_node,
        freeze_node,
        freeze_database,
        restart_database,
        crash_database,
        promote_standby,
        kill_standby,
        partition_node,
        slow_database,
        read_only_database,
        fill_disk,
        exhaust_connections,
    )
}


@pytest.fixture
def site() -> Iterator[Site]:
    with site_of_three(takeover=15) as made:
        yield made


@pytest.fixture
def quick_site() -> Iterator[Site]:
    """Silent nodes are taken over as soon as may be set, so that more faults pass in an hour."""
    with site_of_three(takeover=5) as made:
        yield made


@contextmanager
def site_of_three(*, takeover: int) -> Iterator[Site]:
    store = {"durability": "replicated", "takeover_after": f"{takeover}s"}
    with Pair() as pair, Nodes(pair, settings={"store": store}) as nodes:
        yield Site(nodes, pair, takeover)


@pytest.mark.timeout(400 + 2 * SILENCE)
@pytest.mark.parametrize(
    "fault",
    [pytest.param(fault, id=name, marks=() if name in SHORT else pytest.mark.long) for name, fault in FAULTS.items()],
)
def test_a_fault_loses_nothing_and_mail_goes_on(
    site: Site, fault: Callable[[Site], None], capsys: pytest.CaptureFixture[str]
) -> None:
    with SiteLoad(site.nodes, pause=PAUSE) as load:
        load.wait_for_more(20)
        before = time.monotonic()
        fault(site)
        over = time.monotonic()
        with Pace() as pace:
            load.wait_for_more(20, timeout=120)
    assert pace.took_less_than(RECOVERY), pace
    first = min(at for at in load.acknowledged.values() if at > over) - over
    slow = [
        f"{percentile(load.took, *span):.0f} ms" for span in ((0, before), (before, over), (over, time.monotonic()))
    ]
    text = f"{fault.__name__} ({over - before:.0f} s), taken again {first:.1f} s after it; p99 {', '.join(slow)}"
    judge(site, load, text, capsys, faults=1)


@pytest.mark.long
@pytest.mark.timeout(14400)
def test_random_faults_lose_nothing(quick_site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site, begun = quick_site, time.monotonic()
    seed = int(os.environ.get("GATEPOST_SEED", "17"))
    chance = random.Random(seed)  # noqa: S311 - the same faults in every run of a seed
    worst = 0.0
    with SiteLoad(site.nodes, pause=PAUSE) as load:
        for number in range(RANDOM):
            fault = chance.choice(list(FAULTS.values()))
            load.wait_for_more(20, timeout=60)
            fault(site)
            over = time.monotonic()
            load.wait_for_more(1, timeout=60)
            worst = max(worst, time.monotonic() - over)
            with capsys.disabled():
                print(
                    f"fault {number + 1} of {RANDOM}: {fault.__name__}, {time.monotonic() - over:.1f} s, "
                    f"all {time.monotonic() - begun:.0f} s, {len(load.acknowledged)} acknowledged",
                    file=sys.stderr,
                )
        load.wait_for_more(20, timeout=60)
    judge(site, load, f"{RANDOM} random faults, seed {seed}, at worst {worst:.1f} s", capsys, faults=RANDOM)


def judge(site: Site, load: SiteLoad, what: str, capsys: pytest.CaptureFixture[str], *, faults: int) -> None:
    """Wait for the queue to run empty, print the figures, and demand that nothing is lost."""
    wait_until(lambda: site.nodes.queued() == [], "the queue of the site to run empty", timeout=120)
    arrived = site.nodes.arrived()
    lost = set(load.acknowledged) - set(arrived)
    doubled = sum(count - 1 for count in arrived.values())
    taking = longest_silence(load.acknowledged.values())
    delivering = longest_silence(one.at for one in site.nodes.partner.messages)
    with capsys.disabled():
        for line in site.nodes.alarms():
            print(line, file=sys.stderr)
        print(
            f"\n{what}: {len(load.acknowledged)} acknowledged, {load.unanswered} without an answer, "
            f"{dict(load.refused)} refused, {len(set(arrived))} delivered, {len(lost)} lost, {doubled} doubled; "
            f"longest silence {taking:.1f} s in taking, {delivering:.1f} s in delivering",
            file=sys.stderr,  # pytest-xdist shows nothing else
        )
    assert lost == set()
    assert doubled <= faults * 60, "only what was in flight may come twice"
    assert set(load.refused) <= {421, 451, 452}, "what is refused is to be sent again"


def percentile(took: Mapping[float, float], since: float, until: float) -> float:
    """Milliseconds within which 99 of 100 messages that were begun in this time got their 250; 0.0 of none."""
    times = sorted(seconds for begun, seconds in took.items() if since <= begun < until)
    return times[len(times) * 99 // 100] * 1000 if times else 0.0


def longest_silence(times: Iterable[float]) -> float:
    """The longest time between two that follow one another."""
    return max((later - one for one, later in pairwise(sorted(times))), default=0.0)
