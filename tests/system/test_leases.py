"""Leases in PostgreSQL, held by real processes: one is killed, one is cut off, one has a wrong clock."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

import pytest
from support.cut import CutWay
from support.pace import Pace
from support.postgres import Postgres
from support.process import Script

from gatepost.settings.store_url import SQLITE
from gatepost.store.leases import LEASE_SECONDS, RENEWAL_SECONDS
from gatepost.store.storage import Storage

SLACK = 2.0  # of a machine that is otherwise idle
HOLDER = """
import signal, sys, time
from pathlib import Path
url, directory, node, ahead = sys.argv[1:]
real = time.time
time.time = lambda: real() + float(ahead)
from gatepost.store.storage import Storage
leases = Storage(url, Path(directory)).leases(node, 0)
lease = leases.lease("acme")
signal.signal(signal.SIGTERM, lambda *_: (leases.close(), sys.exit()))
held, started = None, False
while True:
    now = lease.held
    if now is not held:
        print("held" if now else "free", time.monotonic(), lease.epoch, flush=True)
        held = now
    if not started:  # by then it has said that it is free
        leases.start()
        started = True
    time.sleep(0.02)
"""


class Holder:
    """A process that wants the lease "acme", and tells each time that it gets or loses it."""

    def __init__(self, url: str, folder: Path, node: str, *, ahead: float = 0.0) -> None:
        self._script = Script(HOLDER, url, str(folder), node, str(ahead))

    def __enter__(self) -> Self:
        assert self.told() == ("free", 0)
        return self

    def __exit__(self, *_: object) -> None:
        self._script.kill()
        self._script.close()

    def told(self) -> tuple[str, int]:
        """The next thing that it tells, with the epoch; `at` is when, by the machine's monotonic clock."""
        word, at, epoch = self._script.line().split()
        self.at = float(at)
        return word, int(epoch)

    def kill(self) -> None:
        """At once, as a crash does."""
        self._script.kill()

    def end(self) -> None:
        """In order."""
        os.kill(self._script.pid, signal.SIGTERM)


@pytest.fixture
def holder(postgres: Postgres, tmp_path: Path) -> Callable[..., Holder]:
    database = postgres.database()
    return lambda node, *, port=0, ahead=0.0: Holder(
        database.replace(f":{postgres.port}/", f":{port}/") if port else database, tmp_path, node, ahead=ahead
    )


def test_when_a_holder_is_killed_another_takes_over_when_the_lease_expires(holder: Callable[..., Holder]) -> None:
    with holder("a") as first:
        assert first.told() == ("held", 1)
        with holder("b") as second, Pace() as pace:
            killed = time.monotonic()
            first.kill()
            assert second.told() == ("held", 2)
    slack = SLACK * pace.slowness
    assert LEASE_SECONDS - RENEWAL_SECONDS - slack <= second.at - killed <= LEASE_SECONDS + slack, pace


def test_a_holder_that_is_cut_off_stops_before_another_begins(
    holder: Callable[..., Holder], postgres: Postgres
) -> None:
    with CutWay(postgres.port) as way, holder("a", port=way.port) as first:
        assert first.told() == ("held", 1)
        with holder("b") as second, Pace() as pace:
            way.cut()
            cut = time.monotonic()
            assert first.told()[0] == "free"
            stopped = first.at
            assert second.told() == ("held", 2)
            way.mend()
            second.kill()
            mended = time.monotonic()
            assert first.told() == ("held", 3)  # it goes on by itself
    slack = SLACK * pace.slowness
    assert stopped < second.at - 2 / pace.slowness, "it tells a moment later that it stopped"
    assert second.at - cut <= LEASE_SECONDS + slack, pace
    assert first.at - mended <= LEASE_SECONDS + 2 * slack, pace


def test_a_wrong_clock_neither_takes_nor_loses_a_lease(holder: Callable[..., Holder]) -> None:
    with holder("a") as first:
        assert first.told() == ("held", 1)
        with holder("b", ahead=600.0) as second:
            with Pace() as pace:
                time.sleep(LEASE_SECONDS / 2)
                killed = time.monotonic()
                first.kill()
                assert second.told() == ("held", 2)
            assert second.at - killed >= LEASE_SECONDS - RENEWAL_SECONDS - SLACK * pace.slowness, pace
            with holder("c") as third:
                time.sleep(RENEWAL_SECONDS * 2)
                second.kill()
                assert third.told() == ("held", 3)


def test_what_is_given_back_is_taken_by_the_next_round(holder: Callable[..., Holder]) -> None:
    with holder("a") as first:
        assert first.told() == ("held", 1)
        with holder("b") as second, Pace() as pace:
            begun = time.monotonic()
            first.end()
            assert second.told() == ("held", 2)
    assert second.at - begun <= RENEWAL_SECONDS + SLACK * pace.slowness, pace


def test_with_sqlite_worker_0_holds_all(tmp_path: Path) -> None:
    storage = Storage(SQLITE, tmp_path)
    assert storage.leases("a", 0).lease("acme").held
    assert not storage.leases("a", 1).lease("acme").held
