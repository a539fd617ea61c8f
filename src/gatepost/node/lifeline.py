"""The line between the supervisor and each of its processes, a socket pair for each.

It reads end-of-file in the process when the supervisor is gone, so that none outlives it. On it the process says one
octet at a time that it serves, that it has read its files again, and every few seconds, from its event loop, that it
lives. The supervisor is woken by SIGIO (fcntl(2), F_SETOWN), as it waits for signals alone.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from enum import Enum
from typing import TYPE_CHECKING, Final

from gatepost.node.file_line import FileLine, SettingsFiles, hear_by_signal
from gatepost.node.lifecycle import Duty, Lifecycle

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatepost.node.config_line import ConfigLine


BEAT_SECONDS: Final = 2.0
"""Between two signs that a process lives."""


class Sign(bytes, Enum):
    """A message of a process to its supervisor, one octet."""

    READY = b"R"
    RELOADED = b"L"
    ALIVE = b"."


def tell_supervisor(lifeline: int, sign: Sign) -> None:
    """Say it and never wait: a supervisor that is gone, or does not read, hears nothing."""
    with suppress(OSError):
        os.set_blocking(lifeline, False)
        os.write(lifeline, sign.value)


def life_signs(lifeline: int) -> Lifecycle:
    """The part of a process that says that its event loop runs."""
    return Lifecycle("life signs", duties=[Duty(BEAT_SECONDS, lambda: tell_supervisor(lifeline, Sign.ALIVE))])


class Lifeline:
    """The supervisor's end of the line to one process. child_end: for the process, which inherits it by the fork.

    files: the line on which the process asks for files of the settings, None if it may open what there is. config: the
    one on which it asks for changes of the configuration, None if it may write it.
    """

    def __init__(self, files: SettingsFiles | None = None, config: ConfigLine | None = None) -> None:
        self.files = FileLine(files) if files is not None else None
        self.config = config
        self._own, child = socket.socketpair()
        hear_by_signal(self._own)
        self.child_end = child.detach()

    def release_child_end(self) -> None:
        """In the supervisor, after the fork: only the process has that end."""
        os.close(self.child_end)
        for line in self._others():
            line.release_child_end()

    def use(self) -> None:
        """In the process: from now on it asks on its lines."""
        for line in self._others():
            line.use()

    def signs(self) -> set[Sign]:
        """Read what the process said since the last call, and open the files that it asked for."""
        if self.files is not None:
            self.files.answer()
        said = b""
        with suppress(OSError):
            while heard := self._own.recv(4096):
                said += heard
        return {sign for sign in Sign if sign.value in said}

    def close(self) -> None:
        """Cut it: a process at the other end learns that nobody supervises it."""
        self._own.close()
        for line in self._others():
            line.close()

    def _others(self) -> Iterator[FileLine | ConfigLine]:
        return (line for line in (self.files, self.config) if line is not None)
