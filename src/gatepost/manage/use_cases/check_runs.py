"""Checks, validations, drills that run while somebody watches, their results for an hour; few at a time, fewer of one.

Held by the process that answers pages and calls. A run is on a thread of its own with an event loop of its own; who
watches asks for its `version`. Whoever sees what the asker saw, or the organization that it is about, may look at it by
its id.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections import OrderedDict
from threading import Condition, Event, Lock, Thread
from typing import TYPE_CHECKING, Any, Final, Protocol

from gatepost.manage.use_cases.refusal import Busy, Kind, Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost.manage.access.principal import Principal


_log = logging.getLogger(__name__)

KEPT: Final = 3600.0
"""Seconds for which a result can be looked at."""
_MOST: Final = 500
_AT_A_TIME: Final = 6
_OF_ONE: Final = 2


class Subject(Protocol):
    """What a run is about. text: as people write it. kind: "partner", "host", "validation" or "drill".

    organization: whose it is, "" if it is nobody's.
    """

    @property
    def text(self) -> str:
        """See above."""

    @property
    def kind(self) -> str:
        """See above."""

    @property
    def organization(self) -> str:
        """See above."""


class CheckRun[S: Subject, T]:
    """One of them. For any thread: what changes is swapped whole.

    found: as far as it came, None at first. trouble: why it ended without a result, "" if it did not; refusal: the same
    as a value, where it was refused. version: grows with whatever there is to see. followed: somebody looks on.
    stop: ends it early, if it can be.
    """

    def __init__(
        self,
        target: S,
        who: Principal,
        stop: Callable[[], None] = lambda: None,
        followed: Event | None = None,
    ) -> None:
        self.id = secrets.token_urlsafe(16)
        self.target = target
        self.by = who.name
        self.begun = time.time()
        self.found: T | None = None
        self.trouble = ""
        self.refusal: Refusal | None = None
        self.done = False
        self.version = 0
        self.stop = stop
        self.followed = followed or Event()
        self._organizations = frozenset({target.organization}) if target.organization else who.organizations
        self._changed = Condition()

    def is_seen_by(self, who: Principal) -> bool:
        """Whether they see all that the asker saw."""
        if who.organizations is None:
            return True
        return self._organizations is not None and self._organizations <= who.organizations

    def wait(self, seconds: float) -> bool:
        """Until it is done, or so long; whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: self.done, seconds)

    def tell(self, found: T) -> None:
        """There is more."""
        with self._changed:
            self.found = found
            self.version += 1

    def end(self, found: T | None, trouble: str = "") -> None:
        """There will be no more."""
        with self._changed:
            self.found, self.trouble = found or self.found, trouble
            self.version += 1
            self.done = True  # last: who sees it sees the rest
            self._changed.notify_all()


class CheckRuns:
    """Those of one process. For any thread."""

    def __init__(self) -> None:
        self._runs: OrderedDict[str, CheckRun[Any, Any]] = OrderedDict()
        self._lock = Lock()

    def begin[S: Subject, T](
        self,
        target: S,
        who: Principal,
        work: Callable[[Callable[[T], None]], T],
        stop: Callable[[], None] = lambda: None,
        followed: Event | None = None,
    ) -> CheckRun[S, T]:
        """Start one. work: makes the check, and tells what it knows as it goes. stop, followed: see CheckRun.

        Raises Busy if too many are under way.
        """
        with self._lock:
            self._forget()
            running = [one for one in self._runs.values() if not one.done]
            if len(running) >= _AT_A_TIME or sum(one.by == who.name for one in running) >= _OF_ONE:
                text = f"{len(running)} checks are under way; begin another when one of them has ended"
                raise Busy(text)
            run: CheckRun[S, T] = CheckRun(target, who, stop, followed)
            self._runs[run.id] = run
        Thread(target=_work, args=(run, work), name=f"check {target.text}", daemon=True).start()
        return run

    def find[S: Subject](self, identity: str, who: Principal, kind: type[S]) -> CheckRun[S, Any]:
        """The run with that id, if it is about such a thing. Raises Refusal (MISSING): results are kept for an hour."""
        with self._lock:
            self._forget()
            run = self._runs.get(identity)
        if run is None or not isinstance(run.target, kind) or not run.is_seen_by(who):
            raise Refusal(Kind.MISSING, "there is no such check; results are kept for an hour")
        return run

    def recent[S: Subject](self, who: Principal, kind: type[S], limit: int = 10) -> list[CheckRun[S, Any]]:
        """The newest of those that they see."""
        with self._lock:
            self._forget()
            runs = [one for one in reversed(self._runs.values()) if isinstance(one.target, kind)]
        seen = [one for one in runs if one.is_seen_by(who)]
        return seen[:limit]

    def _forget(self) -> None:
        oldest = time.time() - KEPT
        while self._runs:
            first = next(iter(self._runs.values()))
            if not first.done or (first.begun > oldest and len(self._runs) < _MOST):
                return
            self._runs.popitem(last=False)


def _work[T](run: CheckRun[Any, T], work: Callable[[Callable[[T], None]], T]) -> None:
    try:
        run.end(work(run.tell))
    except Refusal as refusal:
        run.refusal = refusal
        run.end(None, "; ".join(map(str, refusal.errors)) or refusal.text)
    except Exception:  # noqa: BLE001 - whoever watches must not wait for ever
        _log.exception("the check of %s failed", run.target.text)
        run.end(None, f"Something went wrong here. The gateway's log says what, at the check of {run.target.text}.")
