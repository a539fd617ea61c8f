"""The usage of users and own servers on each UTC day: a table that all workers and nodes add to.

Each worker adds what it counted every two seconds and reads what others did (`mail.inbound.usage`), for daily limits;
the alarm about a sender that sends far more than usual compares days. Blocks: call it on a thread from an event loop.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from gatepost.store.interface import Schema, StoredTables

USAGE: Final = Schema(
    name="sending_usage",
    file="sending-usage.db",
    application_id=0x67707375,  # "gpsu"
    version=1,
    tables="""
    CREATE TABLE sending_usage (
        day          TEXT NOT NULL,
        organization TEXT NOT NULL,
        subject      TEXT NOT NULL,
        messages     INTEGER NOT NULL,
        recipients   INTEGER NOT NULL,
        lifted       INTEGER NOT NULL,
        lifted_by    TEXT NOT NULL,
        breached     REAL NOT NULL,
        breach       TEXT NOT NULL,
        revision     INTEGER NOT NULL,
        PRIMARY KEY (day, organization, subject)
    ) WITHOUT ROWID;
    CREATE INDEX sending_usage_by_revision ON sending_usage (revision);
    CREATE TABLE sending_usage_revision (id INTEGER PRIMARY KEY, revision INTEGER NOT NULL);
    """,
)

_COLUMNS = "day, organization, subject, messages, recipients, lifted, lifted_by, breached, breach"
_ADD = (
    f"INSERT INTO sending_usage ({_COLUMNS}, revision) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - ours
    " ON CONFLICT (day, organization, subject) DO UPDATE SET"
    " messages = sending_usage.messages + excluded.messages,"
    " recipients = sending_usage.recipients + excluded.recipients,"
    " lifted = CASE WHEN excluded.lifted > sending_usage.lifted THEN excluded.lifted ELSE sending_usage.lifted END,"
    " lifted_by = CASE WHEN excluded.lifted_by <> '' AND excluded.lifted >= sending_usage.lifted"
    " THEN excluded.lifted_by ELSE sending_usage.lifted_by END,"
    " breached = CASE WHEN sending_usage.breached > 0 THEN sending_usage.breached ELSE excluded.breached END,"
    " breach = CASE WHEN sending_usage.breached > 0 THEN sending_usage.breach ELSE excluded.breach END,"
    " revision = excluded.revision"
)
# Changes of this schema are one after another, so that a revision is never seen before a lower one.
_NEXT = (
    "INSERT INTO sending_usage_revision VALUES (1, 1)"
    " ON CONFLICT (id) DO UPDATE SET revision = sending_usage_revision.revision + 1 RETURNING revision"
)
_SINCE = f"SELECT {_COLUMNS}, revision FROM sending_usage WHERE day = ? AND revision > ?"  # noqa: S608 - ours

_NOTABLE = (
    f"SELECT {_COLUMNS} FROM sending_usage"  # noqa: S608 - ours
    " WHERE day = ? AND (breached > 0 OR (CAST(? AS INTEGER) > 0 AND recipients >= ?))"
)


class SenderUsage(msgspec.Struct, frozen=True):
    """The mail that one sender sent on a day, or that is to be added to it.

    lifted: as `policy.decisions.daily_limits.Lifted`. breached: when it first was beyond a limit, seconds since 1970;
    breach: the reply that said so.
    """

    day: str
    organization: str
    subject: str
    messages: int = 0
    recipients: int = 0
    lifted: int = 0
    lifted_by: str = ""
    breached: float = 0.0
    breach: str = ""


class UsageTable(StoredTables):
    """Every method raises StoreFailure."""

    def note_day(self, day: str) -> None:
        """Note that on a day those without a limit are counted as well; see `counted_since`."""
        self.add([SenderUsage(day, "", "everybody")])

    def counted_since(self, days: Sequence[str]) -> str:
        """The first of some days on which those without a limit were counted as well, "" for none."""
        return self.first_day(days, "")

    def add(self, rows: Iterable[SenderUsage]) -> None:
        """Add to what is there, all or none."""
        with self._database.changing() as change:
            revision = int(change.value(_NEXT))
            change.execute_many(_ADD, [(*msgspec.structs.astuple(row), revision) for row in rows])

    def since(self, day: str, revision: int = 0) -> tuple[list[SenderUsage], int]:
        """The senders of a day that changed after a revision, and the last one."""
        with self._database.reading() as connection:
            rows = connection.rows(_SINCE, (day, revision))
        return [SenderUsage(*row[:-1]) for row in rows], max((int(row[-1]) for row in rows), default=revision)

    def notable(self, day: str, recipients: int) -> list[SenderUsage]:
        """Senders of a day that were beyond a limit, or sent to so many recipients at least; 0: the former alone."""
        with self._database.reading() as connection:
            rows = connection.rows(_NOTABLE, (day, recipients, recipients))
        return [SenderUsage(*row) for row in rows]

    def first_day(self, days: Sequence[str], organization: str) -> str:
        """The first of some days on which anybody of an organization was counted, "" if nobody was."""
        query = "SELECT day FROM sending_usage WHERE day = ? AND organization = ? LIMIT 1"
        with self._database.reading() as connection:  # MIN(day) would read what each of its users sent on all of them
            return next((day for day in sorted(days) if list(connection.rows(query, (day, organization)))), "")

    def history(self, days: Sequence[str], organization: str, subject: str) -> tuple[int, str]:
        """The most recipients of one sender on one of some days, and the first of them on which it sent; 0 and ""."""
        of_days = f"day IN ({', '.join('?' * len(days))}) AND organization = ? AND subject = ?"
        query = f"SELECT MAX(recipients), MIN(day) FROM sending_usage WHERE {of_days}"  # noqa: S608 - placeholders
        with self._database.reading() as connection:
            ((most, first),) = connection.rows(query, (*days, organization, subject))
        return int(most or 0), first or ""

    def prune(self, before: str) -> None:
        """Forget days before one ("2026-11-10")."""
        with self._database.changing() as change:
            change.execute("DELETE FROM sending_usage WHERE day < ?", (before,))
