"""Check that a database may be used: that it is not one side of a move to another engine (`store.move_mark`).

Looked at whenever a connection is made, and when a process begins to own mail: no node, worker or command passes it.
"""

from __future__ import annotations

from typing import Any

from gatepost.store.move_mark import check_open, decoded_mark
from gatepost.store.postgres.connecting import Address

_allowed: set[str] = set()  # addresses whose closed stores this process may use: it is the one that moves them


def allow_closed(url: str) -> None:
    """Let this process use a database that is closed, as it moves or reopens it."""
    _allowed.add(url)


async def mark_document(connection: Any) -> str | None:
    """The mark as it is stored; None if there is none."""
    if await connection.fetchval("SELECT to_regclass('store_move')") is None:
        return None
    document: str | None = await connection.fetchval("SELECT document FROM store_move WHERE id = 1")
    return document


async def check_database_open(connection: Any, url: str) -> None:
    """Raise StoreFailure if the database is closed to this process."""
    if url in _allowed:
        return
    document = await mark_document(connection)
    if document is not None:
        address = Address(url)
        place = f"{address}, database {address.database}"
        check_open(decoded_mark(document, place), place)
