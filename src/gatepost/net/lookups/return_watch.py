"""Notice that nameservers answer again after none did, so that what waits for them need not wait any longer.

Made by `node.lookups`, once for a worker. Only a failed question makes it ask: a resolver that works is left alone.
A resolver whose own way was cut leaves authorities alone for a while, each for itself: so what waits is tried more than
once after a return.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatepost.net.lookups.dns import Resolver


WATCH_SECONDS: Final = 10.0
"""Between two looks."""

_REST: Final = 60.0  # seconds between two returns that are told: a resolver may come and go
# Seconds after a return at which it is told again: Unbound asks an authority that was away again within two minutes
# (infra-keep-probing), or once it forgets that it was, 15 minutes after it last learnt of it (infra-host-ttl).
_AGAIN: Final = (30.0, 60.0, 120.0, 240.0, 480.0, 960.0)

_log = logging.getLogger(__name__)


class ReturnWatch:
    """name: our own, as `Resolver.trouble` wants it. clock: seconds, never going back."""

    def __init__(self, resolver: Resolver, name: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._resolver = resolver
        self._name = name
        self._clock = clock
        self._since: float | None = None  # none answered from then on
        self._rest_until = 0.0
        self._again: list[float] = []

    async def look(self, returned: Callable[[], object]) -> None:
        """Ask, if a question failed and none was answered since.

        returned: called if they answer again, and a few times in the quarter of an hour after that.
        """
        if self._since is None and not self._resolver.failing:
            self._tell_again(returned)
            return
        if await self._resolver.trouble(self._name):
            self._since = self._clock() if self._since is None else self._since
            return
        self._resolver.failing = False  # one name, or one zone, cannot be looked up: that is not ours
        now = self._clock()
        if self._since is None:
            self._tell_again(returned)
        elif now >= self._rest_until:
            _log.info("nameservers answer again, after %.0f s; what waits for them is tried now", now - self._since)
            self._since, self._rest_until = None, now + _REST
            self._again = [now + seconds for seconds in _AGAIN]
            returned()

    def _tell_again(self, returned: Callable[[], object]) -> None:
        """Tell of the last return once more, if it is time."""
        if self._again and self._again[0] <= self._clock():
            del self._again[0]
            returned()
