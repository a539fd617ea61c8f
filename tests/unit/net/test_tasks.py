from __future__ import annotations

import asyncio
import gc

import pytest

from gatepost.net.tasks import spawn


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
