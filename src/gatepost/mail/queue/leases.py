"""Lease deferred mail from the store when its destination is due, in turn for each next hop.

Used by `mail.queue.manager`. A destination gets a hundred deliveries at a time and no more while some of them wait, so
that others behind its next hop get their turn. Those whose next hop is not known yet get theirs together.
"""

from __future__ import annotations

import asyncio
import logging
import time
from itertools import islice
from typing import TYPE_CHECKING

from gatepost.mail.queue.due_destinations import DueDestinations
from gatepost.mail.queue.hop_queue import HopFinder, HopQueue, LaneKey
from gatepost.mail.queue.retry_pace import RetryPace

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from gatepost.mail.model.message import Delivery
    from gatepost.mail.queue.backlog import Backlog
    from gatepost.mail.queue.waiting import Waiting
    from gatepost.store.interface import Store


LEASE = 100
"""Deliveries of one lease."""

LOOK = 1.0
"""Seconds at most between two checks of what is due: the wall clock may jump."""

_log = logging.getLogger(__name__)

_LOOK_AT = 1000  # destinations that one look takes up, so that sessions get their turn
_REFRESH = 600.0  # seconds between asking the store for everything that is deferred; a safety net
_HASTE = 60.0  # seconds for which it is asked more often after mail was brought forward: a store moves many in parts,
_HASTY = 5.0  # seconds between that
_SATED = 60.0  # seconds after which a destination with enough mail in memory is checked again; a safety net
_UNKNOWN = LaneKey("")  # of destinations whose next hop has to be looked up
_TOGETHER = 16  # of these that are leased at once: each has little, and there may be thousands
_GATHERED = 0.25  # seconds for which leases of one next hop are gathered, so that one message's share transactions
_SLACK = 0.05  # seconds by which what was deferred together may be due one after the other


