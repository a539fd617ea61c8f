"""Counts of TLS sessions by result and UTC day; with SQLite a file a day, `sessions/YYYY-MM-DD.db` in data_dir.

Written by `mail.outbound.sessions` of every worker: each adds its counts to the rows that are there, in one
transaction; SQLite's locks keep them apart. Where nodes share the store they are in `store.session_tables`. Read by
`analysis.reports.tlsrpt`, on a running gateway as on a stopped one. Blocks: call it on a thread from an event loop.
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Protocol

import apsw
import msgspec

from gatepost.decoding import from_json
from gatepost.protocols.tlsrpt.result import ResultType
from gatepost.protocols.tlsrpt.tally import AppliedPolicy, Count, FailureDetail, PolicyType
from gatepost.store.interface import StoreFailure, failing
from gatepost.store.sqlite.schema import StoreSettings, make_directory, open_database, open_for_reading

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path


SESSIONS_DIRECTORY = "sessions"

MOST_FAILURES = 100
"""Distinct failures of one policy domain and day; further ones are counted by their result alone."""

MOST_POLICIES = 20
"""Distinct policies of one policy domain and day; further ones are counted without their content."""

_MOST_PAGES = 65_536  # of a day's file, 256 MiB: beyond it only what is there already is counted

_FILE = re.compile(r"(\d{4}-\d\d-\d\d)\.db", re.ASCII)
_SETTINGS = StoreSettings(page_size=4096, checkpoint_pages=1000)
_NOT_THERE = "no such table"

_TABLES = """
CREATE TABLE IF NOT EXISTS policy (
    id       INTEGER PRIMARY KEY,
    domain   TEXT NOT NULL,
    type     TEXT NOT NULL,
    owner    TEXT NOT NULL,
    strings  TEXT NOT NULL,
    mx_hosts TEXT NOT NULL,
    passed   INTEGER NOT NULL DEFAULT 0,
    UNIQUE (domain, type, owner, strings, mx_hosts)
);
CREATE TABLE IF NOT EXISTS failure (
    policy          INTEGER NOT NULL,
    result          TEXT NOT NULL,
    mx_host         TEXT NOT NULL,
    address         TEXT NOT NULL,
    helo            TEXT NOT NULL,
    sending_address TEXT NOT NULL,
    reason          TEXT NOT NULL,
    sessions        INTEGER NOT NULL,
    PRIMARY KEY (policy, result, mx_host, address, helo, sending_address, reason)
) WITHOUT ROWID;
"""
_SAME_POLICY = "domain = ? AND type = ? AND owner = ? AND strings = ? AND mx_hosts = ?"
_SAME_FAILURE = (
    "policy = ? AND result = ? AND mx_host = ? AND address = ? AND helo = ? AND sending_address = ? AND reason = ?"
)
_READ = """
SELECT domain, type, owner, strings, mx_hosts, passed, result, mx_host, address, helo, sending_address, reason, sessions
FROM policy LEFT JOIN failure ON failure.policy = policy.id {where}
ORDER BY domain, type DESC, id, result, mx_host, address
"""


class SessionCounts(Protocol):
    """The counts of a site. Every method raises StoreFailure, `prune` OSError, too."""

    def write(self, day: str, counts: Iterable[Count]) -> int:
        """Add the counts of one day, all or none; returns how many results found no room."""

    def read(self, day: str, domain: str = "") -> list[Count]:
        """The counts of a day, those of one policy domain together; of one domain (A-labels) if it is given."""

    def days(self) -> list[str]:
        """The days of which there are counts, oldest first."""

    def domains(self, day: str) -> Iterator[str]:
        """The policy domains of a day by name, A-labels."""

    def prune(self, before: str) -> list[str]:
        """Forget the days before a day ("2026-11-10"); returns those removed."""


class SessionFiles:
    """Implements `SessionCounts` with a file a day in a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def write(self, day: str, counts: Iterable[Count]) -> int:
        """Add the counts of one day to its file, all or none; returns how many results found no room."""
        path = self._file(day)
        with failing(path, apsw.Error, OSError):
            make_directory(self._directory)
            with contextlib.closing(open_database(path, _SETTINGS, synchronous="NORMAL")) as connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute(_TABLES)
                left_out = sum(_add(connection, count) for count in counts)
                connection.execute("COMMIT")
                return left_out

    def read(self, day: str, domain: str = "") -> list[Count]:
        """The counts of a day, those of one policy domain together; [] if there are none.

        domain: only of this one, A-labels; "" is all.
        """
        path = self._file(day)
        where, values = ("WHERE domain = ?", (domain,)) if domain else ("", ())
        try:
            if not path.exists():
                return []
            with contextlib.closing(open_for_reading(path)) as connection:
                rows = connection.execute(_READ.format(where=where), values).fetchall()
        except (apsw.Error, OSError) as error:
            if _NOT_THERE in str(error):
                return []  # made this moment
            raise StoreFailure(f"{path}: {error}") from error
        return counts_of(day, rows)

    def days(self) -> list[str]:
        """The days that have a file, oldest first."""
        names = (_FILE.fullmatch(path.name) for path in self._directory.glob("*.db"))
        return sorted(name[1] for name in names if name)

    def domains(self, day: str) -> Iterator[str]:
        """The policy domains of a day by name, A-labels."""
        path = self._file(day)
        try:
            with contextlib.closing(open_for_reading(path)) as connection:
                for (domain,) in connection.execute("SELECT DISTINCT domain FROM policy ORDER BY domain"):
                    yield str(domain)
        except apsw.Error as error:
            if _NOT_THERE not in str(error):
                raise StoreFailure(f"{path}: {error}") from error

    def prune(self, before: str) -> list[str]:
        """Forget the days before a day ("2026-11-10"); returns those removed. Raises OSError."""
        gone = [day for day in self.days() if day < before]
        for day in gone:
            for suffix in ("", "-wal", "-shm"):
                self._directory.joinpath(f"{day}.db{suffix}").unlink(missing_ok=True)
        return gone

    def _file(self, day: str) -> Path:
        return self._directory / f"{day}.db"


