"""The load of a worker, as its figures, alarms and status tell it. A value without any behaviour."""

from __future__ import annotations

from typing import Final

import msgspec

LEVELS: Final = ("normal", "busy", "overloaded")
"""By how much a worker has to do, as `policy.decisions.load` decides."""
NORMAL: Final = LEVELS[0]
"""The level at which limits are as they are written."""


class WorkerLoad(msgspec.Struct, frozen=True, omit_defaults=True):
    """How much a worker has to do, and what that meant for its clients.

    level: one of `LEVELS`. share: what is left of the limits of unknown clients, 1.0 for all. reason: what led to the
    last level above normal. since: when that was entered, and last: when it was last in force, both seconds since 1970;
    0.0 for never. refused: what was refused to unknown clients between.
    """

    level: str = NORMAL
    share: float = 1.0
    reason: str = ""
    since: float = 0.0
    last: float = 0.0
    refused: int = 0

    @property
    def text(self) -> str:
        """A sentence's part about a level above normal, "" for normal."""
        if self.level == NORMAL:
            return ""
        return f"{self.level}: {self.reason}; unknown clients may do {self.share:.0%} of their limits"
