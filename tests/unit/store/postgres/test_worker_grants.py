"""That every table has a class; tests/system/test_worker_role.py compares it with a real server."""

from __future__ import annotations

import re

from gatepost.manage.use_cases.stored_schemas import SCHEMAS
from gatepost.store.changes import CONFIGURATION, CONFIGURATION_LOG
from gatepost.store.postgres.worker_grants import WORKER_GRANTS

TABLE = re.compile(r"\bCREATE TABLE \"?(\w+)")


def made_by(*schemas):
    return {name for schema in schemas for name in TABLE.findall(schema.tables)}


def test_every_table_is_listed():
    assert made_by(*SCHEMAS) | {"schema_version"} == set(WORKER_GRANTS)


def test_nothing_of_configuration_and_accounts_is_even_read():
    (access,) = (schema for schema in SCHEMAS if schema.name == "access")
    tables = made_by(CONFIGURATION, CONFIGURATION_LOG, access)
    assert {"content", "user", "token"} <= tables
    assert {name for name in tables if WORKER_GRANTS[name]} == set()


def test_rights_are_those_of_rows():
    assert {right for rights in WORKER_GRANTS.values() for right in rights} == {"SELECT", "INSERT", "UPDATE", "DELETE"}
