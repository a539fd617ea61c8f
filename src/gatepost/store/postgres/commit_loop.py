"""Commit batches of work in PostgreSQL, one after the other, in a task that goes on whatever fails.

The base of `store.postgres.flusher`, for new mail, and `store.postgres.retry_commits`, for leases and deferrals. Each
says how it waits, what a batch is, and what becomes of one that failed.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections import deque
from typing import TYPE_CHECKING

from gatepost.store.interface import MessageUnstorable, OutcomeUnknown, StoreFailure
from gatepost.store.sqlite.work import Work, refuse

if TYPE_CHECKING:
    from gatepost.store.postgres.queue_connection import QueueConnection


class CommitLoop(ABC):
    """patience: seconds that a commit may take. closing: seconds that a stop waits for a server that is away."""

    def __init__(self, name: str, wire: QueueConnection, *, patience: float, closing: float) -> None:
        self._name = name
        self._wire = wire
        self._longest_stop = patience + closing
        self._closing_seconds = closing
        self._loop = asyncio.get_running_loop()
        self._work: deque[Work] = deque()
        self._kept: list[Work] = []  # patient work of a batch that failed, in its order
        self._wake = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin. Set the call-backs before."""
        self._task = self._loop.create_task(self._run(), name=self._name)

    @abstractmethod
    async def _turn(self) -> None:
        """Wait for work and do some of it."""

    @abstractmethod
    async def _write(self, batch: list[Work]) -> None:
        """Do the work, and tell those that wait. What raises leaves in `batch` what is not done."""

    @abstractmethod
    def _postpone(self, batch: list[Work], failure: StoreFailure) -> None:
        """Keep what is patient of a batch that failed, and refuse the rest."""

    @abstractmethod
    def _note_fault(self, error: Exception) -> None:
        """Log that a turn failed for a reason that nobody foresaw, and rest."""

    @abstractmethod
    def _log_fault(self) -> None:
        """Log that a batch failed for a reason that nobody foresaw."""

    async def _run(self) -> None:
        until = float("inf")
        while not self._closing or self._kept or self._work:
            if self._closing:
                until = min(until, time.monotonic() + self._closing_seconds)
            if time.monotonic() > until:
                break
            try:
                await self._turn()
            except Exception as error:  # noqa: BLE001 - mail waits for it, so it goes on
                self._note_fault(error)

    async def _end(self) -> None:
        """Let the task write what was handed over, and end it."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            _, late = await asyncio.wait([self._task], timeout=self._longest_stop)
            for task in late:
                task.cancel()
            await asyncio.wait([self._task])

    def _refuse_all(self, failure: StoreFailure) -> None:
        """Nothing of what waits is done any more."""
        refuse([*self._kept, *self._work], failure)
        self._kept, self._work = [], deque()

    async def _do(self, batch: list[Work]) -> bool:
        """Whether a batch was done; if not, it was postponed."""
        try:
            await self._write(batch)
        except MessageUnstorable:
            await self._write_one_by_one(batch)
        except Exception as error:  # noqa: BLE001 - whatever it is, callers that wait must get it
            self._postpone(batch, self._failure(error))
            return False
        return True

    def _failure(self, error: Exception) -> StoreFailure:
        if isinstance(error, StoreFailure):
            return error
        self._log_fault()
        return OutcomeUnknown(f"PostgreSQL: {error!r}")

    async def _write_one_by_one(self, batch: list[Work]) -> None:
        """The piece with the bad value fails, the others do not."""
        waiting, batch[:] = deque(batch), []
        while waiting:
            piece = [waiting.popleft()]
            try:
                await self._write(piece)
            except MessageUnstorable as failure:
                refuse(piece, failure)
            except Exception as error:  # noqa: BLE001 - as above
                self._postpone([*piece, *waiting], self._failure(error))
                return
