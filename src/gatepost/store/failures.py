"""Counts of failed log-ins, and what they cost: in the memory of one process, or for several (`store.node_failures`).

Those of users, given out by `Storage.login_failures` for `manage.access.login_rate_limiter`, lie in a table for all
nodes of a site (`store.postgres.failures`).
"""

from __future__ import annotations

import contextlib
import threading
from collections import defaultdict
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from gatepost.policy.logins.throttle import FailuresInMemory, Throttle
from gatepost.store.interface import Schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from gatepost.policy.logins.throttle import Failures

# key: octets, for strangers choose it, and may send what is not text for PostgreSQL. last: seconds since 1970.
LOGIN_FAILURES: Final = Schema(
    name="login_failures",
    file="",
    application_id=0,
    version=1,
    tables="""
    CREATE TABLE login_failure (
        list   TEXT NOT NULL,
        key    BLOB NOT NULL,
        count  INTEGER NOT NULL,
        last   REAL NOT NULL,
        PRIMARY KEY (list, key)
    );
    CREATE INDEX login_failure_last ON login_failure (list, last);
    """,
)
"""On a server alone."""

LISTS: Final = ("address", "name", "usual")
"""Failures by the client's address, and by the name it tried; of SMTP, too, from where a name logged in last."""


class FailureLists(NamedTuple):
    """The lists as they are now. clock: seconds, never back; that of the times in them. of: the list of a name."""

    clock: Callable[[], float]
    of: Callable[[str], Failures]


class FailureCounts(Protocol):
    """Lists of failures, by name."""

    def counting(self) -> AbstractContextManager[FailureLists]:
        """The lists for one use, beside which there is no other. Raises StoreFailure."""


def login_throttles(lists: FailureLists, *, free: int = 5) -> tuple[Throttle, Throttle]:
    """Those of addresses and of names. free: failures from an address that cost nothing, with attempts under way.

    The longer wait is for the address: who knows a name must not be able to lock its owner out for long.
    """
    return (
        Throttle(lists.clock, free=free, longest=900.0, failures=lists.of("address")),
        Throttle(lists.clock, free=20, longest=60.0, failures=lists.of("name")),
    )


class ProcessFailures:
    """Those of one process, for its threads. ticks: seconds that never go back."""

    def __init__(self, ticks: Callable[[], float]) -> None:
        self._ticks = ticks
        self._turn = threading.Lock()
        self._lists: defaultdict[str, Failures] = defaultdict(FailuresInMemory)

    @contextlib.contextmanager
    def counting(self) -> Iterator[FailureLists]:
        """Implements `FailureCounts`."""
        with self._turn:
            yield FailureLists(self._ticks, self._lists.__getitem__)
