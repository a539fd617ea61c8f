from __future__ import annotations

import asyncio

import pytest

from gatepost.store.interface import StoreFailure
from gatepost.store.postgres.flusher import Rhythm
from gatepost.store.postgres.upkeep import Upkeep


class Flusher:
    """works: whether the server can be used. asked: how often somebody wanted to know."""

    def __init__(self, *, works):
        self._works, self.asked = works, 0

    @property
    def works(self):
        self.asked += 1
        return self._works


class Wire:
    async def run(self, _work, what):
        raise StoreFailure(what)


@pytest.mark.parametrize("works", [False, True], ids=["away", "every question fails"])
def test_it_rests_while_the_server_cannot_be_used(works):
    async def main():
        flusher = Flusher(works=works)
        upkeep = Upkeep(Wire(), flusher, Rhythm(expiry=0.25))
        if works:
            upkeep._take_notices = lambda: Wire().run(None, "hear administrators")
        upkeep.start()
        while not flusher.asked:  # noqa: ASYNC110 - a double that knows no event
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.5)
        await upkeep.close()
        return flusher.asked

    assert 1 <= asyncio.run(main()) <= 12
