"""Receive message bodies: small ones stay in memory for the commit, larger ones stream to a file of their own.

`Body` lives on the event loop; `BigFile` does the disk's work on a thread of `Bodies`, one job of a body at a time. A
big file is synced every 4 MiB as it grows: one sync at the end would stall the small messages beside it (store.md §6).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from gatepost.mail.model.queue_id import format_id, parse_id
from gatepost.store.interface import Durable, StoreBusy, StoreFailure, StoreFull
from gatepost.store.sqlite.schema import StoreSettings, sync_directory

CHUNK = 256 * 1024
_THREADS = 4
_SYNC_EVERY = 4 * 1024 * 1024
_JOB = 512 * 1024  # bytes of one body that are worth a job of a thread
_BEHIND = 1024 * 1024  # bytes of one body waiting for the disk at which its sender is held back
_MUCH = 16 * 1024 * 1024  # at least: bytes that wait for the disk and are too many for another message
_PIECE = 4096  # bytes up to which chunks are joined: a list of tiny ones takes many times the memory that is counted
_USED_UP = "body: the memory for arriving messages is used up"
_VECTORS = 512  # buffers of one writev, below IOV_MAX


def _failure_of(error: BaseException) -> StoreFailure:
    """The failure of the store for an error: a full disk or a full table of open files passes, any other is final."""
    number = error.errno if isinstance(error, OSError) else None
    if number in {errno.ENOSPC, errno.EDQUOT}:
        return StoreFull(f"body: {error}")
    if number in {errno.EMFILE, errno.ENFILE}:
        return StoreBusy(f"body: {error}")
    return StoreFailure(f"body: {error!r}")


class BigFile:
    """One body's own file, `big/<id>`. Methods block; never two at a time."""

    __slots__ = ("_descriptor", "_directory", "_synced", "_unsynced", "number", "path")

    def __init__(self, directory: Path, number: int, *, synced: bool = True) -> None:
        """synced: it is to outlast a power cut."""
        self.number = number
        self.path = directory / format_id(number)
        self._directory = directory
        self._synced = synced
        self._descriptor = -1
        self._unsynced = 0

    def append(self, chunks: list[bytes]) -> None:
        """Write at the end. Makes the file the first time."""
        if self._descriptor < 0:
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW
            self._descriptor = os.open(self.path, flags, 0o600)
        for first in range(0, len(chunks), _VECTORS):
            self._write(chunks[first : first + _VECTORS])

    def _write(self, chunks: list[bytes]) -> None:
        total = sum(map(len, chunks))
        written = os.writev(self._descriptor, chunks)
        if written < total:  # a signal or a nearly full disk: the rest in the plain way, which finds out
            rest = memoryview(b"".join(chunks))[written:]
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        self._unsynced += total
        if self._synced and self._unsynced >= _SYNC_EVERY:
            os.fdatasync(self._descriptor)
            self._unsynced = 0

    def finish(self) -> None:
        """Make the content and the name durable."""
        if self._synced:
            os.fdatasync(self._descriptor)
        self._close()
        if self._synced:
            sync_directory(self._directory)

    def discard(self) -> None:
        """Remove it."""
        self._close()
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()

    def _close(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)


