"""A PostgreSQL server that cannot be used: each reason has a clear error at the start, and nothing is changed.

Against a real server with TLS and passwords. That a server is too old is tested by the comparison alone, since Debian
has no server before PostgreSQL 15.
"""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from support.namespaces import TwoMachines, inside
from support.postgres import Postgres
from support.process import run_gatepost

from gatepost.mail.model.trace_event import TraceEvent
from gatepost.store.interface import Schema, StoreBusy, StoreFailure, TraceFilter
from gatepost.store.nodes import NodeIdentity
from gatepost.store.postgres.check import check_server, prepare_server
from gatepost.store.postgres.server import DatabaseServer, check_version
from gatepost.store.postgres.trace_tables import DAY, partition
from gatepost.store.postgres.trace_tables import SCHEMA as TRACE
from gatepost.store.site_tables import SITE
from gatepost.store.storage import Storage
from gatepost.testing.pki import Leaf, Pki
from gatepost.testing.process import FixtureError, Folder, wait_until
from gatepost.times import day_text
from gatepost.values import replace

# asyncpg leaves the socket of a refused connection to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

PASSWORD, WRONG = "correct-horse", "battery-staple"
ROLES = Path(__file__).parents[2] / "deploy/postgresql/roles.sql"
SCHEMA = Schema(
    name="fruit",
    file="fruit.db",
    application_id=0x66727574,
    version=2,
    tables="CREATE TABLE fruit (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL)",
    upgrades={1: "ALTER TABLE fruit ADD COLUMN colour TEXT NOT NULL DEFAULT ''"},
)


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """Before the filter above ends."""
    yield
    gc.collect()


class Site:
    """A server that takes TLS with passwords alone, with the roles of `deploy/postgresql/roles.sql`."""

    def __init__(self, server: Postgres, folder: Folder, pki: Pki) -> None:
        self.server, self.folder, self.pki = server, folder, pki
        server.run("psql", "-Xq", "-v", "ON_ERROR_STOP=1", "-d", "postgres", "-f", self._readable(), *server.address())
        for role in ("gatepost", "gatepost_admin"):
            server.sql(f"ALTER ROLE {role} PASSWORD '{PASSWORD}'")
        self.right = self.passfile("right", PASSWORD)
        self.wrong = self.passfile("wrong", WRONG)
        self.wide = self.passfile("wide", PASSWORD, 0o644)

    def _readable(self) -> Path:
        """The account postgres may not read the repository."""
        return self.folder.write("roles.sql", ROLES.read_text())

    def passfile(self, name: str, password: str, mode: int = 0o600) -> Path:
        return self.folder.write(name, f"*:*:*:*:{password}\n", mode)

    def url(
        self,
        *,
        role: str = "gatepost",
        host: str = "localhost",
        port: int = 0,
        database: str = "gatepost",
        passfile: Path | None = None,
        tls: str = "",
    ) -> str:
        tls = tls or f"sslmode=verify-full&sslrootcert={self.pki.root}"
        where = f"{role}@{host}:{port or self.server.port}/{database}"
        return f"postgresql://{where}?{tls}&passfile={passfile or self.right}"

    def as_gateway(self, statements: str, role: str = "gatepost") -> None:
        """Run statements with the rights of a role. Raises FixtureError."""
        self.server.sql(f"SET SESSION AUTHORIZATION {role}; SET search_path = gatepost; {statements}", "gatepost")

    def refused(self, statement: str, role: str = "gatepost") -> str:
        """What the server says to a statement that it refuses."""
        with pytest.raises(FixtureError) as raised:
            self.as_gateway(statement, role)
        return str(raised.value)

    def empty(self) -> None:
        """Take away what the tests before made."""
        for table in self.tables():
            self.server.sql(f"DROP TABLE IF EXISTS gatepost.{table} CASCADE", "gatepost")
        sequences = "SELECT relname FROM pg_class WHERE relkind = 'S' AND relnamespace = 'gatepost'::regnamespace"
        for sequence in self.server.sql(sequences, "gatepost").split():
            self.server.sql(f"DROP SEQUENCE gatepost.{sequence}", "gatepost")
        self.server.sql("DROP FUNCTION IF EXISTS gatepost.trace_make_day, gatepost.trace_drop_day", "gatepost")

    def tables(self) -> list[str]:
        sql = (
            "SELECT relname FROM pg_class"
            " WHERE relkind IN ('r', 'p') AND relnamespace = 'gatepost'::regnamespace ORDER BY 1"
        )
        return self.server.sql(sql, "gatepost").split()


