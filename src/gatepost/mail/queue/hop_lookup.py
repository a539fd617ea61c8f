"""Look up the next hop of deliveries that need it: by DNS, or in the message for a mail flow rule.

Used by `mail.queue.manager`. Those of one destination wait for each other, destinations do not: a nameserver that is
slow for one domain holds up no other. Where too many are looked up, organizations take turns.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING

from gatepost.mail.queue.hop_queue import HopFinder, LaneKey

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from gatepost.mail.model.message import Delivery
    from gatepost.mail.queue.memory_budget import MemoryBudget


_log = logging.getLogger(__name__)


class HopLookups:
    """limit: destinations looked up at a time. window: counts those that wait here.

    spawn: begins a task. found: called with a delivery and its lane.
    """

    def __init__(
        self,
        finder: HopFinder,
        limit: int,
        window: MemoryBudget,
        spawn: Callable[[Coroutine[None, None, None], str], None],
        found: Callable[[Delivery, LaneKey], None],
    ) -> None:
        self._finder = finder
        self._limit = limit
        self._window = window
        self._spawn = spawn
        self._found = found
        self._waiting: dict[str, deque[Delivery]] = {}
        self._line: dict[str, deque[str]] = {}  # by organization, destinations that wait as too many are looked up
        self._running = 0

    def waiting(self, destination: str) -> int:
        """The number of deliveries of a destination that wait."""
        return len(self._waiting.get(destination, ()))

    def add(self, delivery: Delivery) -> None:
        """Look up the lane of a delivery; then call `found`."""
        self._window.waiting += 1
        others = self._waiting.get(delivery.destination)
        if others is not None:
            others.append(delivery)
            return
        self._waiting[delivery.destination] = deque((delivery,))
        if self._running < self._limit:
            self._begin(delivery.destination)
        else:
            self._line.setdefault(delivery.organization, deque()).append(delivery.destination)

    def remove(self, destination: str, delivery_id: int) -> Delivery | None:
        """Take out a delivery that waits."""
        for delivery in self._waiting.get(destination, ()):
            if delivery.id == delivery_id:
                self._waiting[destination].remove(delivery)
                self._window.waiting -= 1
                return delivery
        return None

    def take_all(self) -> list[Delivery]:
        """Take out everything that waits."""
        deliveries = [delivery for waiting in self._waiting.values() for delivery in waiting]
        for waiting in self._waiting.values():
            waiting.clear()
        self._window.waiting -= len(deliveries)
        return deliveries

    def _begin(self, destination: str) -> None:
        self._running += 1
        self._spawn(self._look_up(destination), f"next hop of {destination}")

    async def find(self, delivery: Delivery) -> LaneKey:
        """The lane of a delivery."""
        return self._finder.known(delivery) or await self._find(delivery)

    def only_hop(self, destination: str) -> str | None:
        """See `HopFinder.only_hop`."""
        return self._finder.only_hop(destination)

    async def _look_up(self, destination: str) -> None:
        waiting = self._waiting[destination]
        try:
            while waiting:
                delivery = waiting[0]
                key = await self.find(delivery)
                if waiting and waiting[0] is delivery:  # else it was taken out meanwhile
                    waiting.popleft()
                    self._window.waiting -= 1
                    self._found(delivery, key)
        finally:
            del self._waiting[destination]
            self._running -= 1
            self._begin_next()

    def _begin_next(self) -> None:
        """Begin what waits, of the organization whose turn it is."""
        if not self._line:
            return
        organization = next(iter(self._line))
        destinations = self._line.pop(organization)
        self._begin(destinations.popleft())
        if destinations:
            self._line[organization] = destinations

    async def _find(self, delivery: Delivery) -> LaneKey:
        try:
            return await self._finder.find(delivery)
        except Exception:  # noqa: BLE001 - the attempt itself will meet the cause, and say it
            _log.exception("delivery %d to %s: no next hop was found", delivery.id, delivery.destination)
            return LaneKey(delivery.destination)
