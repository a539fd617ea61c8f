"""The limit of concurrent lanes: in all, to each next hop and of each organization; shared by the queues of a worker.

A lane has one connection at most. A next hop that turns connections away gets fewer lanes, and more after a while.
Where there are several organizations, each has at most three times as many lanes as are free (`net.places.FairShares`):
hosts that take their time, as many as some of them may name, keep no other's mail from leaving. Pure.
What connectors allow at a next hop, and which next hops are sent more slowly, is kept here as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gatepost.mail.queue.allowance import Allowance, HopLimit, SharedLimits
from gatepost.mail.queue.slowdown import Slowdowns
from gatepost.net.places import FairLine, FairShares

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Hashable

    from gatepost.mail.queue.hop_queue import HopQueue
    from gatepost.policy.connectors.directory import Directory


_RECOVERY = 10.0  # seconds without refusal after which a next hop may get more lanes again
_REDUCED = 1000  # next hops whose reduced limit is remembered
_LIMITED = 10_000  # next hops at which connectors have limits


def share(limit: int, index: int, workers: int) -> int:
    """The part of a limit of the node that worker `index` of `workers` may use: at least 1, or its mail would wait.

    The parts add up to `limit`, or to `workers` if that is more.
    """
    return max(1, limit // workers + (index < limit % workers))


class _Reduced(msgspec.Struct):
    """limit: lanes that a next hop may have now. since: when that was set last, by the budget's clock."""

    limit: int
    since: float


class LaneBudget:
    """total: lanes in all. per_next_hop: lanes to one next hop. clock: seconds, monotonic.

    limits: shares those of connectors with other workers; without it they have no effect. slowdowns: of next hops.
    end_idle: called with a next hop whose connections must not rest, as another worker is to have its turn.
    organizations: the lanes of each; contains those that have as many as they may have now.
    """

    def __init__(
        self,
        total: int,
        per_next_hop: int,
        clock: Callable[[], float],
        *,
        limits: SharedLimits | None = None,
        slowdowns: Slowdowns | None = None,
    ) -> None:
        self._total = total
        self._per_next_hop = per_next_hop
        self._clock = clock
        self._lanes: dict[str, int] = {}
        self._reduced: dict[str, _Reduced] = {}
        self._told: list[Callable[[str], None]] = []
        self.running = 0
        self.organizations = FairShares(total, divided=False)
        self._shares = [self.organizations]
        self.slowdowns = slowdowns if slowdowns is not None else Slowdowns()
        self.end_idle: Callable[[str], None] = lambda _: None
        self._limits = limits
        self._allowances: dict[str, dict[str, Allowance]] = {}

    def allowance(self, next_hop: str, limit: HopLimit | None) -> Allowance | None:
        """What a limit allows at a next hop, as this worker shares in it; None for no limit."""
        if limit is None or self._limits is None:
            return None
        if len(self._allowances) >= _LIMITED:
            self._allowances = {name: known for name, known in self._allowances.items() if name in self._lanes}
        known = self._allowances.setdefault(next_hop, {})
        allowance = known.get(limit.key)
        if allowance is None:
            allowance = known[limit.key] = Allowance(next_hop, limit, self._limits)
        allowance.limit = limit  # it may be another number by now
        return allowance

    def leave(self, next_hop: str) -> None:
        """Give back the connections that nobody uses: a lane to a next hop has ended."""
        if not (known := self._allowances.get(next_hop)):
            return
        scarce = [allowance.rest() for allowance in known.values()]
        if any(scarce):
            self.end_idle(next_hop)

    def idle(self, next_hop: str) -> int:
        """The number of connections to a next hop that may rest beside those in use."""
        of_connectors = (
            allowance.limit.connections - allowance.lanes
            for allowance in self._allowances.get(next_hop, {}).values()
            if allowance.limit.connections
        )
        return min(self.limit(next_hop) - self.lanes(next_hop), *of_connectors, self._total)

    def tell(self, freed: Callable[[str], None]) -> None:
        """Call `freed` with the name of a next hop whenever a lane to it has ended."""
        self._told.append(freed)

    def resize(self, per_next_hop: int) -> None:
        """Change the number of lanes to one next hop; lanes beyond it end with their attempts."""
        self._per_next_hop = per_next_hop

    def use(self, directory: Directory) -> None:
        """Leave lanes to others, if there are others, and of all else that is shared."""
        for shares in self._shares:
            shares.divided = len(directory.organizations) > 1

    def share_out(self, total: int) -> FairShares:
        """Shares of something else that a queue of this worker has, which are divided when lanes are."""
        shares = FairShares(total, divided=self.organizations.divided)
        self._shares.append(shares)
        return shares

    def lanes(self, next_hop: str) -> int:
        """The number of running lanes to a next hop."""
        return self._lanes.get(next_hop, 0)

    def limit(self, next_hop: str) -> int:
        """The number of lanes that a next hop may have now."""
        reduced = self._reduced.get(next_hop)
        return reduced.limit if reduced else self._per_next_hop

    @property
    def exhausted(self) -> bool:
        """Whether no lane to anywhere may begin."""
        return self.running >= self._total

    def allows(self, next_hop: str) -> bool:
        """Whether one more lane to a next hop may begin, as far as that is concerned."""
        return self.lanes(next_hop) < self.limit(next_hop)

    def take(self, next_hop: str) -> None:
        """Count a lane that begins."""
        self.running += 1
        self._lanes[next_hop] = self.lanes(next_hop) + 1

    def release(self, next_hop: str) -> None:
        """Count a lane that has ended."""
        self.running -= 1
        left = self._lanes.pop(next_hop) - 1
        if left:
            self._lanes[next_hop] = left
        for freed in self._told:
            freed(next_hop)

    def turned_away(self, next_hop: str) -> None:
        """Reduce the limit of a next hop that refused a further connection to one lane less than are running."""
        now = self._clock()
        limit = max(1, min(self.limit(next_hop), self.lanes(next_hop)) - 1)
        self._reduced.pop(next_hop, None)
        self._reduced[next_hop] = _Reduced(limit, now)
        if len(self._reduced) > _REDUCED:
            del self._reduced[next(iter(self._reduced))]

    def answered(self, next_hop: str) -> None:
        """Raise a reduced limit of a next hop that answered, after a while."""
        reduced = self._reduced.get(next_hop)
        if reduced is None or self._clock() - reduced.since < _RECOVERY:
            return
        reduced.limit += max(1, reduced.limit // 4)
        reduced.since = self._clock()
        if reduced.limit >= self._per_next_hop:
            del self._reduced[next_hop]


class LaneLine:
    """Next hops that wait for a lane, by the organizations whose mail waits there, which take turns.

    full: `LaneBudget.organizations`; they wait for an end of one of their own attempts, or until more lanes are free.
    """

    def __init__(self, full: Container[Hashable]) -> None:
        self._line: FairLine[HopQueue] = FairLine(full)

    def __bool__(self) -> bool:
        """Whether any may have the next lane."""
        return bool(self._line)

    def __len__(self) -> int:
        return len(self._line)

    def stand(self, hop: HopQueue) -> None:
        """Put a next hop at the end, for each organization that has mail there."""
        for organization in hop.rotation.organizations:
            if organization not in hop.queued:
                hop.queued.add(organization)
                self._line.stand(organization, hop)

    def next(self) -> HopQueue | None:
        """Take out the one that may have the next lane, None if there is none."""
        if (following := self._line.next()) is None:
            return None
        organization, hop = following
        hop.queued.discard(organization)
        return hop
