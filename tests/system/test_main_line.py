"""The main line of a message is short, and ARCHITECTURE.md lists it as it is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_main_line_is_what_architecture_lists_and_has_at_most_30_files() -> None:
    script = [sys.executable, str(ROOT / "scripts" / "main_line.py")]
    ran = subprocess.run(script, capture_output=True, text=True, timeout=110, check=False)
    line = ran.stdout.splitlines()[:-1]
    assert ran.returncode == 0, ran.stderr
    assert line[0] == "net/listener.py"
    assert {"mail/inbound/session.py", "store/sqlite/writer.py", "mail/queue/manager.py", "net/dial.py"} < set(line)
    assert len(line) <= 30
