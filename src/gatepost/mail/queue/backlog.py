"""The ready deliveries of one next hop, in turn: round-robin over organizations, then over their destinations.

A destination with ten thousand messages does not starve one with a single message, nor one organization another. Pure.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import TYPE_CHECKING

from gatepost.mail.queue.gate import Gate

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from gatepost.mail.model.message import Delivery
    from gatepost.mail.queue.allowance import Allowance


class Backlog:
    """The mail of one destination that goes by one next hop under the same terms.

    destination: "organization/domain", of which the first owns the mail. ready: deliveries in memory that wait for a
    lane, by id, in their order. running: attempts. gate: closed after failures that say nothing of the next hop's other
    mail. queued: it has a place in the rotation. allowance: the limit that its attempts are under, None for none.
    connector: as `LaneKey` has it. last: id of the delivery that was tried last, 0 if none was.
    """

    __slots__ = (
        "allowance",
        "connector",
        "destination",
        "gate",
        "last",
        "organization",
        "queued",
        "ready",
        "running",
        "terms",
    )

    def __init__(self, destination: str, terms: str) -> None:
        self.destination = destination
        self.organization = destination.partition("/")[0]
        self.terms = terms
        self.ready: OrderedDict[int, Delivery] = OrderedDict()
        self.running = 0
        self.gate = Gate()
        self.queued = False
        self.allowance: Allowance | None = None
        self.connector: tuple[tuple[str, str], ...] = ()
        self.last = 0

    def first(self) -> int:
        """The id of the delivery whose turn it is, of at least one that is ready.

        After a failure it is another one each time, in the order of ids: one message that upsets its host does not keep
        all others from showing that they get through.
        """
        if not self.gate.failures or len(self.ready) == 1:
            return next(iter(self.ready))
        return min(self.ready, key=lambda number: (number <= self.last, number))

    def offers(self, now: float) -> bool:
        """Whether an attempt may be made: what failed is probed by one alone."""
        return bool(self.ready) and not self.gate.closed(now) and not (self.gate.failures and self.running)

    def forgettable(self, now: float) -> bool:
        """Whether it has no work, and no failure that still counts."""
        return not (self.ready or self.running or self.gate.matters(now))


def _move_first[Item](line: deque[Item], item: Item) -> None:
    line.remove(item)
    line.appendleft(item)


class Rotation:
    """Backlogs in the order in which they get a lane. One that was taken is put in again by the caller."""

    __slots__ = ("_backlogs", "_organizations")

    def __init__(self) -> None:
        self._organizations: deque[str] = deque()
        self._backlogs: dict[str, deque[Backlog]] = {}

    def __bool__(self) -> bool:
        return bool(self._organizations)

    @property
    def organizations(self) -> Iterable[str]:
        """Those that have a backlog here, in their order."""
        return self._organizations

    def put(self, backlog: Backlog) -> None:
        """Put a backlog at the end of its organization's, unless it is among them."""
        if backlog.queued:
            return
        backlog.queued = True
        others = self._backlogs.get(backlog.organization)
        if others is None:
            self._backlogs[backlog.organization] = deque((backlog,))
            self._organizations.append(backlog.organization)
        else:
            others.append(backlog)

    def put_first(self, backlog: Backlog) -> None:
        """Give a backlog the next turn."""
        self.put(backlog)
        _move_first(self._organizations, backlog.organization)
        _move_first(self._backlogs[backlog.organization], backlog)

    def first(self, full: Container[str]) -> str | None:
        """The organization whose turn it is, of those that are not in `full`; None if there is none."""
        return next((organization for organization in self._organizations if organization not in full), None)

    def put_probe_first(self, gate: Gate, full: Container[str], now: float) -> None:
        """Give the next turn to what says most of a next hop that has failed: its `gate`.

        That is mail of the organization that had the fewest probes, and of a backlog that failed least by itself: mail
        that upsets the hosts, so that they are away for what is tried next, does not come first each time.
        """
        candidates = (
            (organization, backlog)
            for organization in self._organizations
            if organization not in full
            for backlog in self._backlogs[organization]
            if backlog.offers(now)
        )
        place = min(candidates, key=lambda place: (gate.probes.get(place[0], 0), place[1].gate.failures), default=None)
        if place is not None:
            organization, backlog = place
            gate.probe(organization)
            self.put_first(backlog)

    def take(self, full: Container[str] = ()) -> Backlog | None:
        """The backlog whose turn it is, None if there is none. full: organizations that get no turn now."""
        for _ in range(len(self._organizations)):
            organization = self._organizations.popleft()
            if organization not in full:
                break
            self._organizations.append(organization)
        else:
            return None
        backlogs = self._backlogs[organization]
        backlog = backlogs.popleft()
        backlog.queued = False
        if backlogs:
            self._organizations.append(organization)
        else:
            del self._backlogs[organization]
        return backlog
