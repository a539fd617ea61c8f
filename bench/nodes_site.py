"""The site that the benchmark of several nodes measures: one PostgreSQL that syncs its commits, gateways, and readings.

CPU is that of whole process trees from the kernel's accounts, with what has ended: workers and helpers of the gateways;
of the server the backends, the WAL writer, the checkpointer, autovacuum. Kernel threads are in neither.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Final, Self

from nodes_figures import Run, Usage
from nodes_traffic import Flow, Traffic
from support.gateway import Gateway
from support.postgres import Postgres
from support.scenes import connector, contoso

from gatepost.testing.pki import Pki

_TICK: Final = os.sysconf("SC_CLK_TCK")
_REST: Final = 1.5  # seconds in which the trace and the evidence of a round are written
SERVER: Final = {
    "shared_buffers": "1GB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "5min",
    "autovacuum_naptime": "15s",
    "maintenance_work_mem": "256MB",
}
_WAL: Final = (
    "SELECT (SELECT sum(xact_commit) FROM pg_stat_database)::bigint,"
    " pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint, (SELECT wal_sync FROM pg_stat_wal)"
)
_KEPT: Final = (
    "SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relkind = 'r' AND relname ~ '^(trace|evidence)_'"
)


def seconds_of(pids: Sequence[int]) -> float:
    """CPU of processes and of the children that they have waited for."""
    total = 0
    for pid in pids:
        with suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += sum(map(int, fields[11:15]))
    return total / _TICK


class Site:
    """Gateways that relay for contoso.example over TLS to the partner: `shared` of one database, or with SQLite.

    dead: "HOST:PORT" where mail for dead.example goes; what is for other domains finds no nameserver that answers.
    """

    def __init__(self, traffic: Traffic, pki: Pki, server: Postgres | None = None, *, database: str = "") -> None:
        self.server = server
        self.traffic = traffic
        self.url = (database or server.database()) if server else ""
        self.database = self.url.rpartition("/")[2]
        self.gateways: list[Gateway] = []
        self._pki = pki
        self._leaf = pki.leaf("mx.contoso.example")
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def add(self, *, dead: str = "", **settings: Any) -> Gateway:
        """Start another node."""
        number = len(self.gateways) + 1
        base: dict[str, Any] = {
            "server": {"node": f"node{number}"},
            "limits": {"connections": 5000, "connections_per_source": 5000},
            **settings,
        }
        if self.url:
            base["store"] = {"url": self.url, "shared_mailboxes": True}
        ways = [
            connector(
                "partner.example",
                self.traffic.address,
                tls_settings="domain-validation",
                tls_domain="partner.example",
                trust_anchors=str(self._pki.root),
            )
        ]
        if dead:
            ways.append(connector("dead.example", dead))
        gateway = Gateway(
            contoso(outbound=ways) if number == 1 else "",
            hostname=f"mx{number}.contoso.example",
            certificates=[self._leaf],
            settings=base,
        )
        self._stack.callback(gateway.remove)
        self.gateways.append(gateway)
        gateway.start()
        return gateway

    def used(self, count: int | None = None) -> Usage:
        """All that was used up to now. count: only the first of the gateways."""
        nodes = sum(seconds_of(gateway.family()) for gateway in self.gateways[:count])
        if self.server is None:
            return Usage(nodes, 0, 0, 0, 0)
        commits, wal, syncs = map(float, self.server.sql(_WAL).split("|"))
        return Usage(nodes, seconds_of(self.server.family()), commits, wal, syncs)

    def run(self, flow: Flow, count: int | None = None) -> Run:
        """One round: mail to all nodes, or the first ones, until it has arrived and what is kept of it is written."""
        before = self.used(count)
        sent = self.traffic.send([gateway.port for gateway in self.gateways[:count]], flow)
        time.sleep(_REST)
        used = self.used(count).since(before)
        return Run(sent.arrived, sent.ended - sent.begun, used, sent.latencies)

    def idle(self, seconds: float) -> Usage:
        """What is used while no mail comes, a second."""
        before = self.used()
        time.sleep(seconds)
        used = self.used().since(before)
        return Usage(*(getattr(used, name) / seconds for name in ("nodes", "server", "commits", "wal", "syncs")))

    def kept(self) -> int:
        """Bytes of the message trace and the evidence, with their indexes."""
        return int(self.sql(_KEPT))

    def connections(self) -> int:
        """To the database, of all nodes."""
        return int(self.sql("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'gatepost%'"))

    def sql(self, statement: str) -> str:
        """Ask its database as the superuser."""
        if self.server is None:
            raise ValueError("it has no server")
        return self.server.sql(statement, self.database)
