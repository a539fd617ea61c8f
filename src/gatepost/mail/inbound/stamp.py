"""The stamp at the end of every reply, ` [HOSTNAME UTC-TIME SESSION-ID]`, to find a refusal in the trace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatepost.times import rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable


class Stamp:
    """Makes stamps for one host name. The date is formatted once a second, since every reply bears one."""

    __slots__ = ("_clock", "_head", "_prefix", "_second")

    def __init__(self, hostname: str, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._second = -1
        self._head = f" [{hostname} "
        self._prefix = ""

    def __call__(self, session_id: str) -> str:
        """The stamp for now: " [mx1.contoso.example 2026-11-24T16:12:52.123Z 1f0c…]"."""
        now = self._clock()
        second = int(now)
        if second != self._second:
            self._second = second
            self._prefix = self._head + rfc3339(second)[:-1]
        return f"{self._prefix}.{int((now - second) * 1000):03d}Z {session_id}]"
