"""The gateway's own evidence log verified behind a page: begun there, one at a time, its result kept in memory."""

from __future__ import annotations

import logging
import time
from threading import Lock, Thread
from typing import TYPE_CHECKING, NamedTuple

from gatepost.manage.use_cases.refusal import Refusal
from gatepost.store.evidence_files import evidence_directory
from gatepost.store.interface import StoreFailure

if TYPE_CHECKING:
    from pathlib import Path

    from gatepost.manage.use_cases.evidence_audit import Verification


_log = logging.getLogger(__name__)


class VerificationRun(NamedTuple):
    """A verification of the gateway's own log. begun, ended: seconds since 1970; ended 0.0 while it runs.

    found: None while it runs, and if it failed; then `error` says why.
    """

    begun: float
    ended: float = 0.0
    found: Verification | None = None
    error: str = ""

    @property
    def is_running(self) -> bool:
        """Whether it is not over."""
        return not self.ended


class Verifying:
    """Verifies the gateway's own log on a thread, one at a time; what was found last is kept in memory. data: its."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._lock = Lock()
        self._now: VerificationRun | None = None
        self._last: VerificationRun | None = None

    def last(self) -> VerificationRun | None:
        """That which runs; else the last one since this process began; None if there was none."""
        with self._lock:
            return self._now or self._last

    def start(self) -> None:
        """Begin, unless one runs."""
        with self._lock:
            if self._now is not None:
                return
            self._now = VerificationRun(time.time())
            Thread(target=self._run, args=(self._now,), name="evidence verification", daemon=True).start()

    def _run(self, run: VerificationRun) -> None:
        from gatepost.manage.use_cases.evidence_audit import verify_log  # noqa: PLC0415 - few processes ever verify

        try:
            run = run._replace(found=verify_log([evidence_directory(self._data)], [], (), ("", "9999"), own=True))
        except Refusal as refusal:
            run = run._replace(error=refusal.text)
        except (StoreFailure, OSError) as failure:
            run = run._replace(error=str(failure))
        except Exception:  # noqa: BLE001 - whatever it was: a page waits for the end
            _log.exception("the evidence log cannot be verified")
            run = run._replace(error="it could not be verified; the gateway's log says why")
        with self._lock:
            self._now, self._last = None, run._replace(ended=time.time())
