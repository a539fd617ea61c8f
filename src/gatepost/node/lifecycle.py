"""The life of a process's parts: the start, duties, other resources, files that are read again, the end.

Each part says in a `Lifecycle` what it does at which of these turns. `Parts` has them in the order in which they were
made, of a worker (`node.assembly`) as of a process beside the workers (`node.auxiliary`).
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import time
from typing import TYPE_CHECKING, Any

import msgspec

from gatepost.net.listener import Listener, drain
from gatepost.net.tasks import SingleTask, spawn
from gatepost.store.interface import StoreFailure

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Sequence

    from gatepost.policy.connectors.directory import Directory
    from gatepost.store.leases import Lease


_LEAST_SECONDS = 0.5  # that a part gets to let things end, however long those before it took

_LEASE_LOOK = 0.5  # seconds between two looks whether a lease is held; far less than the margin before it expires

_SHARED = 0.5  # seconds: the shortest period that begins at moments of the grid
_GRID = 1.0  # seconds; what is done more seldom begins at most half of it sooner or later

_SILENCE = 3600.0  # seconds between two lines about work that keeps failing

_log = logging.getLogger(__name__)


class Duty(msgspec.Struct, frozen=True):
    """Work that is done every so many seconds and does not block. at_once: at the start, too.

    seconds: or how to know them, asked before each time.
    """

    seconds: float | Callable[[], float]
    work: Callable[[], object]
    at_once: bool = False


def nothing(*_: object) -> None:
    """Do nothing: the default of every stage."""


class Lifecycle(msgspec.Struct, frozen=True):
    """The work of one part at each stage of its process: none where it is not given.

    name: for the log. start: begin. duties: from the start until the end begins. refresh: these resources are in force.
    reload: read files again (SIGHUP). drain: begin nothing new, and let what is under way end for so many seconds.
    close: end; whatever needs this part was closed before. start, drain and close may be awaitable. lease: the duties
    are done only while this process holds it; lost: stop what they began, as another process may begin it now.
    """

    name: str
    start: Callable[[], object] = nothing
    duties: Sequence[Duty] = ()
    refresh: Callable[[Directory], object] = nothing
    reload: Callable[[], object] = nothing
    drain: Callable[[float], object] = nothing
    close: Callable[[], object] = nothing
    lease: Lease | None = None
    lost: Callable[[], object] = nothing


class Parts:
    """The parts of a process, each after those that it needs."""

    def __init__(self, *parts: Lifecycle) -> None:
        self._parts = list(parts)
        self._duties: list[asyncio.Task[None]] = []

    def add(self, *parts: Lifecycle) -> None:
        """Others, which were made last."""
        self._parts += parts

    async def start(self) -> None:
        """Start all, the first one first. What a start raises is raised: a process that lacks a part serves nobody."""
        for part in self._parts:
            await _awaited(part.start())
            if part.lease is not None and not part.lease.is_lasting:
                self._duties.append(spawn(_while_held(part, part.lease), part.name))
            elif part.lease is None or part.lease.held:
                self._begin_duties(part)

    def _begin_duties(self, part: Lifecycle) -> None:
        for duty in part.duties:
            troubles = Troubles(part.name)
            if duty.at_once:
                with troubles.noted():
                    duty.work()
            self._duties.append(spawn(every(duty.seconds, duty.work, troubles), part.name))

    def refresh(self, directory: Directory) -> None:
        """Other resources are in force. What fails in one part keeps no other from them."""
        for part in self._parts:
            with _logged(f"{part.name} with new resources"):
                part.refresh(directory)

    def reload(self) -> None:
        """Files are to be read again."""
        for part in self._parts:
            with _logged(f"reading files again for {part.name}"):
                part.reload()

    async def close(self, seconds: float) -> None:
        """End all, the last one first. What is under way gets `seconds` together; what fails keeps no other part."""
        for task in self._duties:
            task.cancel()
        deadline = time.monotonic() + seconds
        for part in self._parts:
            with _logged(f"stopping {part.name}"):
                part.lost()
        for part in reversed(self._parts):
            with _logged(f"draining {part.name}"):
                await _awaited(part.drain(max(_LEAST_SECONDS, deadline - time.monotonic())))
        for part in reversed(self._parts):
            with _logged(f"closing {part.name}"):
                await _awaited(part.close())


class Rounds(SingleTask):
    """Work with the store that is done in rounds, one at a time. work: a round.

    complain: is told why one failed, and not again before one went well.
    """

    def __init__(
        self, name: str, work: Callable[[], Coroutine[Any, Any, object]], complain: Callable[[StoreFailure], object]
    ) -> None:
        super().__init__(name)
        self._work = work
        self._complain = complain
        self._failing = False

    def tick(self) -> None:
        """Begin a round, unless one is under way."""
        self.begin(self._round)

    async def close(self) -> None:
        """Stop what is under way; it is done at the next start."""
        self.cancel()
        await self.ended()

    async def _round(self) -> None:
        try:
            await self._work()
        except StoreFailure as failure:
            if not self._failing:
                self._complain(failure)
            self._failing = True
        else:
            self._failing = False


def listening(*listeners: Listener) -> Lifecycle:
    """Listeners, which accept no more once the end begins, and let open connections end."""

    async def start() -> None:
        for listener in listeners:
            await listener.start()

    return Lifecycle("listeners", start=start, drain=lambda seconds: drain(listeners, seconds))


class Troubles:
    """Logs failures of work that is done again and again. name: of the work.

    A failure of the store or of a file is a line, any other has its traceback. After the first one the next are logged
    once an hour, until the work succeeded, which is logged, too.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._silent_until: float | None = None  # by time.monotonic; None while all is well

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        """Go on after a failure of what is done in this context."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - the next period must come, whatever it was
            now = time.monotonic()
            if self._silent_until is None or now >= self._silent_until:
                self._silent_until = now + _SILENCE
                unexpected = None if isinstance(error, StoreFailure | OSError) else error
                reason = str(error) if unexpected is None else type(error).__name__
                _log.error(
                    "%s: failed, and is tried again by itself (gatepost status, gatepost doctor): %s",
                    self._name,
                    reason,
                    exc_info=unexpected,
                )
        else:
            if self._silent_until is not None:
                self._silent_until = None
                _log.info("%s: works again", self._name)


async def every(
    seconds: float | Callable[[], float], work: Callable[[], object], troubles: Troubles | None = None
) -> None:
    """Call `work` about every `seconds`, as in Duty, whatever became of the call before, until cancelled."""
    troubles = troubles or Troubles("periodic work")
    with contextlib.suppress(asyncio.CancelledError):
        while True:
            await _rest(_period(seconds))
            with troubles.noted():
                work()


async def _while_held(part: Lifecycle, lease: Lease) -> None:
    """The duties of a part whose lease comes and goes: at once, where they are to be, each time it comes."""
    due: dict[Duty, float] = {}
    troubles = {duty: Troubles(part.name) for duty in part.duties}
    with contextlib.suppress(asyncio.CancelledError):
        while True:
            if lease.held:
                now = time.monotonic()
                due = due or {duty: now + (0.0 if duty.at_once else _period(duty.seconds)) for duty in part.duties}
                for duty in [timed for timed, at in due.items() if at <= now]:
                    due[duty] = now + _period(duty.seconds)
                    with troubles[duty].noted():
                        duty.work()
            elif due:
                due = {}
                with _logged(f"stopping {part.name}"):
                    part.lost()
            await _rest(_LEASE_LOOK)


def _period(seconds: float | Callable[[], float]) -> float:
    return seconds() if callable(seconds) else seconds


async def _rest(seconds: float) -> None:
    """Sleep for about `seconds`, until a moment that others share: a process that wakes for all at once wakes less.

    What comes more often than twice a second keeps its own time: `node.load` measures by it how late the loop is.
    """
    now, grid = asyncio.get_running_loop().time(), min(seconds, _GRID)
    await asyncio.sleep(seconds if seconds < _SHARED else round((now + seconds) / grid) * grid - now)


async def _awaited(result: object) -> None:
    if inspect.isawaitable(result):
        await result


@contextlib.contextmanager
def _logged(what: str) -> Iterator[None]:
    """Log what goes wrong, and go on."""
    try:
        yield
    except Exception:  # noqa: BLE001 - the next part must have its turn, whatever it was
        _log.exception("%s failed", what)
