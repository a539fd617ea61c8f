"""Proves that gateways become nodes of a site: by a token over real TLS, once, and that they renew by themselves.

One gateway keeps the authority and serves it, another joins. Lives are ten seconds, so that renewal is seen.
"""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from support.gateway import Gateway

from gatepost.net.identity import ServerIdentity
from gatepost.pki.site.client import SiteConnection
from gatepost.pki.site.membership import node_request
from gatepost.pki.site.records import JoinRefused
from gatepost.pki.site.site import read_token
from gatepost.testing.process import free_port, wait_until

HOME, AWAY, EXCHANGE = "mx1.contoso.example", "mx2.contoso.example", "exch.contoso.example"


@dataclass(frozen=True, slots=True)
class World:
    """port: where nodes join. root: the thumbprint that `site init` printed. used: a token that let `away` in."""

    home: Gateway
    away: Gateway
    port: int
    root: str
    used: str

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"


def prepared(hostname: str, **site: Any) -> Gateway:
    """A gateway with a master key."""
    return Gateway(hostname=hostname, settings={"site": site, "store": {"master_key": "env:SITE_TEST_KEY"}})


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    port = free_port()
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        patch.setenv("SITE_TEST_KEY", "only for this test, and long enough for a key")
        home = prepared(HOME, address=f"127.0.0.1:{port}", node_lifetime="10s")
        root = home.cli("site", "init", "--name", "contoso-site", "--domain", "contoso.example").stdout.strip()
        stack.enter_context(home)
        away = prepared(AWAY)
        stack.callback(away.remove)
        token = home.cli("site", "token").stdout.strip()
        away.cli("site", "join", f"127.0.0.1:{port}", "--token", token)
        stack.enter_context(away)
        yield World(home, away, port, root, token)


def openssl(*words: object) -> str:
    argv = ["openssl", *map(str, words)]
    done = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=20, check=False)
    return done.stdout + done.stderr


def membership(gateway: Gateway) -> Any:
    return gateway.cli("site", "status", json=True, expect=None).data["membership"]


def test_a_gateway_joined_and_both_sides_know_it(world: World) -> None:
    status = world.home.cli("site", "status", json=True).data
    assert sorted(one["name"] for one in status["nodes"]) == [HOME, AWAY]
    assert status["authorities"][0]["sha256"] == world.root
    mine = membership(world.away)
    assert (mine["site"], mine["node"], mine["address"]) == ("contoso-site", AWAY, world.address)
    assert openssl_digest(world.away.cli("site", "root").stdout) == world.root


def openssl_digest(pem: str) -> str:
    argv = ["openssl", "x509", "-noout", "-fingerprint", "-sha256"]
    done = subprocess.run(argv, input=pem, capture_output=True, text=True, timeout=20, check=True)
    return done.stdout.strip().rpartition("=")[2].replace(":", "").lower()


def test_a_token_that_was_used_is_refused(world: World) -> None:
    before = membership(world.away)["node"]
    words = ("site", "join", world.address, "--token", world.used, "--replace")
    assert "the site does not accept the token: it was used" in world.away.cli(*words, expect=1).stderr
    assert membership(world.away)["node"] == before


def test_a_node_that_is_known_joins_again_with_a_token_for_it(world: World) -> None:
    """As one does whose certificate has expired."""
    before = membership(world.away)
    token = world.home.cli("site", "token", "--for", AWAY).stdout.strip()
    world.away.cli("site", "join", world.address, "--token", token, "--replace")
    assert membership(world.away)["sha256"] != before["sha256"]


def test_a_token_with_another_thumbprint_is_not_sent(world: World) -> None:
    made = world.home.cli("site", "token", "--for", AWAY)
    form, secret, _ = made.stdout.strip().split(".")
    number = made.stderr.split()[1]
    wrong = f"{form}.{secret}.{'A' * 43}"
    said = world.away.cli("site", "join", world.address, "--token", wrong, "--replace", expect=2).stderr
    assert "does not show the root whose thumbprint is in the token" in said
    world.home.cli("site", "nodes", "remove-token", number)  # it is still there: nobody has used it


