"""Settle a delivery that leaves memory: write its result to the store, notify its sender, fill the trace.

Called by `mail.queue.manager`. Nothing here raises for what one delivery brings along: a delivery that is not settled
stays leased until the process ends, so there is always a second way.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import msgspec

from gatepost.mail.model.delivery_result import DeliveryResult, Disposition
from gatepost.mail.model.queue_id import format_id
from gatepost.mail.queue.retry_decision import decide_retry, defer_without_notice, is_in_doubt, mark_in_doubt
from gatepost.store.interface import MessageUnstorable, Settlement, Store, StoreFailure

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gatepost.mail.model.message import Delivery, Message, Recipient
    from gatepost.mail.queue.bounce import Bouncer
    from gatepost.mail.queue.journal_failures import JournalFailures
    from gatepost.mail.queue.memory_budget import MemoryBudget
    from gatepost.mail.queue.retry_decision import RetryDecision
    from gatepost.mail.queue.schedule import Schedule


_log = logging.getLogger(__name__)


class Settler(msgspec.Struct, frozen=True):
    """on_settled: called with each result for the trace, and the time of the next attempt (0 if none).

    note: called when a destination has something due at a time. failed: called when the store can settle nothing.
    journals: keeps journal copies that fail; without it they are given up. offer: takes what was queued instead.
    """

    store: Store
    schedule: Schedule
    bouncer: Bouncer
    window: MemoryBudget
    clock: Callable[[], float]
    on_settled: Callable[[Delivery, DeliveryResult, float], None]
    note: Callable[[str, float], None]
    failed: Callable[[StoreFailure], None]
    journals: JournalFailures | None = None
    offer: Callable[[list[Delivery]], None] = lambda _: None

    def put_back(self, delivery: Delivery, due: float) -> None:
        """Let a delivery wait in the store until `due`, as if it had not been in memory."""
        self.window.forget_body(delivery)
        self._settle(Settlement(delivery, delivery.recipients, due, delivery.last_error))

    def retry(self, deliveries: Sequence[tuple[int, int]], now: float) -> None:
        """Let deliveries, each with its message, be due now if they wait, also if they are put off just now."""
        try:
            if deliveries:
                self.store.retry(deliveries, now)
        except StoreFailure as failure:
            self.failed(failure)

    async def finish(self, delivery: Delivery, outcome: DeliveryResult, *, record_deferral: bool = True) -> None:
        """Settle an attempt. record_deferral: whether it goes into the trace even if it settles nothing."""
        now = self.clock()
        delivery.attempts += 1
        if doubtful := [result.recipient for result in outcome.results if is_in_doubt(result)]:
            note_in_doubt(delivery, doubtful)
        decision = decide_retry(delivery, outcome, self.schedule, now)
        instead: list[Delivery] = []
        if (journal := delivery.journal) is None:
            notices, decision = await self._notices(delivery, decision, now)
        else:  # nobody is notified of a copy
            notices = []
            if self.journals is not None:
                again = now + self.schedule.retry[-1]
                decision, instead = await self.journals.kept(delivery, journal, decision, now, again)
        delivery.last_error = decision.last_error
        for recipient in decision.remaining:
            recipient.held = decision.held
        self.window.forget_body(delivery)
        self._settle(Settlement(delivery, decision.remaining, decision.next_at, decision.last_error, notices))
        settled = any(result.disposition is not Disposition.DEFERRED for result in decision.outcome.results)
        if settled or record_deferral:
            self._record(delivery, decision)
        if instead:
            self.offer(instead)

    async def _notices(
        self, delivery: Delivery, decision: RetryDecision, now: float
    ) -> tuple[list[tuple[Message, list[Delivery], bytes]], RetryDecision]:
        """The notices, and the decision; failures whose notice cannot be made wait."""
        results = decision.outcome.results
        failed = any(result.disposition is Disposition.FAILED for result in results)
        try:
            return await self.bouncer.notices(delivery, results, late=decision.late, now=now), decision
        except asyncio.CancelledError:  # a stop: who has the message must not get it again
            return [], defer_without_notice(decision, now) if failed else decision
        except Exception:  # noqa: BLE001 - a notice that cannot be made must not leave its delivery unsettled
            what = "it failed, and stays in the queue until they can be" if failed else "it goes on without them"
            level = logging.CRITICAL if failed else logging.ERROR
            _log.log(level, "delivery %d: no notice could be made for its sender: %s", delivery.id, what, exc_info=True)
            return [], defer_without_notice(decision, now + self.schedule.retry[-1]) if failed else decision

    def _settle(self, settlement: Settlement) -> None:
        try:
            self.store.settle([settlement])
        except MessageUnstorable as failure:
            _log.error("delivery %d is settled without its text and its notices: %s", settlement.delivery.id, failure)
            settlement.last_error, settlement.notices = "", []
            settlement.delivery.last_error = ""
            self._settle_bare(settlement)
        except StoreFailure as failure:
            self.failed(failure)
        if settlement.remaining:
            self.note(settlement.delivery.destination, settlement.next_at)

    def _settle_bare(self, settlement: Settlement) -> None:
        try:
            self.store.settle([settlement])
        except StoreFailure as failure:
            _log.error("delivery %d stays as it was: %s", settlement.delivery.id, failure)

    def _record(self, delivery: Delivery, decision: RetryDecision) -> None:
        try:
            self.on_settled(delivery, decision.outcome, decision.next_at)
        except Exception:  # noqa: BLE001 - the trace is not worth the mail
            _log.exception("delivery %d: its outcome was not recorded", delivery.id)


def note_in_doubt(delivery: Delivery, recipients: Sequence[Recipient]) -> None:
    """Mark recipients, and log it: the message was sent to its end, and a stop did not wait for the reply."""
    mark_in_doubt(delivery, recipients)
    text = "message %s to %s may arrive twice: it was sent, and the gateway stopped before the reply"
    _log.warning(text, format_id(delivery.message.id), delivery.destination)
