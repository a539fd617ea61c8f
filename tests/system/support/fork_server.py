"""A process that has imported gatepost and forks a command from itself, instead of starting Python for each.

Most of what the system tests did was to start Python: `gatepost serve` imports for 0.5 s, and a test runs a dozen
commands. Each process of pytest keeps one such server. GATEPOST_REAL=1 starts real processes everywhere, as tests do
that are about starting, about namespaces, or about what the process list shows.

Run as a script, this file is the server: it takes one request a connection, with the three standard files, and answers
with the process id and, when the command has ended, with its exit status.
"""

from __future__ import annotations

import atexit
import faulthandler
import gc
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

_MOST = 1 << 20  # bytes of a request: words and environment
_HUGE = 2 << 20  # bytes of a huge page
_MADV_COLLAPSE = 25  # of linux/mman.h, since Linux 6.1: now, and whatever the machine is set to
_SETTINGS = """
[server]
hostname = "mx1.contoso.example"
data_dir = "data"
workers = 1
user = "root"
[[listener]]
role = "mx"
address = "127.0.0.1:25"
[admin]
address = ""
[dns]
nameservers = ["127.0.0.1:53"]
"""
_OPTIONS = {"--config", "--data-dir", "--remote"}  # before the name of a command, with a value

# By kind of command, as far as this process has waited for it: how many, and seconds of CPU with what they started.
starts: Counter[str] = Counter()
seconds: defaultdict[str, float] = defaultdict(float)


def kind(words: Sequence[str], *, real: bool = False) -> str:
    """ "gatepost queue list" of the words of a command line, "forked python -c" of a script."""
    if words[:1] == ["-c"]:
        return "forked python -c"
    names: list[str] = []
    skip = False
    for word in words:
        if not skip and not word.startswith("-"):
            names.append(word)
        skip = not skip and word in _OPTIONS
    alone = names[:1] and names[0] in {"serve", "apply", "check", "explain", "import", "status", "alarms", "demo"}
    return " ".join(["real gatepost" if real else "gatepost", *names[: 1 if alone else 2]])


class ForkedProcess:
    """A command that the server forked: what `subprocess.Popen` offers, as far as fixtures use it."""

    def __init__(self, connection: socket.socket, kind: str) -> None:
        self._connection = connection
        self._kind = kind
        self._status: int | None = None
        self.pid = int(connection.recv(32))

    def poll(self) -> int | None:
        """None while it runs; negative after a signal."""
        if self._status is None:
            self._connection.settimeout(None)  # `wait` may have left one
        return self._ended(socket.MSG_DONTWAIT)

    def wait(self, timeout: float | None = None) -> int:
        """The exit status; subprocess.TimeoutExpired if it runs for longer."""
        if self._status is None:
            self._connection.settimeout(timeout)
            try:
                self._ended(0)
            except TimeoutError:
                raise subprocess.TimeoutExpired("gatepost", timeout or 0) from None
        assert self._status is not None
        return self._status

    def _ended(self, flags: int) -> int | None:
        if self._status is None:
            with suppress(BlockingIOError):
                status, _, spent = self._connection.recv(64, flags).decode().partition(" ")
                self._status = int(status) if status else -signal.SIGKILL  # the server is gone, and so is this
                self._connection.close()
                starts[self._kind] += 1
                seconds[self._kind] += float(spent or 0)
        return self._status

    def terminate(self) -> None:
        """SIGTERM, if it runs still."""
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL, if it runs still."""
        self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):  # the server took its status just now, which is on its way here
                os.kill(self.pid, number)

    def abort(self) -> None:
        """End it by SIGABRT, at which it says where it is if PYTHONFAULTHANDLER is set; SIGKILL after five seconds."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGABRT)
        with suppress(subprocess.TimeoutExpired):
            self.wait(5)
        self.kill()
        self.wait()


