"""The stream of events: passes each trace row on to counters, log lines and the facts for alarms.

Made by `node.assembly`; sessions and the queue hand over their events where they would call `Store.trace`. That costs
the event loop an append: all else is done for many at a time, on a thread of its own. Events are no mail: a killed
process loses those of the last moment.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gatepost.mail.model.trace_event import TraceEvent


INTERVAL = 0.25
"""Seconds at most between an event and its line, while there are events."""

_QUIET = 1.0  # the same after a pause

_MOST = 20_000  # groups that wait; what comes on top is in the trace alone

_PATIENCE = 5.0  # seconds

_log = logging.getLogger(__name__)

type Group = Sequence[TraceEvent]


class EventFeed:
    """readers: called on the thread with groups of events, each what one message or one attempt brought about.

    often: called on the thread after the readers, at each interval. interval: seconds.
    """

    def __init__(
        self,
        readers: Sequence[Callable[[Sequence[Group]], None]],
        often: Callable[[], None] | None = None,
        *,
        interval: float = INTERVAL,
    ) -> None:
        self.left_out = 0
        self._readers = readers
        self._often = often
        self._interval = interval
        self._waiting: deque[Group] = deque()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="events", daemon=True)
        self._thread.start()

    def along(self, keep: Callable[[Group], None]) -> Callable[[Group], None]:
        """A function that takes events: it passes them to `keep`, a store's trace, and into the feed."""
        tell = self.tell

        def both(events: Group) -> None:
            keep(events)
            tell(events)

        return both

    def tell(self, events: Group) -> None:
        """Pass events into the feed alone."""
        if len(self._waiting) < _MOST:
            self._waiting.append(events)
        else:
            self.left_out += len(events)

    def close(self) -> None:
        """Finish what waits and end the thread, within `_PATIENCE`: a reader of the log may hang."""
        self._closing.set()
        self._thread.join(_PATIENCE)

    def _run(self) -> None:
        seconds = self._interval
        while not self._closing.wait(seconds):
            seconds = self._interval if self._turn() else min(2 * seconds, max(_QUIET, self._interval))
        self._turn()

    def _turn(self) -> bool:
        """Whether there was anything to read."""
        waiting = self._waiting
        groups = [waiting.popleft() for _ in range(len(waiting))]
        for reader in self._readers if groups else ():
            self._guarded(partial(reader, groups))
        if self._often is not None:
            self._guarded(self._often)
        return bool(groups)

    @staticmethod
    def _guarded(work: Callable[[], None]) -> None:
        """Nothing of this stops mail, or the other readers."""
        try:
            work()
        except Exception:  # noqa: BLE001 - whatever it was
            _log.exception("events could not be passed on")
