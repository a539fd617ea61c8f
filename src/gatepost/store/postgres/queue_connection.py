"""One connection of the queue on its worker's loop: made at the first use, and anew after it broke.

Used by `store.postgres.flusher` (one that commits) and `store.postgres.queue` (one for everything else).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

import asyncpg

from gatepost.store.interface import MessageUnstorable, OutcomeUnknown, StoreBusy, StoreFailure, StoreFull
from gatepost.store.postgres.connecting import first_line, summary_of
from gatepost.store.postgres.hosts import each_host
from gatepost.store.postgres.server import connect, failure_of

_log = logging.getLogger(__name__)

_CONNECT_SECONDS: Final = 3.0  # short, as another try follows
_CLOSE_SECONDS: Final = 2.0
_REPEATS: Final = 3
# A value that no column can hold. ValueError: what asyncpg itself says of one.
_BAD_VALUE: Final = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
    ValueError,
    OverflowError,
)
_ABORTED: Final = (asyncpg.TransactionRollbackError, asyncpg.LockNotAvailableError)
_ERRORS: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
_NO_STANDBY: Final = "PostgreSQL has no synchronous standby"
# Who may not see more sees that somebody follows; then a commit shows by its time-out that it is the wrong one.
_FOLLOWED: Final = "SELECT EXISTS (SELECT FROM pg_stat_replication WHERE sync_state IS DISTINCT FROM 'async')"
_DURABLE: Final = frozenset({"on", "remote_apply", "remote_write"})
# Any role may change its own settings, and they stay when whoever did it is gone.
_PIN: Final = (
    "SELECT set_config('synchronous_commit', 'on', false) FROM pg_settings WHERE name = 'synchronous_commit'"
    " AND source IN ('user', 'database user') AND setting IN ('off', 'local')"
)


class NotReplicated(OutcomeUnknown):
    """It was committed on the primary, and whether a standby has it is not known."""

    summary = _NO_STANDBY


class QueueConnection:
    """One statement at a time. prepare: called with each new connection before its first use.

    pinned: commits wait for the disk, and for a standby, also if the role has set otherwise for itself.
    """

    def __init__(
        self,
        url: str,
        role: str,
        prepare: Callable[[Any], Awaitable[None]],
        *,
        statement: float,
        replicated: bool = False,
        pinned: bool = False,
    ) -> None:
        self._url = url
        self._role = role
        self._prepare = prepare
        self._statement = statement
        self._replicated = replicated
        self._pinned = pinned
        self._connection: Any = None
        self._lock = asyncio.Lock()
        self._left = 0  # process of the server that served the connection before
        self._warned = ""

    async def open(self) -> None:
        """Connect. Raises StoreFailure, StoreBusy of it if that may pass."""
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                self._connection = await self._connected()
        except _ERRORS as error:
            raise failure_of(error, "connect") from error

    async def run[T](self, work: Callable[[Any], Awaitable[T]], doing: str) -> T:
        """Do `work` with the connection.

        Raises MessageUnstorable for a value that cannot be stored, OutcomeUnknown if something may have been done, and
        StoreBusy or StoreFull if nothing was. Nothing is final: what a server lost it did not acknowledge.
        """
        async with self._lock:
            connection = await self._usable()
            self._warned = ""
            try:
                async with asyncio.timeout(self._statement):
                    result = await _repeated(work, connection)
            except _BAD_VALUE as error:
                raise MessageUnstorable(f"PostgreSQL: {doing}: {first_line(error)}") from error
            except asyncpg.DiskFullError as error:
                raise StoreFull(f"PostgreSQL: {doing}: {first_line(error)}", summary=summary_of(error)) from error
            except _ABORTED as error:
                raise StoreBusy(f"PostgreSQL: {doing}: {first_line(error)}") from error
            except asyncpg.ReadOnlySQLTransactionError as error:
                self._drop()  # behind the same address there may be another server by now
                raise StoreBusy(f"PostgreSQL: {doing}: {first_line(error)}", summary=summary_of(error)) from error
            except _ERRORS as error:
                self._drop()
                raise OutcomeUnknown(str(failure_of(error, doing)), summary=summary_of(error)) from error
            except asyncio.CancelledError:
                self._drop()
                raise
            if self._warned:
                raise NotReplicated(f"PostgreSQL: {doing}: {self._warned}")
            return result

    async def _usable(self) -> Any:
        if self._connection is None or self._connection.is_closed():
            self._connection = None
            try:
                await self.open()
            except StoreBusy:
                raise
            except StoreFailure as failure:
                raise StoreBusy(str(failure), summary=failure.summary) from failure
        return self._connection

    async def _connected(self) -> Any:
        connection = await connect(self._url, role=self._role, statement=self._statement)
        try:
            connection.add_log_listener(self._heard)
            if self._pinned:
                await connection.execute(_PIN)
            if self._replicated:
                await require_standby(connection)
            await self._end_the_last(connection)
            await self._prepare(connection)
        except BaseException:
            connection.terminate()
            raise
        return connection

    async def _end_the_last(self, connection: Any) -> None:
        """A statement of ours that we heard no more of must not be committed after we said that it was not."""
        if self._left:
            await connection.fetch(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE pid = $1 AND usename = current_user AND application_name = $2",
                self._left,
                f"gatepost {self._role}"[:63],
            )
        self._left = connection.get_server_pid()

    def _heard(self, _connection: Any, message: Any) -> None:
        """A commit that no longer waits for its standby succeeds, with a warning."""
        if message.severity_en == "WARNING":
            self._warned = str(message)

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def close(self) -> None:
        """End the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(*_ERRORS):
                await connection.close(timeout=_CLOSE_SECONDS)


