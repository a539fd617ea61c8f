from __future__ import annotations

import asyncio

import pytest

from gatepost.net.lookups.shared import Shared


def test_what_several_wait_for_is_done_once() -> None:
    async def run() -> tuple[list[int], int]:
        shared: Shared[str, int] = Shared()
        begun = 0

        async def work() -> int:
            nonlocal begun
            begun += 1
            await asyncio.sleep(0.01)
            return begun

        found = await asyncio.gather(*(shared.result("a", work, "work") for _ in range(5)))
        return [*found, await shared.result("a", work, "work")], begun

    assert asyncio.run(run()) == ([1, 1, 1, 1, 1, 2], 2)


def test_giving_up_does_not_stop_the_work() -> None:
    async def run() -> int:
        shared: Shared[str, int] = Shared()
        go = asyncio.Event()

        async def work() -> int:
            await go.wait()
            return 7

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(shared.result("a", work, "work"), 0.01)
        go.set()
        return await shared.result("a", work, "work")

    assert asyncio.run(run()) == 7


def test_closing_cancels_whoever_waits() -> None:
    async def run() -> None:
        shared: Shared[str, None] = Shared()
        waiting = asyncio.ensure_future(shared.result("a", lambda: asyncio.sleep(60), "work"))  # noqa: TID251
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await shared.close()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(run())
