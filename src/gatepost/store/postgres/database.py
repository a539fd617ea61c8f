"""The tables of a `Schema` in PostgreSQL."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import asyncpg

from gatepost.store.interface import OutcomeUnknown, Schema, StoreBusy, StoreFailure
from gatepost.store.nodes import EXPIRY_SECONDS
from gatepost.store.postgres.server import STATEMENT_SECONDS, DatabaseServer, reported
from gatepost.store.postgres.sql import positional, table_names, tables

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence


# One row for each schema: its version and `oldest`, and the lock that keeps two changes of it apart.
_VERSIONS: Final = "CREATE TABLE IF NOT EXISTS schema_version (name TEXT PRIMARY KEY, version BIGINT NOT NULL)"
_OLDEST: Final = "ALTER TABLE schema_version ADD COLUMN IF NOT EXISTS oldest BIGINT"  # the first databases had none
_STORED: Final = "SELECT version, (to_jsonb(one) ->> 'oldest')::bigint FROM schema_version AS one WHERE name = $1"
_LIVING: Final = """
SELECT name FROM node WHERE state <> 'stopped' AND seen > extract(epoch FROM clock_timestamp()) - $1 ORDER BY name
"""
# The errors of making what another node makes at the same moment: the table, or the type of its rows.
MADE_MEANWHILE: Final = (asyncpg.UniqueViolationError, asyncpg.DuplicateTableError, asyncpg.DuplicateObjectError)
_TURN: Final = "SELECT version FROM schema_version WHERE name = $1 FOR UPDATE"


class PostgresConnection:
    """Implements `store.interface.DatabaseConnection`."""

    clock = "CAST(extract(epoch FROM clock_timestamp()) AS DOUBLE PRECISION)"

    def __init__(self, server: DatabaseServer, connection: Any, schema: Schema) -> None:
        self._server = server
        self._connection = connection
        self._schema = schema

    def rows(self, sql: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """All rows."""
        rows = self._server.run(lambda: self._connection.fetch(positional(sql), *values), "read")
        return [tuple(row) for row in rows]

    def value(self, sql: str, values: Sequence[object] = ()) -> Any:
        """The first column of the first row; None if there is no row."""
        return self._server.run(lambda: self._connection.fetchval(positional(sql), *values), "read")

    def execute(self, sql: str, values: Sequence[object] = ()) -> int:
        """Change rows; returns how many."""
        done: str = self._server.run(lambda: self._connection.execute(positional(sql), *values), "change")
        count = done.rpartition(" ")[2]  # "UPDATE 3"
        return int(count) if count.isdigit() else 0

    def octets(self) -> int:
        """Bytes that the tables of the schema take, with their indexes."""
        names = table_names(self._schema.tables)
        return int(
            self.value(
                "SELECT sum(pg_total_relation_size(to_regclass(name))) FROM unnest(CAST(? AS text[])) AS name", (names,)
            )
        )

    def execute_many(self, sql: str, rows: Iterable[Sequence[object]]) -> None:
        """The same change with each of several lists of values."""
        lists = [tuple(values) for values in rows]
        self._server.run(lambda: self._connection.executemany(positional(sql), lists), "change")


class PostgresDatabase:
    """Implements `store.interface.Database`."""

    def __init__(self, url: str, schema: Schema, *, statement: float = STATEMENT_SECONDS) -> None:
        """Make the tables, or bring them up to date. statement: seconds that one may take. Raises StoreFailure."""
        self._server = DatabaseServer.of(url, statement)
        self._schema = schema
        with self._server.connection() as connection:
            self._server.run(lambda: prepare_tables(connection, schema), "prepare tables")

    @contextlib.contextmanager
    def reading(self) -> Iterator[PostgresConnection]:
        """For statements that change nothing; each sees what was committed last."""
        with self._server.connection() as connection:
            yield PostgresConnection(self._server, connection, self._schema)

    @contextlib.contextmanager
    def single(self) -> Iterator[PostgresConnection]:
        """For changes that are right as one statement each, and committed with it."""
        with self._server.connection() as connection:
            yield PostgresConnection(self._server, connection, self._schema)

    @contextlib.contextmanager
    def reading_at_once(self) -> Iterator[PostgresConnection]:
        """For statements that change nothing and all see the same state."""
        with self._transaction("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY") as connection:
            yield connection

    @contextlib.contextmanager
    def changing(self) -> Iterator[PostgresConnection]:
        """One transaction that no other one of this schema is beside, on any node."""
        with self._transaction("BEGIN ISOLATION LEVEL READ COMMITTED") as connection:
            connection.value(_TURN, (self._schema.name,))
            yield connection

    def forget(self) -> None:
        """Nothing: when PostgreSQL overwrites removed rows is its own affair (docs/several-nodes.md)."""

    def close(self) -> None:
        """Nothing: the connections are the process's."""

    @contextlib.contextmanager
    def _transaction(self, begin: str) -> Iterator[PostgresConnection]:
        with self._server.connection() as raw:
            connection = PostgresConnection(self._server, raw, self._schema)
            connection.execute(begin)
            try:
                yield connection
            except BaseException:
                with contextlib.suppress(StoreFailure):
                    connection.execute("ROLLBACK")
                raise
            _commit(connection)


