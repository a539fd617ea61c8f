from __future__ import annotations

import asyncio
import gc
import time

import pytest

from gatepost.net.tasks import Shared, SingleTask, end_tasks, spawn


def test_a_task_runs_though_nobody_keeps_it(run):
    done = []

    async def work():
        await asyncio.sleep(0.01)
        done.append(1)

    async def script():
        spawn(work(), "work")
        gc.collect()
        await asyncio.sleep(0.05)

    run(script())
    assert done == [1]


def test_tasks_are_ended_and_those_that_go_on_are_told(run):
    async def script():
        async def stubborn():
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                await asyncio.sleep(60)

        tasks = {spawn(asyncio.sleep(60), "plain"), spawn(stubborn(), "stubborn")}
        await asyncio.sleep(0)
        left = await end_tasks(tasks, 0.05)
        assert {task.get_name() for task in left} == {"stubborn"}
        assert await end_tasks(left, 0.05) == set()
        assert await end_tasks(set(), 60) == set()

    run(script())


def test_a_process_that_stands_still_lets_tasks_end_all_the_same(run):
    async def slow():
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            time.sleep(0.5)  # noqa: ASYNC251 - as under SIGSTOP
            for _ in range(5):
                await asyncio.sleep(0)

    async def script():
        task = spawn(slow(), "slow")
        await asyncio.sleep(0)
        assert await end_tasks({task}, 0.2) == set()

    run(script())


def test_no_two_pieces_of_a_single_task_run_at_a_time(run):
    begun = []

    async def work(name, free):
        begun.append(name)
        await free.wait()

    async def script():
        single, free = SingleTask("work"), asyncio.Event()
        single.cancel()
        await single.ended()  # nothing began
        assert not single.is_running
        single.begin(work, "first", free=free)
        single.begin(work, "second", free=free)
        await asyncio.sleep(0)
        assert single.is_running
        free.set()
        await single.ended()
        assert not single.is_running
        single.begin(work, "third", free=free)
        await single.ended()

    run(script())
    assert begun == ["first", "third"]


def test_a_single_task_is_stopped(run):
    async def script():
        single = SingleTask("work")
        single.begin(asyncio.Event().wait)
        await asyncio.sleep(0)
        single.cancel()
        await single.ended()
        assert single.task.cancelled()

    run(script())


def test_a_failure_is_logged_under_the_tasks_name(run, caplog):
    async def fail():
        raise ArithmeticError("a bug of ours")

    async def script():
        spawn(fail(), "retry 7")
        await asyncio.sleep(0.01)

    run(script())
    assert [record.getMessage() for record in caplog.records] == ["task retry 7 failed"]
    assert "a bug of ours" in caplog.text


def test_results_and_cancellation_are_as_with_any_task(run, caplog):
    async def number():
        await asyncio.sleep(0)
        return 7

    async def script():
        assert await spawn(number(), "number") == 7
        task = spawn(number(), "cancelled")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(script())
    assert caplog.records == []


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
