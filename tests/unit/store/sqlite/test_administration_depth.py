from __future__ import annotations

import asyncio
import itertools
import time

import apsw
import pytest

from gatepost.store.interface import StoreFailure
from gatepost.store.sqlite.administration import Depth, _oldest, queue_depth
from gatepost.store.sqlite.schema import QUEUE_FILE


def test_how_much_waits_and_for_how_long(shop):
    asyncio.run(wait_and_count(shop))


async def wait_and_count(shop):
    before = time.time()
    async with shop.open() as store, shop.open(worker=1) as other:
        await shop.deferred(store, "bob@b.example", next_at=before + 3600)
        await shop.accept(other, "joe@c.example")
        await store.flushed()
        await other.flushed()
        found = queue_depth(shop.queue)
        one, both = queue_depth(shop.queue, [0]), queue_depth(shop.queue, [0, 1])
    assert both == found
    assert one.active + one.deferred < found.active + found.deferred
    assert (found.active, found.deferred, found.held) == (1, 1, 0)
    assert abs(found.oldest - before) < 60
    assert found.destination


def test_what_is_dropped_or_in_quarantine_is_not_counted(shop):
    asyncio.run(count_each_state(shop))


async def count_each_state(shop):
    """One row of each combination of what is stored."""
    states = list(itertools.product((0.0, 5000.0), (0, 1), (0, 1), ("", "contoso")))
    states = [state for state in states if state[1] or not state[3]]  # what is in quarantine is held
    async with shop.open() as store:
        for _ in states:
            await shop.accept(store)
        await store.flushed()
    with apsw.Connection(str(shop.shard / QUEUE_FILE)) as queue:
        numbers = [number for (number,) in queue.execute("SELECT id FROM delivery")]
        for number, state in zip(numbers, states, strict=True):
            queue.execute(f"{_STATE} WHERE id = {number}", state)
    found = queue_depth(shop.queue)
    counted = [state[:2] for state in states if state[2:] == (0, "")]
    assert len(counted) == 4
    assert found.active == counted.count((0.0, 0)) == 1
    assert found.deferred == counted.count((5000.0, 0)) == 1
    assert found.held == 2


_STATE = "UPDATE delivery SET next_at = ?, held = ?, dropped = ?, quarantine = ?"


def test_the_age_of_the_queue_takes_no_longer_with_more_in_it(shop):
    """Alarms ask for it every minute: nothing is counted for that."""

    async def steps(count):
        async with shop.open() as store:
            for _ in range(count):
                await shop.deferred(store)
        with apsw.Connection(str(shop.shard / QUEUE_FILE)) as queue:
            counted = []
            queue.set_progress_handler(lambda: bool(counted.append(1)), 1)
            _oldest(queue)
        return len(counted)

    assert asyncio.run(steps(2)) == asyncio.run(steps(50))


def test_an_empty_queue(tmp_path):
    assert queue_depth(tmp_path / "nowhere") == Depth()
    (tmp_path / "0").mkdir()
    assert queue_depth(tmp_path) == Depth()


def test_what_is_no_queue(tmp_path):
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / QUEUE_FILE).write_bytes(b"x" * 4096)
    with pytest.raises(StoreFailure):
        queue_depth(tmp_path)
