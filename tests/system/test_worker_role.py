"""Proves what somebody who has taken over a worker can do to the database, where workers have a role of their own.

Against a real PostgreSQL that takes passwords alone, with the roles of `deploy/postgresql/roles.sql`: statements with
the rights of the role, and attempts from within a worker that the real `gatepost serve` has started, as in
`test_confinement`. The same with the role of `store.url` proves that they would work.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import smtplib
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from support.gateway import Gateway
from support.postgres import Postgres
from support.process import run_gatepost
from support.scenes import contoso, send

from gatepost.events.evidence.entry import Privacy
from gatepost.mail.model.trace_event import TraceEvent
from gatepost.manage.use_cases.stored_schemas import SCHEMAS
from gatepost.node.evidence import EvidenceLog, prepare_key
from gatepost.node.landlock import landlock_version
from gatepost.node.retention import TraceRetention
from gatepost.pki.certificates.evidence_key import evidence_signer
from gatepost.settings.model import Settings
from gatepost.store.evidence_files import evidence_directory
from gatepost.store.evidence_log import read_heads
from gatepost.store.interface import StoreBusy, StoreFailure, TraceFilter
from gatepost.store.postgres.check import check_server, check_workers, prepare_server
from gatepost.store.postgres.queue_connection import QueueConnection
from gatepost.store.postgres.worker_grants import WORKER_COLUMNS, WORKER_FUNCTIONS, WORKER_GRANTS, WORKER_SEQUENCES
from gatepost.store.storage import Storage
from gatepost.store.trace import tally_days
from gatepost.testing.process import FixtureError, Folder, free_port, wait_until

# asyncpg leaves the socket of a refused connection to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

ROLES = Path(__file__).parents[2] / "deploy/postgresql/roles.sql"
WORKER = "gatepost_worker"
NAMES = ("gatepost_admin", "gatepost", WORKER)


class Database:
    """A server that takes passwords alone, with the roles, each with one of its own, and all tables."""

    def __init__(self, server: Postgres, folder: Folder) -> None:
        self.server, self.folder = server, folder
        script = folder.write("roles.sql", ROLES.read_text())
        server.run("psql", "-Xq", "-v", "ON_ERROR_STOP=1", "-d", "postgres", "-f", script, *server.address())
        self.passwords = {name: f"{name}-{secrets.token_hex(16)}" for name in NAMES}
        for name, password in self.passwords.items():
            server.sql(f"ALTER ROLE {name} PASSWORD '{password}'")
            self.passfile(folder.path, name)
        self.prepare()

    def prepare(self) -> None:
        prepare_server(self.url("gatepost_admin"), SCHEMAS, WORKER)

    def passfile(self, directory: Path, name: str) -> Path:
        file = directory / f"{name}.pgpass"
        file.touch(0o600)
        file.write_text(f"*:*:*:{name}:{self.passwords[name]}\n")
        return file

    def url(self, name: str, directory: Path | None = None) -> str:
        file = (directory or self.folder.path) / f"{name}.pgpass"
        return f"postgresql://{name}@127.0.0.1:{self.server.port}/gatepost?passfile={file}"

    def sql(self, statement: str) -> str:
        return self.server.sql(statement, "gatepost")

    def with_rights(self, statements: str, role: str = WORKER) -> None:
        """Run statements with the rights of a role. Raises FixtureError."""
        self.sql(f"SET SESSION AUTHORIZATION {role}; SET search_path = gatepost; {statements}")

    def names(self, kinds: str) -> set[str]:
        rows = self.sql("SELECT relkind, relname FROM pg_class WHERE relnamespace = 'gatepost'::regnamespace")
        return {name for kind, _, name in (row.partition("|") for row in rows.split()) if kind in kinds}


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    folder = Folder("roles")
    try:
        with Postgres(password="of-the-superuser") as server:
            yield Database(server, folder)
    finally:
        folder.remove()


def test_every_table_has_its_rights_listed_and_no_others(database: Database) -> None:
    database.with_rights("SELECT trace_make_day('trace_20260103')")
    tables = database.names("rp")
    days = {name for name in tables if re.fullmatch(r"trace_\d{8}", name)}
    assert days
    assert tables - days == set(WORKER_GRANTS), "a new table needs a line in WORKER_GRANTS"
    identities = {name for name in database.names("S") if name.endswith("_id_seq")}  # they need no right
    assert database.names("S") - identities == set(WORKER_SEQUENCES)
    functions = database.sql("SELECT oid::regprocedure FROM pg_proc WHERE pronamespace = 'gatepost'::regnamespace")
    assert {name.removeprefix("gatepost.") for name in functions.split()} == set(WORKER_FUNCTIONS)
    every = "('SELECT'), ('INSERT'), ('UPDATE'), ('DELETE'), ('TRUNCATE'), ('REFERENCES'), ('TRIGGER')"
    for table in tables:
        place = f"'gatepost.{table}'" if table != "user" else "'gatepost.\"user\"'"
        held = database.sql(
            f"SELECT p FROM (VALUES {every}) AS one (p) WHERE has_table_privilege('{WORKER}', {place}, p)"  # noqa: S608
        )
        assert set(held.split()) == WORKER_GRANTS["trace" if table in days else table], table
        columns = database.sql(
            f"SELECT attname FROM pg_attribute WHERE attrelid = {place}::regclass AND attnum > 0 AND NOT attisdropped"  # noqa: S608
            f" AND has_column_privilege('{WORKER}', attrelid, attnum, 'UPDATE')"
        )
        if "UPDATE" not in held:
            assert set(columns.split()) == set(WORKER_COLUMNS.get(table, ())), table


DENIED = (
    "SELECT * FROM login_failure",
    "INSERT INTO login_failure (list, key, count, last) VALUES ('name', 'olga', 1000, 4e9)",
    "DELETE FROM login_failure",
    "INSERT INTO resource (kind, name, version, document) VALUES ('organization', 'mine', 1, '{}')",
    "UPDATE resource SET document = '{}'",
    "DELETE FROM change",
    "INSERT INTO content (name, data) VALUES ('password-secret', '')",
    "UPDATE content SET data = ''",
    "DELETE FROM content_change",
    "SELECT * FROM content",
    "SELECT * FROM resource",
    'SELECT * FROM "user"',
    'UPDATE "user" SET name = name',
    "INSERT INTO token SELECT * FROM token",
    "SELECT * FROM token",
    "SELECT * FROM session",
    "SELECT * FROM passkey",
    "DELETE FROM setup",
    "DELETE FROM audit_event",
    "UPDATE evidence_head SET line = ''",
    "DELETE FROM evidence_head",
    "DELETE FROM evidence_key",
    "UPDATE evidence_entry SET line = ''",
    "DELETE FROM evidence_entry",
    "DELETE FROM evidence_day",
    "UPDATE evidence_day SET first_place = 0",
    "UPDATE evidence_day SET day = day",
    "DELETE FROM trace",
    "UPDATE trace SET recipient = ''",
    "SELECT trace_drop_day('trace_20260101')",
    "TRUNCATE queue_message",
    "DROP TABLE queue_message",
    "ALTER TABLE queue_message ADD COLUMN x BIGINT",
    "CREATE TABLE mine (x BIGINT)",
    "CREATE SCHEMA mine",
    "CREATE FUNCTION mine() RETURNS INT LANGUAGE sql AS 'SELECT 1'",
    "CREATE TRIGGER mine BEFORE INSERT ON queue_message EXECUTE FUNCTION trace_make_day()",
    "DELETE FROM schema_version",
    "UPDATE schema_version SET version = 99",
    "INSERT INTO store_move (id, document) VALUES (1, '{}')",
    "GRANT SELECT ON content TO PUBLIC",
    "SET ROLE gatepost",
    "SET ROLE gatepost_admin",
    "SET SESSION AUTHORIZATION postgres",
    "ALTER ROLE gatepost PASSWORD 'mine'",
    "CREATE ROLE mine SUPERUSER",
    "SELECT * FROM pg_authid",
    "COPY queue_owner TO PROGRAM 'true'",
    "SELECT pg_read_file('/etc/passwd')",
    "CREATE TEMPORARY TABLE mine (x BIGINT)",
)


def test_the_role_of_workers_changes_no_configuration_and_reads_no_secret(database: Database) -> None:
    for statement in DENIED:
        if statement == "SET SESSION AUTHORIZATION postgres":
            continue  # whoever runs this as the superuser may go back; the test of a worker tries it
        with pytest.raises(FixtureError, match=r"permission denied|must be owner|must be superuser"):
            database.with_rights(statement)


def test_a_table_of_a_day_takes_no_rights_from_tables_of_the_caller(database: Database) -> None:
    """Temporary tables come before those of the catalogue, and the function acts for the owner."""
    database.sql(f"GRANT TEMPORARY ON DATABASE gatepost TO {WORKER}")
    try:
        database.with_rights(
            "CREATE TEMPORARY TABLE pg_class (oid OID, relowner OID, relacl aclitem[]);"
            "CREATE TEMPORARY TABLE pg_roles (oid OID, rolname NAME);"
            "INSERT INTO pg_class VALUES ('gatepost.trace'::regclass, 10, '{gatepost_worker=arwd/postgres}');"
            "INSERT INTO pg_roles VALUES ('gatepost_worker'::regrole, 'gatepost_worker');"
            "SELECT trace_make_day('trace_20260102')"
        )
    finally:
        database.sql(f"REVOKE TEMPORARY ON DATABASE gatepost FROM {WORKER}")
    with pytest.raises(FixtureError, match="permission denied"):
        database.with_rights("DELETE FROM trace_20260102")


def test_types_of_the_caller_are_not_those_of_a_function_of_the_owner(database: Database) -> None:
    """A domain of the caller's checks values by a function of theirs: it would run with the rights of the owner."""
    database.sql(f"GRANT TEMPORARY ON DATABASE gatepost TO {WORKER}")
    try:
        database.with_rights(
            "CREATE FUNCTION pg_temp.mine(pg_catalog.text) RETURNS BOOLEAN LANGUAGE plpgsql AS $$ BEGIN"
            f" IF current_user = 'gatepost_admin' THEN GRANT SELECT ON gatepost.token TO {WORKER}; END IF;"
            " RETURN true; END $$;"
            "CREATE DOMAIN pg_temp.text AS pg_catalog.text CHECK (pg_temp.mine(VALUE));"
            "SELECT trace_make_day('trace_20260104')"
        )
    finally:
        database.sql(f"REVOKE TEMPORARY ON DATABASE gatepost FROM {WORKER}")
    with pytest.raises(FixtureError, match="permission denied"):
        database.with_rights("SELECT * FROM token")


