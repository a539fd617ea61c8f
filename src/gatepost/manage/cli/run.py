"""The entry point of the command `gatepost`: it runs the command, and ends the process.

Python would take apart everything that was imported before the process ends, which is a fifth of a short command's CPU
and of no use: the kernel takes back memory at once. What is registered for the end is done, and output is written out.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading

from gatepost.manage.cli import main


def run() -> None:
    """Run the command of `sys.argv`; the process ends with its status."""
    try:
        main(prog_name="gatepost")
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            _end(end.code or 0)
        raise


def _end(status: int) -> None:
    """End the process at once. Returns where the interpreter must do it.

    It waits for threads, tells of output that cannot be written, and lets a profiler report.
    """
    if threading.active_count() > 1 or sys.monitoring.get_tool(sys.monitoring.PROFILER_ID) is not None:
        return
    atexit._run_exitfuncs()  # noqa: SLF001 - as multiprocessing ends its processes
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:  # it was closed when the process started
                stream.flush()
    except (OSError, ValueError):
        return
    os._exit(status)
