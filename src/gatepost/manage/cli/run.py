"""The entry point of the command `gatepost`: it runs the command, and ends the process.

Python would take apart everything that was imported before the process ends, which is a fifth of a short command's CPU
and of no use: the kernel takes back memory at once. What is registered for the end is done, and output is written out.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
from contextlib import suppress

from gatepost.manage.cli import main

_UNKNOWN = 3


def run() -> None:
    """Run the command of `sys.argv`; the process ends with its status."""
    _open_closed_streams()
    try:
        main(prog_name="gatepost")
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            _end(end.code or 0)
        raise


def _open_closed_streams() -> None:
    """Open what was closed when the process began, lest a database gets its number: to read nothing, or to fail."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            place = os.open(os.devnull, os.O_WRONLY if name == "stderr" else os.O_RDONLY)  # the lowest that is free
            setattr(sys, name, open(place, "w" if number else "r", encoding="utf-8", closefd=False))  # noqa: SIM115 - a number


def _end(status: int) -> None:
    """End the process at once. Returns where the interpreter must do it.

    It waits for threads, tells of output that cannot be written, and lets a profiler report.
    """
    if threading.active_count() > 1 or sys.monitoring.get_tool(sys.monitoring.PROFILER_ID) is not None:
        return
    atexit._run_exitfuncs()  # noqa: SLF001 - as multiprocessing ends its processes
    os._exit(_flushed(status))


def _flushed(status: int) -> int:
    """Write out what is left; the status, or that it is not known where the answer did not come through."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError) as error:
            if status == 0 and stream is sys.stdout:
                status = _UNKNOWN
                with suppress(OSError, ValueError):
                    sys.stderr.write(f"standard output: {getattr(error, 'strerror', None) or error}\n")
    return status
