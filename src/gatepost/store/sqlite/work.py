"""The work items of the writer thread, and what each does when its commit is done.

Made and finished on the loop, collected on the thread. A piece is in one commit, or in none and gets the reason.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from gatepost.store.interface import Durable, MessageUnstorable, Settlement, StoreFailure
from gatepost.store.sqlite.rows import CommitPlan, LeaseRequest, Row, deferred_row, delivery_row, message_row
from gatepost.store.suspension import Suspension

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from gatepost.mail.model.message import Delivery, Message
    from gatepost.store.bodies import Body


_log = logging.getLogger(__name__)


class Work:
    """One piece.

    weight: bytes it adds to a commit. patient: kept for a later commit if this one must wait. urgent: a caller waits
    for it; what is not urgent goes with the next commit that is, or in its own a moment later, sooner if `soon`.
    """

    __slots__ = ("failure",)

    weight: int = 0
    patient: bool = True
    urgent: bool = True
    soon: bool = False

    def __init__(self) -> None:
        self.failure: StoreFailure | None = None

    def collect(self, plan: CommitPlan) -> None:
        """Add what is to be written. On the writer thread; may happen more than once."""

    def finish(self) -> None:
        """It is durable, or `failure` says why it is not. On the loop."""


def refuse(batch: Sequence[Work], failure: StoreFailure) -> None:
    """Tell those that wait for it that nothing was done."""
    for work in batch:
        work.failure = failure
    tell(batch)


def tell(batch: Sequence[Work]) -> None:
    """Tell those that wait for it that it is done, or why not."""
    for work in batch:
        try:
            work.finish()
        except Exception:  # noqa: BLE001 - one caller's mistake must not keep the others waiting
            _log.exception("a call-back of the store failed")


def accept_rows(message: Message, deliveries: list[Delivery]) -> list[Row]:
    """The rows of a new message's deliveries. Raises MessageUnstorable if a column cannot hold a value."""
    if not deliveries:
        raise MessageUnstorable("a message without deliveries would never leave the queue")
    for delivery in deliveries:
        if delivery.message.id != message.id:
            raise MessageUnstorable(f"delivery {delivery.id} is not of message {message.id}")
    try:
        rows = [delivery_row(delivery) for delivery in deliveries]
        for row in rows:
            row[2].encode()
            row[6].encode()
    except (UnicodeError, TypeError, ValueError, OverflowError) as error:
        raise MessageUnstorable(f"message {message.id}: {error}") from error
    return rows


class AcceptanceWork(Work):
    """A message to be queued. Its body is whole in memory, or durable in a file already."""

    __slots__ = ("_body", "_deliveries", "_done", "_message", "weight")

    patient = False

    def __init__(self, message: Message, deliveries: list[Delivery], body: Body, done: Durable) -> None:
        """Raises MessageUnstorable."""
        super().__init__()
        message.size = body.size
        self._deliveries = accept_rows(message, deliveries)
        self._message = _message_row(message, body.file.number if body.file else None)
        self._body = body
        self._done = done
        self.weight = len(body.head) if body.file else body.size
        if body.file is None:
            whole = body.whole()
            for delivery in deliveries:
                delivery.body = whole

    def collect(self, plan: CommitPlan) -> None:
        """The message, its deliveries and its body."""
        plan.messages.append(self._message)
        plan.deliveries += self._deliveries
        if self._body.file is None:
            plan.bodies.append((self._message[0], self._body.whole()))
        elif self._body.head:
            plan.bodies.append((self._message[0], self._body.head))

    def finish(self) -> None:
        """Tell the caller."""
        self._body.release()
        if self.failure is not None:
            self._body.discard()
        self._done(self.failure)


class SettlementWork(Work):
    """A settlement. Nobody waits for it: should the process end before its commit, the delivery is made once more.

    That of a delivery which waits for another attempt comes soon: whoever sees this one in the trace may order the
    next, and an order that came before the commit would be lost.
    """

    __slots__ = ("_deferred", "_notices", "_offer", "_settlement", "soon", "weight")

    urgent = False

    def __init__(self, settlement: Settlement, offer: Callable[[list[Delivery]], None]) -> None:
        """Raises MessageUnstorable. `offer` is given the notices' deliveries once they are durable."""
        super().__init__()
        self._settlement = settlement
        self._offer = offer
        self._deferred = _deferred_row(settlement) if settlement.remaining else None
        self.soon = self._deferred is not None
        self._notices: list[tuple[Row, list[Row], bytes]] = []
        self.weight = 0
        for message, deliveries, body in settlement.notices:
            message.size = len(body)
            self._notices.append((_message_row(message, None), accept_rows(message, deliveries), body))
            self.weight += len(body)

    def collect(self, plan: CommitPlan) -> None:
        """The delivery goes or waits; the notices come."""
        if self._deferred is None:
            delivery = self._settlement.delivery
            plan.finished.append((delivery.message.id, delivery.id))
        else:
            plan.deferred.append(self._deferred)
        for message, deliveries, body in self._notices:
            plan.messages.append(message)
            plan.deliveries += deliveries
            plan.bodies.append((message[0], body))

    def finish(self) -> None:
        """Hand the notices to the queue."""
        if self.failure is not None:
            if not self.failure.final:  # the row is leased still: it is due again when the process starts anew
                _log.error("delivery %s was not settled: %s", self._settlement.delivery.id, self.failure)
            return
        for _, deliveries, body in self._settlement.notices:
            for delivery in deliveries:
                delivery.body = body
            self._offer(deliveries)


