"""The timelines of the servers that this process is connected to: an older primary that came back is not used.

PostgreSQL begins a timeline with the next number whenever a standby is promoted. Of two servers that take writes, the
one with the lower number was primary before, and what it has is not what the site has. That holds for servers that
were copied from each other, which have one system identifier: a cluster of its own, such as one that pg_upgrade or
initdb made, begins at 1 again. Called by `store.postgres.server` with each connection; kept in memory alone, for each
process (docs/decisions/0153-a-primary-that-was-taken-over-from-is-not-used.md).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import weakref
from collections.abc import Collection, Iterable
from typing import Any, Final

import asyncpg

_CURRENT: Final = """
SELECT (SELECT system_identifier FROM pg_control_system()), CASE WHEN pg_is_in_recovery() THEN 0
    ELSE ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int END
"""
# Who offers databases as a service may keep these functions back, or have no timelines; it fences its servers itself.
_UNTOLD: Final = (
    asyncpg.InsufficientPrivilegeError,
    asyncpg.FeatureNotSupportedError,
    asyncpg.UndefinedFunctionError,
    asyncpg.ObjectNotInPrerequisiteStateError,
    asyncpg.InternalServerError,
)

type _Cluster = tuple[str, int]  # store.url, and the system identifier

_log = logging.getLogger(__name__)

_lock = threading.Lock()
_newest: dict[_Cluster, int] = {}
_used: dict[_Cluster, int] = {}  # the same, of servers that were chosen
_older: dict[str, tuple[str, int, int] | None] = {}  # hosts of store.url, as last seen; None: no older primary
_connections: weakref.WeakKeyDictionary[Any, tuple[_Cluster, int, asyncio.AbstractEventLoop]] = (
    weakref.WeakKeyDictionary()
)


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
    system, timeline = await _read_timeline(connection)
    cluster = url, system
    with _lock:
        newest = _newest.get(cluster, 0)
        if 0 < timeline < newest:
            raise OlderPrimaryError(timeline, newest)
        _newest[cluster] = max(timeline, newest)
        _connections[connection] = cluster, timeline, asyncio.get_running_loop()
        older = [
            (other, loop) for other, (of, number, loop) in _connections.items() if of == cluster and number < timeline
        ]
    for other, loop in older:
        with contextlib.suppress(RuntimeError):  # its loop was closed meanwhile
            loop.call_soon_threadsafe(other.terminate)


async def _read_timeline(connection: Any) -> tuple[int, int]:
    """The system identifier and the timeline; (0, 0) where they are not told, and nothing can be compared."""
    try:
        system, timeline = await connection.fetchrow(_CURRENT)
    except _UNTOLD:
        return 0, 0
    return system, timeline


def note_used(connection: Any, url: str) -> None:
    """Say once, of a connection that was chosen, that another server took over since the one before."""
    cluster, timeline = _known(connection, url)
    with _lock:
        before, _used[cluster] = _used.get(cluster, 0), max(timeline, _used.get(cluster, 0))
    if before and timeline > before:
        _log.warning(
            "PostgreSQL: another server took over (timeline %d, before: %d). It may lack mail that was accepted just "
            'before, unless store.durability is "replicated"',
            timeline,
            before,
        )


def note_older(host: str, place: str, error: BaseException | None) -> bool:
    """Note what a look at a host showed, for alarms; whether it is an older primary and was not at the look before.

    host: its own URL. place: the same for sentences. error: of the look, None if the host is as it should be.
    """
    with _lock:
        before = _older.get(host)
        _older[host] = (place, error.timeline, error.newest) if isinstance(error, OlderPrimaryError) else None
        return before is None and _older[host] is not None


def older_primaries(hosts: Collection[str]) -> list[tuple[str, int, int]] | None:
    """Servers among some hosts that took writes when this process last looked, and were taken over from.

    Each with its place, its timeline and the newest one. None if it has not looked at all of them yet.
    """
    with _lock:
        if any(host not in _older for host in hosts):
            return None
        return sorted(old for host in hosts if (old := _older[host]) is not None)


def newest_of(connections: Iterable[Any]) -> Any:
    """Of connections that were admitted, at least one: the first, or one to a server that took over from that one."""
    known = {connection: _known(connection, "") for connection in connections}
    cluster, _ = next(iter(known.values()))
    return max(
        (connection for connection in known if known[connection][0] == cluster),
        key=lambda connection: known[connection][1],
    )


def _known(connection: Any, url: str) -> tuple[_Cluster, int]:
    """What was told of a connection that was admitted; nothing of any other."""
    with _lock:
        cluster, timeline, _ = _connections.get(connection, ((url, 0), 0, None))
    return cluster, timeline


def _forget_connections() -> None:
    """In a child: the connections are the parent's. What the newest timeline is stays true."""
    global _lock  # noqa: PLW0603 - the parent may have held it
    _connections.clear()
    _older.clear()
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_forget_connections)
