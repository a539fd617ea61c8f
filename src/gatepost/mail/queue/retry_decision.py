"""What an attempt's outcome means for the delivery: who is done, who waits until when, who is given up. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gatepost.mail.model.delivery_result import Fate, Outcome, Sort
from gatepost.policy.decisions.withheld import concerns_others
from gatepost.protocols.smtp.replies import Reply

if TYPE_CHECKING:
    from gatepost.mail.model.message import Delivery, Recipient, Return
    from gatepost.mail.queue.schedule import Schedule


_WAITING = {Sort.DEFERRED, Sort.HELD}

UNTRIED = Reply(451, "4.3.0", ("No attempt was made",))
IN_DOUBT = Reply(451, "4.4.2", ("The reply to the message did not come before a stop, it may arrive twice",))
NO_NOTICE = Reply(451, "4.3.0", ("It failed, and the notice for its sender cannot be made yet",))
_DNS_FAILED = "4.4.312"
INTERNAL = Reply(451, "4.3.0", ("The attempt failed for a reason of our own",))


@dataclass(frozen=True, slots=True)
class Conclusion:
    """outcome: a fate for every recipient, expiry worked in. next_at: of the next attempt, 0 if nobody remains.

    last_error: the first deferral's reply, "" if there is none; with what we know of it where the DNS failed. late:
    senders are to be told of the delay. held: all that remain wait for an administrator.
    """

    outcome: Outcome
    remaining: list[Recipient]
    next_at: float
    last_error: str
    late: bool
    held: bool = False


def conclude(delivery: Delivery, outcome: Outcome, schedule: Schedule, now: float, luck: float) -> Conclusion:
    """Conclude an attempt that is over; `delivery.attempts` counts it already. luck: see `Schedule.next_attempt`."""
    outcome = _complete(delivery, outcome)
    expires_at = schedule.expires_at(delivery.message.received, delivery.expires_at)
    if now >= expires_at:
        outcome = replace(outcome, fates=[_expired(fate) for fate in outcome.fates])
    elif delivery.returned is not None:
        outcome = replace(outcome, fates=[_returned(fate, delivery.returned) for fate in outcome.fates])
    waiting = [fate for fate in outcome.fates if fate.sort in _WAITING]
    held = bool(waiting) and all(fate.sort is Sort.HELD for fate in waiting)
    next_at = 0.0
    if held:
        next_at = schedule.look_again(delivery.message.received, now, expires_at)
    elif waiting:  # some are tried again in any case, and the rest with them
        outcome = replace(outcome, fates=[_deferred(fate) for fate in outcome.fates])
        next_at = schedule.next_attempt(delivery.attempts, now, expires_at, luck)
    return Conclusion(
        outcome,
        [fate.recipient for fate in waiting],
        next_at,
        _told(waiting[0]) if waiting else "",
        schedule.delay_due(delivery.message.received, now),
        held,
    )


def untold(conclusion: Conclusion, next_at: float) -> Conclusion:
    """What becomes of it if the sender cannot be told: what failed waits until `next_at`, for nothing fails unsaid."""
    fates = [
        replace(fate, sort=Sort.DEFERRED, reply=NO_NOTICE, detail=fate.detail | {"failed": fate.reply.text})
        if fate.sort is Sort.FAILED
        else _deferred(fate)
        for fate in conclusion.outcome.fates
    ]
    return replace(
        conclusion,
        outcome=replace(conclusion.outcome, fates=fates),
        remaining=[fate.recipient for fate in fates if fate.sort is Sort.DEFERRED],
        next_at=next_at,
        last_error=NO_NOTICE.text,
        held=False,
    )


def _told(fate: Fate) -> str:
    """The reply, and where the DNS failed, whom we asked and what happened: nobody else can tell."""
    told = fate.reply.enhanced == _DNS_FAILED and not concerns_others(fate.detail)
    detail = str(fate.detail.get("detail", "")) if told else ""
    return f"{fate.reply.text} ({detail})" if detail else fate.reply.text


def mark_in_doubt(delivery: Delivery) -> None:
    """It was sent, and nobody knows whether it was taken: that stands in the queue until it is settled."""
    delivery.last_error = IN_DOUBT.text
    for recipient in delivery.recipients:
        recipient.in_doubt = True


def _deferred(fate: Fate) -> Fate:
    return replace(fate, sort=Sort.DEFERRED) if fate.sort is Sort.HELD else fate


def uniform(delivery: Delivery, reply: Reply) -> Outcome:
    """Everybody is deferred for the same reason."""
    return Outcome([Fate(recipient, Sort.DEFERRED, reply, {}) for recipient in delivery.recipients])


def suspended(delivery: Delivery, reply: Reply) -> Outcome:
    """Not tried, because no host of the destination answered other mail just now; `reply` is what that was told."""
    detail = {"suspended": True}
    return Outcome([Fate(recipient, Sort.DEFERRED, reply, detail) for recipient in delivery.recipients])


def _complete(delivery: Delivery, outcome: Outcome) -> Outcome:
    """Every recipient has one fate: who was forgotten is deferred, what is told of anybody else is left out."""
    open_ = Counter(recipient.address for recipient in delivery.recipients)
    fates = []
    for fate in outcome.fates:
        if open_[fate.recipient.address] > 0:
            open_[fate.recipient.address] -= 1
            fates.append(fate)
    if len(fates) == len(delivery.recipients) == len(outcome.fates):
        return outcome
    for recipient in delivery.recipients:
        if open_[recipient.address] > 0:
            open_[recipient.address] -= 1
            fates.append(Fate(recipient, Sort.DEFERRED, INTERNAL, {}))
    return replace(outcome, fates=fates)


def _returned(fate: Fate, order: Return) -> Fate:
    """What an administrator's order to return it makes of a deferral."""
    if fate.sort not in _WAITING:
        return fate
    return Fate(
        fate.recipient, Sort.FAILED, Reply(550, "5.3.0", (order.text,)), fate.detail | {"returned": order.author}
    )


def _expired(fate: Fate) -> Fate:
    """What expiry makes of a deferral: the same number with class 5, and a text that says so (exchange.md §7.3)."""
    if fate.sort not in _WAITING:
        return fate
    enhanced = "5" + fate.reply.enhanced[1:] if fate.reply.enhanced else "5.4.7"
    lines = (f"Message expired, {' '.join(fate.reply.lines)}",)
    return Fate(fate.recipient, Sort.FAILED, Reply(550, enhanced, lines), fate.detail | {"expired": True})
