"""Decide what follows from an attempt: which recipients are done, wait until when, or are given up. Pure."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from gatepost.mail.model.delivery_result import DeliveryResult, Disposition, RecipientResult
from gatepost.policy.decisions.withheld import concerns_others
from gatepost.protocols.smtp.replies import Reply
from gatepost.store.suspension import jitter_of
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gatepost.mail.model.message import Delivery, Recipient, Return
    from gatepost.mail.queue.schedule import Schedule


_WAITING = {Disposition.DEFERRED, Disposition.HELD}

UNTRIED = Reply(451, "4.3.0", ("No attempt was made",))
IN_DOUBT = Reply(451, "4.4.2", ("The reply to the message did not come before a stop, it may arrive twice",))
CUT_SHORT = {"cut_short": True}  # detail where a stop came before all hosts were tried
NO_NOTICE = Reply(451, "4.3.0", ("It failed, and the notice for its sender cannot be made yet",))
_WITH_DETAIL = {"4.4.312", "4.3.5"}  # DNS query failed, and System incorrectly configured
INTERNAL = Reply(451, "4.3.0", ("The attempt failed for a reason of our own",))


class RetryDecision(msgspec.Struct, frozen=True):
    """outcome: a result for every recipient, expiry worked in. next_at: of the next attempt, 0 if no recipient remains.

    last_error: the first deferral's reply, "" if there is none; with what we know of it where the DNS failed. late:
    senders are due a delay notice. held: all that remain wait for an administrator.
    """

    outcome: DeliveryResult
    remaining: list[Recipient]
    next_at: float
    last_error: str
    late: bool
    held: bool = False


def decide_retry(delivery: Delivery, outcome: DeliveryResult, schedule: Schedule, now: float) -> RetryDecision:
    """Conclude an attempt that is over; `delivery.attempts` counts it already."""
    outcome = _complete(delivery, outcome)
    expires_at = schedule.expires_at(delivery.message.received, delivery.expires_at, now)
    if now >= expires_at:
        outcome = replace(outcome, results=[_expired(result, delivery) for result in outcome.results])
    elif delivery.returned is not None:
        outcome = replace(outcome, results=[_returned(result, delivery.returned) for result in outcome.results])
    waiting = [result for result in outcome.results if result.disposition in _WAITING]
    held = bool(waiting) and all(result.disposition is Disposition.HELD for result in waiting)
    next_at = 0.0
    if held:
        next_at = schedule.look_again(delivery.message.received, now, expires_at)
    elif waiting:  # some are tried again in any case, and the rest with them
        outcome, next_at = replace(outcome, results=[_deferred(result) for result in outcome.results]), now
        if not all(map(_is_untried, waiting)):  # else no host asked for a pause
            jitter = jitter_of(delivery.message.id, delivery.attempts)
            next_at = schedule.next_attempt(delivery.attempts, now, expires_at, jitter)
    return RetryDecision(
        outcome,
        [result.recipient for result in waiting],
        next_at,
        _last_error(waiting[0]) if waiting else "",
        schedule.delay_due(delivery.message.received, now),
        held,
    )


def defer_without_notice(decision: RetryDecision, next_at: float) -> RetryDecision:
    """The decision if no notice can be sent: what failed waits until `next_at`, as nothing fails without a notice."""
    results = [
        replace(
            result,
            disposition=Disposition.DEFERRED,
            reply=NO_NOTICE,
            detail=result.detail | {"failed": result.reply.text},
        )
        if result.disposition is Disposition.FAILED
        else _deferred(result)
        for result in decision.outcome.results
    ]
    return replace(
        decision,
        outcome=replace(decision.outcome, results=results),
        remaining=[result.recipient for result in results if result.disposition is Disposition.DEFERRED],
        next_at=next_at,
        last_error=NO_NOTICE.text,
        held=False,
    )


def _last_error(result: RecipientResult) -> str:
    """The reply; where the DNS failed, the nameserver and its failure; where we did, the file and the connector."""
    shown = result.reply.enhanced in _WITH_DETAIL and not concerns_others(result.detail)
    detail = str(result.detail.get("detail", "")) if shown else ""
    return f"{result.reply.text} ({detail})" if detail else result.reply.text


def mark_in_doubt(delivery: Delivery, recipients: Iterable[Recipient]) -> None:
    """Mark recipients to whom it was sent without a reply: the queue shows that until they are settled."""
    delivery.last_error = IN_DOUBT.text
    for recipient in recipients:
        recipient.in_doubt = True


def _deferred(result: RecipientResult) -> RecipientResult:
    return replace(result, disposition=Disposition.DEFERRED) if result.disposition is Disposition.HELD else result


def uniform(delivery: Delivery, reply: Reply) -> DeliveryResult:
    """Defer all recipients for the same reason."""
    return DeliveryResult(
        [RecipientResult(recipient, Disposition.DEFERRED, reply, {}) for recipient in delivery.recipients]
    )


def suspended(delivery: Delivery, reply: Reply, connector: Iterable[tuple[str, str]] = ()) -> DeliveryResult:
    """Defer without an attempt, because no host answered other mail for the destination; `reply` is that mail's.

    connector: that it would have gone by, as the trace names it.
    """
    detail = {"suspended": True, **dict(connector)}
    return DeliveryResult(
        [RecipientResult(recipient, Disposition.DEFERRED, reply, detail) for recipient in delivery.recipients]
    )


def _complete(delivery: Delivery, outcome: DeliveryResult) -> DeliveryResult:
    """One result for every recipient: a missing one is deferred, those of other recipients are left out."""
    if [result.recipient for result in outcome.results] == delivery.recipients:
        return outcome
    open_ = Counter(recipient.address for recipient in delivery.recipients)
    results = []
    for result in outcome.results:
        if open_[result.recipient.address] > 0:
            open_[result.recipient.address] -= 1
            results.append(result)
    if len(results) == len(delivery.recipients) == len(outcome.results):
        return outcome
    for recipient in delivery.recipients:
        if open_[recipient.address] > 0:
            open_[recipient.address] -= 1
            results.append(RecipientResult(recipient, Disposition.DEFERRED, INTERNAL, {}))
    return replace(outcome, results=results)


def _returned(result: RecipientResult, order: Return) -> RecipientResult:
    """Turn a deferral into a failure, by an administrator's order to return the message."""
    if result.disposition not in _WAITING:
        return result
    return RecipientResult(
        result.recipient,
        Disposition.FAILED,
        Reply(550, "5.3.0", (order.text,)),
        result.detail | {"returned": order.author},
    )


def _is_cut_short(result: RecipientResult) -> bool:
    """Whether a stop came before all hosts were tried: no reply says so, which a host could give, too."""
    return CUT_SHORT.items() <= result.detail.items()


def is_in_doubt(result: RecipientResult) -> bool:
    """Whether a stop came between the message and its reply: it may have arrived."""
    return _is_cut_short(result) and result.reply == IN_DOUBT


def _is_untried(result: RecipientResult) -> bool:
    """Whether it came before any host had answered."""
    return _is_cut_short(result) and result.reply in {UNTRIED, IN_DOUBT}


def _expired(result: RecipientResult, delivery: Delivery) -> RecipientResult:
    """Turn a deferral into a failure at expiry: the same code with class 5, and its own text (exchange.md §7.3).

    What a stop cut short is tried once more: hosts might take it, or have it.
    """
    if result.disposition not in _WAITING or (_is_cut_short(result) and delivery.returned is None):
        return result
    enhanced = "5" + result.reply.enhanced[1:] if result.reply.enhanced else "5.4.7"
    lines = (f"Message expired, {' '.join(result.reply.lines)}",)
    return RecipientResult(
        result.recipient, Disposition.FAILED, Reply(550, enhanced, lines), result.detail | {"expired": True}
    )
