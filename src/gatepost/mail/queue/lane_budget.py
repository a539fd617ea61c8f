"""The limit of concurrent lanes: in all, and to each next hop; shared by the queues of a worker. Pure.

A lane has one connection at most. A next hop that turns connections away gets fewer lanes, and more after a while.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


_RECOVERY = 10.0  # seconds without refusal after which a next hop may get more lanes again
_REDUCED = 1000  # next hops whose reduced limit is remembered


def share(limit: int, index: int, workers: int) -> int:
    """The part of a limit of the node that worker `index` of `workers` may use: at least 1, or its mail would wait.

    The parts add up to `limit`, or to `workers` if that is more.
    """
    return max(1, limit // workers + (index < limit % workers))


@dataclass(slots=True)
class _Reduced:
    """limit: lanes that a next hop may have now. since: when that was set last, by the budget's clock."""

    limit: int
    since: float


class LaneBudget:
    """total: lanes in all. per_next_hop: lanes to one next hop. clock: seconds, monotonic."""

    def __init__(self, total: int, per_next_hop: int, clock: Callable[[], float]) -> None:
        self._total = total
        self._per_next_hop = per_next_hop
        self._clock = clock
        self._lanes: dict[str, int] = {}
        self._reduced: dict[str, _Reduced] = {}
        self._told: list[Callable[[str], None]] = []
        self.running = 0

    def tell(self, freed: Callable[[str], None]) -> None:
        """Call `freed` with the name of a next hop whenever a lane to it has ended."""
        self._told.append(freed)

    def resize(self, per_next_hop: int) -> None:
        """Change the number of lanes to one next hop; lanes beyond it end with their attempts."""
        self._per_next_hop = per_next_hop

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
