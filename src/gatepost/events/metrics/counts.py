"""Counters and histograms: a worker's numbers by metric and label values. Pure.

Each thread that counts has a `Counts` of its own, so that counting takes no lock; `node.figures` adds them up. What
is counted is listed in `events.metrics.catalogue`. Label values that are not from a closed list go through `Few`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from typing import Final

type Series = tuple[str, ...]
"""A metric's name and its label values, in the order of the catalogue."""

MOST_SERIES: Final = 2000
"""Of one `Counts`. Nothing comes near it unless a label is not bounded as it should be."""

OTHER: Final = "other"


class Histogram:
    """Observed values by upper bound. counts: one for each bound and one beyond, not cumulated. sum: of all values."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...], counts: Iterable[int] = (), total: float = 0.0) -> None:
        self.bounds = bounds
        self.counts = list(counts) or [0] * (len(bounds) + 1)
        self.sum = total

    def observe(self, value: float) -> None:
        """One more value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def merged(self, other: Histogram) -> Histogram:
        """Both together; they have the same bounds."""
        counts = [mine + its for mine, its in zip(self.counts, other.counts, strict=True)]
        return Histogram(self.bounds, counts, self.sum + other.sum)


class Counts:
    """Numbers that only grow. For one thread; another may take a copy of `numbers` and `histograms` at any time."""

    __slots__ = ("histograms", "left_out", "numbers")

    def __init__(self) -> None:
        self.numbers: dict[Series, int] = {}
        self.histograms: dict[Series, Histogram] = {}
        self.left_out = 0

    def add(self, series: Series, by: int = 1) -> None:
        """Count. A series beyond `MOST_SERIES` is not counted, but in `left_out`."""
        numbers = self.numbers
        known = numbers.get(series)
        if known is None and len(numbers) >= MOST_SERIES:
            self.left_out += by
            return
        numbers[series] = (known or 0) + by

    def observe(self, series: Series, bounds: tuple[float, ...], value: float) -> None:
        """One more value of a histogram. bounds: as the catalogue has them."""
        histogram = self.histograms.get(series)
        if histogram is None:
            if len(self.histograms) >= MOST_SERIES:
                self.left_out += 1
                return
            histogram = self.histograms[series] = Histogram(bounds)
        histogram.observe(value)


class Few:
    """At most `most` different label values; what comes later is "other"."""

    __slots__ = ("_known", "_most")

    def __init__(self, most: int) -> None:
        self._known: set[str] = set()
        self._most = most

    def __call__(self, value: str) -> str:
        """The value, or "other". Empty is "none"."""
        if value in self._known:
            return value
        if not value:
            return "none"
        if len(self._known) >= self._most:
            return OTHER
        self._known.add(value)
        return value
