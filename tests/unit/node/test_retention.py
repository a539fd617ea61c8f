from __future__ import annotations

import asyncio
import logging
import time

import pytest

from gatepost.node.retention import TraceRetention
from gatepost.store.interface import StoreBusy
from gatepost.store.sqlite.message_trace import SqliteTrace
from gatepost.times import day_text


class KeptDays:
    """A trace that has one old day, or none, or is away."""

    def __init__(self, *results):
        self.results = list(results)
        self.before = []

    def parts(self, first, last):
        return {}

    def forget(self, before):
        self.before.append(before)
        result = self.results.pop(0)
        if isinstance(result, Exception):
            raise result
        return result


async def two_ticks(retention):
    retention.tick()
    retention.tick()  # while the first is under way
    await retention._running.task
    retention.tick()
    await retention._running.task


@pytest.mark.parametrize(
    ("results", "lines"),
    [
        ((["trace_20260101"], []), ["the message trace: removed what is older than 30 days: trace_20260101"]),
        ((StoreBusy("away"), []), ["the message trace: old days are not removed yet: away"]),
    ],
)
def test_old_days_are_forgotten_one_look_at_a_time(results, lines, caplog):
    caplog.set_level(logging.INFO)
    trace = KeptDays(*results)
    asyncio.run(two_ticks(TraceRetention(trace, 30)))
    assert [record.message for record in caplog.records if record.name == "gatepost.node.retention"] == lines
    assert trace.before == pytest.approx([time.time() - 30 * 86400] * 2, abs=60)


async def one_tick(retention):
    retention.tick()
    await retention._running.task


@pytest.mark.usefixtures("whole_day")
def test_a_clock_that_is_a_year_ahead_does_not_take_the_whole_trace(tmp_path, monkeypatch):
    now = time.time()
    for day in range(100):
        (tmp_path / f"{day_text(now - day * 86400)}.0.db").touch()
    retention = TraceRetention(SqliteTrace(tmp_path), 90)
    asyncio.run(one_tick(retention))
    assert len(list(tmp_path.iterdir())) == 98
    for _ in range(4):
        asyncio.run(one_tick(retention))
    assert len(list(tmp_path.iterdir())) == 91, "today's and the 90 before it"
    monkeypatch.setattr(time, "time", lambda: now + 365 * 86400)
    asyncio.run(one_tick(retention))
    assert len(list(tmp_path.iterdir())) == 89
