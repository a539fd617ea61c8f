"""Lease and defer mail of a worker on a PostgreSQL connection of its own, beside the one that commits new mail.

Used by `store.postgres.queue`. Leases, deferrals and notices may be as many as the whole queue is long; behind them no
sender waits. So they go in batches of a bounded size with rests between, and new mail overtakes them. That is safe:
what is leased or deferred names its owner's epoch, a lease is handed out when its commit is done, and a delivery is
owned until its deferral is committed. Epochs and signs of life are the business of `store.postgres.flusher`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final, override

from gatepost.mail.model.queue_id import format_id
from gatepost.store.interface import OutcomeUnknown, StoreBusy, StoreFailure, StoreFull
from gatepost.store.postgres import queue_rows
from gatepost.store.postgres.commit_loop import CommitLoop
from gatepost.store.postgres.queue_rows import OwnedSettlement, PostgresPlan
from gatepost.store.queue_admin import CANNOT_BE_READ, UNREADABLE_SECONDS
from gatepost.store.sqlite.work import BringForward, LeaseWork, RetryWork, SuspensionWork, Work, refuse, tell

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatepost.store.postgres.flusher import Flusher, Rhythm
    from gatepost.store.postgres.queue_connection import QueueConnection
    from gatepost.store.suspension import Suspension


_log = logging.getLogger(__name__)

_SETTLEMENTS: Final = 100  # of one statement
_LEASES: Final = 16  # destinations of one statement
_LEASED: Final = 100  # deliveries that they get together, unless one destination alone asks for more
_PACE: Final = 0.02  # seconds at least between two batches
_REST: Final = 3.0  # times of what a batch took, before the next one: where all is slow, new mail goes first
_LONGEST_REST: Final = 1.0
_HURRY: Final = 1.0  # seconds without rests, in which what an administrator ordered is written, leased and tried
_CALM: Final = 10.0  # from the beginning of one such time to the next: orders may come by the thousand
_RETRY: Final = 0.5  # seconds between two tries while the server does not take it
_DOUBTFUL_SECONDS: Final = 120.0  # for which a lease without an answer is looked for
_TURNS: Final = 4  # times of what a part of a long change took, in which others come before the next part
_CLOSING: Final = 2.0  # seconds that a stop waits for a server that is away; what is not written is tried anew
_NAMED: Final = 5  # messages in a log line
_COMPLAINT: Final = 60.0  # between two log lines of the same


class RetryCommits(CommitLoop):
    """wire: a connection of its own. flusher: says which epoch it is, and whether the server is there."""

    def __init__(self, wire: QueueConnection, flusher: Flusher, rhythm: Rhythm) -> None:
        super().__init__("queue retries", wire, patience=rhythm.patience, closing=_CLOSING)
        self._flusher = flusher
        self._rhythm = rhythm
        self._rest_until = 0.0
        self._is_pause = False
        self._hurried = -_CALM
        self._hurry = asyncio.Event()
        self._leases = 0
        self._lost_leases: list[tuple[float, int, float]] = []  # until when it is looked for, epoch, mark
        self._given_back = 0.0
        self._complained = -_COMPLAINT

    @property
    def holding(self) -> bool:
        """Whether results of deliveries wait in memory as they cannot be written."""
        return bool(self._kept)

    def put(self, work: Work) -> None:
        """Hand over a lease, a suspension, a settlement, a barrier, `BringForward`, or `RetryWork`."""
        self._work.append(work)
        self._wake.set()

    def hurry(self) -> None:
        """Leave out rests for a moment: an administrator waits for what comes next."""
        if (now := time.monotonic()) >= self._hurried + _CALM:
            self._hurried = now
            self._hurry.set()
            if self._is_pause:
                self._rest_until = now

    async def close(self) -> None:
        """Write what was handed over, and end. Nothing is put any more. Before the end of the epoch."""
        await self._end()
        self._refuse_all(StoreFailure("the store is closed"))

    @override
    def _note_fault(self, error: Exception) -> None:
        _log.exception("leases and deferrals of the queue failed")
        self._rest(_RETRY)
        self._complain(StoreBusy(f"PostgreSQL: {error!r}"))

    @override
    def _log_fault(self) -> None:
        _log.exception("a batch of leases and deferrals failed")

    @override
    async def _turn(self) -> None:
        if not self._work and not self._kept:
            await self._sleep()
        await self._end_rest()
        if not self._flusher.works:  # it says when the server is back
            refuse(self._take_impatient(), StoreBusy("PostgreSQL is away"))
            await asyncio.sleep(_RETRY)
            return
        if self._lost_leases and time.monotonic() >= self._given_back + self._rhythm.beat:
            await self._give_back()
        if batch := self._gather():
            begun = time.monotonic()
            if await self._do(batch):
                seconds = max(_PACE, _REST * (time.monotonic() - begun))
                self._rest(min(seconds, _LONGEST_REST), is_pause=True)

    async def _sleep(self) -> None:
        """Until there is work, or a lost lease is to be looked for."""
        self._wake.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._rhythm.beat if self._lost_leases else None):
                await self._wake.wait()

    async def _end_rest(self) -> None:
        """Let new mail go first until the rest is over, or cut short."""
        now = time.monotonic()
        if self._rest_until <= now or self._closing or (self._is_pause and now < self._hurried + _HURRY):
            return
        self._hurry.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._rest_until - now):
                await self._hurry.wait()

    def _rest(self, seconds: float, *, is_pause: bool = False) -> None:
        """is_pause: nothing failed, and others are to go first."""
        self._rest_until = time.monotonic() + seconds
        self._is_pause = is_pause

    def _take_impatient(self) -> list[Work]:
        waiting = [work for work in self._work if not work.patient]
        self._work = deque(work for work in self._work if work.patient)
        return waiting

    def _gather(self) -> list[Work]:
        """The next pieces of work, in their order, as much as is written at once."""
        batch, self._kept = self._kept[:_SETTLEMENTS], self._kept[_SETTLEMENTS:]
        if batch:
            return batch
        leased: set[str] = set()
        while self._work and len(batch) < _SETTLEMENTS:
            work = self._work[0]
            if isinstance(work, RetryWork):  # by itself: what was put before is written before, and after it after
                if not batch:
                    batch.append(self._work.popleft())
                break
            if isinstance(work, LeaseWork):
                if work.request.destination in leased or len(leased) == _LEASES:
                    break
                leased.add(work.request.destination)
            batch.append(self._work.popleft())
        return batch

    # ------------------------------------------------------------------------------------------- batches

    @override
    async def _write(self, batch: list[Work]) -> None:
        settlements = [work for work in batch if isinstance(work, OwnedSettlement) and not work.has_notices]
        if settlements:
            await self._settle(settlements)
            _finish(batch, settlements)
        leases = [work for work in batch if isinstance(work, LeaseWork)]
        if leases:
            await self._lease(leases)
            _finish(batch, leases)
        for work in list(batch):
            if isinstance(work, OwnedSettlement):
                await self._settle_with_notices(work)
            elif isinstance(work, BringForward):
                await self._bring_forward(work)
            elif isinstance(work, RetryWork):
                await self._retry(work)
            elif isinstance(work, SuspensionWork):
                await self._suspend(work.request)
            _finish(batch, [work])

    async def _settle(self, settlements: list[OwnedSettlement]) -> None:
        plan, epoch = PostgresPlan(), self._flusher.owner.epoch
        for work in settlements:
            work.collect(plan)
        parameters = self._flusher.moved(plan.parameters(epoch))
        row = await self._wire.run(lambda connection: connection.fetchrow(queue_rows.COMMIT, *parameters), "defer")
        self._flusher.note_untidy(row)

    async def _settle_with_notices(self, settlement: OwnedSettlement) -> None:
        plan, epoch = PostgresPlan(), self._flusher.owner.epoch
        settlement.collect(plan)
        parameters = self._flusher.moved(plan.parameters(epoch))
        row = await self._wire.run(
            lambda connection: connection.fetchrow(queue_rows.WITH_NOTICES, *parameters), "settle"
        )
        self._flusher.note_untidy(row)
        # If it was not ours any more: it may be that a commit of which nothing was heard wrote it, and its notices.
        first = settlement.notice_messages[0]
        added = bool(row[0]) or await self._wire.run(
            lambda connection: connection.fetchval(queue_rows.IS_OURS, first, epoch), "look for notices"
        )
        # The epoch may have ended meanwhile: then others take the notices over.
        settlement.added = added and epoch == self._flusher.owner.epoch
        if settlement.added:
            settlement.committed(epoch)

    async def _lease(self, leases: list[LeaseWork]) -> None:
        requests, epoch, shift = [work.request for work in leases], self._flusher.owner.epoch, self._flusher.shift
        self._leases += 1
        mark = -float(self._leases)
        each = _LEASED // len(requests)  # who gets fewer than there are asks again
        columns = (
            [request.destination for request in requests],
            [request.now + shift for request in requests],
            [min(request.limit, each) for request in requests] if len(requests) > 1 else [requests[0].limit],
        )
        try:
            rows: list[Any] = await self._wire.run(
                lambda connection: connection.fetch(queue_rows.LEASE, *columns, epoch, mark), "lease"
            )
        except OutcomeUnknown:
            self._lost_leases.append((time.monotonic() + _DOUBTFUL_SECONDS, epoch, mark))
            raise
        granted, unreadable = [], []
        for row in rows:
            try:
                granted.append(queue_rows.leased_delivery(row, epoch, shift))
            except ValueError:
                unreadable.append((row["message"], row["id"]))
        if unreadable:
            try:
                await self._put_off(unreadable, epoch)
            except StoreFailure:  # what was leased with them is nobody's either
                self._lost_leases.append((time.monotonic() + _DOUBTFUL_SECONDS, epoch, mark))
                raise
        for request in requests:
            request.granted = [delivery for delivery in granted if delivery.destination == request.destination]

    async def _put_off(self, unreadable: list[tuple[int, int]], epoch: int) -> None:
        """Let a node that can read them try them later: one with a newer release, perhaps."""
        ids = ", ".join(format_id(message) for message, _ in unreadable[:_NAMED])
        _log.error(
            "%d deliveries wait, because this release cannot read what is stored of them, such as of message %s: a "
            "node with a newer release tries them, or remove them with gatepost queue drop",
            len(unreadable),
            ids,
        )
        values = (UNREADABLE_SECONDS, *map(list, zip(*unreadable, strict=True)), epoch, CANNOT_BE_READ)
        await self._wire.run(lambda connection: connection.execute(queue_rows.PUT_OFF, *values), "put off")

    async def _bring_forward(self, work: BringForward) -> None:
        """A part of it; the rest follows when others had their turn, or at the next start: it may be a million."""
        begun, latest = time.monotonic(), work.latest + self._flusher.shift
        values: tuple[float | str, ...] = (latest, work.failed, *work.after) if work.failed else (latest,)
        statement = queue_rows.BRING_FAILED_FORWARD if work.failed else queue_rows.BRING_FORWARD
        rows = await self._wire.run(lambda connection: connection.fetch(statement, *values), "bring forward")
        if len(rows) == queue_rows.BRING_FORWARD_ROWS:
            again = BringForward(work.latest, work.failed, max(map(tuple, rows)))
            asyncio.get_running_loop().call_later(_TURNS * (time.monotonic() - begun), self.put, again)

    async def _retry(self, work: RetryWork) -> None:
        values = (work.now + self._flusher.shift, *map(list, zip(*work.deliveries, strict=True)))
        await self._wire.run(lambda connection: connection.execute(queue_rows.RETRY, *values), "retry")

    async def _suspend(self, suspension: Suspension) -> None:
        values = (
            suspension.destination,
            suspension.now,
            self._flusher.shift,
            suspension.limit,
            suspension.waits,
            suspension.received_after,
            suspension.reply,
        )
        rows = await self._wire.run(lambda connection: connection.fetch(queue_rows.SUSPEND, *values), "suspend")
        suspension.deferred = len(rows)

    async def _give_back(self) -> None:
        """Let others have what a lease took of which nothing was heard."""
        self._given_back = time.monotonic()
        due = time.time() + self._flusher.shift
        try:
            for _, epoch, mark in self._lost_leases:
                values = epoch, mark, due
                await self._wire.run(
                    lambda connection, values=values: connection.execute(queue_rows.GIVE_BACK, *values),  # type: ignore[misc]
                    "give back",
                )
        except StoreFailure as failure:
            self._complain(failure)
            return
        self._lost_leases = [lost for lost in self._lost_leases if lost[0] > self._given_back]

    # ------------------------------------------------------------------------------------------- failures

    @override
    def _postpone(self, batch: list[Work], failure: StoreFailure) -> None:
        """Settlements are kept for a later batch; who limits for a lease asks again."""
        self._kept[:0] = [work for work in batch if work.patient]
        refuse([work for work in batch if not work.patient], failure)
        self._rest(_RETRY)
        if isinstance(failure, StoreFull):
            self._flusher.available.note_full(failure)
        self._complain(failure)

    def _complain(self, failure: StoreFailure) -> None:
        """Say that deferred mail has to wait. Whether the server is away is for the commits of new mail to find out."""
        if self._flusher.works and time.monotonic() >= self._complained + _COMPLAINT:
            self._complained = time.monotonic()
            _log.warning("deferred mail cannot be leased or written just now, and is tried again: %s", failure)


def _finish(batch: list[Work], done: Sequence[Work]) -> None:
    """Take what is done out of a batch, and tell those that wait for it."""
    for work in done:
        batch.remove(work)
    tell(done)
