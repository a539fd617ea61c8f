"""What the queue knows of one next hop while it has work for it: whose mail is ready, how many lanes run, when to wait.

A next hop is a set of hosts that mail is sent to: the smart hosts of a connector, or the MX hosts that several domains
have in common. Which one a delivery goes to is for `mail.outbound.next_hops` to say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from gatepost.mail.queue.backlog import Backlog, Rotation
from gatepost.mail.queue.gate import Gate

if TYPE_CHECKING:
    import asyncio

    from gatepost.mail.model.message import Delivery


class LaneKey(NamedTuple):
    """Where a delivery goes.

    next_hop: names the hosts. terms: what is asked of the way, as far as one delivery of a destination may fail for it
    where another gets through; "" for the usual ones.
    """

    next_hop: str
    terms: str = ""


class HopFinder(Protocol):
    """Says where deliveries go."""

    def known(self, delivery: Delivery) -> LaneKey | None:
        """Where a delivery goes if nothing need be looked up for that, else None."""

    async def find(self, delivery: Delivery) -> LaneKey:
        """Where a delivery goes, after looking that up."""

    def usual(self, destination: str) -> LaneKey | None:
        """Where mail for a destination goes as a rule, None if that is not known just now."""


class _EachItsOwn:
    def known(self, delivery: Delivery) -> LaneKey | None:
        return LaneKey(delivery.destination)

    async def find(self, delivery: Delivery) -> LaneKey:
        return LaneKey(delivery.destination)

    def usual(self, destination: str) -> LaneKey | None:
        return LaneKey(destination)


EACH_ITS_OWN: HopFinder = _EachItsOwn()
"""Each destination is a next hop of its own."""


class HopQueue:
    """name: of the next hop. backlogs: by destination and terms. size: ready deliveries in them. lanes: attempts.

    gate: closed after attempts that no host answered. hungry: destinations that have due deliveries in the store, in
    the order in which they get a lease, with the terms of their usual mail; sated: of these, what has enough in memory.
    answered: when a host last took part (monotonic). growing: the timer that may add a lane. leasing, queued: one
    lease, one place in the line for a lane at a time.
    """

    __slots__ = (
        "answered",
        "backlogs",
        "gate",
        "growing",
        "hungry",
        "lanes",
        "leasing",
        "name",
        "queued",
        "rotation",
        "sated",
        "size",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.backlogs: dict[tuple[str, str], Backlog] = {}
        self.rotation = Rotation()
        self.size = 0
        self.lanes = 0
        self.gate = Gate()
        self.hungry: dict[str, str] = {}
        self.sated: dict[str, str] = {}
        self.answered = float("-inf")
        self.leasing = False
        self.queued = False
        self.growing: asyncio.TimerHandle | None = None

    def backlog(self, destination: str, terms: str) -> Backlog:
        """The backlog of a destination, made if there is none."""
        found = self.backlogs.get((destination, terms))
        if found is None:
            found = self.backlogs[destination, terms] = Backlog(destination, terms)
        return found

    def add(self, backlog: Backlog, delivery: Delivery) -> None:
        """A delivery is ready."""
        backlog.ready[delivery.id] = delivery
        self.size += 1
        self.rotation.put(backlog)

    def take(self, now: float) -> tuple[Backlog, Delivery] | None:
        """The delivery whose turn it is, None if none may be tried."""
        while (backlog := self.rotation.take()) is not None:
            if not backlog.offers(now):
                continue  # it comes back when something of it is ready, or its probe has ended
            _, delivery = backlog.ready.popitem(last=False)
            self.size -= 1
            backlog.running += 1
            if backlog.offers(now):
                self.rotation.put(backlog)
            return backlog, delivery
        return None

    def remove(self, backlog: Backlog, delivery_id: int) -> Delivery | None:
        """Take out a delivery that is ready but not begun."""
        delivery = backlog.ready.pop(delivery_id, None)
        if delivery is not None:
            self.size -= 1
        return delivery

    def ended(self, backlog: Backlog, now: float) -> None:
        """An attempt is over: forget its backlog if it is done, else see that it gets its turn."""
        backlog.running -= 1
        if backlog.offers(now):
            self.rotation.put(backlog)
        self.tidy(backlog, now)

    def tidy(self, backlog: Backlog, now: float) -> None:
        """Forget a backlog of which nothing is known that matters."""
        if backlog.forgettable(now):
            self.backlogs.pop((backlog.destination, backlog.terms), None)

    def forgettable(self, now: float) -> bool:
        """Whether nothing is known of it that matters."""
        busy = self.backlogs or self.lanes or self.hungry or self.sated or self.leasing or self.queued or self.growing
        return not busy and not self.gate.matters(now)
