"""The tables of nodes and leases, `nodes.db` with SQLite: small, and changed by one statement at a time.

Used by `store.nodes` and `store.leases`.
"""

from __future__ import annotations

from typing import Final

from gatepost.store.interface import Schema

STATEMENT_SECONDS: Final = 3.0
"""What a heartbeat or a renewal may take. One that hangs is given up, so that the next is made in time."""

SITE: Final = Schema(
    name="site",
    file="nodes.db",
    application_id=0x67706E64,  # "gpnd"
    version=1,
    tables="""
    CREATE TABLE node (
        name      TEXT PRIMARY KEY,
        instance  TEXT NOT NULL,
        origin    TEXT NOT NULL,
        host      TEXT NOT NULL,
        software  TEXT NOT NULL,
        listeners TEXT NOT NULL,
        started   REAL NOT NULL,
        seen      REAL NOT NULL,
        state     TEXT NOT NULL
    );
    CREATE TABLE node_worker (
        node          TEXT NOT NULL,
        worker        INTEGER NOT NULL,
        instance      TEXT NOT NULL,
        pid           INTEGER NOT NULL,
        seen          REAL NOT NULL,
        configuration INTEGER NOT NULL,
        figures       TEXT NOT NULL,
        PRIMARY KEY (node, worker)
    );
    CREATE TABLE lease (
        name    TEXT PRIMARY KEY,
        node    TEXT NOT NULL,
        holder  TEXT NOT NULL,
        epoch   INTEGER NOT NULL,
        expires REAL NOT NULL
    );
    """,
)
