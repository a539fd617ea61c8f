"""Proves that `gatepost explain` says beforehand what a real session then gets, and what a real attempt then requires.

Each case is one peer: the command is asked, then a client with that very address, certificate and envelope comes over a
real socket. The reply, the connector, the requirement and the kept decision must be those that were foretold.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.gateway import Gateway
from support.postgres import sqlite_only
from support.raw import RawClient, RawReply
from support.scenes import message, outcomes

from gatepost.testing.pki import Leaf, Pki
from gatepost.testing.process import free_port, wait_until

pytestmark = pytest.mark.timeout(400)  # whoever comes first waits for forty commands, which may take two minutes

RESOURCES = """
[organization.contoso]
reject_direct_send = true
[[organization.contoso.accepted_domain]]
name = "contoso.example"
[[organization.contoso.accepted_domain]]
name = "mail.branch.test"
[[organization.contoso.mailbox]]
address = "ann@contoso.example"
[[organization.contoso.inbound_connector]]
name = "head office"
connector_type = "on-premises"
tls_sender_certificate_name = "*.contoso.example"
[[organization.contoso.inbound_connector]]
name = "cloud service"
connector_type = "on-premises"
tls_sender_certificate_name = "mx.service.test"
[[organization.contoso.inbound_connector]]
name = "branch"
connector_type = "on-premises"
sender_ip_addresses = ["127.0.0.2"]
[[organization.contoso.inbound_connector]]
name = "lock-down"
sender_domains = ["*"]
restrict_domains_to_certificate = true
tls_sender_certificate_name = "*.gw.test"
[[organization.contoso.inbound_connector]]
name = "friend"
sender_domains = ["friend.test"]
[[organization.contoso.inbound_connector]]
name = "quantum"
sender_domains = ["quantum.test"]
min_key_exchange = "post-quantum"
cipher_suites = ["TLS_AES_256_GCM_SHA384"]
[[organization.contoso.inbound_connector]]
name = "exception"
sender_domains = ["open.test"]
require_tls = false
[[organization.contoso.inbound_connector]]
name = "trial"
mode = "rehearse"
sender_domains = ["open.test"]
require_tls = false
restrict_domains_to_ip_addresses = true
sender_ip_addresses = ["198.51.100.0/24"]
priority = 1
[[organization.contoso.outbound_connector]]
name = "bank"
recipient_domains = ["bank.test"]
smart_hosts = ["127.0.0.1:{port}"]
tls_settings = "certificate-validation"
[[organization.contoso.outbound_connector]]
name = "rest"
recipient_domains = ["*"]
smart_hosts = ["127.0.0.1:{port}"]
mode = "rehearse"
tls_settings = "encryption-only"
[[organization.contoso.mail_flow_rule]]
name = "confidential"
header_name = "X-Confidential"
require_tls = true
[[organization.fabrikam.accepted_domain]]
name = "fabrikam.example"
[[organization.fabrikam.inbound_connector]]
name = "two"
connector_type = "on-premises"
sender_ip_addresses = ["127.0.0.2"]
"""

ANN, FABRIKAM, BANK, OUT = "ann@contoso.example", "eve@fabrikam.example", "b@bank.test", "y@internet.test"
CARL = "carl@contoso.example"


@dataclass(frozen=True, slots=True)
class Peer:
    """Who comes. shows: kind of certificate, "" none. connector: who must be foretold and must apply."""

    sender: str
    to: str
    code: str
    connector: str
    shows: str = ""
    tls: bool = False
    ip: str = "127.0.0.9"
    header: str = ""


OK = "250 2.1.5"
PEERS = {
    "stranger, in clear, in lock-down": Peer("x@any.test", ANN, "530 5.7.0", "lock-down"),
    "stranger, over TLS, in lock-down": Peer("x@any.test", ANN, "550 5.7.51", "lock-down", tls=True),
    "stranger, another certificate": Peer("x@any.test", ANN, "550 5.7.51", "lock-down", "stranger"),
    "stranger, expired certificate": Peer("x@any.test", ANN, "550 5.7.51", "lock-down", "expired gateway"),
    "gateway": Peer("x@any.test", ANN, OK, "lock-down", "gateway"),
    "gateway, null reverse-path": Peer("", ANN, OK, "lock-down", "gateway"),
    "gateway, unknown recipient": Peer("x@any.test", "nobody@contoso.example", "550 5.1.1", "lock-down", "gateway"),
    "friend in clear": Peer("x@friend.test", ANN, "530 5.7.0", "friend"),
    "friend over TLS": Peer("x@friend.test", ANN, OK, "friend", tls=True),
    "exception, with one in rehearsal": Peer("x@open.test", ANN, OK, "exception"),
    "direct send": Peer(CARL, ANN, "550 5.7.51", "lock-down", tls=True),
    "stranger relays": Peer("x@any.test", OUT, "550 5.7.64", ""),
    "stranger relays, incomplete chain of head office": Peer("x@any.test", OUT, "550 5.7.64", "", "incomplete"),
    "head office": Peer("x@any.test", OUT, OK, "head office", "head office"),
    "head office, null reverse-path": Peer("", BANK, OK, "head office", "head office"),
    "head office, confidential": Peer(CARL, OUT, OK, "head office", "head office", header="X-Confidential: yes"),
    "cloud service, foreign sender": Peer("x@any.test", OUT, "550 5.7.64", "", "service"),
    "cloud service, own sender": Peer(CARL, OUT, OK, "cloud service", "service"),
    "cloud service, by recipient": Peer("x@any.test", ANN, OK, "cloud service", "service"),
    "branch, own sender": Peer(CARL, BANK, OK, "branch", ip="127.0.0.2"),
    "branch, foreign sender": Peer("x@any.test", OUT, "550 5.7.64", "", ip="127.0.0.2"),
    "branch, null reverse-path": Peer("", OUT, "550 5.7.64", "", ip="127.0.0.2"),
    "branch, null reverse-path, by recipient": Peer("", ANN, OK, "branch", ip="127.0.0.2"),
    "the same address, another organization": Peer("e@fabrikam.example", OUT, OK, "two", ip="127.0.0.2"),
    "head office to another organization": Peer(CARL, FABRIKAM, OK, "head office", "head office"),
    "the bare postmaster": Peer("x@any.test", "postmaster", "550 5.7.64", ""),
}
if ssl.OPENSSL_VERSION_INFO >= (3, 5):  # older ones have no X25519MLKEM768
    PEERS["post-quantum key exchange"] = Peer("x@quantum.test", ANN, OK, "quantum", tls=True)


@pytest.fixture(scope="module")
def mx(pki: Pki) -> Iterator[Gateway]:
    resources = RESOURCES.format(port=free_port())
    with Gateway(resources, certificates=[pki.leaf("mx1.contoso.example")], anchors=pki.root) as running:
        noted = "the version in which the gateway noted its certificate"
        wait_until(lambda: "resources version 2 in force" in running.log(), noted)
        yield running


@pytest.fixture(scope="module")
def leaves(pki: Pki) -> dict[str, Leaf]:
    return {
        "stranger": pki.client("mx.stranger.test"),
        "gateway": pki.leaf("mx.gw.test", usages=["server"]),
        "expired gateway": pki.expired("mx.gw.test"),
        "head office": pki.client("mail.contoso.example"),
        "incomplete": pki.leaf("mail.contoso.example", incomplete=True),
        "service": pki.client("mx.service.test"),
    }


@pytest.fixture(scope="module")
def foretold(mx: Gateway, leaves: dict[str, Leaf]) -> dict[str, Any]:
    """What the command says of each peer, before any of them comes."""
    said = {}
    for name, peer in PEERS.items():
        words = ["--from", peer.sender, "--to", peer.to, "--ip", peer.ip]
        words += ["--certificate", str(leaves[peer.shows].chain)] if peer.shows else []
        words += ["--tls", "TLSv1.3"] if peer.tls else []
        words += ["--header", peer.header] if peer.header else []
        run = mx.cli("explain", *words, json=True, expect=None)
        assert run.status == (0 if run.data["inbound"]["accepted"] else 1), run.stderr
        said[name] = run.data
    return said


@dataclass(frozen=True, slots=True)
class Met:
    """What a peer was told: the command at which it was decided, the reply without its stamp, and the session's id."""

    stage: str
    reply: str
    session: str


