"""Have the supervisor open a file of the settings that took the place of one which a confined process may read.

Made for each process by `node.lifeline`. Landlock allows the file that was there when a process confined itself, not
the one that was renamed to its place. A process asks for a file by its number in a list that was fixed before it was
forked, never by a path, and gets a descriptor to read. Nothing in data_dir is opened (docs/decisions/0123).
"""

from __future__ import annotations

import fcntl
import os
import socket
import stat
import struct
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from gatepost.net.named_files import FILE_HELP

_REQUEST: Final = struct.Struct("=HH")  # which file, and a number that its answer bears
_DESCRIPTOR: Final = struct.Struct("=i")
_SPACE: Final = socket.CMSG_LEN(_DESCRIPTOR.size)
_PASS_RIGHTS: Final = 83  # SO_PASSRIGHTS, which the socket module does not name
_AT_A_TIME: Final = 16  # requests of one process, before others are heard
_SECONDS: Final = 2.0  # that a process waits for its supervisor


def hear_by_signal(own: socket.socket) -> None:
    """Make a supervisor's end: what comes wakes this process by SIGIO, nothing waits, and no descriptors are taken.

    A process that was taken over could send a socket that takes its time to be closed. Linux before 6.16 takes them.
    """
    own.setblocking(False)
    with suppress(OSError):
        own.setsockopt(socket.SOL_SOCKET, _PASS_RIGHTS, 0)
    fcntl.fcntl(own, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(own, fcntl.F_SETFL, fcntl.fcntl(own, fcntl.F_GETFL) | os.O_ASYNC)


class SettingsFiles:
    """The files that processes may ask for. names: as the settings write them. data_dir: nothing in it is opened."""

    def __init__(self, names: Iterable[str], data_dir: str) -> None:
        self._paths = list(dict.fromkeys(Path(name) for name in names))
        self._data = Path(data_dir).resolve()

    def number(self, path: Path) -> int | None:
        """The number of a file, None if the settings do not name it."""
        return self._paths.index(path) if path in self._paths else None

    def opened(self, number: int) -> int:
        """The descriptor of a regular file. Raises OSError."""
        path = self._paths[number].resolve() if number < len(self._paths) else self._data
        if path.is_relative_to(self._data):
            raise PermissionError
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
        if stat.S_ISREG(os.fstat(file).st_mode):
            return file
        os.close(file)
        raise PermissionError


class FileLine:
    """The line on which one process asks. Made by the supervisor before it forks the process."""

    def __init__(self, files: SettingsFiles) -> None:
        self._files = files
        self._own, self._child = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        hear_by_signal(self._own)
        self._child.settimeout(_SECONDS)
        self._lock = threading.Lock()
        self._asked = 0

    # in the supervisor

    def answer(self) -> None:
        """Open what the process asked for since the last call. Never waits for it, and never raises."""
        with suppress(OSError):
            for _ in range(_AT_A_TIME):
                request = self._own.recv(_REQUEST.size)
                if len(request) != _REQUEST.size:
                    return
                self._hand_over(request)

    def _hand_over(self, request: bytes) -> None:
        try:
            file = self._files.opened(_REQUEST.unpack(request)[0])
        except OSError:
            self._own.send(request)
            return
        try:
            socket.send_fds(self._own, [request], [file])
        finally:
            os.close(file)

    def release_child_end(self) -> None:
        """After the fork: only the process has that end."""
        self._child.close()

    def close(self) -> None:
        """Close the supervisor's end: whoever asks is told no."""
        self._own.close()

    # in the process

    def use(self) -> None:
        """From now on `net.named_files` asks here."""
        FILE_HELP.ask = self.ask

    def ask(self, path: Path) -> int | None:
        """The descriptor of a file of the settings; None if it is none, or if the supervisor may not open it either."""
        number = self._files.number(path)
        if number is None:
            return None
        with self._lock, suppress(OSError):
            self._asked = (self._asked + 1) % (1 << 16)
            request = _REQUEST.pack(number, self._asked)
            self._child.send(request)
            return self._answered(request)
        return None

    def _answered(self, request: bytes) -> int | None:
        """Skip answers that came too late for earlier requests. Raises OSError."""
        until = time.monotonic() + _SECONDS
        while time.monotonic() < until:
            # Not recv_fds: it ignores its flags, and a program that is started meanwhile must not get the key.
            answer, attached, _, _ = self._child.recvmsg(_REQUEST.size, _SPACE, socket.MSG_CMSG_CLOEXEC)
            file = _DESCRIPTOR.unpack(attached[0][2])[0] if attached else None
            if answer == request:
                return file
            if file is not None:
                os.close(file)
            if not answer:
                break
        return None
