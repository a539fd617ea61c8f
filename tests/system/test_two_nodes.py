"""Two gateways with one PostgreSQL database: each shows what both have, and one goes on when the other ends."""

from __future__ import annotations

import re
from collections.abc import Callable

import dkim
from support.gateway import Gateway
from support.postgres import Postgres
from support.scenes import connector, contoso, message, send

from gatepost.testing.name_server import DnsServer
from gatepost.testing.process import Folder, free_port, wait_until
from gatepost.testing.sink import Behaviour, Sink


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


def test_a_node_that_takes_mail_over_seals_it(
    gateway: Callable[..., Gateway],
    postgres: Postgres,
    sink: Callable[..., Sink],
    dns_server: Callable[..., DnsServer],
) -> None:
    """One node takes a message and authenticates it, another has it when it leaves: the key is the site's."""
    url, zone = postgres.database(), dns_server({})
    partner = sink(behaviour=Behaviour(replies={"MAIL": "451 4.3.0 Later"}))
    folder = Folder("two-nodes")
    try:
        master = folder.write("master.key", "m" * 32)
        master.chmod(0o600)
        resources = contoso(
            inbound=[], outbound=[connector("away.example", partner.address)], authentication_results="gateway"
        )
        forwarding = {"address": "fred@contoso.example", "forwarding_smtp_address": "fred@away.example"}
        resources["organization"]["contoso"]["mailbox"].append(forwarding)
        first, second = (
            gateway(
                given,
                hostname=f"mx-{name}.contoso.example",
                nameservers=[zone.address],
                settings={
                    "server": {"node": name},
                    "store": {"url": url, "shared_mailboxes": True, "master_key": f"file:{master}"},
                    "queue": {"retry": ["1s"]},
                },
            )
            for name, given in (("a", resources), ("b", ""))
        )
        second.cli("dkim", "add", "contoso.example", "--selector", "s1", "--current")
        (key,) = first.cli("dkim", "list", json=True).data
        line = first.cli("dkim", "record", key["name"]).stdout
        record = "".join(re.findall(r'"([^"]*)"', line)).encode()
        second.wait_in_force()  # of both nodes

        send(
            second.port,
            "fred@contoso.example",
            sender="eve@else.example",
            content=message("far", sender="eve@else.example"),
        )
        second.wait_trace(recipient="fred@away.example", event="DEFER")
        second.stop()
        partner.behaviour.replies.clear()
        first.wait_trace(recipient="fred@away.example", event="SEND")
        # The partner also keeps what came behind a MAIL that it refused, in one piece with it (RFC 2920): no sender.
        (got,) = [received for received in partner.messages if received.reverse_path]
        state, sets, why = dkim.ARC(got.mail.raw).verify(dnsfunc=lambda _name, **_: record)
        assert (state, why) == (b"pass", "success")
        assert [(one["instance"], one["cv"], one["as-domain"]) for one in sets] == [(1, b"none", b"contoso.example")]
        assert b"mx-b.contoso.example;" in got.mail.raw, "what the node found that took the message"
        (row,) = first.wait_trace(recipient="fred@away.example", event="SEND")
        assert row["detail"]["arc"] == "i=1 cv=none contoso.example/s1"
    finally:
        folder.remove()


def node_settings(name: str, url: str) -> dict[str, dict[str, object]]:
    return {"server": {"node": name}, "store": {"url": url, "shared_mailboxes": True}}


def deferred(node: Gateway) -> list[str]:
    rows = node.cli("queue", "list", json=True, expect=None).data
    return sorted(recipient["address"] for row in rows for recipient in row["recipients"])


def leases(node: Gateway) -> set[str]:
    return {name for row in node.cli("node", "list", json=True).data if row["name"] == "b" for name in row["leases"]}
