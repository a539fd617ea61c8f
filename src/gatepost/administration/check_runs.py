"""Checks that run while somebody watches, and their results for an hour: few at a time, and fewer of one person.

Held by the process that answers pages and calls. A run is on a thread of its own with an event loop of its own; who
watches asks for its `version`. Whoever sees what the asker saw may look at it by its id.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections import OrderedDict
from threading import Condition, Lock, Thread
from typing import TYPE_CHECKING, Any, Final

from gatepost.administration.refusal import Kind, Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost.access.principal import Principal
    from gatepost.administration.partner import Target
    from gatepost.checks.partner_report import PartnerCheck

__all__ = ["KEPT", "CheckRun", "CheckRuns"]

_log = logging.getLogger(__name__)

KEPT: Final = 3600.0
"""Seconds for which a result can be looked at."""
_MOST: Final = 500
_AT_A_TIME: Final = 6
_OF_ONE: Final = 2

type Watch = Callable[[PartnerCheck], None]


class CheckRun:
    """One of them. For any thread: what changes is swapped whole.

    found: as far as it came, None at first. trouble: why it ended without a result, "" if it did not. version: grows
    with whatever there is to see.
    """

    def __init__(self, target: Target, who: Principal) -> None:
        self.id = secrets.token_urlsafe(16)
        self.target = target
        self.by = who.name
        self.begun = time.time()
        self.found: PartnerCheck | None = None
        self.trouble = ""
        self.done = False
        self.version = 0
        self._organizations = who.organizations
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

    def tell(self, found: PartnerCheck) -> None:
        """There is more."""
        with self._changed:
            self.found = found
            self.version += 1

    def end(self, found: PartnerCheck | None, trouble: str = "") -> None:
        """There will be no more."""
        with self._changed:
            self.found, self.trouble, self.done = found or self.found, trouble, True
            self.version += 1
            self._changed.notify_all()


class CheckRuns:
    """Those of one process. For any thread."""

    def __init__(self) -> None:
        self._runs: OrderedDict[str, CheckRun] = OrderedDict()
        self._lock = Lock()

    def begin(self, target: Target, who: Principal, work: Callable[[Watch], PartnerCheck]) -> CheckRun:
        """Start one. work: makes the check, and tells what it knows as it goes.

        Raises Refusal (CONFLICT) if too many are under way.
        """
        with self._lock:
            self._forget()
            running = [one for one in self._runs.values() if not one.done]
            if len(running) >= _AT_A_TIME or sum(one.by == who.name for one in running) >= _OF_ONE:
                text = f"{len(running)} checks are under way; begin another when one of them has ended"
                raise Refusal(Kind.CONFLICT, text)
            run = CheckRun(target, who)
            self._runs[run.id] = run
        Thread(target=_work, args=(run, work), name=f"check {target.text}", daemon=True).start()
        return run

    def find(self, identity: str, who: Principal) -> CheckRun:
        """The run with that id. Raises Refusal (MISSING): results are kept for an hour."""
        with self._lock:
            self._forget()
            run = self._runs.get(identity)
        if run is None or not run.is_seen_by(who):
            raise Refusal(Kind.MISSING, "there is no such check; results are kept for an hour")
        return run

    def recent(self, who: Principal, limit: int = 10) -> list[CheckRun]:
        """The newest of those that they see."""
        with self._lock:
            self._forget()
            seen = [one for one in reversed(self._runs.values()) if one.is_seen_by(who)]
        return seen[:limit]

    def _forget(self) -> None:
        oldest = time.time() - KEPT
        while self._runs:
            first = next(iter(self._runs.values()))
            if not first.done or (first.begun > oldest and len(self._runs) < _MOST):
                return
            self._runs.popitem(last=False)


def _work(run: CheckRun, work: Callable[[Watch], Any]) -> None:
    try:
        run.end(work(run.tell))
    except Refusal as refusal:
        run.end(None, refusal.text)
    except Exception:  # noqa: BLE001 - whoever watches must not wait for ever
        _log.exception("the check of %s failed", run.target.text)
        run.end(None, f"Something went wrong here. The gateway's log says what, at the check of {run.target.text}.")
