"""Runs system tests on a copy of the last commit whose gateway does its periodic work later, or sooner, than usual.

A test that takes "a moment later" for granted, or that something has not happened yet, fails there each time, and not
once in a hundred runs on somebody else's machine. What promises a time (`Pace`) may fail where that time is lengthened.

    scripts/paces.py late|quick|slow [FILE...]     test files, by default all short ones without a browser

late: what is written, read again or looked at now and then is so seconds later. quick: at once. slow: each commit of
the queue takes 0.2 s more, each connection to a host 0.3 s, each answer of the admin centre 0.6 s.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
PACES: Final[dict[str, dict[str, tuple[float, float]]]] = {
    "events/stream.py": {"INTERVAL": (2.0, 0.02), "_QUIET": (3.0, 0.05)},
    "mail/inbound/recipient_file.py": {"_LOOK": (3.0, 0.05)},
    "mail/inbound/usage.py": {"_INTERVAL": (5.0, 0.1)},
    "mail/queue/allowance.py": {"POLL": (2.0, 0.05)},
    "mail/queue/leases.py": {"LOOK": (3.0, 0.1)},
    "node/certificate_observer.py": {"OBSERVE_SECONDS": (4.0, 0.1)},
    "node/figures.py": {"_INTERVAL": (4.0, 0.05)},
    "node/lifecycle.py": {"_SHARED": (2.0, 0.02), "_GRID": (2.0, 0.02)},
    "node/observation.py": {"GAUGE_SECONDS": (4.0, 0.1)},
    "node/snapshot.py": {"POLL_SECONDS": (2.5, 0.03)},
    "pki/certificates/watch.py": {"WATCH_SECONDS": (6.0, 0.1)},
    "store/buffer.py": {"_SOON": (2.5, 0.005)},
    "store/destinations.py": {"_INTERVAL": (4.0, 0.05)},
    "store/evidence.py": {"_INTERVAL": (4.0, 0.02)},
    "store/postgres/trace_writer.py": {"_INTERVAL": (4.0, 0.02)},
    "store/sqlite/trace.py": {"_INTERVAL": (4.0, 0.02)},
    "store/sqlite/writer.py": {"_LOOK": (2.5, 0.05), "_LINGER_ALONE": (1.0, 0.001)},
}
"""By module: the seconds of a constant in place of its own, late and quick."""
DELAYS: Final = {
    "store/sqlite/writer.py": ("            unlink = self._write(batch)\n", "            time.sleep(0.2)\n"),
    "net/dial.py": ("    loop = asyncio.get_running_loop()\n", "    await asyncio.sleep(0.3)\n"),
    "manage/web/application.py": (
        "        await self._app(scope, receive, dressed)\n",
        "        import asyncio\n        await asyncio.sleep(0.6)\n",
    ),
}
"""By module: the line before which a delay is put, and the delay."""


def change(copy: Path, pace: str) -> None:
    """Give the gateway of a copy another pace. Raises SystemExit if it has not what is to be changed."""
    for module, constants in PACES.items() if pace != "slow" else ():
        for name, seconds in constants.items():
            pattern = rf"(?m)^({name}(?:: Final)?(?:: float)? = )[0-9.]+"
            _replace(copy / "src" / "gatepost" / module, pattern, rf"\g<1>{seconds[pace == 'quick']}")
    for module, (line, delay) in DELAYS.items() if pace == "slow" else ():
        _replace(copy / "src" / "gatepost" / module, re.escape(line), delay + line)


def _replace(path: Path, pattern: str, text: str) -> None:
    changed, times = re.subn(pattern, text, path.read_text(encoding="utf-8"))
    if times != 1:
        sys.exit(f"paces: {path.name} has not what is to be changed, or more than once: {pattern}")
    path.write_text(changed, encoding="utf-8")


def main(words: list[str]) -> int:
    """Exit status of the tests, 2 on a usage error."""
    if not words or words[0] not in {"late", "quick", "slow"}:
        print("paces: write late, quick or slow, then test files", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="gatepost-paces-") as folder:
        subprocess.run(["git", "clone", "--quiet", str(ROOT), folder], check=True)
        Path(folder).chmod(0o755)  # some tests run as another account
        change(Path(folder), words[0])
        subprocess.run(["make", "--no-print-directory", "compiled"], cwd=folder, check=True)
        tests = words[1:] or ["tests/system", "-m", "not long and not browser"]
        pytest = [".venv/bin/pytest", "-q", "-o", "timeout=240", "-n", "4", "--dist", "loadfile"]
        return subprocess.run([*pytest, *tests], cwd=folder, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
