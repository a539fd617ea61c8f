"""Notice that the wall clock was put ahead, and let nothing expire by it for a day.

Made by `node.site_member`, asked by the queue before mail is returned for its age, and before mail in quarantine is
deleted for it. What is kept in the store lets a restart neither end the day nor miss that the clock was put ahead.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Final

import msgspec

from gatepost.decoding import from_json
from gatepost.net.tasks import SingleTask
from gatepost.store.interface import StoreFailure
from gatepost.times import second_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost.store.changes import ConfigStore


CLOCK_CONTENT: Final = "clock"
"""Where the store keeps what was seen of the clock."""

CLOCK_SECONDS: Final = 600.0
"""Between two notes of the time in the store."""

BRAKE_SECONDS: Final = 86_400.0
"""For which nothing expires after the clock was put ahead; an administrator can put it right meanwhile."""

_JUMP: Final = 600.0  # seconds ahead of what passed, below which it is no jump; time is slewed without any
_OFF: Final = 86_400.0  # seconds for which a gateway may have been off without anything being said

_BOOT: Final = 3600.0  # seconds after the machine started within which its clock is put right

_log = logging.getLogger(__name__)


class _Seen(msgspec.Struct, frozen=True):
    """time: by the wall clock, when it was last noted. until: the end of the brake, 0 without one. ahead: its cause."""

    time: float
    until: float = 0.0
    ahead: float = 0.0


def _boot_clock() -> float:
    """Seconds that no setting of the clock changes, and that pass while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class ExpiryClock:
    """Made of what `note` stored last, None if nothing.

    clock: seconds since 1970. passed: seconds since the machine started, which never jump.
    """

    def __init__(
        self,
        kept: bytes | None = None,
        *,
        clock: Callable[[], float] = time.time,
        passed: Callable[[], float] = _boot_clock,
    ) -> None:
        self._clock = clock
        self._passed = passed
        self._until: float | None = None  # by `passed`
        self._noting = SingleTask("clock")
        now = clock()
        seen = _read(kept)
        self._known = seen.time - seen.ahead  # a time that has been
        ahead = seen.ahead if now < seen.until else now - seen.time if seen.time and now > seen.time + _OFF else 0.0
        if now < seen.time - _JUMP:  # what was seen was the wrong time
            ahead = 0.0
        self._right = now - ahead - passed()  # what the wall clock should be ahead of `passed`
        if ahead:
            left = seen.until - now if now < seen.until else BRAKE_SECONDS
            self._brake(ahead, min(left, BRAKE_SECONDS))

    @property
    def ahead(self) -> float:
        """Seconds that the clock is ahead of what passed, while nothing expires by it; else 0."""
        ahead = self._clock() - self._passed() - self._right
        if self._until is None:
            if ahead > _JUMP and not self._is_put_right():
                self._brake(ahead, BRAKE_SECONDS)
            elif abs(ahead) > _JUMP:
                self._right += ahead
        elif ahead <= _JUMP:
            self._until = None
            _log.warning("the clock was put back: what is old expires again")
        elif self._passed() >= self._until:
            self._until, self._right = None, self._right + ahead
            _log.warning("the clock was not put back for a day: what is old expires by it")
        return 0.0 if self._until is None else ahead

    def _is_put_right(self) -> bool:
        """Whether this is what follows a start of the machine: without a battery its clock begins too early."""
        return self._passed() < _BOOT and self._clock() <= self._known + _OFF

    def is_trusted(self) -> bool:
        """Whether what is old by the wall clock may expire."""
        return not self.ahead

    def note(self, resources: ConfigStore) -> None:
        """Begin to store what is seen of the clock now."""
        self._noting.begin(asyncio.to_thread, self._store, resources)

    async def close(self) -> None:
        """Wait for what is being stored."""
        await self._noting.ended()

    def _store(self, resources: ConfigStore) -> None:
        ahead, now = self.ahead, self._clock()
        until = self._until
        if until is None and self._passed() < _BOOT:
            now = max(now, self._known)  # for who starts before the clock is right
        seen = _Seen(now) if until is None else _Seen(now, now + until - self._passed(), ahead)
        try:
            resources.keep_apart({CLOCK_CONTENT: msgspec.json.encode(seen)})
        except StoreFailure as failure:
            _log.warning("what is seen of the clock is not stored: %s", failure)

    def _brake(self, ahead: float, seconds: float) -> None:
        self._until = self._passed() + seconds
        right = second_text(self._clock() - ahead)
        _log.error(
            "the clock is %.0f s ahead: it should be about %s. Nothing expires for %.0f s, unless it is put back",
            ahead,
            right,
            seconds,
        )


def _read(kept: bytes | None) -> _Seen:
    try:
        return from_json(kept, _Seen) if kept else _Seen(0.0)
    except msgspec.MsgspecError:
        return _Seen(0.0)
