"""Counts of TLS sessions by result and UTC day, for TLS reports: one a day for the whole site.

Written by `mail.outbound.sessions` of every worker, read by `analysis.reports.tlsrpt`, on a running gateway as on a
stopped one. What is kept of a policy domain and day is bounded. A batch is read against what is there, then written in
two statements, so that many workers wait little for each other. What tells policies and failures apart may be long, so
their keys are digests. Blocks: call it on a thread from an event loop.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import batched
from typing import Final

import msgspec

from gatepost.decoding import from_json
from gatepost.protocols.tlsrpt.result import ResultType
from gatepost.protocols.tlsrpt.tally import AppliedPolicy, Count, FailureDetail, PolicyType
from gatepost.store.interface import Database, DatabaseConnection, Schema, StoredTables

MOST_FAILURES: Final = 100
"""Distinct failures of one policy domain and day; further ones are counted by their result alone."""
MOST_POLICIES: Final = 20
"""Distinct policies of one policy domain and day; further ones are counted without their content."""
MOST_OCTETS: Final = 2 << 30
"""Room that all days may take, beyond which only what is there already is counted."""

_AT_ONCE: Final = 500  # domains in a statement
_MEASURED: Final = 600.0  # seconds until the rows of large tables are measured again
_SIZES: Final = tuple(
    f"SELECT COALESCE(sum(100 + 2 * octet_length({keys}) + octet_length({texts})), 0) FROM {table}"  # noqa: S608 - ours
    for table, keys, texts in (
        ("session_policy", "day || domain || digest", "strings || mx_hosts"),
        (
            "session_failure",
            "day || domain || policy || digest",
            "mx_host || address || helo || sending_address || reason",
        ),
    )
)

SESSIONS: Final = Schema(
    name="session_counts",
    file="session-counts.db",
    application_id=0x67707363,  # "gpsc"
    version=1,
    tables="""
    CREATE TABLE session_day (day TEXT PRIMARY KEY) WITHOUT ROWID;
    CREATE TABLE session_policy (
        day      TEXT NOT NULL,
        domain   TEXT NOT NULL,
        digest   TEXT NOT NULL,
        type     TEXT NOT NULL,
        owner    TEXT NOT NULL,
        strings  TEXT NOT NULL,
        mx_hosts TEXT NOT NULL,
        passed   INTEGER NOT NULL,
        PRIMARY KEY (day, domain, digest)
    ) WITHOUT ROWID;
    CREATE TABLE session_failure (
        day             TEXT NOT NULL,
        domain          TEXT NOT NULL,
        policy          TEXT NOT NULL,
        digest          TEXT NOT NULL,
        result          TEXT NOT NULL,
        mx_host         TEXT NOT NULL,
        address         TEXT NOT NULL,
        helo            TEXT NOT NULL,
        sending_address TEXT NOT NULL,
        reason          TEXT NOT NULL,
        sessions        INTEGER NOT NULL,
        PRIMARY KEY (day, domain, policy, digest)
    ) WITHOUT ROWID;
    """,
)
_DAY = "INSERT INTO session_day (day) VALUES (?) ON CONFLICT DO NOTHING"
_POLICY = (
    "INSERT INTO session_policy VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (day, domain, digest) DO UPDATE SET passed = session_policy.passed + excluded.passed"
)
_FAILURE = (
    "INSERT INTO session_failure VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (day, domain, policy, digest) DO UPDATE SET sessions = session_failure.sessions + excluded.sessions"
)
_READ = """
SELECT p.domain, type, owner, strings, mx_hosts, passed, result, mx_host, address, helo, sending_address, reason,
sessions FROM session_policy AS p LEFT JOIN session_failure AS f
ON f.day = p.day AND f.domain = p.domain AND f.policy = p.digest
WHERE p.day = ?1 AND (?2 = '' OR p.domain = ?2)
ORDER BY p.domain, type DESC, p.digest, result, mx_host, address
"""


class SessionCounts(StoredTables):
    """The counts of a site. Every method raises StoreFailure."""

    def __init__(self, opened: Callable[[], Database]) -> None:
        """opened: opens the database, at the first use."""
        super().__init__(opened)
        self._has_room = True  # as the rows were measured last
        self._measure_at = time.monotonic()

    def write(self, day: str, counts: Iterable[Count]) -> int:
        """Add the counts of one day, all or none; returns how many results found no room."""
        batch = _Batch(day, list(counts))
        with self._database.changing() as change:
            batch.is_full = self._is_full(change)
            change.execute(_DAY, (day,))
            batch.read(change)
            return batch.write(change)

    def _is_full(self, connection: DatabaseConnection) -> bool:
        """Whether all room is taken. Tables stay as large as they were, so there the rows themselves are measured."""
        if connection.octets() < MOST_OCTETS:
            return False
        if (now := time.monotonic()) >= self._measure_at:
            self._has_room = sum(connection.value(size, ()) for size in _SIZES) < MOST_OCTETS
            self._measure_at = now + _MEASURED
        return not self._has_room

    def read(self, day: str, domain: str = "") -> list[Count]:
        """The counts of a day, those of one policy domain together; of one domain (A-labels) if it is given."""
        with self._database.reading() as connection:
            return counts_of(day, connection.rows(_READ, (day, domain)))

    def days(self) -> list[str]:
        """The days of which there are counts, oldest first."""
        with self._database.reading() as connection:
            return [str(day) for (day,) in connection.rows("SELECT day FROM session_day ORDER BY day")]

    def domains(self, day: str) -> Iterator[str]:
        """The policy domains of a day by name, A-labels."""
        with self._database.reading() as connection:
            rows = connection.rows("SELECT DISTINCT domain FROM session_policy WHERE day = ? ORDER BY domain", (day,))
        return (str(domain) for (domain,) in rows)

    def prune(self, before: str) -> list[str]:
        """Forget the days before a day ("2026-11-10"); returns those removed."""
        with self._database.changing() as change:
            gone = [
                str(day) for (day,) in change.rows("DELETE FROM session_day WHERE day < ? RETURNING day", (before,))
            ]
            if gone:  # else another worker was quicker
                change.execute("DELETE FROM session_failure WHERE day < ?", (before,))
                change.execute("DELETE FROM session_policy WHERE day < ?", (before,))
                self._measure_at = time.monotonic()
        return gone


class _Batch:
    """The counts of a batch, and what is known of their domains already. is_full: whether nothing new is kept."""

    def __init__(self, day: str, counts: list[Count]) -> None:
        self._day = day
        self._counts = counts
        self._policies: dict[str, set[str]] = defaultdict(set)
        self._failures: dict[str, set[tuple[str, str]]] = defaultdict(set)
        self._passed: Counter[tuple[str, AppliedPolicy]] = Counter()
        self._failed: Counter[tuple[str, AppliedPolicy, FailureDetail]] = Counter()
        self.is_full = False

    def read(self, connection: DatabaseConnection) -> None:
        for some in batched(sorted({count.domain for count in self._counts}), _AT_ONCE):
            of_them = f"day = ? AND domain IN ({', '.join('?' * len(some))})"
            for domain, digest in connection.rows(
                f"SELECT domain, digest FROM session_policy WHERE {of_them}",  # noqa: S608 - ours
                (self._day, *some),
            ):
                self._policies[domain].add(digest)
            for domain, policy, digest in connection.rows(
                f"SELECT domain, policy, digest FROM session_failure WHERE {of_them}",  # noqa: S608 - ours
                (self._day, *some),
            ):
                self._failures[domain].add((policy, digest))

    def write(self, change: DatabaseConnection) -> int:
        left_out = sum(self._add(count) for count in self._counts)
        policies = [
            (
                self._day,
                domain,
                _policy_digest(policy),
                str(policy.type),
                policy.domain,
                encoded(policy.strings),
                encoded(policy.mx_hosts),
                passed,
            )
            for (domain, policy), passed in self._passed.items()
        ]
        failures = [
            (
                self._day,
                domain,
                _policy_digest(policy),
                _failure_digest(failure),
                *map(str, failure_columns(failure)),
                sessions,
            )
            for (domain, policy, failure), sessions in self._failed.items()
        ]
        change.execute_many(_POLICY, policies)
        change.execute_many(_FAILURE, failures)
        return left_out

    def _add(self, count: Count) -> int:
        """One count; returns its sessions if there is no room for it."""
        policy = self._room_for_policy(count.domain, count.policy)
        if policy is None:
            return count.sessions
        if count.failure is None:
            self._passed[count.domain, policy] += count.sessions
            return 0
        failure = self._room_for_failure(count.domain, policy, count.failure)
        if failure is None:
            return count.sessions
        self._passed[count.domain, policy] += 0
        self._failed[count.domain, policy, failure] += count.sessions
        return 0

    def _room_for_policy(self, domain: str, policy: AppliedPolicy) -> AppliedPolicy | None:
        """The policy if it is known or there is room for it, else its bare form; None if all room is taken."""
        known, digest = self._policies[domain], _policy_digest(policy)
        if digest in known:
            return policy
        if policy != policy.bare and len(known) >= MOST_POLICIES:
            return self._room_for_policy(domain, policy.bare)
        if self.is_full:
            return None
        known.add(digest)
        return policy

    def _room_for_failure(self, domain: str, policy: AppliedPolicy, failure: FailureDetail) -> FailureDetail | None:
        known, key = self._failures[domain], (_policy_digest(policy), _failure_digest(failure))
        if key in known:
            return failure
        if failure != failure.bare and len(known) >= MOST_FAILURES:
            return self._room_for_failure(domain, policy, failure.bare)
        if self.is_full:
            return None
        known.add(key)
        return failure


def _policy_digest(policy: AppliedPolicy) -> str:
    return _digest(str(policy.type), policy.domain, encoded(policy.strings), encoded(policy.mx_hosts))


def _failure_digest(failure: FailureDetail) -> str:
    return _digest(*map(str, failure_columns(failure)))


def _digest(*texts: str) -> str:
    return hashlib.sha256(msgspec.json.encode(texts)).hexdigest()[:32]


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
