"""A gateway whose wall clock jumps while it runs. Commands keep the clock of the machine."""

from __future__ import annotations

import struct
import sys
from typing import Any

from support.gateway import Gateway

_SCRIPT = """
import mmap, struct, sys, time
with open(sys.argv.pop(1), "rb") as file:
    ahead = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
real, real_ns = time.time, time.time_ns
time.time = lambda: real() + struct.unpack("d", ahead)[0]
time.time_ns = lambda: real_ns() + int(struct.unpack("d", ahead)[0] * 1e9)
from gatepost.manage.cli import main
main(prog_name="gatepost")
"""


class JumpingGateway(Gateway):
    """All its processes have the clock of the machine, and so many seconds more as `jump` says."""

    def __init__(self, resources: Any, **options: Any) -> None:
        super().__init__(resources, **options)
        self._ahead = self.folder.write("ahead", "\0" * 8)
        self._program = [sys.executable, "-c", _SCRIPT, str(self._ahead)]

    def jump(self, ahead: float) -> None:
        """From now on its clock is ahead of the machine's by `ahead` seconds."""
        with self._ahead.open("r+b") as file:  # the same file: it is mapped
            file.write(struct.pack("d", ahead))
