"""Who is tried when: lanes per destination over fresh mail from memory and deferred mail leased from the store.

The first lane of a destination starts at once, another when something has waited `lane_wait`, up to the limits. After
an attempt that no host answered, the destination is left alone for a while (its gate); a probe that fails again speaks
for all that is due there: each of it waits, is reported late and expires by its own schedule without being tried.
Memory is bounded: what exceeds the window waits in the store, due at once. How mail is delivered is not known here.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

from gatepost.net.tasks import spawn
from gatepost.queue.agenda import Agenda
from gatepost.queue.conclusion import IN_DOUBT, INTERNAL, UNTRIED, suspended, uniform
from gatepost.queue.destination import Destination
from gatepost.queue.settling import Settler
from gatepost.queue.window import QueueLimits, Window
from gatepost.store.interface import StoreFailure
from gatepost.store.queue_id import format_id

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from gatepost.queue.bounce import Bouncer
    from gatepost.queue.outcome import Outcome
    from gatepost.queue.schedule import Schedule
    from gatepost.smtp.replies import Reply
    from gatepost.store.interface import AdminNotice, Delivery, Store

__all__ = ["QueueLimits", "QueueManager"]

_LOOK = 1.0  # seconds at most between looks at the agenda: the clock of the wall may jump
_REFRESH = 600.0  # seconds between asking the store for everything that is deferred; a safety net
_LEASE = 100  # deliveries of one lease
_TURNS = 20  # deliveries of one lane while other destinations wait for theirs
_END = 1.0  # seconds in which a cancelled attempt ends, unless it waits for its last reply
_NAMED = 20  # destinations that are named in one line of the log
_SPEAKS_FOR_ALL = 2  # failed attempts in a row after which the untried mail of a destination is deferred too

_log = logging.getLogger(__name__)


class QueueManager:
    """The queue of one shard. A `store.interface.QueueOwner`; lives on the store's loop.

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
        self._limits = limits or QueueLimits()
        self._paused = paused
        self._clock = clock
        self._window = Window(self._limits)
        self._settler = Settler(store, schedule, bouncer, self._window, clock, settled, self._note, self.failed)
        self._agenda = Agenda()
        self._destinations: dict[str, Destination] = {}
        self._line: deque[Destination] = deque()  # destinations that wait for a lane because all are taken
        self._lanes = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._draining = False
        self._in_doubt = False  # attempts that end now had sent their message
        self._alarm: asyncio.TimerHandle | None = None
        self._refreshed = 0.0
        self._looked = 0.0

    def start(self) -> None:
        """Own the store's deliveries from now on: what a crash left is due at once."""
        self._store.attach(self)
        if not self._paused:
            self._store.bring_forward(self._clock() + self._schedule.longest)
            self._look()

    @property
    def lanes(self) -> int:
        """Attempts that are running."""
        return self._lanes

    @property
    def waiting(self) -> int:
        """Deliveries in memory that wait for a lane."""
        return self._window.waiting

    @property
    def backing_off(self) -> int:
        """Destinations that are left alone for now, as no host answered."""
        now = self._clock()
        return sum(one.gate > now for one in self._destinations.values())

    # QueueOwner

    def offer(self, deliveries: list[Delivery]) -> None:
        """Fresh deliveries, durable and leased to us."""
        if self._paused:
            return  # they stay in the store, fresh, and are taken up by the next start that is not paused
        for delivery in deliveries:
            self._offer(delivery)

    def administered(self, notices: list[AdminNotice]) -> None:
        """An administrator changed the queue: forget what waits here and is not to be tried, take up what is due."""
        for notice in notices:
            destination = self._destinations.get(notice.destination)
            if destination is not None and notice.action in {"hold", "drop", "return"}:
                self._forget(destination, notice)
            if notice.action in {"hold", "drop"}:
                continue
            if destination is not None and notice.action in {"retry", "return"}:
                destination.gate = 0.0
                self._start_lanes(destination)
            self._note(notice.destination, self._clock())

    def _forget(self, destination: Destination, notice: AdminNotice) -> None:
        """The store knows what is to become of it. What is to be returned comes back from there at once."""
        delivery = destination.take(notice.delivery)
        if delivery is not None:
            self._window.waiting -= 1
            self._settler.put_back(delivery, self._clock())
        elif notice.action == "return" and destination.lanes:
            destination.returning.add(notice.delivery)  # in flight, as it seems

    def failed(self, failure: StoreFailure) -> None:
        """Nothing can be settled any more: begin nothing, so that nothing is delivered again and again."""
        if not self._draining:
            _log.critical("the store failed, delivery stops until a new start: %s", failure)
        self._stop()

    async def drain(self, seconds: float, replies: float = 0.0) -> None:
        """Begin nothing new, let attempts end for at most `seconds`, keep the rest in the store.

        Attempts whose message was sent to its end and that lack only the reply get `replies` seconds more: the peer may
        have taken it, and would take it twice.
        """
        self._stop()
        now = self._clock()
        for destination in self._destinations.values():
            self._put_ready_back(destination, now)
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=seconds)
            await self._end(late, replies)

    async def _end(self, late: set[asyncio.Task[None]], replies: float) -> None:
        """What was not sent to its end ends at the first call, the rest at the second."""
        for seconds in (replies, 1.0):
            for task in late:
                task.cancel()
            if late:
                _, late = await asyncio.wait(late, timeout=_END)
            if late and seconds > _END and not self._in_doubt:
                names = ", ".join(sorted(task.get_name() for task in late)[:_NAMED])
                _log.warning("%d messages were sent, and their replies are waited for: %s", len(late), names)
                _, late = await asyncio.wait(late, timeout=seconds - _END)
            self._in_doubt = True

    def _stop(self) -> None:
        self._draining = True
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    # into memory and back

    def _offer(self, delivery: Delivery) -> None:
        destination = self._destination(delivery.destination)
        now = self._clock()
        if destination.gate > now:
            if destination.reply is not None:
                delivery.last_error = delivery.last_error or destination.reply.text
            self._settler.put_back(delivery, destination.gate)
        elif self._draining or self._window.room(len(destination.ready)) <= 0:
            self._settler.put_back(delivery, now)
        else:
            self._make_ready(destination, delivery)
            self._start_lanes(destination)

    def _make_ready(self, destination: Destination, delivery: Delivery) -> None:
        self._window.keep_body(delivery)
        self._window.waiting += 1
        destination.ready.append(delivery)

    def _next(self, destination: Destination) -> Delivery:
        self._window.waiting -= 1
        return destination.ready.popleft()

    def _put_ready_back(self, destination: Destination, due: float) -> None:
        while destination.ready:
            self._settler.put_back(self._next(destination), due)

    def _destination(self, name: str) -> Destination:
        destination = self._destinations.get(name)
        if destination is None:
            destination = self._destinations[name] = Destination(name)
        return destination

    # the agenda

    def _note(self, destination: str, at: float) -> None:
        if self._agenda.note(destination, at) and not self._draining and not self._paused:
            self._set_alarm(at)

    def _set_alarm(self, at: float) -> None:
        """Look at the agenda at `at`, or sooner."""
        if self._alarm is not None:
            self._alarm.cancel()
        wait = min(max(at - self._clock(), 0.0), _LOOK)
        self._alarm = asyncio.get_running_loop().call_later(wait, self._look)

    def _look(self) -> None:
        """Begin what is due, forget destinations that nothing is known of, and come again."""
        if self._draining:
            return
        now = self._clock()
        if now < self._looked - _LOOK:
            self._put_back(now)
        self._looked = now
        if not self._refreshed or abs(now - self._refreshed) >= _REFRESH:
            self._refreshed = now
            self._spawn(self._refresh(), "queue refresh")
            for destination in list(self._destinations.values()):
                self._forget_if_idle(destination)
        while (due := self._agenda.take(now)) is not None:
            destination = self._destination(due)
            if destination.gate > now:
                self._agenda.note(due, destination.gate)
            else:
                destination.more = True
                self._start_lanes(destination)
        self._set_alarm(self._agenda.earliest() or now + _LOOK)

    def _put_back(self, now: float) -> None:
        """The clock was put back: nothing waits longer for that than it would have."""
        _log.warning("the clock was put back by %.0f s; what waits is tried by the new time", self._looked - now)
        self._store.bring_forward(now + self._schedule.longest)
        for destination in self._destinations.values():
            destination.gate = min(destination.gate, now + self._schedule.gate(destination.failures or 1))
        self._agenda = Agenda()
        self._refreshed = 0.0

    async def _refresh(self) -> None:
        for work in await self._store.destinations():
            self._note(work.destination, work.earliest)

    # lanes

    def _start_lanes(self, destination: Destination) -> None:
        """Give a destination that has something to do a lane now, or a place in the line, and see to more lanes."""
        if self._draining or not destination.wants_lane or not destination.allows_lane(self._own_limit):
            return
        waiting = len(destination.ready)
        if destination.lanes == 0:
            self._start_lane(destination)
            waiting -= 1  # the lane takes it in this turn of the loop
        if destination.growing is None and waiting > 0:
            loop = asyncio.get_running_loop()
            destination.growing = loop.call_later(self._limits.lane_wait, self._grow, destination)

    @property
    def _own_limit(self) -> int:
        return self._limits.connections_per_destination

    def _grow(self, destination: Destination) -> None:
        """Something has waited for a while: begin one more lane, unless others wait for their first."""
        destination.growing = None
        if destination.ready and destination.gate <= self._clock() and destination.allows_lane(self._own_limit):
            if self._lanes < self._limits.connections and not self._line:
                self._start_lane(destination)
            self._start_lanes(destination)
        self._forget_if_idle(destination)

    def _start_lane(self, destination: Destination) -> None:
        if self._lanes >= self._limits.connections:
            if not destination.queued:
                destination.queued = True
                self._line.append(destination)
            return
        self._lanes += 1
        destination.lanes += 1
        self._spawn(self._lane(destination), f"lane {destination.name}")

    def _serve_line(self) -> None:
        """A lane is free: the destination that has waited longest gets it."""
        while self._line and self._lanes < self._limits.connections:
            destination = self._line.popleft()
            destination.queued = False
            if destination.wants_lane and destination.allows_lane(self._own_limit):
                self._start_lane(destination)

    async def _lane(self, destination: Destination) -> None:
        turns = 0
        try:
            while not self._draining and destination.gate <= self._clock() and (turns < _TURNS or not self._line):
                if (written := self._store.held_up()) is not None:
                    await written
                elif destination.ready:
                    await self._attempt(destination, self._next(destination))
                    turns += 1
                elif not await self._lease(destination):
                    break
        finally:
            destination.lanes -= 1
            self._lanes -= 1
            if not self._draining:
                self._end_lane(destination)

    def _end_lane(self, destination: Destination) -> None:
        now = self._clock()
        if destination.gate > now:
            if not destination.sweeping:
                self._wait_for_gate(destination)
        elif destination.wants_lane and destination.lanes == 0:
            self._start_lane_in_turn(destination)
        self._forget_if_idle(destination)
        self._serve_line()

    def _wait_for_gate(self, destination: Destination) -> None:
        """What is in memory goes back, and what is due in the store has time until the gate opens."""
        self._put_ready_back(destination, destination.gate)
        if destination.more:
            destination.more = False
            self._note(destination.name, destination.gate)

    def _forget_if_idle(self, destination: Destination) -> None:
        if destination.forgettable(self._clock()):
            self._destinations.pop(destination.name, None)

    def _start_lane_in_turn(self, destination: Destination) -> None:
        """A lane that made way for others comes after them."""
        if self._line:
            if not destination.queued:
                destination.queued = True
                self._line.append(destination)
        else:
            self._start_lane(destination)

    async def _lease(self, destination: Destination) -> bool:
        """Make due deliveries of the store ready; returns whether there were any."""
        if not destination.more or destination.leasing:
            return False
        destination.more = False
        room = min(_LEASE, self._window.room(len(destination.ready)))
        if room <= 0:
            self._note(destination.name, self._clock() + _LOOK)
            return False
        destination.leasing = True
        self._window.waiting += room  # the place is taken, so that no other lease takes it meanwhile
        try:
            deliveries = await self._store.lease(destination.name, room, self._clock())
        finally:
            self._window.waiting -= room
            destination.leasing = False
        for delivery in deliveries:
            self._make_ready(destination, delivery)
        if self._draining:
            self._put_ready_back(destination, self._clock())
        elif len(deliveries) == room:
            destination.more = True
        else:  # if it gave nothing though something is due, it is full or busy just now
            await self._note_earliest(destination, 0.0 if deliveries else self._clock() + _LOOK)
        self._start_lanes(destination)
        return bool(destination.ready)

    async def _attempt(self, destination: Destination, delivery: Delivery) -> None:
        if delivery.returned is not None:
            await self._settler.finish(delivery, uniform(delivery, UNTRIED))
            return
        begun = time.monotonic()
        try:
            outcome = await self._deliver(delivery)
        except asyncio.CancelledError:
            if self._in_doubt:
                delivery.last_error = IN_DOUBT.text
                _log.warning(
                    "message %s to %s may arrive twice: it was sent, and the gateway stopped before the reply",
                    format_id(delivery.message.id),
                    delivery.destination,
                )
            self._settler.put_back(delivery, self._clock())
            raise
        except Exception:  # noqa: BLE001 - one delivery that we cannot handle must not end its lane
            _log.exception("delivery %d to %s: our own failure", delivery.id, delivery.destination)
            outcome = uniform(delivery, INTERNAL)
        outcome = replace(outcome, seconds=time.monotonic() - begun)
        self._judge(destination, outcome)
        await self._settler.finish(delivery, outcome)
        if delivery.id in destination.returning:  # the store has it due now
            destination.returning.discard(delivery.id)
            destination.gate, destination.more = 0.0, True

    def _judge(self, destination: Destination, outcome: Outcome) -> None:
        """What an attempt says of the destination."""
        if not outcome.destination_failed or not outcome.fates:
            destination.recover()
            return
        now = self._clock()
        if destination.gate > now:
            return  # another lane met the same silence a moment ago: that is one failure, not two
        destination.fail(outcome.fates[0].reply, now + self._schedule.gate(destination.failures + 1))
        if destination.failures < _SPEAKS_FOR_ALL:
            self._put_ready_back(destination, destination.gate)
        elif not destination.sweeping:
            destination.sweeping = True
            self._spawn(self._sweep(destination), f"sweep {destination.name}")

    async def _sweep(self, destination: Destination) -> None:
        """Defer all that is due, untried, with what the probe was told."""
        try:
            while not self._draining and destination.reply is not None:
                reply = destination.reply
                batch = [self._next(destination) for _ in range(len(destination.ready))]
                batch = batch or await self._store.lease(destination.name, _LEASE, self._clock())
                if not batch:
                    break
                for delivery in batch:
                    await self._suspend(delivery, reply)
                await self._store.flushed()
        finally:
            destination.sweeping = False
        if not self._draining:
            self._wait_for_gate(destination)
            await self._note_earliest(destination, destination.gate)
            self._forget_if_idle(destination)

    async def _suspend(self, delivery: Delivery, reply: Reply) -> None:
        """Conclude an attempt that was not made. The trace hears of the first one and of the end, not of each hour."""
        if self._draining:
            self._settler.put_back(delivery, self._clock())
            return
        first = not delivery.attempts
        await self._settler.finish(delivery, suspended(delivery, reply), tell_deferral=first)

    async def _note_earliest(self, destination: Destination, not_before: float) -> None:
        if earliest := await self._store.earliest(destination.name):
            self._note(destination.name, max(earliest, not_before))

    def _spawn(self, work: Coroutine[None, None, None], name: str) -> None:
        task = spawn(self._guarded(work), name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guarded(self, work: Coroutine[None, None, None]) -> None:
        try:
            await work
        except StoreFailure as failure:
            self.failed(failure)
