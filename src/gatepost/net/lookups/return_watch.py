"""Notice that nameservers answer again, or can be believed again, so that what waits for them need not wait longer.

Made by `node.lookups`, once for a worker. Only a failed question makes it ask: a resolver that works is left alone.
A resolver whose own way was cut leaves authorities alone for a while, each for itself: so what waits is tried more than
once after a return.

`RevocationWatch` notices that it can be learnt again whether a partner's certificate is revoked. It asks only for
chains for which mail waits (`hard-fail`), more and more seldom.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gatepost.net.lookups.dns import Resolver
    from gatepost.protocols.tls.facts import ChainVerdict, Revocation


_SOONEST: Final = 60.0  # seconds until it is asked again: an address that gave nothing usable gets no request before
_LONGEST: Final = 900.0
_PART: Final = 4  # of what it has lasted
_CHAINS: Final = 64  # that are asked for; mail for others waits for its next try
_FORGOTTEN: Final = 86400.0  # seconds after the last mail that had to wait


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
        """Ask, if a question failed and none was answered since; for the root, if DNSSEC did not prove an answer.

        returned: called if they answer again, and a few times in the quarter of an hour after that.
        """
        if self._resolver.in_doubt:
            await self._resolver.dnssec_fault()  # which tells of its end itself (`Resolver.on_forget`)
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
