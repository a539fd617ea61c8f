from __future__ import annotations

import time

from gatepost.mail.inbound.service import SessionRegistry


class Watched:
    """A session that notes what it is asked, and may end on it."""

    def __init__(self, registry, *, ends=False):
        self.asked = []
        self._registry, self._ends = registry, ends
        registry.add(self)

    def look_over(self, now):
        self._note(now)

    def drain(self):
        self._note("drain")

    def _note(self, what):
        self.asked.append(what)
        if self._ends:
            self._registry.remove(self)


def test_every_session_is_looked_over_with_the_same_time():
    times = iter([5.0, 6.0])
    registry = SessionRegistry(clock=lambda: next(times))
    sessions = [Watched(registry) for _ in range(3)]
    registry.sweep()
    assert [session.asked for session in sessions] == [[5.0]] * 3
    registry.sweep()
    assert [session.asked for session in sessions] == [[5.0, 6.0]] * 3


def test_sessions_may_end_while_they_are_looked_over():
    registry = SessionRegistry(clock=lambda: 1.0)
    for ends in (True, False, True):
        Watched(registry, ends=ends)
    registry.sweep()
    assert len(registry) == 1


def test_draining_tells_every_session_once_and_is_remembered():
    registry = SessionRegistry()
    staying, ending = Watched(registry), Watched(registry, ends=True)
    assert not registry.draining
    registry.drain()
    assert registry.draining
    assert (staying.asked, ending.asked) == (["drain"], ["drain"])
    assert len(registry) == 1


def test_a_session_is_counted_once_and_forgotten_once():
    registry = SessionRegistry()
    session = Watched(registry)
    registry.add(session)
    assert len(registry) == 1
    registry.remove(session)
    registry.remove(session)
    assert len(registry) == 0
    registry.sweep()
    assert session.asked == []


def test_the_clock_is_a_monotonic_one():
    assert SessionRegistry().clock is time.monotonic
