from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from gatepost.net.tasks import spawn
from gatepost.store.interface import StoreBusy
from gatepost.store.postgres import flusher as module
from gatepost.store.postgres import queue_rows
from gatepost.store.postgres.flusher import Flusher, Rhythm
from gatepost.store.postgres.owners import Owner, OwnerIdentity, Pulse


class Wire:
    """Stands for the server: which messages each statement removed. meanwhile: called while it runs."""

    def __init__(self, meanwhile):
        self.meanwhile = meanwhile
        self.removed = {queue_rows.REMOVE_DROPPED: [], queue_rows.REMOVE_DONE: []}

    async def run(self, work, _doing):
        await asyncio.sleep(0)
        await work(self)
        meanwhile, self.meanwhile = self.meanwhile, lambda: None
        meanwhile()

    async def execute(self, statement, messages):
        self.removed[statement] += messages


def flusher(wire):
    return Flusher(wire, OwnerIdentity("node", 0, "installation"), Owner(1, 0, 0), Rhythm())


async def tidied(tidy, meanwhile):
    """What two rounds of tidying remove. meanwhile: happens while the first statement of the first one runs."""
    wire = Wire(lambda: meanwhile(tidy))
    tidy._wire = wire
    for _ in range(2):
        await tidy._attempt(tidy._tidy)
    return wire.removed


@pytest.mark.parametrize("noted", [2, 1], ids=["another", "the same: its last delivery ended only now"])
def test_a_message_that_is_noted_while_others_are_removed_is_removed_after_them(noted):
    async def main():
        it = flusher(None)
        it.note_left([1])
        return await tidied(it, lambda it: it.note_left([noted]))

    assert asyncio.run(main())[queue_rows.REMOVE_DONE] == [1, noted]


@pytest.mark.parametrize("fails", [False, True])
def test_a_dropped_delivery_is_removed_though_the_server_did_not_answer_at_first(fails):
    def meanwhile(_):
        if fails:
            raise StoreBusy("PostgreSQL: no answer")

    async def main():
        it = flusher(None)
        it.note_untidy((None, None, None, [7]))
        return await tidied(it, meanwhile)

    removed = asyncio.run(main())
    assert removed[queue_rows.REMOVE_DROPPED] == [7] * (1 + fails)
    assert removed[queue_rows.REMOVE_DONE] == [7]


def test_a_process_that_stood_still_waits_until_it_knows_that_its_epoch_lasts(monkeypatch):
    """Also where the machine slept: the clock runs on."""
    now = [100.0]
    monkeypatch.setattr(module, "boot_time", lambda: now[0])

    async def beat(_work, _doing):
        now[0] += 1  # others count from before the answer
        return Pulse(0.0, 0, 1)

    async def main():
        it = flusher(SimpleNamespace(run=beat))
        await it._beat_once()
        assert (it.is_current, it.holding) == (True, False)
        now[0] = 114.9
        assert it.is_current
        now[0] = 115.0
        assert (it.is_current, it.holding) == (False, True)
        waiting = spawn(it.back(), "back")
        await asyncio.sleep(0)
        assert it._wake.is_set()
        await it._turn()
        await waiting
        assert it.is_current

    asyncio.run(main())
