"""Failed log-ins of users in a table for all nodes, so that several nodes do not give several times the tries."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, MutableMapping
from typing import TYPE_CHECKING, Final

from gatepost.store.failures import LOGIN_FAILURES, FailureLists
from gatepost.store.postgres.database import PostgresDatabase

if TYPE_CHECKING:
    from gatepost.store.interface import DatabaseConnection

_NOW: Final = "SELECT CAST(extract(epoch FROM clock_timestamp()) AS DOUBLE PRECISION)"
_MOST: Final = 10_000  # in a list
_PUT: Final = (
    "INSERT INTO login_failure (list, key, count, last) VALUES (?, ?, ?, ?)"
    " ON CONFLICT (list, key) DO UPDATE SET count = excluded.count, last = excluded.last"
)


class SharedFailures:
    """Implements `store.failures.FailureCounts`. Times are the server's, whatever the clocks of the nodes say."""

    def __init__(self, url: str) -> None:
        """Raises StoreFailure."""
        self._database = PostgresDatabase(url, LOGIN_FAILURES)

    @contextlib.contextmanager
    def counting(self) -> Iterator[FailureLists]:
        """One transaction."""
        with self._database.changing() as change:
            now: float = change.value(_NOW)
            yield FailureLists(lambda: now, lambda name: _FailureTable(change, name))


class _FailureTable(MutableMapping[str, tuple[int, float]]):
    def __init__(self, change: DatabaseConnection, name: str) -> None:
        self._change = change
        self._name = name

    def __getitem__(self, key: str) -> tuple[int, float]:
        rows = self._change.rows(
            "SELECT count, last FROM login_failure WHERE list = ? AND key = ?", (self._name, _octets(key))
        )
        if not rows:
            raise KeyError(key)
        return rows[0][0], rows[0][1]

    def __setitem__(self, key: str, value: tuple[int, float]) -> None:
        self._change.execute(_PUT, (self._name, _octets(key), *value))
        if len(self) > _MOST:
            del self[next(iter(self))]

    def __delitem__(self, key: str) -> None:
        if not self._change.execute("DELETE FROM login_failure WHERE list = ? AND key = ?", (self._name, _octets(key))):
            raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        rows = self._change.rows("SELECT key FROM login_failure WHERE list = ? ORDER BY last LIMIT 100", (self._name,))
        return iter([key.decode("utf-8", "surrogatepass") for (key,) in rows])

    def __len__(self) -> int:
        count: int = self._change.value("SELECT count(*) FROM login_failure WHERE list = ?", (self._name,))
        return count


def _octets(key: str) -> bytes:
    return key.encode("utf-8", "surrogatepass")
