"""Work that takes long: jobs that are followed, answers worked out behind pages, and how much runs at a time.

A job is started by one call, followed and looked at by others, and its result kept for an hour.

Validations, checks, drills, renewals and the verification of the evidence log are jobs. They are held by the process
that started them: the admin centre's, or that of a command. A job is on a thread of its own; who watches asks for its
`version`. Whoever sees what the starter saw, or the organization that it is about, may look at it by its id.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections import Counter, OrderedDict
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from threading import Condition, Lock, Thread
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple, Protocol

from msgspec import Meta

from gatepost.manage.access.slots import Slots
from gatepost.manage.use_cases.refusal import BusyRefusal, Refusal, RefusalKind, text_for_all

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Mapping

    from gatepost.manage.access.principal import Principal
    from gatepost.manage.use_cases.context import Context
    from gatepost.settings.model import Settings


class ConcurrencyLimit(Slots):
    """Slots of which a refusal says that there is none. busy: what it says. crowded: as of `Slots`, with one slot then.

    A subclass with `__init__(settings)` is what `Context.kept` gives.
    """

    def __init__(self, total: int, per_key: int, busy: str, *, crowded: float = inf) -> None:
        super().__init__(total, per_key, crowded=crowded)
        self._busy = busy

    @contextmanager
    def slot(self, key: str, patience: float = 0.0) -> Iterator[None]:
        """Within it work may be done. patience: seconds to wait for it. Raises Busy if there is none by then."""
        self.take(key, patience)
        try:
            yield
        finally:
            self.release(key)

    def take(self, key: str, patience: float = 0.0) -> None:
        """For work that ends elsewhere, where it must be released. Raises as `slot`."""
        if not self.acquire(key, patience):
            raise BusyRefusal(self._busy)


_log = logging.getLogger(__name__)

KEPT: Final = 3600.0
"""Seconds for which a result can be looked at."""
_MOST: Final = 500
_PATIENCE: Final = 240.0  # seconds; a hook may be told to wait for longer
_BUSY: Final = "other checks are under way; begin another when one of them has ended"


type Wait = Annotated[float, Meta(ge=0, le=25, description="Seconds to wait for the end.")]
"""A field of requests that start or show a job."""


class JobSubject(Protocol):
    """Subject of a job. text: as people write it. organization: whose it is, "" if it is nobody's."""

    @property
    def text(self) -> str:
        """See above."""

    @property
    def organization(self) -> str:
        """See above."""


