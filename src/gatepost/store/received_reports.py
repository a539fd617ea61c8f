"""TLS reports that we received: `received-reports.db` in the data directory (RFC 8460 section 4.4).

Written by `analysis.reports.tlsrpt_intake`, one report in one transaction, so that it counts once or not at all; read
by `gatepost report received` on a running gateway as on a stopped one. Blocks: call it on a thread from an event loop.
"""

from __future__ import annotations

import contextlib
from dataclasses import astuple, dataclass
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

import apsw
import msgspec

from gatepost.protocols.tlsrpt.received import ReceivedFailure, ReceivedPolicy, ReceivedReport
from gatepost.store.interface import StoreFailure
from gatepost.store.sqlite.schema import StoreSettings, make_directory, open_database, open_for_reading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


RECEIVED_FILE: Final = "received-reports.db"

_MOST_PAGES: Final = 131_072  # of 4 KiB: 512 MiB, beyond which nothing more is kept
_SETTINGS = StoreSettings(page_size=4096, checkpoint_pages=1000)
_TABLES = """
CREATE TABLE IF NOT EXISTS report (
    id           INTEGER PRIMARY KEY,
    received     REAL NOT NULL,
    source       TEXT NOT NULL,
    organization TEXT NOT NULL COLLATE NOCASE,
    contact      TEXT NOT NULL,
    report_id    TEXT NOT NULL,
    begin        REAL NOT NULL,
    finish       REAL NOT NULL,
    left_out     INTEGER NOT NULL,
    UNIQUE (organization, report_id)
);
CREATE INDEX IF NOT EXISTS by_begin ON report (begin);
CREATE TABLE IF NOT EXISTS policy (
    report   INTEGER NOT NULL REFERENCES report ON DELETE CASCADE,
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
"""
_SELECT = (
    "SELECT id, received, source, organization, contact, report_id, begin, finish, left_out,"
    " type, domain, passed, failed, strings, mx_hosts, failures"
    " FROM report LEFT JOIN policy ON policy.report = report.id"
    " WHERE finish >= ? AND begin <= ? ORDER BY begin, id, place"
)
_encode = msgspec.json.Encoder().encode
_decode_texts: Callable[[str], tuple[str, ...]] = msgspec.json.Decoder(tuple[str, ...]).decode
_lists = msgspec.json.Decoder(list[list[Any]]).decode


@dataclass(frozen=True, slots=True)
class StoredReport:
    """A report as it was kept. received: seconds since 1970. source: how it came: "mail FILE", "https ADDRESS"."""

    received: float
    source: str
    report: ReceivedReport


def keep_report(directory: Path, kept: StoredReport) -> bool:
    """Keep a report; False if the same reporter's report of this id is there already. Raises StoreFailure."""
    make_directory(directory)
    report = kept.report
    head = (kept.received, kept.source, report.organization, report.contact, report.report_id)
    with _opened(directory) as connection, connection:
        known = "SELECT 1 FROM report WHERE organization = ? AND report_id = ?"
        if connection.execute(known, (report.organization, report.report_id)).fetchone():
            return False
        connection.execute(
            "INSERT INTO report (received, source, organization, contact, report_id, begin, finish, left_out) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (*head, report.begin, report.end, report.left_out),
        )
        number = connection.last_insert_rowid()
        rows = [(number, place, *_policy_row(one)) for place, one in enumerate(report.policies)]
        connection.executemany("INSERT INTO policy VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
    return True


def read_reports(directory: Path, since: float, until: float) -> Iterator[StoredReport]:
    """The reports about a time that lies between two times (seconds since 1970), oldest first. Raises StoreFailure."""
    path = directory / RECEIVED_FILE
    if not path.exists():
        return
    try:
        with contextlib.closing(open_for_reading(path)) as connection:
            rows = connection.execute(_SELECT, (since, until))
            for _, of_one in groupby(rows, key=itemgetter(0)):
                yield _kept(list(of_one))
    except (apsw.Error, msgspec.DecodeError) as error:
        raise StoreFailure(f"{path}: {error}") from error


def forget_reports(directory: Path, before: float) -> int:
    """Forget reports about a time that ended before (seconds since 1970); how many. Raises StoreFailure."""
    gone = 0
    if (directory / RECEIVED_FILE).exists():
        with _opened(directory) as connection, connection:
            connection.execute("DELETE FROM report WHERE finish < ?", (before,))
            gone = connection.changes()
    return gone


@contextlib.contextmanager
def _opened(directory: Path) -> Iterator[apsw.Connection]:
    path = directory / RECEIVED_FILE
    connection = open_database(path, _SETTINGS)
    try:
        connection.execute(f"PRAGMA max_page_count = {_MOST_PAGES}")
        connection.execute("PRAGMA wal_autocheckpoint = 1000")
        connection.execute("PRAGMA foreign_keys = ON")
        with connection:
            connection.execute(_TABLES)
        yield connection
    except apsw.Error as error:
        raise StoreFailure(f"{path}: {error}") from error
    finally:
        connection.close()


def _kept(rows: list[tuple[Any, ...]]) -> StoredReport:
    """One report by its rows: one for each policy, or one without any."""
    _, received, source, organization, contact, name, begin, end, left_out, *_ = rows[0]
    policies = tuple(_policy(*row[9:]) for row in rows if row[9] is not None)
    return StoredReport(received, source, ReceivedReport(organization, contact, name, begin, end, policies, left_out))


def _policy_row(policy: ReceivedPolicy) -> tuple[str | int, ...]:
    listed = (list(policy.strings), list(policy.mx_hosts), [astuple(one) for one in policy.failures])
    return policy.type, policy.domain, policy.passed, policy.failed, *(_encode(one).decode() for one in listed)


def _policy(type_: str, domain: str, passed: int, failed: int, *listed: str) -> ReceivedPolicy:
    strings, mx_hosts, failures = listed
    found = tuple(ReceivedFailure(*one) for one in _lists(failures)) if failures != "[]" else ()
    return ReceivedPolicy(type_, domain, passed, failed, _texts(strings), _texts(mx_hosts), found)


@lru_cache(1000)
def _texts(listed: str) -> tuple[str, ...]:
    """A domain's policy is the same in thousands of reports."""
    return _decode_texts(listed)
