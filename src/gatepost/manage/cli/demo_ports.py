"""Ports of the demonstration: free ones on loopback, and waiting until a server greets on them."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path


PATIENCE = 30.0  # seconds in which a server must have started


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for_greeting(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Return when a server says 220 on the port. Raises RuntimeError with the end of its log if it does not."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as connection:
                if connection.recv(4) == b"220 ":
                    connection.sendall(b"QUIT\r\n")
                    return
        except OSError:
            time.sleep(0.1)
    tail = log.read_text(encoding="utf-8", errors="replace")[-2000:] if log.exists() else ""
    raise RuntimeError(f"no SMTP greeting on 127.0.0.1:{port} within {PATIENCE:.0f} s; the end of {log}:\n{tail}")
