"""Defer mail without trying it, when a probe of its next hop or destination has failed again.

Used by `mail.queue.manager`. It takes a third of the time at most, and far less while new mail needs it
(`mail.queue.retry_pace`). Each such delivery waits, is reported late and expires by its own schedule. The store defers
those that need nothing but a new time (`store.suspension`), the others are leased.
"""

from __future__ import annotations

import asyncio
import time
from itertools import batched
from typing import TYPE_CHECKING, Final

import msgspec

from gatepost.mail.queue.retry_decision import UNTRIED, suspended
from gatepost.store.suspension import Suspension

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gatepost.mail.model.message import Delivery
    from gatepost.mail.queue.backlog import Backlog
    from gatepost.mail.queue.gate import Gate
    from gatepost.mail.queue.hop_lookup import HopLookups
    from gatepost.mail.queue.hop_queue import HopQueue, LaneKey
    from gatepost.mail.queue.leases import Leases
    from gatepost.mail.queue.waiting import Waiting
    from gatepost.store.interface import Store

# A destination that was down for an hour may have a million: new mail must not wait behind them.
_BATCH: Final = 50  # deliveries that are leased at once
_IN_STORE: Final = 100  # deliveries that the store defers at once: a commit of new mail waits behind it
_AS_ONE: Final = 10  # of these that take the CPU of one that is leased
_AT_ONCE: Final = 10  # deferred without a turn for sessions
_REST: Final = 2.0  # times of what a batch took, before the next one
_REST_IN_STORE: Final = 5.0  # the same of what the store deferred, which is soon enough through with all
_LONGEST_REST: Final = 1.0  # seconds


class Sweeper(msgspec.Struct, frozen=True):
    """place: takes deliveries that go by another next hop now. stopped: whether the queue ends. gates: being swept."""

    store: Store
    waiting: Waiting
    leases: Leases
    lookups: HopLookups
    place: Callable[[Delivery, LaneKey], None]
    stopped: Callable[[], bool]
    gates: set[Gate] = msgspec.field(default_factory=set)

    async def sweep(self, hop: HopQueue, gate: Gate, backlogs: Sequence[Backlog]) -> None:
        """Defer all that is due of some backlogs, with the reply to the probe. gate: in `gates`."""
        due = dict.fromkeys(backlog.destination for backlog in backlogs)
        if gate is hop.gate:
            due |= dict.fromkeys((*hop.hungry, *hop.sated))
            hop.hungry.clear()
            hop.sated.clear()
        try:
            ready = [
                (delivery, backlog.connector)
                for backlog in backlogs
                for delivery in self.waiting.take_ready((backlog,))
            ]
            for delivery, connector in ready:
                await self._suspend(delivery, gate, connector)
            for destination in due:
                await self._sweep_destination(hop, gate, destination, backlogs)
        finally:
            self.gates.discard(gate)
        if not self.stopped():
            # After a sweep that took longer than the gate was closed: probes failed meanwhile, of backlogs made anew.
            anew = hop.backlogs.values() if gate is hop.gate and gate.failures else ()
            backlogs = list(dict.fromkeys((*backlogs, *anew)))
            self.waiting.put_back(backlogs, gate.until)
            self.waiting.forget_if_idle(hop)

    async def _sweep_destination(
        self, hop: HopQueue, gate: Gate, destination: str, backlogs: Sequence[Backlog]
    ) -> None:
        whole, terms = gate is hop.gate, {backlog.terms for backlog in backlogs}
        while not self.stopped() and gate.reply is not None:
            await self.leases.pace.turn()
            begun = time.monotonic()
            if whole and await self._suspended_in_store(hop, gate, destination):
                await asyncio.sleep(min(_REST_IN_STORE * (time.monotonic() - begun), _LONGEST_REST))
                continue
            batch = await self.store.lease(destination, self.leases.pace.most(_BATCH), self.waiting.clock())
            if not batch:
                break
            self.leases.pace.took(len(batch))
            for some in batched(batch, _AT_ONCE):
                begun_here = self.leases.pace.mark()
                for delivery in some:
                    key = await self.lookups.find(delivery)
                    if key.next_hop == hop.name and (whole or key.terms in terms):
                        await self._suspend(delivery, gate, key.connector)
                    else:
                        self.place(delivery, key)
                self.leases.pace.spent(begun_here, len(some))
                await asyncio.sleep(0)
            await self.store.flushed()
            await asyncio.sleep(min(_REST * (time.monotonic() - begun), _LONGEST_REST))
        if not self.stopped():
            await self.leases.note_earliest(destination, gate.until)

    async def _suspended_in_store(self, hop: HopQueue, gate: Gate, destination: str) -> bool:
        """Defer a part of what is due where it lies; returns whether there may be more that needs nothing else."""
        if gate.reply is None or self.lookups.only_hop(destination) != hop.name:
            return False
        now, schedule = self.waiting.clock(), self.waiting.settler.schedule
        limit = self.leases.pace.most(_IN_STORE)
        reply = gate.reply_for(destination.partition("/")[0]) or UNTRIED
        suspension = Suspension(
            destination,
            limit,
            now,
            waits=schedule.retry,
            received_after=schedule.unnoticed_after(now),
            reply=reply.text,
        )
        deferred = await self.store.suspend(suspension)
        self.leases.pace.took(max(1, deferred // _AS_ONE))
        return deferred == limit

    async def _suspend(self, delivery: Delivery, gate: Gate, connector: tuple[tuple[str, str], ...]) -> None:
        """Conclude an attempt that was not made. The trace hears of the first one and of the end, not of each hour."""
        settler = self.waiting.settler
        if self.stopped():
            settler.put_back(delivery, self.waiting.clock())
            return
        first, reply = not delivery.attempts, gate.reply_for(delivery.organization) or UNTRIED
        await settler.finish(delivery, suspended(delivery, reply, connector), record_deferral=first)
