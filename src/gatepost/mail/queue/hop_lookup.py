"""Look up the next hop of deliveries that need it: by DNS, or in the message for a mail flow rule.

Used by `mail.queue.manager`. Those of one destination wait for each other, destinations do not: a nameserver that is
slow for one domain holds up no other. Where too many are looked up, organizations take turns, and each has its share of
those at a time.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING

from gatepost.mail.queue.hop_queue import HopFinder, LaneKey
from gatepost.net.places import FairLine, FairShares

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable

    from gatepost.mail.model.message import Delivery
    from gatepost.mail.queue.memory_budget import MemoryBudget


_log = logging.getLogger(__name__)


class HopLookups:
    """running: counts destinations that are looked up, by organization. window: counts those that wait here.

    spawn: begins a task. found: called with a delivery and its lane.
    """

    def __init__(
        self,
        finder: HopFinder,
        running: FairShares,
        window: MemoryBudget,
        spawn: Callable[[Coroutine[None, None, None], str], None],
        found: Callable[[Delivery, LaneKey], None],
    ) -> None:
        self._finder = finder
        self._running = running
        self._window = window
        self._spawn = spawn
        self._found = found
        self._waiting: dict[str, deque[Delivery]] = {}
        self._line: FairLine[str] = FairLine(self._running)  # destinations that wait as too many are looked up

    def waiting(self, destination: str) -> int:
        """The number of deliveries of a destination that wait."""
        return len(self._waiting.get(destination, ()))

    def room(self, delivery: Delivery) -> int:
        """How many more of a delivery's destination may wait; none if that is below 1."""
        return self._window.room(delivery.organization, self.waiting(delivery.destination))

    def add(self, delivery: Delivery) -> None:
        """Look up the lane of a delivery; then call `found`."""
        self._window.enter(delivery.organization)
        others = self._waiting.get(delivery.destination)
        if others is not None:
            others.append(delivery)
            return
        self._waiting[delivery.destination] = deque((delivery,))
        if delivery.organization in self._running:
            self._line.stand(delivery.organization, delivery.destination)
        else:
            self._begin(delivery.organization, delivery.destination)

    def remove(self, destination: str, delivery_id: int) -> Delivery | None:
        """Take out a delivery that waits."""
        for delivery in self._waiting.get(destination, ()):
            if delivery.id == delivery_id:
                self._waiting[destination].remove(delivery)
                self._window.leave(delivery.organization)
                return delivery
        return None

    def take_all(self) -> list[Delivery]:
        """Take out everything that waits."""
        deliveries = [delivery for waiting in self._waiting.values() for delivery in waiting]
        for waiting in self._waiting.values():
            waiting.clear()
        for delivery in deliveries:
            self._window.leave(delivery.organization)
        return deliveries

    def _begin(self, organization: Hashable, destination: str) -> None:
        self._running.begin(organization)
        self._spawn(self._look_up(organization, destination), f"next hop of {destination}")

    async def find(self, delivery: Delivery) -> LaneKey:
        """The lane of a delivery."""
        return self._finder.known(delivery) or await self._find(delivery)

    def only_hop(self, destination: str) -> str | None:
        """See `HopFinder.only_hop`."""
        return self._finder.only_hop(destination)

    async def _look_up(self, organization: Hashable, destination: str) -> None:
        waiting = self._waiting[destination]
        try:
            while waiting:
                delivery = waiting[0]
                key = await self.find(delivery)
                if waiting and waiting[0] is delivery:  # else it was taken out meanwhile
                    waiting.popleft()
                    self._window.leave(delivery.organization)
                    self._found(delivery, key)
        finally:
            del self._waiting[destination]
            self._running.end(organization)
            while (following := self._line.next()) is not None:
                self._begin(*following)

    async def _find(self, delivery: Delivery) -> LaneKey:
        try:
            return await self._finder.find(delivery)
        except Exception:  # noqa: BLE001 - the attempt itself will meet the cause, and say it
            _log.exception("delivery %d to %s: no next hop was found", delivery.id, delivery.destination)
            return LaneKey(delivery.destination)
