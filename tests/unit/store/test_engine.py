"""What both engines do alike, seen at the one that needs no server."""

from __future__ import annotations

import asyncio
import os
import threading

import pytest

from gatepost.mail.model.trace_event import TraceEvent
from gatepost.net.tasks import spawn
from gatepost.store import bodies
from gatepost.store.interface import AdminNotice, MessageUnstorable, Settlement, StoreFull


def test_a_body_of_another_store_is_a_mistake(shop):
    async def main():
        async with shop.open() as store:
            message = shop.message(store)
            with pytest.raises(TypeError):
                store.accept(message, [shop.delivery(store, message)], object(), print)

    asyncio.run(main())


def test_who_reads_bodies_hears_that_the_disk_is_behind(shop):
    async def main():
        async with shop.open() as store:
            heard = []
            store.watch_disk(heard.append)
            store._bodies.on_behind(True)
            assert heard == [True]

    asyncio.run(main())


def test_the_owner_hears_what_administrators_did(shop):
    async def main():
        async with shop.open() as store:
            store._administered([AdminNotice("hold", "contoso/partner.example")])
            assert store.owner.notices == [AdminNotice("hold", "contoso/partner.example")]

    asyncio.run(main())


class Witness:
    """Evidence that remembers what it was given."""

    def __init__(self):
        self.events, self.closed = [], False

    def add(self, events):
        self.events += events

    def close(self):
        self.closed = True


def test_evidence_has_the_rows_of_the_trace(shop):
    event = TraceEvent(1.0, "SEND", "1", "contoso", "originating", "s", "a@a.example", "b@b.example")
    witness = Witness()

    async def main():
        async with shop.open() as store:
            store.trace([event])
            store._evidence = witness
            store.trace([event, event])

    asyncio.run(main())
    assert witness.events == [event, event]
    assert witness.closed


def test_what_is_not_taken_is_answered_and_leaves_nothing(shop):
    async def main():
        async with shop.open(free_space_mark=1 << 60) as store:
            with pytest.raises(StoreFull):
                await shop.accept(store)
            assert store._bodies.in_memory == 0

    asyncio.run(main())


@pytest.mark.parametrize("body", [b"small", [b"x" * 5000]])
def test_a_message_that_cannot_be_written_leaves_no_body(shop, body):
    async def main():
        async with shop.open(inline_limit=1000) as store:
            odd = shop.message(store, reverse_path="\ud800@contoso.example")
            with pytest.raises(MessageUnstorable):
                await shop.commit(store, odd, [shop.delivery(store, odd)], body)
            assert store._bodies.in_memory == 0
            assert store._finishing == 0

    asyncio.run(main())
    assert list((shop.shard / "big").iterdir()) == []


def test_all_that_wait_for_large_bodies_go_on_when_the_last_one_is_there(shop, monkeypatch):
    gates = [threading.Event(), threading.Event()]
    left = iter(gates)
    fdatasync = os.fdatasync

    def slow(descriptor):
        next(left).wait(10)
        fdatasync(descriptor)

    async def main():
        async with shop.open(inline_limit=1000) as store:
            monkeypatch.setattr(bodies.os, "fdatasync", slow)
            accepting = [spawn(shop.accept(store, body=[b"x" * 5000]), f"accept {number}") for number in range(2)]
            await asyncio.sleep(0.05)
            waiting = [spawn(store.flushed(), f"flushed {number}") for number in range(2)]
            gates[0].set()
            await asyncio.wait(accepting, return_when=asyncio.FIRST_COMPLETED)
            assert not any(task.done() for task in waiting), "the other body is on its way"
            gates[1].set()
            await asyncio.gather(*accepting, *waiting)

    asyncio.run(main())


def test_an_owner_is_offered_what_came_of_a_delivery(shop):
    async def main():
        async with shop.open() as store:
            for owner in (store.owner, None):
                store.attach(owner)
                delivery = await shop.accept(store)
                notice = shop.message(store, reverse_path="")
                offered = shop.delivery(store, notice)
                store.settle([Settlement(delivery, [], notices=[(notice, [offered], b"x")])])
                await store.flushed()
                store._administered([AdminNotice("hold", "contoso/partner.example")])
            assert len(store.owner.offered) == len(store.owner.notices) == 1

    asyncio.run(main())


def test_it_says_what_waits_and_what_was_lost(shop):
    async def main():
        async with shop.open() as store:
            assert store.trace_dropped == 0
            assert store.unwritten == {"message trace": "", "evidence log": ""}

    asyncio.run(main())
