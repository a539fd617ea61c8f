"""What the queue knows of one destination while it has work for it: what is ready, how many lanes run, when to wait."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

    from gatepost.store.interface import Delivery

__all__ = ["Destination"]


class Destination:
    """name: "organization/domain". gate: no attempt before then (seconds since 1970). more: the store has more due."""

    __slots__ = ("failures", "gate", "growing", "lanes", "last_error", "more", "name", "ready")

    def __init__(self, name: str) -> None:
        self.name = name
        self.ready: deque[Delivery] = deque()
        self.lanes = 0
        self.gate = 0.0
        self.failures = 0
        self.last_error = ""
        self.more = False
        self.growing: asyncio.TimerHandle | None = None

    @property
    def idle(self) -> bool:
        """Whether nothing is known of it that could not be forgotten."""
        return not self.ready and not self.lanes and not self.failures and self.growing is None

    def take(self, delivery_id: int) -> Delivery | None:
        """Remove a delivery that is ready but not begun."""
        for delivery in self.ready:
            if delivery.id == delivery_id:
                self.ready.remove(delivery)
                return delivery
        return None
