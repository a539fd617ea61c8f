"""The supervisor: one small process that binds the ports, drops privileges and keeps the workers alive.

It never touches mail. Workers are forked from it, so that code and data of the interpreter are shared pages. Signals:
SIGTERM and SIGINT drain and end, SIGHUP makes every worker read its files again. Each process says on its lifeline that
it serves and lives; the supervisor passes that on to the service manager.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec

from gatepost.node.config_line import ConfigLine, ConfigWriter
from gatepost.node.lifeline import Lifeline, Sign
from gatepost.node.service_manager import ServiceManager
from gatepost.quantity import quantity
from gatepost.store.figures import WORKERS_DIRECTORY, ProcessEnd, note_end, note_silent, read_silent

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from gatepost.node.file_line import SettingsFiles


CONFIGURATION_EXIT = 78  # sysexits.h EX_CONFIG: a worker cannot start with these settings; at the start it ends all
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGIO)
_STABLE_SECONDS = 10.0  # a worker that lived longer is restarted at once
_LONGEST_PAUSE = 30.0
_SILENT_SECONDS: Final = 30.0  # a worker that says nothing for so long hangs; it says something every two seconds
_START_SECONDS: Final = 900.0  # within which a worker must serve: reading a large queue takes its time
_EXTRA_SECONDS: Final = 10.0  # that the service manager grants beyond the drain: for what is signed and said last
_LAST_ACCEPTED: Final = 1.0  # after SIGTERM, within which workers stop listening by themselves
_ANNOUNCE_SECONDS: Final = 10.0  # that the log's line waits for what is beside mail, once all workers take mail
_RELOAD_SECONDS: Final = 30.0  # after which a reload counts as done, whoever did not answer

_log = logging.getLogger(__name__)


class _Worker(msgspec.Struct):
    name: str
    work: Callable[[int], int]
    pid: int = 0
    started: float = 0.0
    pause: float = 0.0
    restart_at: float = 0.0
    takes_mail: bool = True
    line: Lifeline | None = None
    heard: float = 0.0  # when it said something
    is_ready: bool = False
    is_reloading: bool = False
    is_silent: bool = False
    is_killed: bool = False
    asks: bool = False  # for changes of the configuration, which it may not write

    def hear(self, now: float) -> None:
        """Take up what it said."""
        signs = self.line.signs() if self.line is not None else set()
        if signs:
            self.heard = now
        self.is_ready |= Sign.READY in signs
        self.is_reloading &= Sign.RELOADED not in signs

    def answers(self, now: float) -> bool:
        """Whether its event loop runs; a process that starts gets its time."""
        return now - self.heard < (_SILENT_SECONDS if self.is_ready else _START_SECONDS)


class Supervisor:
    """Runs `workers` processes of `work(index, lifeline)` until told to stop.

    work: called in the child; returns its exit status. lifeline: a file descriptor that reads end-of-file when the
    supervisor is gone, so that no worker outlives it (`node.lifeline`). drain: seconds a worker gets to end before
    SIGKILL. beside: what runs in a process of its own and is no worker, by its name; called with the lifeline.
    manager: hears how all of them are. listening: what is logged once all of them serve, or mail has been taken for a
    while. on_ready: called then, with the processes that do not serve yet. on_reload: called on SIGHUP, before the
    processes read their files. close_ports: called when workers drain,
    so that the kernel refuses new connections: without it they wait for a process that will never accept them. files:
    that processes may ask for. writer: changes the configuration for processes. data: directory of the gateway, where
    it is noted for alarms that a process ended unasked.
    """

    def __init__(  # noqa: PLR0913 - what it runs, and whom it tells, each by name
        self,
        workers: int,
        work: Callable[[int, int], int],
        *,
        drain: float,
        beside: Mapping[str, Callable[[int], int]] | None = None,
        manager: ServiceManager | None = None,
        listening: str = "",
        on_ready: Callable[[list[str]], None] = lambda _missing: None,
        on_reload: Callable[[], None] = lambda: None,
        close_ports: Callable[[], None] = lambda: None,
        files: SettingsFiles | None = None,
        writer: ConfigWriter | None = None,
        data: Path | None = None,
    ) -> None:
        self._workers = [_Worker(f"worker {index}", partial(work, index)) for index in range(workers)]
        self._workers += [_Worker(name, other, takes_mail=False) for name, other in (beside or {}).items()]
        self._drain = drain
        self._manager = manager or ServiceManager()
        self._listening = listening
        self._on_ready = on_ready
        self._on_reload = on_reload
        self._close_ports = close_ports
        self._files = files
        self._writer = writer
        self._data = data
        self._silent: frozenset[int] | None = None  # as the file has it
        for worker in self._workers:
            worker.asks = writer is not None and worker.name not in writer.without
        self._stopping = False
        self._status = 0
        self._served = False  # somebody has lived for a while: the settings can be used
        self._announced = False  # that every worker takes mail
        self._log_at = 0.0  # when the log says so at the latest; 0: it has, or mail is not taken yet
        self._reload_until = 0.0  # 0: no reload is under way
        self._kill_at = 0.0
        self._close_at = 0.0  # 0: nothing is to be closed, or all is

    def run(self) -> int:
        """Start the workers and return when all have ended: 0, or 2 if the settings cannot be used."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        signal.signal(signal.SIGIO, signal.SIG_IGN)  # one that a library's thread gets ends nothing
        for worker in self._workers:
            self._fork(worker)
        while self._has_children or not self._stopping:
            received = signal.sigtimedwait(_SIGNALS, 1.0)
            if received is not None:
                self._signal(received.si_signo)
            self._reap()
            self._restart_and_kill()
            self._report()
            self._have_written()
        self._manager.close()
        return self._status

    @property
    def _has_children(self) -> bool:
        """Whether a process lives that has our sockets: whoever starts next could not listen beside it."""
        if self._writer is not None and self._writer.is_running:
            return True
        return any(worker.pid for worker in self._workers)

    def _start(self, worker: _Worker) -> None:
        """Start it; later, if the system has no process, memory or descriptor for it: the others serve on."""
        try:
            self._fork(worker)
        except OSError as error:
            worker.pause = min(_LONGEST_PAUSE, max(1.0, worker.pause * 2))
            worker.restart_at = time.monotonic() + worker.pause
            _log.error("%s cannot be started: %s; next try in %.0f s", worker.name, error.strerror, worker.pause)

    def _fork(self, worker: _Worker) -> None:
        """Start it. Raises OSError."""
        worker.started = worker.heard = time.monotonic()
        worker.is_ready = worker.is_reloading = worker.is_silent = False
        asks = ConfigLine(worker.name, takes_mail=worker.takes_mail) if worker.asks else None
        worker.line = Lifeline(self._files, asks)
        try:
            worker.pid = os.fork()
        except OSError:
            worker.line.release_child_end()
            worker.line.close()
            worker.line = None
            raise
        if worker.pid == 0:
            os._exit(self._child(worker, worker.line.child_end))
        worker.line.release_child_end()

    def _child(self, worker: _Worker, lifeline: int) -> int:
        for other in self._workers:
            if other.line is not None:  # whoever holds a supervisor's end keeps another process from seeing it go
                other.line.close()
        self._become_child()
        if worker.line is not None:
            worker.line.use()
        try:
            return worker.work(lifeline)
        except Exception:  # noqa: BLE001 - the child must end here, whatever it was
            _log.exception("%s failed", worker.name)
            return 1

    def _become_child(self) -> None:
        self._manager.close()
        for number in _SIGNALS:
            # A SIGHUP that comes before the worker listens asks for what it is about to do anyway.
            signal.signal(number, signal.SIG_IGN if number == signal.SIGHUP else signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)

    def _have_written(self) -> None:
        """Have the configuration changed as processes ask for, also those that drain."""
        if self._writer is not None:
            lines = (worker.line.config for worker in self._workers if worker.line is not None)
            self._writer.look([line for line in lines if line is not None], self._become_child)

    def _signal(self, number: int) -> None:
        if number in {signal.SIGTERM, signal.SIGINT}:
            self._stop(signal.SIGTERM)
        elif number == signal.SIGHUP and not self._stopping:
            self._reload()

    def _stop(self, number: int) -> None:
        if not self._stopping:  # who asks again does not grant more time
            self._stopping = True
            self._kill_at = time.monotonic() + self._drain
            self._close_at = time.monotonic() + _LAST_ACCEPTED
            _log.info("stopping: sessions and deliveries may take up to %.0f s to end", self._drain)
            self._manager.stopping("stopping", self._drain + _EXTRA_SECONDS)
        self._pass_on(number)

    def _reload(self) -> None:
        if self._announced:
            self._manager.reloading("reading files again")
        self._on_reload()
        self._reload_until = time.monotonic() + _RELOAD_SECONDS
        for worker in self._workers:
            worker.is_reloading = bool(worker.pid) and worker.is_ready
        self._pass_on(signal.SIGHUP)

    def _report(self) -> None:
        """Hear the processes, and tell the service manager what has become of them."""
        now, mail = time.monotonic(), [worker for worker in self._workers if worker.takes_mail]
        if self._stopping:  # who drains is not heard any more
            return
        for worker in self._workers:
            worker.hear(now)
            self._log_silence(worker, now)
        self._note_silent()
        status = self._status_text()
        if not self._announced and all(worker.is_ready for worker in mail):
            self._announced = True
            self._log_at = now + _ANNOUNCE_SECONDS
            self._manager.ready(status)
        if self._log_at:
            self._log_ready(now)
        if self._reload_until and (
            now > self._reload_until or not any(worker.is_reloading for worker in self._workers)
        ):
            self._reload_until = 0.0
            if self._announced:
                self._manager.ready(status)
        if not self._reload_until:
            self._manager.status(status)
        if not any(worker.is_silent for worker in mail) and any(self._serves(worker) for worker in mail):
            self._manager.ping()

    def _log_ready(self, now: float) -> None:
        """Log it once what is named answers; not later for one that has failed, or takes its time."""
        missing = [worker for worker in self._workers if not worker.is_ready]
        if now < self._log_at and any(worker.pid and not worker.pause for worker in missing):
            return
        self._log_at = 0.0
        names = [worker.name for worker in missing]
        _log.info("ready: %s%s", self._listening, f"; not yet: {', '.join(names)}" if names else "")
        self._on_ready(names)

    @staticmethod
    def _serves(worker: _Worker) -> bool:
        """Whether it takes mail, or is about to for the first time; one that ends again and again does not."""
        return bool(worker.pid) and (worker.is_ready or not worker.pause)

    @staticmethod
    def _log_silence(worker: _Worker, now: float) -> None:
        silent = bool(worker.pid) and not worker.answers(now)
        if silent and not worker.is_silent:
            _log.error("%s (process %d) has not answered for %.0f s", worker.name, worker.pid, now - worker.heard)
        elif worker.is_silent and not silent:
            _log.info("%s answers again", worker.name)
        worker.is_silent = silent

    def _note_silent(self) -> None:
        """Leave it for `gatepost status` which processes do not answer, when others do than before."""
        silent = frozenset(worker.pid for worker in self._workers if worker.is_silent)
        if self._data is None:
            return
        directory = self._data / WORKERS_DIRECTORY
        if self._silent is None:  # what the run before left there
            self._silent = read_silent(directory)
        if silent != self._silent:
            with suppress(OSError):  # as above: the log has it, and the next look tries again
                note_silent(directory, silent)
                self._silent = silent

    def _status_text(self) -> str:
        """One line for `systemctl status`: what does not run or answer, else where the gateway listens."""
        troubles = []
        for worker in self._workers:
            if not worker.pid:
                troubles.append(f"{worker.name} ended and starts again soon")
            elif worker.is_silent:
                troubles.append(f"{worker.name} does not answer")
            elif not worker.is_ready:
                troubles.append(f"{worker.name} is starting")
        return "; ".join(troubles) or f"{quantity(len(self._workers), 'process', 'processes')}: {self._listening}"

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
            if self._writer is not None and self._writer.ended(pid, status):
                continue
            for worker in self._workers:
                if worker.pid == pid:
                    self._ended(worker, os.waitstatus_to_exitcode(status))

    def _ended(self, worker: _Worker, code: int) -> None:
        worker.pid = 0
        worker.is_ready = worker.is_reloading = False
        if worker.line is not None:
            worker.line.close()
            worker.line = None
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
        how = _ending(code)
        _log.error("%s ended with %s after %.0f s; next start in %.0f s", worker.name, how, lived, worker.pause)
        if self._data is not None:
            with suppress(OSError):  # the log has it; a disk that is full stops nothing
                note_end(self._data / WORKERS_DIRECTORY, ProcessEnd(worker.name, _outcome(code), time.time()))

    def _kill(self, worker: _Worker) -> None:
        if not worker.is_killed:
            worker.is_killed = True
            _log.error("%s did not end within %.0f s, and is killed", worker.name, self._drain)
        os.kill(worker.pid, signal.SIGKILL)

    def _restart_and_kill(self) -> None:
        now = time.monotonic()
        if self._close_at and now >= self._close_at:
            self._close_at = 0.0
            self._close_ports()
        for worker in self._workers:
            if worker.pid and self._stopping and now > self._kill_at:
                self._kill(worker)
            elif not worker.pid and not self._stopping and now >= worker.restart_at:
                self._start(worker)


def _outcome(code: int) -> str:
    """How a process ended: its exit status, or the signal that killed it, negative."""
    if code >= 0:
        return f"exit status {code}"
    try:
        return f"signal {-code} ({signal.Signals(-code).name})"
    except ValueError:
        return f"signal {-code}"


def _ending(code: int) -> str:
    """The same for the log, which has no line beside it that says what to do."""
    if code >= 0:
        return str(code)
    hint = ": the kernel does that when memory runs out, see journalctl -k)" if -code == signal.SIGKILL else ")"
    return _outcome(code).replace(")", hint)
