"""Nodes that differ: in what their clocks say, and in the version of the configuration that they have."""

from __future__ import annotations

import time
from typing import Any

import pytest
from support.detour import Way
from support.gateway import Gateway
from support.nodes import Nodes, SiteLoad
from support.postgres import Postgres
from support.scenes import ALICE, connector, contoso, send

from gatepost.testing.gateway import CliRun
from gatepost.testing.process import wait_until
from gatepost.testing.sink import Behaviour
from gatepost.values import replace

QUICK = {"store": {"takeover_after": "5s"}}


@pytest.mark.long
@pytest.mark.timeout(240)
def test_clocks_that_are_ten_minutes_off_neither_hold_up_nor_lose_mail(capsys: pytest.CaptureFixture[str]) -> None:
    """One is ahead and one behind; the partner defers everything for a while, and one of them dies with what it has."""
    with Postgres(durable=True) as server, Nodes(server, settings=QUICK, clocks={1: 600.0, 2: -600.0}) as nodes:
        wait_until(lambda: len(offsets(nodes.nodes[0])) == 3, "all nodes to be seen", timeout=40)
        seen = [round(offset, -1) for _, offset in sorted(offsets(nodes.nodes[0]).items())]
        assert seen == [0.0, 600.0, -600.0]
        good = nodes.partner.behaviour
        nodes.partner.behaviour = replace(good, replies={"RCPT": "451 4.7.1 later"})
        with SiteLoad(nodes, pause=0.05) as load:
            load.wait_for_more(60)
            nodes.partner.behaviour = good
            begun = time.monotonic()
            wait_until(lambda: len(nodes.arrived()) >= 60, "deferred mail to be tried again", timeout=20)
            again = time.monotonic() - begun
            nodes.nodes[1].kill()
            load.wait_for_more(60)
        wait_until(lambda: nodes.queued() == [], "the queue to run empty", timeout=60)
        arrived = nodes.arrived()
        lost = set(load.acknowledged) - set(arrived)
        doubled = arrived.total() - len(arrived)
        with capsys.disabled():
            print(
                f"\nclocks 10 min off: {len(load.acknowledged)} acknowledged, {len(arrived)} delivered, "
                f"{len(lost)} lost, {doubled} doubled; deferred mail tried again after {again:.1f} s"
            )
        assert lost == set()
        assert doubled <= 60
        nodes.nodes[1].start()
        send(nodes.nodes[1].port, "bob@partner.example")


def offsets(node: Gateway) -> dict[str, float]:
    return {row["name"]: row["clock_offset"] for row in listed(node) if row["heartbeat"] < 10 and row["workers"]}


def listed(node: Gateway) -> list[dict[str, Any]]:
    """Asked again while a node that was cut off holds what the command needs, for the time of a statement."""
    runs: list[CliRun] = []

    def answered() -> bool:
        runs.append(node.cli("node", "list", json=True, expect=None))
        return runs[-1].status == 0

    wait_until(answered, "the list of nodes", timeout=30)
    rows: list[dict[str, Any]] = runs[-1].data
    return rows


@pytest.mark.timeout(240)
def test_a_node_that_missed_a_change_has_it_before_it_takes_mail_again() -> None:
    """It is cut off while a domain is taken away; when it is back, it must not take mail for it for long."""
    with Postgres() as server, Nodes(server, 2, settings=QUICK) as nodes:
        first, second = nodes.nodes
        send(second.port, ALICE, sender="eve@far.example")
        partner = connector("partner.example", nodes.partner.address)
        nodes.partner.behaviour = Behaviour()
        nodes.detours[1].lead(Way(swallowed=True))
        first.apply(contoso(mailboxes=["carol@contoso.example"], outbound=[partner]))
        wait_until(lambda: versions(first)["node1"] > versions(first)["node2"], "the versions to differ", timeout=60)
        nodes.detours[1].lead(Way())
        nodes.detours[1].cut()
        back = time.monotonic()
        wait_until(lambda: takes(second, "carol@contoso.example"), "the change to be in force", timeout=40)
        print(f"in force {time.monotonic() - back:.1f} s after the node was back")
        wait_until(lambda: len(set(versions(first).values())) == 1, "one version on all nodes", timeout=60)


def versions(node: Gateway) -> dict[str, int]:
    return {row["name"]: row["configuration"] for row in listed(node)}


def takes(node: Gateway, recipient: str) -> bool:
    try:
        send(node.port, recipient, sender="eve@far.example")
    except OSError:
        return False
    return True
