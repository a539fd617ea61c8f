"""Sum up a worker's numbers, and write them to its file for other processes.

Made by `node.assembly`; `look` is called by `events.stream` on its thread. The event loop only counts; it never waits
for who reads. What the file of an earlier process says is where the counting goes on, so that a worker's end loses the
last second and no more.
"""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING, Final

from gatepost.events.metrics import catalogue as metrics
from gatepost.events.metrics.counts import Counts, Histogram, Series
from gatepost.mail.model.worker_load import NORMAL
from gatepost.mail.queue.slowdown import Slowdowns
from gatepost.store.figures import WorkerFigures, read_figures, write_figures
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from gatepost.events.delivery_problems import DeliveryProblems
    from gatepost.store.interface import StoreFailure


_INTERVAL: Final = 1.0  # seconds between two writes while metrics are served
_UNWATCHED: Final = 5.0  # and while they are not: only what alarms look at, if it changed
_COMPLAIN: Final = 300.0
_BUCKETS: Final = {metric.name: metric.buckets for metric in metrics.CATALOGUE if metric.buckets}

_log = logging.getLogger(__name__)


class Figures:
    """directory: of the files. served: whether anybody reads metrics. clock: seconds since 1970.

    sources: who counts, each on its own thread. lost: numbers that are kept elsewhere, asked for at each write. gauges,
    version: as the event loop noted them last. slowdowns: of next hops, those known to an earlier process of
    this worker too. load: how loaded it is. failure: why no mail can be stored now, None if it can.
    drained: why none is taken although it could be stored, "" if it is.
    """

    def __init__(self, directory: Path, worker: int, *, served: bool, clock: Callable[[], float] = time.time) -> None:
        self.gauges: Mapping[Series, float] = {}
        self.version = 0
        self.failure: Callable[[], StoreFailure | None] = _no_failure
        self.drained = ""
        self._directory = directory
        self._worker = worker
        self._served = served
        self._clock = clock
        self._started = clock()
        self._sources: list[Counts] = []
        self._lost: dict[Series, Callable[[], int]] = {}
        self._written = 0.0
        self._complained = -_COMPLAIN
        self.before = read_figures(directory, worker)
        # What the file says of an earlier process is not true of this one, which may even have its number.
        self._trouble = None if self.before.trouble else ""
        self.slowdowns = Slowdowns(self.before.slowed)
        self.load = replace(self.before.load, level=NORMAL, share=1.0)
        self._told_load = self.load
        self._problems: DeliveryProblems | None = None

    def follow(self, *sources: Counts, lost: Mapping[Series, Callable[[], int]] | None = None) -> None:
        """Add who counts."""
        self._sources += sources
        self._lost |= lost or {}

    def watch(self, problems: DeliveryProblems) -> None:
        """Include the figures that alarms need; they are written whether metrics are served or not."""
        self._problems = problems

    def look(self) -> None:
        """Write the file if it is time, or if the store can be used no more, or again."""
        now = self._clock()
        if self._trouble != (_summary(self.failure()) or self.drained) or self._told_load.level != self.load.level:
            self.write(now)
            return
        due = now >= self._written + (_INTERVAL if self._served else _UNWATCHED) or now < self._written
        changed = (self._problems is not None and self._problems.changed) or self.slowdowns.changed
        changed = changed or self._told_load is not self.load
        if due and (self._served or changed):
            self.write(now)

    def last(self) -> None:
        """Write the file at the end: the worker does nothing any more."""
        self.gauges = {}
        self.failure, self.drained = _no_failure, ""
        self.load = replace(self.load, level=NORMAL, share=1.0)
        if self._served or self._trouble or (self._problems is not None and self._problems.changed):
            self.write(self._clock())

    def write(self, now: float) -> None:
        """Write the file now."""
        self._written = now
        self.slowdowns.changed = False
        if self._problems is not None:
            self._problems.changed = False
        figures = self._made(now)
        try:
            write_figures(self._directory, figures)
            self._trouble, self._told_load = figures.trouble, figures.load
        except OSError as error:
            if self._problems is not None:
                self._problems.changed = True
            if now >= self._complained + _COMPLAIN:
                self._complained = now
                _log.error("what this worker counts cannot be written: %s", error)

    def _made(self, now: float) -> WorkerFigures:
        numbers, histograms = self._sums()
        known, failure = self._problems, self.failure()
        return WorkerFigures(
            self._worker,
            os.getpid(),
            now,
            self._started,
            self.version,
            [(list(series), count) for series, count in numbers.items()],
            [(list(series), histogram.counts, histogram.sum) for series, histogram in histograms.items()],
            [(list(series), value) for series, value in self.gauges.items()],
            known.failing if known else (),
            known.dropped if known else (),
            known.untold if known else (),
            self.slowdowns.listed(now),
            self.load,
            _summary(failure) or self.drained,
            str(failure or ""),
        )

    def _sums(self) -> tuple[dict[Series, float], dict[Series, Histogram]]:
        numbers: dict[Series, float] = {tuple(series): count for series, count in self.before.numbers}
        histograms = _usable(self.before.histograms)
        for source in self._sources:
            for series, count in source.numbers.copy().items():
                numbers[series] = numbers.get(series, 0) + count
            for series, histogram in source.histograms.copy().items():
                known = histograms.get(series)
                histograms[series] = histogram if known is None else known.merged(histogram)
        for series, count in self._others():
            numbers[series] = numbers.get(series, 0) + count
        return numbers, histograms

    def _others(self) -> Sequence[tuple[Series, int]]:
        left_out = sum(source.left_out for source in self._sources)
        return [*((series, ask()) for series, ask in self._lost.items()), ((metrics.SERIES_LEFT_OUT.name,), left_out)]


def _no_failure() -> None:
    """Stands for stores that work."""


def _summary(failure: StoreFailure | None) -> str:
    return "" if failure is None else failure.summary


def _usable(kept: Sequence[tuple[list[str], list[int], float]]) -> dict[Series, Histogram]:
    """Histograms of an earlier process, but for those whose buckets are others by now."""
    result = {}
    for series, counts, total in kept:
        bounds = _BUCKETS.get(series[0] if series else "", ())
        if bounds and len(counts) == len(bounds) + 1:
            result[tuple(series)] = Histogram(bounds, counts, total)
    return result
