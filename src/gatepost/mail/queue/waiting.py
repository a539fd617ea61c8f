"""The deliveries that wait in memory for a lane: the queues of the next hops, and each delivery's place.

Used by `mail.queue.manager`, `mail.queue.leases` and `mail.queue.sweeper`, which say what comes in and what goes back
to the store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gatepost.mail.queue.hop_queue import HopQueue, Turn, hosts_of

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Hashable, Iterable, Sequence

    from gatepost.mail.model.delivery_result import DeliveryResult
    from gatepost.mail.model.message import Delivery
    from gatepost.mail.queue.backlog import Backlog
    from gatepost.mail.queue.gate import Gate
    from gatepost.mail.queue.memory_budget import MemoryBudget
    from gatepost.mail.queue.pacing import Pacing, Pause
    from gatepost.mail.queue.settlement import Settler


_ORDERS = 1000  # destinations whose mail an administrator wants tried, and that comes from the store yet


class Waiting(msgspec.Struct, frozen=True):
    """hops: by name. by_hosts: the same, by the hosts in that. places: where each ready delivery is, by its id.

    failing: backlogs with failures of their own. pacing: lets attempts wait for limits; without it there are none.
    full: organizations that have their part of all lanes (`mail.queue.lane_budget`). ordered: destinations of which the
    next delivery that comes is tried first, as an administrator wants.
    """

    window: MemoryBudget
    settler: Settler
    clock: Callable[[], float]
    pacing: Pacing | None = None
    full: Container[str] = frozenset()
    hops: dict[str, HopQueue] = msgspec.field(default_factory=dict)
    by_hosts: dict[str, dict[str, HopQueue]] = msgspec.field(default_factory=dict)
    places: dict[int, tuple[HopQueue, Backlog]] = msgspec.field(default_factory=dict)
    failing: dict[Backlog, HopQueue] = msgspec.field(default_factory=dict)
    ordered: dict[str, None] = msgspec.field(default_factory=dict)

    def hop(self, name: str) -> HopQueue:
        """The queue of a next hop, made if there is none."""
        hop_queue = self.hops.get(name)
        if hop_queue is None:
            hop_queue = self.hops[name] = HopQueue(name)
            self.by_hosts.setdefault(hosts_of(name), {})[name] = hop_queue
        return hop_queue

    def add(self, hop: HopQueue, backlog: Backlog, delivery: Delivery, batch: Hashable = None) -> None:
        """Add a delivery that is ready. batch: as in LaneKey."""
        self.window.enter(backlog.organization)
        self.places[delivery.id] = hop, backlog
        hop.add(backlog, delivery, batch)
        if self.ordered and backlog.destination in self.ordered:
            self.put_first(backlog.destination, delivery.id)

    def add_again(self, hop: HopQueue, backlog: Backlog, delivery: Delivery, batch: Hashable = None) -> None:
        """Add a delivery that was not tried in its turn, before the others of its backlog."""
        self.add(hop, backlog, delivery, batch)
        backlog.ready.move_to_end(delivery.id, last=False)

    def put_first(self, destination: str, delivery_id: int) -> None:
        """Give a delivery of a destination the next turn at its next hop, as soon as it is here.

        Where that is sent less, one message goes in between: else its turn would come after all that waits there.
        """
        hop, backlog = self.places.get(delivery_id, (None, None))
        if hop is None or backlog is None:
            self.ordered[destination] = None
            if len(self.ordered) > _ORDERS:
                del self.ordered[next(iter(self.ordered))]
            return
        self.ordered.pop(destination, None)
        backlog.ready.move_to_end(delivery_id, last=False)
        hop.put_first(backlog)
        if self.pacing is not None:
            self.pacing.open(hop)

    def next(self, hop: HopQueue) -> Turn | None:
        """Take out the delivery whose turn it is, with its batch; None if none may be tried."""
        now, pacing = self.clock(), self.pacing
        if pacing is None:
            turn = hop.take(now, full=self.full)
        else:
            turn = hop.take(now, lambda backlog: pacing.admit(hop, backlog, now), self.full)
            pacing.follow(hop)
        for _, delivery in turn.members if turn is not None else ():
            self._left(delivery)
        return turn

    def remove(self, delivery_id: int) -> Delivery | None:
        """Take out a delivery that is not begun."""
        hop, backlog = self.places.get(delivery_id, (None, None))
        if hop is None or backlog is None:
            return None
        delivery = hop.remove(backlog, delivery_id)
        if delivery is not None:
            self._left(delivery)
        return delivery

    def take_ready(self, backlogs: Iterable[Backlog], beyond: int = 0) -> list[Delivery]:
        """Take out all of some backlogs. beyond: of each, without that many that are first."""
        numbers = [number for backlog in backlogs for number in list(backlog.ready)[beyond:]]
        return [delivery for number in numbers if (delivery := self.remove(number)) is not None]

    def put_back(self, backlogs: Iterable[Backlog], due: float) -> None:
        """Put all of some backlogs back into the store, to wait until `due`."""
        for delivery in self.take_ready(backlogs):
            self.settler.put_back(delivery, due)

    def pause(self, delivery: Delivery, pause: Pause) -> None:
        """Let a delivery that is in no backlog wait in the store for a limit, and say so if no attempt said more."""
        delivery.last_error = delivery.last_error if delivery.attempts else pause.reason
        self.settler.put_back(delivery, self.clock() + pause.seconds)

    def learn(self, hop: HopQueue, outcomes: Sequence[DeliveryResult], *, alone: bool) -> None:
        """Tell limits how attempts ended; what a slowed next hop need not have in memory leaves it."""
        if self.pacing is None or not self.pacing.learn(hop, outcomes, alone=alone):
            return
        for backlog in hop.backlogs.values():
            if (pause := self.pacing.full(hop, backlog)) is not None:
                for delivery in self.take_ready([backlog], self.pacing.enough(hop, backlog)):
                    self.pause(delivery, pause)

    def forget_if_idle(self, hop: HopQueue) -> None:
        """Forget a next hop that is idle."""
        if hop.forgettable(self.clock()):
            self.hops.pop(hop.name, None)
            alike = self.by_hosts.get(hosts_of(hop.name), {})
            if alike.pop(hop.name, None) is not None and not alike:
                del self.by_hosts[hosts_of(hop.name)]

    def forget_the_idle(self) -> None:
        """Forget all next hops and failures that no longer count."""
        now = self.clock()
        for backlog in [candidate for candidate in self.failing if not candidate.gate.matters(now)]:
            self.failing.pop(backlog).tidy(backlog, now)
        for hop in list(self.hops.values()):
            if not hop.gate.failures:  # else what was put back comes again, and its backlogs say what was tried
                for backlog in list(hop.backlogs.values()):
                    hop.tidy(backlog, now)
            self.forget_if_idle(hop)

    def shorten_gates(self, now: float, wait: Callable[[int], float]) -> None:
        """Keep no gate closed for longer than `wait` gives for its failures."""
        for gate in self._gates():
            gate.until = min(gate.until, now + wait(gate.failures or 1))

    def open_gates(self, destination: str, usual: str | None) -> set[HopQueue]:
        """Open the gates of a destination, and of the next hops where it failed or usually goes; return those.

        Whatever source address they are called from: some of its mail may go by another connector.
        """
        failing = [backlog for backlog in self.failing if backlog.destination == destination]
        hops = {self.failing[backlog] for backlog in failing}
        if usual is not None:
            hops.update(self.by_hosts.get(hosts_of(usual), {}).values())
        for gate in (*(backlog.gate for backlog in failing), *(hop.gate for hop in hops)):
            gate.open()
        return hops

    def open_gates_after(self, failed: str) -> None:
        """Open the gates whose last reply begins so: what it was about has passed."""
        for gate in self._gates():
            if gate.reply is not None and gate.reply.text.startswith(failed):
                gate.open()

    def _gates(self) -> list[Gate]:
        return [hop.gate for hop in self.hops.values()] + [backlog.gate for backlog in self.failing]

    def backing_off(self) -> int:
        """The number of next hops, and of destinations by themselves, that are in back-off."""
        now = self.clock()
        hops = sum(hop.gate.closed(now) for hop in self.hops.values())
        return hops + sum(backlog.gate.closed(now) for backlog in self.failing)

    def _left(self, delivery: Delivery) -> None:
        self.window.leave(delivery.organization)
        self.places.pop(delivery.id, None)
