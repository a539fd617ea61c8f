"""The tables of the evidence log in PostgreSQL. No I/O.

Lines are those of the files of `store.evidence_files`, octet by octet: who verifies a copy sees no difference.
"""

from __future__ import annotations

from typing import Final

from gatepost.store.interface import Schema

SCHEMA: Final = Schema(
    name="evidence",
    file="",
    application_id=0,
    version=1,
    tables="""
    CREATE TABLE evidence_chain (
        writer TEXT COLLATE "C" PRIMARY KEY,
        epoch  BIGINT NOT NULL,
        place  BIGINT NOT NULL,
        number BIGINT NOT NULL,
        head   TEXT NOT NULL,
        signed BIGINT NOT NULL,
        day    TEXT COLLATE "C" NOT NULL
    );
    CREATE TABLE evidence_entry (
        writer TEXT COLLATE "C" NOT NULL,
        place  BIGINT NOT NULL,
        line   BYTEA NOT NULL,
        PRIMARY KEY (writer, place)
    );
    CREATE TABLE evidence_day (
        day         TEXT COLLATE "C" NOT NULL,
        writer      TEXT COLLATE "C" NOT NULL,
        first_place BIGINT NOT NULL,
        last_place  BIGINT NOT NULL,
        number      BIGINT NOT NULL,
        head        TEXT NOT NULL,
        PRIMARY KEY (day, writer)
    );
    CREATE TABLE evidence_head (
        number BIGINT PRIMARY KEY,
        day    TEXT COLLATE "C" NOT NULL,
        line   BYTEA NOT NULL
    );
    CREATE TABLE evidence_key (
        pem  TEXT COLLATE "C" PRIMARY KEY,
        node TEXT NOT NULL
    );
    """,
)
"""evidence_chain: where each writer stands. epoch: grows with each process that takes the chain; place: of its last
line among all its lines. evidence_day: the lines of a writer and day, and the entry that is the last of them.
evidence_head: day is "" for what says that days were removed."""
