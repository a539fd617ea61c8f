"""Give the role of `store.worker_url` its rights, no more and no less, or say what is wrong with it.

Called as the tables are prepared (`store.postgres.check`): with the role of `store.url`, or that which owns the tables.

Every table of the database is listed, also those that workers may not even read. What they want to have changed in the
configuration is judged and written by another process (`node.config_judge`), and they read the node's copy of it.
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from gatepost.store.interface import StoreFailure
from gatepost.store.postgres.connecting import SQL
from gatepost.store.postgres.server import reported

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence


_NONE: Final = frozenset[str]()
_READ: Final = frozenset({"SELECT"})
_ADD: Final = _READ | {"INSERT"}
_KEEP: Final = _ADD | {"UPDATE"}
_PASS_ON: Final = _ADD | {"DELETE"}
_CHANGE: Final = _KEEP | {"DELETE"}

WORKER_GRANTS: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        # The configuration, and what lies beside it, such as keys and secrets: the copy of the node has it.
        "resource": _NONE,
        "change": _NONE,
        "content": _NONE,
        "content_change": _NONE,
        # Accounts of administrators.
        "user": _NONE,
        "session": _NONE,
        "token": _NONE,
        "passkey": _NONE,
        "setup": _NONE,
        "audit_event": _NONE,
        # The queue.
        "queue_owner": _KEEP,
        "queue_message": _PASS_ON,
        "queue_delivery": _CHANGE,
        "queue_chunk": _PASS_ON,
        "queue_loose_body": _CHANGE,
        "queue_notice": _PASS_ON,
        # The message trace; the tables of days have the rights of `trace`.
        "trace": _ADD,
        "trace_part": _KEEP,
        "trace_tally": _KEEP,
        # The evidence log: lines, days, signed heads and keys are only added.
        "evidence_chain": _KEEP,
        "evidence_entry": _ADD,
        "evidence_day": _ADD,
        "evidence_head": _ADD,
        "evidence_key": _ADD,
        # Nodes and leases.
        "node": _CHANGE,
        "node_worker": _CHANGE,
        "lease": _KEEP,
        # What is counted and learnt as mail flows, and reports of it.
        "login_failure": _CHANGE,
        "session_day": _PASS_ON,
        "session_policy": _CHANGE,
        "session_failure": _CHANGE,
        "sent_day": _PASS_ON,
        "sent_report": _CHANGE,
        "received_report": _PASS_ON,
        "received_policy": _PASS_ON,
        "sending_usage": _CHANGE,
        "sending_usage_revision": _KEEP,
        "destination_history": _CHANGE,
        "destination_revision": _KEEP,
        "document": _NONE,
        "ticket_secret": _PASS_ON,
        # Versions of the tables, and a move to another engine.
        "schema_version": _READ,
        "store_move": _READ,
    }
)
"""By table. A change of it comes with a new version of a schema: until a node has that, it takes nothing away."""

WORKER_COLUMNS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "schema_version": ("turn",),  # whoever locks a row must be allowed to change something of it
        "evidence_day": ("last_place", "number", "head"),  # not where it begins: what is before that is removed
    }
)
"""Columns that may be changed in tables that may not, by table."""

WORKER_SEQUENCES: Final = ("queue_epoch",)
"""Sequences that may be used."""

WORKER_FUNCTIONS: Final[Mapping[str, bool]] = MappingProxyType(
    {"trace_make_day(text)": True, "trace_drop_day(text)": False}
)
"""Functions with the rights of the tables' owner, and whether they may be called."""


