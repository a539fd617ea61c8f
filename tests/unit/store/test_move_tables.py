from __future__ import annotations

from contextlib import closing

import pytest

from gatepost.manage.access.schema import ACCESS
from gatepost.store.changes import CONFIGURATION, CONFIGURATION_LOG
from gatepost.store.documents import DOCUMENTS
from gatepost.store.failures import LOGIN_FAILURES
from gatepost.store.move_mark import MOVE
from gatepost.store.move_parts import MoveRecord, copy_part, digest_of
from gatepost.store.move_tables import Table, TablePart, sealed_contents, stored_organizations, table_parts, tables_of
from gatepost.store.postgres.evidence_tables import SCHEMA as EVIDENCE
from gatepost.store.postgres.queue_schema import QUEUE_SCHEMA
from gatepost.store.postgres.trace_tables import SCHEMA as TRACE
from gatepost.store.schemas import SAME_IN_BOTH, STORED
from gatepost.store.session_counts import SESSIONS
from gatepost.store.shared_destinations import HISTORY
from gatepost.store.site_tables import SITE
from gatepost.store.sqlite.database import SqliteDatabase
from gatepost.store.sqlite.move_side import SqliteNumbering
from gatepost.store.ticket_secrets import TICKETS

# Each has a part of its own; or it is of processes and nodes, not of the site.
APART = (QUEUE_SCHEMA, TRACE, EVIDENCE, SESSIONS, HISTORY, DOCUMENTS)
STAYS = (SITE, LOGIN_FAILURES, CONFIGURATION_LOG, MOVE, TICKETS)


def nothing(_done):
    pass


@pytest.fixture
def sides(tmp_path):
    with (
        closing(SqliteDatabase(tmp_path / "a", ACCESS)) as source,
        closing(SqliteDatabase(tmp_path / "b", ACCESS)) as target,
    ):
        yield source, target


def parts(database):
    return {part.name: part for part in table_parts(ACCESS, database, SqliteNumbering())}


def test_every_schema_is_moved_or_said_to_stay():
    assert {schema.name for schema in STORED} == {schema.name for schema in (*SAME_IN_BOTH, *APART, *STAYS)}


def test_tables_are_read_from_the_schema():
    found = {table.name: table for table in tables_of(CONFIGURATION)}
    assert found["resource"] == Table("resource", ("kind", "name", "version", "document"), ("kind", "name"))
    assert found.keys() == {"resource", "change", "content"}
    assert {table.name for table in tables_of(ACCESS) if table.numbered} == {"session", "audit_event"}
    for schema in (*SAME_IN_BOTH, ACCESS):
        assert all(table.key for table in tables_of(schema))


def test_rows_are_copied_with_what_was_ever_numbered(sides):
    source, target = sides
    with source.changing() as change:
        change.execute_many(
            "INSERT INTO audit_event VALUES (?, ?, 'ann', '', 'log-in', '', ?, 'done', '{}')",
            [(number, float(number), f"subject\0{number}") for number in range(1, 251)],
        )
        change.execute("DELETE FROM audit_event WHERE id = 250")
        change.execute("INSERT INTO setup VALUES (1, ?, 2.5, NULL)", (b"\0\xff",))
    copies = parts(target)
    for name, part in parts(source).items():
        copy_part(part, copies[name], nothing)
        assert digest_of(part, nothing) == digest_of(copies[name], nothing)
    events = copies["access: audit_event"]
    assert (events.count(), events.sequence()) == (249, 250)
    assert copies["access: setup"].sequence() == 0
    with target.reading() as connection:
        assert connection.value("SELECT subject FROM audit_event WHERE id = 7") == "subject\ufffd7"
    events.finish(3)
    assert events.sequence() == 250
    events.clear()
    assert events.count() == 0


def test_what_is_there_is_known_and_not_added_again(sides):
    source, _ = sides
    user = parts(source)["access: user"]
    row = ("owner", None, 1, 1.0, 0.0, "", 1, "", "", "", "{}")
    with source.changing() as change:
        change.execute('INSERT INTO "user" VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)', ("ann", *row))
    assert user.present([("ann",), ("joe",)]) == {("ann",)}
    before = digest_of(user, nothing)
    user.add([MoveRecord(("ann",), ("auditor", *row[1:]))])
    assert digest_of(user, nothing) == before


def test_keys_of_several_columns_and_fixed_ones(tmp_path):
    with closing(SqliteDatabase(tmp_path, HISTORY)) as database:
        table = Table("destination_history", ("organization", "domain", "at", "document"), ("organization", "domain"))
        part = TablePart(
            "history",
            database,
            table,
            SqliteNumbering(),
            where="document <> ''",
            fixed={"connector": "x", "revision": 4},
            rows=2,
        )
        added = [MoveRecord(("contoso", f"{number}.example"), (1.0, "{}")) for number in range(5)]
        part.add(added)
        assert list(part.records()) == added
        assert part.present([record.key for record in added[:2]]) == {added[0].key, added[1].key}
        with database.reading() as connection:
            assert connection.rows("SELECT DISTINCT connector, revision FROM destination_history") == [("x", 4)]


def test_contents_that_are_sealed_are_found_and_srs_keys_are_apart(tmp_path):
    with closing(SqliteDatabase(tmp_path, CONFIGURATION)) as database:
        with database.changing() as change:
            change.execute_many(
                "INSERT INTO content VALUES (?, ?)", [("a", b"gp1\0x"), ("b", b"plain"), ("srs/keys", b"11")]
            )
            change.execute("INSERT INTO resource VALUES ('organization', 'contoso', 1, '{\"a\":1}')")
        assert stored_organizations(database) == {"contoso": {"a": 1}}
        assert sealed_contents(database, b"gp1\0") == {"a": b"gp1\0x"}
        content = next(
            part for part in table_parts(CONFIGURATION, database, SqliteNumbering()) if part.name.endswith("content")
        )
        assert [record.key for record in content.records()] == [("a",), ("b",)]
