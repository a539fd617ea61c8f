"""Check a PostgreSQL server and its tables before they are used; and prepare the tables, as a role that may.

Called by `Storage` when a gateway starts, and for `gatepost store check` and `store prepare`. It has a connection of
its own, which it closes, so that nothing of it is on both sides of a fork. Not for an event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

import asyncpg

from gatepost.store.interface import Schema, StoreBusy, StoreFailure
from gatepost.store.postgres.connecting import SQL, Address
from gatepost.store.postgres.database import StoredVersion, check_known, prepare_tables, stored_versions, unprepared
from gatepost.store.postgres.hosts import HEAD_START, each_host
from gatepost.store.postgres.queue_connection import require_standby
from gatepost.store.postgres.server import connect, reported
from gatepost.store.postgres.worker_role import check_worker_role, remarks_on_role, settle_worker_role

_CLOSE_SECONDS: Final = 5.0

_STATE: Final = """
SELECT current_setting('server_version') AS version, current_user::text AS role, current_database()::text AS database,
       coalesce(current_schema()::text, '') AS schema,
       coalesce((SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()), '') AS tls,
       (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS is_superuser,
       coalesce(has_schema_privilege(current_schema(), 'CREATE'), false) AS may_create,
       pg_is_in_recovery() AS is_standby, current_setting('transaction_read_only') = 'on' AS read_only,
       current_setting('server_encoding') AS encoding
"""


class ServerState(NamedTuple):
    """The state of a server as a role sees it.

    schema: of PostgreSQL, where the tables are. tls: "TLSv1.3"; "" for none. may_create: tables. read_only: it is a
    standby, or was made read-only. tables: versions by schema of gatepost; None where there are none.
    """

    version: str
    role: str
    database: str
    schema: str
    tls: str
    is_superuser: bool
    may_create: bool
    is_standby: bool
    read_only: bool
    encoding: str
    tables: dict[str, int | None]


def check_server(url: str, schemas: Sequence[Schema] = ()) -> ServerState:
    """The state of a server that can be used, with all tables there or this role able to make them.

    Raises StoreBusy if it cannot be reached now, or StoreFailure, with what is wrong, where, and what to do. Changes
    nothing.
    """
    return asyncio.run(_check(url, schemas))


async def _check(url: str, schemas: Sequence[Schema]) -> ServerState:
    async with _connected(url, "check") as connection:
        with reported("check"):
            row = await connection.fetchrow(_STATE)
            stored = await stored_versions(connection, schemas)
    state = ServerState(**row, tables={name: known.version if known else None for name, known in stored.items()})
    _judge(state, Address(url))
    _judge_tables(state, schemas, stored)
    return state


def _judge(state: ServerState, where: Address) -> None:
    if state.encoding != "UTF8":
        raise StoreFailure(
            f"store.url: database {state.database} of {where} has the encoding {state.encoding}, and UTF8 is needed: "
            f"CREATE DATABASE {state.database} ENCODING 'UTF8' TEMPLATE template0; nothing was changed"
        )
    if state.read_only:
        raise StoreBusy(
            f"store.url: {where} is a standby or read-only. Name the primary, or see why default_transaction_read_only "
            "is on; nothing was changed",
            summary="PostgreSQL is read-only",
        )
    if not state.schema:
        raise StoreFailure(
            f"store.url: role {state.role} has no schema in database {state.database} of {where}: GRANT USAGE ON "
            f"SCHEMA … TO {state.role}, and set its search_path ({SQL}); nothing was changed"
        )


def _judge_tables(state: ServerState, schemas: Sequence[Schema], stored: Mapping[str, StoredVersion | None]) -> None:
    lacking = {}
    for schema in schemas:
        known = stored[schema.name]
        if known is not None:
            check_known(schema, known)
        if known is None or not schema.suits(*known):
            lacking[schema.name] = known.version if known else None
    if lacking and not state.may_create:
        raise StoreFailure(f"store.url: {unprepared(lacking)}; nothing was changed")


@asynccontextmanager
async def _connected(url: str, role: str) -> AsyncIterator[Any]:
    """The loop ends with the connection, so it must be gone."""
    connection = await connect(url, role=role)
    try:
        yield connection
    finally:
        try:
            await connection.close(timeout=_CLOSE_SECONDS)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
            connection.terminate()


def lets_in(url: str) -> bool:
    """Whether one of the servers of an address takes its role. Each has rules of its own, and one may be away.

    Raises StoreBusy if none says.
    """
    return asyncio.run(_lets_in(url))


async def _lets_in(url: str) -> bool:
    loop, failures, refused = asyncio.get_running_loop(), [], False
    pending = {loop.create_task(_check(host, ())) for host in each_host(url)}
    while pending:
        patience = HEAD_START if refused else None
        done, pending = await asyncio.wait(pending, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        if not done:  # the others are away
            break
        for task in done:
            if (failure := task.exception()) is None:
                return True
            failures.append(failure)
            refused = refused or (isinstance(failure, StoreFailure) and failure.final)
    if not refused:
        raise failures[0]
    return False


def prepare_server(url: str, schemas: Sequence[Schema], worker_role: str = "") -> ServerState:
    """Make all tables, or bring them up to date; returns the state of before. Raises as `check_server`.

    worker_role: gets the rights of workers; "" for none.
    """
    before = check_server(url, schemas)
    asyncio.run(_prepare(url, schemas, worker_role))
    return before


async def _prepare(url: str, schemas: Sequence[Schema], worker_role: str) -> None:
    async with _connected(url, "prepare") as connection:
        for schema in schemas:
            await prepare_tables(connection, schema)
        if worker_role:
            await settle_worker_role(connection, worker_role, revokes=await _is_newest(connection, schemas))


def check_workers(url: str, role: str) -> None:
    """Raise StoreFailure if the role of workers has not just the rights of workers. Raises as `check_server`, too."""
    check_server(url)
    asyncio.run(_answer_to(url, role, check_worker_role))


def remarks_on_workers(url: str, role: str) -> list[tuple[str, str]]:
    """Doubtful rights and settings of the role of workers, each with what helps. Raises as `check_server`."""
    return asyncio.run(_answer_to(url, role, remarks_on_role))


def check_standby(url: str) -> None:
    """Raise StoreBusy if no commit could wait for a synchronous standby. Raises as `check_server`, too."""
    asyncio.run(_check_standby(url))


async def _check_standby(url: str) -> None:
    async with _connected(url, "check") as connection:
        with reported("check"):
            await require_standby(connection)


async def _answer_to[T](url: str, role: str, question: Callable[[Any, str], Awaitable[T]]) -> T:
    async with _connected(url, "check") as connection:
        return await question(connection, role)


async def _is_newest(connection: Any, schemas: Sequence[Schema]) -> bool:
    """Whether no table is of a newer version of gatepost, whose nodes may need more rights."""
    stored = await stored_versions(connection, schemas)
    return all(
        known is None or known.version <= schema.version for schema in schemas for known in [stored[schema.name]]
    )
