"""A pooler between a gateway and PostgreSQL is refused at the start, and the reason is named. Against a real PgBouncer.

Without that, mail was acknowledged that was not durable: `SET synchronous_commit = off`, which one of a worker's
connections says for itself, was in force for the commits of others.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Self

import pytest
from support.debian import need
from support.libpq import answers
from support.postgres import Postgres
from support.process import Child

from gatepost.store.interface import StoreBusy, StoreFailure
from gatepost.store.postgres.check import check_server
from gatepost.testing.process import Folder, free_port

OURS = "statement_timeout,lock_timeout,idle_in_transaction_session_timeout,idle_session_timeout,jit"
"""What each of our sessions asks for, and a pooler must be told to pass over."""


@pytest.fixture
def folder() -> Iterator[Folder]:
    folder = Folder("pgbouncer")
    yield folder
    folder.remove()


class Pooler:
    """PgBouncer before a server. mode: of its pools. ignored: parameters of sessions that it passes over."""

    def __init__(self, server: Postgres, folder: Folder, mode: str, ignored: str = "") -> None:
        need("pgbouncer")
        self.port = free_port()
        database = server.database().rpartition("/")[2]
        self.url = f"postgresql://postgres@127.0.0.1:{self.port}/{database}"
        lines = [
            "[databases]",
            f"{database} = host=127.0.0.1 port={server.port} dbname={database} user=postgres",
            "[pgbouncer]",
            "listen_addr = 127.0.0.1",
            f"listen_port = {self.port}",
            "unix_socket_dir =",
            "auth_type = any",
            f"pool_mode = {mode}",
            f"ignore_startup_parameters = {ignored}",
        ]
        file = folder.write("pgbouncer.ini", "\n".join(lines), 0o644)
        program = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin") or "pgbouncer"
        account = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] if os.geteuid() == 0 else []
        self._child = Child([*account, program, file], folder / "log")
        self._database = database

    def __enter__(self) -> Self:
        place = {"host": "127.0.0.1", "port": str(self.port), "user": "postgres", "dbname": self._database}
        self._child.wait_ready(lambda: answers(**place))
        return self

    def __exit__(self, *_: object) -> None:
        self._child.stop()


@pytest.mark.parametrize("mode", ["session", "transaction", "statement"])
@pytest.mark.parametrize("ignored", ["", OURS])
def test_a_pooler_is_refused_by_name(postgres: Postgres, folder: Folder, mode: str, ignored: str) -> None:
    with (
        Pooler(postgres, folder, mode, ignored) as pooler,
        pytest.raises(StoreFailure, match=r"is a connection pooler, such as PgBouncer: .* Name PostgreSQL") as said,
    ):
        check_server(pooler.url)
    assert not isinstance(said.value, StoreBusy), "to try again does not help"
