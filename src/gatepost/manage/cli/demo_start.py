"""Waiting until a server of the demonstration has started: a gateway, the partner's Postfix, PostgreSQL.

Called by `manage.cli.demo_partner` and `manage.cli.demo_postgres`, which start and end them.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from gatepost.testing.process import greets

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path


PATIENCE = 30.0  # seconds in which a server must have started
_TAIL = 2000  # characters of each log that an error has


def wait_for_greeting(port: int, process: subprocess.Popen[bytes], *logs: Path) -> None:
    """Return when a server greets on a port of 127.0.0.1. Raises RuntimeError as `wait_for_start`."""
    wait_for_start(f"SMTP greeting on 127.0.0.1:{port}", lambda: greets(port), process, *logs)


def wait_for_start(what: str, has_started: Callable[[], bool], process: subprocess.Popen[bytes], *logs: Path) -> None:
    """Return when a server has started. what: is waited for. logs: its own.

    Raises RuntimeError with the end of its logs if it does not start: one text where the process has ended, another
    where it runs and nothing came within `PATIENCE`.
    """
    deadline = time.monotonic() + PATIENCE
    while not has_started():
        status = process.poll()
        if status is not None or time.monotonic() > deadline:
            trouble = f"within {PATIENCE:.0f} s" if status is None else f"before its process ended with status {status}"
            raise RuntimeError(f"no {what} {trouble}" + "".join(map(_tail, logs)))
        time.sleep(0.1)


def _tail(log: Path) -> str:
    text = log.read_text(encoding="utf-8", errors="replace")[-_TAIL:] if log.exists() else ""
    return f"\nthe end of {log}:\n{text}" if text else f"\nnothing is in {log}"