@pytest.fixture(scope="module")
def site(pki: Pki) -> Iterator[Site]:
    folder = Folder("site")
    leaf = pki.leaf("db.example", names=("localhost",))
    try:
        with Postgres(tls=leaf, password=PASSWORD) as server:
            yield Site(server, folder, pki)
    finally:
        folder.remove()


@pytest.fixture
def traced(site: Site) -> Iterator[Site]:
    """With the tables of the trace."""
    prepare_server(site.url(role="gatepost_admin"), [TRACE])
    yield site
    site.server.sql(
        "SET search_path = gatepost; DROP TABLE trace, trace_part, trace_tally;"
        "DROP FUNCTION trace_make_day, trace_drop_day; DELETE FROM schema_version WHERE name = 'trace'",
        "gatepost",
    )


def event(at: float) -> TraceEvent:
    return TraceEvent(at, "SEND", "01", "contoso", "originating", "s1", "bob@contoso.example", "ann@partner.example")


def refused(url: str, kind: type[StoreFailure] = StoreFailure) -> str:
    """The text of the error, which no door says with a password."""
    with pytest.raises(StoreFailure) as raised:
        check_server(url, [SCHEMA])
    assert type(raised.value) is kind, raised.value
    text = str(raised.value)
    assert "store.url" in text
    assert PASSWORD not in text
    assert WRONG not in text
    return text


def test_what_store_url_says_wrongly(site: Site, strange_pki: Pki) -> None:
    prepare_server(site.url(role="gatepost_admin"), [SCHEMA])
    assert check_server(site.url(), [SCHEMA]).tls.startswith("TLSv1")
    verify = "sslmode=verify-full&sslrootcert="
    cases = [
        (site.url(passfile=site.wrong), "does not take the password of role gatepost: passfile "),
        (site.url(passfile=Path("/nowhere/pass")), "passfile /nowhere/pass is not there"),
        (site.url(passfile=site.wide), "has mode 0644, and others may read it; run: chmod 0600"),
        (site.url(role="nobody"), "does not take the password of role nobody"),
        (site.url(database="none"), "has no database none: create it"),
        (site.url(tls="sslmode=disable"), "wants TLS: add ?sslmode=verify-full&sslrootcert=/PATH"),
        (site.url(tls=f"{verify}{strange_pki.root}"), "is not the right one: unable to get local issuer certificate"),
        (site.url(host="127.0.0.1"), "certificate is not valid for '127.0.0.1'"),
        (site.url(tls=f"{verify}/nowhere/ca.pem"), "sslrootcert /nowhere/ca.pem: No such file"),
        (site.url(tls="sslmode=verify-full"), "root certificate file"),
        (site.url(tls="sslmode=best"), "`sslmode` parameter must be one of"),
    ]
    for url, text in cases:
        assert text in refused(url), url
    site.server.sql("CREATE DATABASE closed")
    site.server.sql("REVOKE CONNECT ON DATABASE closed FROM PUBLIC")
    assert "GRANT CONNECT ON DATABASE closed TO gatepost" in refused(site.url(database="closed"))


