"""A disk of its own for a power cut: ext4 on a loop device, whose unwritten pages can be thrown away (root only).

EXT4_IOC_SHUTDOWN without a flush of the journal drops all that was not synchronized, as the power would. What a disk
does with its own cache is not tested: the device keeps what ext4 gave it.
"""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
from pathlib import Path

import pytest
from support.debian import MARK, need

_SHUTDOWN = 0x8004587D  # _IOR('X', 125, __u32) of linux/ext4.h
_NO_FLUSH = 2


class BlockDisk:
    """path: where it is mounted, made new. Skips the test loudly where there are no loop devices."""

    def __init__(self, folder: Path, size: int = 512 << 20) -> None:
        need("root")
        self.path = folder / "disk"
        self.path.mkdir()
        self._image = folder / "disk.img"
        self._cuts = 0
        with self._image.open("wb") as file:
            file.truncate(size)
        _run("mkfs.ext4", "-q", "-F", str(self._image))
        self._mount()

    def cut(self) -> None:
        """The power fails, and comes back: whoever used the disk must be dead."""
        directory = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(directory, _SHUTDOWN, struct.pack("=I", _NO_FLUSH))
        finally:
            os.close(directory)
        # What comes back is what the device has got by now: a copy, as another mount namespace may hold the old one.
        after = self._image.with_suffix(f".{self._cuts}")
        _run("cp", "--sparse=always", str(self._image), str(after))
        _run("umount", "--lazy", str(self.path))
        self._image.unlink()
        self._image, self._cuts = after, self._cuts + 1
        self._mount()

    def remove(self) -> None:
        """End it."""
        subprocess.run(["umount", "--lazy", str(self.path)], check=False, timeout=60)
        self._image.unlink(missing_ok=True)

    def _mount(self) -> None:
        try:
            _run("mount", "-t", "ext4", "-o", "loop", str(self._image), str(self.path))
        except subprocess.CalledProcessError as error:
            pytest.skip(f"{MARK}: a loop device with ext4 ({error.stderr.strip()})")


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True, text=True, timeout=120)
