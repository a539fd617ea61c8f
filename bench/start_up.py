"""How long `gatepost queue list` takes, and `gatepost serve` until it greets: seconds, and CPU seconds of all of it.

    .venv/bin/python bench/start_up.py [TIMES]

The best of TIMES (default 10) counts: what else runs on the machine only adds. The goals, on the machine of
docs/figures.md: queue list 0.15 s, serve 0.4 s.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

GATEPOST = Path(sys.executable).with_name("gatepost")


def settings(folder: Path, port: int) -> Path:
    """Of a gateway with one listener, and nothing else that is not there by default."""
    file = folder / "gatepost.toml"
    user = 'user = "root"\n' if os.geteuid() == 0 else ""
    file.write_text(
        f'[server]\nhostname = "mx1.example"\ndata_dir = "data"\n{user}[admin]\naddress = ""\n'
        f'[[listener]]\nrole = "mx"\naddress = "127.0.0.1:{port}"\n'
    )
    return file


def spent() -> float:
    """CPU seconds of processes that were started here and have ended."""
    times = os.times()
    return times.children_user + times.children_system


def list_queue(config: Path) -> None:
    """One command, to its end."""
    subprocess.run([GATEPOST, "--config", config, "queue", "list"], check=True, stdout=subprocess.DEVNULL)


def serve(config: Path, port: int) -> float:
    """Start and end a gateway; seconds until it greeted."""
    begun = time.monotonic()
    with subprocess.Popen([GATEPOST, "--config", config, "serve"], stderr=subprocess.DEVNULL) as process:
        while not greets(port):
            if process.poll() is not None:
                raise SystemExit(f"gatepost serve ended with {process.returncode}")
            time.sleep(0.005)
        found = time.monotonic() - begun
        process.send_signal(signal.SIGTERM)
    return found


def greets(port: int) -> bool:
    """Whether an SMTP server says 220 there."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
            return client.recv(100).startswith(b"220")
    except OSError:
        return False


def main(times: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        config = settings(Path(folder), port)
        listed, greeted = [], []
        for _ in range(times):
            begun, before = time.monotonic(), spent()
            greeting = serve(config, port)
            greeted.append((greeting, spent() - before))
            begun, before = time.monotonic(), spent()
            list_queue(config)
            listed.append((time.monotonic() - begun, spent() - before))
    for name, found in (("queue list", listed), ("serve until 220", greeted)):
        seconds, cpu = (min(one) for one in zip(*found, strict=True))
        print(f"{name:16} {seconds:.2f} s, {cpu:.2f} s of CPU{' with its end' if found is greeted else ''}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
