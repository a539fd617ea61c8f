from __future__ import annotations

import asyncio
import os
import signal
import time

import pytest

from gatepost.node import lifeline as module
from gatepost.node.lifecycle import Parts
from gatepost.node.lifeline import Lifeline, Sign, life_signs, tell_supervisor


@pytest.fixture
def line():
    """Both ends in this process, which SIGIO must not end."""
    before = signal.signal(signal.SIGIO, lambda *_: None)
    made = Lifeline()
    yield made
    made.close()
    os.close(made.child_end)
    signal.signal(signal.SIGIO, before)


def test_the_supervisor_hears_what_is_said_and_is_woken(line):
    woken = []
    signal.signal(signal.SIGIO, lambda *_: woken.append(True))
    assert line.signs() == set()
    tell_supervisor(line.child_end, Sign.READY)
    tell_supervisor(line.child_end, Sign.ALIVE)
    for _ in range(500):
        if woken:
            break
        time.sleep(0.01)
    assert woken
    assert line.signs() == {Sign.READY, Sign.ALIVE}
    assert line.signs() == set()


def test_it_ends_with_the_supervisor(line):
    line.close()
    assert os.read(line.child_end, 1) == b""
    tell_supervisor(line.child_end, Sign.ALIVE)  # nobody hears it, and nothing happens


def test_a_supervisor_that_reads_nothing_holds_nobody_up(line):
    for _ in range(10_000):
        tell_supervisor(line.child_end, Sign.ALIVE)
    assert line.signs() == {Sign.ALIVE}


def test_life_signs_come_from_the_event_loop(line, monkeypatch):
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.01)

    async def live():
        parts = Parts(life_signs(line.child_end))
        await parts.start()
        while not line.signs():  # noqa: ASYNC110 - its other end is no asyncio
            await asyncio.sleep(0.01)
        await parts.close(0.5)

    asyncio.run(asyncio.wait_for(live(), 40))