def _comes(mx: Gateway, peer: Peer, leaf: Leaf | None) -> Met:
    with RawClient(mx.port, source=peer.ip) as client:
        client.greet()
        if peer.tls or leaf is not None:
            client.starttls(certificate=leaf)
            client.command("EHLO client.example")
        stage, answer = "MAIL FROM", client.command(f"MAIL FROM:<{peer.sender}>")
        if answer.code == 250:
            stage, answer = "RCPT TO", client.command(f"RCPT TO:<{peer.to}>")
        if answer.code == 250:
            client.command("DATA")
            header = f"{peer.header}\r\n" if peer.header else ""
            client.send(header.encode() + message(sender=peer.sender) + b".\r\n")
            assert client.reply().code == 250
        reply, session = _unstamped(answer)
        client.command("QUIT")
    return Met(stage, reply, session)


def _unstamped(reply: RawReply) -> tuple[str, str]:
    text, _, stamp = reply.text.rpartition(" [")
    return f"{reply.code} {text}", stamp.rstrip("]").rpartition(" ")[2]


@pytest.fixture(scope="module")
def met(mx: Gateway, leaves: dict[str, Leaf], foretold: dict[str, Any]) -> dict[str, Met]:
    """What each peer met then."""
    assert foretold
    return {name: _comes(mx, peer, leaves.get(peer.shows)) for name, peer in PEERS.items()}


