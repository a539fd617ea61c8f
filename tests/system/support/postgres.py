"""A PostgreSQL server on loopback, from Debian's package, in a folder of its own and as the account `postgres`.

Several run side by side, and a standby follows a primary. Nothing of the machine's own clusters is read or changed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any, Self

import pytest
from support.debian import need
from support.disk import mount, unmount
from support.libpq import StatementError, answers, unaligned_rows
from support.process import Child

from gatepost.testing.pki import Leaf
from gatepost.testing.process import FixtureError, Folder, free_port

# Tests that are not about durability do not wait for the disk. Nor do they vacuum: each has databases of its own, and a
# worker that looks into every one of them every few seconds took a tenth of a core for as long as the run lasted.
_FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "autovacuum": "off"}
_COMMON = {
    "max_connections": "100",
    "shared_buffers": "32MB",
    "logging_collector": "off",
    "log_min_messages": "warning",
    "max_wal_senders": "4",
    "wal_level": "replica",
    "hot_standby": "on",
    "autovacuum_naptime": "5s",
}


def postgres_programs(version: str = "") -> Path:
    """The folder of a version of PostgreSQL, of the newest that is installed without one."""
    if version:
        return Path(f"/usr/lib/postgresql/{version}/bin")
    folders = Path("/usr/lib/postgresql").glob("*/bin")
    return max(folders, key=lambda folder: int(folder.parent.name))


class Postgres:
    """durable: commits are synced, as in production. options: settings of postgresql.conf.

    standby_of: another one that it follows from the start. tls: it takes TLS alone over TCP, with this certificate.
    password: of the superuser over TCP (SCRAM), and roles need one. clients: with tls, the authority whose
    certificates they need. version: "" is the newest that is installed. port: one that is known already. disk: bytes of
    a file system of its own in memory (`self.disk`), 0 for none.
    """

    def __init__(
        self,
        *,
        durable: bool = False,
        options: Mapping[str, str] | None = None,
        standby_of: Postgres | None = None,
        host: str = "127.0.0.1",
        tls: Leaf | None = None,
        password: str = "",
        clients: Path | None = None,
        version: str = "",
        port: int = 0,
        disk: int = 0,
    ) -> None:
        need("postgresql")
        self.programs = postgres_programs(version)
        self.folder = Folder("postgres")
        self.host, self.port = host, port or free_port()
        self.disk = self.folder / "disk" if disk else None
        if self.disk:
            mount(self.disk, disk, "0755")
        self._account = (
            ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
        )
        place = "disk/data" if disk else "data"
        self._data = self.folder.owned(place, "postgres", 0o700) if os.geteuid() == 0 else self.folder / place
        self._sockets = self.folder.owned("sockets", "postgres", 0o755) if os.geteuid() == 0 else self.folder.path
        self._options = _COMMON | ({} if durable else _FAST) | dict(options or {})
        self._databases = count(1)
        self._child: Child | None = None
        if standby_of is None:
            self._make(password)
            if tls or password:
                method = "cert" if clients else "scram-sha-256" if password else "trust"
                self._allow("hostssl" if tls else "host", method)
            if tls:
                self._options |= self._certified(tls)
            if clients:
                self._data_file("clients.pem", clients.read_text())
                self._options |= {"ssl_ca_file": "clients.pem"}
        else:
            self.run(
                "pg_basebackup",
                "-D",
                self._data,
                "-R",
                "-c",
                "fast",
                "-X",
                "stream",
                "--no-sync",
                *standby_of.address(),
            )

    def _make(self, password: str) -> None:
        """Copy what initdb made for the first server of this kind: it takes more than a second of CPU."""
        words = ["-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C"]
        words += ["--wal-segsize=1"] if self.disk else []
        if password:
            file = self.folder.write("password", password, 0o644)
            words += [f"--pwfile={file}"]
        kind = (self.programs, *words)
        if kind not in _prepared:
            folder = Folder("postgres-prepared")
            place = folder.owned("data", "postgres", 0o700) if os.geteuid() == 0 else folder / "data"
            self.run("initdb", "-D", place, *words)
            _prepared[kind] = folder
        subprocess.run([*self._account, "cp", "-a", f"{_prepared[kind].path}/data/.", self._data], check=True, cwd="/")

    def _allow(self, kind: str, method: str) -> None:
        """Who may come over TCP, and how; over the socket the tests do as they like."""
        self._data_file("pg_hba.conf", f"local all all trust\n{kind} all all all {method}\n")

    def certify(self, tls: Leaf) -> None:
        """Have another certificate, as an administrator renews it."""
        self._certified(tls)
        self.sql("SELECT pg_reload_conf()")

    def _certified(self, tls: Leaf) -> dict[str, str]:
        self._data_file("server.crt", tls.chain.read_text())
        self._data_file("server.key", tls.key.read_text())
        return {"ssl": "on", "ssl_cert_file": "server.crt", "ssl_key_file": "server.key"}

    def _data_file(self, name: str, text: str) -> None:
        path = self._data / name
        path.touch(0o600)
        path.write_text(text)
        if os.geteuid() == 0:
            shutil.chown(path, "postgres", "postgres")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        if self.disk:
            unmount(self.disk)
        self.folder.remove()

    def start(self) -> None:
        """Start, and wait until it takes connections."""
        given = self._options | {
            "port": str(self.port),
            "listen_addresses": self.host,
            "unix_socket_directories": str(self._sockets),
        }
        words = [word for name, value in given.items() for word in ("-c", f"{name}={value}")]
        self._child = Child([*self._account, self.programs / "postgres", "-D", self._data, *words], self.folder / "log")
        self._child.wait_ready(self.is_ready)

    @property
    def is_running(self) -> bool:
        """Whether its process lives."""
        return self._child is not None and self._child.returncode is None

    def is_ready(self) -> bool:
        """Whether it takes connections."""
        return answers(host=str(self._sockets), port=str(self.port), user="postgres")

    def family(self) -> list[int]:
        """Its process ids, the first one's first."""
        return self._child.family() if self._child else []

    def stop(self) -> None:
        """End it as an administrator does ("fast"): clients are cut off, all is written."""
        if self._child is not None:
            if self._child.returncode is None:
                self.run("pg_ctl", "stop", "-m", "fast", "-w", "-D", self._data)
            self._child.stop()
            self._child = None

    def kill(self) -> None:
        """End it at once, as a crash does."""
        if self._child is not None:
            self._child.kill()
            self._child = None

    def promote(self) -> None:
        """Make a primary of a standby."""
        self.run("pg_ctl", "promote", "-w", "-D", self._data)

    def address(self) -> list[str]:
        """The options of PostgreSQL's own programs that lead to it."""
        return ["-h", str(self._sockets), "-p", str(self.port), "-U", "postgres"]

    def url(self, database: str = "postgres", *, user: str = "postgres") -> str:
        """The address of a database, over TCP on loopback."""
        return f"postgresql://{user}@{self.host}:{self.port}/{database}"

    def database(self, *, by_socket: bool = False) -> str:
        """The URL of a new, empty database. by_socket: over a Unix socket, for who has another network."""
        name = f"gatepost{next(self._databases)}_{os.getpid()}"
        self.sql(f"CREATE DATABASE {name}")
        if has_worker_role() and WORKER not in self.sql("SELECT rolname FROM pg_roles").split():
            self.sql(f"CREATE ROLE {WORKER} LOGIN")
        if by_socket:
            return f"postgresql:///{name}?user=postgres&host={self._sockets}&port={self.port}"
        return self.url(name)

    def sql(self, statement: str, database: str = "postgres") -> str:
        """Run a statement as the superuser; returns unaligned rows. Raises FixtureError."""
        try:
            rows = unaligned_rows(
                statement, host=str(self._sockets), port=str(self.port), user="postgres", dbname=database
            )
        except StatementError as failure:
            raise FixtureError(f"{statement}: {failure}") from failure
        return rows.strip()

    def log(self) -> str:
        """What it has logged."""
        return (self.folder / "log").read_text(errors="replace")

    def run(self, program: str, *arguments: str | Path) -> str:
        """Run one of its programs as its account; returns what it printed. Raises FixtureError."""
        command = [*self._account, self.programs / program, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd="/")
        if done.returncode:
            raise FixtureError(f"{program} ended with {done.returncode}: {done.stderr[-2000:]}")
        return done.stdout


