"""Look after the shared queue beside one's own mail, every few seconds, on a worker's second connection.

It hears what administrators changed, ends and takes over processes that are silent, says which destinations have mail
due that nobody leased, and removes large bodies that no message names. Any worker does it for all; SKIP LOCKED keeps
them out of each other's way.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING, Final

from gatepost.store.interface import AdminNotice, DestinationWork, StoreFailure
from gatepost.store.leases import boot_time
from gatepost.store.postgres import owners, queue_rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost.store.postgres.flusher import Flusher, Rhythm
    from gatepost.store.postgres.queue_connection import QueueConnection


_log = logging.getLogger(__name__)

_OVERDUE: Final = 2.0  # seconds after which what is due should have been leased by those who know of it
_OVERDUE_ROWS: Final = 5000
_OVERDUE_SECONDS: Final = 5.0  # between two looks for it
_MANY_SECONDS: Final = 30.0  # the same by destination, which costs more, where much is overdue


class Upkeep:
    """due, administered: called on the loop. abandoned: large bodies that arrive no more."""

    def __init__(self, wire: QueueConnection, flusher: Flusher, rhythm: Rhythm) -> None:
        self.due: Callable[[list[DestinationWork]], None] = _nobody
        self.administered: Callable[[list[AdminNotice]], None] = _nobody
        self.abandoned: set[int] = set()
        self._wire = wire
        self._flusher = flusher
        self._rhythm = rhythm
        self._woken = asyncio.Event()
        self._looked = time.monotonic()
        self._ahead = 0.0  # seconds by which the server's clock is ahead of this machine's time since its start
        self._clock_set = 0.0
        self._overdue_at = 0.0
        self._many_at = 0.0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin. Set the call-backs before."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="queue upkeep")

    def wake(self, *_: object) -> None:
        """An administrator changed something."""
        self._woken.set()

    async def close(self) -> None:
        """End."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        while True:
            rest = self._looked + self._rhythm.beat - time.monotonic()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(rest, 0.0)):
                    await self._woken.wait()
            self._woken.clear()
            now = time.monotonic()
            is_due = now >= self._looked + self._rhythm.beat
            if is_due:
                self._looked = now  # also where nothing can be done: else it would not rest while the server is away
            try:
                if self._flusher.works:
                    await self._take_notices()
                    if is_due:
                        await self._look()
            except StoreFailure as failure:
                _log.debug("upkeep of the queue: %s", failure)  # the commits say so
            except Exception:  # noqa: BLE001 - mail goes on without it
                _log.exception("upkeep of the queue failed")

    async def _take_notices(self) -> None:
        epoch = self._flusher.owner.epoch
        rows = await self._wire.run(
            lambda connection: connection.fetch(queue_rows.TAKE_NOTICES, epoch), "hear administrators"
        )
        if rows:
            self.administered([AdminNotice(*row[1:]) for row in sorted(map(tuple, rows))])

    async def _look(self) -> None:
        await self._end_silent()
        await self._take_over()
        await self._remove_loose()
        await self._look_for_overdue()

    async def _end_silent(self) -> None:
        """After the server was away, or its clock was set, all were silent: each gets its time again to be heard."""
        expiry = self._rhythm.expiry
        ahead = await self._wire.run(owners.server_time, "ask for the time") - boot_time()
        if abs(ahead - self._ahead) > self._rhythm.patience:  # with less than that nobody alive becomes silent
            self._ahead, self._clock_set = ahead, boot_time()
        if boot_time() < max(self._flusher.steady_since, self._clock_set) + expiry:
            return
        for epoch, node, worker in await self._wire.run(
            lambda connection: owners.end_silent(connection, expiry), "look for silent processes"
        ):
            _log.warning("worker %d of node %s (epoch %d) is silent: others take over its mail", worker, node, epoch)

    async def _take_over(self) -> None:
        ended: list[int] = await self._wire.run(owners.ended_owners, "look for what was left")
        more = bool(ended)
        while more:
            work, more = await self._wire.run(lambda connection: owners.take_over(connection, ended), "take over")
            if work:
                self.due(work)
        if not ended:
            return
        if await self._wire.run(owners.sweep, "finish with ended processes"):
            left: list[int] = await self._wire.run(owners.messages_without_deliveries, "look for leftovers")
            self._flusher.note_left(left)

    async def _remove_loose(self) -> None:
        if self.abandoned:
            abandoned = list(self.abandoned)
            await self._wire.run(
                lambda connection: connection.execute(queue_rows.GIVE_UP_BODY, abandoned), "give up bodies"
            )
            self.abandoned.difference_update(abandoned)
        while await self._wire.run(lambda connection: connection.fetchval(queue_rows.REMOVE_LOOSE), "remove bodies"):
            pass

    async def _look_for_overdue(self) -> None:
        now = time.monotonic()
        if now < self._overdue_at + _OVERDUE_SECONDS:
            return
        self._overdue_at = now
        before = time.time() + self._flusher.shift - _OVERDUE
        rows = await self._wire.run(
            lambda connection: connection.fetch(queue_rows.OVERDUE, before, _OVERDUE_ROWS), "look for overdue mail"
        )
        if sum(row[2] for row in rows) == _OVERDUE_ROWS and now >= self._many_at + _MANY_SECONDS:
            self._many_at = now
            rows = await self._wire.run(
                lambda connection: connection.fetch(queue_rows.OVERDUE_BY_DESTINATION, before), "look for overdue mail"
            )
        if rows:
            self.due([DestinationWork(*row) for row in rows])


def _nobody(_argument: object) -> None:
    """Stands for a call-back that was not set."""
