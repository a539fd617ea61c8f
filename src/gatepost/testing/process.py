"""Ports, waiting, folders and child processes: what all servers of `gatepost.testing` need.

Nothing here outlives a test: a child is ended by its own process id (never by a name), with everything it started, and
a folder is removed.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Protocol, Self

_taken: set[int] = set()

_MOMENTARY = b"(gatepost-config)"


class FixtureError(Exception):
    """A server of a test did not do what the test needs; the text holds its log."""


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nothing listens on, also free for UDP, and not given out before by this process.

    It is below those that Linux gives to clients and to servers that ask for any: else one of them could take it while
    the server for which it is meant starts again.
    """
    while True:
        port = 10_000 + secrets.randbelow(22_000)
        with socket.socket() as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, suppress(OSError):
            tcp.bind(("127.0.0.1", port))
            udp.bind(("127.0.0.1", port))
            if port not in _taken and _ours(port):
                _taken.add(port)
                return port


def _ours(port: int) -> bool:
    """Whether a port is for this process: those of pytest-xdist share them out, lest two give out the same at once.

    So do two runs beside each other, by GATEPOST_PORTS=even and GATEPOST_PORTS=odd, a thousand each in turn.
    """
    count = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    half = os.environ.get("GATEPOST_PORTS", "")
    return port % count == worker() % count and (not half or port // 1000 % 2 == (half == "odd"))


def worker() -> int:
    """The number of this process among those of pytest-xdist, from 0."""
    return int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))


def wait_until[T](condition: Callable[[], T], what: str, *, timeout: float = 60.0) -> T:
    """The first true result of `condition`, asked again and again; FixtureError after `timeout` seconds.

    What takes long to ask, as a command does, is asked less often: else most of the CPU would go into the question.
    """
    end = time.monotonic() + timeout
    pause = 0.005
    while True:
        begun = time.monotonic()
        result = condition()
        if result:
            return result
        now = time.monotonic()
        if now > end:
            raise FixtureError(f"after {timeout:g} s: {what}")
        time.sleep(max(pause, min(3 * (now - begun), 0.5)))
        pause = min(pause * 1.5, 0.1)


def greets(port: int, host: str = "127.0.0.1") -> bool:
    """Whether an SMTP server answers there with 220."""
    try:
        with socket.create_connection((host, port), timeout=5) as peer:
            greeting = peer.recv(1024)
            if greeting.startswith(b"220"):
                peer.sendall(b"QUIT\r\n")
                while peer.recv(1024):
                    pass
            return greeting.startswith(b"220")
    except OSError:
        return False


class Folder:
    """A temporary folder that other accounts may pass through (pytest's own are closed to them)."""

    def __init__(self, purpose: str) -> None:
        self.path = Path(tempfile.mkdtemp(prefix=f"gatepost-{purpose}-"))
        self.path.chmod(0o755)

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def write(self, name: str, text: str, mode: int = 0o644) -> Path:
        """A file below the folder, with the folders on its way."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return path

    def owned(self, name: str, account: str, mode: int = 0o755) -> Path:
        """A folder below it that belongs to an account."""
        path = self.path / name
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(mode)
        shutil.chown(path, account, account)
        return path

    def remove(self) -> None:
        """Delete it with all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)


class RunningProcess(Protocol):
    """A process that was started: the part of `subprocess.Popen` that `Child` uses."""

    pid: int

    def poll(self) -> int | None:
        """None while it runs, then its exit status."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; the exit status."""

    def terminate(self) -> None:
        """SIGTERM."""