def _add(connection: apsw.Connection, count: Count) -> int:
    """One count; returns its sessions if there is no room for it."""
    policy = _policy(connection, count.domain, count.policy)
    if policy is None:
        return count.sessions
    if count.failure is None:
        connection.execute("UPDATE policy SET passed = passed + ? WHERE id = ?", (count.sessions, policy))
        return 0
    return _add_failure(connection, policy, count.failure, count)


def _policy(connection: apsw.Connection, domain: str, policy: AppliedPolicy) -> int | None:
    """The row of a policy, made if there is room; else that of its bare form; None if the file is full."""
    bare = policy == policy.bare
    values = (domain, policy.type, policy.domain, encoded(policy.strings), encoded(policy.mx_hosts))
    policy_id = connection.execute(f"SELECT id FROM policy WHERE {_SAME_POLICY}", values).get  # noqa: S608 - ours
    if policy_id is not None:
        return int(policy_id)
    if not bare and _known(connection, domain) >= MOST_POLICIES:
        return _policy(connection, domain, policy.bare)
    if _full(connection):
        return None
    connection.execute("INSERT INTO policy (domain, type, owner, strings, mx_hosts) VALUES (?, ?, ?, ?, ?)", values)
    return connection.last_insert_rowid()


def _known(connection: apsw.Connection, domain: str) -> int:
    return int(connection.execute("SELECT count(*) FROM policy WHERE domain = ?", (domain,)).get)


def _full(connection: apsw.Connection) -> bool:
    return int(connection.execute("PRAGMA page_count").get) >= _MOST_PAGES


def _add_failure(connection: apsw.Connection, policy: int, failure: FailureDetail, count: Count) -> int:
    values = (policy, *failure_columns(failure))
    connection.execute(
        f"UPDATE failure SET sessions = sessions + ? WHERE {_SAME_FAILURE}",  # noqa: S608 - ours
        (count.sessions, *values),
    )
    if connection.changes():
        return 0
    if failure != failure.bare and _failures(connection, count.domain) >= MOST_FAILURES:
        return _add_failure(connection, policy, failure.bare, count)
    if _full(connection):
        return count.sessions
    connection.execute("INSERT INTO failure VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (*values, count.sessions))
    return 0


def _failures(connection: apsw.Connection, domain: str) -> int:
    counted = "SELECT count(*) FROM policy JOIN failure ON failure.policy = policy.id WHERE domain = ?"
    return int(connection.execute(counted, (domain,)).get)


def failure_columns(failure: FailureDetail) -> tuple[str, str, str, str, str, str]:
    """The columns that distinguish a failure."""
    return (
        failure.result,
        failure.mx_host,
        failure.address,
        failure.helo,
        failure.sending_address,
        failure.reason,
    )


def encoded(texts: Sequence[str]) -> str:
    """Texts as a column has them."""
    return msgspec.json.encode(texts).decode()


def counts_of(day: str, rows: Sequence[tuple[object, ...]]) -> list[Count]:
    """The counts in rows of policies, each with one of its failures or none."""
    counts: dict[Count, None] = {}  # a policy with several failures comes in several rows
    for domain, type_, owner, strings, mx_hosts, passed, *failure in rows:
        policy = AppliedPolicy(PolicyType(str(type_)), str(owner), _decoded(strings), _decoded(mx_hosts))
        if passed:
            counts[Count(day, str(domain), policy, None, int(str(passed)))] = None
        *columns, sessions = failure
        if sessions is not None:
            result, *known = map(str, columns)
            counts[Count(day, str(domain), policy, FailureDetail(ResultType(result), *known), int(str(sessions)))] = (
                None
            )
    return list(counts)


def _decoded(texts: object) -> tuple[str, ...]:
    return from_json(str(texts), tuple[str, ...])
