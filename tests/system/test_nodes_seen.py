"""Each node looks at its own listeners by real handshakes, and every node shows what all of them present."""

from __future__ import annotations

import hashlib
import itertools
import os
import signal
import ssl
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page
from support.admin import AdminCentre, settings
from support.browser import axe, overflow, shot
from support.detour import Detour
from support.gateway import Gateway
from support.nodes import Nodes
from support.postgres import Postgres
from support.raw import RawClient
from support.scenes import contoso

from gatepost.testing.gateway import CliRun
from gatepost.testing.pki import Leaf, Pki
from gatepost.testing.process import free_port, wait_until

HOST = "mx.contoso.example"
SEEN = 30.0  # seconds until a change was taken up and looked at


@pytest.fixture(scope="module")
def site(postgres_server: Postgres) -> Iterator[Nodes]:
    with Nodes(postgres_server, 2) as nodes:
        yield nodes


def listed(node: Gateway) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in node.cli("node", "list", json=True).data}


def shown(node: Gateway) -> dict[str, list[str]]:
    """By the name of each node, what its listeners presented to it."""
    return {
        name: [sha256 for listener in row["presented"] for sha256 in listener["certificates"]]
        for name, row in listed(node).items()
    }


def handshake(port: int) -> str:
    """What a client is shown."""
    with RawClient(port) as client:
        client.greet()
        client.starttls()
        assert isinstance(client.socket, ssl.SSLSocket)
        return hashlib.sha256(client.socket.getpeercert(binary_form=True) or b"").hexdigest()


def sha256(leaf: Leaf) -> str:
    return leaf.sha256.replace(":", "").lower()


def added(node: Gateway, leaf: Leaf) -> str:
    node.cli("certificate", "add", str(leaf.chain), "--key", str(leaf.key))
    return sha256(leaf)[:16]


def test_a_changeover_switches_all_nodes_and_shows_each(site: Nodes, pki: Pki, strange_pki: Pki) -> None:
    first, second = site.nodes
    old, new = pki.leaf(HOST), strange_pki.leaf(HOST)
    switch = ("certificate", "changeover", "switch")
    added(first, old)
    wait_until(lambda: shown(second) == {"node1": [sha256(old)], "node2": [sha256(old)]}, "the first one", timeout=SEEN)
    assert [handshake(node.port) for node in site.nodes] == [sha256(old)] * 2

    done = first.cli(*switch, added(second, new), "--force", "the next one", timeout=90)
    assert "presented on node1, node2" in done.stderr
    wait_until(lambda: shown(first) == {"node1": [sha256(new)], "node2": [sha256(new)]}, "the next one", timeout=SEEN)
    assert [handshake(node.port) for node in site.nodes] == [sha256(new)] * 2
    for node in site.nodes:
        for row in listed(node).values():
            assert row["problems"] == []
            assert abs(row["checked"] - row["started"]) < 600
    assert f"{sha256(new)[:16]} (presented " in second.cli("node", "list").stdout

    done = first.cli("certificate", "changeover", "roll-back", timeout=90)
    assert "presented on node1, node2" in done.stderr
    wait_until(lambda: shown(second) == {"node1": [sha256(old)], "node2": [sha256(old)]}, "the way back", timeout=SEEN)


def test_the_admin_centre_shows_what_each_node_presents(postgres_server: Postgres, pki: Pki, page: Page) -> None:
    port, leaf = free_port(), pki.leaf(HOST)
    with Nodes(postgres_server, 3, first=settings(port)) as nodes:
        first = nodes.nodes[0]
        centre = AdminCentre(first, port)
        centre.make_owner()
        number = added(first, leaf)
        wait_until(lambda: list(shown(first).values()) == [[sha256(leaf)]] * 3, "all three present it", timeout=SEEN)
        wait_until(centre.answers, "the admin centre answers", timeout=60)
        centre.log_in(page)
        panel = page.locator("#nodes")
        assert panel.get_by_text(number).count() == 3
        assert panel.get_by_text("seen").count() == 3
        assert panel.get_by_text("Wrong").count() == 0
        axe(page)
        assert overflow(page) == 0
        shot(page, "nodes")
        page.goto(f"{centre.url}/certificates/{number}")
        assert page.get_by_text(f"node3: mx {nodes.nodes[2].address}").is_visible()
        page.goto(f"{centre.url}/certificates/{number}/presented")
        for name in ("node1", "node2", "node3"):
            row = page.get_by_role("row").filter(has_text=name)
            assert row.get_by_text("Presented", exact=True).is_visible()
        shot(page, "presented")


def test_a_change_says_on_which_nodes_it_is_in_force(site: Nodes) -> None:
    first, second = site.nodes
    numbers = itertools.count(1)  # on a busy machine one of them may take longer than a command waits

    def everywhere(node: Gateway) -> CliRun | None:
        done = node.cli("organization", "set", "contoso", f"display_name=Contoso {next(numbers)}", json=True)
        return done if "is in force on node1, node2" in done.stderr else None

    done = wait_until(lambda: everywhere(first), "a change that is in force on both", timeout=40)
    assert done.data["nodes"] == {"in_force": ["node1", "node2"], "not_yet": []}
    wait_until(lambda: everywhere(second), "a change at the other node", timeout=40)
    family = second.family()
    for pid in family:
        os.kill(pid, signal.SIGSTOP)
    try:
        late = first.cli("organization", "set", "contoso", "display_name=Contoso at last")
    finally:
        for pid in family:
            os.kill(pid, signal.SIGCONT)
    assert "is in force on node1; not yet on node2" in late.stderr


