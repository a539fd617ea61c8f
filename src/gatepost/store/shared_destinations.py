"""The TLS history of destinations where nodes share the store: a table, and a copy of it in each worker.

`DestinationTable` is read and changed by its holder, one transaction a change. `SharedDestinations` is a worker's: it
answers the event loop from memory, hands sessions to a thread that writes them in batches, and learns every two seconds
what others wrote. A session that cannot be written costs memory, never mail; while the copy cannot be made, the history
is not known, and that is the caller's to judge.
"""

from __future__ import annotations

import logging
import threading
import time
from itertools import batched
from typing import TYPE_CHECKING, Any, Final

import msgspec

from gatepost.decoding import json_decoder
from gatepost.policy.decisions.destination_history import DestinationHistory, DestinationName
from gatepost.store.database import OnFirstUse, Schema
from gatepost.store.destinations import NotedSessions, with_sessions
from gatepost.store.interface import StoreFailure

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gatepost.policy.decisions.destination_history import SeenSession
    from gatepost.store.database import Database, DatabaseConnection
    from gatepost.store.destinations import NotedSession


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
DESTINATION_COLUMNS: Final = ("organization", "domain", "connector", "at", "document")
"""Those that every engine has; the first three are the key."""

_NAME = "organization, domain, connector"
_READ = "SELECT document FROM destination_history WHERE organization = ? AND domain = ? AND connector = ?"
_WRITE = (
    f"INSERT INTO destination_history ({_NAME}, at, revision, document) VALUES (?, ?, ?, ?, ?, ?)"  # noqa: S608 - ours
    " ON CONFLICT (organization, domain, connector)"
    " DO UPDATE SET at = excluded.at, revision = excluded.revision, document = excluded.document"
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
_LIST = (
    f"SELECT {_NAME}, document FROM destination_history WHERE document <> ''"  # noqa: S608 - ours
    " AND (?1 = '' OR organization = ?1) AND (?2 = '' OR domain = ?2) AND (?3 = '' OR lower(connector) = lower(?3))"
    f"{{after}} ORDER BY {_NAME} LIMIT ?4"
)
_AFTER = f" AND ({_NAME}) > (?5, ?6, ?7)"
# Of the organization that has the most: who makes one organization send to ever new domains takes no other's memory.
_TOO_MANY = (
    f"DELETE FROM destination_history WHERE ({_NAME}) IN"  # noqa: S608 - ours
    f" (SELECT {_NAME} FROM destination_history"
    " ORDER BY row_number() OVER (PARTITION BY organization ORDER BY at DESC) DESC, at LIMIT ?)"
)
_FORGOTTEN = "DELETE FROM destination_history WHERE document = '' AND at < ?"

_MOST: Final = 100_000  # destinations that are remembered; those that saw no session for the longest time go first
_AT_ONCE: Final = 1000  # rows of a statement
_INTERVAL: Final = 1.0
_POLL: Final = 2.0  # seconds between two looks at what others wrote
_KNOWN_EVERYWHERE: Final = _POLL + _INTERVAL + 0.5  # seconds after which what was changed is in every copy
_LONGEST_WAIT: Final = 5.0  # seconds between attempts while the database is away
_KEPT_FORGOTTEN: Final = 3600.0  # seconds in which every node has learned that a destination was forgotten
_ALL: Final = 2**62

_encode = msgspec.json.Encoder(order="deterministic").encode
_decode = json_decoder(DestinationHistory)

_log = logging.getLogger(__name__)


class DestinationTable:
    """Every method raises StoreFailure, and may wait for the database."""

    def __init__(
        self, opened: Callable[[], Database], *, most: int = _MOST, sleep: Callable[[float], object] = time.sleep
    ) -> None:
        """opened: opens the database, at the first use. most: destinations kept."""
        self._most = most
        self._sleep = sleep
        self._unchecked = 0  # sessions since it was asked whether there are too many
        self._database = OnFirstUse(opened)

    def find(self, name: DestinationName) -> DestinationHistory:
        """The history of a destination; an empty one if it was never seen."""
        with self._database.reading() as connection:
            return _history(connection.value(_READ, tuple(name)))

    def listed(
        self,
        *,
        organization: str = "",
        domain: str = "",
        connector: str = "",
        limit: int = -1,
        after: DestinationName | None = None,
    ) -> list[tuple[DestinationName, DestinationHistory]]:
        """The destinations that match, in order of their names; empty fields match all. limit: -1 for all.

        after: only those behind this name.
        """
        sql = _LIST.format(after=_AFTER if after is not None else "")
        values = (organization, domain, connector, limit if limit >= 0 else _ALL, *(after or ()))
        with self._database.reading() as connection:
            return [(DestinationName(*row[:3]), _history(row[3])) for row in connection.rows(sql, values)]

    def change(
        self, name: DestinationName, step: Callable[[DestinationHistory], DestinationHistory]
    ) -> DestinationHistory:
        """Change a history in one transaction. Returns the new one."""
        with self._database.changing() as change:
            before = _history(change.value(_READ, tuple(name)))
            after = step(before)
            if after is not before:
                change.execute(_WRITE, (*name, after.at, change.value(_NEXT), _encode(after).decode()))
        return after

    def forget(self, name: DestinationName) -> None:
        """Begin anew with a destination."""
        with self._database.changing() as change:
            change.execute(_WRITE, (*name, time.time(), change.value(_NEXT), ""))

    def settle(self) -> None:
        """Wait until the copies of all workers have what was changed."""
        self._sleep(_KNOWN_EVERYWHERE)

    def write(self, noted: Mapping[DestinationName, Sequence[NotedSession]]) -> None:
        """Add sessions, each with whether the log has a line about it, to the history as it is by now."""
        with self._database.changing() as change:
            revision = int(change.value(_NEXT))
            for some in batched(noted, _AT_ONCE):
                known = _known(change, some)
                changed = []
                for name in some:
                    before = known.get(name, DestinationHistory())
                    after = with_sessions(before, noted[name])
                    if after is not before:
                        changed.append((*name, after.at, revision, _encode(after).decode()))
                change.execute_many(_WRITE, changed)
            self._unchecked += len(noted)
            if self._unchecked * 100 > self._most:
                self._unchecked = 0
                self._trim(change)

    def _trim(self, change: DatabaseConnection) -> None:
        change.execute(_FORGOTTEN, (time.time() - _KEPT_FORGOTTEN,))
        count = int(change.value("SELECT count(*) FROM destination_history"))
        if count > self._most:
            # Some more than must go, so that not every batch sorts them all.
            change.execute(_TOO_MANY, (count - self._most + self._most // 100,))

    def since(self, revision: int) -> list[tuple[DestinationName, int, str]]:
        """Rows written after a revision: name, revision, document; that is "" for a destination that is forgotten."""
        with self._database.reading() as connection:
            rows = connection.rows(_SINCE, (revision, _AT_ONCE))
            if len(rows) == _AT_ONCE:  # the last revision may be there in part
                rows += connection.rows(_SINCE.replace("> ?", "= ?"), (rows[-1][3], _ALL))
        return [(DestinationName(*row[:3]), int(row[3]), str(row[4])) for row in rows]

    def close(self) -> None:
        """Close the database; the next use opens it anew."""
        self._database.close()


class SharedDestinations:
    """A worker's copy. `find` and `note` are for the event loop; the database is for a thread."""

    def __init__(self, table: DestinationTable, *, interval: float = _INTERVAL, poll: float = _POLL) -> None:
        """Never raises: what cannot be read now is tried again on the thread."""
        self._table = table
        self._interval = interval
        self._poll = poll
        self._known: dict[DestinationName, str] = {}
        self._revision = -1  # nothing was read yet
        self._noted = NotedSessions("database")
        self._failing = False
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="destinations", daemon=True)
        self._thread.start()

    def find(self, name: DestinationName) -> DestinationHistory:
        """The history of a destination, with this worker's sessions of the last second.

        Raises StoreFailure if it was not read yet: then the history is not known.
        """
        if self._revision < 0:
            raise StoreFailure("the history of destinations was not read yet; it is tried again")
        noted = self._noted.of(name)  # before the copy is read
        return with_sessions(_history(self._known.get(name)), noted)

    def note(self, name: DestinationName, session: SeenSession, *, logged: bool = False) -> None:
        """Write a session within a second or so. logged: the log has a line that it does less than was seen."""
        self._noted.note(name, session, logged=logged)

    def close(self) -> None:
        """Write what waits and end the thread."""
        self._ending.set()
        self._thread.join()
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
        fresh = self._revision < 0 or len(self._known) > _MOST + _MOST // 10
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


def _known(
    connection: DatabaseConnection, names: Sequence[DestinationName]
) -> dict[DestinationName, DestinationHistory]:
    among = ", ".join(["(?, ?, ?)"] * len(names))
    sql = f"SELECT {_NAME}, document FROM destination_history WHERE ({_NAME}) IN (VALUES {among})"  # noqa: S608 - ours
    rows: list[tuple[Any, ...]] = connection.rows(sql, [part for name in names for part in name])
    return {DestinationName(*row[:3]): _history(row[3]) for row in rows}


def _history(document: str | None) -> DestinationHistory:
    """Raises StoreFailure for a document of another version."""
    if not document:
        return DestinationHistory()
    try:
        return _decode(document)
    except msgspec.MsgspecError as error:
        raise StoreFailure(f"the history of a destination cannot be read: {error}") from error
