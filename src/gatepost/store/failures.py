"""Counts of failed log-ins of users: in the memory of one process, or in a table for all nodes of a site.

Given out by `Storage.login_failures`, used by `manage.access.login_rate_limiter`, which says what they cost.
"""

from __future__ import annotations

import contextlib
import threading
from collections import defaultdict
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from gatepost.store.interface import Schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, MutableMapping
    from contextlib import AbstractContextManager

# key: octets, for strangers choose it, and may send what is no text for PostgreSQL. last: seconds since 1970.
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

type Failures = MutableMapping[str, tuple[int, float]]
"""By key: how many, and when the last one was. Those that failed longest ago come first."""


class FailureLists(NamedTuple):
    """The lists as they are now. clock: seconds, never back; that of the times in them. of: the list of a name."""

    clock: Callable[[], float]
    of: Callable[[str], Failures]


class FailureCounts(Protocol):
    """Lists of failures, by name."""

    def counting(self) -> AbstractContextManager[FailureLists]:
        """The lists for one use, beside which there is no other. Raises StoreFailure."""


class FailuresInMemory:
    """Those of one process, for its threads. ticks: seconds that never go back."""

    def __init__(self, ticks: Callable[[], float]) -> None:
        self._ticks = ticks
        self._turn = threading.Lock()
        self._lists: defaultdict[str, Failures] = defaultdict(dict)

    @contextlib.contextmanager
    def counting(self) -> Iterator[FailureLists]:
        """Implements `FailureCounts`."""
        with self._turn:
            yield FailureLists(self._ticks, self._lists.__getitem__)
