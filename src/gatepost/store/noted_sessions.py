"""The sessions of a worker that are on their way to the memory of destinations.

Noted on the event loop, and written by a thread: `store.destinations` into a file, `store.shared_destinations` into a
table. What a session means is `policy.decisions.destination_history`'s.
"""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from gatepost.policy.decisions.destination_history import DestinationName, SeenSession, seen, warned

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gatepost.policy.decisions.destination_history import DestinationHistory


_MOST: Final = 10_000  # that may wait

_log = logging.getLogger(__name__)

type NotedSession = tuple[SeenSession, bool]
"""A session, and whether the log has a line that it does less than was seen."""


class NotedSessions:
    """place: where they go, for the log: "disk" or "database"."""

    def __init__(self, place: str) -> None:
        self._place = place
        self._lock = threading.Lock()
        self._waiting: dict[DestinationName, list[NotedSession]] = defaultdict(list)
        self._leaving: dict[DestinationName, list[NotedSession]] = {}
        self._count = 0
        self._dropped = 0

    def __len__(self) -> int:
        """How many are not written yet."""
        return self._count

    def note(self, name: DestinationName, session: SeenSession, *, logged: bool) -> None:
        """Take a session; where too many wait it is dropped, and the log says so."""
        with self._lock:
            if self._count >= _MOST:
                self._dropped += 1
                return
            self._count += 1
            self._waiting[name].append((session, logged))

    def of(self, name: DestinationName) -> list[NotedSession]:
        """Those of a destination that are not written yet.

        To be read before what is written: what is written meanwhile is counted twice, which changes nothing.
        """
        with self._lock:
            return [*self._leaving.get(name, ()), *self._waiting.get(name, ())]

    @contextmanager
    def leaving(self) -> Iterator[dict[DestinationName, list[NotedSession]]]:
        """All that wait, to be written within; if that fails they wait on, before later ones."""
        with self._lock:
            noted, self._waiting = self._waiting, defaultdict(list)
            self._leaving = noted
            dropped, self._dropped = self._dropped, 0
        if dropped:
            _log.error("the memory of destinations: %d sessions were dropped, the %s is behind", dropped, self._place)
        try:
            yield noted
        except BaseException:
            with self._lock:
                for name, sessions in noted.items():
                    self._waiting[name][:0] = sessions
                self._leaving = {}
            raise
        with self._lock:
            self._leaving = {}
            self._count -= sum(map(len, noted.values()))


def with_sessions(before: DestinationHistory, noted: Sequence[NotedSession]) -> DestinationHistory:
    """A history with sessions added."""
    after = before
    for session, logged in noted:
        after = seen(after, session)
        if logged:
            after = warned(after, session.at)
    return after