class ForkServer:
    """The server of this process of pytest; started when it is first asked."""

    def __init__(self) -> None:
        self._folder = tempfile.mkdtemp(prefix="gatepost-fork-")
        self._address = f"{self._folder}/socket"
        ready, told = os.pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-P", __file__, self._address, str(told)], stdin=subprocess.PIPE, pass_fds=[told]
        )
        os.close(told)
        with os.fdopen(ready, "rb") as waiting:
            if not waiting.read(1):
                raise RuntimeError("the fork server did not start; its error stands above")

    def fork(
        self,
        words: Sequence[str],
        files: Sequence[int],
        environment: Mapping[str, str],
        folder: Path | None = None,
    ) -> ForkedProcess:
        """Run `gatepost WORDS…` in a session of its own, or with words of `-c SCRIPT …` what Python would run.

        files: standard input, output and error. folder: where it runs, by default where this process does.
        """
        request = {"words": list(words), "environment": dict(environment), "folder": str(folder or Path.cwd())}
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        connection.connect(self._address)
        socket.send_fds(connection, [json.dumps(request).encode()], list(files))
        return ForkedProcess(connection, kind(words))

    def close(self) -> None:
        """End it: it ends when its standard input does."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        with suppress(FileNotFoundError):
            Path(self._address).unlink()
        Path(self._folder).rmdir()


_server: ForkServer | None = None


def fork_server() -> ForkServer:
    """The one of this process."""
    global _server  # noqa: PLW0603 - one a process, started when it is first asked
    if _server is None:
        _server = ForkServer()
        atexit.register(_server.close)
    return _server


# ------------------------------------------------------------------------------------------------ the server's side


def _import_everything() -> None:
    """All of gatepost, less what needs an extra that is not installed."""
    import pkgutil  # noqa: PLC0415 - the client does without
    from importlib import import_module  # noqa: PLC0415 - the client does without

    import gatepost  # noqa: PLC0415 - the client does without

    for module in pkgutil.walk_packages(gatepost.__path__, "gatepost."):
        if not module.name.endswith("__main__") and not module.name.startswith("gatepost.testing"):
            with suppress(ModuleNotFoundError):
                import_module(module.name)


def _build_validators() -> None:
    """Those of resources, which a process otherwise makes when it needs them (`Record`, defer_build)."""
    from gatepost.policy.connectors.record_base import Record  # noqa: PLC0415 - the client does without

    records = [Record]
    for record in records:
        records += record.__subclasses__()
        record.model_rebuild()


def _warm_up() -> None:
    """What each process works out anew, and is the same each time.

    OpenSSL's ways, the types of settings and requests, the trust anchors, and which fields of resources need a grant.
    """
    from collections.abc import Mapping  # noqa: PLC0415 - the client does without

    from gatepost.manage.use_cases.catalogue import USE_CASES  # noqa: PLC0415 - the client does without
    from gatepost.manage.use_cases.request_values import limits  # noqa: PLC0415 - the client does without
    from gatepost.net.openssl_tickets import find_place  # noqa: PLC0415 - the client does without
    from gatepost.node.start_checks import start_problems  # noqa: PLC0415 - the client does without
    from gatepost.policy.connectors.grants import resources_in_force  # noqa: PLC0415 - the client does without
    from gatepost.settings.loader import load  # noqa: PLC0415 - the client does without
    from gatepost.testing.resources import organization  # noqa: PLC0415 - the client does without

    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(_SETTINGS)
        file.flush()
        list(start_problems(load(file.name, {})))
    find_place()
    for case in USE_CASES:
        limits(case.request)
    resources_in_force(organization() | {"grant": {"contoso": {}}})
    for value in ("", 0, 0.0, b"", (), [], iter(()), Path(), OSError()):
        isinstance(value, Mapping)  # as logging asks: the answer is remembered by type, and takes long to find


def _share_what_is_loaded() -> None:
    """What each gateway does before it forks, so that it finds it done."""
    from gatepost.node.shared_pages import share_loaded_objects  # noqa: PLC0415 - the client does without

    share_loaded_objects()


def _use_huge_pages() -> None:
    """Keep memory in huge pages, of which a fork has fewer to copy, and its end to free: half of what either costs.

    What a fork writes is copied in small pages, as before. Nothing changes where the kernel cannot do it.
    """
    import ctypes  # noqa: PLC0415 - the client does without

    advise = ctypes.CDLL(None).madvise
    advise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    for line in Path("/proc/self/maps").read_text().splitlines():
        place, rights, _, _, _, *name = line.split(maxsplit=5)
        first, last = (int(end, 16) for end in place.split("-"))
        first, last = -(-first // _HUGE) * _HUGE, last // _HUGE * _HUGE
        if rights.startswith("rw") and name in ([], ["[heap]"]) and first < last:
            advise(first, last - first, _MADV_COLLAPSE)


def _compile_templates() -> None:
    """Those that every page needs, 0.2 s: else each gateway compiles them when it shows its first page."""
    from gatepost.manage.pages.rendering import environment  # noqa: PLC0415 - the client does without

    for template in ("macros.html", "layout.html", "error.html"):
        environment().get_template(template)


class _Server:
    def __init__(self, address: str) -> None:
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(address)
        self._listener.listen(16)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(0, selectors.EVENT_READ)

    def next_command(self) -> dict[str, Any] | None:
        """In a new process: what it is to run. None in the server, when it shall end."""
        while True:
            for key, _ in self._selector.select():
                if key.fileobj == 0:
                    return None
                if key.fileobj is self._listener:
                    if request := self._forked():
                        return request
                else:
                    self._ended(*key.data, pidfd=key.fd)

    def _forked(self) -> dict[str, Any] | None:
        """In the new process: its request. None in the server."""
        connection, _ = self._listener.accept()
        message, files, _, _ = socket.recv_fds(connection, _MOST, 3)
        pid = os.fork()
        if pid:
            for file in files:
                os.close(file)
            connection.send(str(pid).encode())
            self._selector.register(os.pidfd_open(pid), selectors.EVENT_READ, (connection, pid))
            return None
        request: dict[str, Any] = json.loads(message)
        os.setsid()
        for standard, file in enumerate(files):
            os.dup2(file, standard)
        self._close_all()
        os.chdir(request["folder"])
        os.environ.clear()
        os.environ.update(request["environment"])
        return request

    def _ended(self, connection: socket.socket, pid: int, *, pidfd: int) -> None:
        _, status, usage = os.wait4(pid, 0)
        self._selector.unregister(pidfd)
        os.close(pidfd)
        with suppress(OSError):  # nobody may wait any more
            spent = usage.ru_utime + usage.ru_stime
            connection.send(f"{os.waitstatus_to_exitcode(status)} {spent:.3f}".encode())
        connection.close()

    def _close_all(self) -> None:
        self._selector.close()
        os.closerange(3, 4096)


def _run(request: Mapping[str, Any]) -> NoReturn:
    """As the interpreter would: run the command, wait for its threads, flush, exit."""
    import random  # noqa: PLC0415 - the client does without

    from gatepost.manage.cli import main  # noqa: PLC0415 - the client does without

    random.seed()  # each process its own numbers, as if it had just started
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - for the life of the process
    encoding = os.environ.get("PYTHONIOENCODING") or None
    sys.stdout = open(1, "w", encoding=encoding, closefd=False)  # noqa: SIM115 - for the life of the process
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115 - as above
    if os.environ.get("PYTHONFAULTHANDLER"):
        faulthandler.enable(2)
    words = request["words"]
    status: object = 0
    try:
        if words[0] == "-c":
            sys.argv = ["-c", *words[2:]]
            exec(words[1], {"__name__": "__main__"})  # noqa: S102 - a test's own
        else:
            sys.argv = ["gatepost", *words]
            main(words, prog_name="gatepost")
    except SystemExit as end:
        status = end.code
    except BaseException:  # noqa: BLE001 - what the interpreter does with it
        traceback.print_exc()
        status = 1
    if isinstance(status, str):
        print(status, file=sys.stderr)
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(status if isinstance(status, int) else int(status is not None))


if __name__ == "__main__":
    _import_everything()
    _build_validators()
    _warm_up()
    _compile_templates()
    gc.collect()
    _share_what_is_loaded()
    _use_huge_pages()
    server = _Server(sys.argv[1])
    os.write(int(sys.argv[2]), b"+")
    os.close(int(sys.argv[2]))
    command = server.next_command()
    if command is not None:
        _run(command)