class Bodies:
    """The arriving bodies of one shard: their memory budget, the directory `big` and the threads that write there."""

    def __init__(
        self, directory: Path, settings: StoreSettings, new_id: Callable[[], int], *, synced: bool = True
    ) -> None:
        """`directory` exists. `failed` may be set: it is called with final failures, on the loop.

        on_behind: may be set, too: called on the loop with True once four times the memory budget waits for the disk,
        so that nothing more should be read, and with False when that is written but for a quarter.

        synced: files are to outlast a power cut; not where they are only on their way to another place.
        """
        self.directory = directory
        self.synced = synced
        self.inline_limit = settings.inline_limit
        self.new_id = new_id
        self.failed: Callable[[StoreFailure], None] = _ignore
        self.on_behind: Callable[[bool], None] = _nobody
        self.behind = False
        self.in_memory = 0
        self.waiting = 0  # bytes of all bodies that wait for the disk
        self._budget = settings.memory_budget
        self._much = max(4 * self._budget, _MUCH)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="store-bodies")
        self._loop = asyncio.get_running_loop()

    def claim(self, size: int, *, of_body: bool = False) -> bool:
        """Whether so many more bytes may stay in memory; counts them if so.

        of_body: they can go to a file instead, so a quarter is left for heads and header sections, which cannot.
        """
        if self.in_memory + size > self._budget - (self._budget // 4 if of_body else 0):
            return False
        self.in_memory += size
        return True

    def run(self, job: Callable[[], None], done: Durable) -> None:
        """Do `job` on a thread, then call `done` on the loop."""

        def ended(future: Future[None]) -> None:
            error = future.exception()
            failure = None if error is None else _failure_of(error)
            with contextlib.suppress(RuntimeError):  # the loop may be closed
                self._loop.call_soon_threadsafe(tell, failure)

        def tell(failure: StoreFailure | None) -> None:
            if failure is not None and failure.final:
                self.failed(failure)
            done(failure)

        self._threads.submit(job).add_done_callback(ended)

    def wait_for_disk(self, size: int) -> None:
        """So many bytes more wait for the disk, or fewer if negative; what follows from that is told once."""
        self.waiting += size
        if self.behind is (self.waiting > (self._much // 4 if self.behind else self._much)):
            return
        self.behind = not self.behind
        self.on_behind(self.behind)

    @property
    def allowance(self) -> int:
        """The bytes of one body that may wait for the disk before its sender is held back."""
        return _BEHIND if self.waiting <= self._budget else 0

    @property
    def worth_a_job(self) -> int:
        """The bytes of one body that a thread is given while nobody waits for them: any, once others have many.

        So bodies that do not go on never use up what may wait.
        """
        return _JOB if self.waiting <= self._budget // 2 else 1

    async def in_thread[T](self, job: Callable[[], T]) -> T:
        """Do `job` on a thread and return its result."""
        return await self._loop.run_in_executor(self._threads, job)

    def unlink(self, numbers: Iterable[int]) -> None:
        """Remove big files of messages that are gone, on a thread. What fails is removed at the next start."""
        for number in numbers:
            self._threads.submit(BigFile(self.directory, number).discard)

    def close(self) -> None:
        """Wait for the threads."""
        self._threads.shutdown()


class Body:
    """A `BodyWriter`. One of three: in memory, streaming to a file, or ended (accepted, aborted or failed).

    failure: why it could not be kept. file: its own, None while it is in memory. head: what stands before everything
    else and stays in memory, so that it can be replaced; b"" if nothing was kept so.
    """

    __slots__ = (
        "_bodies",
        "_chunks",
        "_claimed",
        "_ended",
        "_finished",
        "_head_claimed",
        "_reserved",
        "_running",
        "_waiter",
        "_waiting",
        "failure",
        "file",
        "head",
        "size",
    )

    def __init__(self, bodies: Bodies) -> None:
        self.size = 0
        self.file: BigFile | None = None
        self.head = b""
        self._head_claimed = 0
        self._reserved = 0
        self._bodies = bodies
        self._chunks: list[bytes] = []  # in memory: all of it; streaming: what waits for the disk
        self._claimed = 0
        self._waiting = 0  # bytes given to the disk and not written yet
        self._running = False
        self._ended = False
        self.failure: StoreFailure | None = None
        self._finished: Durable | None = None
        self._waiter: asyncio.Future[None] | None = None

    def write(self, chunk: bytes) -> Awaitable[None] | None:
        """Take a chunk; see `BodyWriter.write`."""
        if self.failure is not None:
            raise self.failure
        if self._ended:
            raise ValueError("the body has ended")
        size = len(chunk)
        self.size += size
        if self._chunks and len(self._chunks[-1]) + size <= _PIECE:
            self._chunks[-1] += chunk
        else:
            self._chunks.append(chunk)
        if self.file is None:
            if self.size <= self._bodies.inline_limit and self._bodies.claim(size, of_body=True):
                self._claimed += size
                return None
            self.file = BigFile(self._bodies.directory, self._bodies.new_id(), synced=self._bodies.synced)
            self._release_chunks()
            size = self.size - len(self.head)
        self._waiting += size
        self._bodies.wait_for_disk(size)
        self._turn()
        return self._caught_up() if self._waiting > self._bodies.allowance else None

    def write_head(self, chunk: bytes) -> None:
        """Take a chunk of the head; see `BodyWriter.write_head`."""
        if self._ended or self._chunks or self.file is not None:
            raise ValueError("the head comes before everything else")
        if not self._bodies.claim(len(chunk)):
            raise StoreBusy(_USED_UP)
        self._head_claimed += len(chunk)
        self.head += chunk
        self.size += len(chunk)

    def replace_head(self, head: bytes) -> None:
        """See `BodyWriter.replace_head`."""
        change = len(head) - len(self.head)
        self.head = head
        self.size += change
        if not self._ended:
            self._head_claimed += change
            self._bodies.in_memory += change

    def reserve(self, size: int) -> None:
        """See `BodyWriter.reserve`."""
        more = 0 if self._ended else size - self._reserved
        if more > 0 and not self._bodies.claim(more):
            raise StoreBusy(_USED_UP)
        self._bodies.in_memory += min(more, 0)
        self._reserved += more

    async def chunks(self) -> AsyncIterator[bytes]:
        """See `BodyWriter.chunks`."""
        if self.head:
            yield self.head
        if self.file is None:
            for chunk in tuple(self._chunks):
                yield chunk
            return
        number = self.file.number
        while self._waiting:
            await self._written_some()
        if self.failure is not None:
            raise self.failure
        try:
            async for chunk in read_big(self._bodies, number):
                yield chunk
        except (LookupError, OSError) as error:
            raise StoreBusy(f"body: {error}") from error

    def abort(self) -> None:
        """Forget it; see `BodyWriter.abort`."""
        if not self._ended:
            self._ended = True
            self._drop()

    def whole(self) -> bytes:
        """The body, if it stayed in memory. After the end it is joined once, and the pieces are forgotten."""
        whole = self._chunks[0] if len(self._chunks) == 1 and not self.head else b"".join((self.head, *self._chunks))
        if self._ended:
            self.head, self._chunks = b"", [whole]
        return whole

    def release(self) -> None:
        """Its bytes in memory are no longer counted here."""
        self._release_chunks()
        self._bodies.in_memory -= self._head_claimed + self._reserved
        self._head_claimed = self._reserved = 0

    def _release_chunks(self) -> None:
        self._bodies.in_memory -= self._claimed
        self._claimed = 0

    def end(self) -> None:
        """No more is written: it is being accepted, and `abort` does no harm from here on."""
        if self._ended:
            raise ValueError("the body has ended")
        self._ended = True

    def finish(self, done: Durable) -> None:
        """Make a streamed body durable; `done` is called on the loop, later. On failure nothing of it is left."""
        self._finished = done
        self._turn()

    def discard(self) -> None:
        """Remove the file of a finished body that was not accepted after all."""
        if self.file is not None:
            self._bodies.unlink([self.file.number])

    def _drop(self) -> None:
        self.release()
        self._settle(sum(map(len, self._chunks)) if self.file is not None else 0)
        self._chunks = []
        self._turn()

    def _settle(self, size: int) -> None:
        """So many bytes wait for the disk no longer."""
        self._waiting -= size
        self._bodies.wait_for_disk(-size)

    def _turn(self) -> None:
        """Start the next job on the file, unless one is running, or little is there that nobody waits for."""
        if self._running or self.file is None:
            return
        if not (self._ended or self._waiter or self._waiting >= self._bodies.worth_a_job):
            return
        if self._ended and self._finished is None:
            job, self.file = self.file.discard, None
            self._bodies.run(job, _ignore)
            return
        if self._chunks:
            chunks, self._chunks = self._chunks, []
            self._running = True
            size = sum(map(len, chunks))
            file = self.file
            self._bodies.run(lambda: file.append(chunks), lambda failure: self._written(size, failure))
        else:
            done = self._finished
            assert done is not None  # noqa: S101 - for what else would it be worth a job?
            self._running = True
            self._bodies.run(self.file.finish, lambda failure: self._synced(done, failure))

    def _written(self, size: int, failure: StoreFailure | None) -> None:
        self._running = False
        self._settle(size)
        if failure is not None:
            self._fail(failure)
            return
        if self._waiting <= self._bodies.allowance:
            self._wake()
        self._turn()

    def _synced(self, done: Durable, failure: StoreFailure | None) -> None:
        self._running = False
        if failure is not None:
            self._fail(failure)
        else:
            done(None)

    def _fail(self, failure: StoreFailure) -> None:
        done, self._finished = self._finished, None
        self.failure = failure
        self._ended = True
        self._drop()
        self._wake()
        if done is not None:
            done(failure)

    async def _caught_up(self) -> None:
        if self._waiting > self._bodies.allowance:
            await self._written_some()
        if self.failure is not None:
            raise self.failure

    async def _written_some(self) -> None:
        self._waiter = self._waiter or asyncio.get_running_loop().create_future()
        self._turn()
        await asyncio.shield(self._waiter)

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            waiter.set_result(None)


def _nobody(_behind: bool) -> None:  # noqa: FBT001 - what is told
    """Nobody reads less."""


def _ignore(_failure: StoreFailure | None) -> None:
    """Nobody to tell. What cannot be removed now is removed at the next start."""


async def read_big(bodies: Bodies, number: int, size: int = 0) -> AsyncIterator[bytes]:
    """The content of a big file, in chunks. Raises LookupError if it is gone, or shorter than `size` octets."""
    path = bodies.directory / format_id(number)
    try:
        file = await bodies.in_thread(lambda: path.open("rb", buffering=0))
    except FileNotFoundError as error:
        raise LookupError(f"no body {path.name}") from error
    try:
        while chunk := await bodies.in_thread(lambda: file.read(CHUNK)):
            size -= len(chunk)
            yield chunk
        if size > 0:
            raise LookupError(f"the body {path.name} is {size} octets short")
    finally:
        file.close()


def remove_strays(directory: Path, known: dict[int, int]) -> list[int]:
    """At start: remove big files that no row names; return the rows' numbers whose file is missing or too short.

    `known`: the size each row promises. Such a row was never acknowledged: the file is synced before the commit.
    """
    broken = set(known)
    for entry in directory.iterdir():
        try:
            number = parse_id(entry.name)
        except ValueError:
            number = -1
        if number not in known:
            entry.unlink()
        elif entry.stat().st_size >= known[number]:
            broken.discard(number)
    return sorted(broken)