class Child:
    """A server as a child process in a session of its own, its output in a file."""

    def __init__(self, command: Sequence[str | Path], log: Path, environment: Mapping[str, str] | None = None) -> None:
        self.command = [str(word) for word in command]
        self.log = log
        with log.open("ab") as output:
            self._process = self._start(output.fileno(), environment)

    def _start(self, output: int, environment: Mapping[str, str] | None) -> RunningProcess:
        return subprocess.Popen(
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=None if environment is None else dict(environment),
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs; negative after a signal."""
        return self._process.poll()

    def output(self) -> str:
        """Its output so far."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def wait_ready(self, ready: Callable[[], bool], *, timeout: float = 60.0) -> None:
        """Return when `ready()` holds; FixtureError with its output if it ends or does not get there."""

        def settled() -> bool:
            return ready() or self.returncode is not None

        try:
            wait_until(settled, "not ready", timeout=timeout)
        except FixtureError as late:
            raise FixtureError(f"{self.command[0]}: {late}\n{self.output()}") from late
        if self.returncode is not None:
            raise FixtureError(f"{self.command[0]} ended with {self.returncode}\n{self.output()}")

    def stop(self, *, grace: float = 25.0) -> int:
        """SIGTERM, wait, SIGKILL after `grace` seconds; returns the exit status. Harmless when it has ended."""
        family = list(self._family())
        if self.returncode is None:
            self._process.terminate()
            try:
                self._process.wait(grace)
            except subprocess.TimeoutExpired:
                self.kill()
        _end_rest(family)
        return self._process.wait()

    def kill(self) -> int:
        """SIGKILL to it and to every process it started, at once; returns the exit status."""
        family = list(self._family())
        for pid in family:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        status = self._process.wait()
        for pid, place in _process_table().items():
            if place.session == self.pid:  # it began one just then
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    family.append(pid)
        _end_rest(family)
        return status

    def abort(self) -> str:
        """SIGABRT to it and to all that it started; what they said then: with PYTHONFAULTHANDLER where they were."""
        said = len(self.output())
        for pid in self._family():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGABRT)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        self.kill()
        return self.output()[said:]

    def family(self) -> list[int]:
        """Process ids: its own first, then all that descend from it or stand in its session.

        Each is a `ProcessId`, which `alive` tells from a later process of the same number. Left out is gatepost's
        writer of the configuration: it lives for a moment.
        """
        return [pid for pid in self._family() if not _is_momentary(pid)]

    def resident(self) -> int:
        """Bytes of resident memory of the whole family."""
        return resident(self.family())

    def _family(self) -> Iterator[int]:
        if self.returncode is not None:
            return
        table = _process_table()
        members = {self.pid}
        grown = True
        while grown:
            more = {pid for pid, (parent, session, _) in table.items() if parent in members or session == self.pid}
            grown = not more <= members
            members |= more
        family = [pid for pid in table if pid in members]
        if self.pid not in table:
            yield self.pid  # it has ended just then
        yield from sorted(family, key=lambda pid: (pid != self.pid, pid))


def _is_momentary(pid: int) -> bool:
    """Whether it has ended, or will have in a moment."""
    with suppress(OSError):
        return _MOMENTARY in _read(f"/proc/{pid}/stat")
    return True


class ProcessId(int):
    """The number of a process that knows when it began, in ticks since the machine's start: numbers are used again."""

    began: int

    def __new__(cls, number: int, began: int) -> Self:
        """began: as in /proc/PID/stat."""
        made = super().__new__(cls, number)
        made.began = began
        return made


class _Place(NamedTuple):
    parent: int
    session: int
    began: int


def _process_table() -> dict[ProcessId, _Place]:
    """Every running process."""
    numbers = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return {ProcessId(pid, place.began): place for pid in numbers if (place := _place(pid))}


def _place(pid: int) -> _Place | None:
    """Where a process stands; None of one that has ended, and of threads of the kernel."""
    try:
        # Asking costs a hundredth of what reading does. In a pid namespace that others began, ours may be none, too.
        if os.getsid(pid) == 0 != os.getsid(0):
            return None
        # The name in parentheses may hold spaces; state, parent, group and session follow it.
        fields = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
        # Of one that was killed, a thread that waits for the disk keeps files and ports for that long.
        if fields[0] == b"Z" and len(list(Path(f"/proc/{pid}/task").iterdir())) == 1:
            return None
    except OSError:
        return None
    return _Place(int(fields[1]), int(fields[3]), int(fields[19]))


def _read(path: str) -> bytes:
    """A short file of /proc, without what a file object costs."""
    file = os.open(path, os.O_RDONLY)
    try:
        return os.read(file, 4096)
    finally:
        os.close(file)


def _end_rest(family: list[int]) -> None:
    """Wait for processes that were asked to end by their parent; SIGKILL for those that stay."""
    rest = alive(family)
    end = time.monotonic() + 5
    while rest and time.monotonic() < end:
        time.sleep(0.02)
        rest = alive(rest)
    for pid in rest:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def resident(pids: Iterable[int]) -> int:
    """Bytes of resident memory of processes, as far as they live; what several share counts for each."""
    pages = 0
    for pid in pids:
        with suppress(OSError):
            pages += int(_read(f"/proc/{pid}/statm").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def alive(pids: Iterable[int]) -> list[int]:
    """Those that run still; what has ended but was not yet waited for by its parent counts as gone.

    Another process that has the number of a `ProcessId` by now is not it.
    """
    return [pid for pid in pids if (place := _place(pid)) and getattr(pid, "began", place.began) == place.began]