async def _repeated[T](work: Callable[[Any], Awaitable[T]], connection: Any) -> T:
    """Do `work`, again if it got in the way of another transaction."""
    for _ in range(_REPEATS):
        try:
            return await work(connection)
        except asyncpg.TransactionRollbackError:
            pass
    return await work(connection)


async def require_standby(connection: Any) -> None:
    """Raise StoreBusy if a commit would not wait for a standby, or for one that is not there."""
    names = await connection.fetchval("SHOW synchronous_standby_names")
    commit = await connection.fetchval("SHOW synchronous_commit")
    if not names.strip():
        raise StoreBusy(
            'store.durability is "replicated", and the PostgreSQL server has no synchronous standby: set '
            "synchronous_standby_names there",
            summary=_NO_STANDBY,
        )
    if commit not in _DURABLE:
        raise StoreBusy(
            f'store.durability is "replicated", and the PostgreSQL server has synchronous_commit = {commit}: a commit '
            "does not wait for the standby; set it to on",
            summary=_NO_STANDBY,
        )
    if not await connection.fetchval(_FOLLOWED):
        raise StoreBusy(
            f'store.durability is "replicated", and none of the PostgreSQL server\'s synchronous standbys ({names}) is '
            "connected to it; nothing can be acknowledged until one is",
            summary=_NO_STANDBY,
        )


async def warn_of_lax_commits(connection: Any, url: str, *, replicated: bool) -> None:
    """Log that acknowledged mail may be lost if the server crashes, where its administrator chose so.

    url: as in `store.url`. replicated: mail is acknowledged only when a synchronous standby has it.
    """
    if not replicated and len(each_host(url)) > 1:
        _log.warning(
            'store.durability is "local", and store.url names several servers: a standby that is promoted may lack '
            'mail that was acknowledged just before. Set store.durability = "replicated", with a synchronous standby'
        )
    if await connection.fetchval("SHOW synchronous_commit") == "off":
        _log.warning(
            "the PostgreSQL server has synchronous_commit = off: mail that was acknowledged may be lost if it crashes"
        )
    if await connection.fetchval("SHOW fsync") == "off":
        _log.warning("the PostgreSQL server has fsync = off: its data may be lost if the machine crashes")
