"""The limits of a worker's parts, as the settings say. Used by `node.assembly`."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Final

from gatepost.mail.inbound.quarantine import QuarantineLimits, QuarantineRoom, SharedRoom
from gatepost.mail.inbound.queue_shares import LOOK_SECONDS, QueueShares, QueueSpace
from gatepost.mail.outbound.connection import SmtpTimeouts
from gatepost.mail.queue.shared_limits import LIMITS_FILE, DividedLimits, NodeLimits
from gatepost.node.lifecycle import Duty, Lifecycle, nothing
from gatepost.settings.store_url import SQLITE
from gatepost.store.figures import WORKERS_DIRECTORY
from gatepost.store.queue_room import QUEUE_MARKS
from gatepost.values import copy_fields

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from gatepost.mail.inbound.usage import SendingUsage
    from gatepost.mail.queue.allowance import SharedLimits
    from gatepost.policy.connectors.directory import Directory
    from gatepost.settings.model import Settings
    from gatepost.store.interface import Store
    from gatepost.store.storage import Storage


_PARTS_OF_DISK: Final = 100
_FIRST_ANSWER: Final = 3.0  # seconds that a start waits for what was sent today; then it goes on without


def smtp_timeouts(settings: Settings) -> SmtpTimeouts:
    """Of connections to others."""
    outbound = settings.outbound
    return SmtpTimeouts(
        connect=outbound.connect_timeout,
        greeting=outbound.greeting_timeout,
        hello=outbound.hello_timeout,
        handshake=outbound.handshake_timeout,
        envelope=outbound.envelope_timeout,
        recipient=outbound.recipient_timeout,
        data=outbound.data_timeout,
        block=outbound.block_timeout,
        end=outbound.end_timeout,
    )


def quarantine_room(settings: Settings, store: Store, storage: Storage) -> QuarantineRoom:
    """Tells whether the quarantine of an organization has room. store: knows the room of the queue."""
    kept = settings.store
    shared = SharedRoom(lambda: store.room, (QUEUE_MARKS - 1) * kept.free_space, kept.queue_size // 2)
    limits = copy_fields(QuarantineLimits, settings.quarantine)
    return QuarantineRoom(storage.quarantine_usage, limits, shared=shared)


def sending_limits(
    data: Path, store: Store, place: tuple[int, int]
) -> tuple[SharedLimits, Callable[[], Awaitable[None] | None]]:
    """The limits of connectors that a worker shares, and the function that closes them.

    place: among the workers of the node. Raises OSError if the file cannot be used.
    """
    if store.position is not None:
        # Until the site has seen all workers of this node, each of them would think that the whole limit is its own.
        return DividedLimits(lambda: max(store.position or place, place, key=itemgetter(1))), nothing
    limits = NodeLimits(data / WORKERS_DIRECTORY / LIMITS_FILE, *place)
    return limits, limits.close


def queue_shares(
    settings: Settings, store: Store, storage: Storage, directory: Directory
) -> tuple[QueueShares, Lifecycle]:
    """The shares of organizations in the queue, and their life. store: knows the room. directory: in force now."""
    space = QueueSpace(settings.store.free_space, settings.store.queue_size, _shared_mark(settings))
    shares = QueueShares(lambda: storage.queue_admin().octets(), lambda: store.room, space)
    shares.use(directory)
    return shares, Lifecycle(
        "shares of the queue", duties=[Duty(LOOK_SECONDS, shares.look, at_once=True)], refresh=shares.use
    )


def _shared_mark(settings: Settings) -> int:
    """`store.free_space`, or a hundredth of the disk of data_dir if that is more; 0 if there is no mark.

    So what is kept for the other organizations is three of a hundred at least, however large the disk is. A queue in
    PostgreSQL is on another disk.
    """
    mark = settings.store.free_space
    if mark and settings.store.url == SQLITE:
        with suppress(OSError):
            disk = os.statvfs(settings.server.data_dir)
            mark = max(mark, disk.f_blocks * disk.f_frsize // _PARTS_OF_DISK)
    return mark


def usage_part(usage: SendingUsage, directory: Callable[[], Directory]) -> Lifecycle:
    """Count what users and own servers send, for their limits and for the alarm about what is unusual."""

    async def start() -> None:
        usage.use(directory())
        await asyncio.to_thread(usage.wait_until_read, _FIRST_ANSWER)

    close = partial(asyncio.to_thread, usage.close)
    return Lifecycle("limits of senders", start=start, refresh=usage.use, close=close)
