"""Look at the machine of this node for alarms: its disk, processes that the supervisor saw end, the port of ACME.

Used by `node.alarm_facts`, and by `node.draining` for the heartbeat. A file system may hang: a node that is not heard
of for that counts as dead, while it takes mail.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gatepost.events.machine_report import MOST, MOST_ENDED, DiskRoom, EndedProcess, MachineReport
from gatepost.store.figures import WORKERS_DIRECTORY, read_ends, read_unserved
from gatepost.values import replace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gatepost.settings.model import Settings
    from gatepost.store.interface import StoreFailure


HOUR: Final = 3600.0
"""Seconds for which an end of a process is told of."""

_PATIENCE: Final = 0.5  # that a heartbeat waits for a look


class MachineLook:
    """Looks again and again, and knows whether the disk was low at the look before."""

    def __init__(self, settings: Settings) -> None:
        self._data = Path(settings.server.data_dir)
        self._mark = settings.store.free_space
        self._was_low = False
        self._serves_tokens = bool(settings.acme.served_at)

    def report(self, now: float, failure: StoreFailure | None) -> MachineReport:
        """The machine at `now`, seconds since 1970. failure: why this worker can store no mail.

        Blocks for as long as the file system does.
        """
        unserved = read_unserved(self._data / WORKERS_DIRECTORY) if self._serves_tokens else ""
        return MachineReport(str(failure or ""), self._disk(), tuple(self._ended(now))[:MOST_ENDED], unserved)

    def _disk(self) -> DiskRoom | None:
        try:
            disk = os.statvfs(self._data)
        except OSError:
            return None
        inodes = min(disk.f_favail, MOST) if disk.f_files else None
        free = min(disk.f_bavail * disk.f_frsize, MOST)
        room = DiskRoom(str(self._data), free, self._mark, inodes, was_low=self._was_low)
        self._was_low = room.is_low
        return room

    def _ended(self, now: float) -> Iterator[EndedProcess]:
        ends = [end for end in read_ends(self._data / WORKERS_DIRECTORY) if now - HOUR < end.at <= now]
        last = {end.name: end for end in ends}
        for name, end in sorted(last.items()):
            yield EndedProcess(name, end.how, end.at, sum(other.name == name for other in ends))


class UnhinderedLook:
    """Looks on a thread of its own, for who must not wait for a file system."""

    def __init__(self, settings: Settings) -> None:
        self._look = MachineLook(settings)
        self._thread: threading.Thread | None = None
        self._last = MachineReport()

    def report(self, now: float, failure: StoreFailure | None) -> MachineReport:
        """As that of `MachineLook`, without the disk while it hangs."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._take, args=(now,), name="machine", daemon=True)
            self._thread.start()
        self._thread.join(_PATIENCE)
        report = replace(self._last, refusal=str(failure or ""))
        return replace(report, disk=None) if self._thread.is_alive() else report

    def _take(self, now: float) -> None:
        self._last = self._look.report(now, None)
