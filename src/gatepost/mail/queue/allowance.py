"""The limit of a connector at one next hop: connections at a time, and messages a minute. Pure.

Kept by `mail.queue.lane_budget` for all queues of a worker; `mail.queue.shared_limits` shares it with other workers.
Messages are spread over the minute, so that no second of it gets them all.
"""

from __future__ import annotations

from typing import Final, Protocol

import msgspec

from gatepost.mail.model.slowed_next_hop import MINUTE
from gatepost.quantity import quantity

POLL: Final = 0.5
"""Seconds between two looks for a connection that another worker may have left."""

AHEAD: Final = 256
"""Messages that may be planned ahead by all workers together; more means that the clock was put back."""

_HELD: Final = 5.0  # seconds after which a worker leaves its connection to others that have none
_MEMORY: Final = 10.0  # seconds for which limited mail is kept in memory; the rest waits in the store


class HopLimit(msgspec.Struct, frozen=True):
    """A limit at each next hop. key: whose it is, "organization/connector"; "" for the server's own setting.

    label: as reasons name it. connections, messages_per_minute: 0 for no limit.
    """

    key: str
    label: str
    connections: int = 0
    messages_per_minute: int = 0


class SharedLimits(Protocol):
    """What the workers of a limit share."""

    def reserve(self, key: str, interval: float, now: float) -> float:
        """Plan one more message, `interval` seconds after the one before; returns when (as `now`)."""

    def take(self, key: str, most: int) -> int | None:
        """Take one of `most` connections; None if all are taken."""

    def give(self, key: str, place: int) -> None:
        """Give a connection back."""

    def is_scarce(self, most: int) -> bool:
        """Whether there are fewer connections than workers, so that they take turns."""


class Allowance:
    """One limit at one next hop, as a worker may use it. lanes: attempts that run."""

    def __init__(self, next_hop: str, limit: HopLimit, shared: SharedLimits) -> None:
        self.limit = limit
        self.lanes = 0
        self._name = f"{limit.key} {next_hop}"
        self._shared = shared
        self._reserved: float | None = None
        self._spare: list[tuple[int, float]] = []  # places without an attempt, and since when they are ours
        self._used: list[tuple[int, float]] = []
        self._leaves_until = 0.0

    @property
    def most_in_memory(self) -> int:
        """Deliveries of one destination that are worth having in memory."""
        rate = self.limit.messages_per_minute
        return max(2, int(rate * _MEMORY / MINUTE)) if rate else 1_000_000

    @property
    def reason(self) -> str:
        """Why mail waits, for the queue."""
        return f"limited to {quantity(self.limit.messages_per_minute, 'message')} a minute by {self.limit.label}"

    @property
    def refill(self) -> float:
        """Seconds after which half of what is in memory has gone."""
        return max(1.0, self.most_in_memory / 2 * MINUTE / max(self.limit.messages_per_minute, 1))

    def wait(self, now: float) -> float:
        """Seconds until one more attempt may begin, 0.0 for now; as far as is known."""
        rate = self._wait_for_rate(now)
        return rate if rate > 0 or self._spare else max(self._leaves_until - now, 0.0)

    def admit(self, now: float) -> bool:
        """Begin an attempt, if one may begin now."""
        if self.wait(now) > 0:
            return False
        if self.limit.connections:
            if not self._spare and not self._take(now):
                return False
            self._used.append(self._spare.pop())
        self._reserved = None
        self.lanes += 1
        return True

    def ended(self, now: float) -> None:
        """An attempt has ended; its connection may serve the next one."""
        self.lanes -= 1
        if not self._used:
            return  # the limit came while the attempt ran
        place, since = self._used.pop(0)
        if self._shared.is_scarce(self.limit.connections) and now - since >= _HELD:
            self._leaves_until = now + 2 * POLL  # or it would have it again before anybody else looked
            self._shared.give(self._name, place)
        else:
            self._spare.append((place, since))

    def rest(self) -> bool:
        """Give back the connections that no attempt uses; whether connections that rest must be ended for that."""
        for place, _ in self._spare:
            self._shared.give(self._name, place)
        self._spare.clear()
        return bool(self.limit.connections) and self._shared.is_scarce(self.limit.connections)

    def _take(self, now: float) -> bool:
        place = self._shared.take(self._name, self.limit.connections)
        if place is None:
            self._leaves_until = now + POLL
            return False
        self._spare.append((place, now))
        return True

    def _wait_for_rate(self, now: float) -> float:
        if not self.limit.messages_per_minute:
            return 0.0
        interval = MINUTE / self.limit.messages_per_minute
        planned = self._reserved
        # What was planned and not used in time is gone: else a worker could make up for it at once.
        if planned is None or now - planned > interval or planned - now > AHEAD * interval:
            planned = self._reserved = self._shared.reserve(self._name, interval, now)
        return max(planned - now, 0.0)