def _commit(connection: PostgresConnection) -> None:
    """Raises StoreFailure: OutcomeUnknown if the server did not say that nothing was stored."""
    try:
        connection.execute("COMMIT")
    except StoreBusy as failure:
        if isinstance(failure.__cause__, asyncpg.TransactionRollbackError):
            raise
        text = (
            "the answer to the commit was lost, so that nobody knows whether it was stored: look before you repeat it"
        )
        raise OutcomeUnknown(f"{failure}; {text}", summary=failure.summary) from failure


class StoredVersion(NamedTuple):
    """The version of a schema's tables, and the oldest whose code works with them."""

    version: int
    oldest: int


# All nodes wait for who makes tables: one that was cut off from the server in between may keep them for seconds alone.
_SOON_GIVEN_UP: Final = "SET LOCAL idle_in_transaction_session_timeout = '10s'"


async def prepare_tables(connection: Any, schema: Schema) -> None:
    """Make the tables of a schema, or bring them up to date; several nodes may try at once. Raises StoreFailure.

    Newer tables stay as they are if this code can use them.
    """
    stored = await _stored(connection, schema.name)
    if stored and schema.suits(*stored):
        return
    if stored:
        check_known(schema, stored)
    try:
        await _make_tables(connection, schema)
    except StoreFailure as failure:
        if isinstance(failure.__cause__, asyncpg.InsufficientPrivilegeError):
            raise StoreFailure(unprepared({schema.name: stored.version if stored else None})) from failure
        raise


def unprepared(versions: Mapping[str, int | None]) -> str:
    """The text for tables that this role may not make. versions: of what is there, by name of the schema."""
    names = ", ".join(f"{name} (version {version})" if version else name for name, version in versions.items())
    return (
        f"the tables in PostgreSQL are missing or older than this version of gatepost: {names}; this role may not make "
        "them. Make them as a role that may, such as gatepost_admin: gatepost store prepare"
    )


async def _make_tables(connection: Any, schema: Schema) -> None:
    with reported(f"tables of {schema.name}"):
        with contextlib.suppress(*MADE_MEANWHILE):
            await connection.execute(_VERSIONS)
        async with connection.transaction():
            await connection.execute(_SOON_GIVEN_UP)
            await connection.execute("LOCK TABLE schema_version IN ACCESS EXCLUSIVE MODE")
            stored = await _stored(connection, schema.name)
            if stored and schema.suits(*stored):  # another node was quicker
                return
            await connection.execute(_OLDEST)
            if stored and stored.version < schema.oldest:
                await _check_nobody_runs(connection, schema, stored.version)
            for sql in _steps(schema, stored):
                await connection.execute(tables(sql))
            await connection.execute(
                "INSERT INTO schema_version (name, version, oldest) VALUES ($1, $2, $3)"
                " ON CONFLICT (name) DO UPDATE SET version = excluded.version, oldest = excluded.oldest",
                schema.name,
                schema.version,
                schema.oldest,
            )


async def _check_nobody_runs(connection: Any, schema: Schema, version: int) -> None:
    """Raise StoreFailure if nodes run: those that made these tables could not use the new ones."""
    if await connection.fetchval("SELECT to_regclass('node')") is None:
        return
    if names := [row["name"] for row in await connection.fetch(_LIVING, EXPIRY_SECONDS)]:
        raise StoreFailure(
            f"the tables of {schema.name} have version {version}, and nodes of that version cannot work with version "
            f"{schema.version}: first upgrade all nodes to the release before this one, or stop them all; running now "
            f"or {EXPIRY_SECONDS:.0f} s ago: {', '.join(names)}; nothing was changed"
        )


async def _stored(connection: Any, name: str) -> StoredVersion | None:
    """The version of a schema's tables; None if there are none."""
    if await connection.fetchval("SELECT to_regclass('schema_version')") is None:
        return None
    row = await connection.fetchrow(_STORED, name)
    if row is None:
        return None
    version, oldest = row
    return StoredVersion(version, version if oldest is None else oldest)


async def stored_versions(connection: Any, schemas: Iterable[Schema]) -> dict[str, StoredVersion | None]:
    """The versions of the tables that are there, by name of the schema; None where there are none."""
    return {schema.name: await _stored(connection, schema.name) for schema in schemas}


def check_known(schema: Schema, stored: StoredVersion) -> None:
    """Raise StoreFailure if this version of gatepost can neither use the tables nor bring them up to date."""
    if not schema.suits(*stored) and stored.version not in schema.upgrades:
        raise StoreFailure(
            f"PostgreSQL has tables of {schema.name} of version {stored.version}, which need a gatepost that knows "
            f"version {stored.oldest}, and this one knows {schema.version}: use a newer version of gatepost, such as "
            "the one that made them"
        )


def _steps(schema: Schema, stored: StoredVersion | None) -> list[str]:
    if stored is None:
        return [schema.tables]
    check_known(schema, stored)
    return [schema.upgrades[older] for older in range(stored.version, schema.version)]
