"""The SQL that makes the rights of a role those of workers (`store.postgres.worker_grants`), as far as they differ.

Used by `store.postgres.worker_role`. Changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any, Final

from gatepost.store.postgres.worker_grants import WORKER_COLUMNS, WORKER_FUNCTIONS, WORKER_GRANTS, WORKER_SEQUENCES

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
