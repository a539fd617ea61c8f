"""What the benchmark of several nodes reckons with its measurements; the capacity table of docs/scaling.md. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from math import ceil
from statistics import median
from typing import Final

DAY: Final = 86_400
PEAK: Final = 4
"""The busiest hour has so many times the average of the day: what a site is built for."""

BUSY: Final = 0.6
"""The share of a core that the busiest hour may take, so that a node's or a standby's failure finds room."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What has been used so far: seconds of CPU of the gateways and of the server; its commits, WAL bytes and syncs."""

    nodes: float
    server: float
    commits: float
    wal: float
    syncs: float

    def since(self, before: Usage) -> Usage:
        """What was used after another reading."""
        return Usage(*(getattr(self, one.name) - getattr(before, one.name) for one in fields(self)))


@dataclass(frozen=True, slots=True)
class Run:
    """One round of mail. messages: acknowledged and delivered. seconds: from the first to the last arrival.

    latencies: seconds from MAIL to the arrival at the partner, of each message.
    """

    messages: int
    seconds: float
    used: Usage
    latencies: Sequence[float]

    @property
    def rate(self) -> float:
        """Messages a second."""
        return self.messages / self.seconds

    @property
    def node_us(self) -> float:
        """Microseconds of CPU a message of all gateways together."""
        return self.used.nodes / self.messages * 1e6

    @property
    def server_us(self) -> float:
        """The same of the database server."""
        return self.used.server / self.messages * 1e6

    def latency_ms(self, share: float) -> float:
        """The latency that a share of the messages does not exceed, in milliseconds."""
        return percentile(self.latencies, share) * 1000


def percentile(values: Sequence[float], share: float) -> float:
    """The value that a share (0 to 1) of them does not exceed. Raises ValueError if there are none."""
    if not values:
        raise ValueError("no values")
    return sorted(values)[min(len(values) - 1, max(0, ceil(len(values) * share) - 1))]


def span(values: Sequence[float], form: str = ".0f") -> str:
    """The median with the range, as "12 (10-15)"."""
    low, middle, high = (format(value, form) for value in (min(values), median(values), max(values)))
    return middle if low == high else f"{middle} ({low}-{high})"


def paired(left: Sequence[float], right: Sequence[float]) -> list[float]:
    """The ratio of the right to the left one of each round: what the machine did to a round it did to both."""
    return [after / before for before, after in zip(left, right, strict=True)]


def fit(points: Mapping[int, float]) -> float:
    """How much each further node changes a figure: the median step from one number of nodes to the next."""
    ordered = sorted(points.items())
    if len(ordered) < 2:
        raise ValueError("at least two numbers of nodes are needed")
    return median((right[1] - left[1]) / (right[0] - left[0]) for left, right in pairwise(ordered))


@dataclass(frozen=True, slots=True)
class Cost:
    """A message's, accepted and delivered: milliseconds of CPU at a node and at the primary; KB that it leaves there.

    wal_kb: in the WAL. trace_kb: in the message trace and evidence, until their days are over. core_limit: messages a
    second of one core of the primary when it is full.
    """

    node_ms: float
    primary_ms: float
    wal_kb: float
    trace_kb: float

    @property
    def core_limit(self) -> float:
        """Messages a second that one core of the primary can do at all."""
        return 1000 / self.primary_ms


MEASURED: Final = {
    "4 KB": Cost(node_ms=2.2, primary_ms=0.35, wal_kb=13, trace_kb=5.0),
    "64 KB": Cost(node_ms=2.6, primary_ms=0.75, wal_kb=82, trace_kb=5.0),
}
"""What docs/scaling.md reckons with, by the size of a message: the latest run, and a connection for each message."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a site needs for so many messages a day. peak: messages a second in the busiest hour."""

    a_day: int
    peak: float
    node_cores: int
    nodes: int
    primary_cores: int
    primaries: int
    wal_gb: float
    disk_gb: float


def capacity(a_day: int, cost: Cost, *, cores: int = 8, primary_limit: int = 32, days: int = 30) -> Capacity:
    """Reckon a site. cores: of one node. primary_limit: cores at which a primary is given a second one beside it.

    One node more than the load needs, and never fewer than two: one may fail or be upgraded in the busiest hour.
    days: for which trace and evidence are kept.
    """
    peak = a_day / DAY * PEAK
    node_cores = max(1, ceil(peak * cost.node_ms / 1000 / BUSY))
    primary_cores = max(2, ceil(peak * cost.primary_ms / 1000 / BUSY))
    primaries = ceil(primary_cores / primary_limit)
    return Capacity(
        a_day=a_day,
        peak=peak,
        node_cores=node_cores,
        nodes=max(2, ceil(node_cores / cores) + 1),
        primary_cores=ceil(primary_cores / primaries),
        primaries=primaries,
        wal_gb=a_day * cost.wal_kb / 1e6,
        disk_gb=a_day * days * cost.trace_kb / 1e6,
    )


def table(costs: Mapping[str, Cost]) -> str:
    """What a site needs for a million messages a day and more. costs: by the size of a message."""
    lines = [
        "| a day | of | peak a second | nodes of 8 cores | cores used | primary | WAL a day | 30 days of trace |",
        "|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for a_day in (1_000_000, 10_000_000, 100_000_000):
        for size, cost in costs.items():
            one = capacity(a_day, cost)
            cores = f"{one.primary_cores} cores"
            primary = cores if one.primaries == 1 else f"{one.primaries} of {cores}"
            lines.append(
                f"| {a_day // 1_000_000} M | {size} | {one.peak:,.0f} | {one.nodes} | {one.node_cores} | {primary} |"
                f" {one.wal_gb:,.0f} GB | {one.disk_gb:,.0f} GB |"
            )
    return "\n".join(lines)
