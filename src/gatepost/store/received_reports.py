"""TLS reports that we received (RFC 8460 section 4.4): `received-reports.db` in the data directory with SQLite.

Written by `analysis.reports.tlsrpt_intake`, one report in one transaction, so that it counts once or not at all; read
by `gatepost report received` on a running gateway as on a stopped one. Blocks: call it on a thread from an event loop.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

import msgspec

from gatepost.decoding import json_decoder
from gatepost.protocols.tlsrpt.received import ReceivedFailure, ReceivedPolicy, ReceivedReport
from gatepost.store.database import Schema, StoredTables
from gatepost.store.interface import StoreFull, failing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


MOST_OCTETS: Final = 512 << 20
"""Room that reports may take, beyond which nothing more is kept."""

_CHUNK: Final = 500  # reports that are read at a time

RECEIVED: Final = Schema(
    name="received_reports",
    file="received-reports.db",
    application_id=0x67707272,  # "gprr"
    version=1,
    tables="""
    CREATE TABLE received_report (
        id           INTEGER PRIMARY KEY AUTOINCREMENT,
        received     REAL NOT NULL,
        source       TEXT NOT NULL,
        organization TEXT NOT NULL,
        contact      TEXT NOT NULL,
        report_id    TEXT NOT NULL,
        begin        REAL NOT NULL,
        finish       REAL NOT NULL,
        left_out     INTEGER NOT NULL
    );
    CREATE UNIQUE INDEX received_report_once ON received_report (lower(organization), report_id);
    CREATE INDEX received_report_by_begin ON received_report (begin);
    CREATE TABLE received_policy (
        report   INTEGER NOT NULL,
        place    INTEGER NOT NULL,
        type     TEXT NOT NULL,
        domain   TEXT NOT NULL,
        passed   INTEGER NOT NULL,
        failed   INTEGER NOT NULL,
        strings  TEXT NOT NULL,
        mx_hosts TEXT NOT NULL,
        failures TEXT NOT NULL,
        PRIMARY KEY (report, place)
    ) WITHOUT ROWID;
    """,
    unmarked="""
    ALTER TABLE report RENAME TO received_report;
    ALTER TABLE policy RENAME TO received_policy;
    DROP INDEX IF EXISTS by_begin;
    CREATE UNIQUE INDEX received_report_once ON received_report (lower(organization), report_id);
    CREATE INDEX received_report_by_begin ON received_report (begin);
    """,
)
_SELECT = (
    "SELECT id, received, source, organization, contact, report_id, begin, finish, left_out,"
    " type, domain, passed, failed, strings, mx_hosts, failures FROM"
    " (SELECT * FROM received_report WHERE finish >= ? AND begin <= ? AND (begin, id) > (?, ?)"
    " ORDER BY begin, id LIMIT ?) AS report LEFT JOIN received_policy ON received_policy.report = report.id"
    " ORDER BY begin, id, place"
)
_INSERT = (
    "INSERT INTO received_report (received, source, organization, contact, report_id, begin, finish, left_out)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING id"
)
_POLICY = "INSERT INTO received_policy VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_encode = msgspec.json.Encoder().encode
_decode_texts: Callable[[str], tuple[str, ...]] = json_decoder(tuple[str, ...])
_lists = json_decoder(list[list[Any]])


class StoredReport(msgspec.Struct, frozen=True):
    """A report as it was kept. received: seconds since 1970. source: how it came: "mail FILE", "https ADDRESS"."""

    received: float
    source: str
    report: ReceivedReport


class ReceivedReports(StoredTables):
    """Every method raises StoreFailure."""

    def keep(self, kept: StoredReport) -> bool:
        """Keep a report; False if the same reporter's report of this id is there already. Raises StoreFull, too."""
        report = kept.report
        head = (kept.received, kept.source, report.organization, report.contact, report.report_id)
        with self._database.changing() as change:
            known = "SELECT 1 FROM received_report WHERE lower(organization) = lower(?) AND report_id = ?"
            if change.value(known, (report.organization, report.report_id)) is not None:
                return False
            if change.octets() >= MOST_OCTETS:
                raise StoreFull(f"{RECEIVED.file}: received reports take {MOST_OCTETS >> 20} MiB, and no more are kept")
            number = change.value(_INSERT, (*head, report.begin, report.end, report.left_out))
            rows = [(number, place, *_policy_row(policy)) for place, policy in enumerate(report.policies)]
            change.execute_many(_POLICY, rows)
        return True

    def read(self, since: float, until: float) -> Iterator[StoredReport]:
        """The reports about a time that lies between two times (seconds since 1970), oldest first."""
        place: tuple[float, int] = (float("-inf"), 0)
        while True:
            with self._database.reading() as connection:
                rows = connection.rows(_SELECT, (since, until, *place, _CHUNK))
            if not rows:
                return
            with failing(RECEIVED.file, msgspec.DecodeError):
                for _, of_one in groupby(rows, key=itemgetter(0)):
                    yield _kept(list(of_one))
            place = (rows[-1][6], rows[-1][0])

    def forget(self, before: float) -> int:
        """Forget reports about a time that ended before (seconds since 1970); how many."""
        old = "SELECT id FROM received_report WHERE finish < ?"
        with self._database.changing() as change:
            change.execute(f"DELETE FROM received_policy WHERE report IN ({old})", (before,))  # noqa: S608 - ours
            return change.execute("DELETE FROM received_report WHERE finish < ?", (before,))


def _kept(rows: list[tuple[Any, ...]]) -> StoredReport:
    """One report by its rows: one for each policy, or one without any."""
    _, received, source, organization, contact, name, begin, end, left_out, *_ = rows[0]
    policies = tuple(_policy(*row[9:]) for row in rows if row[9] is not None)
    return StoredReport(received, source, ReceivedReport(organization, contact, name, begin, end, policies, left_out))


def _policy_row(policy: ReceivedPolicy) -> tuple[str | int, ...]:
    listed = (
        list(policy.strings),
        list(policy.mx_hosts),
        [msgspec.structs.astuple(failure) for failure in policy.failures],
    )
    return policy.type, policy.domain, policy.passed, policy.failed, *(_encode(column).decode() for column in listed)


def _policy(type_: str, domain: str, passed: int, failed: int, *listed: str) -> ReceivedPolicy:
    strings, mx_hosts, failures = listed
    policy_failures = tuple(ReceivedFailure(*failure) for failure in _lists(failures)) if failures != "[]" else ()
    return ReceivedPolicy(type_, domain, passed, failed, _texts(strings), _texts(mx_hosts), policy_failures)


@lru_cache(1000)
def _texts(listed: str) -> tuple[str, ...]:
    """A domain's policy is the same in thousands of reports."""
    return _decode_texts(listed)