def test_only_tls_1_3_is_spoken(world: World, tmp_path: Any) -> None:
    root = tmp_path / "root.pem"
    root.write_text(world.home.cli("site", "root").stdout)
    shown = openssl("s_client", "-connect", world.address, "-CAfile", root, "-verify_return_error", "-x509_strict")
    assert "TLSv1.3" in shown
    assert "Verify return code: 0 (ok)" in shown
    assert "alert protocol version" in openssl("s_client", "-connect", world.address, "-tls1_2")


def test_an_on_premises_server_gets_a_pfx(world: World, tmp_path: Any) -> None:
    file = tmp_path / "exchange.pfx"
    password = world.home.cli("site", "issue", EXCHANGE, "--pfx", str(file)).stdout.strip()
    shown = openssl("pkcs12", "-in", file, "-passin", f"pass:{password}", "-noenc", "-info")
    assert "pbeWithSHA1And3-KeyTripleDES-CBC" in shown
    leaf, root = tmp_path / "leaf.pem", tmp_path / "root.pem"
    begin = shown.index("-----BEGIN CERTIFICATE")
    leaf.write_text(shown[begin : shown.index("-----END CERTIFICATE-----") + 25] + "\n")
    openssl("x509", "-inform", "DER", "-in", tmp_path / "exchange.root.cer", "-out", root)
    assert openssl("verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", root, leaf) == f"{leaf}: OK\n"


def test_a_node_whose_answers_are_lost_renews_until_it_has_one(world: World) -> None:
    """As on a path that loses what is large: requests arrive, and their answers do not."""
    name = "mx3.contoso.example"
    secret, root = read_token(world.home.cli("site", "token", "--for", name).stdout)
    csr, key = node_request(name)

    def asked(what: str, identity: ServerIdentity | None = None, token: str = "") -> ServerIdentity:
        connection = SiteConnection(world.address, now=time.time(), identity=identity)
        connection.trust_thumbprint(root)
        grant = asyncio.run(connection.ask(what, {"request": csr.decode(), "token": token}))
        time.sleep(0.6)  # a node that lives for ten seconds may ask again after half a second
        return ServerIdentity(grant.certificate_pem, key)

    node = asked("join", token=secret)
    for _ in range(3):
        asked("renew", node)
    assert asked("renew", asked("renew", node))
    with pytest.raises(JoinRefused, match="the site does not know this node"):
        asked("renew", node)
    assert "is one a copy of it?" in world.home.log()
    world.home.cli("site", "nodes", "remove", name)


def test_both_renew_by_themselves_until_one_is_removed(world: World) -> None:
    for gateway in (world.home, world.away):
        renewed = lambda log=gateway.log: "this node has a new certificate" in log()  # noqa: E731 - one use
        wait_until(renewed, f"{gateway.hostname} has a new certificate")
    nodes = world.home.cli("site", "status", json=True).data["nodes"]
    assert all(one["renewed"] > one["joined"] and len(one["thumbprints"]) == 2 for one in nodes)
    history = world.home.cli("site", "history", json=True).data
    assert any(one["note"] == f"{AWAY} renewed" and one["author"] == "gatepost" for one in history)
    world.home.cli("site", "nodes", "remove", AWAY, "--note", "sold")
    wait_until(lambda: "the site does not know this node" in world.away.log(), "the renewal is refused")
    assert "is not a node of this site" in world.home.log()

    def told() -> list[str]:
        alarms = world.away.cli("alarms", json=True, expect=None).data["alarms"]
        return [one["severity"] for one in alarms if (one["kind"], one["about"]) == ("site-certificate", AWAY)]

    wait_until(lambda: told() == ["critical"], "the alarm that its certificate has expired")
    token = world.home.cli("site", "token").stdout.strip()
    world.away.cli("site", "join", world.address, "--token", token, "--replace")
    assert told() == []