def test_functions_of_the_version_before_are_made_anew(database: Database) -> None:
    paths = (
        "SELECT count(*) FROM pg_proc WHERE pronamespace = 'gatepost'::regnamespace"
        " AND 'search_path=gatepost, pg_temp' = ANY (proconfig)"
    )
    assert database.sql(paths) == "2"
    for name in ("trace_make_day", "trace_drop_day"):
        database.sql(f"ALTER FUNCTION gatepost.{name} RESET search_path")
    database.sql("UPDATE gatepost.schema_version SET version = 1 WHERE name = 'trace'")
    database.prepare()
    assert database.sql(paths) == "2"
    assert database.sql("SELECT version FROM gatepost.schema_version WHERE name = 'trace'") == "2"


def test_who_reads_the_trace_runs_nothing_that_a_worker_wrote(database: Database) -> None:
    """Days are written by workers, and name tables in statements of processes that may read everything."""
    noon = datetime(2026, 1, 6, 12, tzinfo=UTC).timestamp()
    wanted = TraceFilter(since=noon, until=noon + 86_400)
    for name in ("trace_20260105", "trace_20260106"):
        database.with_rights(f"SELECT trace_make_day('{name}')")
    for day in ("2026-01-06, trace_drop_day($$trace_20260105$$)", "2026-01-0", "2026-01-32", "0"):
        database.with_rights(f"INSERT INTO trace_part VALUES ('{day}', 'mine', 1)")  # noqa: S608 - it is meant
    trace = Storage(database.url("gatepost"), database.folder.path).trace()
    assert trace.search(wanted) == []
    assert list(trace.scan(wanted, ("at",))) == []
    assert list(tally_days(trace, "", "2026-01-07")) == []
    assert trace.hours().counted(int(noon), int(noon) + 86_400, None) == {}
    assert "trace_20260105" in database.names("r")
    TraceRetention(trace, 1)._forget()  # it goes on
    assert "trace_20260105" not in database.names("r")