class Leases:
    """offer: takes a leased delivery. spawn: begins a task. put_back: called with the time if the clock was put back.

    longest: seconds that anything in the store waits at most (`Schedule.longest`), whatever it says of a time: it may
    say so by a clock that was put back, and be changed only after it was asked.

    per_destination: deliveries of one destination that memory may hold. enough: as many as its limits are worth
    (`mail.queue.pacing`). pace: of all that is taken up again.
    """

    def __init__(  # noqa: PLR0913 - a part of the queue that knows most others
        self,
        store: Store,
        waiting: Waiting,
        finder: HopFinder,
        *,
        offer: Callable[[Delivery], None],
        spawn: Callable[[Coroutine[None, None, None], str], None],
        put_back: Callable[[float], None],
        longest: float,
        per_destination: int,
        enough: Callable[[HopQueue, Backlog | None], int] = lambda _hop, _backlog: 1_000_000,
    ) -> None:
        self._store = store
        self._waiting = waiting
        self._finder = finder
        self.pace = RetryPace()
        self._offer = offer
        self._spawn = spawn
        self._put_back = put_back
        self._longest = longest
        self._half = min(LEASE, per_destination + 1) // 2
        self._limited = enough
        self._clock = waiting.clock
        self._agenda = DueDestinations()
        self._alarm: asyncio.TimerHandle | None = None
        self._refreshed = self._hasty_until = 0.0
        self._looked = 0.0
        self._stopped = False
        self._resting = False

    def rest(self, *, resting: bool) -> None:
        """Lease nothing for now, as other nodes do; or go on, with all that is deferred by then."""
        self._resting = resting
        if not resting:
            self._refreshed = 0.0

    def stop(self) -> None:
        """Lease nothing any more."""
        self._stopped = True
        self._store.stop_leasing()
        self.pace.stop()
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def note(self, destination: str, at: float) -> None:
        """Note that a destination has something due at a time, in seconds since 1970."""
        if self._agenda.note(destination, at) and self._alarm is not None and not self._stopped:
            self._set_alarm(at)

    async def bring_forward(self, failed: str) -> None:
        """Take up what waits in the store and whose last error begins so."""
        self._store.bring_forward(self._clock(), failed)
        await self._store.flushed()
        self._refreshed, self._hasty_until = 0.0, self._clock() + _HASTE

    def look(self) -> None:
        """Begin what is due, forget idle next hops, and set the next alarm."""
        if self._stopped:
            return
        now = self._clock()
        if now < self._looked - LOOK:
            _log.warning("the clock was put back by %.0f s; what waits is tried by the new time", self._looked - now)
            self._put_back(now)
            self._agenda = DueDestinations()
            self._refreshed = self._hasty_until = 0.0
        self._looked = now
        every = _HASTY if now < self._hasty_until else _REFRESH
        if not self._refreshed or abs(now - self._refreshed) >= every:
            self._refreshed = now
            self._spawn(self._refresh(), "queue refresh")
            self._waiting.forget_the_idle()
        for _ in range(_LOOK_AT):
            if (due := self._agenda.take(now)) is None:
                break
            self._take_up(due, now)
        self._set_alarm(self._agenda.earliest() or now + LOOK)

    def made_room(self, hop: HopQueue, backlog: Backlog) -> None:
        """Note that a delivery of a backlog has left for a lane."""
        enough = self._enough(hop, backlog) if hop.sated else 0
        if len(backlog.ready) < enough and backlog.destination in hop.sated:
            hop.hungry[backlog.destination] = hop.sated.pop(backlog.destination)
        self._feed(hop)

    def _enough(self, hop: HopQueue, backlog: Backlog | None) -> int:
        """The deliveries in memory with which a destination gets no lease."""
        return min(self._half, (self._limited(hop, backlog) + 1) // 2)

    def postpone(self, hop: HopQueue, due: float) -> None:
        """Lease nothing for a next hop before `due`."""
        for destination in (*hop.hungry, *hop.sated):
            self.note(destination, due)
        hop.hungry.clear()
        hop.sated.clear()

    async def note_earliest(self, destination: str, not_before: float) -> None:
        """Note what the store has of a destination."""
        if earliest := await self._store.earliest(destination):
            self._note_stored(destination, max(earliest, not_before))

    def _note_stored(self, destination: str, at: float) -> None:
        self.note(destination, min(at, self._clock() + self._longest))

    def _set_alarm(self, at: float) -> None:
        """Check what is due at `at`, or sooner."""
        if self._alarm is not None:
            self._alarm.cancel()
        ahead = at - self._clock()
        wait = min(ahead + _SLACK if ahead > 0 else 0.0, LOOK)
        self._alarm = asyncio.get_running_loop().call_later(wait, self.look)

    async def _refresh(self) -> None:
        for work in await self._store.destinations():
            self._note_stored(work.destination, work.earliest)

    def _take_up(self, destination: str, now: float) -> None:
        """Note that a destination has something due in the store."""
        unknown = self._waiting.hops.get(_UNKNOWN.next_hop)
        if unknown is not None and destination in unknown.hungry:
            return  # it is told again and again while thousands wait for their turn
        key = self._finder.usual(destination) or _UNKNOWN
        hop = self._waiting.hops.get(key.next_hop)
        backlog = hop.backlogs.get((destination, key.terms)) if hop is not None else None
        until = max((queue.gate.until for queue in (hop, backlog) if queue is not None), default=0.0)
        if until <= now and not (backlog is not None and backlog.ready) and self._has_its_share(destination):
            until = now + LOOK
        if until > now:
            self._agenda.note(destination, until)
        else:
            hop = self._waiting.hop(key.next_hop)
            if destination in self._waiting.ordered:
                hop.hungry = {destination: key.terms} | hop.hungry
            else:
                hop.hungry[destination] = key.terms
            self._feed(hop)
        if hop is not None:
            self._waiting.forget_if_idle(hop)

    def _has_its_share(self, destination: str) -> bool:
        """Whether its organization may have nothing more in memory, where others may: these wait for no turns of it."""
        window = self._waiting.window
        return window.room(destination.partition("/")[0], 0) <= 0 < window.room_at_next_hop(0)

    def _feed(self, hop: HopQueue) -> None:
        """Lease for the destinations that have something due, if there is room; else later."""
        if not hop.hungry or hop.leasing or self._stopped or self._resting:
            return
        if self._waiting.window.room_at_next_hop(hop.size) > 0:
            hop.leasing = True
            self._spawn(self._lease_by_turns(hop), f"leases for {hop.name}")
        elif not hop.size:
            self._wait_for_room(hop)

    def _wait_for_room(self, hop: HopQueue) -> None:
        """The window is full of what goes elsewhere, and nothing that leaves from here will call for more."""
        self.postpone(hop, self._clock() + LOOK)

    def _may_lease(self, hop: HopQueue) -> bool:
        return not (self._stopped or self._resting) and self._waiting.window.room_at_next_hop(hop.size) > 0

    async def _lease_by_turns(self, hop: HopQueue) -> None:
        gathered: dict[str, list[Delivery]] = {}
        until = time.monotonic() + _GATHERED
        try:
            while hop.hungry and self._may_lease(hop) and not hop.gate.closed(self._clock()):
                if self.pace.pressure:  # the turn may take long, and what was gathered is leased
                    self._offer_all(gathered)
                await self.pace.turn()
                if not (hop.hungry and self._may_lease(hop)):  # an attempt may have closed the gate meanwhile
                    break
                # What is gathered is not counted yet where it will wait: so no destination gets a second lease.
                if time.monotonic() > until or next(iter(hop.hungry)) in gathered:
                    self._offer_all(gathered)
                    until = time.monotonic() + _GATHERED
                self.pace.took(await self._lease_next(hop, gathered))
        finally:
            self._offer_all(gathered)
            hop.leasing = False
        now = self._clock()
        if hop.gate.closed(now):
            self.postpone(hop, hop.gate.until)
        elif not hop.size:
            self._wait_for_room(hop)
        self._waiting.forget_if_idle(hop)

    def _offer_all(self, gathered: dict[str, list[Delivery]]) -> None:
        deliveries = [delivery for some in gathered.values() for delivery in some]
        gathered.clear()
        for delivery in deliveries:
            self._waiting.window.leave(delivery.organization)
        for delivery in deliveries:
            self._offer(delivery)

    async def _lease_next(self, hop: HopQueue, gathered: dict[str, list[Delivery]]) -> int:
        """Lease for the destination whose turn it is, or for several whose next hop is not known; returns how many."""
        some = list(islice(hop.hungry.items(), _TOGETHER if hop.name == _UNKNOWN.next_hop else 1))
        for destination, _ in some:
            del hop.hungry[destination]
        if len(some) == 1:
            return await self._lease(hop, *some[0], gathered)
        leases = [self._lease(hop, *lease, gathered) for lease in some]
        counts = await asyncio.gather(*leases, return_exceptions=True)  # what one gathers after another failed counts
        if failures := [count for count in counts if isinstance(count, BaseException)]:
            raise failures[0]
        return sum(count for count in counts if isinstance(count, int))

    async def _lease(self, hop: HopQueue, destination: str, terms: str, gathered: dict[str, list[Delivery]]) -> int:
        """Gather due deliveries of a destination; returns how many."""
        backlog, window = hop.backlogs.get((destination, terms)), self._waiting.window
        organization = destination.partition("/")[0]
        ready = len(backlog.ready) if backlog is not None else 0
        enough = self._enough(hop, backlog)
        room = min(
            self.pace.most(LEASE), window.room(organization, ready, hop.size), self._limited(hop, backlog) - ready
        )
        if ready > enough or room <= 0:
            if ready:  # what leaves calls for more
                hop.sated[destination] = terms
            self.note(destination, self._clock() + (_SATED if ready else LOOK))
            return 0
        window.enter(organization, room)  # the place is taken, so that no other lease takes it meanwhile
        try:
            deliveries = await self._store.lease(destination, room, self._clock())
        finally:
            window.leave(organization, room)
        gathered.setdefault(destination, []).extend(deliveries)
        for delivery in deliveries:
            window.enter(delivery.organization)
        if len(deliveries) == room:
            hop.hungry[destination] = terms
        elif not self._stopped:  # if it gave nothing though something is due, it is full or busy just now
            await self.note_earliest(destination, 0.0 if deliveries else self._clock() + LOOK)
        return len(deliveries)