class _Question[R, A](Work):
    """A request that is answered once what it changed is durable."""

    __slots__ = ("_future", "request")

    patient = False

    def __init__(self, request: R, future: asyncio.Future[A]) -> None:
        super().__init__()
        self.request = request
        self._future = future

    def _answer(self, answer: A, otherwise: A) -> None:
        """Tell what came of it. otherwise: told if the store was full or busy just now."""
        if self._future.done():
            return
        if self.failure is not None and self.failure.final:
            self._future.set_exception(self.failure)
        else:
            self._future.set_result(otherwise if self.failure else answer)


class LeaseWork(_Question[LeaseRequest, list["Delivery"]]):
    """A request for due deliveries. Granted only once their rows say so durably."""

    __slots__ = ()

    def collect(self, plan: CommitPlan) -> None:
        """Ask."""
        plan.leases.append(self.request)

    def finish(self) -> None:
        """Give what was granted."""
        self._answer(self.request.granted, [])


class SuspensionWork(_Question[Suspension, int]):
    """A request to defer deliveries where they lie."""

    __slots__ = ()

    def collect(self, plan: CommitPlan) -> None:
        """Ask."""
        plan.suspensions.append(self.request)

    def finish(self) -> None:
        """Say how many."""
        self._answer(self.request.deferred, 0)


class BringForward(Work):
    """Deliveries that are due too late, as the clock was put back or what failed is back, are due in time.

    failed: how the last error of those begins. after: only those beyond this message and delivery, where a store takes
    them in parts.
    """

    __slots__ = ("after", "failed", "latest")

    def __init__(self, latest: float, failed: str = "", after: tuple[int, ...] = (0, 0)) -> None:
        super().__init__()
        self.latest = latest
        self.failed = failed
        self.after = after

    def collect(self, plan: CommitPlan) -> None:
        """All of them."""
        plan.brought.append((self.latest, self.failed))

    def finish(self) -> None:
        """Nobody waits for it."""


class RetryWork(Work):
    """Deliveries that wait, each with its message, are due at once: an administrator ordered another attempt."""

    __slots__ = ("deliveries", "now")

    def __init__(self, deliveries: Sequence[tuple[int, int]], now: float) -> None:
        super().__init__()
        self.deliveries = deliveries
        self.now = now

    def collect(self, plan: CommitPlan) -> None:
        """All of them."""
        plan.retried += [(self.now, *delivery) for delivery in self.deliveries]

    def finish(self) -> None:
        """Nobody waits for it."""


class LeftoverWork(Work):
    """Deliveries of the messages between two ids that were in the memory of a process that ended are due at once."""

    __slots__ = ("_row",)

    def __init__(self, now: float, first: int, last: int) -> None:
        super().__init__()
        self._row = now, first, last

    def collect(self, plan: CommitPlan) -> None:
        """All of them."""
        plan.leftovers.append(self._row)

    def finish(self) -> None:
        """Nobody waits for it: a barrier behind it tells."""


class Barrier(Work):
    """Someone waits for all that was handed over before."""

    __slots__ = ("_future",)

    def __init__(self, future: asyncio.Future[None]) -> None:
        super().__init__()
        self._future = future

    def finish(self) -> None:
        """Let go."""
        if self._future.done():
            return
        if self.failure is not None:
            self._future.set_exception(self.failure)
        else:
            self._future.set_result(None)


def _message_row(message: Message, big: int | None) -> Row:
    try:
        return message_row(message, big)
    except (UnicodeError, TypeError, ValueError, OverflowError) as error:
        raise MessageUnstorable(f"message {message.id}: {error}") from error


def _deferred_row(settlement: Settlement) -> Row:
    try:
        settlement.last_error.encode()
        return deferred_row(settlement)
    except (UnicodeError, TypeError, ValueError, OverflowError) as error:
        raise MessageUnstorable(f"delivery {settlement.delivery.id}: {error}") from error
