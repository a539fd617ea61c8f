"""The evidence log of one worker: appends trace events to a hash chain, on a thread of its own.

Off the commit path as the trace: an event is on disk, synced, about a second later at most. Every five minutes in which
there was something, at the end of a day and at an orderly stop the chain is signed. Called by `store.sqlite.queue`.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Final

from gatepost.store.buffer import FEW, EventBuffer
from gatepost.store.interface import StoreFailure
from gatepost.times import day_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost.store.evidence_log import ChainWriter


_log = logging.getLogger(__name__)

_INTERVAL: Final = 1.0
_BATCH: Final = 20_000  # events that are not left waiting for the interval: each batch is synced
_CHECKPOINT: Final = 300.0
_PAUSE: Final = 60.0  # between two complaints of the same, and two tries of what failed


class EvidenceWriter:
    """Buffers events and writes their entries on its thread.

    add: keeps events; for the event loop, never blocks on the disk. trouble: why they wait, "" if none do. clock:
    seconds since 1970.
    """

    def __init__(
        self,
        chain: ChainWriter,
        *,
        interval: float = _INTERVAL,
        checkpoint: float = _CHECKPOINT,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._chain = chain
        self._interval = interval
        self._checkpoint = checkpoint
        self._clock = clock
        self._buffer = EventBuffer(_BATCH)
        self.add = self._buffer.add
        self._sign_at = -checkpoint  # of `time.monotonic`: the first entries are signed at once
        self._complained = -_PAUSE
        self._day = ""
        self._end_at = -_PAUSE  # of `time.monotonic`: not before then the end of a day is tried
        self.trouble = ""
        self._thread = threading.Thread(target=self._run, name="evidence", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Write and sign what waits, and end the thread."""
        self._buffer.close()
        self._thread.join()

    # ------------------------------------------------------------------------------------------- on the thread

    def _run(self) -> None:
        while not self._buffer.closing:
            self._attempt(self._end_days)
            self._buffer.wait(self._interval)
            self._attempt(self._flush)
            if time.monotonic() >= self._sign_at:
                self._attempt(self._sign)
        self._attempt(self._flush)
        self._attempt(self._sign)
        events, dropped = self._buffer.take()
        if events or dropped:
            _log.error("evidence: %d events could not be written before the stop, and are lost", len(events) + dropped)

    def _attempt(self, step: Callable[[], None]) -> None:
        """Evidence never stops the mail: what fails is said, now and then, and tried again."""
        try:
            step()
        except StoreFailure as failure:
            self.trouble = str(failure)
            if time.monotonic() >= self._complained + _PAUSE:
                self._complained = time.monotonic()
                _log.error("%s; entries wait in memory, as far as they fit", failure)

    def _flush(self) -> None:
        events, dropped = self._buffer.take()
        if dropped:
            _log.error("evidence: %d events were dropped, the disk is behind", dropped)
        try:
            while events or dropped:
                some = events[:FEW] if self.trouble else events
                self._chain.append(some, self._clock(), dropped=dropped)
                events, dropped, self.trouble = events[len(some) :], 0, ""
        except BaseException:
            self._buffer.put_back(events, dropped)
            raise
        self.trouble = ""

    def _sign(self) -> None:
        if self._chain.unsigned:
            self._sign_at = time.monotonic() + min(self._checkpoint, _PAUSE)  # if it fails
            self._chain.checkpoint(self._clock())
            self._sign_at = time.monotonic() + self._checkpoint

    def _end_days(self) -> None:
        """Compress the files of days that are over: at the start, and when a day ends.

        Not again at once if it fails: on a full disk it takes a processor to find that out, and entries wait meanwhile.
        """
        today = day_text(self._clock())
        if today != self._day and time.monotonic() >= self._end_at:
            self._end_at = time.monotonic() + _PAUSE
            self._chain.end_day(self._clock())
            self._day, self._end_at = today, -_PAUSE