SENT_ON = [name for name, peer in PEERS.items() if peer.code == OK and peer.to in {BANK, OUT}]


@pytest.fixture(scope="module")
def rows(mx: Gateway, met: dict[str, Met]) -> dict[tuple[str, str], dict[str, Any]]:
    """The trace's rows by session and event, once all are there: they reach the disk within a second.

    Nobody listens at the smart host. It is tried for one message, and the others wait with it until each is retried.
    """
    wanted = {(one.session, "RECEIVE" if one.reply.startswith("2") else "REFUSE") for one in met.values()}
    wanted |= {(met[name].session, "DEFER") for name in SENT_ON}
    found: dict[tuple[str, str], dict[str, Any]] = {}

    def all_there() -> bool:
        rows = mx.trace(limit="10000")
        # What was put back untried behind a host that is silent is told, too, but of that nothing was decided.
        decided = (row for row in rows if row["event"] != "DEFER" or "configuration" in row["detail"])
        found.update({(row["session"], row["event"]): row for row in decided})
        for session, event in sorted(wanted - set(found)):
            if event == "DEFER" and (taken := found.get((session, "RECEIVE"))):
                mx.cli("queue", "retry", taken["message"])
        return wanted <= set(found)

    wait_until(all_there, "a row of the trace for each session and attempt", timeout=60)
    return found


@pytest.mark.parametrize("name", PEERS)
def test_the_reply_is_the_one_that_was_foretold(foretold: dict[str, Any], met: dict[str, Met], name: str) -> None:
    said, peer = foretold[name], PEERS[name]
    assert met[name].reply == said["inbound"]["reply"]
    assert met[name].stage == said["stage"]
    assert met[name].reply.startswith(peer.code)
    assert said["inbound"]["connector"] == peer.connector


@pytest.mark.parametrize("name", PEERS)
def test_the_trace_keeps_the_decision_that_was_foretold(
    rows: dict[tuple[str, str], dict[str, Any]], foretold: dict[str, Any], met: dict[str, Met], name: str
) -> None:
    said = foretold[name]["inbound"]
    row = rows[met[name].session, "RECEIVE" if said["accepted"] else "REFUSE"]
    for column in ("organization", "direction", "connector", "requirement"):
        assert row.get(column, "") == said[column]
    kept = {key: value for key, value in row["detail"].items() if key in said}
    assert kept == {key: said[key] for key in kept}
    assert set(kept) >= {"configuration", "basis", "reasons"}
    assert ("passed_over" in kept) is ("passed_over" in said)


def test_what_a_connector_in_rehearsal_would_do_is_foretold_and_kept(
    rows: dict[tuple[str, str], dict[str, Any]], foretold: dict[str, Any], met: dict[str, Met]
) -> None:
    name = "exception, with one in rehearsal"
    said = foretold[name]["inbound"]
    assert said["would_refuse"].startswith("550 5.7.51")
    assert said["would_refuse_connector"] == "trial"
    row = rows[met[name].session, "RECEIVE"]
    assert row["detail"]["would_refuse_connector"] == "trial"


@pytest.mark.parametrize("name", SENT_ON)
def test_the_attempt_requires_what_was_foretold(
    rows: dict[tuple[str, str], dict[str, Any]], foretold: dict[str, Any], met: dict[str, Met], name: str
) -> None:
    said = foretold[name]["outbound"]
    row = rows[met[name].session, "DEFER"]
    assert row["connector"] == said["connector"]
    assert row["requirement"] == said["requirement"]
    for key in ("configuration", "requirement_sources", "reasons", "passed_over"):
        assert row["detail"].get(key) == said.get(key), key


def test_delivered_into_the_mailbox_as_foretold(mx: Gateway, foretold: dict[str, Any], met: dict[str, Met]) -> None:
    assert met
    assert foretold["gateway"]["outbound"]["way"] == "mailbox"
    assert outcomes(mx, {ANN: "DELIVER"})


