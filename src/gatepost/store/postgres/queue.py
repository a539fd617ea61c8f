"""The queue of several nodes in PostgreSQL: the part of one worker process, behind `Store`.

Fresh mail is delivered from this process's memory, without a read, a lease or a word to others; its rows are born as
those of the process's epoch (`store.postgres.owners`). Deferred mail belongs to nobody and is leased by any worker of
any node. One connection commits new mail (`store.postgres.flusher`), another reads, writes large bodies, hears what
administrators did, and takes over what silent processes left, a third leases and defers
(`store.postgres.retry_commits`). Decisions 0059, 0090.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, override

from gatepost.mail.model.queue_id import IdSource
from gatepost.store.bodies import Bodies, Body
from gatepost.store.engine import StoreEngine
from gatepost.store.interface import DestinationWork, StoreBusy, StoreFailure, StoreFull
from gatepost.store.postgres import owners, queue_rows
from gatepost.store.postgres.database import prepare_tables
from gatepost.store.postgres.flusher import Flusher, Rhythm
from gatepost.store.postgres.queue_connection import QueueConnection, warn_of_lax_commits
from gatepost.store.postgres.queue_rows import CHUNK_BYTES, OwnedAcceptance, OwnedSettlement
from gatepost.store.postgres.queue_schema import CHANNEL, QUEUE_SCHEMA
from gatepost.store.postgres.retry_commits import RetryCommits
from gatepost.store.postgres.server import STATEMENT_SECONDS, connect, reported
from gatepost.store.postgres.spool import take_spool
from gatepost.store.postgres.upkeep import Upkeep
from gatepost.store.sqlite.rows import LeaseRequest
from gatepost.store.sqlite.schema import StoreSettings
from gatepost.store.sqlite.work import Barrier, BringForward, LeaseWork, RetryWork, SuspensionWork

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from pathlib import Path

    from gatepost.events.metrics.counts import Counts
    from gatepost.mail.model.message import Delivery, Message
    from gatepost.store.interface import AdminNotice, Durable, EventSink, Settlement
    from gatepost.store.postgres.owners import Owner
    from gatepost.store.suspension import Suspension
    from gatepost.store.trace import TraceSink


_UPLOADS: Final = 4  # large bodies that are written at a time
_PIECE: Final = 4  # chunks of one statement
_RETRY: Final = 0.5
_DISK_SECONDS: Final = 1.0  # for which what is known of the local disk counts


@dataclass(frozen=True, slots=True)
class PostgresSettings:
    """local: limits of bodies, and of the local disk that large ones pass over.

    replicated: 250 only when a standby has it. pinned: as of `QueueConnection`. expiry: seconds of silence after which
    others take a process's mail.
    """

    local: StoreSettings = field(default_factory=StoreSettings)
    replicated: bool = False
    pinned: bool = False
    expiry: float = 15.0


class PostgresStore(StoreEngine):
    """A `Store`. Made by `open`, on the loop it will work for."""

    @classmethod
    async def open(  # noqa: PLR0913 - what a process is made of, in one place
        cls,
        url: str,
        spool: Path,
        *,
        node: str,
        worker: int,
        trace: TraceSink,
        settings: PostgresSettings | None = None,
        evidence: Callable[[int], EventSink | None] = lambda _: None,
    ) -> PostgresStore:
        """Begin an epoch of this process. spool: where large bodies arrive. node: for people.

        worker: different for every process of the data directory. trace, evidence: as for the embedded store. Raises
        StoreFailure: the server is away, too old, does not replicate as it is to; the spool is in use.
        """
        settings = settings or PostgresSettings()
        lock, directory, installation = await asyncio.to_thread(take_spool, spool, worker)
        identity = owners.OwnerIdentity(node, worker, installation)
        store = cls(url, (lock, directory), identity, trace, settings)
        try:
            await store._begin(url)
        except BaseException:
            await store._give_up()
            raise
        store._evidence = evidence(worker)
        return store

    def __init__(
        self,
        url: str,
        spool: tuple[int, Path],
        identity: owners.OwnerIdentity,
        trace: TraceSink,
        settings: PostgresSettings,
    ) -> None:
        self._lock, self._directory = spool
        super().__init__(trace, Bodies(self._directory, settings.local, self.new_id, synced=False))
        self._settings = settings
        self._large: set[asyncio.Task[None]] = set()
        self._uploads = asyncio.Semaphore(_UPLOADS)
        self._disk = (0.0, True)
        self._ids = IdSource(0, clock=time.time)
        self._identity = identity
        role = f"queue {identity.worker} {identity.installation[:8]}"
        rhythm = Rhythm(settings.expiry)
        how: Any = {"statement": rhythm.patience, "replicated": settings.replicated, "pinned": settings.pinned}
        self._commits = QueueConnection(url, role, _prepare_commits, **how)
        self._side = QueueConnection(url, f"{role} side", self._prepare_side, statement=STATEMENT_SECONDS)
        self._flusher = Flusher(self._commits, identity, owners.Owner(0, 0, 0), rhythm)
        self._flusher.registered = self._registered
        self._flusher.fenced = self._fenced
        self._later = QueueConnection(url, f"{role} retries", _prepare_commits, **how)
        self._retries = RetryCommits(self._later, self._flusher, rhythm)
        self._upkeep = Upkeep(self._side, self._flusher, rhythm)
        self._upkeep.due = self._due
        self._upkeep.administered = self._ordered

    async def _begin(self, url: str) -> None:
        first = await connect(url, role="queue start")
        try:
            await prepare_tables(first, QUEUE_SCHEMA)
            with reported("look at its settings"):
                await warn_of_lax_commits(first, url, replicated=self._settings.replicated)
        finally:
            first.terminate()
        await self._commits.open()
        await self._side.open()
        await self._later.open()
        owner: Owner = await self._commits.run(partial(owners.register, identity=self._identity), "begin an epoch")
        self._flusher.owner = owner
        self._registered(owner)
        self._flusher.start()
        self._retries.start()
        self._upkeep.start()

    async def _give_up(self) -> None:
        """It could not be opened."""
        await self._commits.close()
        await self._side.close()
        await self._later.close()
        self._bodies.close()
        os.close(self._lock)

    async def _prepare_side(self, connection: Any) -> None:
        # What is lost of it with the server is done again, or is followed by the commit that counts.
        await connection.execute("SET synchronous_commit = off")
        await connection.add_listener(CHANNEL, self._upkeep.wake)

    # ------------------------------------------------------------------------------------------- Store

    @property
    def failure(self) -> StoreFailure | None:
        """See `Store.failure`."""
        return self._flusher.failure

    @property
    def counts(self) -> Counts:
        """See `Store.counts`."""
        return self._flusher.counts

    @property
    def position(self) -> tuple[int, int]:
        """See `Store.position`."""
        return self._flusher.pulse.rank, max(self._flusher.pulse.workers, 1)

    def count_senders(self, senders: Callable[[], int]) -> None:
        """See `Store.count_senders`."""
        self._flusher.senders = senders

    def new_id(self) -> int:
        """See `Store.new_id`."""
        return self._ids()

    def room_for(self, size: int) -> bool:
        """See `Store.room_for`. What is small does not touch the local disk; the database's own says so by itself."""
        if size <= self._settings.local.inline_limit or not self._settings.local.free_space_mark:
            return True
        now = time.monotonic()
        if now > self._disk[0] + _DISK_SECONDS:
            with contextlib.suppress(OSError):
                disk = os.statvfs(self._directory)
                self._disk = now, disk.f_bavail * disk.f_frsize > self._settings.local.free_space_mark + size
        return self._disk[1]

    @property
    def room(self) -> float:
        """See `Store.room`. The disk of the server is not seen from here."""
        return math.inf

    @override
    def _refusal(self, body: Body) -> StoreFailure | None:
        failure = self.failure or body.failure
        if failure is None and body.file is not None and not self.room_for(body.size):
            failure = StoreFull("too little room on the local disk")
        return failure

    @override
    def _put_message(self, message: Message, deliveries: list[Delivery], body: Body, done: Durable, epoch: int) -> None:
        self._flusher.put(OwnedAcceptance(message, deliveries, body, done, epoch))

    @override
    def _finish_body(self, message: Message, deliveries: list[Delivery], body: Body, done: Durable) -> None:
        assert body.file is not None  # noqa: S101 - the body is large
        number = body.file.number

        def finished(failure: StoreFailure | None) -> None:
            if failure is not None:
                self._body_finished()
                done(failure)
            else:
                task = self._loop.create_task(self._accept_large(message, deliveries, body, number, done))
                self._large.add(task)
                task.add_done_callback(self._large.discard)

        body.finish(finished)

    async def _accept_large(
        self, message: Message, deliveries: list[Delivery], body: Body, number: int, done: Durable
    ) -> None:
        """Write the body into the database, then queue its message."""

        def queued(failure: StoreFailure | None) -> None:
            body.discard()
            if failure is not None:
                self._upkeep.abandoned.add(number)
            self._body_finished()
            done(failure)

        epoch = self._flusher.owner.epoch
        try:
            async with self._uploads:
                await self._upload(number, epoch)
        except Exception as error:  # noqa: BLE001 - whatever it is, the sender must get it
            body.release()
            queued(error if isinstance(error, StoreBusy | StoreFull) else StoreBusy(f"body: {error!r}"))
        else:
            self._queue_message(message, deliveries, body, queued, epoch)

    async def _upload(self, number: int, epoch: int) -> None:
        path = self._bodies.directory / f"{number:016x}"
        file = await self._bodies.in_thread(lambda: path.open("rb", buffering=0))
        try:
            first = 0
            while chunks := await self._bodies.in_thread(lambda: _pieces(file)):
                numbers = list(range(first, first + len(chunks)))
                values = (number, epoch, numbers, chunks)
                await self._side.run(
                    lambda connection, values=values: connection.execute(queue_rows.WRITE_CHUNKS, *values),  # type: ignore[misc]
                    "write a body",
                )
                first += len(chunks)
        finally:
            file.close()

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """See `Store.settle`."""
        self._refuse_if_final()
        for work in [OwnedSettlement(settlement, self._offer) for settlement in settlements]:
            (self._retries if work.may_be_many else self._flusher).put(work)

    async def flushed(self) -> None:
        """See `Store.flushed`."""
        await self._bodies_finished()
        self._refuse_if_final()
        for part in (self._flusher, self._retries):
            await self._done(part.put, Barrier)

    def bring_forward(self, latest: float, failed: str = "") -> None:
        """See `Store.bring_forward`."""
        self._refuse_if_final()
        self._retries.put(BringForward(latest, failed))

    def retry(self, deliveries: Sequence[tuple[int, int]], now: float) -> None:
        """See `Store.retry`."""
        self._refuse_if_final()
        self._retries.put(RetryWork(deliveries, now))

    def held_up(self) -> Awaitable[None] | None:
        """See `Store.held_up`."""
        return self._written() if self._flusher.holding or self._retries.holding else None

    def owns(self, delivery: Delivery) -> bool:
        """See `Store.owns`."""
        return delivery.owner == self._flusher.owner.epoch and self._flusher.is_current

    async def _written(self) -> None:
        await self._flusher.back()
        await self.flushed()

    async def destinations(self) -> list[DestinationWork]:
        """See `Store.destinations`. While the server is away it waits."""
        rows = await self._answer_of(lambda connection: connection.fetch(queue_rows.DESTINATIONS), "list destinations")
        return [DestinationWork(name, self._local(earliest), count) for name, earliest, count in rows]

    async def lease(self, destination: str, limit: int, now: float) -> list[Delivery]:
        """See `Store.lease`. While the server is away it waits."""
        await self._flusher.back()
        granted = await self._done(self._retries.put, partial(LeaseWork, LeaseRequest(destination, limit, now)))
        # If the epoch ended this moment, others have them.
        return [delivery for delivery in granted if delivery.owner == self._flusher.owner.epoch]

    async def suspend(self, suspension: Suspension) -> int:
        """See `Store.suspend`. While the server is away it waits."""
        await self._flusher.back()
        return await self._done(self._retries.put, partial(SuspensionWork, suspension))

    def stop_leasing(self) -> None:
        """See `Store.stop_leasing`."""
        self._flusher.stop_waiting()

    async def earliest(self, destination: str) -> float:
        """See `Store.earliest`. While the server is away it waits."""
        first: float | None = await self._answer_of(
            lambda connection: connection.fetchval(queue_rows.EARLIEST, destination), "look for deferred mail"
        )
        return self._local(first) if first else 0.0

    async def read(self, message_id: int) -> AsyncIterator[bytes]:
        """See `Store.read`. Raises StoreBusy while the server is away."""
        row = await self._side.run(lambda connection: connection.fetchrow(queue_rows.BODY, message_id), "read a body")
        if row is None or (row["big"] is None and row["body"] is None):
            raise LookupError(f"no message {message_id}")
        size, big, head = row
        head = head or b""
        for first in range(0, len(head), CHUNK_BYTES):
            yield head[first : first + CHUNK_BYTES]
        left = size - len(head) if big is not None else 0
        number = 0
        while left > 0:
            chunk: bytes | None = await self._side.run(
                lambda connection, number=number: connection.fetchval(queue_rows.READ_CHUNK, big, number),  # type: ignore[misc]
                "read a body",
            )
            if chunk is None:
                raise LookupError(f"the body of message {message_id} is {left} octets short")
            yield chunk
            left -= len(chunk)
            number += 1

    async def close(self) -> None:
        """See `Store.close`. Idempotent."""
        if self._closed:
            return
        self._closed = True
        await self._bodies_finished()
        await self._upkeep.close()
        await self._retries.close()
        await self._flusher.close()
        await self._commits.close()
        await self._later.close()
        await self._side.close()
        await asyncio.to_thread(self._end)

    def _end(self) -> None:
        self._close_sinks()
        os.close(self._lock)

    # ------------------------------------------------------------------------------------------- parts

    async def _answer_of[T](self, work: Callable[[Any], Awaitable[T]], doing: str) -> T:
        """The result of a question, as soon as the server is there."""
        while True:
            await self._flusher.back()
            try:
                return await self._side.run(work, doing)
            except StoreBusy:
                await asyncio.sleep(_RETRY)

    def _local(self, at: float) -> float:
        """A time of the server's clock by ours. Never 0, which means none."""
        return max(at - self._flusher.shift, 1.0)

    def _refuse_if_final(self) -> None:
        if self._flusher.available.final is not None:
            raise self._flusher.available.final

    def _registered(self, owner: Owner) -> None:
        self._ids = IdSource(owner.place, after=owner.last_id, clock=time.time)

    def _fenced(self) -> None:
        if self._owner is not None:
            self._owner.disowned()

    def _ordered(self, notices: list[AdminNotice]) -> None:
        self._retries.hurry()
        self._administered(notices)

    def _due(self, work: list[DestinationWork]) -> None:
        if self._owner is not None:
            self._owner.due([DestinationWork(due.destination, self._local(due.earliest), due.count) for due in work])


def _pieces(file: Any) -> list[bytes]:
    """The next chunks of a file; none at its end."""
    chunks: list[bytes] = []
    while len(chunks) < _PIECE and (chunk := file.read(CHUNK_BYTES)):
        chunks.append(chunk)
    return chunks


async def _prepare_commits(connection: Any) -> None:
    await connection.execute(queue_rows.SESSION)
