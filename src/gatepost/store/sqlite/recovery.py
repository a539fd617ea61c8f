"""Open a shard after a stop or a crash: take the lock and clean up.

Rows are the truth. A big file without a row belongs to a message that was never acknowledged, or is gone: it goes. A
row whose big file is missing or short was acknowledged (the file is synced before the commit), and something else took
the file: the row stays, so that its sender hears of it. Called by `store.sqlite.queue` before anything else.

Deliveries that were in memory are in no index. Those of the newest messages are looked for at once, the rest of a long
queue afterwards, a part at a time: otherwise new mail would wait until all of it was read from the disk.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from typing import TYPE_CHECKING, Any, NamedTuple

from gatepost.mail.model.queue_id import format_id
from gatepost.store.bodies import remove_strays
from gatepost.store.interface import StoreFailure
from gatepost.store.sqlite.schema import LOCK_FILE, QUEUE_FILE

if TYPE_CHECKING:
    from pathlib import Path

    import apsw


_YEAR = 366 * 86400.0
_FILE_CLOCK = 0.02  # seconds by which the kernel's time of a file may be behind the clock: a tick is 10 ms at most
_HIGHEST = (
    "SELECT max(ifnull((SELECT max(id) FROM message), 0),"
    " ifnull((SELECT max(big) FROM message INDEXED BY big WHERE big IS NOT NULL), 0))"
)
_NEWEST = 20_000  # deliveries that a start looks at: some milliseconds
_ROWS = 100_000  # deliveries of one part of the rest
_FIRST = "SELECT message FROM delivery WHERE message <= ? ORDER BY message DESC LIMIT 1 OFFSET ?"
_LAST = "SELECT message FROM delivery WHERE message BETWEEN ? AND ? ORDER BY message LIMIT 1 OFFSET ?"
# One look at each row for both, as ids of deliveries may be beyond those of messages.
_PART = "SELECT ifnull(max(id), 0), ifnull(sum(next_at = 0), 0) FROM delivery WHERE message BETWEEN ? AND ?"
MAKE_DUE = "UPDATE delivery SET next_at = ? WHERE message BETWEEN ? AND ? AND next_at = 0"
"""At a time, the deliveries of messages between two ids that were in memory."""

_log = logging.getLogger(__name__)


def lock_shard(directory: Path) -> int:
    """Become the one owner of a shard until the descriptor is closed or the process ends. Raises StoreFailure."""
    descriptor = os.open(directory / LOCK_FILE, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise StoreFailure(f"{directory} belongs to another process: {error}") from error
    with contextlib.suppress(OSError):  # for an administrator; the lock is what counts, on a full disk too
        os.ftruncate(descriptor, os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0))
    return descriptor


# A big file has what the row promises, but for the head of a message that was examined: that lies in the database.
_PROMISED = (
    "SELECT message.big, message.size - coalesce(length(body.data), 0) FROM message INDEXED BY big"
    " LEFT JOIN body ON body.id = message.id WHERE message.big IS NOT NULL"
)


class ScannedMessages(NamedTuple):
    """Messages up to `last`, looked through. highest: id of their deliveries, 0 without any.

    leftovers: how many of these were in memory when the process ended.
    """

    last: int
    highest: int
    leftovers: int


class Recovered(NamedTuple):
    """highest: id in use, as far as was looked. rest: the newest message that was not looked at, 0 for none."""

    highest: int
    rest: int


def recover_all(connection: apsw.Connection, big: Path, now: float) -> None:
    """Make what a crash left whole and due, all of it."""
    rest = recover(connection, big, now).rest
    connection.execute(MAKE_DUE, (now, 0, rest))


def look_through(connection: apsw.Connection, first: int, newest: int) -> ScannedMessages:
    """Look for leftovers in some of the messages between two ids, from `first` on. Changes nothing."""
    last: int = connection.execute(_LAST, (first, newest, _ROWS)).get or newest
    row: Any = connection.execute(_PART, (first, last)).fetchone()
    return ScannedMessages(last, *row)


def recover(connection: apsw.Connection, big: Path, now: float) -> Recovered:
    """Make what a crash left whole, and the leftovers of the newest messages due."""
    for number in remove_strays(big, dict(connection.execute(_PROMISED))):
        _log.error(
            "the body %s of a queued message is missing or short; the message waits until it expires with a notice",
            format_id(number),
        )
    connection.execute("BEGIN IMMEDIATE")
    # Administrators' notices speak to a memory that is gone; the rows say it all.
    connection.execute("DELETE FROM notice")
    touched: list[tuple[Any, ...]] = connection.execute(
        "DELETE FROM delivery INDEXED BY dropped WHERE dropped RETURNING message"
    ).fetchall()
    for (message,) in touched:
        _remove_if_done(connection, message)
    highest: int = connection.execute(_HIGHEST).get
    first: int = connection.execute(_FIRST, (highest, _NEWEST)).get or 0
    row: Any = connection.execute(_PART, (first, highest)).fetchone()
    beyond, leftovers = row
    if leftovers:
        connection.execute(MAKE_DUE, (now, first, highest))
    connection.execute("COMMIT")
    remove_strays(big, dict(connection.execute(_PROMISED)))
    return Recovered(max(highest, beyond), max(first - 1, 0))


def last_written(directory: Path, now: float) -> float:
    """The time of the shard's last write by the clock of then, seconds since 1970: no id of it was made later.

    Ids of messages that are gone are in the trace, and are not given out again because the clock was put back. Ask
    before the database is opened. 0.0 if it is new, or if the time is more than a year ahead and so not to be believed.
    """
    times = [0.0]
    for name in (QUEUE_FILE, f"{QUEUE_FILE}-wal"):
        with contextlib.suppress(FileNotFoundError):
            times.append((directory / name).stat().st_mtime)
    latest = max(time for time in times if time < now + _YEAR)
    return latest + _FILE_CLOCK if latest else 0.0


def _remove_if_done(connection: apsw.Connection, message: int) -> None:
    connection.execute(
        "DELETE FROM message WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM delivery WHERE message = ?1)", (message,)
    )
    connection.execute(
        "DELETE FROM body WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM message WHERE id = ?1)", (message,)
    )
