from __future__ import annotations

import pytest

from gatepost.net.timer import IdleTimer


class Handle:
    def __init__(self, when, call):
        self._when, self.call, self.cancelled = when, call, False

    def when(self):
        return self._when

    def cancel(self):
        self.cancelled = True


class Loop:
    """A loop whose time is moved by the test: the clock of a connection uses these two methods and no more."""

    def __init__(self):
        self.now = 0.0
        self.handles = []

    def time(self):
        return self.now

    def call_at(self, when, call):
        self.handles.append(Handle(when, call))
        return self.handles[-1]

    def move_to(self, moment):
        while due := [each for each in self.handles if each.when() <= moment and not each.cancelled]:
            first = min(due, key=Handle.when)
            self.handles.remove(first)
            self.now = max(self.now, first.when())
            first.call()
        self.now = moment


def start(seconds):
    return lambda timer: timer.start(seconds)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([(0, start(10))], [10]),
        ([(0, start(10)), (5, IdleTimer.touch)], [15]),
        ([(0, start(10)), (5, IdleTimer.touch), (9, IdleTimer.touch), (18, IdleTimer.touch)], [28]),
        ([(0, start(10)), (5, start(20))], [25]),
        ([(0, start(900)), (10, start(10))], [20]),
        ([(0, start(10)), (5, start(0))], []),
        ([(0, start(10)), (5, start(0)), (50, start(3))], [53]),
        ([(0, start(10)), (5, IdleTimer.end)], []),
        ([(5, IdleTimer.end)], []),
        ([(0, start(10)), (5, IdleTimer.stand)], []),
        ([(0, start(10)), (5, IdleTimer.stand), (30, IdleTimer.go)], [40]),
        ([(0, start(10)), (5, IdleTimer.stand), (8, IdleTimer.go)], [18]),
        ([(0, IdleTimer.touch), (10, start(-1))], []),
        ([(0, IdleTimer.stand), (10, IdleTimer.go)], []),
    ],
    ids=range(14),
)
def test_when_it_expires(steps, expected):
    loop = Loop()
    expired = []
    timer = IdleTimer(loop, lambda: expired.append(loop.now))
    for moment, what in steps:
        loop.move_to(moment)
        what(timer)
    loop.move_to(5000)
    assert expired == expected


def test_signs_of_life_cost_no_timers_of_the_loop():
    loop = Loop()
    timer = IdleTimer(loop, lambda: None)
    timer.start(300)
    for second in range(299):
        loop.move_to(second)
        timer.touch()
    assert len(loop.handles) == 1
