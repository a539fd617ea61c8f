"""The timelines of the servers that this process is connected to: an older primary that came back is not used.

PostgreSQL begins a timeline with the next number whenever a standby is promoted. Of two servers that take writes, the
one with the lower number was primary before, and what it has is not what the site has. Called by
`store.postgres.server` with each connection; kept in memory alone, for each process
(docs/decisions/0153-a-primary-that-was-taken-over-from-is-not-used.md).
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import weakref
from typing import Any, Final

_CURRENT: Final = """
SELECT CASE WHEN pg_is_in_recovery() THEN 0
    ELSE ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int END
"""

_log = logging.getLogger(__name__)

_lock = threading.Lock()
_newest: dict[str, int] = {}  # by store.url
_used: dict[str, int] = {}  # the same, of servers that were chosen
_connections: weakref.WeakKeyDictionary[Any, tuple[str, int, asyncio.AbstractEventLoop]] = weakref.WeakKeyDictionary()


class OlderPrimaryError(ConnectionError):
    """The server takes writes, and another one has taken over from it: what it has is of the past.

    timeline: its own. newest: of the one that took over.
    """

    def __init__(self, timeline: int, newest: int) -> None:
        super().__init__(f"timeline {timeline}, not {newest}")
        self.timeline, self.newest = timeline, newest


async def admit(connection: Any, url: str) -> None:
    """Note the timeline of a new connection; one of a higher number ends all of this process that have a lower one.

    url: store.url, whichever of its hosts this is. Raises OlderPrimaryError, and what the library raises.
    """
    timeline: int = await connection.fetchval(_CURRENT)
    with _lock:
        newest = _newest.get(url, 0)
        if 0 < timeline < newest:
            raise OlderPrimaryError(timeline, newest)
        _newest[url] = max(timeline, newest)
        _connections[connection] = url, timeline, asyncio.get_running_loop()
        older = [(other, loop) for other, (of, number, loop) in _connections.items() if of == url and number < timeline]
    for other, loop in older:
        if not loop.is_closed():
            loop.call_soon_threadsafe(other.terminate)


def note_used(connection: Any, url: str) -> None:
    """Say once, of a connection that was chosen, that another server took over since the one before."""
    timeline = timeline_of(connection)
    with _lock:
        before, _used[url] = _used.get(url, 0), max(timeline, _used.get(url, 0))
    if before and timeline > before:
        _log.warning(
            "PostgreSQL: another server took over (timeline %d, before: %d). It may lack mail that was accepted just "
            'before, unless store.durability is "replicated"',
            timeline,
            before,
        )


def timeline_of(connection: Any) -> int:
    """The timeline of a connection that was admitted; 0 of any other, and of a standby."""
    with _lock:
        return _connections[connection][1] if connection in _connections else 0


def _forget_connections() -> None:
    """In a child: the connections are the parent's. What the newest timeline is stays true."""
    global _lock  # noqa: PLW0603 - the parent may have held it
    _connections.clear()
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_forget_connections)
