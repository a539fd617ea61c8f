"""The queue manager: runs lanes per next hop over fresh mail from memory and deferred mail leased from the store.

A next hop is a set of hosts, whatever domains lead there: limits and silence are its own, and the domains behind it
get its lanes by turns. The first lane starts at once, another when something has waited `lane_wait`, up to the limits.
After an attempt that no host answered, the next hop is left alone for a while (its gate); a probe that fails again
speaks for all that is due there: each of it waits, is reported late and expires by its own schedule without being
tried. What fails for reasons of one destination closes the gate of that alone. Memory is bounded: what exceeds the
window waits in the store, due at once. How mail is delivered is not known here.
"""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial
from typing import TYPE_CHECKING

from gatepost.mail.queue.hop_lookup import HopLookups
from gatepost.mail.queue.hop_queue import EACH_ITS_OWN, LaneKey
from gatepost.mail.queue.lane_budget import LaneBudget, LaneLine
from gatepost.mail.queue.leases import LOOK, Leases
from gatepost.mail.queue.memory_budget import MemoryBudget, QueueLimits
from gatepost.mail.queue.pacing import Pacing
from gatepost.mail.queue.retry_decision import INTERNAL, UNTRIED, uniform
from gatepost.mail.queue.settlement import Settler, note_in_doubt
from gatepost.mail.queue.sweeper import Sweeper
from gatepost.mail.queue.waiting import Waiting
from gatepost.net.tasks import end_tasks, spawn
from gatepost.quantity import quantity
from gatepost.store.interface import StoreFailure
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Hashable, Iterable, Sequence

    from gatepost.mail.model.delivery_result import DeliveryResult
    from gatepost.mail.model.message import Delivery
    from gatepost.mail.queue.backlog import Backlog
    from gatepost.mail.queue.bounce import Bouncer
    from gatepost.mail.queue.hop_queue import HopFinder, HopQueue, Turn
    from gatepost.mail.queue.journal_failures import JournalFailures
    from gatepost.mail.queue.schedule import Schedule
    from gatepost.store.interface import AdminNotice, DestinationWork, Store

    type DeliverBatch = Callable[
        [Sequence[Delivery], Callable[[Delivery, Hashable], None]], Awaitable[Sequence[DeliveryResult]]
    ]


_TURNS = 20  # deliveries of one lane while other next hops wait for theirs
_END = 1.0  # seconds in which a cancelled attempt ends, unless it waits for its last reply
_NAMED = 20  # lanes that are named in one line of the log
_SPEAKS_FOR_ALL = 2  # failed attempts in a row after which the untried mail is deferred too
_CROWDED_SPEAKS_FOR_ALL = 5  # the same where hosts are there, but too busy for us
_CROWDED_GATE = 60.0  # seconds that a busy next hop is left alone at most
_TURNED_AWAY = 5  # times that a delivery which met a busy host is tried again at once

_LIMITS = QueueLimits()

_log = logging.getLogger(__name__)


