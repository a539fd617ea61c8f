"""TLS reports (RFC 8460): our own, sent and still to send, and those that we received.

In `sent-reports.db` and `received-reports.db` in the data directory with SQLite. Written by
`analysis.reports.tlsrpt_sending`, in one process of the site, and by `analysis.reports.tlsrpt_intake`, one received
report in one transaction, so that it counts once or not at all; `gatepost report` reads both and makes reports due, on
a running gateway as on a stopped one. A report is claimed in a transaction before it is tried: one process has it for
the time of the lease, so that nothing goes out twice at once, and what a crash interrupts is tried again when the lease
is over. Blocks: call it on a thread from an event loop.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import StrEnum
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

import msgspec

from gatepost.decoding import json_decoder
from gatepost.protocols.tlsrpt.received import ReceivedFailure, ReceivedPolicy, ReceivedReport
from gatepost.store.interface import Database, DatabaseConnection, Schema, StoredTables, StoreFull, failing
from gatepost.values import replace

SENT: Final = Schema(
    name="sent_reports",
    file="sent-reports.db",
    application_id=0x67707372,  # "gpsr"
    version=1,
    tables="""
    CREATE TABLE sent_day (day TEXT PRIMARY KEY) WITHOUT ROWID;
    CREATE TABLE sent_report (
        day     TEXT NOT NULL,
        domain  TEXT NOT NULL,
        rua     TEXT NOT NULL,
        state   TEXT NOT NULL,
        tries   INTEGER NOT NULL DEFAULT 0,
        first   REAL NOT NULL DEFAULT 0,
        next    REAL NOT NULL,
        tried   REAL NOT NULL DEFAULT 0,
        detail  TEXT NOT NULL DEFAULT '',
        message TEXT NOT NULL DEFAULT '',
        PRIMARY KEY (day, domain, rua)
    ) WITHOUT ROWID;
    CREATE INDEX sent_report_by_next ON sent_report (state, next);
    """,
    unmarked="""
    ALTER TABLE day RENAME TO sent_day;
    ALTER TABLE report RENAME TO sent_report;
    DROP INDEX IF EXISTS by_next;
    CREATE INDEX sent_report_by_next ON sent_report (state, next);
    """,
)
_COLUMNS = "day, domain, rua, state, tries, first, next, tried, detail, message"
_ONE = "day = ? AND domain = ? AND rua = ?"
_DUE = f"""
SELECT {_COLUMNS} FROM sent_report WHERE state IN ('waiting', 'trying') AND next <= ? ORDER BY next LIMIT ?
"""  # noqa: S608 - ours
_CLAIM = """
UPDATE sent_report SET state = 'trying', tries = tries + 1, first = CASE WHEN first = 0 THEN ?1 ELSE first END,
tried = ?1, next = ?2 WHERE day = ?3 AND domain = ?4 AND rua = ?5
"""
_AGAIN = """
UPDATE sent_report SET state = 'waiting', next = ?1, first = 0, tries = 0
WHERE day = ?2 AND domain = ?3 AND state IN ('waiting', 'given-up')
"""
_NEW = """
INSERT INTO sent_report (day, domain, rua, state, next) VALUES (?, ?, ?, 'waiting', ?) ON CONFLICT DO NOTHING
"""


class SentState(StrEnum):
    """The state of a report to one address.

    WAITING: it is not sent yet, or is tried again. TRYING: it is claimed. SENT: taken over HTTPS, or queued as mail.
    GIVEN_UP: it was not taken for 24 hours, or it can never be sent there.
    """

    WAITING = "waiting"
    TRYING = "trying"
    SENT = "sent"
    GIVEN_UP = "given-up"


class SentReport(msgspec.Struct, frozen=True):
    """A report to one address. rua: the address, "" while the domain's record is to be looked up.

    tries: those begun. first, next, tried: seconds since 1970 of the first try, the next one and the last, 0 for none.
    detail: why it was not sent. message: queue id of the mail that carries it.
    """

    day: str
    domain: str
    rua: str
    state: SentState
    tries: int = 0
    first: float = 0.0
    next: float = 0.0
    tried: float = 0.0
    detail: str = ""
    message: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        """The primary key."""
        return self.day, self.domain, self.rua


class SentReports(StoredTables):
    """Every method raises StoreFailure; each is one transaction, or none."""

    def planned_days(self) -> list[str]:
        """Days whose recipients of reports are stored, oldest first."""
        with self._database.reading() as connection:
            return [str(day) for (day,) in connection.rows("SELECT day FROM sent_day ORDER BY day")]

    def plan(self, day: str, due: Iterable[tuple[str, float]]) -> None:
        """Write down the policy domains of a day and when the report to each is due; a day that is there stays."""
        with self._database.changing() as change:
            if change.execute("INSERT INTO sent_day (day) VALUES (?) ON CONFLICT DO NOTHING", (day,)):
                change.execute_many(_NEW, ((day, domain, "", at) for domain, at in due))

    def claim(self, now: float, most: int, lease: float) -> list[SentReport]:
        """Reports that are due, longest first; they are due again only in `lease` seconds."""
        with self._database.changing() as change:
            due = [_report(row) for row in change.rows(_DUE, (now, most))]
            if due:
                change.execute_many(_CLAIM, [(now, now + lease, *report.key) for report in due])
        return [
            replace(
                report,
                state=SentState.TRYING,
                tries=report.tries + 1,
                first=report.first or now,
                next=now + lease,
                tried=now,
            )
            for report in due
        ]

    def address(self, found: Sequence[tuple[SentReport, Sequence[str]]], now: float) -> None:
        """Store the result of a lookup of records: a report to each address; () where no report is wanted."""
        with self._database.changing() as change:
            for report, rua in found:
                change.execute(f"DELETE FROM sent_report WHERE {_ONE}", report.key)  # noqa: S608 - ours
                change.execute_many(_NEW, [(report.day, report.domain, address, now) for address in rua])

    def sent(self, report: SentReport, message: str = "") -> None:
        """It was taken, or queued as mail under that queue id."""
        self._settle(report, SentState.SENT, report.next, "", message)

    def failed(self, report: SentReport, detail: str, again: float | None) -> None:
        """It was not taken. again: when it is tried next, None for never."""
        state = SentState.GIVEN_UP if again is None else SentState.WAITING
        self._settle(report, state, report.next if again is None else again, detail, "")

    def make_due(self, day: str, domains: Iterable[str], now: float) -> None:
        """Let the reports of a day to these policy domains be tried now, for 24 hours anew.

        Domains that wanted none are looked up again. What was sent stays as it is: no address gets it twice. The day is
        not planned by it: that is still to come, or was never to be.
        """
        with self._database.changing() as change:
            for domain in domains:
                known = "SELECT 1 FROM sent_report WHERE day = ? AND domain = ? LIMIT 1"
                if change.value(known, (day, domain)) is None:
                    change.execute(_NEW, (day, domain, "", now))
                else:
                    change.execute(_AGAIN, (now, day, domain))

    def forget(self, before: str) -> None:
        """Forget the reports of days before a day."""
        with self._database.changing() as change:
            change.execute("DELETE FROM sent_report WHERE day < ?", (before,))
            change.execute("DELETE FROM sent_day WHERE day < ?", (before,))

    def read(self, since: str, wanted: Callable[[SentReport], bool] = lambda _: True) -> list[SentReport]:
        """Reports of a day ("2026-11-20") and later days, by day and domain."""
        select = f"SELECT {_COLUMNS} FROM sent_report WHERE day >= ? ORDER BY day, domain, rua"  # noqa: S608 - ours
        with self._database.reading() as connection:
            return [report for row in connection.rows(select, (since,)) if wanted(report := _report(row))]

    def _settle(self, report: SentReport, state: SentState, again: float, detail: str, message: str) -> None:
        with self._database.changing() as change:
            change.execute(
                f"UPDATE sent_report SET state = ?, next = ?, detail = ?, message = ? WHERE {_ONE}",  # noqa: S608 - ours
                (str(state), again, detail, message, *report.key),
            )


def _report(row: Sequence[Any]) -> SentReport:
    day, domain, rua, state, *rest = row
    return SentReport(day, domain, rua, SentState(state), *rest)


MOST_OCTETS: Final = 512 << 20
"""Room that reports may take. Beyond it, those that came on the oldest day go."""
_OF_A_DAY: Final = 16  # the part of it for what comes on one day in one way: forged reports neither take all nor stay
_DAY: Final = 86_400.0
_ROW: Final = 200  # octets of a report or policy beside its texts and lists
_COUNTED: Final = 3600.0  # seconds until the room is counted anew: other nodes keep reports, too

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
_HELD = (
    f"SELECT received, source, {_ROW} + COALESCE((SELECT sum({_ROW} + octet_length(strings) + octet_length(mx_hosts)"  # noqa: S608 - ours
    " + octet_length(failures)) FROM received_policy WHERE report = id), 0) FROM received_report"
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

    def __init__(self, opened: Callable[[], Database], ticks: Callable[[], float] = time.monotonic) -> None:
        """opened: opens the database, at the first use. ticks: seconds that never go back."""
        super().__init__(opened)
        self._ticks = ticks
        self._held: Counter[tuple[int, str]] = Counter()  # octets, by the day on which they came, and how
        self._count_at = ticks()

    def keep(self, kept: StoredReport) -> bool:
        """Keep a report; False if the same reporter's report of this id is there already.

        Raises StoreFull where what came on its day in its way, "mail" or "https", has taken its part of the room.
        """
        report = kept.report
        head = (kept.received, kept.source, report.organization, report.contact, report.report_id)
        rows = [_policy_row(policy) for policy in report.policies]
        size = _ROW + sum(_ROW + sum(len(text.encode()) for text in row[4:] if isinstance(text, str)) for row in rows)
        with self._database.changing() as change:
            known = "SELECT 1 FROM received_report WHERE lower(organization) = lower(?) AND report_id = ?"
            if change.value(known, (report.organization, report.report_id)) is not None:
                return False
            held = self._make_room(change, _arrival(kept.received, kept.source), size)
            number = change.value(_INSERT, (*head, report.begin, report.end, report.left_out))
            change.execute_many(_POLICY, [(number, place, *row) for place, row in enumerate(rows)])
        self._held = held  # not before: what failed was rolled back
        return True

    def _make_room(self, change: DatabaseConnection, arrival: tuple[int, str], size: int) -> Counter[tuple[int, str]]:
        """What is held once this is kept. arrival: on which day, and how."""
        if (now := self._ticks()) >= self._count_at:
            self._held = Counter()
            for received, source, octets in change.rows(_HELD, ()):
                self._held[_arrival(received, source)] += int(octets)
            self._count_at = now + _COUNTED
        held, most = self._held.copy(), MOST_OCTETS // _OF_A_DAY
        if held[arrival] + size > most:
            text = f"those that came by {arrival[1]} today take {most >> 20} MiB, and no more are kept before tomorrow"
            raise StoreFull(f"{RECEIVED.file}: {text}")
        while held.total() + size > MOST_OCTETS:
            oldest = min(day for day, _ in held)
            self._remove(change, "received < ?", ((oldest + 1) * _DAY,))
            held = Counter({key: octets for key, octets in held.items() if key[0] > oldest})
        held[arrival] += size
        return held

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
        """Forget reports that came before (seconds since 1970), or about a time that ended before; how many.

        A forged report may be about any time to come.
        """
        with self._database.changing() as change:
            self._count_at = self._ticks()
            return self._remove(change, "finish < ? OR received < ?", (before, before))

    @staticmethod
    def _remove(change: DatabaseConnection, condition: str, values: tuple[float, ...]) -> int:
        old = f"SELECT id FROM received_report WHERE {condition}"  # noqa: S608 - ours, as below
        change.execute(f"DELETE FROM received_policy WHERE report IN ({old})", values)  # noqa: S608
        return change.execute(f"DELETE FROM received_report WHERE {condition}", values)  # noqa: S608


def _arrival(received: float, source: str) -> tuple[int, str]:
    """The day on which a report came, of days since 1970, and how: "mail", "https"."""
    return int(received // _DAY), source.partition(" ")[0]


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
