"""Gather facts about mail flow for alarms: partners in trouble, the queue's age, failing TLS sessions.

Called by `node.alarms` on a thread, since it blocks: it reads the workers' files, the queue and the session counts of a
week. What it means is decided in `analysis.alarms.mail_flow`.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Final

from gatepost.analysis.alarms.mail_flow import MailFacts, Shares
from gatepost.store.figures import WORKERS_DIRECTORY, WorkerFigures, read_all
from gatepost.store.interface import StoreFailure
from gatepost.store.queue_admin import UNREADABLE_SECONDS
from gatepost.times import day_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from gatepost.analysis.alarms.senders import NotableSender
    from gatepost.store.nodes import NodeProblems
    from gatepost.store.queue_admin import QueueAdmin
    from gatepost.store.session_counts import SessionCounts


_DAYS: Final = 7  # before today, that say what is usual
_DAY: Final = 86400.0

_log = logging.getLogger(__name__)

type _Tally = dict[str, Counter[str]]


def _nobody(_now: float) -> tuple[NotableSender, ...]:
    return ()


class MailFactFinder:
    """data: the data directory. counts: of TLS sessions. queue: for each look. others: what other nodes know.

    quarantines: how full those of organizations are, 1.0 for full; may raise StoreFailure, as queue may. senders:
    as `NotableSenders`. Counts of days that are over are read once.
    """

    def __init__(
        self,
        data: Path,
        counts: SessionCounts,
        queue: Callable[[], QueueAdmin],
        others: Callable[[], Iterable[NodeProblems]] = tuple,
        quarantines: Callable[[], Mapping[str, float]] = dict,
        senders: Callable[[float], tuple[NotableSender, ...] | None] = _nobody,
    ) -> None:
        self._data = data
        self._counts = counts
        self._queue = queue
        self._others = others
        self._quarantines = quarantines
        self._senders = senders
        self._unreadable: tuple[int, int] | None = None
        self._counted = 0.0
        self._days: dict[str, _Tally] = {}

    def find(self, now: float) -> MailFacts:
        """Gather the facts at `now`, seconds since 1970."""
        workers: list[WorkerFigures | NodeProblems] = [*read_all(self._data / WORKERS_DIRECTORY), *self._others()]
        oldest, destination = self._oldest(now)
        return MailFacts(
            tuple(partner for worker in workers for partner in worker.failing),
            tuple(downgraded_destination for worker in workers for downgraded_destination in worker.dropped),
            oldest,
            destination,
            tuple(notice for worker in workers for notice in worker.untold),
            self._shares(now),
            quarantines=self._fullness(),
            senders=self._senders(now),
            loads=tuple(worker.load for worker in workers),
            unreadable=self._unreadable_mail(now),
        )

    def _unreadable_mail(self, now: float) -> tuple[int, int] | None:
        """Counted as often as such mail is tried, and while there is some."""
        if self._unreadable != (0, 0) or not 0 <= now - self._counted < UNREADABLE_SECONDS:
            try:
                self._unreadable, self._counted = self._queue().unreadable(), now
            except StoreFailure as failure:
                _log.warning("how much mail cannot be read is not known: %s", failure)
                self._unreadable = None
        return self._unreadable

    def _fullness(self) -> Mapping[str, float] | None:
        try:
            return self._quarantines()
        except StoreFailure as failure:
            _log.warning("how full the quarantines are is not known: %s", failure)
            return None

    def _oldest(self, now: float) -> tuple[float | None, str]:
        try:
            oldest, destination = self._queue().oldest()
        except StoreFailure as failure:
            _log.warning("the age of the queue is not known: %s", failure)
            return None, ""
        return (max(0.0, now - oldest) if oldest else 0.0), destination

    def _shares(self, now: float) -> dict[str, Shares] | None:
        counts, today = self._counts, day_text(now)
        earliest = day_text(now - _DAYS * _DAY)
        try:
            days = [day for day in counts.days() if earliest <= day < today]
            self._days = {day: self._days.get(day) or _tally(counts, day) for day in days}
            current = _tally(counts, today)
        except (StoreFailure, OSError) as failure:
            _log.warning("how TLS sessions went is not known: %s", failure)
            return None
        before: _Tally = defaultdict(Counter)
        for tally in self._days.values():
            for domain, results in tally.items():
                before[domain] += results
        return {domain: _share(results, before.get(domain, Counter())) for domain, results in current.items()}


def _tally(counts: SessionCounts, day: str) -> _Tally:
    """Sessions of a day by policy domain and result, "" for those that met the policy."""
    tally: _Tally = defaultdict(Counter)
    for count in counts.read(day):
        tally[count.domain][str(count.failure.result) if count.failure else ""] += count.sessions
    return tally


def _share(today: Counter[str], before: Counter[str]) -> Shares:
    failed = Counter({result: count for result, count in today.items() if result})
    commonest = failed.most_common(1)
    return Shares(
        failed.total(),
        today.total(),
        before.total() - before[""],
        before.total(),
        commonest[0][0] if commonest else "",
    )
