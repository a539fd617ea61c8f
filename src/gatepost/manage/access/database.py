"""The file `access.db`: how it is opened, its tables, and one transaction at a time.

Made by `manage.access.accounts`; the modules `access.*_rows` get its connection inside a transaction.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

import apsw

from gatepost.store.interface import StoreFailure
from gatepost.store.sqlite.schema import StoreSettings, exclusively, make_directory, open_database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


_SETTINGS = StoreSettings(page_size=4096, checkpoint_pages=1000)
_SCHEMA_VERSION = 3
_APPLICATION_ID = 0x67706163  # "gpac"
_WAIT = 30.0  # seconds for one's turn among the threads of this process; SQLite itself waits 5 s for other processes

# organizations: JSON, NULL is all. issuer, subject: "" for who has a password here; argon2 is "" for all others. setup
# has one row at most. audit_event.id never comes again, since pages go on behind one.
_TABLES = """
CREATE TABLE user (
    name          TEXT PRIMARY KEY,
    role          TEXT NOT NULL,
    organizations TEXT,
    enabled       INTEGER NOT NULL,
    created       REAL NOT NULL,
    last_login    REAL NOT NULL,
    last_address  TEXT NOT NULL,
    generation    INTEGER NOT NULL,
    argon2        TEXT NOT NULL,
    issuer        TEXT NOT NULL,
    subject       TEXT NOT NULL
) WITHOUT ROWID;
CREATE UNIQUE INDEX user_of ON user (issuer, subject) WHERE issuer <> '';
CREATE TABLE session (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    hash       BLOB NOT NULL UNIQUE,
    user       TEXT NOT NULL,
    generation INTEGER NOT NULL,
    created    REAL NOT NULL,
    last_seen  REAL NOT NULL,
    confirmed  REAL NOT NULL,
    address    TEXT NOT NULL,
    agent      TEXT NOT NULL
);
CREATE INDEX session_of ON session (user);
CREATE TABLE token (
    name          TEXT PRIMARY KEY,
    hash          BLOB NOT NULL UNIQUE,
    scopes        TEXT NOT NULL,
    organizations TEXT,
    created       REAL NOT NULL,
    expires       REAL,
    made_by       TEXT NOT NULL,
    maker         TEXT NOT NULL,
    last_used     REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE passkey (
    id         BLOB PRIMARY KEY,
    user       TEXT NOT NULL,
    name       TEXT NOT NULL,
    public_key BLOB NOT NULL,
    sign_count INTEGER NOT NULL,
    created    REAL NOT NULL,
    last_used  REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX passkey_of ON passkey (user);
CREATE TABLE setup (
    id   INTEGER PRIMARY KEY CHECK (id = 1),
    hash BLOB NOT NULL,
    made REAL NOT NULL
);
CREATE TABLE audit_event (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    at           REAL NOT NULL,
    who          TEXT NOT NULL,
    address      TEXT NOT NULL,
    action       TEXT NOT NULL,
    organization TEXT NOT NULL,
    subject      TEXT NOT NULL,
    outcome      TEXT NOT NULL,
    detail       TEXT NOT NULL
);
"""
_AUDIT_INDEXES = """
CREATE INDEX audit_event_at ON audit_event (at);
CREATE INDEX audit_event_of ON audit_event (organization, id);
CREATE INDEX audit_event_refused ON audit_event (who, action, id) WHERE outcome <> 'done';
"""
# Schema 2 called audit events deeds; the file of an older gateway is taken over as it is opened.
_FROM_2 = """
ALTER TABLE deed RENAME TO audit_event;
DROP INDEX deed_at;
DROP INDEX deed_of;
DROP INDEX deed_refused;
"""


class AccessDatabase:
    """One connection, which the threads of a process take in turn. Methods raise StoreFailure."""

    def __init__(self, path: Path) -> None:
        """Open `path`, made if it is not there, readable by its owner only."""
        self._path = path
        self._turn = threading.Lock()
        try:
            make_directory(path.parent)
        except OSError as error:
            raise StoreFailure(f"{path.parent}: {error.strerror}") from error
        self._connection = open_database(path, _SETTINGS, lasting=True)
        try:
            self._connection.execute("PRAGMA wal_autocheckpoint = 1000")
            self._connection.execute("PRAGMA secure_delete = ON")  # what is removed was a hash of a secret
            self._make_tables()
        except apsw.Error as error:
            self._connection.close()
            raise StoreFailure(f"{path}: {error}") from error
        except StoreFailure:
            self._connection.close()
            raise

    @contextlib.contextmanager
    def reading(self) -> Iterator[apsw.Connection]:
        """For one statement; it sees what was committed last."""
        with self._in_turn():
            yield self._connection

    @contextlib.contextmanager
    def changing(self) -> Iterator[apsw.Connection]:
        """One transaction that no other thread or process is in; it is taken back if what is done in it raises."""
        with self._in_turn(), exclusively(self._connection):
            yield self._connection

    def forget(self) -> None:
        """Truncate the write-ahead log, which still holds removed rows; while somebody reads, a bit later."""
        with contextlib.suppress(StoreFailure), self._in_turn():
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        """Close the file; whoever is at it ends first."""
        with self._in_turn():
            self._connection.close()

    @contextlib.contextmanager
    def _in_turn(self) -> Iterator[None]:
        if not self._turn.acquire(timeout=_WAIT):
            raise StoreFailure(f"{self._path}: busy for {_WAIT:.0f} s")
        try:
            yield
        except apsw.Error as error:
            raise StoreFailure(f"{self._path}: {error}") from error
        finally:
            self._turn.release()

    def _make_tables(self) -> None:
        if self._is_current():  # asked without the lock that whoever writes just now holds
            return
        with exclusively(self._connection):
            self._make_tables_once()

    def _is_current(self) -> bool:
        version, application = self._connection.pragma("user_version"), self._connection.pragma("application_id")
        return bool(version == _SCHEMA_VERSION and application == _APPLICATION_ID)

    def _make_tables_once(self) -> None:
        if self._is_current():  # by another process a moment ago
            return
        version = self._connection.pragma("user_version")
        is_ours = self._connection.pragma("application_id") == _APPLICATION_ID
        is_older = version == _SCHEMA_VERSION - 1 and is_ours
        if not is_older and (version or self._connection.execute("SELECT count(*) FROM sqlite_schema").get):
            raise StoreFailure(f"{self._path} does not hold the accounts of this version (schema {version})")
        self._connection.execute((_FROM_2 if is_older else _TABLES) + _AUDIT_INDEXES)
        self._connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        self._connection.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
