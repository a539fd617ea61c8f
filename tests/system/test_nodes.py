"""Nodes: the list of them on both engines, and a real gateway that is listed and drained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from support.gateway import Gateway
from support.process import Script
from support.raw import RawClient
from support.scenes import contoso

from gatepost.store.nodes import (
    EXPIRY_SECONDS,
    NodeFigures,
    NodeIdentity,
    NodeNameTaken,
    NodeRegistry,
    NodeState,
)
from gatepost.store.site_tables import SITE
from gatepost.store.storage import Storage
from gatepost.testing.process import free_port, wait_until
from gatepost.values import replace

NODE = NodeIdentity("mx1", "start 1", "data 1", "host1", "1.0", ("mx 0.0.0.0:25",))
BEATS = """
import sys, time
from pathlib import Path
url, directory, ahead = sys.argv[1:]
real = time.time
time.time = lambda: real() + float(ahead)
from gatepost.store.nodes import NodeFigures, NodeIdentity
from gatepost.store.storage import Storage
registry = Storage(url, Path(directory)).nodes()
node = NodeIdentity("wrong", "start 1", "data 1", "host1", "1.0")
registry.enter(node)
registry.beat(node, 0, 1, 7, NodeFigures())
"""


def readiness(port: int) -> tuple[int, str]:
    try:
        with urlopen(f"http://127.0.0.1:{port}/readyz", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.fixture
def registry(storage: Storage) -> NodeRegistry:
    return storage.nodes()


def age(storage: Storage, seconds: float) -> None:
    """Let no node have been heard of for so long."""
    with storage.database(SITE).single() as connection:
        connection.execute("UPDATE node SET seen = seen - ?", (seconds,))


def test_a_node_is_listed_drained_and_removed(storage: Storage, registry: NodeRegistry) -> None:
    registry.enter(NODE)
    registry.beat(NODE, 0, 71, 5, NodeFigures(1, 2, 3, certificates=("aa",)))
    registry.beat(NODE, 1, 72, 4, NodeFigures(drained=True))
    (node,) = registry.nodes()
    assert (node.name, node.state, node.configuration, node.listeners) == ("mx1", NodeState.ACTIVE, 4, NODE.listeners)
    assert node.workers[0].figures.certificates == ("aa",)
    assert registry.drain("mx1")
    assert registry.beat(NODE, 0, 71, 5, NodeFigures(drained=True)) is NodeState.DRAINING
    assert registry.nodes()[0].state is NodeState.DRAINED
    assert not registry.remove("mx1")
    age(storage, EXPIRY_SECONDS)
    assert registry.nodes()[0].state is NodeState.DEAD
    assert registry.remove("mx1")
    assert registry.nodes() == []


def test_of_two_live_nodes_of_one_name_the_second_is_refused(registry: NodeRegistry) -> None:
    registry.enter(NODE)
    other = NodeIdentity("mx1", "start 2", "data 2", "host2", "1.0")
    with pytest.raises(NodeNameTaken, match="another node named 'mx1' is running, on host1"):
        registry.enter(other, sleep=lambda _: registry.beat(NODE, 0, 1, 1, NodeFigures()))


def test_the_name_of_a_node_that_died_is_free_when_it_expires(storage: Storage, registry: NodeRegistry) -> None:
    registry.enter(NODE)
    age(storage, EXPIRY_SECONDS - 1)
    registry.enter(NodeIdentity("mx1", "start 2", "data 2", "host2", "1.0"))
    assert registry.nodes()[0].host == "host2"
    registry.enter(replace(NODE, origin="data 2"), sleep=pytest.fail)  # of the same data directory: at once


def test_a_clock_that_is_wrong_is_shown_and_matters_not(
    storage: Storage, registry: NodeRegistry, tmp_path: Path
) -> None:
    if not storage.is_shared:
        pytest.skip("the clock of SQLite is the machine's")
    registry.enter(NODE)
    registry.beat(NODE, 0, 71, 5, NodeFigures())
    url = storage._url
    assert Script(BEATS, url, str(tmp_path), "600").close(60) == 0
    registry.beat(NODE, 0, 71, 5, NodeFigures())  # to start Python may have taken longer than a node is silent
    right, wrong = registry.nodes()
    assert abs(right.workers[0].figures.offset) < 60
    assert wrong.workers[0].figures.offset == pytest.approx(600, abs=60)
    assert right.state is NodeState.ACTIVE
    assert wrong.state is NodeState.ACTIVE or wrong.age >= EXPIRY_SECONDS
    assert 0 <= wrong.age < 300, "by the clock of the server"


def test_a_node_that_was_heard_of_in_the_future_is_dead(storage: Storage, registry: NodeRegistry) -> None:
    """The clock of the database was set back, or a standby whose clock is behind took over; who lives beats again."""
    registry.enter(NODE)
    age(storage, -3600)
    (node,) = registry.nodes()
    assert node.state is NodeState.DEAD
    assert not registry.drain("mx1")
    other = NodeIdentity("mx1", "start 2", "data 2", "host2", "1.0")
    registry.enter(other, sleep=pytest.fail)
    age(storage, -3600)
    registry.beat(other, 0, 1, 1, NodeFigures())
    assert registry.nodes()[0].state is NodeState.ACTIVE
    age(storage, -3600)
    assert registry.remove("mx1")


def test_what_a_worker_wrote_of_one_node_hides_no_other(storage: Storage, registry: NodeRegistry) -> None:
    if not storage.is_shared:
        pytest.skip("workers of other nodes write where nodes share a database")
    registry.enter(NODE)
    registry.enter(replace(NODE, name="mx2"))
    for listeners, seen in (("", "-Infinity"), ("[1]", "NaN"), ("null", "-1")):
        with storage.database(SITE).single() as connection:
            values = (listeners, seen, "mx2")
            connection.execute(
                "UPDATE node SET listeners = ?, seen = CAST(CAST(? AS text) AS float8) WHERE name = ?", values
            )
        right, wrong = registry.nodes()
        assert (right.listeners, right.state) == (NODE.listeners, NodeState.ACTIVE)
        assert (wrong.listeners, wrong.state) == ((), NodeState.DEAD)
        assert wrong.age < 1e10, "it is shown as seconds"
    assert registry.remove("mx2")


def test_a_running_gateway_is_listed_drained_and_takes_mail_again(gateway: Callable[..., Gateway]) -> None:
    watched = free_port()
    server = gateway(
        contoso(), settings={"server": {"node": "mx-a", "workers": 2}, "metrics": {"address": f"127.0.0.1:{watched}"}}
    )
    wait_until(lambda: listed(server)["workers"] == 2, "the first heartbeats")
    node = listed(server)
    assert (node["name"], node["state"], node["configuration"]) == ("mx-a", "active", 1)
    assert node["listeners"] == [f"mx {server.address}"]
    wait_until(lambda: listed(server)["queue"] == {"active": 0, "deferred": 0, "held": 0}, "the second heartbeats")
    assert server.cli("status", json=True, expect=None).data["nodes"][0]["name"] == "mx-a"

    done = server.cli("node", "drain", "mx-a", "--wait", timeout=90)
    assert done.stdout.startswith("mx-a: drained")
    assert "no other node takes mail: senders are told to try again later" in done.stderr
    assert readiness(watched) == (503, "this node is being drained: no mail is taken\n")
    assert "No node takes mail" in server.cli("status", expect=1).stdout
    with RawClient(server.port) as client:
        refused = client.reply()
        assert (refused.code, refused.enhanced) == (421, "4.7.0")
        assert "this node is being drained, try again later" in refused.text
    assert listed(server)["state"] == "drained"
    server.cli("node", "remove", "mx-a", expect=1)
    server.cli("node", "drain", "mx-b", expect=2)

    server.cli("node", "drain", "mx-a", "--undo")
    wait_until(lambda: greeting(server) == 220, "mail to be taken again", timeout=60)
    wait_until(lambda: readiness(watched)[0] == 200, "the node to be ready")
    server.stop()
    assert listed(server)["state"] == "stopped"
    server.cli("node", "remove", "mx-a")
    assert server.cli("node", "list", json=True).data == []


def test_a_change_shows_where_it_is_in_force(gateway: Callable[..., Gateway]) -> None:
    server = gateway(contoso())
    before = listed(server)["configuration"]
    done = server.apply(contoso(display_name="Contoso again"))
    assert "in force on" not in done.stderr  # there is one node
    wait_until(lambda: listed(server)["configuration"] > before, "the new version in the list")


def listed(server: Gateway) -> dict[str, object]:
    (node,) = server.cli("node", "list", json=True).data
    return dict(node)


def greeting(server: Gateway) -> int:
    with RawClient(server.port) as client:
        return client.reply().code
