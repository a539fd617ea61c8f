from __future__ import annotations

import asyncio
import threading

from gatepost.manage.access.slots import Slots
from gatepost.net.tasks import spawn


def test_of_all_and_of_one():
    slots = Slots(3, 2)
    assert [slots.acquire(key) for key in ("ann", "ann", "ann", "bob", "sue")] == [True, True, False, True, False]
    slots.release("ann")
    assert slots.acquire("sue")
    assert not slots.acquire("ann", 0.01)
    for key in ("ann", "bob", "sue"):
        slots.release(key)
    assert not slots._taken, "nothing is kept of who has gone"


def test_where_it_is_crowded_each_gets_few_so_that_some_are_left():
    slots = Slots(6, 3, crowded=4, few=1)
    taken = [slots.acquire(key) for key in ("ann", "ann", "ann", "bob", "bob", "sue", "tim", "tom")]
    assert taken == [True, True, True, True, False, True, True, False]
    slots.release("ann")
    slots.release("tim")
    assert not slots.acquire("bob"), "it is crowded still"
    slots.release("ann")
    assert slots.acquire("bob")


def test_an_event_loop_goes_on_while_it_waits():
    slots, order = Slots(1), []

    async def one(key, patience=5.0):
        if await slots.acquire_async(key, patience):
            order.append(key)
            await asyncio.sleep(0)
            slots.release(key)

    async def test():
        assert slots.acquire("thread")
        await one("late", 0.01)
        waiting = [spawn(one(key), key) for key in ("a", "b", "c")]
        await asyncio.sleep(0)
        threading.Thread(target=slots.release, args=("thread",)).start()
        await asyncio.gather(*waiting)

    asyncio.run(test())
    assert sorted(order) == ["a", "b", "c"]
    assert not slots._taken


def test_whoever_waited_in_vain_is_not_woken():
    slots = Slots(1)
    assert slots.acquire("thread")
    assert asyncio.run(slots.acquire_async("late", 0.01)) is False
    assert not slots._wakers
    slots.release("thread")
    assert slots.acquire("next")