class Job[S: JobSubject, T]:
    """One of them. For any thread: what changes is swapped whole.

    result: as far as it came, None at first. trouble: why it ended without a result, "" if it did not; refusal: the
    same as a value, where it was refused. version: grows with whatever there is to see. cancel: ends it early, if it
    can be.
    """

    def __init__(self, subject: S, principal: Principal, cancel: Callable[[], None] = lambda: None) -> None:
        self.id = secrets.token_urlsafe(16)
        self.subject = subject
        self.by = principal.name
        self.user = principal.share_key
        self.begun = time.time()
        self.ended = 0.0
        self.result: T | None = None
        self.trouble = ""
        self.refusal: Refusal | None = None
        self.done = False
        self.version = 0
        self.cancel = cancel
        self._organizations = frozenset({subject.organization}) if subject.organization else principal.organizations
        self._followers = 0
        self._changed = Condition()

    def is_seen_by(self, principal: Principal) -> bool:
        """Whether they see all that the starter saw."""
        if principal.organizations is None:
            return True
        return self._organizations is not None and self._organizations <= principal.organizations

    @contextmanager
    def followed(self, principal: Principal) -> Iterator[None]:
        """While they follow it. It ends early, if it can be, when its starter leaves it and nobody else follows it.

        Whoever only looks on ends nothing: who started it, perhaps by a call, wants its result.
        """
        with self._changed:
            self._followers += 1
        try:
            yield
        finally:
            with self._changed:
                self._followers -= 1
                is_left = not self._followers and principal.name == self.by
            if is_left:
                self.cancel()

    def wait(self, seconds: float) -> bool:
        """Until it is done, or so long; whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: self.done, seconds)

    def progress(self, result: T) -> None:
        """There is more."""
        with self._changed:
            self.result = result
            self.version += 1

    def end(self, result: T | None, trouble: str = "") -> None:
        """There will be no more."""
        with self._changed:
            self.result, self.trouble = result or self.result, trouble
            self.ended = time.time()
            self.version += 1
            self.done = True  # last: who sees it sees the rest
            self._changed.notify_all()


@dataclass(frozen=True, slots=True)
class OrganizationSubject:
    """Subject of a job about something of an organization. Jobs are found by the class of their subject."""

    organization: str
    text: str


class TrialSubject(OrganizationSubject):
    """A call to another service that waits for the answer: a scanner, an issuer."""


class JobState(Protocol):
    """State of a job in REST."""

    @property
    def id(self) -> str:
        """Its id."""

    @property
    def done(self) -> bool:
        """Whether it has ended."""


def follow[S: JobState](
    state: S, show: Callable[[str], S], watch: Callable[[S], object] = lambda _: None, seconds: float = 300.0
) -> S:
    """The state in the end. show: the newest state of the job with that id, after a while. watch: called with each.

    Raises Refusal (UNREADABLE) if it has not ended after so many seconds.
    """
    end = time.monotonic() + seconds
    while not state.done:
        watch(state)
        if time.monotonic() > end:
            raise Refusal(RefusalKind.UNREADABLE, "It does not end; the gateway's log may say why.")
        state = show(state.id)
    return state


class CheckLimit(ConcurrencyLimit):
    """Of checks, validations and drills together; three tenants leave places to others."""

    def __init__(self, _: Settings | None = None) -> None:
        super().__init__(12, 2, _BUSY, crowded=6)


class Jobs:
    """Those of one process, got by `Context.kept(Jobs)`. For any thread."""

    def __init__(self, _: Settings | None = None) -> None:
        self._jobs: OrderedDict[str, Job[Any, Any]] = OrderedDict()
        self._lock = Lock()
        self._checks = CheckLimit()

    def start[S: JobSubject, T](
        self,
        subject: S,
        principal: Principal,
        work: Callable[[Callable[[T], None]], T],
        cancel: Callable[[], None] = lambda: None,
        limit: ConcurrencyLimit | None = None,
    ) -> Job[S, T]:
        """Start one. work: does it, and reports what it knows as it goes. cancel: see Job.

        limit: that of checks, if none is given. Raises Busy if too much is under way.
        """
        limit = limit or self._checks
        limit.take(principal.share_key)
        job: Job[S, T] = Job(subject, principal, cancel)
        with self._lock:
            self._forget()
            self._jobs[job.id] = job

        def run() -> None:
            done = _done(job, work)
            limit.release(principal.share_key)
            job.end(*done)

        try:
            Thread(target=run, name=f"job {subject.text}", daemon=True).start()
        except RuntimeError as error:  # the system has no thread for it
            limit.release(principal.share_key)
            job.end(None, _BUSY)
            raise BusyRefusal(_BUSY) from error
        return job

    def find[S: JobSubject](self, identity: str, principal: Principal, kind: type[S]) -> Job[S, Any]:
        """The job with that id, if it is about such a thing. Raises Refusal (MISSING): results are kept for an hour."""
        with self._lock:
            self._forget()
            job = self._jobs.get(identity)
        if job is None or not isinstance(job.subject, kind) or not job.is_seen_by(principal):
            raise Refusal(RefusalKind.MISSING, "there is no such check; results are kept for an hour")
        return job

    def recent[S: JobSubject](self, principal: Principal, kind: type[S], limit: int = 10) -> list[Job[S, Any]]:
        """The newest of those that they see."""
        with self._lock:
            self._forget()
            jobs = [job for job in reversed(self._jobs.values()) if isinstance(job.subject, kind)]
        seen = [job for job in jobs if job.is_seen_by(principal)]
        return seen[:limit]

    def _forget(self) -> None:
        """Those that ended an hour ago, and where there are too many, those `crowded_out`. With the lock."""
        oldest = time.time() - KEPT
        self._jobs = OrderedDict((key, job) for key, job in self._jobs.items() if not job.done or job.ended > oldest)
        while len(self._jobs) >= _MOST and (ended := {key: job.user for key, job in self._jobs.items() if job.done}):
            del self._jobs[crowded_out(ended)]


def crowded_out[K](users: Mapping[K, Hashable]) -> K:
    """The key to be forgotten: the oldest of the user that has most, so that nobody's are lost by what another asks.

    users: by key, the oldest first; not empty.
    """
    ((most, _),) = Counter(users.values()).most_common(1)
    return next(key for key, user in users.items() if user == most)


def run_to_end[T](context: Context, subject: JobSubject, work: Callable[[], T]) -> T:
    """Run the work as a job and return its result; after four minutes it goes on without its caller.

    Raises Refusal: that of the work, Busy, or UNREADABLE if it has not ended, or failed.
    """
    job: Job[JobSubject, T] = context.kept(Jobs).start(subject, context.principal, lambda _: work())
    job.wait(_PATIENCE)
    if job.refusal is not None:
        raise job.refusal
    if job.result is None:
        text = job.trouble or f"{subject.text}: it has not ended after {_PATIENCE:.0f} seconds"
        raise Refusal(RefusalKind.UNREADABLE, text)
    return job.result


def _done[T](job: Job[Any, T], work: Callable[[Callable[[T], None]], T]) -> tuple[T | None, str]:
    """The result, or why there is none."""
    try:
        return work(job.progress), ""
    except Refusal as refusal:
        job.refusal = refusal
        return None, text_for_all(refusal)
    except Exception:  # noqa: BLE001 - whoever watches must not wait for ever
        _log.exception("the check of %s failed", job.subject.text)
        return None, f"Something went wrong here. The gateway's log says what, at the check of {job.subject.text}."


FRESH: Final = 2.0
_WAITING: Final = 8  # questions of one user that wait for their turn


class BackgroundResult[A](NamedTuple):
    """value: the answer, as of the time `at`, seconds since 1970. renewing: a newer one is being worked out."""

    value: A
    at: float
    renewing: bool


@dataclass(frozen=True, slots=True)
class _Kept:
    """refusal: there was none. until: it is good enough, by the monotonic clock. user: who asked."""

    value: Any
    refusal: Refusal | None
    at: float
    until: float
    user: str


class BackgroundResults:
    """The answers of one process. For any thread. Users take turns, so that one who asks much delays no others.

    turn: held while one is worked out. kept: so many. fresh: seconds for which any answer is good enough. worth: or for
    so many times what it took to find it, if that is longer.
    """

    def __init__(self, turn: Lock, *, kept: int = 32, fresh: float = FRESH, worth: float = 0.0) -> None:
        self._turn = turn
        self._kept, self._fresh, self._worth = kept, fresh, worth
        self._known: OrderedDict[Hashable, _Kept] = OrderedDict()
        self._asked: OrderedDict[str, OrderedDict[Hashable, Callable[[], Any]]] = OrderedDict()  # by user
        self._changed = Condition()
        self._running = False

    def of[A](self, user: str, question: Hashable, work: Callable[[], A], wait: float) -> BackgroundResult[A] | None:
        """The answer; None if there is none yet. wait: for so many seconds, if none is fresh.

        user: `Principal.share_key`. work: finds it, or raises Refusal, which is raised here. Equal questions have the
        same answer.
        """
        now = time.monotonic()

        def fresh() -> _Kept | None:
            known = self._known.get(question)
            return known if known is not None and known.until > now else None

        with self._changed:
            if fresh() is None:
                self._ask(user, question, work)
                self._changed.wait_for(fresh, wait)
            known = self._known.get(question)
            if known is None:
                return None
            if known.refusal is not None:
                raise known.refusal
            return BackgroundResult(known.value, known.at, renewing=fresh() is None)

    def _ask(self, user: str, question: Hashable, work: Callable[[], Any]) -> None:
        """Have it worked out. With the lock."""
        questions = self._asked.setdefault(user, OrderedDict())
        questions.setdefault(question, work)
        while len(questions) > _WAITING:
            questions.popitem(last=False)
        if not self._running:
            self._running = True
            try:
                Thread(target=self._run, name="behind pages", daemon=True).start()
            except RuntimeError:  # the system has no thread for it: the next question tries again
                self._running = False
                raise

    def _run(self) -> None:
        """Work until nothing is asked any more."""
        while True:
            with self._changed:
                if not self._asked:
                    self._running = False
                    return
                user, questions = next(iter(self._asked.items()))
                question, work = next(iter(questions.items()))
            with self._turn:
                result = self._worked_out(user, work)
            with self._changed:
                self._asked.move_to_end(user)
                for some in self._asked.values():  # others may have asked the same
                    some.pop(question, None)
                self._asked = OrderedDict((name, some) for name, some in self._asked.items() if some)
                self._known[question] = result
                self._known.move_to_end(question)
                while len(self._known) > self._kept:
                    del self._known[crowded_out({key: known.user for key, known in self._known.items()})]
                self._changed.notify_all()

    def _worked_out(self, user: str, work: Callable[[], Any]) -> _Kept:
        begun, at, value, refusal = time.monotonic(), time.time(), None, None
        try:
            value = work()
        except Refusal as error:
            refusal = error
        except Exception:  # noqa: BLE001 - whatever it was: others wait for this thread
            _log.exception("what a page asked for cannot be worked out")
            refusal = Refusal(RefusalKind.UNREADABLE, "This could not be worked out; the gateway's log says why.")
        now = time.monotonic()
        return _Kept(value, refusal, at, now + max(self._fresh, self._worth * (now - begun)), user)
