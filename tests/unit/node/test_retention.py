from __future__ import annotations

import asyncio
import logging
import time

import pytest

from gatepost.node.retention import TraceRetention
from gatepost.store.interface import StoreBusy


class KeptDays:
    """A trace that has one old day, or none, or is away."""

    def __init__(self, *results):
        self.results = list(results)
        self.before = []

    def forget(self, before):
        self.before.append(before)
        result = self.results.pop(0)
        if isinstance(result, Exception):
            raise result
        return result


async def two_ticks(retention):
    retention.tick()
    retention.tick()  # while the first is under way
    await retention._running
    retention.tick()
    await retention._running


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
