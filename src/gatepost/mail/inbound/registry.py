"""The sessions of one worker: times out slow sessions twice a second, and ends all in order on shutdown.

One sweep over all sessions costs less than a timer for each, and gives every time-out a reply instead of a bare close.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

from gatepost.protocols.smtp.server.transcript import TranscriptBudget

if TYPE_CHECKING:
    from collections.abc import Callable


SWEEP_SECONDS = 0.5


class _Session(Protocol):
    def look_over(self, now: float) -> None:
        """End the session if one of its times has passed."""

    def drain(self) -> None:
        """End the session now if no message is under way, else after it."""


class SessionRegistry:
    """Who is connected. clock: a monotonic one, in seconds. transcripts: how much memory theirs may take together."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.draining = False
        self.transcripts = TranscriptBudget()
        self._sessions: set[_Session] = set()

    def __len__(self) -> int:
        return len(self._sessions)

    def add(self, session: _Session) -> None:
        """A session began."""
        self._sessions.add(session)

    def remove(self, session: _Session) -> None:
        """A session is over."""
        self._sessions.discard(session)

    def sweep(self) -> None:
        """Look every session over; called every `SWEEP_SECONDS`."""
        now = self.clock()
        for session in tuple(self._sessions):
            session.look_over(now)

    def drain(self) -> None:
        """Let running messages end, and begin no new one."""
        self.draining = True
        for session in tuple(self._sessions):
            session.drain()
