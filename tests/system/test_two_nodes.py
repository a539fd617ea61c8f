"""Two gateways with one PostgreSQL database: each shows what both have, and one goes on when the other ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.process import free_port, wait_until
from support.scenes import connector, contoso, message, send

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.gateway import Gateway
    from support.postgres import Postgres


def test_two_gateways_with_one_database(gateway: Callable[..., Gateway], postgres: Postgres) -> None:
    url = postgres.database()
    away = connector("away.example", f"127.0.0.1:{free_port()}")
    first = gateway(contoso(outbound=[away]), settings=node_settings("a", url))
    second = gateway("", hostname="mx2.contoso.example", settings=node_settings("b", url))
    nodes = (first, second)

    for number, node in enumerate(nodes):
        workers = node.cli("status", json=True, expect=None).data["workers"]
        assert [worker["ok"] for worker in workers] == [True]
        send(node.port, f"bob{number}@away.example", content=message("waits"))

    def lists() -> list[list[str]]:
        return [[row["name"] for row in node.cli("node", "list", json=True).data] for node in nodes]

    wait_until(lambda: lists() == [["a", "b"]] * 2, "both nodes in both lists")
    for node in nodes:
        wait_until(lambda node=node: deferred(node) == ["bob0@away.example", "bob1@away.example"], "both messages")
        for number in (0, 1):
            (row,) = node.wait_trace(recipient=f"bob{number}@away.example", event="RECEIVE")
            assert row["recipient"] == f"bob{number}@away.example"

    first.stop()
    second.wait_trace(recipient="bob0@away.example", event="DEFER")
    states = {row["name"]: row["state"] for row in second.cli("node", "list", json=True).data}
    assert states == {"a": "stopped", "b": "active"}
    assert deferred(second) == ["bob0@away.example", "bob1@away.example"]
    wait_until(lambda: leases(second) >= {"alarms", "evidence", "retention"}, "the duties of the site", timeout=30)


def node_settings(name: str, url: str) -> dict[str, dict[str, object]]:
    return {"server": {"node": name}, "store": {"url": url, "shared_mailboxes": True}}


def deferred(node: Gateway) -> list[str]:
    rows = node.cli("queue", "list", json=True, expect=None).data
    return sorted(recipient["address"] for row in rows for recipient in row["recipients"])


def leases(node: Gateway) -> set[str]:
    return {name for row in node.cli("node", "list", json=True).data if row["name"] == "b" for name in row["leases"]}
