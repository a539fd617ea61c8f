"""Proves that nodes of one database are in a site each by itself, beside a node with a store of its own.

mx1 and mx2 share a PostgreSQL database, mx3 has a store of its own. Certificates live for ten seconds, so that renewal
is seen.
"""

from __future__ import annotations

import subprocess
import time
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
from support.gateway import Gateway
from support.postgres import Postgres
from support.scenes import STRANGER, message, send

from gatepost.testing.process import free_port, wait_until

MX1, MX2, MX3 = "mx1.contoso.example", "mx2.contoso.example", "mx3.contoso.example"
ANN, BOB = "ann@contoso.example", "bob@fabrikam.example"
RESOURCES: dict[str, Any] = {
    "organization": {
        "contoso": {
            "home": MX1,
            "accepted_domain": [{"name": "contoso.example"}],
            "mailbox": [{"address": ANN}],
        },
        "fabrikam": {
            "home": MX3,
            "accepted_domain": [{"name": "fabrikam.example"}],
            "mailbox": [{"address": BOB}],
        },
    }
}


@dataclass(frozen=True, slots=True)
class World:
    """joining: the port where nodes join at each gateway."""

    first: Gateway
    second: Gateway
    alone: Gateway
    joining: dict[str, int]

    @property
    def all(self) -> tuple[Gateway, ...]:
        return self.first, self.second, self.alone

    def join(self, gateway: Gateway, home: Gateway, *words: str, expect: int = 0) -> str:
        """Make a gateway a node of the site that `home` serves; what the command says."""
        token = home.cli("site", "token", "--for", gateway.hostname).stdout.strip()
        address = f"127.0.0.1:{self.joining[home.hostname]}"
        return gateway.cli("site", "join", address, "--token", token, *words, expect=expect).stderr


def see_same_store(gateway: Gateway, node: str, other: str) -> None:
    """Write that two nodes share a database, as the operator of a gateway beside them does."""
    text = gateway.config.read_text()
    named = f'name = "{node}"\n'
    assert named in text
    gateway.config.write_text(text.replace(named, f'{named}same_store = ["{other}"]\n'))


def prepared(hostname: str, store: dict[str, Any], joining: int, resources: dict[str, Any] | str) -> Gateway:
    settings = {
        "server": {"node": hostname.partition(".")[0]},
        "store": {"master_key": "env:NODES_TEST_KEY", "shared_mailboxes": True} | store,
        "site": {"address": f"127.0.0.1:{joining}", "node_lifetime": "10s"},
        "queue": {"retry": ["1s"]},
    }
    return Gateway(resources, hostname=hostname, settings=settings, listeners=("mx", "internal"))


@pytest.fixture
def world(postgres: Postgres) -> Iterator[World]:
    """None of them is started, or in a site."""
    joining = {name: free_port() for name in (MX1, MX2, MX3)}
    database = {"url": postgres.database()}
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        patch.setenv("NODES_TEST_KEY", "only for this test, and long enough for a key")
        made = [
            prepared(MX1, database, joining[MX1], RESOURCES),
            prepared(MX2, database, joining[MX2], ""),
            prepared(MX3, {"url": "sqlite:"}, joining[MX3], RESOURCES),
        ]
        for gateway in made:
            stack.callback(gateway.remove)
            others = (other for other in made if other is not gateway)
            places = [
                f'\n[[site.node]]\nname = "{other.hostname}"\naddress = "127.0.0.1:{other.ports["internal"]}"\n'
                for other in others
            ]
            with gateway.config.open("a") as file:
                file.writelines(places)
        yield World(*made, joining)
        assert not [line for gateway in made for line in gateway.log().splitlines() if "Traceback" in line]


def membership(gateway: Gateway) -> Any:
    return gateway.cli("site", "status", json=True, expect=None).data["membership"]


def is_member(gateway: Gateway) -> bool:
    found = membership(gateway)
    return found is not None and found["node"] == gateway.hostname and found["not_after"] > time.time()


def changes(gateway: Gateway) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = gateway.cli("site", "history", "--limit", "1000", json=True).data
    return found


def renewals(gateway: Gateway, name: str) -> list[float]:
    """When a node got its certificates, once there are two."""
    times = sorted(change["at"] for change in changes(gateway) if change["note"].startswith(name))
    return times if len(times) >= 2 else []


def hops(gateway: Gateway, recipient: str, subject: str) -> list[dict[str, Any]]:
    """The rows of mail that came over an internal hop."""
    rows = gateway.trace(recipient=recipient, event="RECEIVE")
    return [row for row in rows if row["subject"] == subject and row["connector"] == "internal"]


def nodes_of_hop(gateway: Gateway, recipient: str, subject: str) -> list[str]:
    found = wait_until(lambda: hops(gateway, recipient, subject), f"{subject!r} came over a hop", timeout=60)
    return [uri for row in found for uri in row["tls"]["certificate"]["uris"]]


def subjects(gateway: Gateway, address: str) -> set[str]:
    return {mail.field("Subject") for mail in gateway.maildir(address)}


