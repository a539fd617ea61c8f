"""The way of the gateway's own mail: alarms, lists of quarantine, TLS reports."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gatepost.mail.queue.own_mail import queue_own

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gatepost.mail.model.message import Delivery, Message
    from gatepost.mail.model.trace_event import TraceEvent
    from gatepost.policy.connectors.directory import Directory
    from gatepost.store.interface import Store


class SiteMail(msgspec.Struct, frozen=True):
    """offer: takes what was queued in the store.

    directory: in force. expiration: seconds an organization's mail stays queued. trace: takes rows about what was done.
    """

    store: Store
    offer: Callable[[list[Delivery]], None]
    directory: Callable[[], Directory]
    expiration: Callable[[str], float]
    trace: Callable[[Sequence[TraceEvent]], None]

    async def queue(self, message: Message, deliveries: list[Delivery], content: bytes) -> None:
        """See `queue_own`. Raises StoreFailure."""
        await queue_own(self.store, self.offer, message, deliveries, content)
