"""The TLS history of destinations where nodes share the store: a table, and a copy of it in each worker.

`SharedTable` is read and changed by its holder, one transaction a change. `SharedDestinations` is a worker's: it
answers the event loop from memory, hands sessions to a thread that writes them in batches, and learns every two seconds
what others wrote. A session that cannot be written costs memory, never mail; while the copy cannot be made, the history
is not known, and that is the caller's to judge.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from gatepost.policy.decisions.destination_history import DestinationHistory, DestinationName
from gatepost.store.destinations import DESTINATION_COLUMNS, MOST, DestinationTable, WorkerDestinations, with_sessions
from gatepost.store.interface import Database, DatabaseConnection, Schema, StoreFailure

HISTORY: Final = Schema(
    name="destination_history",
    file="destination-history.db",
    application_id=0x67706468,  # "gpdh"
    version=1,
    tables="""
    CREATE TABLE destination_history (
        organization TEXT NOT NULL,
        domain       TEXT NOT NULL,
        connector    TEXT NOT NULL,
        at           REAL NOT NULL,
        revision     INTEGER NOT NULL,
        document     TEXT NOT NULL,
        PRIMARY KEY (organization, domain, connector)
    ) WITHOUT ROWID;
    CREATE INDEX destination_history_by_revision ON destination_history (revision);
    CREATE TABLE destination_revision (id INTEGER PRIMARY KEY, revision INTEGER NOT NULL);
    """,
)

_NAME = ", ".join(DESTINATION_COLUMNS[:3])
_WRITE = (
    f"INSERT INTO destination_history ({_NAME}, at, document, revision) VALUES (?, ?, ?, ?, ?, ?)"  # noqa: S608 - ours
    f" ON CONFLICT ({_NAME}) DO UPDATE SET at = excluded.at, revision = excluded.revision, document = excluded.document"
)
# Changes of this schema are one after another, so that a revision is never seen before a lower one.
_NEXT = (
    "INSERT INTO destination_revision VALUES (1, 1)"
    " ON CONFLICT (id) DO UPDATE SET revision = destination_revision.revision + 1 RETURNING revision"
)
_SINCE = (
    f"SELECT {_NAME}, revision, document FROM destination_history WHERE revision > ?"  # noqa: S608 - ours
    " ORDER BY revision LIMIT ?"
)
_FORGOTTEN = "DELETE FROM destination_history WHERE document = '' AND at < ?"

_AT_ONCE: Final = 1000  # rows of a statement
_INTERVAL: Final = 1.0
_POLL: Final = 2.0  # seconds between two looks at what others wrote
_KNOWN_EVERYWHERE: Final = _POLL + _INTERVAL + 0.5  # seconds after which what was changed is in every copy
_LONGEST_WAIT: Final = 5.0  # seconds between attempts while the database is away
_KEPT_FORGOTTEN: Final = 3600.0  # seconds in which every node has learned that a destination was forgotten

_log = logging.getLogger(__name__)


class SharedTable(DestinationTable):
    """The table that nodes share: each change has a revision, by which copies learn of it.

    A destination that is forgotten stays for a while with an empty document, so that the copies learn of that, too.
    """

    table = "destination_history"

    def __init__(
        self, opened: Callable[[], Database], *, most: int = MOST, sleep: Callable[[float], object] = time.sleep
    ) -> None:
        """opened: opens the database, at the first use. most: destinations kept."""
        super().__init__(opened, "the history of a destination cannot be read", most=most)
        self._sleep = sleep

    def forget(self, name: DestinationName) -> None:
        """Begin anew with a destination."""
        with self._database.changing() as change:
            self._put(change, [(*name, time.time(), "")])

    def settle(self) -> None:
        """Wait until the copies of all workers have what was changed."""
        self._sleep(_KNOWN_EVERYWHERE)

    def _put(self, change: DatabaseConnection, rows: Sequence[tuple[object, ...]]) -> None:
        revision = int(change.value(_NEXT))
        change.execute_many(_WRITE, [(*row, revision) for row in rows])

    def _trim(self, change: DatabaseConnection) -> None:
        change.execute(_FORGOTTEN, (time.time() - _KEPT_FORGOTTEN,))
        super()._trim(change)

    def since(self, revision: int) -> list[tuple[DestinationName, int, str]]:
        """Rows written after a revision: name, revision, document; that is "" for a destination that is forgotten."""
        with self._database.reading() as connection:
            rows = connection.rows(_SINCE, (revision, _AT_ONCE))
            if len(rows) == _AT_ONCE:  # the last revision may be there in part
                rows += connection.rows(_SINCE.replace("> ?", "= ?"), (rows[-1][3], 2**62))
        return [(DestinationName(*row[:3]), int(row[3]), str(row[4])) for row in rows]


class SharedDestinations(WorkerDestinations):
    """A worker's copy, which the thread renews."""

    def __init__(self, table: SharedTable, *, interval: float = _INTERVAL, poll: float = _POLL) -> None:
        """Never raises: what cannot be read now is tried again on the thread."""
        super().__init__("database")
        self._table = table
        self._interval = interval
        self._poll = poll
        self._known: dict[DestinationName, str] = {}
        self._revision = -1  # nothing was read yet
        self._failing = False
        self._thread.start()

    def find(self, name: DestinationName) -> DestinationHistory:
        """See `WorkerDestinations.find`."""
        if self._revision < 0:
            raise StoreFailure("the history of destinations was not read yet; it is tried again")
        noted = self._noted.of(name)  # before the copy is read
        return with_sessions(self._table.history(self._known.get(name)), noted)

    def close(self) -> None:
        """Write what waits, end the thread, and close the database."""
        super().close()
        self._table.close()

    # ------------------------------------------------------------------------------------------- on the thread

    def _run(self) -> None:
        read_at, wait = 0.0, 0.0
        while not self._ending.wait(wait):
            try:
                self._flush()
                if time.monotonic() >= read_at:
                    self._refresh()
                    read_at = time.monotonic() + self._poll
                wait = self._interval
                self._failing = False
            except (StoreFailure, msgspec.MsgspecError) as failure:
                if not self._failing:
                    _log.error("the memory of destinations: %s", failure)
                self._failing = True
                wait = min(max(wait, self._interval) * 2, _LONGEST_WAIT)
        try:
            self._flush()
        except StoreFailure as failure:
            _log.error("the memory of destinations: sessions were lost: %s", failure)

    def _refresh(self) -> None:
        """Read what others wrote; everything at first, and when more is known here than is kept."""
        fresh = self._revision < 0 or len(self._known) > MOST + MOST // 10
        known = {} if fresh else self._known
        revision = 0 if fresh else self._revision
        while rows := self._table.since(revision):
            for name, revision, document in rows:  # noqa: B007 - the last one is where it goes on
                if document:
                    known[name] = document
                else:
                    known.pop(name, None)
        self._known, self._revision = known, revision

    def _flush(self) -> None:
        """Write what waits. Raises StoreFailure: then it waits on."""
        with self._noted.leaving() as noted:
            if noted:
                self._table.write(noted)
                if self._revision >= 0:
                    self._refresh()  # before it is no longer known from what leaves
