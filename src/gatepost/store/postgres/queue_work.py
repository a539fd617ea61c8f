"""The works of `store.sqlite.work` in PostgreSQL, where each delivery has an owner."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatepost.store.sqlite.work import AcceptanceWork, SettlementWork

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost.mail.model.message import Delivery, Message
    from gatepost.store.bodies import Body
    from gatepost.store.interface import Settlement, StoreFailure
    from gatepost.store.postgres.queue_rows import PostgresPlan


class OwnedAcceptance(AcceptanceWork):
    """A message to be queued, owned by the process that commits it."""

    __slots__ = ("_owned", "_sender", "epoch", "message_id")

    def __init__(
        self,
        message: Message,
        deliveries: list[Delivery],
        body: Body,
        done: Callable[[StoreFailure | None], None],
        epoch: int = 0,
    ) -> None:
        """epoch: in which its body was written into the database, 0 if it comes along. Raises MessageUnstorable."""
        super().__init__(message, deliveries, body, done)
        self.epoch = epoch
        self.message_id = message.id
        self._sender = message.organization, message.reverse_path
        self._owned = deliveries

    def collect(self, plan: PostgresPlan) -> None:  # type: ignore[override]  # of the same shape
        """The message, its deliveries and its body."""
        super().collect(plan)  # type: ignore[arg-type]  # as above
        plan.senders.append(self._sender)

    def committed(self, epoch: int) -> None:
        """Its rows were written as those of an epoch."""
        for delivery in self._owned:
            delivery.owner = epoch


class OwnedSettlement(SettlementWork):
    """A settlement, which counts only while its delivery is owned by the epoch that had it."""

    __slots__ = ("_owner", "added", "has_notices")

    def __init__(self, settlement: Settlement, offer: Callable[[list[Delivery]], None]) -> None:
        """Raises MessageUnstorable."""
        super().__init__(settlement, offer)
        self._owner = settlement.delivery.owner
        self.has_notices = bool(settlement.notices)
        self.added = True  # its notices were queued

    def collect(self, plan: PostgresPlan) -> None:  # type: ignore[override]  # the rows have their owner behind them
        """The delivery goes or waits; the notices come."""
        super().collect(plan)  # type: ignore[arg-type]  # of the same shape
        plan.senders += [(message.organization, message.reverse_path) for message, _, _ in self._settlement.notices]
        if self._deferred is None:
            plan.finished[-1] = (*plan.finished[-1][:2], self._owner)
        else:
            plan.deferred[-1] = (*plan.deferred[-1], self._owner)

    @property
    def may_be_many(self) -> bool:
        """A deferral, or one with notices: there may be as many as the queue is long, and nobody waits."""
        return self.has_notices or self._deferred is not None

    @property
    def notice_messages(self) -> list[int]:
        """The ids of its notices."""
        return [message.id for message, _, _ in self._settlement.notices]

    def committed(self, epoch: int) -> None:
        """The rows of its notices were written as those of an epoch."""
        for _, deliveries, _ in self._settlement.notices:
            for delivery in deliveries:
                delivery.owner = epoch

    def finish(self) -> None:
        """Hand the notices to the queue, if they were queued."""
        if self.failure is not None or self.added:
            super().finish()
