"""Connections to the PostgreSQL server, for code that blocks: an event loop on a thread of its own, and a bounded pool.

One for each process and address, made at the first use and never on both sides of a fork. The queue of a worker does
not come here: it has connections of its own on the worker's loop (`store.postgres.queue`).

Whenever a connection is made, the database is checked not to be one side of a move to another engine
(`store.move_mark`); `store.postgres.owners` does so when a process begins to own mail.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Final

import asyncpg

from gatepost.store.interface import StoreBusy, StoreFailure
from gatepost.store.move_mark import check_open, decoded_mark
from gatepost.store.postgres import connecting
from gatepost.store.postgres.hosts import each_host, first_to_answer, others, wait_for_name
from gatepost.store.postgres.timelines import admit, note_older, note_used
from gatepost.store.postgres.url_files import check_private_files

OLDEST: Final = 15
"""The oldest major version of PostgreSQL that is used."""

STATEMENT_SECONDS: Final = 30.0
"""How long one statement may take."""

_CONNECT_SECONDS: Final = 10.0
_LOCK_SECONDS: Final = 10.0
_IDLE_SECONDS: Final = 60.0  # within a transaction
_WATCH_SECONDS: Final = 15.0  # between two looks at the other hosts
_SHORT_SECONDS: Final = 5.0  # for such a look
_MOST: Final = 4  # connections of a process beside its queue
_GRACE: Final = 5.0  # seconds beyond a statement's own limit, after which the server does not answer at all
_SHORT_GRACE: Final = 1.0  # the same for statements that must be quick

# What may be otherwise when it is tried again: the server is away, starting, stopping, full, read-only or slow.
_PASSING: Final = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.LockNotAvailableError,
    asyncpg.QueryCanceledError,
    asyncpg.TransactionRollbackError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    OSError,
    TimeoutError,
)

# Errors of the library or of the way to the server. An InternalClientError is no fault of the library alone: it says
# so, too, that none of several hosts is the primary.
_CLIENT_ERRORS: Final = (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)

_log = logging.getLogger(__name__)

_servers: dict[tuple[str, float], DatabaseServer] = {}
_servers_lock = threading.Lock()


def failure_of(error: BaseException, doing: str) -> StoreFailure:
    """An error of the server or of the way to it as StoreBusy, if it may pass, or StoreFailure."""
    text = connecting.first_line(error)
    kind = StoreBusy if isinstance(error, _PASSING) else StoreFailure
    return kind(f"PostgreSQL: {doing}: {text}", summary=connecting.summary_of(error))


@contextlib.contextmanager
def reported(doing: str) -> Iterator[None]:
    """Errors of asyncpg as StoreBusy or StoreFailure."""
    try:
        yield
    except (asyncpg.PostgresError, *_CLIENT_ERRORS) as error:
        raise failure_of(error, doing) from error


async def connect(url: str, *, role: str, statement: float = STATEMENT_SECONDS, is_local: bool = False) -> Any:
    """One connection with the time-outs that all have. role: shown in pg_stat_activity. statement: seconds.

    is_local: whether its commits wait for the server's own disk alone, and for no standby. Raises StoreBusy or
    StoreFailure with what to do, also for a server that is too old or not verified, and for a database that is moved to
    another engine.
    """
    check_private_files(url)
    options = connection_options(role, statement)
    if is_local:
        options["server_settings"]["synchronous_commit"] = "local"
    connection, errors = await first_to_answer(url, lambda host: _connect_host(host, url, options))
    if connection is None:
        raise connecting.nobody_answers(errors)
    note_used(connection, url)
    try:
        check_version(*connection.get_server_version()[:2])
        connecting.check_verified(connection, url)
        with reported("connect"):
            if await _check_direct(connection, url):
                await check_database_open(connection, url)
    except StoreFailure:
        await connection.close()
        raise
    return connection


async def _connect_host(host: str, url: str, options: dict[str, Any]) -> Any:
    connection = None
    try:
        dsn, host_options = connecting.given_to_library(host)
        await wait_for_name(dsn, options["timeout"])
        connection = await asyncpg.connect(dsn, **host_options, **options)
        await admit(connection, url)
    except BaseException as error:
        if connection is not None:
            connection.terminate()
        if isinstance(error, (asyncpg.PostgresError, *_CLIENT_ERRORS, ValueError)):
            raise connecting.connect_failure(error, host) from error
        raise
    return connection


async def _watch_others(url: str) -> None:
    """Look now and then whether another host of the URL took over while ours went on, or came back as it was."""
    while True:
        await asyncio.sleep(_WATCH_SECONDS)
        for host in others(url):
            try:
                connection = await _connect_host(host, url, connection_options("watch", _SHORT_SECONDS))
            except Exception as error:  # noqa: BLE001 - a standby, or nobody: as it should be
                if note_older(host, str(connecting.Address(host)), error.__cause__):
                    _log.error("%s", error)
            else:
                note_older(host, "", None)
                connection.terminate()


async def _check_direct(connection: Any, url: str) -> bool:
    """Raise StoreFailure if a pooler is between: it cannot say which process of the server we have.

    Returns whether the database has ever been one side of a move. A time limit for whole transactions, which a role or
    database may have, would end moves and checks; servers before 17 have none, and refuse its name at the log-in.
    """
    process, has_mark, _ = await connection.fetchrow(
        "SELECT pg_backend_pid(), to_regclass('store_move') IS NOT NULL, CASE WHEN"
        " current_setting('transaction_timeout', true) <> '0' THEN set_config('transaction_timeout', '0', false) END"
    )
    if process != connection.get_server_pid():
        raise connecting.connect_failure(connecting.PoolerError(), url)
    return bool(has_mark)


def check_version(major: int, minor: int) -> None:
    """Raise StoreFailure if a server is too old."""
    if major < OLDEST:
        raise StoreFailure(
            f"store.url: PostgreSQL {major}.{minor} is too old: gatepost needs {OLDEST} or newer. Upgrade the server "
            "(pg_upgrade); nothing was changed"
        )


def connection_options(role: str, statement: float = STATEMENT_SECONDS) -> dict[str, Any]:
    """The options of every connection. statement: seconds that one statement may take."""
    return {
        "timeout": min(_CONNECT_SECONDS, statement),
        "command_timeout": statement + _grace(statement),
        "server_settings": {
            "application_name": f"gatepost {role}",
            "statement_timeout": _milliseconds(statement),
            "lock_timeout": _milliseconds(min(_LOCK_SECONDS, statement)),
            "idle_in_transaction_session_timeout": _milliseconds(min(_IDLE_SECONDS, statement)),
            "idle_session_timeout": "0",  # ours wait for mail, whatever the server has for others
            # To compile takes longer than what it saves here: 0.2 s of CPU for a list of a million deliveries.
            "jit": "off",
        },
    }


def _grace(statement: float) -> float:
    return _GRACE if statement >= STATEMENT_SECONDS else _SHORT_GRACE


def _milliseconds(seconds: float) -> str:
    return str(round(seconds * 1000))


def _pass_over_lost(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Say what went wrong on the loop of a `DatabaseServer`, but for one thing.

    A connection that is ended as the server does not answer is ended while asyncpg opens another one, to have the
    statement cancelled. Of that one a future is left over which nobody asks; whoever waited was told already.
    """
    if "future" not in context or not isinstance(context.get("exception"), ConnectionError):
        loop.default_exception_handler(context)


