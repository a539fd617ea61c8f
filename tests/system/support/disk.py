"""A disk that is full: a small file system in memory, and a file that takes all the room of it."""

from __future__ import annotations

import subprocess
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from support.debian import MARK, need


def mount(path: Path, size: int, mode: str = "0700") -> None:
    """Make an empty file system of `size` bytes at a new path; skips the test loudly where that is not allowed."""
    need("root")
    path.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={size},mode={mode}", "none", str(path)]
    made = subprocess.run(words, capture_output=True, text=True, check=False, timeout=30)
    if made.returncode:
        pytest.skip(f"{MARK}: permission to mount a file system ({made.stderr.strip()})")


def unmount(path: Path) -> None:
    """End it, also if something has a file of it open."""
    subprocess.run(["umount", "--lazy", str(path)], check=True, timeout=30)


class Filler:
    """A foreign file that takes all of a file system, and whatever is freed there, until it is removed.

    pause: seconds after which it looks again for what was freed.
    """

    def __init__(self, path: Path, pause: float = 0.005) -> None:
        self._path = path
        self._pause = pause
        self._over = threading.Event()
        self._full = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        """Return when it is full."""
        self._thread.start()
        assert self._full.wait(30)

    def remove(self) -> None:
        """Give all the room back."""
        self._over.set()
        self._thread.join(30)
        self._path.unlink(missing_ok=True)

    def _run(self) -> None:
        with self._path.open("wb", buffering=0) as file:
            while not self._over.wait(self._pause):
                for size in (1 << 20, 4096):
                    with suppress(OSError):
                        while not self._over.is_set():
                            file.write(b"x" * size)
                self._full.set()
