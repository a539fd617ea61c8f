"""Taking a shard into possession: the lock, and what a crash may have left.

Rows are the truth. A big file without a row, or a row whose big file is missing or short, belongs to a message that was
never acknowledged (the file is synced before the commit): both go. Called by `store.sqlite` before anything else.
"""

from __future__ import annotations

import fcntl
import logging
import os
from typing import TYPE_CHECKING, Any

from gatepost.store.bodies import remove_strays
from gatepost.store.interface import StoreFailure
from gatepost.store.queue_id import format_id
from gatepost.store.schema import LOCK_FILE

if TYPE_CHECKING:
    from pathlib import Path

    import apsw

__all__ = ["lock_shard", "recover"]

_log = logging.getLogger(__name__)


def lock_shard(directory: Path) -> int:
    """Become the one owner of a shard until the descriptor is closed or the process ends. Raises StoreFailure."""
    descriptor = os.open(directory / LOCK_FILE, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise StoreFailure(f"{directory} belongs to another process: {error}") from error
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)  # for whoever looks; the lock is what counts
    return descriptor


# A big file has what the row promises, but for the head of a message that was examined: that lies in the database.
_PROMISED = (
    "SELECT message.big, message.size - coalesce(length(body.data), 0) FROM message INDEXED BY big"
    " LEFT JOIN body ON body.id = message.id WHERE message.big IS NOT NULL"
)


def recover(connection: apsw.Connection, big: Path, now: float) -> int:
    """Make what a crash left whole and due; returns the highest id in use, 0 if there is none."""
    promised = dict(connection.execute(_PROMISED))
    broken = remove_strays(big, promised)
    connection.execute("BEGIN IMMEDIATE")
    for number in broken:
        _log.error("the body %s of a queued message is missing or short; its message is removed", format_id(number))
        connection.execute(
            "DELETE FROM delivery WHERE message IN (SELECT id FROM message INDEXED BY big WHERE big = ?)", (number,)
        )
        for (message,) in connection.execute("DELETE FROM message WHERE big = ? RETURNING id", (number,)).fetchall():
            connection.execute("DELETE FROM body WHERE id = ?", (message,))
    # Administrators' notices speak to a memory that is gone; the rows say it all.
    connection.execute("DELETE FROM notice")
    touched: list[tuple[Any, ...]] = connection.execute(
        "DELETE FROM delivery INDEXED BY dropped WHERE dropped RETURNING message"
    ).fetchall()
    for (message,) in touched:
        _remove_if_done(connection, message)
    connection.execute("UPDATE delivery SET next_at = ? WHERE next_at = 0", (now,))
    connection.execute("COMMIT")
    remove_strays(big, dict(connection.execute(_PROMISED)))
    highest: int | None = connection.execute("SELECT max(id) FROM message").get
    return highest or 0


def _remove_if_done(connection: apsw.Connection, message: int) -> None:
    connection.execute(
        "DELETE FROM message WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM delivery WHERE message = ?1)", (message,)
    )
    connection.execute(
        "DELETE FROM body WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM message WHERE id = ?1)", (message,)
    )
