"""Who is tried when: lanes per destination over fresh mail from memory and deferred mail leased from the store.

The first lane of a destination starts at once, another when something has waited `lane_wait`, up to the limit. After an
attempt that no host answered, the destination is left alone for a while (its gate), and what waits for it goes back to
the store. Memory is bounded: what exceeds the window is deferred, due at once. How mail is delivered is not known here.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gatepost.net.tasks import spawn
from gatepost.queue.destination import Destination
from gatepost.queue.outcome import Fate, Outcome, Sort
from gatepost.queue.verdicts import expired
from gatepost.smtp.replies import Reply
from gatepost.store.interface import Settlement, StoreFailure

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from gatepost.queue.bounce import Bouncer
    from gatepost.queue.schedule import Schedule
    from gatepost.store.interface import AdminNotice, Delivery, Store

__all__ = ["QueueLimits", "QueueManager"]

_POLL_SECONDS = 1.0
_LEASE = 100
_INTERNAL = Reply(451, "4.3.0", ("The attempt failed for a reason of our own",))

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """connections_per_destination: lanes. lane_wait: seconds. window_*: deliveries, and bytes of bodies, in memory."""

    connections_per_destination: int = 20
    lane_wait: float = 0.02
    window_messages: int = 20000
    window_per_destination: int = 1000
    window_bytes: int = 67108864


class QueueManager:
    """The queue of one shard. A `store.interface.QueueOwner`.

    deliver: tries one delivery, never raises for what a peer does. settled: told of each outcome for the trace, with
    the time of the next attempt (0 if none). paused: accept and keep, try nothing.
    """

    def __init__(  # noqa: PLR0913 - the parts a queue is made of, put together in one place
        self,
        store: Store,
        deliver: Callable[[Delivery], Awaitable[Outcome]],
        schedule: Schedule,
        bouncer: Bouncer,
        *,
        settled: Callable[[Delivery, Outcome, float], None],
        limits: QueueLimits | None = None,
        paused: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._deliver = deliver
        self._schedule = schedule
        self._bouncer = bouncer
        self._settled = settled
        self._limits = limits or QueueLimits()
        self._paused = paused
        self._clock = clock
        self._destinations: dict[str, Destination] = {}
        self._waiting = 0  # deliveries that are ready
        self._bytes = 0  # of bodies in memory, ready or in flight
        self._lanes: set[asyncio.Task[None]] = set()
        self._draining = False
        self._poll: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()

    def start(self) -> None:
        """Own the store's deliveries from now on: what a crash left is due at once."""
        self._store.attach(self)
        if not self._paused:
            self._poll = spawn(self._poll_store(), "queue poll")

    # QueueOwner

    def offer(self, deliveries: list[Delivery]) -> None:
        """Fresh deliveries, durable and leased to us."""
        if self._paused:
            return  # they stay in the store, fresh, and are taken up by the next start that is not paused
        for delivery in deliveries:
            self._offer(delivery)

    def administered(self, notices: list[AdminNotice]) -> None:
        """An administrator changed the queue: forget what we hold of it, and try again what is due."""
        for notice in notices:
            destination = self._destinations.get(notice.destination)
            if destination is None:
                continue
            if notice.action in {"hold", "drop"}:
                if (delivery := destination.take(notice.delivery)) is not None:
                    self._waiting -= 1
                    self._put_back(delivery, self._clock())
            else:
                destination.gate, destination.failures = 0.0, 0
                self._start_lanes(destination)
        self._wake.set()

    def failed(self, failure: StoreFailure) -> None:
        """Nothing can be settled any more: stop trying, so that nothing is delivered again and again."""
        _log.critical("the store failed, delivery stops until a new start: %s", failure)
        self._draining = True

    async def drain(self, seconds: float) -> None:
        """Begin nothing new, let attempts end for at most `seconds`, keep the rest in the store."""
        self._draining = True
        if self._poll is not None:
            self._poll.cancel()
        now = self._clock()
        for destination in self._destinations.values():
            self._put_all_back(destination, now)
        if self._lanes:
            _, late = await asyncio.wait(self._lanes, timeout=seconds)
            for lane in late:
                lane.cancel()
            if late:
                await asyncio.wait(late, timeout=1)

    # fresh and deferred work

    def _offer(self, delivery: Delivery) -> None:
        destination = self._destination(delivery.destination)
        now = self._clock()
        full = self._waiting >= self._limits.window_messages
        if self._draining or full or len(destination.ready) >= self._limits.window_per_destination:
            destination.more = True
            self._put_back(delivery, now)
        elif destination.gate > now:
            delivery.last_error = delivery.last_error or destination.last_error
            self._put_back(delivery, destination.gate)
        else:
            self._enqueue(destination, delivery)
            self._start_lanes(destination)

    def _enqueue(self, destination: Destination, delivery: Delivery) -> None:
        if delivery.body is not None:
            if self._bytes + len(delivery.body) > self._limits.window_bytes:
                delivery.body = None  # it is read from the store when its turn comes
            else:
                self._bytes += len(delivery.body)
        destination.ready.append(delivery)
        self._waiting += 1

    def _put_back(self, delivery: Delivery, due: float) -> None:
        self._forget_body(delivery)
        self._settle(Settlement(delivery, delivery.recipients, max(due, 1.0), delivery.last_error))

    def _put_all_back(self, destination: Destination, due: float) -> None:
        while destination.ready:
            self._waiting -= 1
            self._put_back(destination.ready.popleft(), due)

    def _settle(self, settlement: Settlement) -> None:
        try:
            self._store.settle([settlement])
        except StoreFailure as failure:
            _log.error("delivery %d stays as it was: %s", settlement.delivery.id, failure)

    def _forget_body(self, delivery: Delivery) -> None:
        if delivery.body is not None:
            self._bytes -= len(delivery.body)
            delivery.body = None

    def _destination(self, name: str) -> Destination:
        destination = self._destinations.get(name)
        if destination is None:
            destination = self._destinations[name] = Destination(name)
        return destination

    async def _poll_store(self) -> None:
        while not self._draining:
            try:
                await self._lease_due()
            except StoreFailure as failure:
                self.failed(failure)
                return
            self._wake.clear()
            try:
                async with asyncio.timeout(_POLL_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _lease_due(self) -> None:
        now = self._clock()
        for work in await self._store.destinations():
            if work.earliest > now or self._draining:
                continue
            destination = self._destination(work.destination)
            if destination.gate <= now and not destination.ready:
                await self._lease(destination, now)
        for destination in [each for each in self._destinations.values() if each.idle and not each.more]:
            del self._destinations[destination.name]

    async def _lease(self, destination: Destination, now: float) -> None:
        room = min(_LEASE, self._limits.window_messages - self._waiting)
        if room <= 0:
            return
        deliveries = await self._store.lease(destination.name, room, now)
        destination.more = len(deliveries) == room
        for delivery in deliveries:
            self._enqueue(destination, delivery)
        self._start_lanes(destination)

    # lanes

    def _start_lanes(self, destination: Destination) -> None:
        if not destination.ready or self._draining:
            return
        if destination.lanes == 0:
            self._start_lane(destination)
        if destination.growing is None and destination.lanes < self._limits.connections_per_destination:
            loop = asyncio.get_running_loop()
            destination.growing = loop.call_later(self._limits.lane_wait, self._grow, destination)

    def _grow(self, destination: Destination) -> None:
        destination.growing = None
        if destination.ready and destination.lanes < self._limits.connections_per_destination:
            self._start_lane(destination)
            self._start_lanes(destination)

    def _start_lane(self, destination: Destination) -> None:
        destination.lanes += 1
        lane = spawn(self._lane(destination), f"lane {destination.name}")
        self._lanes.add(lane)
        lane.add_done_callback(self._lanes.discard)

    async def _lane(self, destination: Destination) -> None:
        try:
            while not self._draining and destination.gate <= self._clock():
                if not destination.ready and destination.more:
                    destination.more = False
                    await self._lease(destination, self._clock())
                if not destination.ready:
                    return
                self._waiting -= 1
                await self._attempt(destination, destination.ready.popleft())
        except StoreFailure as failure:
            self.failed(failure)
        finally:
            destination.lanes -= 1

    async def _attempt(self, destination: Destination, delivery: Delivery) -> None:
        try:
            outcome = await self._deliver(delivery)
        except asyncio.CancelledError:
            self._put_back(delivery, self._clock())
            raise
        except Exception:  # noqa: BLE001 - one delivery that we cannot handle must not end its lane
            _log.exception("delivery %d to %s: our own failure", delivery.id, delivery.destination)
            fates = [Fate(recipient, Sort.DEFERRED, _INTERNAL, {}) for recipient in delivery.recipients]
            outcome = Outcome(fates)
        await self._conclude(destination, delivery, outcome)

    async def _conclude(self, destination: Destination, delivery: Delivery, outcome: Outcome) -> None:
        now = self._clock()
        delivery.attempts += 1
        if delivery.expires_at and now >= delivery.expires_at:
            outcome = expired(outcome)
        deferred = [fate for fate in outcome.fates if fate.sort is Sort.DEFERRED]
        next_at = 0.0
        if deferred:
            delivery.last_error = deferred[0].reply.text
            next_at = self._schedule.next_attempt(delivery.attempts, now, delivery.expires_at, random.random())  # noqa: S311 - spreads load, guards nothing
        late = self._schedule.delay_due(delivery.message.received, now)
        notices = await self._bouncer.notices(delivery, outcome.fates, late=late, now=now)
        self._forget_body(delivery)
        remaining = [fate.recipient for fate in deferred]
        self._settle(Settlement(delivery, remaining, next_at, delivery.last_error, notices))
        self._settled(delivery, outcome, next_at)
        self._note_health(destination, outcome, now)

    def _note_health(self, destination: Destination, outcome: Outcome, now: float) -> None:
        if not outcome.destination_failed:
            destination.failures = 0
            return
        destination.failures += 1
        destination.gate = now + self._schedule.gate(destination.failures)
        destination.last_error = outcome.fates[0].reply.text if outcome.fates else ""
        self._give_reason(destination.ready, destination.last_error)
        self._put_all_back(destination, destination.gate)

    @staticmethod
    def _give_reason(deliveries: Iterable[Delivery], reason: str) -> None:
        for delivery in deliveries:
            delivery.last_error = delivery.last_error or reason
