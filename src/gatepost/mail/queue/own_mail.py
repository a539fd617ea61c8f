"""Make and queue mail that this gateway writes itself: notices to senders, alarms, lists of quarantine, TLS reports.

Called by `mail.queue.bounce`, `mail.queue.journal_failures`, and what sends mail in `node`. It has the null
reverse-path (RFC 3834 section 3.3, RFC 5321 section 4.5.5), so that nothing ever answers it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gatepost.mail.model.message import Delivery, Journal, Message, Recipient
from gatepost.protocols.smtp.grammar import GrammarError, Path, parse_address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gatepost.policy.decisions.forwarding import Target
    from gatepost.store.interface import BodyWriter, Store, StoreFailure


def own_message(  # noqa: PLR0913 - what a message is made of
    number: int,
    organization: str,
    content: bytes,
    *,
    message_id: str,
    subject: str,
    inbound: dict[str, str],
    now: float,
) -> Message:
    """The envelope of `content`. message_id: without angle brackets. inbound: marks it as ours, for the trace."""
    return Message(
        id=number,
        organization=organization,
        received=now,
        reverse_path="",
        size=len(content),
        message_id=f"<{message_id}>",
        subject=subject,
        direction="originating",
        inbound=inbound,
    )


def own_deliveries(
    new_id: Callable[[], int],
    message: Message,
    targets: Iterable[Target],
    expires_at: float,
    journal: Journal | None = None,
) -> list[Delivery]:
    """A delivery of the message's organization for each target; none is ever notified about."""
    return [
        Delivery(
            new_id(),
            message,
            f"{message.organization}/{target.path.domain}",
            [Recipient(target.path.text, "NEVER", forwarded_by=target.forwarded_by, journal=journal)],
            expires_at=expires_at,
        )
        for target in targets
    ]


def path_of(address: str) -> Path:
    """The path of an address that was accepted once, or that settings name: if it is none now, it is not far off."""
    try:
        return parse_address(address)
    except GrammarError:
        local_part, _, domain = address.rpartition("@")
        return Path(address, local_part, domain.lower())


async def commit(store: Store, message: Message, deliveries: list[Delivery], body: BodyWriter) -> None:
    """Store a message of our own whose body was written; it is durable then. Raises StoreFailure."""
    done: asyncio.Future[StoreFailure | None] = asyncio.get_running_loop().create_future()

    def committed(failure: StoreFailure | None) -> None:
        if not done.done():
            done.set_result(failure)

    store.accept(message, deliveries, body, committed)
    if (failure := await done) is not None:
        raise failure


async def queue_own(
    store: Store,
    offer: Callable[[list[Delivery]], None],
    message: Message,
    deliveries: list[Delivery],
    content: bytes,
) -> None:
    """Queue a message of our own: it is stored, and then offered. Raises StoreFailure."""
    body = store.body()
    if (behind := body.write(content)) is not None:
        await behind
    await commit(store, message, deliveries, body)
    offer(deliveries)