_PRIVILEGES: Final = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")
_OF_COLUMNS: Final = ("SELECT", "INSERT", "UPDATE", "REFERENCES")
_CHANGED: Final = [f"{table}.{column}" for table, columns in WORKER_COLUMNS.items() for column in columns]
_DAY: Final = re.compile(r"trace_[0-9]{8}")
_TURN: Final = "ALTER TABLE schema_version ADD COLUMN IF NOT EXISTS turn BIGINT"
_HAS_TURN: Final = (
    "SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass('schema_version') AND attname = 'turn')"
)
_TABLES: Final = (
    "SELECT relname::text AS name, quote_ident(relname) AS quoted,"
    " ARRAY(SELECT p FROM unnest($2::text[]) AS p WHERE has_table_privilege($1::name, c.oid, p)) AS held,"
    " ARRAY(SELECT p FROM unnest($3::text[]) AS p WHERE EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = c.oid"
    " AND a.attnum > 0 AND NOT a.attisdropped AND NOT (p = 'UPDATE' AND relname || '.' || a.attname = ANY ($4::text[]))"
    " AND has_column_privilege($1::name, c.oid, a.attnum, p))) AS columns"
    " FROM pg_class AS c WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p') ORDER BY relname"
)
_SCHEMA: Final = (
    "SELECT quote_ident(current_schema()) AS name, quote_ident($1) AS role,"
    " has_schema_privilege($1::name, current_schema(), 'USAGE') AS uses,"
    " has_schema_privilege($1::name, current_schema(), 'CREATE') AS creates"
)
_COLUMN: Final = (
    "SELECT has_column_privilege($1::name, attrelid, attnum, 'UPDATE') FROM pg_attribute"
    " WHERE attrelid = to_regclass($2) AND attname = $3"
)
_SEQUENCE: Final = "SELECT has_sequence_privilege($1::name, to_regclass($2), 'USAGE')"
_FUNCTION: Final = "SELECT has_function_privilege($1::name, to_regprocedure($2), 'EXECUTE')"


async def differing_rights(connection: Any, role: str, *, revokes: bool) -> list[str]:
    """The statements that make the rights of a role those of workers."""
    place = await connection.fetchrow(_SCHEMA, role)
    result = [] if place["uses"] else [f"GRANT USAGE ON SCHEMA {place['name']} TO {place['role']}"]
    if place["creates"] and revokes:
        result.append(f"REVOKE CREATE ON SCHEMA {place['name']} FROM {place['role']}")
    for table in await connection.fetch(_TABLES, role, _PRIVILEGES, _OF_COLUMNS, _CHANGED):
        result += _of_table(table, place["role"], revokes=revokes)
    result += [sql async for sql in _of_others(connection, role, place["role"], revokes=revokes)]
    return result


def _of_table(table: Any, role: str, *, revokes: bool) -> Iterator[str]:
    name = "trace" if _DAY.fullmatch(table["name"]) else table["name"]
    if name not in WORKER_GRANTS:
        return  # of another program, or a newer version
    wanted, held = WORKER_GRANTS[name], frozenset(table["held"])
    if lacking := [right for right in _PRIVILEGES if right in wanted - held]:
        yield f"GRANT {', '.join(lacking)} ON {table['quoted']} TO {role}"
    held |= frozenset(table["columns"])
    if revokes and (beyond := [right for right in _PRIVILEGES if right in held - wanted]):
        yield f"REVOKE {', '.join(beyond)} ON {table['quoted']} FROM {role}"


async def _of_others(connection: Any, name: str, role: str, *, revokes: bool) -> AsyncIterator[str]:
    """Columns, sequences and functions. role: the name, as SQL has it."""
    if not await connection.fetchval(_HAS_TURN):
        yield _TURN
    for table, column in (place.split(".") for place in _CHANGED):
        if not await connection.fetchval(_COLUMN, name, table, column):
            yield f"GRANT UPDATE ({column}) ON {table} TO {role}"
    for sequence in WORKER_SEQUENCES:
        if not await connection.fetchval(_SEQUENCE, name, sequence):
            yield f"GRANT USAGE ON SEQUENCE {sequence} TO {role}"
    for function, may_call in WORKER_FUNCTIONS.items():
        may = await connection.fetchval(_FUNCTION, name, function)
        if may_call and not may:
            yield f"GRANT EXECUTE ON FUNCTION {function} TO {role}"
        elif may and not may_call and revokes:
            yield f"REVOKE EXECUTE ON FUNCTION {function} FROM {role}"


def also_from_public(statements: Iterable[str]) -> list[str]:
    """The same statements; what takes rights takes them from everybody, who has them by default or by hand."""
    return [f"{sql}, PUBLIC" if sql.startswith("REVOKE") else sql for sql in statements]


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
