"""The pace at which a process takes up deferred mail: as it can, but slowly where new mail comes and the loop is late.

Used by `mail.queue.leases` and `mail.queue.sweeper`. A loop that is late has more to do than it gets CPU for, and those
who wait are the senders of new mail: what is tried again can wait longer than they. So it gets a fiftieth of the time
then, reckoned by the CPU that a delivery takes here; never nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

_IN_TIME: Final = 0.003  # seconds that a timer may be late in a loop that has enough CPU
_LATE: Final = 0.01  # seconds beyond that at which new mail goes first altogether
_NEW_MAIL: Final = 5.0  # seconds after which new mail that came is none any more
_WEIGHT: Final = 0.2  # of what was measured last
_COST: Final = 0.0003  # seconds of CPU of a delivery, until it is known
_MOST_COST: Final = 0.005
_FOLLOWS: Final = 12.0  # times of that, which its attempt, settlement, trace and evidence take besides
_OTHERS: Final = 50.0  # times of what deferred mail takes, that other work gets while the loop is late
_FEWEST: Final = 10  # deliveries at a time then
_PROBE: Final = 0.001  # seconds of a rest at least: it shows whether the loop is late


class RetryPace:
    """late: seconds that timers have been late of lately. clock, cpu: seconds, of the world and of this thread."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, cpu: Callable[[], float] = time.thread_time
    ) -> None:
        self.late = 0.0
        self._clock = clock
        self._cpu = cpu
        self._cost = _COST
        self._arrived = -_NEW_MAIL
        self._free_at = 0.0
        self._line = asyncio.Lock()
        self._stopped = asyncio.Event()

    @property
    def pressure(self) -> float:
        """From 0, where nothing new comes or the loop is in time, to 1, where it is late."""
        if not self._has_new_mail():
            return 0.0
        return min(max(self.late - _IN_TIME, 0.0) / _LATE, 1.0)

    def arrived(self) -> None:
        """Note that new mail came."""
        self._arrived = self._clock()

    def most(self, wanted: int) -> int:
        """How many of the `wanted` deliveries to take up at once."""
        return max(min(wanted, _FEWEST), round(wanted * (1 - self.pressure)))

    async def turn(self) -> None:
        """Wait until more deferred mail may be taken up; one caller after the other. Then say `took`."""
        if not self._has_new_mail():
            return
        async with self._line:
            begun = self._clock()
            wait = max(self._free_at - begun, _PROBE)
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._stopped.wait()
            now = self._clock()
            self.late += _WEIGHT * (max(now - begun - wait, 0.0) - self.late)
            self._free_at = max(self._free_at, now) + self._rest_after(1)

    def took(self, count: int) -> None:
        """Note that so many deliveries were taken up."""
        self._free_at += self._rest_after(count - 1)

    def mark(self) -> float:
        """Return the beginning of what `spent` measures."""
        return self._cpu()

    def spent(self, begun: float, count: int) -> None:
        """Note that the work on this thread since then was that of so many deliveries."""
        cost = min((self._cpu() - begun) / count, _MOST_COST)
        self._cost += _WEIGHT * (cost - self._cost)

    def stop(self) -> None:
        """Let nobody wait any more: the queue ends."""
        self._stopped.set()

    def _has_new_mail(self) -> bool:
        return self._clock() < self._arrived + _NEW_MAIL

    def _rest_after(self, count: int) -> float:
        return count * self._cost * _FOLLOWS * _OTHERS * self.pressure