WORKER = "gatepost_worker"
"""The role of workers."""

_SQLITE_ONLY = "with SQLite only: "
_common: list[Postgres] = []
_prepared: dict[tuple[str | Path, ...], Folder] = {}  # by program and options of initdb


def on_postgres() -> bool:
    """Whether GATEPOST_STORE=postgresql asks for gateways on PostgreSQL."""
    return os.environ.get("GATEPOST_STORE") == "postgresql"


def sqlite_only(why: str) -> pytest.MarkDecorator:
    """Marks a test that shows nothing of a gateway on PostgreSQL; such a run counts it."""
    return pytest.mark.skipif(on_postgres(), reason=f"{_SQLITE_ONLY}{why}")


def sqlite_only_summary(skipped: list[Any]) -> str:
    """How many of these reports are of tests of `sqlite_only`, and why; "" if none is."""
    reasons = [str(report.longrepr[2]) for report in skipped if isinstance(report.longrepr, tuple)]
    whys = [reason.partition(_SQLITE_ONLY)[2] for reason in reasons if _SQLITE_ONLY in reason]
    return f"{len(whys)} test(s) run {_SQLITE_ONLY}{'; '.join(sorted(set(whys)))}" if whys else ""


def common_server() -> Postgres:
    """The one of this process for tests that only use it, started with its first use."""
    if not _common:
        server = Postgres()
        server.start()
        _common.append(server)
    return _common[0]


def end_common_server() -> None:
    """Stop it, and leave nothing behind."""
    while _common:
        _common.pop().__exit__()
    while _prepared:
        _prepared.popitem()[1].remove()


def store_settings(*, by_socket: bool = False) -> dict[str, Any]:
    """[store] of a gateway: a fresh database where GATEPOST_STORE=postgresql asks for it, else its data directory."""
    if not on_postgres():
        return {}
    return {"url": common_server().database(by_socket=by_socket), "shared_mailboxes": True}


def has_worker_role() -> bool:
    """Whether GATEPOST_WORKER_ROLE=1 asks for a role of their own for the workers of gateways on PostgreSQL."""
    return os.environ.get("GATEPOST_WORKER_ROLE") == "1"


def worker_url(url: str) -> str:
    """The same database for the role of workers."""
    return url.replace("user=postgres", f"user={WORKER}").replace("//postgres@", f"//{WORKER}@")
