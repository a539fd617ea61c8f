"""What expiry makes of a deferral: the same number with class 5, and a text that says so (exchange.md §7.3). Pure."""

from __future__ import annotations

from dataclasses import replace

from gatepost.queue.outcome import Fate, Outcome, Sort
from gatepost.smtp.replies import Reply

__all__ = ["expired"]


def expired(outcome: Outcome) -> Outcome:
    """The outcome of the last attempt before expiry: who is still deferred has failed."""
    return replace(outcome, fates=[_expired(fate) if fate.sort is Sort.DEFERRED else fate for fate in outcome.fates])


def _expired(fate: Fate) -> Fate:
    enhanced = "5" + fate.reply.enhanced[1:] if fate.reply.enhanced else "5.4.7"
    lines = (f"Message expired, {' '.join(fate.reply.lines)}",)
    return Fate(fate.recipient, Sort.FAILED, Reply(550, enhanced, lines), fate.detail | {"expired": True})
