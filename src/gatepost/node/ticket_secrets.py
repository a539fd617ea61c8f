"""The secrets for session tickets of today and tomorrow, in memory that all workers of a node share.

Made by `manage.cli.serve` before it forks. One worker of the node (`node.assembly`) fetches tomorrow's a day before,
and all of them, and all nodes, change to it at midnight UTC. There are two at any time; a third is never kept.
"""

from __future__ import annotations

import asyncio
import logging
import mmap
import struct
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from gatepost.net.tasks import SingleTask
from gatepost.net.tickets import DAY, SECRET_OCTETS
from gatepost.node.lifecycle import Duty, Lifecycle
from gatepost.pki.certificates.vault import VaultError
from gatepost.store.interface import StoreFailure

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost.store.leases import Lease
    from gatepost.store.ticket_secrets import TicketSecrets


ROTATION_SECONDS: Final = 300.0
"""Between two looks whether there is one to fetch."""

_KEPT: Final = 2
_NO_DAY: Final = -(2**63)
_DAY = struct.Struct("=q")
_SIZE: Final = _DAY.size + SECRET_OCTETS

_log = logging.getLogger(__name__)


class SharedSecrets:
    """Written by one process at a time, and read by all that were forked from the one that made it."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _KEPT * _SIZE)
        with suppress(OSError):  # not every system knows it
            self._memory.madvise(mmap.MADV_DONTDUMP)
        for place in range(0, _KEPT * _SIZE, _SIZE):
            _DAY.pack_into(self._memory, place, _NO_DAY)

    def secret(self, day: int) -> bytes | None:
        """Implements `net.tickets.DailySecrets`."""
        place = day % _KEPT * _SIZE
        before, content = _DAY.unpack_from(self._memory, place)[0], self._memory[place + _DAY.size : place + _SIZE]
        return content if before == day == _DAY.unpack_from(self._memory, place)[0] else None

    def close(self) -> None:
        """Let go of the memory, in a process that has no use for the secrets."""
        self._memory.close()

    def keep(self, day: int, secret: bytes) -> None:
        """Keep the secret of a day in the place of an earlier one."""
        place = day % _KEPT * _SIZE
        _DAY.pack_into(self._memory, place, _NO_DAY)
        self._memory[place + _DAY.size : place + _SIZE] = secret
        _DAY.pack_into(self._memory, place, day)


class SecretRotation:
    """Keeps the secrets of today and tomorrow there. source: where they come from. clock: seconds since 1970."""

    def __init__(self, shared: SharedSecrets, source: TicketSecrets, clock: Callable[[], float] = time.time) -> None:
        self._shared = shared
        self._source = source
        self._clock = clock
        self._failed = False
        self._looking = SingleTask("secrets of session tickets")

    def part(self, lease: Lease) -> Lifecycle:
        """Its life in a worker. lease: of what one worker does for its node."""
        duty = Duty(ROTATION_SECONDS, self.tick, at_once=True)
        return Lifecycle("secrets of session tickets", duties=[duty], lease=lease)

    def tick(self) -> None:
        """Look on a thread, if that is not under way."""
        if self._is_due():
            self._looking.begin(asyncio.to_thread, self.look)

    def look(self) -> None:
        """Fetch what is not there. Blocks. What fails is said once and tried again."""
        try:
            for day in self._days():
                if self._shared.secret(day) is None:
                    self._shared.keep(day, self._source.secret(day))
        except (StoreFailure, VaultError) as failure:
            if not self._failed:
                _log.warning("TLS sessions are not resumed by other workers and nodes for now: %s", failure)
            self._failed = True
        else:
            self._failed = False

    def _is_due(self) -> bool:
        return any(self._shared.secret(day) is None for day in self._days())

    def _days(self) -> tuple[int, int]:
        today = int(self._clock()) // DAY
        return today, today + 1
