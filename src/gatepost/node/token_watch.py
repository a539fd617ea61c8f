"""Notice that keys in a token fail, say why, and have this process use them again when the token is back.

One in each process that presents certificates, if [pkcs11] is set (`node.certificate_manager`, `node.auxiliary`). A
process that lost its sessions with a token may not get them back (seen with SoftHSM and pkcs11-provider 1.0): then
another process has to take its place, which the supervisor starts.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Final

from gatepost.net.tasks import SingleTask
from gatepost.net.token_access import TOKEN_KEYS
from gatepost.net.token_trial import handshake_problem, try_keys
from gatepost.node.lifecycle import Duty, Lifecycle

TOKEN_SECONDS: Final = 1.0
"""Between two looks whether a key failed."""

_LEAST: Final = 60.0  # between two takings up of keys that were well: a peer may have made them doubtful
_AGAIN: Final = 10.0  # while something is wrong

_log = logging.getLogger(__name__)


class TokenWatch:
    """problems: what is wrong with keys, by their URI, as of the last trial. For one event loop.

    renewed: called when the keys can be used again, by this process too: make new contexts. lost: called when they can
    be used, but not by this process: end it. keys: others to try, chains (PEM) by URI. ticks: seconds, monotonic.
    """

    def __init__(
        self,
        renewed: Callable[[], object],
        lost: Callable[[], object],
        keys: Callable[[], Mapping[str, bytes]] = dict,
        *,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._renewed = renewed
        self._lost = lost
        self._keys = keys
        self._ticks = ticks
        self._due = ticks()
        self._taken_up = ticks()
        self._trial = SingleTask("keys in tokens")
        self.problems: Mapping[str, str] = {}

    def life(self) -> Lifecycle:
        """Of a process: it looks whether keys that it uses failed."""
        return Lifecycle("keys in tokens", duties=[Duty(TOKEN_SECONDS, self.tick)], close=self.close)

    def tick(self) -> None:
        """Begin a trial if a key failed in this process."""
        if TOKEN_KEYS.in_doubt and self._ticks() >= self._due:
            self._begin()

    def check(self) -> None:
        """Begin a trial of the keys that are in use."""
        if not TOKEN_KEYS.in_doubt:
            self._begin()

    def close(self) -> None:
        """Stop what is under way."""
        self._trial.cancel()

    def _begin(self) -> None:
        keys = {**self._keys(), **TOKEN_KEYS.used}
        if keys:
            self._trial.begin(self._try, keys)

    async def _try(self, keys: Mapping[str, bytes]) -> None:
        access, used = TOKEN_KEYS.access, TOKEN_KEYS.used
        if access is None:
            return
        problems = {uri: why for uri, why in (await asyncio.to_thread(try_keys, access, keys)).items() if why}
        for uri, why in problems.items():
            if self.problems.get(uri) != why:
                _log.error("the key %s cannot be used: %s; handshakes with it fail", uri, why)
        back = [uri for uri in self.problems if uri not in problems]
        if back:
            _log.info("keys in the token can be used again: %s", ", ".join(back))
        self.problems = problems
        self._due = self._ticks() + _AGAIN
        usable = {uri: chain for uri, chain in used.items() if uri not in problems}
        if (TOKEN_KEYS.in_doubt or back) and usable:
            self._take_up(usable, at_once=bool(back))

    def _take_up(self, usable: Mapping[str, bytes], *, at_once: bool) -> None:
        """Another process could use these keys. at_once: some could not be used before; else a peer may have failed."""
        now = self._ticks()
        if not at_once and now < self._taken_up + _LEAST:
            self._due = self._taken_up + _LEAST
            return
        self._taken_up = now
        TOKEN_KEYS.in_doubt = bool(self.problems)
        wrong = [why for uri, chain in usable.items() if (why := handshake_problem(uri, chain))]
        if wrong:
            _log.warning("this process lost the token (%s) and ends, so that a new one uses it", wrong[0])
            self._lost()
        else:
            self._renewed()
