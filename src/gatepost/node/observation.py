"""Pass a worker's events on to log lines, counters and alarm facts, and keep the numbers in a file.

Made by `node.assembly`, one for each worker; the parts are in `reports`. With metrics off and a log level above info an
event costs an append and a look for trouble, on a thread.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from gatepost.events import log_lines as event_lines
from gatepost.events.counts import EventMeter
from gatepost.events.delivery_problems import DeliveryProblems
from gatepost.events.log_lines import AddressDetail, EventLines, Style
from gatepost.events.metrics import catalogue as metrics
from gatepost.events.metrics.counts import Counts, Series
from gatepost.events.spans import SpanReader
from gatepost.events.stream import EventFeed
from gatepost.node.figures import Figures
from gatepost.node.logs import write_lines
from gatepost.policy.connectors.values import HookFailure, Mode
from gatepost.store.figures import WORKERS_DIRECTORY
from gatepost.store.interface import Store, StoreFailure, StoreFull

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gatepost.mail.model.trace_event import TraceEvent
    from gatepost.mail.model.worker_load import WorkerLoad
    from gatepost.mail.queue.lane_budget import LaneBudget
    from gatepost.mail.queue.manager import QueueManager
    from gatepost.policy.connectors.hook_index import ApplicableHook
    from gatepost.policy.decisions.recipient_validation import RecipientAnswer, RecipientQuestion
    from gatepost.settings.model import Settings


GAUGE_SECONDS = 1.0
"""Between two looks at what a worker does now."""


class Observation:
    """counts: for who counts on the event loop. served: whether anybody reads metrics. problems: for alarms.

    slowdowns: of next hops, for the queue.
    """

    def __init__(self, settings: Settings, worker: int) -> None:
        self.counts = Counts()
        self.served = bool(settings.metrics_address)
        self._figures = Figures(Path(settings.server.data_dir) / WORKERS_DIRECTORY, worker, served=self.served)
        before = self._figures.before
        self.problems = problems = DeliveryProblems(before.failing, before.dropped, before.untold)
        self._figures.watch(problems)
        self.slowdowns = self._figures.slowdowns
        self._figures.follow(self.counts)
        readers: list[Callable[[Sequence[Sequence[TraceEvent]]], None]] = [problems]
        if self.served:
            counts = Counts()
            self._figures.follow(counts)
            readers.append(EventMeter(counts))
        if event_lines.wanted():
            log = settings.log
            lines = EventLines(Style(log.format), AddressDetail(log.addresses), write_lines)
            readers.append(lines)
            self._figures.follow(lost={(metrics.LINES_LEFT_OUT.name,): lambda: lines.left_out})
        self._close_spans = _nothing
        if settings.otel.endpoint:
            readers.append(self._spans(settings, worker))
        self._stores: Sequence[Store] = ()
        self._feed = EventFeed(readers, self._look)

    def follow(self, stores: Sequence[Store], *others: Counts) -> None:
        """Add up what stores and others count, and see whether stores write their records."""
        self._stores = stores
        self._figures.follow(*(store.counts for store in stores), *others)
        self._figures.failure = lambda: next(filter(None, map(_refusal, stores)), None)
        dropped = (metrics.TRACE_DROPPED.name,)
        self._figures.follow(lost={dropped: lambda: sum(store.trace_dropped for store in stores)})

    def refusal(self) -> StoreFailure | None:
        """Why no mail can be stored now, None if it can."""
        return self._figures.failure()

    def note_drained(self, why: str) -> None:
        """Tell who asks whether this node is ready why it takes no mail; "" if it takes some."""
        self._figures.drained = why

    def along(self, store: Store) -> Callable[[Sequence[TraceEvent]], None]:
        """Takes events for a store's trace, and for all that is told of them."""
        return self._feed.along(store.trace)

    def tell(self, events: Sequence[TraceEvent]) -> None:
        """Take events for all that is told of them, but not for a trace."""
        self._feed.tell(events)

    def note(self, version: int, gauges: Mapping[Series, float]) -> None:
        """Set the worker's gauges and the version of the resources that it uses."""
        self._figures.version = version
        self._figures.gauges = gauges

    def _look(self) -> None:
        waiting = [store.unwritten for store in self._stores]
        for record in dict.fromkeys(name for each in waiting for name in each):
            self.problems.note_record(record, next((each[record] for each in waiting if each[record]), ""), time.time())
        self._figures.look()

    def note_source(self, question: RecipientQuestion, answer: RecipientAnswer) -> None:
        """Note for alarms whether the source of a domain's recipients answers."""
        if answer.exists is not None or answer.is_down:
            failure = "" if answer.exists is not None else answer.source
            self.problems.note_source(question.organization, question.domain.name, failure, time.time())

    def note_scanner(self, asked: ApplicableHook, failure: str) -> None:
        """Note for alarms whether the scanner of a content hook gives usable answers: then failure is ""."""
        hook = asked.hook
        then = HookFailure.ACCEPT if hook.mode is Mode.REHEARSE else hook.on_failure
        self.problems.note_scanner(asked.organization, hook.name, str(then), failure, time.time())

    @property
    def load(self) -> WorkerLoad:
        """The load of the worker, as it was noted last."""
        return self._figures.load

    def note_load(self, load: WorkerLoad) -> None:
        """Note how loaded the worker is, for alarms, metrics and status."""
        self._figures.load = load

    def close(self) -> None:
        """Tell what waits, and write the file a last time. Blocks."""
        self._feed.close()
        self._close_spans()
        self._figures.last()

    def _spans(self, settings: Settings, worker: int) -> SpanReader:
        """The reader that makes spans and sends them."""
        from gatepost.node.span_export import SpanExport  # noqa: PLC0415 - its libraries are an extra

        export = SpanExport(settings, worker)
        reader = SpanReader(settings.otel.sample, AddressDetail(settings.log.addresses), export.put)
        self._figures.follow(lost={(metrics.SPANS_DROPPED.name,): lambda: export.dropped + reader.left_out})
        self._close_spans = export.close
        return reader


def worker_gauges(
    sessions: int, idle: int, managers: Sequence[QueueManager], budget: LaneBudget
) -> dict[Series, float]:
    """The gauges of what a worker does now. sessions: with clients. idle: outbound connections that rest."""
    return {
        (metrics.CONNECTIONS.name, "inbound"): sessions,
        (metrics.CONNECTIONS.name, "outbound"): sum(manager.lanes for manager in managers),
        (metrics.CONNECTIONS.name, "outbound-idle"): idle,
        (metrics.BACKING_OFF.name,): sum(manager.backing_off for manager in managers),
        (metrics.IN_MEMORY.name,): sum(manager.waiting for manager in managers),
        (metrics.SLOWED.name,): len(budget.slowdowns.listed(time.time())),
    }


def _refusal(store: Store) -> StoreFailure | None:
    """Why the store takes no message: it fails, or the disk has no more room than `store.free_space`."""
    if store.failure is not None or store.room_for(0):
        return store.failure
    return StoreFull("the disk of data_dir has no more room than store.free_space")


def _nothing() -> None:
    """Nothing is to be closed."""
