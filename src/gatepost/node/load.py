"""Measure how loaded a worker is, and tighten the limits of clients that nobody knows.

Made by `node.assembly`; ten times a second it measures, twice while the worker has little to do, and
`policy.decisions.load` decides. What is in force is in the worker's figures, from which metrics, alarms and status have
it.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gatepost.events.metrics.catalogue import LIMITED
from gatepost.mail.inbound.source_limits import Rate, SourceLimits
from gatepost.node.lifecycle import Duty, Lifecycle
from gatepost.policy.decisions.load import Level, LoadMarks, LoadState, Measurements, RateLimit, next_state
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost.mail.inbound.service import SessionRegistry
    from gatepost.node.observation import Observation
    from gatepost.policy.connectors.directory import Directory
    from gatepost.settings.model import Settings

LOAD_SECONDS: Final = 0.1
"""Between two measurements."""

_QUIET_SECONDS: Final = 5 * LOAD_SECONDS  # the same in a worker whose limits are the usual ones and that works little
_QUIET: Final = 0.15  # of the time at most that such a worker has worked: it is not late most of the time
_RARELY: Final = 10  # measurements of delay to one of all else
_DELAYS: Final = 9  # measurements of delay whose median counts: one long task of our own is no load
_MEMORY: Final = Path("/proc/meminfo")
_MEMORY_LINES: Final = 3  # which has what is total and what is available at its beginning
_CGROUPS: Final = Path("/sys/fs/cgroup")

_log = logging.getLogger(__name__)


class LoadMonitor:
    """limits: what it tightens. speaks_for_others: whether a host may name its clients."""

    def __init__(self, settings: Settings, observation: Observation, speaks_for_others: Callable[[str], bool]) -> None:
        limits, rates = settings.limits, settings.rates
        self.limits = SourceLimits(
            {limit: Rate(*rates.of(limit)) for limit in RateLimit},
            (limits.connections, limits.connections_per_source),
            observation.counts,
            speaks_for_others,
        )
        self._marks = LoadMarks(rates.memory_mark / 100, settings.store.free_space, rates.commit_mark, rates.delay_mark)
        self._data = settings.server.data_dir
        self._observation = observation
        self._state = LoadState()
        self._has_warned = False
        self._left = 0  # measurements until the next one of all else
        self._due, self._cpu = 0.0, 0.0
        self.pause = LOAD_SECONDS
        self._delays: deque[float] = deque(maxlen=_DELAYS)
        self._refused_before = 0

    def part(self, registry: SessionRegistry, directory: Directory) -> Lifecycle:
        """Its life: limits by the connectors in force, and measurements. registry: whose messages wait to be stored."""
        self._registry = registry
        self.limits.use(directory)
        measuring = Duty(lambda: self.pause, self.measure)
        return Lifecycle("limits of clients", duties=[measuring], refresh=self.limits.use)

    def measure(self) -> None:
        """Measure once, and put the limits of the level that follows in force. Then `pause` is when to do it again."""
        now, cpu = time.monotonic(), time.thread_time()
        worked = cpu - self._cpu
        idle = worked < _QUIET * self.pause
        # What others on the machine take makes a worker late as well, and no limit of ours helps against that.
        self._delays.append(max(0.0, min(now - self._due, worked)) if self._due and not idle else 0.0)
        quiet = idle and self._state.level is Level.NORMAL
        self._left -= round(self.pause / LOAD_SECONDS)
        self.pause = _QUIET_SECONDS if quiet else LOAD_SECONDS
        self._due, self._cpu = now + self.pause, cpu
        if self._left <= 0:
            self._left = _RARELY
            waits = self._registry.commits.longest(now)
            resources = memory_in_use(), _free_bytes(self._data), waits, sorted(self._delays)[len(self._delays) // 2]
            self._decide(Measurements(*resources, behind=self._registry.is_behind))

    def _decide(self, measured: Measurements) -> None:
        """Put the share of limits that follows from this in force, and tell of it."""
        before, state = self._state, next_state(self._state, measured, self._marks, _RARELY * LOAD_SECONDS)
        self._state, self.limits.share = state, state.share
        if state.level is Level.NORMAL is before.level:
            return
        now, load = time.time(), self._observation.load
        if before.level is Level.NORMAL:
            self._refused_before, self._has_warned = self._refusals(), False
            load = replace(load, since=now)
        if state.level is Level.OVERLOADED and not self._has_warned:
            self._has_warned = True
            _log.warning("this worker is overloaded: %s; unknown clients may do less", state.reason)
        elif state.level is Level.NORMAL and self._has_warned:
            _log.info("this worker is no longer overloaded")
        refused = self._refusals() - self._refused_before
        reason = state.reason or before.reason
        self._observation.note_load(
            replace(load, level=state.level.label, share=state.share, reason=reason, last=now, refused=refused)
        )

    def _refusals(self) -> int:
        numbers = self._observation.counts.numbers
        return sum(count for series, count in numbers.items() if series[0] == LIMITED.name)


def memory_in_use(
    meminfo: Path = _MEMORY, cgroups: Path = _CGROUPS, own: Path = Path("/proc/self/cgroup")
) -> float | None:
    """The share in use of the machine's memory, or of what the container may use if that is nearer to its end.

    What the kernel would give back counts as free. None where neither can be read.
    """
    shares = [share for share in (_machine(meminfo), _container(cgroups, own)) if share is not None]
    return max(shares, default=None)


def _machine(meminfo: Path) -> float | None:
    try:
        lines = meminfo.read_text(encoding="ascii").splitlines()[:_MEMORY_LINES]
        sizes = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
        return 1.0 - sizes["MemAvailable"] / sizes["MemTotal"]
    except (OSError, ValueError, IndexError, KeyError, ZeroDivisionError):
        return None


def _container(cgroups: Path, own: Path) -> float | None:
    """Of the cgroup (version 2) of this process; None where it has no limit."""
    try:
        path = own.read_text(encoding="utf-8").splitlines()[-1].partition("::")[2]
        group = cgroups / path.lstrip("/")
        most = int((group / "memory.max").read_text(encoding="ascii"))
        used = int((group / "memory.current").read_text(encoding="ascii"))
        kept = dict(line.split() for line in (group / "memory.stat").read_text(encoding="ascii").splitlines())
        return max(0, used - int(kept.get("inactive_file", 0))) / most
    except (OSError, ValueError, IndexError, ZeroDivisionError):  # "max" is not a number: no limit
        return None


def _free_bytes(directory: str) -> float | None:
    try:
        disk = os.statvfs(directory)
    except OSError:
        return None
    return float(disk.f_bavail * disk.f_frsize)
