"""Give the role of `store.worker_url` its rights, no more and no less, or say what is wrong with it.

Called as the tables are prepared (`store.postgres.check`): with the role of `store.url`, or that which owns the tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import asyncpg

from gatepost.store.interface import StoreFailure
from gatepost.store.postgres.connecting import SQL
from gatepost.store.postgres.server import reported
from gatepost.store.postgres.worker_rights import also_from_public, differing_rights

_ATTRIBUTES: Final = (
    "SELECT rolsuper OR rolcreaterole OR rolreplication OR rolbypassrls AS is_strong FROM pg_roles WHERE rolname = $1"
)
_MEMBER_OF: Final = (
    "SELECT quote_ident(rolname) FROM pg_roles WHERE rolname <> $1 AND pg_has_role($1::name, oid, 'MEMBER')"
    " ORDER BY rolname"
)
_OWNED: Final = (
    "SELECT quote_ident(relname) FROM pg_class WHERE relnamespace = current_schema()::regnamespace"
    " AND relkind IN ('r', 'p') AND pg_get_userbyid(relowner) = $1 ORDER BY relname"
)
# Of a session's settings, those of the role come before those of the server; the role itself may change them.
_OWN_SETTINGS: Final = (
    "SELECT DISTINCT split_part(setting, '=', 1) AS name FROM pg_db_role_setting, unnest(setconfig) AS setting"
    " WHERE setrole = to_regrole(quote_ident($1)) AND setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname ="
    " current_database())) ORDER BY name"
)
_TEMPORARY: Final = (
    "SELECT has_database_privilege($1::name, current_database(), 'TEMPORARY') AS may, quote_ident($1) AS role,"
    " quote_ident(current_database()) AS database"
)


async def remarks_on_role(connection: Any, role: str) -> list[tuple[str, str]]:
    """Doubtful rights and settings of a role that are no error, each with what helps. Raises StoreFailure."""
    with reported("rights of workers"):
        place = await connection.fetchrow(_TEMPORARY, role)
        names = [row[0] for row in await connection.fetch(_OWN_SETTINGS, role)]
    result = []
    if place["may"]:
        text = f"role {role} may make temporary tables and functions in the database, which workers need not"
        result.append((text, f"REVOKE TEMPORARY ON DATABASE {place['database']} FROM PUBLIC, {place['role']}"))
    if names := [name for name in names if name != "search_path"]:
        text = f"role {role} has settings of its own, which any worker can change: {', '.join(names)}"
        resets = "; ".join(
            f"ALTER ROLE {place['role']}{where} RESET {name}"
            for name in names
            for where in ("", f" IN DATABASE {place['database']}")
        )
        result.append((text, f"if you did not make them, take them away: {resets}"))
    return result


async def check_worker_role(connection: Any, role: str) -> None:
    """Raise StoreFailure if a role has not just the rights of workers; changes nothing."""
    with reported("rights of workers"):
        await _check_role(connection, role)
        if statements := await differing_rights(connection, role, revokes=True):
            raise _denied(role, statements)


async def settle_worker_role(connection: Any, role: str, *, revokes: bool) -> None:
    """Give a role the rights of workers. revokes: whether what it has beyond them is taken from it.

    Raises StoreFailure with what is wrong and the SQL that helps.
    """
    with reported("rights of workers"):
        await _check_role(connection, role)
        if not (statements := await differing_rights(connection, role, revokes=revokes)):
            return
        try:
            async with connection.transaction():
                await connection.execute("LOCK TABLE schema_version IN ACCESS EXCLUSIVE MODE")
                for _ in range(2):  # who loses a right on a table loses it on its columns, too
                    for statement in await differing_rights(connection, role, revokes=revokes):
                        await connection.execute(statement)
        except asyncpg.InsufficientPrivilegeError:
            raise _denied(role, statements) from None
        if left := await differing_rights(connection, role, revokes=revokes):
            raise _denied(role, also_from_public(left))


def _denied(role: str, statements: Sequence[str]) -> StoreFailure:
    return StoreFailure(
        f"store.worker_url: role {role} has not just the rights of workers. Run gatepost store prepare with the role "
        f"that owns the tables, or as that role: {'; '.join(statements)}"
    )


async def _check_role(connection: Any, role: str) -> None:
    """Raise StoreFailure for a role that is not there, or may do what no right of a table limits."""
    is_strong, name = await connection.fetchval(_ATTRIBUTES, role), role
    role = await connection.fetchval("SELECT quote_ident($1)", name)
    if is_strong is None:
        schema = await connection.fetchval("SELECT quote_ident(current_schema())")
        raise StoreFailure(f"store.worker_url: there is no role {role}. Create it ({SQL}): {_creation(role, schema)}")
    if await connection.fetchval("SELECT current_user = $1", name):
        raise StoreFailure("store.worker_url: has the role of store.url; write one that may do less")
    if is_strong:
        raise StoreFailure(
            f"store.worker_url: role {role} may do what no grant limits. Take that away: ALTER ROLE {role} NOSUPERUSER "
            "NOCREATEROLE NOREPLICATION NOBYPASSRLS"
        )
    if groups := [row[0] for row in await connection.fetch(_MEMBER_OF, name)]:
        raise StoreFailure(
            f"store.worker_url: role {role} is a member of other roles. Take it out: REVOKE {', '.join(groups)} FROM "
            f"{role}"
        )
    if tables := [row[0] for row in await connection.fetch(_OWNED, name)]:
        raise StoreFailure(
            f"store.worker_url: role {role} owns tables, such as {tables[0]}. Give them to the role of store.url: "
            f"REASSIGN OWNED BY {role} TO …"
        )


def _creation(role: str, schema: str) -> str:
    return (
        f"CREATE ROLE {role} LOGIN; GRANT CONNECT ON DATABASE … TO {role}; ALTER ROLE {role} IN DATABASE … SET "
        f"search_path = {schema}; \\password {role}"
    )
