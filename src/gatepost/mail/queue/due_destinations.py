"""The destinations that have deferred mail in the store, and when the first of each is due. Pure.

So the queue asks the store only about destinations that are due, never about all of them: with a million deferred rows
that question costs 75 ms (store.md §4). Too early an entry costs one idle look; a missing one would lose mail, so
`mail.queue.manager` notes every deferral here.
"""

from __future__ import annotations

import heapq


class DueDestinations:
    """The earliest time known for each destination, seconds since 1970."""

    __slots__ = ("_heap", "_times")

    def __init__(self) -> None:
        self._times: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []  # also holds entries that are no longer true; they are skipped

    def __len__(self) -> int:
        return len(self._times)

    def __contains__(self, destination: str) -> bool:
        return destination in self._times

    def note(self, destination: str, at: float) -> bool:
        """Note that something is due at `at`; return whether that is the earliest of all: then set the alarm anew."""
        if at >= self._times.get(destination, float("inf")):
            return False
        self._times[destination] = at
        heapq.heappush(self._heap, (at, destination))
        self._tidy()
        return self._heap[0] == (at, destination)

    def earliest(self) -> float | None:
        """The time at which the first destination is due, None if none has anything."""
        while self._heap and self._times.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def take(self, now: float) -> str | None:
        """Take out a destination that is due at `now`, longest due first. None if none is."""
        at = self.earliest()
        if at is None or at > now:
            return None
        _, destination = heapq.heappop(self._heap)
        del self._times[destination]
        return destination

    def _tidy(self) -> None:
        """Rebuild the heap when it has more outdated entries than valid ones."""
        if len(self._heap) > 64 + 4 * len(self._times):
            self._heap = [(at, destination) for destination, at in self._times.items()]
            heapq.heapify(self._heap)
