"""The embedded store: one shard, its writer thread, its reader thread and its arriving bodies behind `Store`.

Opened by a worker process, one shard each, which `open_shards` chooses for `Storage.queues`; `mail.queue.manager` owns
the deliveries, `inbound` accepts. Never decides when something is tried: it keeps what it is given.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, override

import apsw

from gatepost.mail.model.queue_id import IdSource, last_id
from gatepost.store.bodies import CHUNK, Bodies, Body, read_big
from gatepost.store.engine import StoreEngine
from gatepost.store.interface import DestinationWork, Durable, EventSink, Settlement, StoreFailure, StoreFull
from gatepost.store.sqlite import rows
from gatepost.store.sqlite.recovery import last_written, lock_shard, look_through, recover
from gatepost.store.sqlite.schema import (
    BIG_DIRECTORY,
    QUEUE_DIRECTORY,
    QUEUE_FILE,
    StoreSettings,
    make_directory,
    make_queue_tables,
    open_database,
    open_for_reading,
    wait_between_commits,
)
from gatepost.store.sqlite.space import allow_shrinking
from gatepost.store.sqlite.work import (
    AcceptanceWork,
    Barrier,
    BringForward,
    LeaseWork,
    LeftoverWork,
    RetryWork,
    SettlementWork,
    SuspensionWork,
)
from gatepost.store.sqlite.writer import Writer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from pathlib import Path

    from gatepost.events.metrics.counts import Counts
    from gatepost.mail.model.message import Delivery, Message
    from gatepost.settings.model import Settings
    from gatepost.store.suspension import Suspension
    from gatepost.store.trace import TraceSink


_LONGEST_REST = 0.05  # seconds between two parts of a long queue that are looked through at a start

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Shard:
    """A shard in our possession: lock, the writing and the reading connection, the highest id in use.

    rest: the newest message that may have deliveries which were in memory when the last process ended, 0 for none.
    """

    lock: int
    writing: apsw.Connection
    reading: apsw.Connection
    highest: int
    rest: int = 0


class SqliteStore(StoreEngine):
    """A `Store`. Made by `open`, on the loop it will work for."""

    @classmethod
    async def open(
        cls,
        directory: Path,
        *,
        trace: Callable[[int], TraceSink],
        worker: int,
        settings: StoreSettings | None = None,
        evidence: Callable[[int], EventSink | None] = lambda _: None,
    ) -> SqliteStore:
        """Take the shard in `directory`, made if it is not there, and recover what a crash left.

        worker: 0 to 1023, different for every process of the installation: it is part of ids and of trace file names.
        trace, evidence: make what takes the rows of the message trace, and those of the evidence log (None for no such
        log), once the shard is ours.
        Raises StoreFailure: in use by another process, of another version, damaged, no permission.
        """
        settings = settings or StoreSettings()
        ids = IdSource(worker, clock=time.time)  # the number is checked before anything is touched
        shard = await asyncio.to_thread(_take, directory, settings)
        ids = IdSource(worker, after=shard.highest, clock=time.time)
        store = cls(directory, shard, ids, trace(worker), settings)
        store._evidence = evidence(worker)
        return store

    def __init__(
        self, directory: Path, shard: _Shard, ids: IdSource, trace: TraceSink, settings: StoreSettings
    ) -> None:
        super().__init__(trace, Bodies(directory / BIG_DIRECTORY, settings, ids))
        self._shard = shard
        self._settings = settings
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="store-reader")
        self._bodies.failed = self._fail
        self._writer = Writer(shard.writing, directory, settings, self._loop)
        self._writer.unlink = self._bodies.unlink
        self._writer.administered = self._administered
        self._writer.failed = self._failed
        self._writer.start()
        self._ids = ids
        self.new_id: Callable[[], int] = ids
        self._recovery: asyncio.Task[None] | None = None
        self._ending: asyncio.Future[None] = self._loop.create_future()
        if shard.rest:
            self._recovery = self._loop.create_task(self._take_up_leftovers(shard.rest, time.time()))

    @property
    def failure(self) -> StoreFailure | None:
        """See `Store.failure`."""
        return self._writer.failure

    @property
    def counts(self) -> Counts:
        """The counts of its commits, kept by the writer's thread."""
        return self._writer.counts

    @property
    def position(self) -> None:
        """See `Store.position`."""
        return

    def count_senders(self, senders: Callable[[], int]) -> None:
        """See `Store.count_senders`. Asked from the writer's thread."""
        self._writer.senders = senders

    def room_for(self, size: int) -> bool:
        """See `Store.room_for`."""
        return self._writer.room.holds(size, self._settings.free_space_mark, self._settings.inline_limit)

    @property
    def room(self) -> float:
        """See `Store.room`."""
        mark = self._settings.free_space_mark
        return self._writer.room.above(mark) if mark else math.inf

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """See `Store.settle`."""
        self._refuse_if_failed()
        for work in [SettlementWork(settlement, self._offer) for settlement in settlements]:
            self._writer.put(work)

    async def flushed(self) -> None:
        """See `Store.flushed`."""
        await self._bodies_finished()
        self._refuse_if_failed()
        await self._done(self._writer.put, Barrier)

    def bring_forward(self, latest: float, failed: str = "") -> None:
        """See `Store.bring_forward`."""
        self._refuse_if_failed()
        self._writer.put(BringForward(latest, failed))

    def retry(self, deliveries: Sequence[tuple[int, int]], now: float) -> None:
        """See `Store.retry`."""
        self._refuse_if_failed()
        self._writer.put(RetryWork(deliveries, now))

    def held_up(self) -> Awaitable[None] | None:
        """See `Store.held_up`."""
        return self.flushed() if self._writer.holding else None

    def owns(self, _delivery: Delivery) -> bool:
        """See `Store.owns`. Nobody else has this shard."""
        return True

    async def destinations(self) -> list[DestinationWork]:
        """See `Store.destinations`."""
        await self._recovered()
        return await self._read(rows.destinations)

    async def lease(self, destination: str, limit: int, now: float) -> list[Delivery]:
        """See `Store.lease`."""
        await self._recovered()
        self._refuse_if_failed()
        return await self._done(self._writer.put, partial(LeaseWork, rows.LeaseRequest(destination, limit, now)))

    async def suspend(self, suspension: Suspension) -> int:
        """See `Store.suspend`."""
        await self._recovered()
        self._refuse_if_failed()
        return await self._done(self._writer.put, partial(SuspensionWork, suspension))

    def stop_leasing(self) -> None:
        """See `Store.stop_leasing`. What is not looked through by then is left to the next start."""
        if not self._ending.done():
            self._ending.set_result(None)

    async def earliest(self, destination: str) -> float:
        """See `Store.earliest`."""
        await self._recovered()
        return await self._read(lambda connection: rows.earliest(connection, destination))

    async def read(self, message_id: int) -> AsyncIterator[bytes]:
        """See `Store.read`."""
        big, data = await self._read(lambda connection: rows.body(connection, message_id))
        if data is not None:
            for first in range(0, len(data), CHUNK):
                yield data[first : first + CHUNK]
        if big is not None:
            async for chunk in read_big(
                self._bodies, big, await self._read(lambda connection: rows.big_size(connection, message_id))
            ):
                yield chunk

    async def close(self) -> None:
        """See `Store.close`. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self.stop_leasing()
        await self._bodies_finished()
        self._writer.hand_over()
        await asyncio.to_thread(self._end)
        if self._recovery is not None:
            await self._recovery  # only now: on a full disk it waits for its commit until the writer has ended
        await asyncio.sleep(0)  # what the last commit has to say was put on the loop before

    def _end(self) -> None:
        self._writer.stop()
        self._writer.failure = self._writer.failure or StoreFailure("the store is closed")
        self._close_sinks()
        self._reader.shutdown()
        self._shard.reading.close()
        os.close(self._shard.lock)

    @override
    def _refusal(self, body: Body) -> StoreFailure | None:
        failure = self._writer.failure or body.failure
        if failure is None and not self.room_for(0):
            failure = StoreFull(f"too little room for new mail: {self._writer.room}")
        return failure

    @override
    def _put_message(self, message: Message, deliveries: list[Delivery], body: Body, done: Durable, epoch: int) -> None:
        self._writer.put(AcceptanceWork(message, deliveries, body, done))

    @override
    def _finish_body(self, message: Message, deliveries: list[Delivery], body: Body, done: Durable) -> None:
        def finished(failure: StoreFailure | None) -> None:
            self._body_finished()
            if failure is None:
                self._queue_message(message, deliveries, body, done)
            else:
                done(failure)

        body.finish(finished)

    async def _recovered(self) -> None:
        """Wait until all is due that was in memory when the last process ended; what failed is in `failure`.

        Raises StoreFailure if the end began meanwhile: nobody would do what comes next.
        """
        if self._recovery is not None:
            await asyncio.wait([self._recovery, self._ending], return_when=asyncio.FIRST_COMPLETED)
            if self._ending.done():
                raise StoreFailure("the store is closed")

    async def _take_up_leftovers(self, rest: int, now: float) -> None:
        """Make due what was in memory when the last process ended, also of older messages; an end cuts it short.

        From the oldest on, as a disk reads it fastest; with rests, in which new mail goes first.
        """
        first = 0
        with contextlib.suppress(StoreFailure):  # whoever leases is told
            while first <= rest and not self._ending.done():
                begun = time.monotonic()
                try:
                    part = await self._read(partial(look_through, first=first, newest=rest))
                except apsw.Error as error:
                    self._fail(StoreFailure(f"a queue cannot be read: {error}"))
                    break
                self._ids.skip(part.highest)
                if part.leftovers:
                    self._writer.put(LeftoverWork(now, first, part.last))
                first = part.last + 1
                await asyncio.sleep(min(time.monotonic() - begun, _LONGEST_REST))
            if not self._ending.done():
                written: asyncio.Future[None] = self._loop.create_future()
                self._writer.put(Barrier(written))  # with no wait before it, in which `close` could end the writer
                await written
        self._recovery = None

    async def _read[T](self, query: Callable[[apsw.Connection], T]) -> T:
        self._refuse_if_failed()
        return await self._loop.run_in_executor(self._reader, query, self._shard.reading)

    def _refuse_if_failed(self) -> None:
        if self._writer.failure is not None:
            raise self._writer.failure

    def _fail(self, failure: StoreFailure) -> None:
        """A big file could not be synced: the disk is not to be trusted with anything."""
        if self._writer.failure is None:
            self._writer.failure = failure
            _log.critical("the store failed, nothing more is accepted: %s", failure)
            self._failed(failure)

    def _failed(self, failure: StoreFailure) -> None:
        if self._owner is not None:
            self._owner.failed(failure)


def _take(directory: Path, settings: StoreSettings) -> _Shard:
    """Possess and recover a shard. Blocks; not on the loop."""
    with contextlib.ExitStack() as undo:
        try:
            make_directory(directory / BIG_DIRECTORY)
            lock = lock_shard(directory)
            undo.callback(os.close, lock)
            latest = last_written(directory, time.time())
            writing = open_database(directory / QUEUE_FILE, settings, shrinking=True)
            undo.callback(writing.close)
            make_queue_tables(writing, directory / QUEUE_FILE)
            allow_shrinking(writing, directory / QUEUE_FILE)
            wait_between_commits(writing)
            recovered = recover(writing, directory / BIG_DIRECTORY, time.time())
            reading = open_for_reading(directory / QUEUE_FILE)
        except (apsw.Error, OSError) as error:
            raise StoreFailure(f"{directory}: {error}") from error
        undo.pop_all()
    return _Shard(lock, writing, reading, max(recovered.highest, last_id(latest)), recovered.rest)


def shards_of(root: Path, index: int, workers: int) -> list[int]:
    """The worker's own shard, and those of workers that are no more: dealt out among all that are."""
    present = sorted(int(path.name) for path in root.glob("*") if path.name.isdigit()) if root.is_dir() else []
    return [index, *(number for number in present if number >= workers and number % workers == index)]


async def open_shards(
    data: Path,
    settings: Settings,
    place: tuple[int, int],
    trace: Callable[[int], TraceSink],
    evidence: Callable[[int], EventSink | None],
) -> list[SqliteStore]:
    """The shards of a worker, recovered, its own first. data: the data directory. Raises StoreFailure."""
    return [
        await SqliteStore.open(
            data / QUEUE_DIRECTORY / str(number),
            trace=trace,
            worker=number,
            settings=store_settings(settings),
            evidence=evidence,
        )
        for number in shards_of(data / QUEUE_DIRECTORY, *place)
    ]


def store_settings(settings: Settings) -> StoreSettings:
    """The settings of the store, as far as a queue needs them."""
    store = settings.store
    return StoreSettings(
        inline_limit=store.inline_limit,
        memory_budget=store.memory_budget,
        free_space_mark=store.free_space,
    )
