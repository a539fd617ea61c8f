"""Runs gatepost with a clock of its own: ahead of the machine's by the seconds that stand in a file, at each moment.

Started by `support.gateway`; imports nothing of the tests.
"""

from __future__ import annotations

import mmap
import struct
import sys
import time
from pathlib import Path


def main() -> None:
    """Arguments: the file, and the words of the command."""
    with Path(sys.argv.pop(1)).open("rb") as file:
        ahead = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    real, real_ns = time.time, time.time_ns
    time.time = lambda: real() + struct.unpack("d", ahead)[0]
    time.time_ns = lambda: real_ns() + int(struct.unpack("d", ahead)[0] * 1e9)
    from gatepost.manage.cli import main as gatepost  # noqa: PLC0415 - not before there is another clock

    gatepost(prog_name="gatepost")
