"""Rate-limit log-ins and concurrent Argon2 checks.

Used by `manage.access.accounts`. Failures are counted where `store.failures` has them: for a process, or a whole site.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from gatepost.manage.access.records import LogInRefused
from gatepost.manage.access.slots import Slots
from gatepost.net.listener import source_of
from gatepost.policy.logins.passwords import NOBODYS_HASH, argon2_hash, verify
from gatepost.protocols.smtp.sasl import SaslError, saslprep
from gatepost.store.failures import login_throttles
from gatepost.store.interface import StoreFailure

if TYPE_CHECKING:
    from gatepost.store.failures import FailureCounts


_AT_A_TIME = 2  # passwords: 19 MiB and one core each
_PATIENCE = 10.0  # seconds for one's turn
_NAME = 128  # characters of a name that the throttle keeps
_PASSWORD = 2000  # characters that are looked at; none that was set is longer


class LoginAttempt(NamedTuple):
    """Key by which an attempt is counted. name: "" where the name is not counted."""

    name: str
    source: str


class LoginRateLimiter:
    """Rate limits of log-ins, for all threads of a process. failures: those that were counted."""

    def __init__(self, failures: FailureCounts) -> None:
        self._failures = failures
        self._hashing = Slots(_AT_A_TIME)

    def admit(self, name: str, address: str, *, usual: str) -> LoginAttempt:
        """An attempt begins, and counts as a failure until it is forgiven. Raises LogInRefused, StoreFailure.

        usual: the address from which the name logged in last. From there the name is not counted, so that a stranger's
        failures do not keep its owner out.
        """
        source = source_of(address)
        attempt = LoginAttempt("" if usual and source_of(usual) == source else name.lower()[:_NAME], source)
        with self._failures.counting() as lists:
            sources, names = login_throttles(lists)
            wait = max(sources.wait(source), names.wait(attempt.name) if attempt.name else 0.0)
            if not wait:
                sources.charge(source)
                if attempt.name:
                    names.charge(attempt.name)
        if wait:
            raise LogInRefused(wait)
        return attempt

    def forgive(self, attempt: LoginAttempt, *, tried: bool = True) -> None:
        """It was right; or, if it was not tried, nobody learnt anything."""
        with self._failures.counting() as lists:
            sources, names = login_throttles(lists)
            sources.forgive(attempt.source, everything=False)
            names.forgive(attempt.name, everything=tried)

    def fits(self, password: str, argon2: str | None, attempt: LoginAttempt | None = None) -> bool:
        """Whether a password fits a hash; None is of a name that nobody has, and takes as long.

        Raises LogInRefused if too many others wait: then the attempt is no failure.
        """
        try:
            prepared = saslprep(password) if len(password) <= _PASSWORD else ""
        except SaslError:
            prepared = ""
        if not self._hashing.acquire("", _PATIENCE):
            if attempt is not None:
                self.forgive(attempt, tried=False)
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
