from __future__ import annotations

import threading

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