def test_the_header_is_taken_from_a_stored_message(mx: Gateway, foretold: dict[str, Any], tmp_path: Path) -> None:
    peer = PEERS["head office, confidential"]
    file = tmp_path / "mail.eml"
    folded = peer.header.replace(": ", ":\r\n ").encode()
    words = "--from", peer.sender, "--to", peer.to, "--ip", peer.ip, "--message", str(file)
    for content in (folded + b"\r\n" + message(), folded, message() + folded):
        file.write_bytes(content)
        sources = mx.cli("explain", *words, json=True, expect=None).data["outbound"]["requirement_sources"]
        same = sources == foretold["head office, confidential"]["outbound"]["requirement_sources"]
        assert same == content.startswith(folded), "a field in the body is none"
    file.write_bytes(b"no field\nSubject: x\n\n")
    assert "--header: 'no field' is not a field" in mx.cli("explain", *words, expect=2).stderr


def test_a_person_reads_it_in_the_signs_that_the_terminal_has(mx: Gateway) -> None:
    run = mx.cli("explain", "--from", "<>", "--to", BANK, "--ip", "127.0.0.2", expect=1)
    assert "INBOUND       refused at RCPT TO: 550 5.7.64 Relay Access Denied ATTR36" in run.stdout
    assert "OUTBOUND      if accepted: to the smart hosts 127.0.0.1:" in run.stdout
    assert "  self-signed           waits: 450 4.7.320 UntrustedRoot" in run.stdout
    assert max(map(len, run.stdout.splitlines())) <= 100
    assert run.stderr == ""


WRONG = {
    "--from": (["--from", "a b", "--to", ANN], "--from: 'a b' is not a mail address"),
    "--to": (["--from", "", "--to", "a@b@c"], "--to: 'a@b@c' is not a mail address"),
    "--to the null one": (["--from", "", "--to", "<>"], "--to: a recipient is needed"),
    "--ip": (["--from", "", "--to", ANN, "--ip", "300.0.0.1"], "--ip: '300.0.0.1' is not an IP address"),
    "--header": (["--from", "", "--to", ANN, "--header", "no field"], "--header: 'no field' is not a field"),
    "--tls": (["--from", "", "--to", ANN, "--tls", "SSLv3"], "'SSLv3' is not one of 'TLSv1.0'"),
    "--certificate, missing": (["--from", "", "--to", ANN, "--certificate", "/no/such"], "does not exist"),
}


@pytest.mark.parametrize("name", WRONG)
def test_bad_input_is_named(mx: Gateway, name: str) -> None:
    words, said = WRONG[name]
    run = mx.cli("explain", *words, expect=2)
    assert said in run.stderr
    assert run.stdout == ""


def test_a_certificate_file_that_has_none(mx: Gateway, leaves: dict[str, Leaf]) -> None:
    key = str(leaves["gateway"].key)
    run = mx.cli("explain", "--from", "", "--to", ANN, "--certificate", key, expect=2)
    assert f"--certificate: {key} contains no PEM certificate" in run.stderr
    clash = ["--certificate", str(leaves["gateway"].chain), "--tls", "none"]
    assert "leave one away" in mx.cli("explain", "--from", "", "--to", ANN, *clash, expect=2).stderr


@sqlite_only("another data directory is another configuration")
def test_without_a_configuration_it_cannot_tell(mx: Gateway) -> None:
    config = mx.folder / "elsewhere.toml"
    config.write_text(mx.config.read_text().replace(str(mx.data_dir), str(mx.folder / "nothing")))
    run = mx.cli("--config", str(config), "explain", "--from", "", "--to", ANN, expect=1)
    assert run.stderr == "no organization is stored yet, so nothing is accepted; add one: gatepost apply -f FILE\n"
    for file in (mx.folder / "nothing").glob("config.db*"):  # a command that ends leaves its log for the next
        file.unlink()
    (mx.folder / "nothing" / "config.db").write_bytes(b"this is not a database")
    unreadable = mx.cli("--config", str(config), "explain", "--from", "", "--to", ANN, expect=3)
    assert unreadable.stdout == ""


def test_live_reaches_the_next_hop(mx: Gateway) -> None:
    run = mx.cli("explain", "--from", CARL, "--to", BANK, "--ip", "127.0.0.2", "--live", json=True, expect=1)
    (report,) = run.data["live"]
    assert report["passed"] is False
    failed = [task for task in report["tasks"] if task["status"] == "failed"]
    assert failed[0]["name"] == "Connect"
    assert json.dumps(run.data)