class DatabaseServer:
    """The connections of this process to one server, lent to threads. Every method blocks, and raises StoreFailure."""

    @classmethod
    def of(cls, url: str, statement: float = STATEMENT_SECONDS) -> DatabaseServer:
        """The one of this process for an address. statement: seconds that one statement may take."""
        with _servers_lock:
            if (url, statement) not in _servers:
                _servers[url, statement] = cls(url, statement)
            return _servers[url, statement]

    def __init__(self, url: str, statement: float = STATEMENT_SECONDS) -> None:
        self.url = url
        self._statement = statement
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(_pass_over_lost)
        self._thread = threading.Thread(target=self._loop.run_forever, name="postgres", daemon=True)
        self._thread.start()
        self._free: list[Any] = []
        self._lent = threading.BoundedSemaphore(_MOST)
        self._watching: asyncio.Task[None] | None = None
        if len(each_host(url)) > 1 and statement == STATEMENT_SECONDS:  # one of the process is enough
            self._loop.call_soon_threadsafe(self._watch)

    def _watch(self) -> None:
        self._watching = self._loop.create_task(_watch_others(self.url))

    def run[T](self, work: Callable[[], Coroutine[Any, Any, T]], doing: str) -> T:
        """Run `work` on the loop, and wait for its result."""
        future = asyncio.run_coroutine_threadsafe(work(), self._loop)
        with reported(doing):
            try:
                return future.result(self._statement + 2 * _grace(self._statement))
            except TimeoutError:
                future.cancel()
                raise

    @contextlib.contextmanager
    def connection(self) -> Iterator[Any]:
        """A connection for exclusive use. One that is broken, or was left within a transaction, is not lent again."""
        if not self._lent.acquire(timeout=self._statement):
            raise StoreBusy(f"PostgreSQL: all {_MOST} connections of this process are busy")
        try:
            connection = self._taken()
            usable = True
            try:
                yield connection
            except StoreBusy:
                usable = False  # it may wait for an answer still
                raise
            finally:
                self._put_back(connection, usable=usable)
        finally:
            self._lent.release()

    def _taken(self) -> Any:
        while self._free:
            connection = self._free.pop()
            if not connection.is_closed():
                return connection
        # What must be quick, such as a sign of life, is soon said again; it waits for no standby that is missing.
        is_quick = self._statement < STATEMENT_SECONDS
        return self.run(
            lambda: connect(self.url, role="manage", statement=self._statement, is_local=is_quick), "connect"
        )

    def _put_back(self, connection: Any, *, usable: bool) -> None:
        if connection.is_closed():
            return
        if not usable or connection.is_in_transaction():
            self._loop.call_soon_threadsafe(connection.terminate)
        else:
            self._free.append(connection)

    async def _end_watch(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait([self._watching])

    def close(self) -> None:
        """Close all connections and end the thread. For who ends before its process does, such as a test."""
        with _servers_lock:
            _servers.pop((self.url, self._statement), None)
        for connection in self._free:
            with contextlib.suppress(StoreFailure):
                self.run(connection.close, "close")
        asyncio.run_coroutine_threadsafe(self._end_watch(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def close_all() -> None:
    """Close all connections of this process, and end the threads."""
    for server in list(_servers.values()):
        server.close()


def _forget_servers() -> None:
    """In a child: the threads and sockets are the parent's."""
    global _servers_lock  # noqa: PLW0603 - the parent may have held it
    _servers.clear()
    _servers_lock = threading.Lock()


os.register_at_fork(after_in_child=_forget_servers)


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
        address = connecting.Address(url)
        place = address.place
        check_open(decoded_mark(document, place), place)
