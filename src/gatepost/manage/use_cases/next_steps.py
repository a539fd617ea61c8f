"""Say who must do what about a message, as queue and trace know it: `protocols.message.next_step`. Pure.

Used by the use cases of the queue, the trace and the work list, so that pages, commands and REST say the same. It is
made of what is shown to who asks: replies without what is another organization's.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from gatepost.protocols.message.header_text import shown_text
from gatepost.protocols.message.next_step import MustAct, NextStep, failed_step, first_of, waiting_step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gatepost.mail.model.trace_event import TraceEvent
    from gatepost.store.queue_admin import QueueEntry


def delivery_step(entry: QueueEntry) -> NextStep:
    """The step about a delivery of the queue."""
    delivery = entry.delivery
    domain = delivery.destination.partition("/")[2]
    return waiting_step(entry.state, domain, delivery.last_error, by_administrator=delivery.held)


def trace_step(events: Iterable[TraceEvent]) -> NextStep:
    """The step about a message or session, by the last row of each recipient, oldest row first.

    Where recipients fare differently: that which somebody must act upon.
    """
    last = {event.recipient: event for event in events}
    if len(last) > 1:
        last.pop("", None)  # what is of the session alone
    steps = [_STEPS.get(event.event, _other)(event) for event in last.values()]
    return first_of(steps) or NextStep(MustAct.NOBODY, "Nobody has to act: there is no mail.")


def _domain(event: TraceEvent) -> str:
    return event.recipient.rpartition("@")[2]


def _sent(event: TraceEvent) -> NextStep:
    rehearsed = event.detail.get("rehearsal")
    text = "Nobody has to act: the message was delivered"
    if isinstance(rehearsed, dict) and rehearsed.get("passed") is False:
        text = (
            "Nobody has to act now: the message was delivered, as its connector is in rehearsal; enforced, it would "
            "have kept the message waiting"
        )
    return NextStep(MustAct.NOBODY, f"{text}.")


def _refused(event: TraceEvent) -> NextStep:
    if event.reply.startswith("4"):
        text = "Nobody has to act yet: the gateway asked the sending server to try again later"
        return NextStep(MustAct.NOBODY, f"{text}.")
    who = f"of {shown_text(event.peer_host, 255)} " if event.peer_host else "of the sending server "
    return NextStep(
        MustAct.SENDER, f"The administrators {who}must correct what the reply names: the gateway refused the message."
    )


def _failed_handshake(event: TraceEvent) -> NextStep:
    who = f"of {shown_text(event.peer_host or event.peer_address, 255)}"
    if _OLD_TLS.search(event.reply):
        return NextStep(MustAct.SENDER, f"The administrators {who} must enable TLS 1.2 or TLS 1.3 in their server.")
    if _CERTIFICATE_ALERT.search(event.reply):
        return NextStep(
            MustAct.SENDER,
            f"The administrators {who} must find out why their server does not accept this gateway's certificate.",
        )
    if _LONG_CHAIN in event.reply:
        return NextStep(
            MustAct.SENDER,
            f"The administrators {who} must let their server send its own chain, and no other certificates.",
        )
    return NextStep(
        MustAct.NOBODY,
        f"Nobody has to act, unless mail should come from there: then the administrators {who} must read their log.",
    )


_OLD_TLS: Final = re.compile("unsupported protocol|version too low|no shared cipher|no suitable")
_LONG_CHAIN: Final = " certificates, at most "  # of `net.engine`
_CERTIFICATE_ALERT: Final = re.compile("alert (unknown ca|bad certificate|certificate|unsupported certificate)")


def _said(must_act: MustAct, text: str) -> Callable[[TraceEvent], NextStep]:
    return lambda _: NextStep(must_act, text)


def _other(event: TraceEvent) -> NextStep:
    return NextStep(MustAct.NOBODY, f"Nobody has to act: the last event is {shown_text(event.event, 30)}.")


_STEPS: Final[dict[str, Callable[[TraceEvent], NextStep]]] = {
    "RECEIVE": _said(MustAct.NOBODY, "Nobody has to act: the gateway accepted the message and delivers it."),
    "SEND": _sent,
    "DELIVER": _said(MustAct.NOBODY, "Nobody has to act: the message was delivered to a mailbox."),
    "REFUSE": _refused,
    "TLSFAIL": _failed_handshake,
    "DEFER": lambda event: waiting_step("deferred", _domain(event), event.reply),
    "HOLD": lambda event: waiting_step("held", _domain(event), by_administrator="author" in event.detail),
    "RELEASE": _said(MustAct.NOBODY, "Nobody has to act: the message was released and is tried again."),
    "FAIL": lambda event: failed_step(_domain(event), event.reply),
    "EXPIRE": lambda event: failed_step(_domain(event), event.reply),
    "RETURN": _said(MustAct.NOBODY, "Nobody has to act: an administrator had the message returned to its sender."),
    "DROP": _said(MustAct.NOBODY, "Nobody has to act: the message was dropped, and its sender was not notified."),
    "QUARANTINE": _said(
        MustAct.GATEWAY, "An administrator of this gateway must review this message, which is in quarantine."
    ),
    "DRILL": _said(MustAct.NOBODY, "Nobody has to act: this is a drill, not mail."),
}
