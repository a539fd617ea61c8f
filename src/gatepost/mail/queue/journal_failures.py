"""Keep journal copies that cannot be delivered: nobody is notified of one, and none is given up.

Called by `mail.queue.settlement` for deliveries to journal mailboxes. A copy that is refused or expires goes to the
organization's journal_failures_to, and is durable there before the delivery is settled: after a crash it may arrive
twice, but it is not lost. Without that address, or when it fails there as well, it waits and is tried again, and an
alarm is raised.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import msgspec

from gatepost.mail.model.delivery_result import Disposition, RecipientResult
from gatepost.mail.model.message import Delivery, Journal, Message
from gatepost.mail.model.queue_id import format_id
from gatepost.mail.queue.own_mail import commit, own_deliveries
from gatepost.protocols.smtp.grammar import Path, parse_address
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from gatepost.mail.queue.retry_decision import RetryDecision
    from gatepost.policy.decisions.forwarding import Target
    from gatepost.store.interface import Store


_log = logging.getLogger(__name__)


class JournalFailures(msgspec.Struct, frozen=True):
    """failures_to: the address of an organization, "" for none. chunks: what a delivery sends, as its mailbox gets it.

    targets: where mail for an address goes. expiration: seconds a message of an organization stays queued.
    """

    store: Store
    failures_to: Callable[[str], str]
    chunks: Callable[[Delivery], AsyncIterator[bytes]]
    targets: Callable[[Path], Sequence[Target]]
    expiration: Callable[[str], float]

    async def kept(
        self, delivery: Delivery, journal: Journal, decision: RetryDecision, now: float, again: float
    ) -> tuple[RetryDecision, list[Delivery]]:
        """The decision without a copy that is given up, and new deliveries to be offered.

        again: when a copy that waits is tried next, seconds since 1970.
        """
        failed = [result for result in decision.outcome.results if result.disposition is Disposition.FAILED]
        if not failed:
            return decision, []
        to = "" if journal.alternate else self.failures_to(delivery.organization)
        if to:
            try:
                deliveries = await self._redirected(delivery, journal, to, now)
            except asyncio.CancelledError:
                pass  # a stop: mailboxes that have a copy must not get it again, and the rest waits
            except Exception:  # noqa: BLE001 - whatever it is, the copy is still in the queue
                _log.exception("delivery %d: the journal copy cannot go to %s yet", delivery.id, to)
            else:
                number = format_id(deliveries[0].message.id)
                results = _with(decision.outcome.results, {"journal_failures_to": to, "journal_message": number})
                return replace(decision, outcome=replace(decision.outcome, results=results)), deliveries
        delivery.expires_at = now + self.expiration(delivery.organization)
        return _waiting(decision, min(again, delivery.expires_at)), []

    async def _redirected(self, delivery: Delivery, journal: Journal, to: str, now: float) -> list[Delivery]:
        """Queue what the delivery sends for another address. Raises whatever keeps it from being durable there."""
        source, organization = delivery.message, delivery.organization
        message = Message(
            id=self.store.new_id(),
            organization=organization,
            received=now,
            reverse_path="",
            body_type=source.body_type,
            smtputf8=source.smtputf8,
            require_tls=source.require_tls,
            message_id=source.message_id,
            subject=source.subject,
            session=source.session,
            direction=source.direction,
            inbound={"journal": journal.form, "journal_of": format_id(source.id)},
        )
        copied = Journal(journal.form, to, rules=journal.rules, made=True, alternate=True)
        targets, expires = self.targets(parse_address(to)), now + self.expiration(organization)
        deliveries = own_deliveries(self.store.new_id, message, targets, expires, copied)
        body = self.store.body()
        try:
            async for chunk in self.chunks(delivery):
                if (behind := body.write(chunk)) is not None:
                    await behind
        except BaseException:
            body.abort()
            raise
        message.size = body.size
        await commit(self.store, message, deliveries, body)
        return deliveries


def _with(results: Sequence[RecipientResult], detail: dict[str, Any]) -> list[RecipientResult]:
    return [
        replace(result, detail=result.detail | detail) if result.disposition is Disposition.FAILED else result
        for result in results
    ]


def _waiting(decision: RetryDecision, next_at: float) -> RetryDecision:
    """What failed waits with the reply by which it failed."""
    results = [
        replace(result, disposition=Disposition.DEFERRED, detail=result.detail | {"journal_waits": result.reply.text})
        if result.disposition is Disposition.FAILED
        else result
        for result in decision.outcome.results
    ]
    return replace(
        decision,
        outcome=replace(decision.outcome, results=results),
        remaining=[result.recipient for result in results if result.disposition is not Disposition.DELIVERED],
        next_at=next_at,
        last_error=results[0].reply.text,
        held=False,
    )
