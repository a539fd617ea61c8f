"""Answers that take longer than a page may: worked out on one thread of the process, one after the other, and kept.

A page that asks shows what is known and asks again by itself; it never holds up others for it.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from dataclasses import dataclass
from threading import Condition, Thread
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gatepost.manage.use_cases.refusal import Refusal, RefusalKind

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable
    from threading import Lock


_log = logging.getLogger(__name__)

FRESH: Final = 2.0
_WAITING: Final = 32  # questions that wait for their turn


class BackgroundResult[A](NamedTuple):
    """value: the answer, as of the time `at`, seconds since 1970. renewing: a newer one is being worked out."""

    value: A
    at: float
    renewing: bool


@dataclass(frozen=True, slots=True)
class _Kept:
    """refusal: there was none. until: it is good enough, by the monotonic clock."""

    value: Any
    refusal: Refusal | None
    at: float
    until: float


class BackgroundResults:
    """The answers of one process. For any thread.

    turn: held while one is worked out. kept: so many. fresh: seconds for which any answer is good enough. worth: or for
    so many times what it took to find it, if that is longer.
    """

    def __init__(self, turn: Lock, *, kept: int = 32, fresh: float = FRESH, worth: float = 0.0) -> None:
        self._turn = turn
        self._kept, self._fresh, self._worth = kept, fresh, worth
        self._known: OrderedDict[Hashable, _Kept] = OrderedDict()
        self._asked: OrderedDict[Hashable, Callable[[], Any]] = OrderedDict()
        self._changed = Condition()
        self._running = False

    def of[A](self, question: Hashable, work: Callable[[], A], wait: float) -> BackgroundResult[A] | None:
        """The answer; None if there is none yet. wait: for so many seconds, if none is fresh.

        work: finds it, or raises Refusal, which is raised here. Equal questions have the same answer.
        """
        now = time.monotonic()

        def fresh() -> _Kept | None:
            known = self._known.get(question)
            return known if known is not None and known.until > now else None

        with self._changed:
            if fresh() is None:
                self._ask(question, work)
                self._changed.wait_for(fresh, wait)
            known = self._known.get(question)
            if known is None:
                return None
            if known.refusal is not None:
                raise known.refusal
            return BackgroundResult(known.value, known.at, renewing=fresh() is None)

    def _ask(self, question: Hashable, work: Callable[[], Any]) -> None:
        """Have it worked out. With the lock."""
        self._asked.setdefault(question, work)
        while len(self._asked) > _WAITING:
            self._asked.popitem(last=False)
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
                question, work = next(iter(self._asked.items()))
            with self._turn:
                result = self._worked_out(work)
            with self._changed:
                self._asked.pop(question, None)
                self._known[question] = result
                self._known.move_to_end(question)
                while len(self._known) > self._kept:
                    self._known.popitem(last=False)
                self._changed.notify_all()

    def _worked_out(self, work: Callable[[], Any]) -> _Kept:
        begun, at, value, refusal = time.monotonic(), time.time(), None, None
        try:
            value = work()
        except Refusal as error:
            refusal = error
        except Exception:  # noqa: BLE001 - whatever it was: others wait for this thread
            _log.exception("what a page asked for cannot be worked out")
            refusal = Refusal(RefusalKind.UNREADABLE, "This could not be worked out; the gateway's log says why.")
        now = time.monotonic()
        return _Kept(value, refusal, at, now + max(self._fresh, self._worth * (now - begun)))