def test_a_server_that_wants_client_certificates(pki: Pki, strange_pki: Pki) -> None:
    ours, ended, others = pki.leaf("postgres"), pki.expired("postgres"), strange_pki.leaf("postgres")
    wide = pki.leaf("postgres")
    wide.key.chmod(0o644)  # by libpq's rule 0640 is no fault of a key that is root's
    wide.certificate.chmod(0o600)
    with Postgres(tls=pki.leaf("localhost"), clients=pki.root) as server:
        url = f"postgresql://postgres@localhost:{server.port}/postgres?sslmode=verify-full&sslrootcert={pki.root}"

        def using(leaf: Leaf, key: Path | None = None) -> str:
            return f"{url}&sslcert={leaf.chain}&sslkey={key or leaf.key}"

        assert check_server(using(ours)).tls == "TLSv1.3"
        cases = [
            (url, "requires a valid client certificate. Name a certificate for this role with sslcert and sslkey"),
            (using(pki.leaf("someone")), "its common name is the role, or pg_ident.conf maps it"),
            (using(ours, others.key), f"the key in sslkey {others.key} does not belong to the certificate in sslcert"),
            (using(ours, wide.certificate), "are not a certificate and its private key without a passphrase, in PEM"),
            (using(ours, Path("/nowhere/key")), "sslkey /nowhere/key: No such file or directory; name the right file"),
            (using(wide), f"has mode 0644, and others may read it; run: chmod 0600 {wide.key}"),
            (f"{using(ours)}&sslcrl={pki.root.parent}", f"sslcrl {pki.root.parent}: Is a directory"),
        ]
        for given, text in cases:
            assert text in refused(given), given
        # TLS 1.3: the server hangs up without a word.
        assert f"The certificate in sslcert {ended.chain} ended at 20" in refused(using(ended), StoreBusy)
        assert "in its log whether it takes the certificate in sslcert" in refused(using(others), StoreBusy)

        for leaf, text in (
            (pki.expired("localhost"), "certificate has expired. Renew it on the server"),
            (pki.not_yet_valid("localhost"), "certificate is not yet valid. Compare the clocks"),
            (pki.leaf("db.example"), "not valid for 'localhost'. Write the host into store.url as"),
            (strange_pki.leaf("localhost"), f"Give the authority of the server with sslrootcert (now: {pki.root})"),
        ):
            server.certify(leaf)
            wait_until(partial(refuses, using(ours), text), text)


def refuses(url: str, text: str) -> bool:
    """Whether a server that reloads its certificate has done so."""
    try:
        check_server(url)
    except StoreFailure as failure:
        return text in str(failure)
    return False


def test_what_may_pass_is_temporary(site: Site) -> None:
    for url in (site.url(port=1), site.url(host="db.invalid"), site.url(host="localhost,localhost", port=1)):
        assert "cannot be reached" in refused(url, StoreBusy), url
    primary_only = f"{site.url()}&target_session_attrs=read-write"
    site.server.sql("ALTER ROLE gatepost SET default_transaction_read_only = on")  # as a standby says it
    try:
        assert "is a standby or read-only" in refused(primary_only, StoreBusy)
        assert "is a standby or read-only. Name the primary" in refused(site.url(), StoreBusy)
        with pytest.raises(StoreBusy):
            Storage(primary_only, Path("/nowhere")).database(SCHEMA)
    finally:
        site.server.sql("ALTER ROLE gatepost RESET default_transaction_read_only")


def test_a_server_without_tls(postgres: Postgres, pki: Pki) -> None:
    url = f"postgresql://postgres@localhost:{postgres.port}/postgres?sslmode=verify-full&sslrootcert={pki.root}"
    assert "has no TLS, and store.url demands it: set ssl = on" in refused(url)


