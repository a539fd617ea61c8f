"""The writer thread of a shard: group commits, the free-space mark, and administrators' changes.

Natural batching: whatever was handed over while the last commit ran goes into the next one; commits of a busy shard are
`_PACE` apart while other senders are on their way to it, so that more share them, and settlements ride along with the
next one that a caller waits for, a lone one for longer (decision 0133). Results go back to the loop in one call per
commit. A failed commit or sync is final (store.md §9.3): after it the state on disk is unknown, so everything waiting
fails and nothing more is tried. A full disk passes: what became of deliveries is kept and written a few at a time, as
far as it fits, until all of it is.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

import apsw

from gatepost.events.metrics.catalogue import COMMIT_BATCH, COMMIT_SECONDS
from gatepost.events.metrics.counts import Counts
from gatepost.store.interface import AdminNotice, MessageUnstorable, StoreBusy, StoreFailure, StoreFull
from gatepost.store.sqlite.rows import CommitPlan, take_notices
from gatepost.store.sqlite.schema import QUEUE_FILE, StoreSettings
from gatepost.store.sqlite.space import NO_ROOM, Space, over_quota
from gatepost.store.sqlite.work import Barrier, Work, tell

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable
    from pathlib import Path


_log = logging.getLogger(__name__)

_BATCH = 2000  # pieces of work in one commit
_PACE = 0.008  # seconds from the end of a commit to the next one's beginning, while others may still come to it
_LINGER = 0.02  # seconds that settlements may wait for another commit to ride along with
_LINGER_ALONE = 0.1  # the same for one alone whose delivery is made: a crash repeats one delivery more at most
_LOOK = 0.5  # seconds between looks at the free space and at what administrators did
_TIDY = 0.1  # seconds between two steps of shrinking the files
_QUIET = 10.0  # seconds without a commit after which what is free is not needed soon
_RETRY = 0.25  # seconds between two tries while the disk is full
_FEW = 16  # pieces of work that are tried at once after the disk was full
_EARLY = 8  # part of the usual length of the WAL, after which it is copied while the disk is nearly full
_PASSING = (apsw.BusyError, apsw.LockedError, apsw.FullError)
_BAD_VALUE = (
    apsw.ConstraintError,
    apsw.TooBigError,
    apsw.MismatchError,
    apsw.RangeError,
    apsw.BindingsError,
    TypeError,
    ValueError,
    OverflowError,
)


class Writer:
    """Owns the writing connection. `put` is for the loop; the call-backs are called on the loop."""

    def __init__(
        self,
        connection: apsw.Connection,
        directory: Path,
        settings: StoreSettings,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.failure: StoreFailure | None = None
        self.counts = Counts()
        self._space = Space(connection, directory, QUEUE_FILE, settings)
        self.room = self._space.measure()
        self.senders: Callable[[], int] = _no_senders
        self.unlink: Callable[[Iterable[int]], None] = _nobody
        self.administered: Callable[[list[AdminNotice]], None] = _nobody
        self.failed: Callable[[StoreFailure], None] = _nobody
        self._connection = connection
        self._directory = directory
        self._settings = settings
        self._loop = loop
        self._queue: SimpleQueue[Work | None] = SimpleQueue()
        self._lazy: list[Work] = []  # not urgent, on the loop still
        self._all_here = threading.Event()  # cleared while the thread waits for senders
        self._all_here.set()
        self._timer: asyncio.TimerHandle | None = None
        self._ended = 0.0  # the last commit, on the monotonic clock
        self._kept: list[Work] = []  # patient work of a commit that had to wait, in its order
        self._stuck: list[Work] = []  # of it, what does not fit even alone, and barriers behind that
        self._few = _BATCH  # so much of it is tried at once
        self._retry_at = 0.0
        self.holding = False  # outcomes wait in memory because the disk is full
        self._tidied = 0.0
        self._untidy = False  # there is more to give back
        self._closing = False
        self._looked = 0.0
        self._data_version = connection.pragma("data_version")
        self._wal_pages = 0
        self._checkpoint_at = settings.checkpoint_pages
        connection.set_wal_hook(self._committed)
        self._thread = threading.Thread(target=self._run, name=f"store-{directory.name}", daemon=True)

    def start(self) -> None:
        """Begin. Set the call-backs before."""
        self._thread.start()

    def put(self, work: Work) -> None:
        """Hand over a piece of work for the next commit, or one soon after it."""
        self._lazy.append(work)
        if work.urgent:
            self.hand_over()
            if not self._all_here.is_set() and not self.senders():
                self._all_here.set()
        elif self._timer is None:
            self._timer = self._loop.call_later(_LINGER if work.soon else _LINGER_ALONE, self.hand_over)
        elif len(self._lazy) == 2:
            self._timer.cancel()
            self._timer = self._loop.call_later(_LINGER, self.hand_over)

    def hand_over(self) -> None:
        """Let work that no caller waits for go with the next commit, now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for work in self._lazy:
            self._queue.put(work)
        self._lazy.clear()

    def stop(self) -> None:
        """Write what was handed over, then close the connection and end the thread. Returns when it has ended.

        For any thread; call `hand_over` on the loop before.
        """
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()

    # ------------------------------------------------------------------------------------------- on the thread

    def _run(self) -> None:
        while not self._closing:
            try:
                self._commit(self._gather())
                self._checkpoint()
                self._look()
                self._tidy()
            except Exception as error:  # noqa: BLE001 - whatever it is, callers that wait must get it
                if not over_quota(self._connection, error):
                    self._fail([], error)
        self._commit(self._kept + self._stuck)
        if self.failure is not None:  # what the WAL holds is not known: leave it to the next start
            self._connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        self._space.release()
        with contextlib.suppress(apsw.Error):
            self._connection.close()

    def _gather(self) -> list[Work]:
        """Gather the work of the next commit; wait for the first piece, but not beyond the next duty."""
        self._set_aside()
        if (kept := self._take_kept()) or self._closing:
            return kept
        batch: list[Work] = []
        weight = 0
        try:
            work = self._queue.get(timeout=max(0.0, self._next_duty() - time.monotonic()))
            if work is not None:
                self._pace()
            while work is not None:
                batch.append(work)
                weight += work.weight
                if weight >= self._settings.batch_bytes or len(batch) >= _BATCH:
                    return batch
                work = self._queue.get_nowait()
            self._closing = True
        except Empty:
            pass
        return batch

    def _next_duty(self) -> float:
        """The time of the next work besides commits, on the monotonic clock."""
        return min(self._looked + _LOOK, self._tidied + _TIDY) if self._untidy else self._looked + _LOOK

    def _set_aside(self) -> None:
        """While the disk is full, keep patient work for the next try, and let the rest fail."""
        while (rest := self._retry_at - time.monotonic()) > 0 and not self._closing:
            try:
                work = self._queue.get(timeout=rest)
            except Empty:
                return
            if work is None:
                self._closing = True
            elif work.patient:
                self._kept.append(work)
            else:
                work.failure = StoreFull("the disk is full")
                self._tell([work])

    def _take_kept(self) -> list[Work]:
        """Take work that had to wait, as much as is tried at once; a barrier waits for all before it."""
        if not self._kept:
            self._kept, self._stuck = self._stuck, []
        if not self._kept:
            return []
        batch, self._kept = self._kept[: self._few], self._kept[self._few :]
        if self._stuck:
            self._stuck += [work for work in batch if isinstance(work, Barrier)]
            batch = [work for work in batch if not isinstance(work, Barrier)]
        return batch

    def _pace(self) -> None:
        """Let others catch up. Who waits for this very commit before going on is not held back for who only rests."""
        rest = self._ended + _PACE - time.monotonic()
        if rest <= 0:
            return
        self._all_here.clear()
        if self.senders():
            self._all_here.wait(rest)
        self._all_here.set()

    def _commit(self, batch: list[Work]) -> None:
        if not batch:
            return
        if self.failure is not None:
            self._fail(batch, self.failure)
            return
        begun = time.monotonic()
        try:
            unlink = self._write(batch)
            self._ended = time.monotonic()
            self._few = min(2 * self._few, _BATCH)
        except _PASSING as error:
            self._postpone(batch, error)
        except Exception as error:  # noqa: BLE001 - whatever failed a commit, it is final
            if over_quota(self._connection, error):
                self._postpone(batch, error)
            else:
                self._fail(batch, error)
        else:
            if not self._kept and not self._stuck:
                self.holding = False  # before results go to callers, which may read it
            self._tell(batch)
            self.unlink(unlink)
            self.counts.observe((COMMIT_SECONDS.name,), COMMIT_SECONDS.buckets, self._ended - begun)
            self.counts.observe((COMMIT_BATCH.name,), COMMIT_BATCH.buckets, len(batch))

    def _write(self, batch: list[Work]) -> list[int]:
        """One transaction for the batch; returns the big files that are no longer needed."""
        plan = CommitPlan()
        for work in batch:
            work.collect(plan)
        try:
            self._transaction(lambda: plan.execute(self._connection))
        except _BAD_VALUE:
            return self._write_one_by_one(batch)
        return plan.unlink

    def _write_one_by_one(self, batch: list[Work]) -> list[int]:
        """The same, each piece in a savepoint: the piece with the bad value fails, the others do not."""
        unlink: list[int] = []

        def write() -> None:
            unlink.clear()
            for work in batch:
                plan = CommitPlan()
                work.collect(plan)
                try:
                    with self._connection:
                        plan.execute(self._connection)
                except _BAD_VALUE as error:
                    work.failure = MessageUnstorable(str(error))
                else:
                    unlink.extend(plan.unlink)

        self._transaction(write)
        return unlink

    def _transaction(self, write: Callable[[], None]) -> None:
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            write()
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _postpone(self, batch: list[Work], error: Exception) -> None:
        """Nothing was written, and that may change: settlements are kept for a later commit, messages are not."""
        full = not isinstance(error, apsw.BusyError | apsw.LockedError)
        failure: StoreFailure = StoreFull(str(error)) if full else StoreBusy(str(error))
        patient = [] if self._closing else [work for work in batch if work.patient]
        for work in batch:
            work.failure = None if work.patient and not self._closing else failure
        self._tell([work for work in batch if work.failure is not None])
        if full:
            self._make_do(patient)
        else:
            self._kept[:0] = patient

    def _make_do(self, patient: list[Work]) -> None:
        """The disk is full. What waits is tried in smaller parts, and what does not fit alone comes after the rest."""
        self.room = NO_ROOM
        if not patient:
            return
        if not self.holding:
            _log.error("the disk is full: what became of deliveries waits in memory, and no others are begun")
        self.holding = True
        self._few = min(self._few, len(patient), _FEW) // 2 or 1
        if len(patient) == 1:
            self._stuck += patient
        else:
            self._kept[:0] = patient
        if len(patient) == 1 or not self._kept:
            self._retry_at = time.monotonic() + _RETRY

    def _fail(self, batch: list[Work], error: Exception) -> None:
        if self.failure is None:
            self.failure = error if isinstance(error, StoreFailure) else StoreFailure(f"{self._directory}: {error!r}")
            _log.critical("the store failed, nothing more is accepted: %s", self.failure, exc_info=error)
            self._call(self.failed, self.failure)
        for work in batch:
            work.failure = self.failure
        self._tell(batch)

    def _tell(self, batch: list[Work]) -> None:
        self._call(tell, batch)

    def _call[T](self, call_back: Callable[[T], None], argument: T) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: no caller is left
            self._loop.call_soon_threadsafe(call_back, argument)

    def _committed(self, _connection: apsw.Connection, _database: str, pages: int) -> int:
        self._wal_pages = pages
        return apsw.SQLITE_OK

    def _checkpoint(self) -> None:
        """Copy the WAL into the database when it is long, after the results of the commit went out."""
        if self._wal_pages < self._checkpoint_at or self.failure is not None:
            return
        limit = self._limit()
        try:
            pages, copied = self._space.checkpoint()
        except _PASSING:  # on a full disk the database may not be able to grow
            pages, copied = self._wal_pages, 0
        except apsw.IOError as error:
            if not over_quota(self._connection, error):
                raise
            pages, copied = self._wal_pages, 0
        self._wal_pages = 0
        # While a process reads an old state the WAL cannot begin anew: try again only when it has grown some more.
        self._checkpoint_at = limit if copied >= pages else pages + limit // 4

    def _limit(self) -> int:
        """Pages of the WAL after which it is copied: sooner on a disk that may be full soon, while there is room."""
        usual = self._settings.checkpoint_pages
        return max(usual // _EARLY, 1) if self._space.near_full else usual

    def _tidy(self) -> None:
        """Give back what the files do not need, a little at a time and only while no caller waits."""
        now = time.monotonic()
        if now < self._tidied + _TIDY or not self._queue.empty() or self._kept:
            return
        self._tidied = now  # of a failed store, too: the thread waits until this is due again
        if self.failure is not None:
            return
        try:
            self._untidy = self._space.shrink(idle=now > self._ended + _QUIET)
        except _PASSING:
            self._untidy = False

    def _look(self) -> None:
        """See now and then how much room is left, and what administrators did."""
        now = time.monotonic()
        if now < self._looked + _LOOK:
            return
        self._looked = now
        if self.failure is not None:
            return
        self.room = self._space.measure()
        self._checkpoint_at = min(self._checkpoint_at, self._limit())
        version = self._connection.pragma("data_version")
        if version == self._data_version:
            return
        try:
            notices = take_notices(self._connection)
        except _PASSING:
            return
        self._data_version = version
        if notices:
            self._call(self.administered, notices)


def _no_senders() -> int:
    """Nobody said how many there are."""
    return 0


def _nobody(_argument: object) -> None:
    """Stands for a call-back that was not set."""
