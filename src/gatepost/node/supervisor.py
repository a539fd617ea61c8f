"""The supervisor: one small process that binds the ports, drops privileges and keeps the workers alive.

It never touches mail. Workers are forked from it, so that code and data of the interpreter are shared pages. Signals:
SIGTERM and SIGINT drain and end, SIGHUP makes every worker read certificates and settings again.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


CONFIGURATION_EXIT = 78  # sysexits.h EX_CONFIG: a worker cannot start with these settings; at the start it ends all
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
_STABLE_SECONDS = 10.0  # a worker that lived longer is restarted at once
_LONGEST_PAUSE = 30.0

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Worker:
    name: str
    work: Callable[[int], int]
    pid: int = 0
    started: float = 0.0
    pause: float = 0.0
    restart_at: float = 0.0


class Supervisor:
    """Runs `workers` processes of `work(index, lifeline)` until told to stop.

    work: called in the child; returns its exit status. lifeline: a file descriptor that reads end-of-file when the
    supervisor is gone, so that no worker outlives it. drain: seconds a worker gets to end before SIGKILL. beside: what
    runs in a process of its own and is no worker, by its name; called with the lifeline.
    """

    def __init__(
        self,
        workers: int,
        work: Callable[[int, int], int],
        *,
        drain: float,
        beside: Mapping[str, Callable[[int], int]] | None = None,
    ) -> None:
        self._workers = [_Worker(f"worker {index}", partial(work, index)) for index in range(workers)]
        self._workers += [_Worker(name, other) for name, other in (beside or {}).items()]
        self._drain = drain
        self._stopping = False
        self._status = 0
        self._served = False  # somebody has lived for a while: the settings can be used
        self._kill_at = 0.0
        self._lifeline = os.pipe()

    def run(self) -> int:
        """Start the workers and return when all have ended: 0, or 2 if the settings cannot be used."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        for worker in self._workers:
            self._start(worker)
        while any(worker.pid for worker in self._workers) or not self._stopping:
            received = signal.sigtimedwait(_SIGNALS, 1.0)
            if received is not None:
                self._signal(received.si_signo)
            self._reap()
            self._restart_and_kill()
        return self._status

    def _start(self, worker: _Worker) -> None:
        worker.started = time.monotonic()
        worker.pid = os.fork()
        if worker.pid == 0:
            os._exit(self._child(worker))

    def _child(self, worker: _Worker) -> int:
        os.close(self._lifeline[1])
        for number in _SIGNALS:
            # A SIGHUP that comes before the worker listens asks for what it is about to do anyway.
            signal.signal(number, signal.SIG_IGN if number == signal.SIGHUP else signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        try:
            return worker.work(self._lifeline[0])
        except Exception:  # noqa: BLE001 - the child must end here, whatever it was
            _log.exception("%s failed", worker.name)
            return 1

    def _signal(self, number: int) -> None:
        if number in {signal.SIGTERM, signal.SIGINT}:
            self._stop(signal.SIGTERM)
        elif number == signal.SIGHUP:
            self._pass_on(signal.SIGHUP)

    def _stop(self, number: int) -> None:
        if not self._stopping:  # who asks again does not grant more time
            self._stopping = True
            self._kill_at = time.monotonic() + self._drain
        self._pass_on(number)

    def _pass_on(self, number: int) -> None:
        for worker in self._workers:
            if worker.pid:
                os.kill(worker.pid, number)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for worker in self._workers:
                if worker.pid == pid:
                    self._ended(worker, os.waitstatus_to_exitcode(status))

    def _ended(self, worker: _Worker, code: int) -> None:
        worker.pid = 0
        now = time.monotonic()
        lived = now - worker.started
        others = (now - other.started for other in self._workers if other.pid)
        self._served = self._served or any(age > _STABLE_SECONDS for age in others)
        if code == CONFIGURATION_EXIT and not self._served:
            self._status = 2
            if not self._stopping:
                self._stop(signal.SIGTERM)
            return
        if self._stopping:
            return
        # What served once can be used: half a certificate that is being renewed must not end those that serve.
        self._served = self._served or lived > _STABLE_SECONDS
        worker.pause = 0.0 if lived > _STABLE_SECONDS else min(_LONGEST_PAUSE, max(1.0, worker.pause * 2))
        worker.restart_at = now + worker.pause
        _log.error("%s ended with %d after %.0f s; next start in %.0f s", worker.name, code, lived, worker.pause)

    def _restart_and_kill(self) -> None:
        now = time.monotonic()
        for worker in self._workers:
            if worker.pid and self._stopping and now > self._kill_at:
                os.kill(worker.pid, signal.SIGKILL)
            elif not worker.pid and not self._stopping and now >= worker.restart_at:
                self._start(worker)