def test_a_service_file_may_not_leave_the_server_unverified(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loopback counts as verified, so the address is made to look like another's."""
    service = tmp_path / "service.conf"
    service.write_text(
        f"[site]\nhost=localhost\nport={site.server.port}\ndbname=gatepost\nuser=gatepost\npassfile={site.right}\n"
    )
    url = f"postgresql:///?service=site&servicefile={service}"
    assert check_server(url).tls
    assert "has no service [other]" in refused(url.replace("=site", "=other"))
    assert "servicefile /nowhere: No such file" in refused("postgresql:///?service=site&servicefile=/nowhere")
    monkeypatch.setattr("gatepost.store.postgres.connecting.is_here", lambda _peer: False)
    assert "PostgreSQL (service site) was reached without being verified" in refused(url)
    assert check_server(site.url()).tls


def test_no_password_goes_to_a_server_that_is_not_proven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log of the server at another machine's address knows of no log-in."""
    with TwoMachines() as two:
        server = Postgres(host=two.addresses[0], password=PASSWORD, options={"log_connections": "on"})
        inside(two.left, server.start)
        try:
            passfile, service = tmp_path / "pass", tmp_path / "service.conf"
            passfile.write_text(f"*:*:*:*:{PASSWORD}\n")
            passfile.chmod(0o600)
            service.write_text(f"[site]\nhost={server.host}\nport={server.port}\nuser=postgres\npassfile={passfile}\n")
            by_file = f"postgresql:///postgres?service=site&servicefile={service}"
            by_variable = f"postgresql://postgres@/postgres?port={server.port}&passfile={passfile}"

            def refused_there(url: str) -> str:
                return inside(two.left, partial(refused, url))

            before = server.log().count("connection authenticated")
            assert f"the server {server.host} would not be verified: add" in refused_there(by_file)
            monkeypatch.setenv("PGHOST", server.host)
            assert f"the server {server.host} would not be verified: add" in refused_there(by_variable)
            assert server.log().count("connection authenticated") == before
        finally:
            server.__exit__()


def test_the_role_of_the_gateway_makes_no_tables_and_works_with_prepared_ones(site: Site, tmp_path: Path) -> None:
    site.empty()
    text = refused(site.url())
    assert "missing or older than this version of gatepost: fruit; this role may not make them" in text
    assert "gatepost store prepare" in text
    with pytest.raises(StoreFailure, match="gatepost store prepare"):
        Storage(site.url(), tmp_path).database(SCHEMA)
    assert site.tables() == []

    admin = site.url(role="gatepost_admin")
    older = replace(SCHEMA, version=1, upgrades={})
    assert prepare_server(admin, [older]).tables == {"fruit": None}
    assert "fruit (version 1)" in refused(site.url())
    assert Storage(admin, tmp_path).prepare([SCHEMA]) == {"fruit": 1}
    assert Storage(admin, tmp_path).prepare([SCHEMA]) == {"fruit": 2}
    database = Storage(site.url(), tmp_path).database(SCHEMA)
    with database.changing() as change:
        change.execute("INSERT INTO fruit (name) VALUES (?)", ("apple",))
        change.execute("UPDATE fruit SET colour = 'red'")
        assert change.execute("DELETE FROM fruit") == 1
    for statement in ("CREATE TABLE other (x BIGINT)", "DROP TABLE fruit", "ALTER TABLE fruit ADD COLUMN x BIGINT"):
        with pytest.raises(StoreFailure, match=r"permission denied|must be owner"), database.changing() as change:
            change.execute(statement)
    state = check_server(site.url(), [SCHEMA])
    assert (state.role, state.schema, state.is_superuser, state.may_create) == ("gatepost", "gatepost", False, False)


def test_the_role_of_the_gateway_writes_and_forgets_days_of_the_trace(traced: Site, tmp_path: Path) -> None:
    trace = Storage(traced.url(), tmp_path, node="mx1.a.example").trace()
    now = time.time()
    sink = trace.sink(0)
    sink.add([event(at) for at in (now - 9 * DAY, now, now + DAY)])
    sink.close()
    trace.write("admin", [event(now - 9 * DAY), event(now - 8 * DAY)])
    days = [partition(day_text(now + more * DAY)) for more in (-9, -8, 0, 1)]
    assert [name for name in traced.tables() if name[6:].isdigit()] == days
    assert len(trace.search(TraceFilter())) == 5
    (part,) = [one for one in trace.parts("", "9999") if one.name == f"{day_text(now - 9 * DAY)}.admin"]
    assert sum(trace.tally(part)[1].values()) == 1

    lost = "ALTER TABLE gatepost.trace DETACH PARTITION gatepost." + days[1]  # as who looks at it by hand may leave it
    traced.server.sql(lost, "gatepost")
    with Storage(traced.url(), tmp_path).database(TRACE).reading_at_once() as reading:
        reading.rows(f"SELECT FROM {days[0]}")
        assert trace.forget(now - 7 * DAY) == []  # without waiting for who reads: that would be for ever
        assert len(trace.search(TraceFilter())) == 4
        assert len(trace.parts("", "9999")) == 5  # nothing of what is in use is half gone
    assert trace.forget(now - 7 * DAY) == days[:2]
    assert [name for name in traced.tables() if name[6:].isdigit()] == days[2:]
    assert len(trace.search(TraceFilter())) == 2
    assert len(trace.parts("", "9999")) == 2
    owners = "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'gatepost' AND tablename LIKE 'trace%'"
    assert traced.server.sql(owners, "gatepost") == "gatepost_admin"


def test_functions_of_the_owner_touch_days_of_the_trace_alone(traced: Site) -> None:
    before = traced.tables()
    for name in ("trace", "trace_part", "schema_version", "trace_20260101; DROP TABLE trace", "gatepost.trace_20260101",
                 "trace_2026010", "trace_202601011", "trace_20260101\n", "TRACE_20260101", "trace_20260231",
                 ""):  # fmt: skip
        for function in ("make", "drop"):
            text = traced.refused(f"SELECT gatepost.trace_{function}_day($${name}$$)")
            assert "not the table of a day" in text or "out of range" in text, name
    for statement in ("DROP TABLE trace", "CREATE TABLE trace_20260102 (x BIGINT)", "DROP FUNCTION trace_drop_day",
                      "CREATE TABLE other PARTITION OF trace DEFAULT"):  # fmt: skip
        text = traced.refused(statement)
        assert "must be owner" in text or "permission denied" in text, statement

    # A caller who has what the server gives by default: temporary tables, and a schema to begin with.
    traced.server.sql("GRANT TEMPORARY ON DATABASE gatepost TO gatepost", "gatepost")
    traced.server.sql("CREATE SCHEMA IF NOT EXISTS mine AUTHORIZATION gatepost", "gatepost")
    traced.as_gateway(
        "CREATE TEMPORARY TABLE trace (x BIGINT); CREATE TABLE mine.trace (x BIGINT); SET search_path = pg_temp, mine;"
        "SELECT gatepost.trace_make_day('trace_20260101')"
    )
    assert traced.tables() == sorted([*before, "trace_20260101"])
    traced.as_gateway(
        "CREATE TEMPORARY TABLE trace_20260101 (x BIGINT); CREATE TEMPORARY TABLE trace_part (day TEXT);"
        "SET search_path = pg_temp, mine; SELECT gatepost.trace_drop_day('trace_20260101')"
    )
    assert traced.tables() == before

    traced.server.sql("CREATE ROLE stranger; GRANT USAGE ON SCHEMA gatepost TO stranger", "gatepost")
    text = traced.refused("SELECT gatepost.trace_drop_day('trace_20260101')", role="stranger")
    assert "permission denied for function" in text


@pytest.fixture
def fruit(site: Site) -> Iterator[Site]:
    """The tables of SCHEMA alone, as a release before this one made them: without a word on older code."""
    _forget_fruit(site)
    for schema in (replace(SCHEMA, version=1, upgrades={}), SCHEMA):
        prepare_server(site.url(role="gatepost_admin"), [schema])
    site.server.sql("ALTER TABLE gatepost.schema_version DROP COLUMN IF EXISTS oldest", "gatepost")
    yield site
    _forget_fruit(site)


def _forget_fruit(site: Site) -> None:
    site.server.sql("DROP TABLE IF EXISTS gatepost.fruit", "gatepost")
    if "schema_version" in site.tables():
        site.server.sql("DELETE FROM gatepost.schema_version WHERE name = 'fruit'", "gatepost")


NEXT = replace(
    SCHEMA, version=3, upgrades=SCHEMA.upgrades | {2: "ALTER TABLE fruit ADD COLUMN taste TEXT"}, oldest=2
)  # fmt: skip
LATER = replace(
    NEXT, version=4, upgrades=NEXT.upgrades | {3: "ALTER TABLE fruit DROP COLUMN colour"}, oldest=3
)  # fmt: skip


def test_newer_tables_are_used_by_who_can_and_refused_by_others(fruit: Site, tmp_path: Path) -> None:
    admin = fruit.url(role="gatepost_admin")
    assert check_server(fruit.url(), [SCHEMA]).tables == {"fruit": 2}
    assert prepare_server(admin, [NEXT]).tables == {"fruit": 2}
    for url in (fruit.url(), admin):
        assert check_server(url, [SCHEMA]).tables == {"fruit": 3}
        with Storage(url, tmp_path).database(SCHEMA).changing() as change:
            change.execute("INSERT INTO fruit (name) VALUES (?)", ("apple",))
    assert prepare_server(admin, [SCHEMA]).tables == {"fruit": 3}  # nothing is taken back
    assert fruit.server.sql("SELECT taste FROM gatepost.fruit", "gatepost") == ""

    prepare_server(admin, [LATER])
    assert check_server(fruit.url(), [NEXT]).tables == {"fruit": 4}
    told = "version 4, which need a gatepost that knows version 3, and this one knows 2: use a newer version"
    for call in (check_server, prepare_server):
        with pytest.raises(StoreFailure, match=told):
            call(admin, [SCHEMA])
    with pytest.raises(StoreFailure, match=told):
        Storage(fruit.url(), tmp_path).database(SCHEMA)


def test_tables_without_a_word_on_older_code_are_for_their_own_and_newer(fruit: Site) -> None:
    fruit.server.sql("UPDATE gatepost.schema_version SET version = 7 WHERE name = 'fruit'", "gatepost")
    with pytest.raises(StoreFailure, match="version 7, which need a gatepost that knows version 7"):
        check_server(fruit.url(), [SCHEMA])


def test_what_running_nodes_need_is_not_taken_away(fruit: Site, tmp_path: Path) -> None:
    admin = fruit.url(role="gatepost_admin")
    prepare_server(admin, [SITE])
    nodes = Storage(fruit.url(), tmp_path).nodes()
    node = NodeIdentity("mx1", "start 1", "data 1", "host1", "1.0")
    nodes.enter(node)
    with pytest.raises(StoreFailure, match=r"cannot work with version 4: first upgrade all nodes .* ago: mx1; nothing"):
        prepare_server(admin, [LATER])
    assert check_server(fruit.url(), [SCHEMA]).tables == {"fruit": 2}
    prepare_server(admin, [NEXT])  # it only adds
    nodes.stop(node)
    nodes.close()
    prepare_server(admin, [LATER])
    assert check_server(fruit.url(), [LATER]).tables == {"fruit": 4}


def test_a_database_that_is_not_utf8_or_has_no_schema(postgres: Postgres) -> None:
    postgres.sql("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    assert "has the encoding LATIN1, and UTF8 is needed: CREATE DATABASE latin" in refused(postgres.url("latin"))
    postgres.sql("CREATE DATABASE bare")
    postgres.sql("ALTER DATABASE bare SET search_path = nothing")
    assert "has no schema in database bare" in refused(postgres.url("bare"))


def test_a_server_that_is_too_old() -> None:
    with pytest.raises(StoreFailure, match=r"PostgreSQL 14\.19 is too old: gatepost needs 15 or newer"):
        check_version(14, 19)
    check_version(15, 0)
    check_version(17, 6)


def test_the_command_prepares_and_says_what_is_wrong(site: Site) -> None:
    settings = site.folder.write("gatepost.toml", '[server]\nhostname = "mx1.contoso.example"\ndata_dir = "/nowhere"\n')

    def prepare(*words: str) -> tuple[int, str]:
        done = run_gatepost("--config", str(settings), "store", "prepare", *words)
        return done.returncode, (done.stdout + done.stderr).decode()

    site.empty()
    status, text = prepare("--url", site.url(role="gatepost_admin"))
    assert (status, "as this version of gatepost needs them" in text) == (0, True), text
    status, text = prepare("--url", site.url(passfile=site.wrong))
    assert (status, "does not take the password" in text) == (2, True)
    assert prepare("--url", site.url(port=1))[0] == 3
    status, text = prepare("--url", f"postgresql://gatepost:{WRONG}@localhost/gatepost")
    assert (status, "has a password in it" in text, WRONG in text) == (2, True, False)
    status, text = prepare()
    assert (status, "for PostgreSQL give --url" in text) == (2, True)


def test_the_command_waits_for_a_server_that_comes_later(site: Site) -> None:
    settings = site.folder.write("gatepost.toml", '[server]\nhostname = "mx1.contoso.example"\ndata_dir = "/nowhere"\n')
    site.server.stop()
    later = threading.Timer(3, site.server.start)
    later.start()
    begun = time.monotonic()
    words = ("store", "prepare", "--wait", "60", "--url", site.url(role="gatepost_admin"))
    try:
        done = run_gatepost("--config", str(settings), *words)
    finally:
        later.join()
    assert (done.returncode, time.monotonic() - begun >= 2) == (0, True), done.stderr
    begun = time.monotonic()
    wrong = run_gatepost("--config", str(settings), *words[:-1], site.url(passfile=site.wrong))
    assert (wrong.returncode, time.monotonic() - begun < 50) == (2, True), wrong.stderr  # not the 60 s of --wait


def test_our_sessions_may_idle_and_take_their_time_whatever_the_role_has(site: Site) -> None:
    names = ["idle_session_timeout", "statement_timeout", "idle_in_transaction_session_timeout"]
    names += ["transaction_timeout"] if int(site.server.sql("SHOW server_version_num")) >= 170000 else []
    for name in names:
        site.server.sql(f"ALTER ROLE gatepost SET {name} = '300ms'")
    server = DatabaseServer.of(site.url())
    try:
        with server.connection() as connection:
            time.sleep(0.5)
            server.run(lambda: connection.execute("SELECT pg_sleep(0.5)"), "sleep")
    finally:
        server.close()
        site.server.sql("ALTER ROLE gatepost RESET ALL")
        site.server.sql("ALTER ROLE gatepost IN DATABASE gatepost SET search_path = gatepost")


def test_a_server_that_keeps_its_timeline_back_is_used(site: Site) -> None:
    """As of a service that takes these functions from its customers."""
    functions = "FUNCTION pg_control_system(), pg_walfile_name(pg_lsn), pg_current_wal_insert_lsn()"
    site.server.sql(f"REVOKE EXECUTE ON {functions} FROM PUBLIC", "gatepost")
    try:
        server = DatabaseServer.of(site.url())
        with server.connection() as connection:
            assert not connection.is_closed()
        server.close()
    finally:
        site.server.sql(f"GRANT EXECUTE ON {functions} TO PUBLIC", "gatepost")
