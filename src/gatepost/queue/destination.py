"""What the queue knows of one destination while it has work for it: what is ready, how many lanes run, when to wait."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

    from gatepost.smtp.replies import Reply
    from gatepost.store.interface import Delivery

__all__ = ["Destination"]

_REMEMBERED = 3600.0  # seconds that failures count after the gate has opened


class Destination:
    """name: "organization/domain". ready: deliveries in memory that wait for a lane. lanes: attempts running.

    gate: no attempt before then (seconds since 1970). failures: attempts in a row that no host answered. reply: what
    the last of them said. more: the store has due deliveries beyond those that are ready. growing: the timer that may
    add a lane. leasing, sweeping, queued: one lease, one sweep, one place in the line for a lane at a time.
    returning: ids of deliveries in flight that go back to their senders if they cannot be delivered.
    """

    __slots__ = (
        "failures",
        "gate",
        "growing",
        "lanes",
        "leasing",
        "more",
        "name",
        "queued",
        "ready",
        "reply",
        "returning",
        "sweeping",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.ready: deque[Delivery] = deque()
        self.lanes = 0
        self.gate = 0.0
        self.failures = 0
        self.reply: Reply | None = None
        self.more = False
        self.leasing = False
        self.sweeping = False
        self.queued = False
        self.returning: set[int] = set()
        self.growing: asyncio.TimerHandle | None = None

    @property
    def wants_lane(self) -> bool:
        """Whether there is something a lane could do, the gate aside."""
        return bool(self.ready) or (self.more and not self.leasing)

    def allows_lane(self, limit: int) -> bool:
        """Whether one more lane may run: a destination that failed is probed by one alone."""
        return self.lanes < (1 if self.failures else limit)

    def forgettable(self, now: float) -> bool:
        """Whether nothing is known of it that matters."""
        busy = self.ready or self.lanes or self.more or self.leasing or self.sweeping or self.queued or self.growing
        return not busy and (not self.failures or now > self.gate + _REMEMBERED)

    def fail(self, reply: Reply, gate: float) -> None:
        """No host answered: leave it alone until `gate`."""
        self.failures += 1
        self.reply = reply
        self.gate = gate

    def recover(self) -> None:
        """A host answered."""
        self.gate = 0.0
        self.failures = 0
        self.reply = None

    def take(self, delivery_id: int) -> Delivery | None:
        """Remove a delivery that is ready but not begun."""
        for delivery in self.ready:
            if delivery.id == delivery_id:
                self.ready.remove(delivery)
                return delivery
        return None
