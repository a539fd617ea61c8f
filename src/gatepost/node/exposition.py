"""Format metrics for Prometheus, from the state of workers, queue and certificates.

Used by `node.metrics_host`. The formats are the library's; names and labels are those of `events.metrics.catalogue`,
and what a worker's file holds beyond them is left out.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector, CollectorRegistry

from gatepost.events.metrics import catalogue as metrics
from gatepost.events.metrics.catalogue import CATALOGUE, Metric, MetricKind
from gatepost.events.metrics.counts import Histogram, Series
from gatepost.mail.model.worker_load import LEVELS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from prometheus_client.metrics_core import Metric as Family

    from gatepost.store.figures import WorkerFigures
    from gatepost.store.quarantine import QuarantineUsage
    from gatepost.store.queue_admin import Depth


FRESH: Final = 10.0
"""Seconds after which a worker that wrote nothing does nothing either."""

_QUARANTINES: Final = 100  # organizations

_CLASSIC: Final = CONTENT_TYPE_PLAIN_0_0_4
_OPEN: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"


@dataclass(frozen=True, slots=True)
class MetricSources:
    """The figures to serve. now: seconds since 1970. gauges: computed at the request; depth: None if not available.

    quarantines: what organizations have in quarantine, by name.
    """

    now: float
    workers: Sequence[WorkerFigures] = ()
    depth: Depth | None = None
    quarantines: Mapping[str, QuarantineUsage] | None = None
    gauges: Mapping[Series, float] | None = None
    build: tuple[str, str, str] = ("", "", "")

    @property
    def alive(self) -> list[WorkerFigures]:
        """Workers that wrote their numbers lately."""
        return [worker for worker in self.workers if self.now < worker.at + FRESH]


def exposed(known: MetricSources, accept: str) -> tuple[bytes, str]:
    """The body and its media type: OpenMetrics for who asks for it, else the text format 0.0.4."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families(known))
    if "application/openmetrics-text" in accept:
        return openmetrics.generate_latest(registry), _OPEN  # type: ignore[no-untyped-call]  # the library leaves it so
    return generate_latest(registry), _CLASSIC


class _Families(Collector):
    def __init__(self, known: MetricSources) -> None:
        self._known = known

    def collect(self) -> Iterator[Family]:
        known = self._known
        numbers, histograms = _numbers(known.workers), _histograms(known.workers)
        gauges = _gauges(known)
        for metric in CATALOGUE:
            match metric.kind:
                case MetricKind.COUNTER:
                    yield _counter(metric, numbers[metric.name])
                case MetricKind.HISTOGRAM:
                    yield _histogram(metric, histograms[metric.name])
                case MetricKind.GAUGE:
                    yield _gauge(metric, gauges[metric.name])
                case MetricKind.INFO:
                    yield _info(metric, known.build)


def _numbers(workers: Iterable[WorkerFigures]) -> dict[str, dict[Series, float]]:
    """Sums over all workers, those that are no more as well."""
    result: dict[str, dict[Series, float]] = defaultdict(lambda: defaultdict(float))
    for worker in workers:
        for (name, *labels), count in worker.numbers:
            result[name][tuple(labels)] += count
    return result


def _histograms(workers: Iterable[WorkerFigures]) -> dict[str, dict[Series, Histogram]]:
    buckets = {metric.name: metric.buckets for metric in CATALOGUE if metric.buckets}
    result: dict[str, dict[Series, Histogram]] = defaultdict(dict)
    for worker in workers:
        for (name, *labels), counts, total in worker.histograms:
            bounds, key = buckets.get(name, ()), tuple(labels)
            if len(counts) != len(bounds) + 1:
                continue  # of another version
            histogram, before = Histogram(bounds, counts, total), result[name].get(key)
            result[name][key] = histogram if before is None else before.merged(histogram)
    return result


def _gauges(known: MetricSources) -> dict[str, dict[Series, float]]:
    result: dict[str, dict[Series, float]] = defaultdict(lambda: defaultdict(float))
    for worker in known.alive:
        for (name, *labels), value in worker.gauges:
            result[name][tuple(labels)] += value
        result[metrics.VERSION.name][(str(worker.worker),)] = worker.version
        result[metrics.LOAD.name][(str(worker.worker),)] = float(
            LEVELS.index(worker.load.level) if worker.load.level in LEVELS else 0
        )
    for worker in known.workers:
        result[metrics.SEEN.name][(str(worker.worker),)] = worker.at
        result[metrics.STARTED.name][(str(worker.worker),)] = worker.started
    if (depth := known.depth) is not None:
        states = {"active": depth.active, "deferred": depth.deferred, "held": depth.held}
        result[metrics.QUEUE.name] = {(state,): float(count) for state, count in states.items()}
        result[metrics.QUEUE_AGE.name] = {(): max(0.0, known.now - depth.oldest) if depth.oldest else 0.0}
    usages = sorted((known.quarantines or {}).items(), key=lambda item: (-item[1].deliveries, item[0]))
    for organization, usage in usages[:_QUARANTINES]:
        result[metrics.QUARANTINE.name][organization,] = float(usage.deliveries)
        result[metrics.QUARANTINE_SIZE.name][organization,] = float(usage.size)
    for (name, *labels), value in (known.gauges or {}).items():
        result[name][tuple(labels)] = value
    return result


def _fitting(metric: Metric, values: Mapping[Series, float]) -> Iterator[tuple[Series, float]]:
    """In the order of their labels; a series with other labels is of another version."""
    return ((labels, value) for labels, value in sorted(values.items()) if len(labels) == len(metric.labels))


def _counter(metric: Metric, values: Mapping[Series, float]) -> Family:
    """Without labels it begins at 0, so that its first rise is seen."""
    family = CounterMetricFamily(metric.name.removesuffix("_total"), metric.help, labels=metric.labels)
    for labels, value in _fitting(metric, values if values or metric.labels else {(): 0.0}):
        family.add_metric(labels, value)
    return family


def _gauge(metric: Metric, values: Mapping[Series, float]) -> Family:
    family = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
    for labels, value in _fitting(metric, values):
        family.add_metric(labels, value)
    return family


def _histogram(metric: Metric, values: Mapping[Series, Histogram]) -> Family:
    family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
    known = values if values or metric.labels else {(): Histogram(metric.buckets)}
    for labels, histogram in sorted(known.items()):
        if len(labels) != len(metric.labels):
            continue
        so_far, buckets = 0, []
        for bound, count in zip([*map(repr, map(float, histogram.bounds)), "+Inf"], histogram.counts, strict=True):
            so_far += count
            buckets.append((bound, so_far))
        family.add_metric(labels, buckets, histogram.sum)
    return family


def _info(metric: Metric, values: tuple[str, ...]) -> Family:
    family = InfoMetricFamily(metric.name.removesuffix("_info"), metric.help)
    family.add_metric((), dict(zip(metric.labels, values, strict=True)))
    return family