class QueueManager:
    """The queue of one shard. A `store.interface.QueueOwner`; lives on the store's loop.

    deliver: tries one delivery, never raises for what a peer does. deliver_batch: the same for the first of a batch and
    those that can share its transactions; before anything is sent it calls its second argument with each other one and
    the batch to which that belongs now. finder: finds lanes of deliveries. budget: lanes that this queue shares with
    others. journals: keeps journal copies that fail. settled: called with each result for the trace, and the time of
    the next attempt (0 if none). paused: accept and keep, try nothing.
    """

    _lanes = 0
    _draining = False
    _in_doubt = False  # attempts that end now had sent their message

    def __init__(  # noqa: PLR0913 - the parts a queue is made of, put together in one place
        self,
        store: Store,
        deliver: Callable[[Delivery], Awaitable[DeliveryResult]],
        schedule: Schedule,
        bouncer: Bouncer,
        *,
        settled: Callable[[Delivery, DeliveryResult, float], None],
        deliver_batch: DeliverBatch | None = None,
        finder: HopFinder = EACH_ITS_OWN,
        budget: LaneBudget | None = None,
        limits: QueueLimits = _LIMITS,
        journals: JournalFailures | None = None,
        paused: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._deliver = deliver
        self._deliver_batch = deliver_batch
        self._schedule, self._finder, self._limits = schedule, finder, limits
        self._budget = budget or LaneBudget(limits.connections, limits.connections_per_destination, time.monotonic)
        self._budget.tell(self._freed)
        self._paused = paused
        self._clock = clock
        self._window = MemoryBudget(limits, self._budget.share_out(limits.window_messages))
        self._settler = Settler(
            store, schedule, bouncer, self._window, clock, settled, self._note, self.failed, journals, self.offer
        )
        self._pacing = Pacing(self._budget, clock, self._start_lanes)
        self._waiting = Waiting(self._window, self._settler, clock, self._pacing, self._budget.organizations)
        place, running = partial(self._place, again=LOOK), self._budget.share_out(limits.connections)
        self._lookups = HopLookups(finder, running, self._window, self._spawn, partial(place, kept=True))
        self._leases = Leases(
            store,
            self._waiting,
            finder,
            offer=partial(self._offer, again=LOOK),
            spawn=self._spawn,
            put_back=self._put_back,
            longest=schedule.longest,
            per_destination=limits.window_per_destination,
            enough=self._pacing.enough,
        )
        self._sweeper = Sweeper(store, self._waiting, self._leases, self._lookups, place, lambda: self._draining)
        self._line = LaneLine(self._budget.organizations)
        self._in_flight: set[int] = set()
        self._again: set[int] = set()  # of these, what is due at once if it is deferred: an administrator ordered it
        self._turned_away: dict[int, int] = {}  # delivery -> times that hosts were too busy for it
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Own the store's deliveries from now on: what a crash left is due at once."""
        self._store.attach(self)
        if not self._paused:
            self._store.bring_forward(self._clock() + self._schedule.longest)
            self._leases.look()

    @property
    def lanes(self) -> int:
        """The number of attempts that are running."""
        return self._lanes

    @property
    def waiting(self) -> int:
        """The number of deliveries in memory that wait for a lane."""
        return self._window.waiting

    @property
    def backing_off(self) -> int:
        """The number of next hops, and of destinations by themselves, that are in back-off."""
        return self._waiting.backing_off()

    def offer(self, deliveries: list[Delivery]) -> None:
        """Take fresh deliveries, durable and leased to us."""
        if self._paused:
            return  # they stay in the store, fresh, and are taken up by the next start that is not paused
        self._leases.pace.arrived()
        for delivery in deliveries:
            self._offer(delivery, again=0.0, alone=len(deliveries) == 1)

    def administered(self, notices: list[AdminNotice]) -> None:
        """Follow an administrator's change: forget what waits here and is not to be tried, take up what is due."""
        retried = []
        for notice in notices:
            if notice.action in {"hold", "drop", "return"}:
                self._forget(notice)
            if notice.action in {"hold", "drop"}:
                continue
            if notice.delivery in self._in_flight:
                self._again.add(notice.delivery)
            elif notice.delivery:  # it waits here, or was put off a moment ago
                retried.append((notice.message, notice.delivery))
            if notice.action in {"retry", "return"}:
                self._open_gates(notice.destination, notice.delivery)
            self._note(notice.destination, self._clock())
        self._settler.retry(retried, self._clock())

    def _forget(self, notice: AdminNotice) -> None:
        """Put a delivery back into the store, which has the order. What is to be returned comes back at once."""
        delivery = self._waiting.remove(notice.delivery) or self._lookups.remove(notice.destination, notice.delivery)
        if delivery is not None:
            self._settler.put_back(delivery, self._clock())

    def _open_gates(self, destination: str, delivery: int = 0) -> None:
        """Let one attempt be made for a destination, whatever failed before, and before all others."""
        self._waiting.put_first(destination, delivery)
        usual = self._finder.usual(destination)
        for hop in self._waiting.open_gates(destination, usual and usual.next_hop):
            self._start_lanes(hop)

    def failed(self, failure: StoreFailure) -> None:
        """Begin nothing any more: nothing can be settled, and mail would be delivered again and again."""
        if not self._draining:
            _log.critical("the store failed, delivery stops until a new start: %s", failure)
        self._stop()

    def try_again(self, failed: str) -> None:
        """Try now what waits and whose last error begins so: what it was about has passed."""
        if not self._paused and not self._draining:
            self._waiting.open_gates_after(failed)
            self._spawn(self._leases.bring_forward(failed), "what need not wait any longer")

    def rest(self, *, resting: bool) -> None:
        """Take no deferred mail from a store that other nodes lease from, too; or take some again."""
        self._leases.rest(resting=resting)

    def due(self, work: list[DestinationWork]) -> None:
        """Look after mail that others left or deferred; a store that is shared says so."""
        for destination in work:
            self._note(destination.destination, destination.earliest)

    def disowned(self) -> None:
        """Forget all that waits here: others try it. Attempts that run end, and what they say is not heard."""
        forgotten = self._lookups.take_all()
        for hop in self._waiting.hops.values():
            forgotten += self._waiting.take_ready(hop.backlogs.values())
        for delivery in forgotten:
            self._window.forget_body(delivery)
        _log.warning("other processes now try %s that waited here", quantity(len(forgotten), "delivery", "deliveries"))

    async def drain(self, seconds: float, replies: float = 0.0) -> None:
        """Begin nothing new, let attempts end for at most `seconds`, keep the rest in the store.

        Attempts whose message was sent to its end and that lack only the reply get `replies` seconds more: the peer may
        have taken it, and would take it twice.
        """
        self._stop()
        now = self._clock()
        for hop in self._waiting.hops.values():
            self._waiting.put_back(hop.backlogs.values(), now)
        for delivery in self._lookups.take_all():
            self._settler.put_back(delivery, now)
        until = time.monotonic() + seconds + replies
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=seconds)
            await self._end(late, until)

    async def _end(self, late: set[asyncio.Task[None]], until: float) -> None:
        """Cancel attempts: the first time ends what was not sent to its end, the second, at `until`, all the rest."""
        late = await end_tasks(late, _END)
        if late and (rest := until - time.monotonic()) > 0:
            names = ", ".join(sorted(task.get_name() for task in late)[:_NAMED])
            _log.warning("%d messages were sent, and their replies are waited for: %s", len(late), names)
            _, late = await asyncio.wait(late, timeout=rest)
        self._in_doubt = True
        await end_tasks(late, _END)

    def _stop(self) -> None:
        self._draining = True
        self._leases.stop()

    def _note(self, destination: str, at: float) -> None:
        self._leases.note(destination, at)

    def _put_back(self, now: float) -> None:
        """Shorten what waits after the clock was put back: nothing waits longer for that."""
        self._store.bring_forward(now + self._schedule.longest)
        self._waiting.shorten_gates(now, self._schedule.gate)

    # into memory and back

    def _offer(self, delivery: Delivery, *, again: float, alone: bool = False) -> None:
        """Take a delivery that is leased to us. again: seconds after which it is taken up if there is no room now.

        alone: as `HopFinder.known` has it.
        """
        if (key := self._finder.known(delivery, alone=alone)) is not None:
            self._place(delivery, key, again)
        elif self._draining or self._lookups.room(delivery) <= 0:
            self._settler.put_back(delivery, self._clock() + again)
        else:
            self._window.keep_body(delivery)
            self._lookups.add(delivery)

    def _place(self, delivery: Delivery, key: LaneKey, again: float, *, kept: bool = False) -> None:
        """Put a delivery where it waits for its lane. again: as in `_offer`. kept: its body is counted already."""
        hop = self._waiting.hop(key.next_hop)
        backlog = hop.backlog(delivery.destination, key.terms)
        backlog.allowance, backlog.connector = self._budget.allowance(hop.name, key.limit), key.connector
        now = self._clock()
        gate = hop.gate if hop.gate.closed(now) else backlog.gate
        if gate.closed(now):
            if (reply := gate.reply_for(backlog.organization)) is not None:
                delivery.last_error = delivery.last_error or reply.text
            self._settler.put_back(delivery, gate.until)
        elif not self._draining and (pause := self._pacing.full(hop, backlog)) is not None:
            self._waiting.pause(delivery, pause)
        elif self._draining or self._window.room(backlog.organization, len(backlog.ready), hop.size) <= 0:
            self._settler.put_back(delivery, now + again)
        else:
            if not kept:
                self._window.keep_body(delivery)
            batched = self._deliver_batch is not None and delivery.returned is None
            self._waiting.add(hop, backlog, delivery, key.batch if batched else None)
            self._start_lanes(hop)
            return
        hop.tidy(backlog, now)
        self._waiting.forget_if_idle(hop)

    def _may_begin(self, hop: HopQueue) -> bool:
        """Whether a next hop has something to do for one more lane, and may have it: a silent one is probed by one."""
        if self._draining or not hop.rotation or hop.gate.closed(self._clock()):
            return False
        return hop.lanes == 0 if hop.gate.failures else self._budget.allows(hop.name)

    def _start_lanes(self, hop: HopQueue) -> None:
        """Give a next hop that has something to do a lane now, or a place in the line, and see to more lanes."""
        if not self._may_begin(hop):
            return
        waiting = hop.size
        if hop.lanes == 0:
            self._start_lane(hop)
            waiting -= 1  # the lane takes it in this turn of the loop
        if hop.lanes and hop.growing is None and waiting > 0:
            hop.growing = asyncio.get_running_loop().call_later(self._limits.lane_wait, self._grow, hop)

    def _grow(self, hop: HopQueue) -> None:
        """Something has waited for a while: begin one more lane, unless others wait for their first."""
        hop.growing = None
        if self._may_begin(hop):
            if not self._budget.exhausted and not self._line:
                self._start_lane(hop)
            self._start_lanes(hop)
        self._waiting.forget_if_idle(hop)

    def _start_lane(self, hop: HopQueue) -> None:
        organization = hop.rotation.first(self._budget.organizations)
        if self._budget.exhausted or organization is None:
            self._line.stand(hop)
            return
        self._lanes += 1
        hop.lanes += 1
        self._budget.take(hop.name)
        self._budget.organizations.begin(organization)  # at once: else all free lanes begin, and all but one in vain
        self._spawn(self._lane(hop, organization), f"lane {hop.name}")

    def _freed(self, next_hop: str) -> None:
        """Give a lane that has ended, of this queue or another, to the next hop that has waited longest."""
        hop = self._waiting.hops.get(next_hop)
        if hop is not None and self._may_begin(hop):
            if hop.lanes or self._line:
                self._line.stand(hop)  # a lane that made way for others, or had no turn, comes after them
            else:
                self._start_lanes(hop)
        self._serve_line()

    def _serve_line(self) -> None:
        while not self._budget.exhausted and (first := self._line.next()) is not None:
            self._start_lanes(first)
            self._waiting.forget_if_idle(first)

    async def _lane(self, hop: HopQueue, organization: str) -> None:
        self._budget.organizations.end(organization)
        turns = 0
        try:
            while not self._draining and not hop.gate.closed(self._clock()) and (turns < _TURNS or not self._line):
                if self._budget.lanes(hop.name) > self._budget.limit(hop.name):
                    break  # it turned connections away
                if (written := self._store.held_up()) is not None:
                    await written
                    continue
                if (turn := self._waiting.next(hop)) is None:
                    break
                for backlog, _ in turn.members:
                    self._leases.made_room(hop, backlog)
                await self._attempt(hop, turn)
                turns += 1
        finally:
            hop.lanes -= 1
            self._lanes -= 1
            if not self._draining and hop.gate.closed(self._clock()) and hop.gate not in self._sweeper.gates:
                self._waiting.put_back(hop.backlogs.values(), hop.gate.until)
            self._pacing.left(hop)
            self._budget.release(hop.name)
            self._waiting.forget_if_idle(hop)

    async def _attempt(self, hop: HopQueue, turn: Turn) -> None:
        self._in_flight.update([delivery.id for _, delivery in turn.members])
        organization = turn.members[0][0].organization
        self._budget.organizations.begin(organization)
        self._serve_line()  # the lane's attempt before was perhaps the one that another organization had too many
        try:
            await self._try(hop, turn)
        finally:
            self._budget.organizations.end(organization)
            self._pacing.ended(turn)
            for backlog, delivery in turn.members:
                self._in_flight.discard(delivery.id)
                hop.ended(backlog, self._clock())

    async def _try(self, hop: HopQueue, turn: Turn) -> None:
        _, first = turn.members[0]
        if first.returned is not None:
            await self._settler.finish(first, uniform(first, UNTRIED))
            return
        begun = time.monotonic()
        outcomes = await self._outcomes(hop, turn)
        self._waiting.learn(hop, outcomes, alone=self._budget.lanes(hop.name) <= 1)
        if self._makes_way(hop, turn, outcomes):
            return
        for (backlog, _), outcome in zip(turn.members, outcomes, strict=True):
            self._judge(hop, backlog, outcome, begun)
        seconds = time.monotonic() - begun
        if len(outcomes) == 1:
            await self._finish(turn.members[0][1], replace(outcomes[0], seconds=seconds))
            return
        # At once: that one needs a notice keeps no other from being settled, should the queue end meanwhile.
        finished = zip(turn.deliveries, outcomes, strict=True)
        await asyncio.gather(*(self._finish(each, replace(outcome, seconds=seconds)) for each, outcome in finished))

    async def _outcomes(self, hop: HopQueue, turn: Turn) -> Sequence[DeliveryResult]:
        """Results for each member of a turn. What cannot be tried with the first is not a member any more."""
        _, first = turn.members[0]
        try:
            if self._deliver_batch is None or len(turn.members) == 1:
                return [await self._deliver(first)]
            return await self._deliver_batch(turn.deliveries, partial(self._leave_out, hop, turn))
        except asyncio.CancelledError:
            for delivery in turn.deliveries:
                self._interrupted(delivery)
            raise
        except Exception:  # noqa: BLE001 - one delivery that we cannot handle must not end its lane
            _log.exception("delivery %d to %s: our own failure", first.id, first.destination)
            return [uniform(delivery, INTERNAL) for delivery in turn.deliveries]

    def _leave_out(self, hop: HopQueue, turn: Turn, delivery: Delivery, batch: Hashable) -> None:
        """Let a delivery wait for a lane again, with those of another batch or, if that is None, by itself."""
        (place,) = [place for place, candidate in enumerate(turn.deliveries) if candidate is delivery]
        backlog, _ = turn.members.pop(place)
        self._in_flight.discard(delivery.id)
        hop.ended(backlog, self._clock())
        self._place(delivery, LaneKey(hop.name, backlog.terms, batch, connector=backlog.connector), LOOK, kept=True)

    def _interrupted(self, delivery: Delivery) -> None:
        """Handle an attempt that was cancelled because the queue ends."""
        if self._in_doubt:
            note_in_doubt(delivery, delivery.recipients)
        self._settler.put_back(delivery, self._clock())

    async def _finish(self, delivery: Delivery, outcome: DeliveryResult) -> None:
        await self._settler.finish(delivery, outcome)
        if delivery.id in self._again:
            self._again.remove(delivery.id)
            self._settler.retry([(delivery.message.id, delivery.id)], self._clock())
            self._open_gates(delivery.destination)
            self._note(delivery.destination, self._clock())

    # what an attempt says of the next hop, and of the destination

    def _makes_way(self, hop: HopQueue, turn: Turn, outcomes: Sequence[DeliveryResult]) -> bool:
        """Whether hosts turned a connection away while others of ours are open, for which its deliveries wait."""
        times = max([self._turned_away.pop(delivery.id, 0) for _, delivery in turn.members]) if self._turned_away else 0
        crowded = all(outcome.crowded for outcome in outcomes)
        if not crowded or self._budget.lanes(hop.name) <= 1 or times >= _TURNED_AWAY or self._draining:
            return False
        self._budget.turned_away(hop.name)
        if hop.gate.closed(self._clock()):
            return False
        for backlog, delivery in turn.members:
            self._turned_away[delivery.id] = times + 1
            self._waiting.add_again(hop, backlog, delivery, turn.batch)
        return True

    def _judge(self, hop: HopQueue, backlog: Backlog, outcome: DeliveryResult, begun: float) -> None:
        if not outcome.destination_failed or not outcome.results:
            hop.gate.recover()
            hop.answered = time.monotonic()
            backlog.gate.recover()
            self._waiting.failing.pop(backlog, None)
            self._budget.answered(hop.name)
        elif not outcome.next_hop_failed:
            self._waiting.failing[backlog] = hop
            self._close(hop, backlog, [backlog], outcome)
        elif hop.answered < begun:  # else others got through meanwhile
            self._close(hop, backlog, hop.backlogs.values(), outcome)

    def _close(self, hop: HopQueue, tried: Backlog, backlogs: Iterable[Backlog], outcome: DeliveryResult) -> None:
        """Try nothing of some backlogs for a while: of the one that was tried, or of its next hop."""
        now = self._clock()
        gate = hop.gate if outcome.next_hop_failed else tried.gate
        if gate.closed(now):
            return  # another lane met the same silence a moment ago: that is one failure, not two
        wait = self._schedule.gate(gate.failures + 1)
        until = now + (min(wait, _CROWDED_GATE) if outcome.crowded else wait)
        gate.fail(outcome.results[0].reply, until, tried.organization)
        if gate.failures < (_CROWDED_SPEAKS_FOR_ALL if outcome.crowded else _SPEAKS_FOR_ALL):
            self._waiting.put_back(backlogs, gate.until)
            if gate is hop.gate:
                self._leases.postpone(hop, gate.until)
        elif gate not in self._sweeper.gates:
            self._sweeper.gates.add(gate)
            self._spawn(self._sweeper.sweep(hop, gate, list(backlogs)), f"sweep {hop.name}")

    def _spawn(self, work: Coroutine[None, None, None], name: str) -> None:
        task = spawn(self._guarded(work), name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guarded(self, work: Coroutine[None, None, None]) -> None:
        try:
            await work
        except StoreFailure as failure:
            self.failed(failure)
