from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest

from gatepost.mail.outbound.hop import Hop
from gatepost.mail.outbound.pool import ConnectionPool
from gatepost.policy.decisions.requirement import Authenticated, Encrypted, Identity, Opportunistic, Source
from gatepost.values import replace

BASE = Hop("mx.b.example", "192.0.2.1", 25, Opportunistic((Source("default"),)))


class Fake:
    """What the pool sees of a connection."""

    def __init__(self, *, sent: int = 1, usable: bool = True, transactions_max: int = 0) -> None:
        self.sent = sent
        self.usable = usable
        self.transactions_max = transactions_max
        self.on_end: Any = None
        self.quits = 0

    def quit(self) -> None:
        self.quits += 1


class Opened(SimpleNamespace):
    __hash__ = object.__hash__
    __eq__ = object.__eq__


def opened(hop: Hop = BASE, **fields: Any) -> Any:
    error, since = fields.pop("handshake_error", ""), time.monotonic() - fields.pop("age", 0)
    return Opened(hop=hop, connection=Fake(**fields), facts=SimpleNamespace(handshake_error=error), since=since)


def run(work: Any) -> None:
    async def inner() -> None:
        work()

    asyncio.run(inner())


def test_the_last_used_is_taken_first() -> None:
    def work() -> None:
        pool = ConnectionPool()
        one, two = opened(), opened()
        pool.give(one)
        pool.give(two)
        assert pool.holds(BASE)
        assert [pool.take(BASE), pool.take(BASE), pool.take(BASE)] == [two, one, None]
        assert not pool.holds(BASE)
        assert (len(pool), one.connection.quits, one.connection.on_end) == (0, 0, None)

    run(work)


@pytest.mark.parametrize(
    "other",
    [
        {"host": "other.b.example"},
        {"address": "192.0.2.2"},
        {"port": 26},
        {"requirement": Encrypted((Source("connector", "out"),))},
        {"requirement": Authenticated((Source("connector", "out"),), (Identity(("b.example",)),))},
        {"requirement": Opportunistic((Source("connector", "out"),))},
        {"rehearsed": Encrypted((Source("connector", "out"),))},
        {"lmtp": True},
        {"generation": 1},
    ],
)
def test_only_an_equal_hop_finds_a_connection(other: dict[str, Any]) -> None:
    def work() -> None:
        pool = ConnectionPool()
        pool.give(opened())
        assert pool.take(replace(BASE, **other)) is None
        pool.close()

    run(work)


@pytest.mark.parametrize(
    "fields",
    [
        {"sent": 100},
        {"usable": False},
        {"sent": 3, "transactions_max": 3},
        {"handshake_error": "broken"},
        {"age": 901},
        {"hop": replace(BASE, generation=7)},
    ],
)
def test_what_is_not_kept_is_ended(fields: dict[str, Any]) -> None:
    def work() -> None:
        pool = ConnectionPool(messages=100)
        one = opened(**fields)
        pool.give(one)
        assert (len(pool), one.connection.quits) == (0, 1)

    run(work)


def test_the_longest_resting_leaves_when_there_are_too_many() -> None:
    def work() -> None:
        pool = ConnectionPool(total=2)
        hops = [opened(replace(BASE, port=port)) for port in (1, 2, 3)]
        for one in hops:
            pool.give(one)
        assert [one.connection.quits for one in hops] == [1, 0, 0]
        pool.close()
        assert [one.connection.quits for one in hops] == [1, 1, 1]

    run(work)


def test_a_new_generation_ends_what_rests() -> None:
    def work() -> None:
        pool = ConnectionPool()
        old, new = opened(), opened(replace(BASE, generation=1))
        pool.give(old)
        pool.begin_generation(1)
        pool.give(new)
        assert (old.connection.quits, new.connection.quits, len(pool)) == (1, 0, 1)
        pool.close()

    run(work)


def test_rest_ends_by_time_or_by_the_peer() -> None:
    async def inner() -> None:
        pool = ConnectionPool(idle=0.05)
        one, two = opened(), opened()
        pool.give(one)
        pool.give(two)
        two.connection.on_end()
        assert (two.connection.quits, len(pool)) == (1, 1)
        await asyncio.sleep(0.15)
        assert (one.connection.quits, len(pool)) == (1, 0)

    asyncio.run(inner())


def test_each_rests_its_own_time_though_one_timer_looks_after_all(monkeypatch: pytest.MonkeyPatch) -> None:
    async def inner() -> None:
        loop, timers = asyncio.get_running_loop(), list[float]()
        later = loop.call_later
        monkeypatch.setattr(loop, "call_later", lambda delay, *call: timers.append(delay) or later(delay, *call))
        pool = ConnectionPool(idle=30.0)
        one, two, busy = opened(), opened(), opened()
        for connection in (one, two, busy):
            pool.give(connection)
        for _ in range(20):
            assert pool.take(BASE) is busy
            pool.give(busy)
        assert timers == [30.0]
        pool._order[one] = loop.time()
        pool._end_rested(loop)
        assert (one.connection.quits, two.connection.quits, len(pool)) == (1, 0, 2)
        assert pool._timer is not None
        assert 29.0 < pool._timer.when() - loop.time() <= 30.0
        pool.close()
        pool._end_rested(loop)
        assert (two.connection.quits, pool._timer) == (1, None)

    asyncio.run(inner())
