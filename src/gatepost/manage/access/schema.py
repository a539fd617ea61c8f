"""The tables of accounts and audit events, in the SQL of `store.interface`.

Opened by `manage.access.accounts`; the modules `access.*_rows` get a connection inside a transaction.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from gatepost.store.interface import Schema

_AUDIT_INDEXES: Final = """
CREATE INDEX audit_event_at ON audit_event (at);
CREATE INDEX audit_event_of ON audit_event (organization, id);
CREATE INDEX audit_event_refused ON audit_event (who, action, id) WHERE outcome <> 'done';
"""
# organizations: JSON, NULL is all. preferences: JSON, of `Preferences`. issuer, subject: "" for who has a password
# here; argon2 is "" for all others. setup has one row at most; sealed: the code itself, under the master key, NULL
# without one. audit_event.id never comes again, since pages go on behind one.
_TABLES: Final = """
CREATE TABLE "user" (
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
    subject       TEXT NOT NULL,
    preferences   TEXT NOT NULL DEFAULT '{}'
) WITHOUT ROWID;
CREATE UNIQUE INDEX user_of ON "user" (issuer, subject) WHERE issuer <> '';
CREATE TABLE session (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    hash       BLOB NOT NULL UNIQUE,
    "user"     TEXT NOT NULL,
    generation INTEGER NOT NULL,
    created    REAL NOT NULL,
    last_seen  REAL NOT NULL,
    confirmed  REAL NOT NULL,
    address    TEXT NOT NULL,
    agent      TEXT NOT NULL
);
CREATE INDEX session_of ON session ("user");
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
    "user"     TEXT NOT NULL,
    name       TEXT NOT NULL,
    public_key BLOB NOT NULL,
    sign_count INTEGER NOT NULL,
    created    REAL NOT NULL,
    last_used  REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX passkey_of ON passkey ("user");
CREATE TABLE setup (
    id   INTEGER PRIMARY KEY CHECK (id = 1),
    hash BLOB NOT NULL,
    made REAL NOT NULL,
    sealed BLOB
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
# Schema 2 called audit events deeds; the file of an older gateway is taken over as it is opened.
_FROM_2: Final = """
ALTER TABLE deed RENAME TO audit_event;
DROP INDEX deed_at;
DROP INDEX deed_of;
DROP INDEX deed_refused;
"""
_FROM_3: Final = "ALTER TABLE setup ADD COLUMN sealed BLOB;"
_FROM_4: Final = "ALTER TABLE \"user\" ADD COLUMN preferences TEXT NOT NULL DEFAULT '{}';"

ACCESS: Final = Schema(
    name="access",
    file="access.db",
    application_id=0x67706163,  # "gpac"
    version=5,
    tables=_TABLES + _AUDIT_INDEXES,
    upgrades=MappingProxyType({2: _FROM_2 + _AUDIT_INDEXES, 3: _FROM_3, 4: _FROM_4}),
    secret=True,  # what is removed was a hash of a secret
    oldest=3,
)
