"""The state of the queue in PostgreSQL: usable, away, full or slow, and why. Kept by `store.postgres.flusher`.

Away: nothing can be written, and no delivery is begun. Full: mail that arrives finds no room, and deliveries go on, as
they make some. Slow: a commit has run for so long that nothing more is accepted. Does no I/O but for the log.
"""

from __future__ import annotations

import logging
import time
from typing import Final

from gatepost.store.interface import StoreBusy, StoreFailure, StoreFull

_log = logging.getLogger(__name__)

_SLOW: Final = 5.0  # seconds without an answer after which mail is not accepted any more
_FULL: Final = 2.0  # seconds for which mail is refused before it is tried whether there is room again
_COMPLAINT: Final = 60.0  # between two log lines of the same


class Availability:
    """away: why the server cannot be used. final: why nothing can be done for the rest of the process."""

    def __init__(self) -> None:
        self.away: StoreBusy | None = None
        self.final: StoreFailure | None = None
        self._full: StoreFull | None = None
        self._full_until = 0.0
        self._begun = 0.0  # the statement that runs
        self._complained = -_COMPLAINT

    @property
    def failure(self) -> StoreFailure | None:
        """The reason for which nothing is accepted now."""
        return self._stopped or (self._full if time.monotonic() < self._full_until else None)

    @property
    def works(self) -> bool:
        """Whether commits are made. A disk that is full stops what arrives alone."""
        return self._stopped is None

    @property
    def _stopped(self) -> StoreFailure | None:
        if self.final is not None or self.away is not None:
            return self.final or self.away
        if self._begun and time.monotonic() - self._begun > _SLOW:
            return StoreBusy("PostgreSQL does not answer", summary="PostgreSQL does not answer in time")
        return None

    def begin(self) -> None:
        """A statement begins."""
        self._begun = time.monotonic()

    def end(self) -> None:
        """It ended, well or not."""
        self._begun = 0.0

    def note_away(self, failure: StoreBusy) -> None:
        """The server cannot be used."""
        if self.away is None:
            self._complain("the queue cannot be written; no mail is accepted and none is tried until it can", failure)
        self.away = failure

    def note_back(self) -> None:
        """The server can be used."""
        self.away = None
        _log.info("the queue can be written again")

    def note_full(self, failure: StoreFull) -> None:
        """A message found no room."""
        if self._full is None:
            self._complain("the queue has no room; no mail is accepted until it has", failure)
        self._full, self._full_until = failure, time.monotonic() + _FULL

    def note_room(self) -> None:
        """A message found room."""
        if self._full is not None:
            self._full, self._full_until = None, 0.0
            _log.info("the queue has room again")

    def _complain(self, text: str, failure: StoreFailure) -> None:
        if time.monotonic() >= self._complained + _COMPLAINT:
            self._complained = time.monotonic()
            _log.error("%s: %s", text, failure)
