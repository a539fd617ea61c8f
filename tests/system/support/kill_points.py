"""A gateway that dies exactly before or after a named step, alone or with all its processes."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from support.gateway import Gateway
from support.kill_switch import ALL, ALONE
from support.process import Child, run_gatepost, script_command

from gatepost.testing.gateway import environment
from gatepost.testing.process import FixtureError, alive, greets, wait_until

_PATIENCE = 150.0  # seconds until a kill
_SCRIPT = f"""
import sys
sys.path.insert(0, {str(Path(__file__).resolve().parents[1])!r})
from support.kill_switch import main
main()
"""


@dataclass(frozen=True, slots=True)
class Point:
    """step: "package.module:Class.function" of gatepost. moment: "before" or "after".

    holding: what of its arguments must be true, "self.messages", or equal, "path.name=keys".
    """

    step: str
    moment: str
    holding: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.moment} {self.step.partition(':')[2]}{list(self.holding) or ''}"


class MortalGateway(Gateway):
    """points: where it can be killed; none is armed at first, and one that was reached is armed no more.

    delayed: not from the first start on, but from `restart`.
    """

    def __init__(self, points: Sequence[Point], resources: Any, *, delayed: bool = False, **options: Any) -> None:
        super().__init__(resources, **options)
        self.points = points
        self._file = self.folder.write("armed", "\0" * len(points))
        self._plain = delayed
        self._before: list[int] = []
        self._killer: threading.Thread | None = None

    def arm(self, *numbers: int, whole: bool) -> None:
        """Arm points. whole: all processes die at once, not only the one that gets there."""
        serving = self._child is not None and self._child.returncode is None
        self._before, self._killer = self.family() if serving else [], None
        self._write(numbers, ALL if whole else ALONE)
        if whole and serving:  # `restart` kills those that it starts
            self._killer = threading.Thread(target=self._kill_whole, daemon=True)
            self._killer.start()

    def _kill_whole(self) -> None:
        """Meanwhile a client may wait for what stands still."""
        with suppress(FixtureError):  # `died` finds the same
            wait_until(lambda: not self.armed, "a kill", timeout=_PATIENCE)
            self.kill()

    def died(self) -> None:
        """Wait for the kill: without a killer, of the process that gets there."""
        wait_until(lambda: not self.armed, f"a kill {self.armed}", timeout=_PATIENCE)
        if self._killer is not None:
            self._killer.join()

    def _write(self, numbers: Sequence[int], deadly: int) -> None:
        octets = bytearray(self._file.read_bytes())
        for number in numbers:
            octets[number] = deadly
        with self._file.open("r+b") as file:  # the same file: it is mapped
            file.write(octets)

    @property
    def armed(self) -> list[str]:
        """The points that were not reached yet."""
        return [str(point) for point, octet in zip(self.points, self._file.read_bytes(), strict=True) if octet]

    def killed(self) -> None:
        """Wait for the kill, and until the gateway serves again."""
        running, before = self._running(), self._before
        self.died()
        wait_until(lambda: running.returncode is not None or alive(before) != before, "the end of a process")
        wait_until(lambda: running.returncode is not None or greets(self.port), "a new worker, or the end", timeout=60)
        if running.returncode is not None:
            running.kill()
            self.start()

    def killed_stopping(self) -> None:
        """Stop it, wait for the kill and for its end, and start it again."""
        running = self._running()
        os.kill(self.pid, signal.SIGTERM)
        self.died()
        wait_until(lambda: running.returncode is not None, "its end")
        running.kill()
        self.start()

    def restart(self) -> None:
        """Start with its points, again after each kill of all processes, until none is left."""
        self._plain = False
        while left := self.armed:
            self._child = self._launch(self.folder / "log.txt")
            wait_until(partial(self._are_fewer, len(left)), f"a kill {left}")
            self.kill()
        self.start()

    def _are_fewer(self, count: int) -> bool:
        return len(self.armed) < count

    def killed_command(self, number: int, *words: str) -> None:
        """Run a command that is killed at a point."""
        self._write([number], ALONE)
        done = run_gatepost("-c", _SCRIPT, *self._arguments(), "--config", self.config, *words)
        assert done.returncode == -signal.SIGKILL, (self.armed, done.stdout, done.stderr)

    def _launch(self, log: Path) -> Child:
        if self._plain:
            return super()._launch(log)
        command = [*script_command(_SCRIPT), *self._arguments(), "--config", str(self.config), "serve"]
        return Child(command, log, environment())

    def _arguments(self) -> list[str]:
        points = [[point.step, point.moment, point.holding] for point in self.points]
        return [str(self._file), json.dumps(points)]
