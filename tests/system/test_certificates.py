"""Proves the inventory of certificates on gateways that run: renewals by others, requests, client certificates."""

from __future__ import annotations

import hashlib
import shutil
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from support.gateway import Gateway
from support.raw import RawClient
from support.scenes import ALICE, connector, contoso, send

from gatepost.testing.pki import Leaf, Pki
from gatepost.testing.process import wait_until
from gatepost.testing.sink import Sink

NAME = "mx1.contoso.example"
LABEL = "contoso-to-bank"


def presented(port: int, server_name: str = "") -> str:
    """The SHA-256 thumbprint of what a new session is shown, "" if there is no STARTTLS."""
    with RawClient(port) as client:
        if "STARTTLS" not in client.greet().text:
            return ""
        client.starttls(server_name=server_name)
        assert isinstance(client.socket, ssl.SSLSocket)
        der = client.socket.getpeercert(binary_form=True)
        assert der is not None
        return hashlib.sha256(der).hexdigest()


def renew(leaf: Leaf, chain: Path, key: Path) -> None:
    """Put a certificate in the place of another one, each file at once, as certbot does."""
    for source, target in ((leaf.chain, chain), (leaf.key, key)):
        new = target.with_suffix(".new")
        shutil.copy(source, new)
        new.replace(target)


def states(gateway: Gateway, kind: str = "certificates") -> dict[str, str]:
    return {row["id"]: row["state"] for row in gateway.cli("certificate", "list", json=True).data[kind]}


@pytest.fixture
def master(tmp_path: Path) -> Path:
    path = tmp_path / "master.key"
    path.touch(mode=0o600)
    path.write_bytes(bytes(range(40)))
    return path


@pytest.fixture
def live(pki: Pki, tmp_path: Path) -> Iterator[tuple[Path, Path, Leaf]]:
    """Files that somebody else renews, and what is in them."""
    leaf = pki.leaf(NAME)
    chain, key = tmp_path / "fullchain.pem", tmp_path / "privkey.pem"
    renew(leaf, chain, key)
    return chain, key, leaf


def test_files_that_others_renew_are_noticed_and_no_session_is_dropped(
    gateway: Callable[..., Gateway], pki: Pki, live: tuple[Path, Path, Leaf]
) -> None:
    chain, key, first = live
    # Right beside data_dir a confined worker may not open what takes the place of the first: the supervisor does.
    server = {"workers": 2, "data_dir": str(chain.parent / "data")}
    mx = gateway(contoso(), settings={"certificate": [{"chain": str(chain), "key": str(key)}], "server": server})
    second, smaller = pki.leaf(NAME, key="rsa"), pki.leaf("other.contoso.example")
    with RawClient(mx.port) as living:
        living.greet()
        living.starttls()
        # worker 0 records what it finds, and another one may have greeted before
        wait_until(lambda: f"found in {chain}" in mx.log(), "the first is in the inventory")
        renew(second, chain, key)
        # both workers: a client meets either of them
        wait_until(lambda: all(presented(mx.port) == second.sha256 for _ in range(12)), "it is presented")
        assert living.command("EHLO client.example").code == 250
        assert living.command(f"MAIL FROM:<{ALICE}>").code == 250
    replaced = {first.sha256[:16]: "deprecated", second.sha256[:16]: "current"}
    wait_until(lambda: states(mx) == replaced, "the inventory to say so")  # worker 1 may present it before 0 notes it
    renew(smaller, chain, key)
    wait_until(lambda: f"does not bear {NAME} any more" in mx.log(), "it is told")
    assert {presented(mx.port) for _ in range(12)} == {second.sha256}
    assert "not take the place" in mx.cli("certificate", "list").stderr


def test_request_issue_add_and_the_key_is_nowhere_in_clear(
    gateway: Callable[..., Gateway], pki: Pki, tmp_path: Path, master: Path
) -> None:
    mx = gateway(contoso(), settings={"store": {"master_key": f"file:{master}"}}, anchors=pki.root)
    request = tmp_path / "mx.csr"
    mx.cli("certificate", "request", "--name", NAME, "--name", "mail.contoso.example", "-o", str(request))
    (waiting,) = mx.cli("certificate", "list", json=True).data["requests"]
    issued = pki.sign(request)
    added = mx.cli("certificate", "add", str(issued))
    assert added.stdout.endswith(": current\n")
    assert mx.cli("certificate", "list", json=True).data["requests"] == []
    number = added.stdout.partition(":")[0]
    wait_until(lambda: presented(mx.port).startswith(number), "it is presented without a restart")
    shown = mx.cli("certificate", "show", number, json=True).data
    assert (shown["key_is"], len(shown["chain"])) == ("encrypted in the store", 2)
    assert shown["names"] == [NAME, "mail.contoso.example"]
    assert waiting["names"] == shown["names"]
    mx.stop()
    mx.start()
    assert presented(mx.port).startswith(number)


def test_a_sealed_key_is_in_no_file_of_the_data_directory(
    gateway: Callable[..., Gateway], pki: Pki, master: Path
) -> None:
    leaf = pki.leaf(NAME)
    mx = gateway(contoso(), settings={"store": {"master_key": f"file:{master}"}}, anchors=pki.root)
    mx.cli("certificate", "add", str(leaf.chain), "--key", str(leaf.key))
    wait_until(lambda: presented(mx.port) == leaf.sha256, "it is presented")
    key = load_pem_private_key(leaf.key.read_bytes(), None)
    secret = key.private_numbers().private_value.to_bytes(32)  # type: ignore[union-attr] # it is an EC key
    forms = [secret, secret.hex().encode(), key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())[40:80]]
    for file in mx.data_dir.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert not any(form in content for form in forms), file
    assert mx.cli("certificate", "show", "nobody", expect=2).stderr.startswith(
        "'nobody' does not name exactly one certificate"
    )


def test_a_client_identity_is_shown_by_its_label_and_no_connector_names_one_that_is_not_there(
    gateway: Callable[..., Gateway], sink: Callable[..., Sink], pki: Pki, master: Path
) -> None:
    bank = sink(certificate=pki.leaf("mx.bank.example"), client_anchors=str(pki.root))
    out = connector("bank.example", bank.address, tls_settings="encryption-only", client_certificate={"label": LABEL})
    mx = gateway(
        contoso(),
        settings={"store": {"master_key": f"file:{master}"}, "queue": {"retry": ["1s"]}},
        anchors=pki.root,
    )
    refused = mx.apply(contoso(outbound=[out]), expect=2).stderr
    assert f"client_certificate.label: contoso has no current client certificate '{LABEL}'" in refused
    first, second = pki.leaf("gate.contoso.example", usages=["client"]), pki.leaf("gate.contoso.example", key="rsa")
    client = ("--client", "--organization", "contoso", "--label", LABEL)
    mx.cli("certificate", "add", str(first.chain), "--key", str(first.key), *client)
    mx.apply(contoso(outbound=[out]))
    mx.wait_in_force()
    send(mx.port, "bob@bank.example")
    bank.wait_messages(1)
    assert set(bank.clients) == {first.sha256}
    mx.cli("certificate", "add", str(second.chain), "--key", str(second.key), *client, "--current")
    mx.wait_in_force()
    send(mx.port, "bob@bank.example")
    bank.wait_messages(2)
    assert bank.clients[-1] == second.sha256
    assert states(mx, "client_identities") == {first.sha256[:16]: "deprecated", second.sha256[:16]: "current"}
    needed = mx.cli("certificate", "remove", second.sha256[:16], expect=1).stderr
    assert "outbound connectors use it: bank.example" in needed
