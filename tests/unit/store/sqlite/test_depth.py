from __future__ import annotations

import asyncio
import time

import pytest

from gatepost.store.interface import StoreFailure
from gatepost.store.sqlite.depth import Depth, queue_depth
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


def test_an_empty_queue(tmp_path):
    assert queue_depth(tmp_path / "nowhere") == Depth()
    (tmp_path / "0").mkdir()
    assert queue_depth(tmp_path) == Depth()


def test_what_is_no_queue(tmp_path):
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / QUEUE_FILE).write_bytes(b"x" * 4096)
    with pytest.raises(StoreFailure):
        queue_depth(tmp_path)