def test_each_node_of_the_database_that_keeps_the_authority_certifies_itself(world: World) -> None:
    said = world.first.cli("site", "init", "--name", "contoso-site", "--domain", "contoso.example").stderr
    assert "the other nodes of this database certify themselves" in said
    assert membership(world.second) is None
    for gateway in world.all[:2]:
        gateway.start()
    for gateway in world.all[:2]:
        wait_until(lambda gateway=gateway: is_member(gateway), f"{gateway.hostname} is a node")
    for name in (MX1, MX2):
        times = wait_until(lambda name=name: renewals(world.first, name), f"{name} has another certificate", timeout=60)
        assert all(later - sooner > 3 for sooner, later in pairwise(times)), "nodes do not take each other's place"
    assert {node["name"] for node in world.second.cli("site", "status", json=True).data["database"]} == {"mx1", "mx2"}
    for name, port in ((MX1, world.first.ports["internal"]), (MX2, world.second.ports["internal"])):
        assert name in certificate_at(port)

    said = world.first.cli("site", "nodes", "remove", MX2, expect=2).stderr
    assert "would certify itself: gatepost node remove mx2" in said
    world.second.stop()
    world.first.cli("node", "remove", "mx2")
    assert [node["name"] for node in world.first.cli("site", "status", json=True).data["nodes"]] == [MX1]
    assert membership(world.second) is None
    world.second.start()
    wait_until(lambda: is_member(world.second), "it came back")


def certificate_at(port: int) -> str:
    words = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}"]
    shown = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=20, check=False)
    text = ["openssl", "x509", "-noout", "-ext", "subjectAltName"]
    return subprocess.run(text, input=shown.stdout, capture_output=True, text=True, timeout=20, check=True).stdout


def test_mail_between_a_database_with_two_nodes_and_a_node_of_its_own(world: World) -> None:
    """The authority is mx3's. Contoso lives on mx1 and so on mx2, which goes on when mx1 has ended."""
    world.alone.cli("site", "init", "--name", "contoso-site", "--domain", "contoso.example")
    see_same_store(world.alone, MX1, MX2)
    for gateway in world.all:
        gateway.start()
    for gateway in world.all[:2]:
        world.join(gateway, world.alone)
    assert [membership(gateway)["node"] for gateway in world.all] == [MX1, MX2, MX3]
    first = [membership(gateway)["sha256"] for gateway in world.all]
    for gateway, certificate in zip(world.all, first, strict=True):
        renewed = lambda gateway=gateway, old=certificate: membership(gateway)["sha256"] != old  # noqa: E731 - one use
        wait_until(renewed, f"{gateway.hostname} has another certificate")
    assert [membership(gateway)["node"] for gateway in world.all] == [MX1, MX2, MX3]

    for gateway in world.all[:2]:
        send(gateway.port, BOB, sender=STRANGER, content=message(f"by {gateway.hostname}"))
        assert nodes_of_hop(world.alone, BOB, f"by {gateway.hostname}") == [
            f"spiffe://contoso-site/node/{gateway.hostname}"
        ]
    send(world.second.port, ANN, sender=STRANGER, content=message("home is beside it"))
    world.second.wait_maildir(ANN)
    assert not hops(world.first, ANN, "home is beside it")
    shown = world.second.cli("explain", "--from", STRANGER, "--to", ANN, expect=None).stdout
    assert "to the node" not in shown

    send(world.alone.port, ANN, sender=STRANGER, content=message("to its home"))
    assert nodes_of_hop(world.first, ANN, "to its home") == [f"spiffe://contoso-site/node/{MX3}"]
    world.first.stop()
    send(world.second.port, ANN, sender=STRANGER, content=message("without its home"))
    wait_until(lambda: "without its home" in subjects(world.second, ANN), "it is delivered by the other node")
    shown = world.alone.cli("explain", "--from", STRANGER, "--to", ANN, expect=None).stdout
    assert f"{MX1}:" in shown
    assert f"{MX2}:" in shown
    send(world.alone.port, ANN, sender=STRANGER, content=message("past its home"))
    assert nodes_of_hop(world.second, ANN, "past its home") == [f"spiffe://contoso-site/node/{MX3}"]
    wait_until(lambda: "past its home" in subjects(world.second, ANN), "the other node of its database has it")


def test_nodes_of_one_database_are_in_one_site(world: World) -> None:
    for gateway in (world.alone, world.first):
        gateway.cli("site", "init", "--name", f"site-of-{gateway.hostname}", "--domain", "contoso.example")
        gateway.start()
    address = f"127.0.0.1:{world.joining[MX3]}"
    token = world.alone.cli("site", "token").stdout.strip()
    said = world.second.cli("site", "join", address, "--token", token, expect=2).stderr
    assert "keeps the authority of a site" in said


def test_a_node_leaves_alone_and_the_others_stay(world: World) -> None:
    world.alone.cli("site", "init", "--name", "contoso-site", "--domain", "contoso.example")
    world.alone.start()
    for gateway in world.all[:2]:
        world.join(gateway, world.alone)
    assert "is a node of another site" in world.second.cli("site", "init", "--name", "own", expect=2).stderr
    world.first.cli("site", "leave")
    assert (membership(world.first), membership(world.second)["node"]) == (None, MX2)
    assert "mx2, which has the same database, is a node of another site" in (
        world.first.cli("site", "init", "--name", "own", expect=2).stderr
    )
    other = prepared("mx4.contoso.example", {"url": "sqlite:"}, free_port(), "")
    try:
        other.cli("site", "init", "--name", "other-site", "--domain", "contoso.example")
        other.start()
        token = other.cli("site", "token").stdout.strip()
        address = tomllib.loads(other.config.read_text())["site"]["address"]
        said = world.first.cli("site", "join", address, "--token", token, expect=2).stderr
        assert "and not the authority of contoso-site: nothing was sent to it" in said
    finally:
        other.remove()
    world.first.config.write_text(world.first.config.read_text().replace(f'"{MX1}"', f'"{MX2}"', 1))
    token = world.alone.cli("site", "token", "--for", MX2).stdout.strip()
    address = f"127.0.0.1:{world.joining[MX3]}"
    said = world.first.cli("site", "join", address, "--token", token, expect=2).stderr
    assert f"mx2, which has the same database, is the node {MX2} already" in said
