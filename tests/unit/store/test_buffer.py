from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

from gatepost.mail.model.trace_event import TraceEvent
from gatepost.store import buffer as module
from gatepost.store.buffer import EventBuffer


def event(number: int) -> TraceEvent:
    return TraceEvent(1.0, "SEND", str(number), "", "", "", "", "")


def numbers(buffer: EventBuffer) -> list[int]:
    return [int(one.message) for one in buffer.take()[0]]


def test_events_are_taken_once_and_in_order():
    buffer = EventBuffer()
    buffer.add([event(1), event(2)])
    buffer.add([event(3)])
    assert numbers(buffer) == [1, 2, 3]
    assert buffer.take() == ([], 0)


def test_what_is_put_back_comes_first():
    buffer = EventBuffer()
    buffer.add([event(3)])
    buffer.put_back([event(1), event(2)], 4)
    taken, dropped = buffer.take()
    assert [one.message for one in taken] == ["1", "2", "3"]
    assert dropped == 4


def test_what_does_not_fit_is_dropped_and_counted(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "_MOST", 2)
    buffer = EventBuffer()
    for number in range(5):
        buffer.add([event(number)])
    taken, dropped = buffer.take()
    assert len(taken) == 2
    assert dropped == 3
    assert buffer.take() == ([], 0)


@pytest.mark.parametrize("wake", [lambda it: it.add([event(1)] * module._ROWS), lambda it: it.close()])
def test_many_events_or_the_end_wake_who_waits(wake):
    buffer = EventBuffer()
    woken = threading.Event()

    def wait():
        buffer.wait(30)
        woken.set()

    thread = threading.Thread(target=wait)
    thread.start()
    buffer.add([event(0)])
    assert not woken.wait(0.05)
    wake(buffer)
    assert woken.wait(20)
    thread.join()


def test_what_could_not_be_written_does_not_wake_again_with_each_event_that_comes():
    buffer = EventBuffer(2)
    buffer.add([event(1), event(2)])
    buffer.wait(30)
    buffer.put_back(*buffer.take())
    buffer.add([event(3)])
    assert not buffer._due.is_set()
    assert numbers(buffer) == [1, 2, 3]
    buffer.add([event(4), event(5)])
    assert buffer._due.is_set()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What time it is for a buffer."""
    now = [100.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


class Waits:
    """A buffer whose waits take no time: each adds what comes meanwhile, and notes for how long it would have been."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, clock: list[float]) -> None:
        self.buffer = EventBuffer(5, prompt=True)
        self.lengths: list[float] = []
        self.coming: list[tuple[float, int]] = []
        self._clock = clock
        monkeypatch.setattr(self.buffer._due, "wait", self._wait)

    def _wait(self, seconds: float) -> None:
        self.lengths.append(seconds)
        end = self._clock[0] + seconds
        while self.coming and self.coming[0][0] <= end and not self.buffer._due.is_set():
            at, number = self.coming.pop(0)
            self._clock[0] = max(self._clock[0], at)
            self.buffer.add([event(number)])
        if not self.buffer._due.is_set():
            self._clock[0] = end

    def turn(self) -> tuple[list[int], float]:
        """What is taken after a wait, and when."""
        self.buffer.wait(1.0)
        return numbers(self.buffer), round(self._clock[0], 3)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch, clock: list[float]) -> Waits:
    return Waits(monkeypatch, clock)


def test_after_a_pause_few_events_are_taken_soon_and_together(waits: Waits):
    waits.coming = [(100.5, 1), (100.55, 2), (101.0, 3)]
    assert waits.turn() == ([1, 2], 100.6)
    assert waits.turn() == ([3], 101.1)
    assert waits.lengths == [1.0, 0.1, 1.0, 0.1]


def test_events_that_come_while_others_are_written_are_taken_soon_too(waits: Waits):
    waits.buffer.add([event(1)])
    assert waits.turn() == ([1], 100.1)
    assert waits.lengths == [0.1]


def test_without_pauses_they_are_taken_at_the_interval(waits: Waits):
    waits.coming = [(100 + number / 100, number) for number in range(2000)]
    waits.buffer._batch = 1000
    taken = [len(waits.turn()[0]) for _ in range(15)]
    assert taken[:5] == [pytest.approx(11, abs=1)] * 5  # what was saved before is spent
    assert taken[5:] == [pytest.approx(100, abs=2)] * 10


def test_after_many_events_pauses_are_worth_something_again(waits: Waits):
    waits.buffer._rest = 0.0
    waits.coming = [(100.25, 1), (101.05, 2)]
    assert waits.turn() == ([1], 101.0)  # at the interval, yet the quarter of a second before it counts
    assert waits.turn() == ([2], 101.15)


def test_what_could_not_be_written_is_tried_again_at_the_interval(waits: Waits):
    waits.buffer.put_back([event(1)])
    assert waits.turn() == ([1], 101.0)


def test_the_first_event_does_not_wake_who_waits_unless_that_is_prompt():
    buffer = EventBuffer()
    buffer._due.wait = lambda _seconds: buffer.add([event(1)])  # type: ignore[method-assign,assignment,return-value]
    buffer.wait(30)
    assert not buffer._due.is_set()


@pytest.mark.parametrize("wake", [lambda it: it.add([event(2)] * module._ROWS), lambda it: it.close()])
def test_many_events_or_the_end_are_not_waited_for_with_few(wake):
    buffer = EventBuffer(prompt=True)
    buffer.add([event(1)])
    wake(buffer)
    buffer.wait(30)
    assert numbers(buffer)