def test_whether_a_password_is_needed_is_said_by_a_server_that_answers(database: Database) -> None:
    """Of several one may be away: no reason not to start."""
    away = f"127.0.0.1:{free_port()}"
    here = f"127.0.0.1:{database.server.port}"
    assert Storage(database.url("gatepost"), database.folder.path).lets_in()
    url = f"postgresql://gatepost@{{}}/gatepost?passfile={database.folder.path}/none"
    for hosts in (here, f"{here},{away}", f"{away},{here}"):
        assert not Storage(url.format(hosts), database.folder.path).lets_in()
    with pytest.raises(StoreBusy):
        Storage(url.format(f"{away},{away}"), database.folder.path).lets_in()


def test_a_server_that_demands_a_password_speaks_for_no_other(database: Database) -> None:
    """Each has a pg_hba.conf of its own, and a standby may answer before the server that takes everybody."""
    url = (
        f"postgresql://gatepost@127.0.0.1:{{}},127.0.0.1:{database.server.port}/gatepost?sslmode=disable&passfile={{}}"
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        demanding = Thread(target=_refuse, args=(listener,))
        demanding.start()
        passfile = database.passfile(database.folder.path, "gatepost")  # stands for a server that demands none
        assert Storage(url.format(listener.getsockname()[1], passfile), database.folder.path).lets_in()
        demanding.join()


def _refuse(listener: socket.socket) -> None:
    """Answer one client as PostgreSQL answers a wrong password."""
    client, _ = listener.accept()
    with client:
        client.recv(1000)
        fields = b"SFATAL\0VFATAL\0C28P01\0Mpassword authentication failed\0\0"
        client.sendall(b"E" + (len(fields) + 4).to_bytes(4) + fields)


def test_what_is_wrong_with_the_role_is_said_with_the_sql_that_helps(database: Database) -> None:
    url, admin = database.url("gatepost"), database.url("gatepost_admin")
    prepare_server(url, SCHEMAS, WORKER)  # nothing is missing
    check_workers(url, WORKER)
    with pytest.raises(
        StoreFailure, match=r"there is no role nobody.*CREATE ROLE nobody LOGIN.*search_path = gatepost"
    ):
        check_workers(url, "nobody")
    with pytest.raises(StoreFailure, match=r'CREATE ROLE "Mail Workers" LOGIN.*password "Mail Workers"'):
        check_workers(url, "Mail Workers")
    for same in ("gatepost", "gatepost_admin"):  # a service file may have named it
        with pytest.raises(StoreFailure, match=r"has the role of store\.url"):
            prepare_server(database.url(same), SCHEMAS, same)
    with pytest.raises(StoreFailure, match="ALTER ROLE postgres NOSUPERUSER"):
        check_workers(url, "postgres")
    database.sql(f"ALTER TABLE gatepost.audit_event OWNER TO {WORKER}")
    with pytest.raises(StoreFailure, match="owns tables, such as audit_event"):
        check_workers(url, WORKER)
    database.sql("ALTER TABLE gatepost.audit_event OWNER TO gatepost_admin")
    database.sql(f"GRANT gatepost TO {WORKER}")
    with pytest.raises(StoreFailure, match=f"REVOKE gatepost FROM {WORKER}"):
        check_workers(url, WORKER)
    database.sql(f"REVOKE gatepost FROM {WORKER}")

    database.sql(f"REVOKE INSERT ON gatepost.queue_message FROM {WORKER}; GRANT SELECT ON gatepost.token TO {WORKER}")
    sql = rf"GRANT INSERT ON queue_message TO {WORKER}; REVOKE SELECT ON token FROM {WORKER}"  # noqa: S608
    with pytest.raises(StoreFailure, match=sql):
        prepare_server(url, SCHEMAS, WORKER)
    prepare_server(admin, SCHEMAS, WORKER)
    check_workers(url, WORKER)

    database.sql(f"GRANT UPDATE ON gatepost.schema_version TO {WORKER}")
    prepare_server(admin, SCHEMAS, WORKER)
    check_workers(url, WORKER)

    database.sql(f"GRANT UPDATE (version) ON gatepost.schema_version TO {WORKER}")  # beyond `turn`
    with pytest.raises(StoreFailure, match=f"REVOKE UPDATE ON schema_version FROM {WORKER}"):
        check_workers(url, WORKER)
    prepare_server(admin, SCHEMAS, WORKER)
    check_workers(url, WORKER)
    database.with_rights("UPDATE schema_version SET turn = turn")

    database.sql(f"GRANT SELECT (name), UPDATE (name) ON gatepost.token TO {WORKER}")
    with pytest.raises(StoreFailure, match=f"REVOKE SELECT, UPDATE ON token FROM {WORKER}"):
        check_workers(url, WORKER)
    prepare_server(admin, SCHEMAS, WORKER)
    check_workers(url, WORKER)

    database.sql("GRANT SELECT ON gatepost.token TO PUBLIC")
    with pytest.raises(StoreFailure, match=f"ON token FROM {WORKER}, PUBLIC"):
        prepare_server(admin, SCHEMAS, WORKER)
    database.sql("REVOKE SELECT ON gatepost.token FROM PUBLIC")
    check_workers(url, WORKER)


def test_a_copy_of_the_database_elsewhere_has_the_rights_again(database: Database) -> None:
    """As `pg_dump` and `pg_restore` make it: the rights come with it, and what comes not is named."""
    server = database.server
    folder = database.folder.owned("dump", "postgres", 0o700) if os.geteuid() == 0 else database.folder / "dump"
    server.run("pg_dump", "-Fc", "-f", folder / "copy", "-d", "gatepost", *server.address())
    server.sql("CREATE DATABASE copy OWNER gatepost_admin TEMPLATE template0")

    def url(name: str) -> str:
        return database.url(name).replace("/gatepost?", "/copy?")

    with pytest.raises(StoreFailure, match=r"has not just the rights of workers\. Run gatepost store prepare"):
        check_workers(url("gatepost"), WORKER)  # nothing is there yet
    server.run("pg_restore", "--exit-on-error", "-d", "copy", *server.address(), folder / "copy")
    for name in NAMES[:2]:
        server.sql(f"ALTER ROLE {name} IN DATABASE copy SET search_path = gatepost")
    check_workers(url("gatepost"), WORKER)
    with pytest.raises(StoreFailure, match=rf"role {WORKER} has no schema in database copy.*search_path"):
        check_server(url(WORKER), SCHEMAS)
    server.sql(f"ALTER ROLE {WORKER} IN DATABASE copy SET search_path = gatepost")
    assert check_server(url(WORKER), SCHEMAS).schema == "gatepost"

    server.sql(f"DROP OWNED BY {WORKER}", "copy")  # as --no-privileges leaves it
    with pytest.raises(StoreFailure, match=f"GRANT .*; GRANT .* TO {WORKER}"):
        check_workers(url("gatepost"), WORKER)
    server.sql(f"GRANT CONNECT ON DATABASE copy, gatepost TO {WORKER}")
    prepare_server(url("gatepost_admin"), SCHEMAS, WORKER)
    check_workers(url("gatepost"), WORKER)


def test_what_a_role_may_change_of_itself_is_told(database: Database) -> None:
    """PostgreSQL lets each role change its own settings, and everybody make temporary objects in a new database."""
    storage = Storage(database.url("gatepost"), database.folder.path, worker_role=WORKER)
    assert storage.remarks_on_workers() == []
    database.with_rights(f"ALTER ROLE {WORKER} SET synchronous_commit = off")
    database.with_rights(f"ALTER ROLE {WORKER} IN DATABASE gatepost SET default_transaction_read_only = on")
    database.sql("GRANT TEMPORARY ON DATABASE gatepost TO PUBLIC")
    remarks = storage.remarks_on_workers()
    assert ["temporary" in remarks[0][0], "default_transaction_read_only, synchronous_commit" in remarks[1][0]] == [
        True,
        True,
    ]
    for _, fix in remarks:
        database.sql(fix.removeprefix("if you did not make them, take them away: "))
    assert storage.remarks_on_workers() == []


def test_commits_of_mail_wait_whatever_a_worker_set_for_its_role(database: Database) -> None:
    async def commits(**how: bool) -> str:
        async def nothing(_: Any) -> None: ...

        connection = QueueConnection(database.url(WORKER), "queue", nothing, statement=10, **how)
        try:
            return str(await connection.run(lambda used: used.fetchval("SHOW synchronous_commit"), "look"))
        finally:
            await connection.close()

    before = asyncio.run(commits(pinned=True))  # that of the server
    database.with_rights(f"ALTER ROLE {WORKER} SET synchronous_commit = off")
    try:
        assert asyncio.run(commits()) == "off"
        assert asyncio.run(commits(pinned=True)) == "on"
    finally:
        database.sql(f"ALTER ROLE {WORKER} RESET synchronous_commit")
    assert before == asyncio.run(commits()), "what the administrator of the server chose stays"


def test_old_evidence_is_removed_by_the_process_that_has_the_role_of_the_owner(
    database: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    # Gateways of other tests may have signed a later day: nothing before that is signed again.
    database.sql(
        "TRUNCATE gatepost.evidence_head, gatepost.evidence_chain, gatepost.evidence_day, gatepost.evidence_entry"
    )
    store = {"url": database.url("gatepost"), "worker_url": database.url(WORKER)}
    server = {"hostname": "mx.a.example", "data_dir": str(tmp_path)}
    settings = Settings(server=server, store=store, evidence={"keep": "2d"})
    prepare_key(settings)
    signer = evidence_signer(evidence_directory(tmp_path), None)
    log = Storage.of(settings.of_workers).evidence()
    mail: dict[str, Any] = {"direction": "inbound", "session": "s", "sender": "a@a.example", "recipient": "b@b.example"}
    sent = TraceEvent(at=0.0, event="SEND", message="0abc", organization="contoso", **mail)
    for day in (5, 1):
        chain = log.worker_chain(0, privacy=Privacy(), signer=signer)
        chain.append([sent], time.time() - day * 86_400)

    async def ticked(tick: str, settings: Settings) -> None:
        evidence = EvidenceLog(settings)
        getattr(evidence, tick)()
        assert evidence._working.task is not None
        await evidence._working.task

    def signed() -> bool:
        asyncio.run(ticked("tick", settings.of_workers))
        return len(read_heads(log).days) == 2

    # What a busy database refuses is signed at the next look.
    wait_until(signed, "the heads of both days")
    assert len(log.days()) == 2
    asyncio.run(ticked("tick_pruning", settings))
    assert len(log.days()) == 1
    assert "older than evidence.keep" in caplog.text
    assert "permission denied" not in caplog.text

    # What a worker writes there does not stop it.
    database.with_rights("INSERT INTO evidence_day VALUES ('yesterday', 'mine', 1, 1, 1, '')")
    asyncio.run(ticked("tick_pruning", settings))
    database.sql("DELETE FROM gatepost.evidence_day WHERE writer = 'mine'")


def test_the_role_of_the_gateway_keeps_its_rights(database: Database, tmp_path: Path) -> None:
    config = tmp_path / "gatepost.toml"
    server = f'hostname = "mx.a.example"\ndata_dir = "{tmp_path / "data"}"'
    config.write_text(f'[server]\n{server}\n[store]\nurl = "{database.url("gatepost")}"\n', encoding="utf-8")
    words = ("store", "prepare", "--url", database.url("gatepost_admin"), "--worker-role", "gatepost")
    done = run_gatepost("--config", str(config), *words)
    assert done.returncode == 2
    assert "--worker-role is the role of store.url" in done.stderr.decode()
    database.with_rights("SELECT * FROM token", "gatepost")


ATTEMPTS = r"""
import asyncio, asyncpg, errno, json, os, re, sys
from contextlib import closing
from importlib import import_module
from pathlib import Path
import apsw
from gatepost.settings.loader import load
from gatepost.store.interface import StoreFailure
from gatepost.store.storage import Storage

OWNER = re.compile(rb"gatepost-[0-9a-f]{32}")
OWN = re.compile(rb"gatepost_worker-[0-9a-f]{32}")

def in_memory(pattern):
    with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", 0) as memory:
        for line in maps:
            words = line.split()
            if "r" not in words[1] or words[-1].startswith("[v"):
                continue
            start, end = (int(word, 16) for word in words[0].split("-"))
            for place in range(start, end, 1 << 20):
                try:
                    memory.seek(place)
                    if pattern.search(memory.read(min(1 << 20, end - place) + 64)):
                        return True
                except OSError:
                    pass
    return False

def run(url, statement):
    async def ask():
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()
    asyncio.run(ask())

def ask_for(settings, document, content=None):
    with closing(Storage.of(settings).configuration()) as store:
        store.apply(document, author="mallory", content=content or {})

def write_copy(data):
    with closing(apsw.Connection(str(data / "configuration-copy-1.db"))) as copy:
        copy.execute("UPDATE resource SET version = version")

def find_password(pattern):
    if not in_memory(pattern):
        raise LookupError

def attempts(settings, data, owner):
    yield "use the database", lambda: run(settings.store.url, "SELECT 1 FROM node")
    yield "find the own password", lambda: find_password(OWN)
    yield "find the owner's password", lambda: find_password(OWNER)
    yield "read the owner's password", lambda: (data / "gatepost.pgpass").read_bytes()
    yield "become the owner", lambda: run(owner, "SELECT 1")
    yield "write the configuration", lambda: run(settings.store.url, "UPDATE gatepost.resource SET version = 1")
    yield "read accounts", lambda: run(settings.store.url, 'SELECT * FROM gatepost."user"')
    yield "become the superuser", lambda: run(settings.store.url, "SET SESSION AUTHORIZATION postgres")
    yield "write the copy", lambda: write_copy(data)
    for name in ("configuration-copy-1.db", "configuration-copy-1.db-wal", "configuration-copy-1.db-shm"):
        yield f"write {name}", lambda name=name: open(data / name, "ab").close()
    for kind in ("organization", "grant", "certificate", "site_token"):
        yield f"ask for a change of {kind}", lambda kind=kind: ask_for(settings, {kind: {"mine": {"node": ""}}})
        yield f"ask to remove {kind}", lambda kind=kind: ask_for(settings, {kind: {"mine": None}})
    yield "ask to store a secret", lambda: ask_for(settings, {}, {"srs/mine": b"mine"})

def outcome(work):
    try:
        work()
    except (OSError, apsw.Error, asyncpg.PostgresError, StoreFailure, LookupError) as error:
        return type(error).__name__
    return "done"

def first(settings):
    owner = load(sys.argv[sys.argv.index("--config") + 1], os.environ).store.url
    data = Path(settings.server.data_dir)
    outcomes = {name: outcome(work) for name, work in attempts(settings, data, owner)}
    print("ATTEMPTS", json.dumps(outcomes), flush=True)

module = import_module("gatepost.manage.cli.serve")
real = module.run_worker
module.run_worker = lambda settings, *words: (first(settings), real(settings, *words))[1]
from gatepost.manage.cli import main
main(prog_name="gatepost")
"""
ALLOWED = {"use the database", "find the own password"}


def attempted(running: ExitStack, database: Database, **store: str) -> tuple[Gateway, dict[str, str]]:
    """A gateway that serves, and what came of each attempt from within its worker. store: more of the settings."""
    made = Gateway(contoso(), settings={"store": {"shared_mailboxes": True, "url": "URL", **store}})
    made.data_dir.mkdir()
    database.passfile(made.data_dir, "gatepost")
    made.config.write_text(made.config.read_text().replace('"URL"', f'"{database.url("gatepost", made.data_dir)}"'))
    made._program = [sys.executable, "-c", ATTEMPTS]
    running.enter_context(made)
    log = wait_until(lambda: re.search(r"^ATTEMPTS (.*)$", made.log(), re.MULTILINE), "the attempts", timeout=60)
    return made, json.loads(log[1])


def takes(server: Gateway) -> bool:
    with suppress(smtplib.SMTPRecipientsRefused):
        return send(server.port, "new@contoso.example") == {}
    return False


@pytest.mark.timeout(300)
def test_nothing_leads_from_a_worker_to_the_role_of_the_owner(database: Database, running: ExitStack) -> None:
    server, outcomes = attempted(running, database, worker_url=database.url(WORKER))
    assert len(outcomes) > 12
    confined = landlock_version() >= 2
    files = {name for name in outcomes if name.startswith(("write configuration-copy", "write the copy"))}
    files |= {"read the owner's password", "become the owner"}
    allowed = ALLOWED if confined else ALLOWED | files
    assert {name: one for name, one in outcomes.items() if (one == "done") != (name in allowed)} == {}
    assert "takes the role of store.url without a password" not in server.log()

    # What an administrator changes reaches the worker all the same, and mail flows.
    server.apply(contoso(mailboxes=("ann@contoso.example", "new@contoso.example")))
    wait_until(lambda: takes(server), "the new mailbox")
    assert server.wait_maildir("new@contoso.example")
    findings = {one["area"]: one for one in server.cli("doctor", "--offline", json=True, expect=None).data["findings"]}
    assert findings["store.worker_url"]["level"] == "pass"


@pytest.mark.timeout(300)
def test_the_attempts_succeed_with_the_role_of_the_owner(database: Database, running: ExitStack) -> None:
    """Else the test above would prove nothing."""
    server, outcomes = attempted(running, database)
    mine = {"find the own password", "become the superuser"}
    assert {name: one for name, one in outcomes.items() if one != "done" and name not in mine} == {}
    findings = {one["area"]: one for one in server.cli("doctor", "--offline", json=True, expect=None).data["findings"]}
    assert findings["store.worker_url"]["level"] == "warn"


def test_a_start_tells_what_workers_could_read(database: Database, tmp_path: Path) -> None:
    def problems(store: dict[str, Any]) -> str:
        text = "".join(f'{name} = "{value}"\n' for name, value in store.items())
        config = tmp_path / "gatepost.toml"
        server = f'hostname = "mx.a.example"\ndata_dir = "{tmp_path / "data"}"\nuser = "root"'
        listener = f'role = "mx"\naddress = "127.0.0.1:{free_port()}"'
        config.write_text(f"[server]\n{server}\n[[listener]]\n{listener}\n[store]\n{text}", encoding="utf-8")
        done = run_gatepost("--config", str(config), "serve")
        assert done.returncode == 2
        return done.stderr.decode()

    urls = {"url": database.url("gatepost"), "worker_url": database.url(WORKER)}
    assert "workers may read passfile" in problems(urls)
    own = {"worker_url": database.url("gatepost")}
    assert "has the role of store.url" in problems(urls | own)
