"""A primary and its synchronous standby, of which any may die: each has a disk of its own, and one of two addresses."""

from __future__ import annotations

import time
from itertools import count
from typing import Self

from support.postgres import Postgres

from gatepost.testing.process import free_port, wait_until

DISK = 384 << 20
_OPTIONS = {
    "max_connections": "60",
    "synchronous_standby_names": "*",
    "wal_retrieve_retry_interval": "200ms",  # else a standby waits 5 s before it asks a primary again
    "wal_receiver_status_interval": "1s",
    "min_wal_size": "2MB",
    "max_wal_size": "48MB",
    "wal_keep_size": "32MB",
    "checkpoint_timeout": "30s",
}


class Pair:
    """`primary` and `standby` are others after a `fail_over`. A commit returns when both have it."""

    host = "127.0.0.1"

    def __init__(self) -> None:
        self.ports = [free_port(), free_port()]
        self.primary = Postgres(durable=True, options=_OPTIONS, port=self.ports[0], disk=DISK)
        self.standby: Postgres | None = None
        self._databases = count(1)

    def __enter__(self) -> Self:
        try:
            self.primary.start()
            self.add_standby()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for server in (self.standby, self.primary):
            if server is not None:
                server.__exit__()

    def database(self) -> str:
        """The address of a new, empty database, for who finds the primary by itself."""
        name = f"site{next(self._databases)}"
        self.primary.sql(f"CREATE DATABASE {name}")
        hosts = ",".join(f"{self.host}:{port}" for port in self.ports)
        return f"postgresql://postgres@{hosts}/{name}?target_session_attrs=read-write"

    def sql(self, statement: str) -> str:
        """Run a statement on the primary."""
        return self.primary.sql(statement)

    def add_standby(self) -> None:
        """Make one from a base backup of the primary, at the address that is free; commits wait for it from then on."""
        (port,) = (port for port in self.ports if port != self.primary.port)
        self.standby = Postgres(durable=True, options=_OPTIONS, port=port, disk=DISK, standby_of=self.primary)
        self.standby.start()
        self.wait_replicated()

    def fail_over(self) -> float:
        """Kill the primary, promote the standby; the seconds that took. Commits wait until there is a standby again."""
        assert self.standby is not None
        begun = time.monotonic()
        dead, self.primary, self.standby = self.primary, self.standby, None
        dead.kill()
        self.primary.promote()
        over = time.monotonic()
        dead.__exit__()
        return over - begun

    def wait_replicated(self) -> None:
        """Return when the standby is a synchronous one."""
        asked = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'"
        wait_until(lambda: self.sql(asked) == "1", "the standby to follow", timeout=30)
