"""A server of Debian in the foreground, with all it has in a folder of its own."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Self

from support.process import Child

from gatepost.testing.process import FixtureError, Folder, wait_until


def listens(port: int) -> bool:
    """Whether somebody takes connections on a port."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


class Daemon:
    """command: what starts it. is_ready: whether it serves."""

    def __init__(self, purpose: str) -> None:
        """purpose: a word for the name of its folder."""
        self.folder = Folder(purpose)
        self._child: Child | None = None

    def command(self) -> list[str | Path]:
        raise NotImplementedError

    def is_ready(self) -> bool:
        raise NotImplementedError

    def log(self) -> str:
        """What it logged."""
        return self._child.output() if self._child else ""

    def wait_log(self, text: str, *, timeout: float = 60.0) -> str:
        """The log, once it holds `text`."""
        try:
            wait_until(lambda: text in self.log(), f"{text!r} in the log", timeout=timeout)
        except FixtureError as late:
            raise FixtureError(f"{late}\n{self.log()}") from late
        return self.log()

    def family(self) -> list[int]:
        """Its process ids."""
        return self._child.family() if self._child else []

    def start(self) -> Self:
        """Start it, or start it again."""
        self._child = Child(self.command(), self.folder / "log.txt")
        self._child.wait_ready(self.is_ready, timeout=60)
        return self

    def stop(self) -> None:
        """End it; the folder stays, so that `start` goes on where it was."""
        if self._child:
            self._child.stop()

    def remove(self) -> None:
        """End it and leave nothing behind."""
        self.stop()
        self.folder.remove()

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.remove()
            raise

    def __exit__(self, *_: object) -> None:
        self.remove()
