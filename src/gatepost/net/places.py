"""Places for work of one worker, counted by key: by client, domain or organization.

`mail.inbound.recipient_lookups`, `mail.inbound.content` and `net.lookups.dns` bound with it what one of them may have
under way.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager


class Places:
    """So many places for each key; tasks wait for one in their order. Keys without any task are forgotten."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._semaphores: dict[Hashable, tuple[asyncio.Semaphore, int]] = {}

    @asynccontextmanager
    async def place(self, key: Hashable) -> AsyncIterator[None]:
        """A place, once there is one."""
        semaphore, users = self._semaphores.get(key) or (asyncio.Semaphore(self._most), 0)
        self._semaphores[key] = semaphore, users + 1
        try:
            async with semaphore:
                yield
        finally:
            semaphore, users = self._semaphores.pop(key)
            if users > 1:
                self._semaphores[key] = semaphore, users - 1

    def __len__(self) -> int:
        return len(self._semaphores)
