"""The retry schedule: when a delivery is tried again, its sender hears of a delay, and it expires. Pure.

Defaults are those of Exchange Online after a failed DANE check: 15 min, 15 min, then hourly for 24 h; a delay notice
after 4 h is Exchange Server's (exchange.md section 7.2).
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from gatepost.store.suspension import SPREAD

_FIRST_GATE = 10.0


class Schedule(msgspec.Struct, frozen=True):
    """All in seconds.

    retry: waits between attempts, the last repeats. delay_notice: age at which senders get a notice, 0 for never.
    expiration: age at which a delivery is given up that says nothing of its own. is_trusted: whether ages are real;
    else nothing is given up for its age, and no sender hears of a delay.
    """

    retry: tuple[float, ...] = (900.0, 900.0, 3600.0)
    delay_notice: float = 14400.0
    expiration: float = 86400.0
    is_trusted: Callable[[], bool] = lambda: True

    def next_attempt(self, attempts: int, now: float, expires_at: float, jitter: float) -> float:
        """The time of the next attempt after `attempts` attempts (at least 1).

        jitter: 0 to 1, spreads the wait by 10 % either way so that mail deferred together does not return together. The
        last attempt is at expiry, never after it.
        """
        wait = self.retry[min(attempts, len(self.retry)) - 1]
        return min(now + wait * (1 + SPREAD * (2 * jitter - 1)), max(expires_at, now))

    @property
    def longest(self) -> float:
        """The longest wait for a next attempt, in seconds, but for mail that waits for an administrator."""
        return max(self.retry) * (1 + SPREAD)

    def look_again(self, received: float, now: float, expires_at: float) -> float:
        """The time of the next attempt of mail that waits for an administrator: at its delay notice or its expiry."""
        notice = received + self.delay_notice
        return min(notice, max(expires_at, now)) if self.delay_notice and notice > now else max(expires_at, now)

    def unnoticed_after(self, now: float) -> float:
        """The time after which a message was received that is due no delay notice; 0 where none is ever due."""
        return now - self.delay_notice if self.delay_notice and self.is_trusted() else 0.0

    def expires_at(self, received: float, own: float, now: float) -> float:
        """The time at which a delivery expires, after another attempt where `now` is not to be trusted.

        own: its own limit in seconds since 1970, 0 if it has none.
        """
        expires_at = own or received + self.expiration
        return expires_at if expires_at > now or self.is_trusted() else now + self.longest

    def gate(self, failures: int) -> float:
        """Seconds of back-off for a destination after `failures` attempts in a row that no host answered (1 or more).

        It doubles each time and ends at the first retry wait: fresh mail finds a destination that is back soon enough.
        """
        return min(_FIRST_GATE * (1 << min(failures, 20) - 1), self.retry[0])

    def delay_due(self, received: float, now: float) -> bool:
        """Whether a delay notice is due."""
        return bool(self.delay_notice) and now - received >= self.delay_notice and self.is_trusted()
