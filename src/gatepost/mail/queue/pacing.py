"""Let attempts wait for limits: of connectors at a next hop, and of next hops that said that they get too much.

A part of `mail.queue.manager`. What waits is no attempt, takes no lane, and other mail for the same next hop passes it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import msgspec

from gatepost.mail.model.delivery_result import DeliveryResult, Disposition
from gatepost.mail.queue.allowance import POLL
from gatepost.mail.queue.slowdown import asks_to_slow_down
from gatepost.policy.decisions.withheld import OTHERS_CONNECTOR, concerns_others

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gatepost.mail.queue.backlog import Backlog
    from gatepost.mail.queue.hop_queue import HopQueue, Turn
    from gatepost.mail.queue.lane_budget import LaneBudget


_LEAST: Final = 0.001  # seconds of a timer
_AT_OTHERS: Final = f"waits for its turn at {OTHERS_CONNECTOR}"


class Pause(msgspec.Struct, frozen=True):
    """Why a delivery waits in the store. seconds: for how long."""

    reason: str
    seconds: float


class Pacing:
    """budget: keeps limits and slowdowns. clock: seconds since 1970. wake: begins lanes to a next hop, if it may."""

    def __init__(self, budget: LaneBudget, clock: Callable[[], float], wake: Callable[[HopQueue], None]) -> None:
        self._budget = budget
        self._clock = clock
        self._wake = wake

    def admit(self, hop: HopQueue, backlog: Backlog, now: float) -> bool:
        """Begin an attempt for a backlog, unless a limit lets it wait."""
        slowed = self._budget.slowdowns.of(hop.name)
        if slowed is not None and slowed.wait(now) > 0:
            return False
        if backlog.allowance is not None and not backlog.allowance.admit(now):
            return False
        if slowed is not None:
            slowed.sent(now)
        hop.meter.count(now)
        return True

    def open(self, hop: HopQueue) -> None:
        """Let one message go to a next hop now, however slowly it is sent, as an administrator wants."""
        self._budget.slowdowns.open(hop.name, self._clock())

    def ended(self, turn: Turn) -> None:
        """An attempt has ended."""
        if turn.allowance is not None:
            turn.allowance.ended(self._clock())

    def left(self, hop: HopQueue) -> None:
        """A lane to a next hop has ended."""
        self._budget.leave(hop.name)
        self.follow(hop)

    def follow(self, hop: HopQueue) -> None:
        """See that what is paused at a next hop goes on when it may."""
        if hop.paused and hop.waking is None:
            now = self._clock()
            wait = min(self._wait(hop, backlog, now) for backlog in hop.paused)
            hop.waking = asyncio.get_running_loop().call_later(max(wait, _LEAST), self._go_on, hop)

    def _wait(self, hop: HopQueue, backlog: Backlog, now: float) -> float:
        slowed, allowance = self._budget.slowdowns.of(hop.name), backlog.allowance
        waits = [
            slowed.wait(now) if slowed is not None else 0.0,
            allowance.wait(now) if allowance is not None else 0.0,
        ]
        return max(waits) or POLL * (allowance is not None and allowance.limit.connections > 0)

    def _go_on(self, hop: HopQueue) -> None:
        hop.waking = None
        hop.resume()
        self._wake(hop)

    def full(self, hop: HopQueue, backlog: Backlog) -> Pause | None:
        """Why one more delivery waits in the store, None if it may wait in memory."""
        slowed, allowance = self._budget.slowdowns.of(hop.name), backlog.allowance
        for limit in (allowance, slowed):
            if limit is not None and len(backlog.ready) >= limit.most_in_memory:
                others = concerns_others(dict(backlog.connector))
                return Pause(_AT_OTHERS if others else limit.reason, limit.refill)
        return None

    def enough(self, hop: HopQueue, backlog: Backlog | None) -> int:
        """The number of deliveries of a backlog that are worth having in memory."""
        slowed = self._budget.slowdowns.of(hop.name)
        allowance = backlog.allowance if backlog is not None else None
        return min((limit.most_in_memory for limit in (allowance, slowed) if limit is not None), default=1_000_000)

    def learn(self, hop: HopQueue, outcomes: Sequence[DeliveryResult], *, alone: bool) -> bool:
        """Send less to a next hop that said that it gets too much, and more to one that takes mail; whether it is less.

        alone: no other connection of ours was open. If one was, a connection that was turned away was one too many,
        which says nothing of messages.
        """
        now, slowdowns = self._clock(), self._budget.slowdowns
        deferred = [
            result.reply
            for outcome in outcomes
            if alone or not outcome.crowded
            for result in outcome.results
            if result.disposition is Disposition.DEFERRED
        ]
        if (reply := next((reply for reply in deferred if asks_to_slow_down(reply)), None)) is not None:
            slowdowns.refused(hop.name, hop.meter.rate(now), reply.code, now)
            return True
        if slowdowns and not all(outcome.destination_failed for outcome in outcomes):
            slowdowns.answered(hop.name, now)
        return False