def test_our_own_look_counts_for_nobody(gateway: Callable[..., Gateway], pki: Pki) -> None:
    port, leaf = free_port(), pki.leaf(HOST)
    metered: dict[str, dict[str, object]] = {
        "metrics": {"address": f"127.0.0.1:{port}"},
        "limits": {"connections_per_source": 1},
        "server": {"workers": 1},
    }
    server = gateway(contoso(), hostname=HOST, certificates=[leaf], settings=metered)
    with RawClient(server.port) as client:
        client.greet()
        wait_until(lambda: shown(server) == {listed_name(server): [sha256(leaf)]}, "the look", timeout=SEEN)
        with RawClient(server.port) as refused:
            assert refused.reply().code == 421
    assert listed(server)[listed_name(server)]["presented"][0]["trouble"] == ""
    assert server.trace() == []
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    counted = [line for line in lines if line.startswith("gatepost_tls_sessions") and 'direction="inbound"' in line]
    assert counted == []


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_key_that_is_gone_is_told_while_the_old_one_is_presented(
    gateway: Callable[..., Gateway], pki: Pki, tmp_path: Path
) -> None:
    leaf = pki.leaf(HOST)
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    chain.write_bytes(leaf.chain.read_bytes())
    key.touch(0o600)
    key.write_bytes(leaf.key.read_bytes())
    files = {"certificate": [{"chain": str(chain), "key": str(key)}]}
    server = gateway(contoso(), hostname=HOST, settings=files)
    wait_until(lambda: list(shown(server).values()) == [[sha256(leaf)]], "the first look", timeout=SEEN)
    key.unlink()
    (row,) = wait_until(
        lambda: [row for row in listed(server).values() if row["problems"]], "the look that misses it", timeout=100
    )
    assert f"Private key {key}: No such file or directory" in row["problems"][0]
    assert handshake(server.port) == sha256(leaf)
    assert "cannot be used on node" in server.cli("status", expect=None).stdout


def test_status_asks_a_far_database_few_questions(site: Nodes) -> None:
    """Each is a way there and back: with 0.3 s for that, it took 21 s."""
    node, (own,) = site.nodes[1], site.detours[1].each
    settings = node.config.read_text()
    with Detour("127.0.0.1", own.port) as way:
        node.config.write_text(settings.replace(f":{own.port}/", f":{way.port}/"))
        try:
            assert "node1" in node.cli("status").stdout
        finally:
            node.config.write_text(settings)
    assert 10 < way.asked < 45


def listed_name(server: Gateway) -> str:
    (name,) = listed(server)
    return name


@pytest.mark.timeout(180)
def test_a_file_that_one_node_cannot_read_is_an_alarm_that_names_the_node(
    postgres_server: Postgres, pki: Pki, tmp_path: Path
) -> None:
    """Each node has a disk of its own, and one node raises the alarms of all."""
    files = {name: tmp_path / f"{name}.pem" for name in ("node1", "node2")}
    for file in files.values():
        file.write_bytes(pki.root.read_bytes())
    of_first, of_second = ({"tls": {"trust_anchors": str(file)}} for file in files.values())
    with Nodes(postgres_server, 2, settings={**of_second, "alarms": {"look": "1s"}}, first=of_first) as site:

        def unusable() -> list[str]:
            found = site.nodes[0].cli("alarms", json=True, expect=None).data["alarms"]
            return sorted(alarm["about"] for alarm in found if alarm["kind"] == "file-unusable")

        for name, file in files.items():
            file.write_bytes(b"half a renewal")
            wait_until(lambda name=name: unusable() == [f"tls.trust_anchors on {name}"], name, timeout=120)
            file.write_bytes(pki.root.read_bytes())
            wait_until(lambda: not unusable(), "the end of the alarm", timeout=120)


def test_settings_that_differ_between_nodes_are_named(postgres_server: Postgres) -> None:
    with Nodes(postgres_server, 3, first={"rates": {"messages": 7}, "queue": {"retry": ["2s"]}}) as nodes:
        keys = ["queue.retry", "rates.messages"]
        second = nodes.nodes[1]

        def others() -> dict[str, list[str]]:
            return {name: row["other_settings"] for name, row in listed(second).items()}

        wait_until(lambda: others() == {"node1": keys, "node2": [], "node3": []}, "they are told", timeout=SEEN)
        assert "settings that differ: queue.retry, rates.messages" in second.cli("status", expect=None).stdout
        doctor = second.cli("doctor", "--offline", expect=None).stdout
        assert "they differ between nodes of this site: queue.retry, rates.messages" in doctor
        nodes.nodes[0].stop()
        wait_until(lambda: not any(others().values()), "a node that was stopped is not compared", timeout=SEEN)
