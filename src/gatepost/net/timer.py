"""One idle timer a connection, re-armed lazily: activity costs a subtraction, not a timer of the loop.

Owned by `net.connection`, and by `mail.outbound.connection` for the steps of a session. The loop's timer fires at the
time first asked for and is armed again for the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable


class IdleTimer:
    """Calls `expired` once when `period` seconds pass without `touch`. Times are the loop's, in seconds."""

    __slots__ = ("_deadline", "_expired", "_handle", "_loop", "_period", "_standing")

    def __init__(self, loop: asyncio.AbstractEventLoop, expired: Callable[[], None]) -> None:
        self._loop = loop
        self._expired: Callable[[], None] | None = expired
        self._period = 0.0
        self._deadline = 0.0
        self._standing = False
        self._handle: asyncio.TimerHandle | None = None

    def start(self, seconds: float) -> None:
        """Begin a new period; 0 or less stops the clock."""
        self._period = max(seconds, 0.0)
        self.touch()
        if not self._period:
            return
        if self._handle is not None:
            if self._handle.when() <= self._deadline:
                return
            self._handle.cancel()
        self._arm()

    def touch(self) -> None:
        """A sign of life: the period begins anew."""
        if self._period:
            self._deadline = self._loop.time() + self._period

    def stand(self) -> None:
        """Let the clock stand still until `go`: it is we who keep the peer waiting."""
        self._standing = True

    def go(self) -> None:
        """Let it run again, from the start of the period."""
        self._standing = False
        self.start(self._period)

    def end(self) -> None:
        """Never call `expired` again."""
        self._period = 0.0
        self._expired = None
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _arm(self) -> None:
        self._handle = self._loop.call_at(self._deadline, self._tick)

    def _tick(self) -> None:
        self._handle = None
        if not self._period or self._standing or self._expired is None:
            return
        if self._loop.time() < self._deadline:
            self._arm()
        else:
            self._period = 0.0
            self._expired()
