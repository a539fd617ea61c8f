"""Rate-limit log-ins and concurrent Argon2 checks.

Used by `manage.access.accounts`. What it counts is in the memory of one process, and bounded.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, NamedTuple

from gatepost.manage.access.records import LogInRefused
from gatepost.manage.access.slots import Slots
from gatepost.net.listener import source_of
from gatepost.policy.logins.passwords import NOBODYS_HASH, argon2_hash, verify
from gatepost.policy.logins.throttle import Throttle
from gatepost.protocols.smtp.sasl import SaslError, saslprep
from gatepost.store.interface import StoreFailure

if TYPE_CHECKING:
    from collections.abc import Callable


_AT_A_TIME = 2  # passwords: 19 MiB and one core each
_PATIENCE = 10.0  # seconds for one's turn
_NAME = 128  # characters of a name that the throttle keeps
_PASSWORD = 2000  # characters that are looked at; none that was set is longer


class LoginAttempt(NamedTuple):
    """Key by which an attempt is counted. name: "" where the name is not counted."""

    name: str
    source: str


class LoginRateLimiter:
    """Rate limits of log-ins, for all threads of a process. ticks: seconds that never go back."""

    def __init__(self, ticks: Callable[[], float]) -> None:
        self._counting = threading.Lock()
        self._hashing = Slots(_AT_A_TIME)
        self._sources = Throttle(ticks, free=5, longest=900.0)
        # The longer wait is for the address: who knows a name must not be able to lock its owner out for long.
        self._names = Throttle(ticks, free=20, longest=60.0)

    def admit(self, name: str, address: str, *, usual: str) -> LoginAttempt:
        """An attempt begins, and counts as a failure until it is forgiven. Raises LogInRefused with the wait.

        usual: the address from which the name logged in last. From there the name is not counted, so that a stranger's
        failures do not keep its owner out.
        """
        source = source_of(address)
        attempt = LoginAttempt("" if usual and source_of(usual) == source else name.lower()[:_NAME], source)
        with self._counting:
            wait = max(self._sources.wait(source), self._names.wait(attempt.name) if attempt.name else 0.0)
            if wait:
                raise LogInRefused(wait)
            self._sources.charge(source)
            if attempt.name:
                self._names.charge(attempt.name)
        return attempt

    def forgive(self, attempt: LoginAttempt) -> None:
        """It was right."""
        with self._counting:
            self._sources.forgive(attempt.source, everything=False)
            self._names.forgive(attempt.name, everything=True)

    def fits(self, password: str, argon2: str | None) -> bool:
        """Whether a password fits a hash; None is of a name that nobody has, and takes as long.

        Raises LogInRefused if too many others wait.
        """
        try:
            prepared = saslprep(password) if len(password) <= _PASSWORD else ""
        except SaslError:
            prepared = ""
        if not self._hashing.acquire("", _PATIENCE):
            raise LogInRefused(_PATIENCE)
        try:
            return verify(prepared, argon2 or NOBODYS_HASH)
        finally:
            self._hashing.release("")

    def hashed(self, prepared: str) -> str:
        """The hash of a new password. Raises StoreFailure if too many others wait."""
        if not self._hashing.acquire("", _PATIENCE):
            raise StoreFailure("too many passwords are being worked at; try again")
        try:
            return argon2_hash(prepared, os.urandom(16))
        finally:
            self._hashing.release("")
