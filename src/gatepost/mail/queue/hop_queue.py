"""The state of one next hop while it has work: ready mail, running lanes, and when to wait.

A next hop is a set of hosts that mail is sent to: the smart hosts of a connector, or the MX hosts that several domains
have in common, as they are called from one address. Which one a delivery goes to is for `mail.outbound.next_hops` to
say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from gatepost.mail.queue.backlog import Backlog, Rotation
from gatepost.mail.queue.gate import Gate
from gatepost.mail.queue.slowdown import Meter

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Container, Hashable, Iterator

    from gatepost.mail.model.message import Delivery
    from gatepost.mail.queue.allowance import Allowance, HopLimit


BATCH_RECIPIENTS = 100
"""Recipients of deliveries that are tried together: every server takes as many in one transaction (RFC 5321 section
4.5.3.1.8)."""


def hosts_of(next_hop: str) -> str:
    """The hosts in a name that `mail.outbound.hosts.next_hop_name` made, without the source addresses."""
    return next_hop.partition(" from ")[0]


class LaneKey(NamedTuple):
    """The lane of a delivery: its next hop, the terms there, and its batch.

    next_hop: names the hosts. terms: requirements, as far as one delivery of a destination may fail for them
    where another gets through; "" for the usual ones. batch: deliveries that have the same one at a next hop may be
    tried together, as they are of one message and one organization; None for a delivery that is tried alone. limit:
    that a connector or the server sets for the next hop, None for none. connector: of the route, as the trace names it
    (`mail.outbound.record`), () without one.
    """

    next_hop: str
    terms: str = ""
    batch: Hashable = None
    limit: HopLimit | None = None
    connector: tuple[tuple[str, str], ...] = ()


class Turn(NamedTuple):
    """Deliveries to be tried by one lane at once: the one whose turn it is, and others of its batch, if it has one.

    allowance: the limit by which the attempt was admitted, None for none.
    """

    members: list[tuple[Backlog, Delivery]]
    batch: Hashable = None
    allowance: Allowance | None = None

    @property
    def deliveries(self) -> list[Delivery]:
        """The deliveries without their backlogs."""
        return [delivery for _, delivery in self.members]


class HopFinder(Protocol):
    """Finds the lane of deliveries."""

    def known(self, delivery: Delivery, *, alone: bool = False) -> LaneKey | None:
        """The lane of a delivery if nothing need be looked up for that, else None.

        alone: no other delivery of its message comes that might be tried with it: it needs no batch.
        """

    async def find(self, delivery: Delivery) -> LaneKey:
        """Look up the lane of a delivery."""

    def usual(self, destination: str) -> LaneKey | None:
        """The usual lane of a destination, None if that is not known now."""

    def only_hop(self, destination: str) -> str | None:
        """The next hop of all mail of a destination, None if messages may take several, or it is not known now."""


class _EachItsOwn:
    def known(self, delivery: Delivery, *, alone: bool = False) -> LaneKey | None:  # noqa: ARG002 - see HopFinder
        return LaneKey(delivery.destination)

    async def find(self, delivery: Delivery) -> LaneKey:
        return LaneKey(delivery.destination)

    def usual(self, destination: str) -> LaneKey | None:
        return LaneKey(destination)

    def only_hop(self, destination: str) -> str | None:
        return destination


EACH_ITS_OWN: HopFinder = _EachItsOwn()
"""Each destination is a next hop of its own."""


class HopQueue:
    """name: of the next hop. backlogs: by destination and terms. size: ready deliveries in them. lanes: attempts.

    gate: closed after attempts that no host answered. hungry: destinations that have due deliveries in the store, in
    the order in which they get a lease, with the terms of their usual mail; sated: of these, what has enough in memory.
    answered: when a host last took part (monotonic). growing: the timer that may add a lane. leasing: one lease at a
    time. queued: the organizations for whose mail it has a place in the line for a lane. batches: ready deliveries that
    may be tried together, and where they wait. paused: backlogs that wait for a limit, out of the rotation; waking: the
    timer that puts them back.
    meter: of what is sent.
    """

    __slots__ = (
        "_batch_of",
        "answered",
        "backlogs",
        "batches",
        "gate",
        "growing",
        "hungry",
        "lanes",
        "leasing",
        "meter",
        "name",
        "paused",
        "queued",
        "rotation",
        "sated",
        "size",
        "waking",
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
        self.queued: set[str] = set()
        self.growing: asyncio.TimerHandle | None = None
        self.batches: dict[Hashable, dict[int, Backlog]] = {}
        self._batch_of: dict[int, Hashable] = {}
        self.paused: dict[Backlog, None] = {}
        self.waking: asyncio.TimerHandle | None = None
        self.meter = Meter()

    def backlog(self, destination: str, terms: str) -> Backlog:
        """The backlog of a destination, made if there is none."""
        backlog = self.backlogs.get((destination, terms))
        if backlog is None:
            backlog = self.backlogs[destination, terms] = Backlog(destination, terms)
        return backlog

    def add(self, backlog: Backlog, delivery: Delivery, batch: Hashable = None) -> None:
        """Add a delivery that is ready. batch: as in LaneKey."""
        backlog.ready[delivery.id] = delivery
        self.size += 1
        self.rotation.put(backlog)
        if batch is not None:
            self._batch_of[delivery.id] = batch
            self.batches.setdefault(batch, {})[delivery.id] = backlog

    def take(
        self, now: float, admit: Callable[[Backlog], bool] = lambda _: True, full: Container[str] = ()
    ) -> Turn | None:
        """Take out the delivery whose turn it is, with its batch; None if none may be tried.

        admit: whether limits let an attempt for a backlog begin, which then begins. full: organizations that have no
        turn now.
        """
        if self.gate.failures and not self.gate.probed:
            self.rotation.put_probe_first(self.gate, full, now)
        while (backlog := self.rotation.take(full)) is not None:
            if not backlog.offers(now):
                continue  # it comes back when something of it is ready, or its probe has ended
            if not admit(backlog):
                self.paused[backlog] = None
                continue
            number = backlog.last = backlog.first()
            first = backlog.ready[number]
            batch = self._batch_of.get(number)
            self._begin(backlog, number)
            members = [(backlog, first)]
            if batch is not None:
                members += self._joining(batch, BATCH_RECIPIENTS - len(first.recipients), now)
            if backlog.offers(now):
                self.rotation.put(backlog)
            return Turn(members, batch, backlog.allowance)
        return None

    def _joining(self, batch: Hashable, room: int, now: float) -> Iterator[tuple[Backlog, Delivery]]:
        """Take out what is tried along, for up to `room` recipients. Backlogs keep their places in the rotation."""
        for number, backlog in list(self.batches.get(batch, {}).items()):
            if room <= 0:
                break
            delivery = backlog.ready[number]
            if len(delivery.recipients) <= room and backlog.offers(now):
                self._begin(backlog, number)
                room -= len(delivery.recipients)
                yield backlog, delivery

    def _begin(self, backlog: Backlog, number: int) -> None:
        self.remove(backlog, number)
        backlog.running += 1

    def remove(self, backlog: Backlog, delivery_id: int) -> Delivery | None:
        """Take out a delivery that is ready but not begun."""
        delivery = backlog.ready.pop(delivery_id, None)
        if delivery is None:
            return None
        self.size -= 1
        batch = self._batch_of.pop(delivery_id, None)
        if batch is not None:
            others = self.batches[batch]
            del others[delivery_id]
            if not others:
                del self.batches[batch]
        return delivery

    def put_first(self, backlog: Backlog) -> None:
        """Give a backlog the next turn, also if it waited for a limit."""
        self.resume()
        self.rotation.put_first(backlog)

    def resume(self) -> None:
        """Let what waited for a limit have its turns again."""
        for backlog in self.paused:
            self.rotation.put(backlog)
        self.paused.clear()

    def ended(self, backlog: Backlog, now: float) -> None:
        """Note that an attempt is over: forget its backlog if it is done, else see that it gets its turn."""
        backlog.running -= 1
        if backlog.offers(now):
            self.rotation.put(backlog)
        self.tidy(backlog, now)

    def tidy(self, backlog: Backlog, now: float) -> None:
        """Forget a backlog that is idle."""
        if backlog.forgettable(now):
            self.backlogs.pop((backlog.destination, backlog.terms), None)

    def forgettable(self, now: float) -> bool:
        """Whether it has no work, and no failure that still counts."""
        busy = self.backlogs or self.lanes or self.hungry or self.sated or self.leasing or self.queued or self.growing
        busy = busy or self.waking
        return not busy and not self.gate.matters(now)
