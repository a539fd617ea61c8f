"""A primary that was taken over from, and is started again as it was: nodes do not use what it has.

Two nodes, a primary and an asynchronous standby, both in `store.url`. Nothing fences the old primary: it takes writes.
"""

from __future__ import annotations

import smtplib
from collections.abc import Iterator

import pytest
from support import postgres
from support.gateway import Gateway
from support.nodes import Nodes
from support.postgres import Postgres
from support.scenes import ALICE, message

from gatepost.store.postgres.server import DatabaseServer
from gatepost.testing.process import free_port, wait_until

_OPTIONS = {"wal_retrieve_retry_interval": "200ms", "wal_log_hints": "on"}
_OURS = "SELECT count(*) FROM pg_stat_activity WHERE application_name ~ '^gatepost (queue|manage|trace|conf)'"


class LoosePair:
    """Implements what `Nodes` needs of a `Pair`: the standby may be promoted while the primary lives."""

    host = "127.0.0.1"

    def __init__(self) -> None:
        self.ports = [free_port(), free_port()]
        self.primary = Postgres(options=_OPTIONS, port=self.ports[0])
        self.primary.start()
        self.standby = Postgres(options=_OPTIONS, port=self.ports[1], standby_of=self.primary)
        self.standby.start()

    def database(self) -> str:
        self.primary.sql("CREATE DATABASE site")
        hosts = ",".join(f"{self.host}:{port}" for port in self.ports)
        return f"postgresql://postgres@{hosts}/site"

    def caught_up(self) -> bool:
        """Whether the standby has all that the primary committed, written already or not (synchronous_commit = off)."""
        end = self.primary.sql("SELECT pg_current_wal_insert_lsn()")
        return self.standby.sql(f"SELECT pg_last_wal_replay_lsn() >= '{end}'") == "t"


@pytest.fixture
def pair() -> Iterator[LoosePair]:
    made = LoosePair()
    try:
        yield made
    finally:
        made.standby.__exit__()
        made.primary.__exit__()


def send(node: Gateway, identity: str) -> None:
    with smtplib.SMTP("127.0.0.1", node.port, timeout=30) as client:
        client.sendmail(ALICE, ["bob@partner.example"], message(f"node-{identity}", "x"))


@pytest.mark.timeout(300)
def test_an_old_primary_that_comes_back_is_used_by_nobody_and_is_named(pair: LoosePair) -> None:
    with Nodes(pair, 2) as nodes:  # type: ignore[arg-type]
        first, second = nodes.nodes
        assert 'store.durability is "local", and store.url names several servers' in first.log()
        send(first, "1-1")
        wait_until(lambda: nodes.queued() == [], "it to be delivered")  # else the standby may send it again
        wait_until(pair.caught_up, "the standby to have it")
        pair.primary.kill()
        pair.standby.promote()
        wait_until(lambda: _takes(second, "1-2"), "mail to be taken by the new primary")
        assert "another server took over (timeline 2, before: 1)" in second.log()
        pair.primary.start()
        first.stop()
        first.start()  # it has not seen that another took over, and the old primary is the first in store.url
        send(first, "1-3")
        send(second, "1-4")
        assert pair.primary.sql(_OURS) == "0"
        assert pair.standby.sql(_OURS) != "0"
        for node in nodes.nodes:
            named = "is not used: another server took over from it (timeline 2, it has 1)"
            wait_until(lambda: named in node.log(), "the old primary to be named", timeout=40)  # noqa: B023 - at once
        assert first.cli("node", "list", json=True).status == 0
        wait_until(lambda: "old-primary" in kinds(first), "the alarm", timeout=120)
        pair.primary.stop()
        wait_until(lambda: "old-primary" not in kinds(first), "its end", timeout=120)
        wait_until(lambda: nodes.queued() == [], "the queue to run empty", timeout=60)
        assert nodes.arrived() == {f"1-{number}": 1 for number in range(1, 5)}
        for node in nodes.nodes:
            assert "Traceback" not in node.log()


@pytest.mark.timeout(180)
def test_nodes_leave_a_primary_that_lives_while_another_takes_over(pair: LoosePair) -> None:
    """As when the two servers have lost each other, and the standby is promoted though nobody stopped the primary."""
    with Nodes(pair, 2) as nodes:  # type: ignore[arg-type]
        wait_until(pair.caught_up, "the standby to have it")
        pair.standby.promote()
        wait_until(lambda: pair.primary.sql(_OURS) == "0", "the nodes to leave the old primary", timeout=60)
        for number, node in enumerate(nodes.nodes):
            wait_until(lambda: _takes(node, f"2-{number}"), "mail to be taken", timeout=30)  # noqa: B023 - at once
        assert pair.primary.sql(_OURS) == "0"
        wait_until(lambda: nodes.queued() == [], "the queue to run empty", timeout=60)
        assert dict.fromkeys(("2-0", "2-1"), 1).items() <= nodes.arrived().items()
        for node in nodes.nodes:
            assert "Traceback" not in node.log()


def kinds(node: Gateway) -> list[str]:
    return [alarm["kind"] for alarm in node.cli("alarms", "--json", expect=None).data["alarms"]]


def _takes(node: Gateway, identity: str) -> bool:
    try:
        send(node, identity)
    except (OSError, smtplib.SMTPException):
        return False
    return True


@pytest.mark.timeout(60)
def test_a_new_cluster_at_the_same_address_is_used_by_who_knew_a_later_timeline(
    pair: LoosePair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after pg_upgrade, which begins at timeline 1 again, while the nodes go on."""
    pair.primary.stop()
    pair.standby.promote()
    server = DatabaseServer.of(pair.standby.url())
    try:
        with server.connection():
            pair.standby.stop()
        monkeypatch.setattr(postgres, "_prepared", {})  # a copy would be the same cluster
        with Postgres(port=pair.ports[1]), server.connection() as connection:
            assert not connection.is_closed()
    finally:
        server.close()
