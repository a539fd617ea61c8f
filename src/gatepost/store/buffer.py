"""A bounded buffer of events from the event loop to the writer thread; never blocks the loop.

Used by `store.sqlite.trace` and `store.evidence`, each with a thread of its own.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.mail.model.trace_event import TraceEvent


FEW: Final = 500
"""Events that are tried first after a failure: to make entries of all that wait, for nothing, takes seconds of CPU."""

_ROWS = 500
_MOST = 100_000  # events that may wait for the disk; what comes on top is dropped and counted
_SOON = 0.1  # seconds that the first events after a rest wait for others to be written with
_PRICE = 0.2  # seconds of rest that writing so early costs: with 20 messages a second one in four is so early
_SAVED = 1.0  # seconds of rest that count at most


class EventBuffer:
    """Events that wait. `add` is for the event loop, the rest for the thread. batch: so many wake who waits.

    prompt: so do the first ones, as long as there were pauses between events.
    """

    def __init__(self, batch: int = _ROWS, *, prompt: bool = False) -> None:
        self._batch = batch
        self._prompt = prompt
        self._eager = False  # the first event wakes who waits
        self._rest = _SAVED  # seconds without events that were not paid with yet
        self._came = 0.0  # of `time.monotonic`: when the first of those came that wait
        self._lock = threading.Lock()
        self._events: list[TraceEvent] = []
        self._dropped = 0
        self._due = threading.Event()
        self.closing = False

    def add(self, events: Sequence[TraceEvent]) -> None:
        """Keep events; they are dropped, and counted, where too many wait already."""
        with self._lock:
            waiting = len(self._events)
            if waiting >= _MOST:
                self._dropped += len(events)
                return
            self._events += events
            if not waiting:
                self._came = time.monotonic()
            first = self._eager and not waiting
        if first or waiting < self._batch <= waiting + len(events):  # once: failures are tried again at the interval
            self._due.set()

    def close(self) -> None:
        """Note that no more events come, and wake those that wait."""
        self.closing = True
        self._due.set()

    def wait(self, seconds: float) -> None:
        """Until so many have come that they should be written, or the end, or for so long; until `_SOON` if prompt."""
        began = time.monotonic()
        with self._lock:
            eager = self._eager = self._prompt and self._rest >= _PRICE
            waiting = bool(self._events)
        if not (eager and waiting):
            self._due.wait(seconds)
            self._due.clear()
        with self._lock:
            self._eager = False
            few = 0 < len(self._events) < self._batch
            self._rest = min(_SAVED, self._rest + max(0.0, (self._came if self._events else time.monotonic()) - began))
        if eager and few and not self.closing:
            self._rest -= _PRICE
            self._due.wait(min(_SOON, seconds))
            self._due.clear()

    def take(self) -> tuple[list[TraceEvent], int]:
        """Everything that waits, and how many were dropped since the last time."""
        with self._lock:
            events, self._events = self._events, []
            dropped, self._dropped = self._dropped, 0
        return events, dropped

    def put_back(self, events: Sequence[TraceEvent], dropped: int = 0) -> None:
        """Take back events that could not be written: they come first the next time."""
        with self._lock:
            self._events[:0] = events
            self._dropped += dropped
            self._rest = 0.0  # they are tried again at the interval
