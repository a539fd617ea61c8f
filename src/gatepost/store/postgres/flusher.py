"""Group commits of a worker's queue in PostgreSQL, on its event loop.

New mail and what was delivered; what is leased or deferred goes another way (`store.postgres.retry_commits`).
Counterpart of `store.sqlite.writer`: whatever was handed over while the last commit ran goes into the next one, in one
statement. Between commits it says that the process lives. While the server is away, read-only or does not answer,
nothing is accepted, no delivery is begun, and what became of deliveries waits in memory; it is tried every half second.
A commit of which nothing was heard was not acknowledged: what it may have left is removed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, override

from gatepost.events.metrics.catalogue import COMMIT_BATCH, COMMIT_SECONDS
from gatepost.events.metrics.counts import Counts
from gatepost.store.interface import OutcomeUnknown, StoreBusy, StoreFailure, StoreFull
from gatepost.store.leases import boot_time
from gatepost.store.postgres import owners, queue_rows
from gatepost.store.postgres.availability import Availability
from gatepost.store.postgres.commit_loop import CommitLoop
from gatepost.store.postgres.queue_rows import OwnedAcceptance, OwnedSettlement, PostgresPlan
from gatepost.store.sqlite.work import Work, refuse, tell

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from gatepost.store.postgres.owners import Owner, OwnerIdentity
    from gatepost.store.postgres.queue_connection import QueueConnection


_log = logging.getLogger(__name__)

BATCH_BYTES: Final = 8 << 20
"""Bodies of one commit: a larger statement costs more memory on both sides than it saves."""

_BATCH: Final = 2000  # pieces of work in one commit
_PACE: Final = 0.008  # seconds from the end of a commit to the next one's beginning, while others may still come to it
_LINGER: Final = 0.02  # seconds that a settlement may wait for another commit to ride along with
_RETRY: Final = 0.5  # seconds between two tries while the server is away
_DOUBTFUL_SECONDS: Final = 120.0  # for which the rest of a commit without an answer is looked for
_CLOSING: Final = 5.0  # seconds that a stop waits for a server that is away


@dataclass(frozen=True, slots=True)
class Rhythm:
    """expiry: seconds of silence after which a process has ended for the others."""

    expiry: float = 15.0

    @property
    def beat(self) -> float:
        """Seconds between two signs of life."""
        return self.expiry / 5

    @property
    def patience(self) -> float:
        """Seconds that a commit may take."""
        return self.expiry * 2 / 3


class Flusher(CommitLoop):
    """Commits for one process. The call-backs are called on the loop.

    registered: with each new epoch. fenced: the epoch ended, and what was in memory belongs to others.
    """

    def __init__(self, wire: QueueConnection, identity: OwnerIdentity, owner: Owner, rhythm: Rhythm) -> None:
        super().__init__("queue commits", wire, patience=rhythm.patience, closing=_CLOSING)
        self.owner = owner
        self.counts = Counts()
        self.available = Availability()
        self.pulse = owners.Pulse(time.time(), 0, 1)
        self.shift = 0.0  # seconds by which the server's clock is ahead of ours
        self.steady_since = boot_time()  # since when this process was heard without a gap
        self.senders: Callable[[], int] = _no_senders
        self.registered: Callable[[Owner], None] = _nobody
        self.fenced: Callable[[], None] = _nobody
        self._identity = identity
        self._rhythm = rhythm
        self._retry_at = 0.0
        self._left: set[int] = set()  # messages that may have no delivery any more
        self._dropped: set[int] = set()  # messages of which a delivery may be dropped
        # What may have been written though nothing was heard of it: until when it is looked for, and what it is.
        self._doubtful: list[tuple[float, list[int]]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._ended = 0.0
        self._heard = boot_time()  # the latest time by which others count its silence
        self._beaten = -rhythm.expiry  # so that its ids are noted at once; by `boot_time`
        self._waiters: list[asyncio.Future[None]] = []
        self._ends = False

    @property
    def failure(self) -> StoreFailure | None:
        """The reason for which nothing is accepted now."""
        return self.available.failure

    @property
    def holding(self) -> bool:
        """Whether results of deliveries wait in memory as they cannot be written."""
        return bool(self._kept) or not self.works or not self.is_current

    @property
    def works(self) -> bool:
        """Whether commits are made."""
        return self.available.works

    @property
    def is_current(self) -> bool:
        """Whether no other process can have ended the epoch: it was not silent for as long, nor stood still."""
        return boot_time() < self._heard + self._rhythm.expiry

    async def back(self) -> None:
        """Return when commits are made again and the epoch lasts. Raises StoreFailure if never, or at a stop."""
        while self.available.final is None and not (self.works and self.is_current):
            if self._ends:
                raise StoreFailure("the store is closed")
            waiter = self._loop.create_future()
            self._waiters.append(waiter)
            self.hand_over()  # after a standstill it says at once that it lives
            await waiter
        if self.available.final is not None:
            raise self.available.final

    def stop_waiting(self) -> None:
        """Let nobody wait any more for a server that is away: the process ends."""
        self._ends = True
        self._free_waiters()

    def put(self, work: Work) -> None:
        """Hand over a piece of work for the next commit, or one soon after it."""
        self._work.append(work)
        if work.urgent:
            self.hand_over()
        elif self._timer is None:
            self._timer = self._loop.call_later(_LINGER, self.hand_over)

    def hand_over(self) -> None:
        """Let what waits go with the next commit, now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._wake.set()

    def note_left(self, messages: Iterable[int]) -> None:
        """Messages that may have no delivery any more."""
        self._left.update(messages)

    def note_untidy(self, row: Any) -> None:
        """Note of `COMMIT` and `WITH_NOTICES` what goes now: with the last of several deliveries, or as it was dropped.

        It is removed in the next turn.
        """
        left, dropped = row[2] or (), row[3] or ()
        if left or dropped:
            self.note_left([*left, *dropped])
            self._dropped.update(dropped)
            self._wake.set()

    def moved(self, parameters: list[Any]) -> list[Any]:
        """Change the times of the next attempts into the server's. `WITH_NOTICES` and `COMMIT` have them as $18."""
        if self.shift:
            parameters[17] = [at + self.shift if at > 1 else at for at in parameters[17]]
        return parameters

    async def close(self) -> None:
        """Write what was handed over, end the epoch, and end. Nothing is put any more."""
        await self._end()
        self.available.final = self.available.final or StoreFailure("the store is closed")
        self._refuse_all(self.available.final)
        self._free_waiters()
        with contextlib.suppress(StoreFailure):
            if self.available.away is None:
                await self._wire.run(lambda connection: owners.end(connection, self.owner.epoch), "end an epoch")

    # ------------------------------------------------------------------------------------------- the task

    @override
    def _note_fault(self, error: Exception) -> None:
        _log.exception("the queue's commits failed")
        self.available.note_away(StoreBusy(f"PostgreSQL: {error!r}"))

    @override
    def _log_fault(self) -> None:
        _log.exception("a commit of the queue failed")

    @override
    async def _turn(self) -> None:
        if self.available.away is not None and not await self._recovered():
            await asyncio.sleep(_RETRY)
            return
        batch = await self._gather()
        if batch:
            await self._commit(batch)
        if self.available.away is None:
            await self._attempt(self._tidy)
        if self.available.away is None and boot_time() >= self._beaten + self._rhythm.beat:
            await self._attempt(self._beat_once)
            await self._attempt(self._remove_doubtful)
        if self._waiters and self.works and self.is_current:
            self._free_waiters()

    async def _attempt(self, step: Callable[[], Awaitable[None]]) -> None:
        """A step besides commits, which is tried again later if it fails."""
        try:
            await step()
        except (StoreBusy, StoreFull) as failure:
            self.available.note_away(_passing(failure))
        except StoreFailure as failure:
            self._beaten = boot_time()
            _log.warning("%s", failure)

    async def _gather(self) -> list[Work]:
        if self._kept:
            if (rest := self._retry_at - time.monotonic()) > 0 and not self._closing:
                await asyncio.sleep(rest)
            batch, self._kept = self._kept[:_BATCH], self._kept[_BATCH:]
            return batch
        if not self._work or self._timer is not None:
            await self._sleep()
        rest = self._ended + _PACE - time.monotonic()
        if rest > 0 and self._work and not self._closing and self.senders():
            await asyncio.sleep(rest)
        batch, weight = [], 0
        while self._work and len(batch) < _BATCH and weight < BATCH_BYTES:
            work = self._work.popleft()
            batch.append(work)
            weight += work.weight
        if not self._work:
            self._wake.clear()
        return batch

    async def _sleep(self) -> None:
        """Until there is work, or the next sign of life is due."""
        rest = self._beaten + self._rhythm.beat - boot_time()
        if rest <= 0:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(rest):
                await self._wake.wait()

    # ------------------------------------------------------------------------------------------- commits

    async def _commit(self, batch: list[Work]) -> None:
        begun, size = time.monotonic(), len(batch)
        if not await self._do(batch):
            return
        self._ended = time.monotonic()
        self.counts.observe((COMMIT_SECONDS.name,), COMMIT_SECONDS.buckets, self._ended - begun)
        self.counts.observe((COMMIT_BATCH.name,), COMMIT_BATCH.buckets, size)

    @override
    async def _write(self, batch: list[Work]) -> None:
        plan = PostgresPlan()
        together: list[Work] = []
        others: list[Work] = []
        for work in batch:
            if isinstance(work, OwnedAcceptance) and work.epoch not in {0, self.owner.epoch}:
                others.append(work)  # its body may be removed already
            elif isinstance(work, OwnedAcceptance | OwnedSettlement):
                work.collect(plan)
                together.append(work)
            else:
                others.append(work)
        if together:
            await self._write_plan(plan, together)
            batch[:] = others
            tell(together)
            await self._tidy()
        for work in others:
            if isinstance(work, OwnedAcceptance):
                work.failure = StoreBusy("this process was silent for too long, and began anew")
            batch.pop(0)
            tell([work])

    async def _write_plan(self, plan: PostgresPlan, batch: list[Work]) -> None:
        epoch, parameters = self.owner.epoch, self.moved(plan.parameters(self.owner.epoch))
        row = await self._run_timed(lambda connection: connection.fetchrow(queue_rows.COMMIT, *parameters), "commit")
        self.note_untidy(row)
        if plan.messages:
            self.available.note_room()
            if not row[0]:
                await self._beat_once()
                raise StoreBusy("PostgreSQL: this process was silent for too long, or a body is gone")
        for work in batch:
            if isinstance(work, OwnedAcceptance):
                work.committed(epoch)

    async def _tidy(self) -> None:
        dropped, self._dropped = self._dropped, set()
        left, self._left = self._left, set()  # others may be noted while this runs, or the same ones again
        try:
            if dropped:
                await self._run_timed(
                    lambda connection: connection.execute(queue_rows.REMOVE_DROPPED, list(dropped)),
                    "remove dropped mail",
                )
            if left:
                await self._run_timed(
                    lambda connection: connection.execute(queue_rows.REMOVE_DONE, list(left)), "remove messages"
                )
        except BaseException:
            self._dropped |= dropped
            self._left |= left
            raise

    async def _run_timed(self, work: Callable[[Any], Awaitable[Any]], doing: str) -> Any:
        self.available.begin()
        try:
            result = await self._wire.run(work, doing)
        finally:
            self.available.end()
        return result

    @override
    def _postpone(self, batch: list[Work], failure: StoreFailure) -> None:
        """Settlements are kept for a later commit, messages are not: their senders have them."""
        if isinstance(failure, OutcomeUnknown):
            refused = [work.message_id for work in batch if isinstance(work, OwnedAcceptance)]
            if refused:
                self._doubtful.append((time.monotonic() + _DOUBTFUL_SECONDS, refused))
        self._kept[:0] = [work for work in batch if work.patient]
        self._retry_at = time.monotonic() + _RETRY
        if isinstance(failure, StoreFull):
            self.available.note_full(failure)
            self._refuse_waiting(failure)
        refuse([work for work in batch if not work.patient], failure)
        if isinstance(failure, StoreBusy):
            self.available.note_away(failure)

    # ------------------------------------------------------------------------------------------- away and back

    def _refuse_waiting(self, failure: StoreFailure) -> None:
        """What was put before it was known must not wait until it is over."""
        waiting = list(self._work)
        self._work.clear()
        self._kept += [work for work in waiting if work.patient]
        refuse([work for work in waiting if not work.patient], failure)

    async def _recovered(self) -> bool:
        """Whether the server takes commits again."""
        try:
            await self._beat_once()
            await self._remove_doubtful()
        except StoreFailure as failure:
            self.available.note_away(_passing(failure))
            self._refuse_waiting(_passing(failure))
            return False
        self.available.note_back()
        self._free_waiters()
        return True

    def _free_waiters(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def _beat_once(self) -> None:
        sent, begun = time.time(), boot_time()
        pulse: owners.Pulse | None = await self._run_timed(
            lambda connection: owners.beat(connection, self.owner.epoch, sent), "say that it lives"
        )
        if boot_time() > self._beaten + 2 * self._rhythm.beat:  # others may have been as silent
            self.steady_since = boot_time()
        self._beaten = boot_time()
        if pulse is None:
            await self._renew()
            return
        self._heard = begun
        self.pulse = pulse
        apart = pulse.now - (sent + time.time()) / 2
        self.shift = apart if abs(apart) > 1 else 0.0

    async def _renew(self) -> None:
        """The epoch has ended: others have what it owned. Begin another."""
        _log.warning("this process was silent for too long for the other nodes: what it had in memory is theirs now")
        begun = boot_time()
        self.owner = await self._run_timed(
            lambda connection: owners.register(connection, self._identity), "begin an epoch"
        )
        self._heard = begun
        self.steady_since = boot_time()
        self._beaten = self.steady_since - self._rhythm.beat  # so that its ids are noted at once
        self.registered(self.owner)
        self.fenced()

    async def _remove_doubtful(self) -> None:
        now = time.monotonic()
        numbers = [number for _, refused in self._doubtful for number in refused]
        if numbers:
            found: int = await self._run_timed(
                lambda connection: connection.fetchval(queue_rows.REFUSED, numbers), "remove"
            )
            if found:
                _log.info("%d messages that were not acknowledged had been written, and were removed", found)
        self._doubtful = [(until, refused) for until, refused in self._doubtful if until > now]


def _passing(failure: StoreFailure) -> StoreBusy:
    """What keeps the server from being used, also if it is that its disk is full: it is tried again."""
    return failure if isinstance(failure, StoreBusy) else StoreBusy(str(failure), summary=failure.summary)


def _no_senders() -> int:
    """Nobody said how many there are."""
    return 0


def _nobody(*_: object) -> None:
    """Stands for a call-back that was not set."""
