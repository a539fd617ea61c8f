"""Notice that it can be learnt again whether a partner's certificate is revoked, so that what waits for it goes.

Made by `node.lookups`, once for a worker. It asks only for chains for which mail waits (`hard-fail`), more and more
seldom.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gatepost.protocols.tls.facts import ChainVerdict, Revocation


_SOONEST: Final = 60.0  # seconds until it is asked again: an address that gave nothing usable gets no request before
_LONGEST: Final = 900.0
_PART: Final = 4  # of what it has lasted
_CHAINS: Final = 64  # that are asked for; mail for others waits for its next try
_FORGOTTEN: Final = 86400.0  # seconds after the last mail that had to wait
_REST: Final = 60.0  # seconds between two returns that are told

_log = logging.getLogger(__name__)


class _Awaited:
    __slots__ = ("again", "chain", "noted", "since")

    def __init__(self, chain: ChainVerdict, now: float) -> None:
        self.chain = chain
        self.since = self.noted = now
        self.again = now + _SOONEST


class RevocationWatch:
    """check: whether a chain is revoked. clock: seconds, never going back."""

    def __init__(
        self, check: Callable[[ChainVerdict], Awaitable[Revocation]], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._check = check
        self._clock = clock
        self._awaited: dict[tuple[bytes, ...], _Awaited] = {}
        self._rest_until = 0.0
        self._has_returned = False

    def note(self, chain: ChainVerdict) -> None:
        """Mail waits, as nobody can tell whether this trusted chain is revoked."""
        now = self._clock()
        if (awaited := self._awaited.get(chain.path)) is not None:
            awaited.noted = now
        elif len(self._awaited) < _CHAINS:
            self._awaited[chain.path] = _Awaited(chain, now)

    def hurry(self) -> None:
        """Ask for all of them at the next look: something was repaired."""
        for awaited in self._awaited.values():
            awaited.again = 0.0

    async def look(self, returned: Callable[[], object]) -> None:
        """Ask for those whose time has come. returned: called if something was learnt of one."""
        for awaited in [candidate for candidate in self._awaited.values() if candidate.again <= self._clock()]:
            await self._ask(awaited)
        now = self._clock()
        if self._has_returned and now >= self._rest_until:
            self._has_returned, self._rest_until = False, now + _REST
            returned()

    async def _ask(self, awaited: _Awaited) -> None:
        revocation = await self._check(awaited.chain)
        now = self._clock()
        if revocation.status != "unknown":
            del self._awaited[awaited.chain.path]
            self._has_returned = True
            text = "revocation is known again, after %.0f s; what waits for it is tried now: %s"
            _log.info(text, now - awaited.since, revocation.detail)
        elif now - awaited.noted > _FORGOTTEN:
            del self._awaited[awaited.chain.path]
        else:
            awaited.again = now + min(_LONGEST, max(_SOONEST, (now - awaited.since) / _PART))
