"""Proves that the way between nodes is closed to everybody else, and that mail waits for the node it is for.

Strangers come to the internal listener with every kind of wrong certificate; somebody else answers in a node's place;
a node is down, killed, removed; nodes are of two minds. Nothing is accepted from strangers, nothing is said to them,
and no message is lost.
"""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from support.clients import openssl_s_client
from support.gateway import Gateway
from support.imposter import Imposter
from support.scenes import ALICE, STRANGER, message, send
from support.site_scene import KEY, KEY_VARIABLE, MX1, MX2, SITE, URIS, TwoNodes, organizations

from gatepost.pki.site.client import SiteConnection
from gatepost.pki.site.membership import node_request
from gatepost.pki.site.site import read_token
from gatepost.testing.pki import Leaf, Pki
from gatepost.testing.process import free_port, wait_until

pytestmark = pytest.mark.timeout(300)  # nodes are stopped, killed and started again and again

ANN, BOB = "ann@contoso.example", "bob@fabrikam.example"


@pytest.fixture(scope="module", autouse=True)
def master_key() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(KEY_VARIABLE, KEY)
        yield


@pytest.fixture(scope="module")
def nodes(master_key: None) -> Iterator[TwoNodes]:
    with ExitStack() as stack:  # a connection for each message: what a node shows counts from its handshake on
        yield TwoNodes(stack, settings={"queue": {"retry": ["1s"], "messages_per_connection": 1}})


@pytest.fixture(scope="module")
def no_node(nodes: TwoNodes, tmp_path_factory: pytest.TempPathFactory) -> Leaf:
    """What `site issue` gives for the very name of a node: the same root, no node."""
    folder = tmp_path_factory.mktemp("issued")
    pfx = folder / "issued.pfx"
    words = ("site", "issue", MX2, "--pfx", str(pfx), "--encryption", "aes256")
    password = nodes.mx1.cli(*words).stdout.strip()
    chain, key = folder / "chain.pem", folder / "key.pem"
    for options in (("-nokeys", "-out", chain), ("-nocerts", "-out", key)):
        command = ["openssl", "pkcs12", "-in", pfx, "-passin", f"pass:{password}", "-noenc", *options]
        subprocess.run(list(map(str, command)), check=True, capture_output=True, timeout=30)
    return Leaf(MX2, chain, chain, key)


MX3 = "mx3.contoso.example"


def joined(nodes: TwoNodes, folder: Path, name: str = MX3) -> Leaf:
    """The certificate and key of a node that has just joined the site."""
    return joined_at(nodes.mx1, nodes.joining, folder, name)


def joined_at(authority: Gateway, port: int, folder: Path, name: str) -> Leaf:
    """The same of a site whose authority is at a gateway. port: where nodes join there."""
    secret, root = read_token(authority.cli("site", "token", "--for", name).stdout)
    request, key = node_request(name)
    connection = SiteConnection(f"127.0.0.1:{port}", now=time.time())
    connection.trust_thumbprint(root)
    grant = asyncio.run(connection.ask("join", {"token": secret, "request": request.decode()}))
    folder.mkdir()
    chain, file = folder / "chain.pem", folder / "key.pem"
    chain.write_bytes(grant.certificate_pem)
    file.write_bytes(key)
    return Leaf(name, chain, chain, file)


@pytest.fixture
def hostile(nodes: TwoNodes, tmp_path: Path) -> Iterator[Leaf]:
    """A node of the site whose key is in other hands."""
    yield joined(nodes, tmp_path / "hostile")
    nodes.mx1.cli("site", "nodes", "remove", MX3)


def arrived(node: Gateway, address: str, subject: str) -> None:
    def found() -> bool:
        return any(mail.field("Subject") == subject for mail in node.maildir(address))

    wait_until(found, f"{subject!r} for {address}\n{node.log()}", timeout=90)


def waits(node: Gateway, subject: str, *words: str, requirement: str = "") -> dict[str, Any]:
    """The row that says why a message waits, once there is one with these words in its reply.

    requirement: of the attempt. A message may also wait untried, for the reason of another; that row has none.
    """

    def found() -> list[dict[str, Any]]:
        rows = [row for row in node.trace(event="DEFER") if row["subject"] == subject]
        return [row for row in rows if requirement in row["requirement"] and all(w in row["reply"] for w in words)]

    return wait_until(found, f"{subject!r} waits with {words}: {node.trace(event='DEFER')}", timeout=90)[0]


STRANGERS = ["nobody", "of a public authority", "of the site's authority, no node"]


@pytest.mark.parametrize("who", STRANGERS)
def test_strangers_are_turned_away_before_they_can_say_a_word(
    nodes: TwoNodes, no_node: Leaf, pki: Pki, who: str
) -> None:
    certificate = dict(zip(STRANGERS, (None, pki.leaf(MX1), no_node), strict=True))[who]
    before = _refused(nodes)
    say = f"EHLO {MX1}\r\nMAIL FROM:<{ALICE}>\r\nRCPT TO:<{ANN}>\r\nDATA\r\n".encode()
    run = openssl_s_client(nodes.port(nodes.mx2), starttls=False, certificate=certificate, send=say)
    assert run.version == "TLSv1.3"
    assert "554 5.7.1 This port is for nodes of one site: your certificate is not one of theirs" in run.transcript
    assert not run.found(r"^(250[ -].*)$")
    why = {
        STRANGERS[0]: "does not lead to the site's roots: no certificate",
        STRANGERS[1]: "does not lead to the site's roots",
        STRANGERS[2]: f"the site's authority issued its certificate, but not for a node of {SITE}",
    }[who]

    def refusals() -> list[dict[str, Any]]:  # among them may be mail of another test that is tried again
        rows = [row for session, row in _refused(nodes).items() if session not in before]
        return [row for row in rows if why in " ".join(row["detail"]["reasons"])]

    row, *_ = wait_until(refusals, "a row of the refusal")
    assert row["connector"] == "internal"


def _refused(nodes: TwoNodes) -> dict[str, dict[str, Any]]:
    """What mx2 refused, by session."""
    return {row["session"]: row for row in nodes.mx2.trace(event="REFUSE", limit="10000")}


@pytest.mark.parametrize(
    "fact", [{"forwarded_by": "no address"}, {"return_path": "a@b.example> AUTH=<ann@contoso.example"}], ids=str
)
def test_what_no_node_writes_ends_no_session_and_is_written_into_no_command(
    nodes: TwoNodes, hostile: Leaf, fact: dict[str, str]
) -> None:
    origin = json.dumps({"organization": "contoso", "direction": "incoming"} | fact).encode()
    text = base64.urlsafe_b64encode(origin).rstrip(b"=").decode()
    say = f"EHLO {MX1}\r\nMAIL FROM:<{ALICE}> XGATEPOST={text}\r\nRCPT TO:<{ANN}>\r\nNOOP\r\nQUIT\r\n".encode()
    run = openssl_s_client(nodes.port(nodes.mx2), starttls=False, certificate=hostile, send=say)
    assert "501 5.5.4 XGATEPOST cannot be read" in run.transcript
    assert "221 2.0.0" in run.transcript
    assert "Traceback" not in nodes.mx2.log()


def test_the_key_of_a_machine_that_was_replaced_opens_nothing_where_the_authority_is(
    nodes: TwoNodes, hostile: Leaf, tmp_path: Path
) -> None:
    """The new machine has the name of the old one, whose certificate is valid for days."""

    def heard(certificate: Leaf) -> str:
        say = f"EHLO {MX3}\r\nQUIT\r\n".encode()
        return openssl_s_client(nodes.port(nodes.mx1), starttls=False, certificate=certificate, send=say).transcript

    wait_until(lambda: "250-" in heard(hostile), "it is a node")
    time.sleep(1)  # to the second, as certificates are
    new = joined(nodes, tmp_path / "new")
    wait_until(lambda: "554 5.7.1" in heard(hostile), "and is none any more")
    assert "250-" in heard(new)


@pytest.mark.parametrize("options", [("-tls1_1",), ("-tls1_2", "-cipher", "AES256-GCM-SHA384")], ids=["1.1", "static"])
def test_without_forward_secrecy_there_is_no_tls(nodes: TwoNodes, options: tuple[str, ...]) -> None:
    words = (*options, "-cipher", "ALL:@SECLEVEL=0") if len(options) == 1 else options
    run = openssl_s_client(nodes.port(nodes.mx2), starttls=False, options=words)
    assert "alert" in run.transcript
    assert "554" not in run.transcript
    forward_secret = openssl_s_client(nodes.port(nodes.mx2), starttls=False, options=("-tls1_2",))
    assert forward_secret.cipher.startswith("ECDHE-")


def test_clear_text_gets_no_answer(nodes: TwoNodes) -> None:
    with socket.create_connection(("127.0.0.1", nodes.port(nodes.mx2)), timeout=30) as peer:
        peer.sendall(f"EHLO {MX1}\r\nMAIL FROM:<{ALICE}>\r\n".encode())
        answer = b"".join(iter(lambda: peer.recv(4096), b""))
    assert answer[:1] in {b"", b"\x15"}  # nothing, or a TLS alert
    assert b"220" not in answer


@pytest.mark.parametrize("who", ["of a public authority", "of the site's authority, no node", "in clear"])
def test_who_answers_in_the_place_of_a_node_hears_nothing(nodes: TwoNodes, no_node: Leaf, pki: Pki, who: str) -> None:
    subject = f"not for somebody {who}"
    nodes.mx2.stop()
    try:
        leaf = pki.leaf(MX2) if who.startswith("of a public") else no_node
        with Imposter(nodes.port(nodes.mx2), leaf, tls=who != "in clear") as imposter:
            send(nodes.mx1.port, ANN, sender=STRANGER, content=message(subject))
            words = {
                "of a public authority": ("450 4.7.320", "UntrustedRoot"),
                "of the site's authority, no node": (
                    "450 4.7.320",
                    "SubjectMismatch",
                    f"Expected Subject: {URIS[MX2]}",
                ),
                "in clear": ("450 4.4.317", "TlsHandshakeFailed", "internal 'site'"),
            }[who]
            row = waits(nodes.mx1, subject, *words, requirement=f"authenticated({URIS[MX2]})")
        assert row["peer_host"] == MX2
        assert imposter.heard == b"" if who != "in clear" else b"EHLO" not in imposter.heard
    finally:
        nodes.mx2.start()
    arrived(nodes.mx2, ANN, subject)


def test_a_machine_that_is_no_node_any_more_gets_no_mail_though_it_answers(nodes: TwoNodes, tmp_path: Path) -> None:
    """Its certificate is valid for days: first nobody has its name, then another machine."""
    nodes.mx2.stop()
    old = joined(nodes, tmp_path / "old", MX2)
    nodes.mx1.cli("site", "nodes", "remove", MX2)
    nodes.mx1.wait_in_force()
    try:
        with Imposter(nodes.port(nodes.mx2), old) as imposter:
            send(nodes.mx1.port, ANN, sender=STRANGER, content=message("not for a removed machine"))
            row = waits(nodes.mx1, "not for a removed machine", "450 4.3.5 The node that this mail belongs to")
            assert f"{MX2} is not a node of {SITE} any more" in row["detail"]["detail"]
            explained = nodes.mx1.cli("explain", "--from", STRANGER, "--to", ANN, expect=None).stdout
            assert f"{MX2} is not a node of {SITE} any more" in " ".join(explained.split())
            time.sleep(1)  # to the second, as certificates are
            nodes.join(nodes.mx2, "--replace")
            waits(nodes.mx1, "not for a removed machine", "450 4.7.320", "CertificateRevoked", requirement=URIS[MX2])
        assert imposter.handshakes
        assert imposter.heard == b""
    finally:
        nodes.mx2.start()
    arrived(nodes.mx2, ANN, "not for a removed machine")


def test_a_gateway_of_another_site_is_a_stranger_both_ways(nodes: TwoNodes, tmp_path: Path) -> None:
    """It has taken the name of our site, of our node, and of our organization."""
    store = {"master_key": f"env:{KEY_VARIABLE}"}
    place = {"name": MX1, "address": f"127.0.0.1:{nodes.port(nodes.mx1)}"}
    joining = free_port()
    site = {"node": [place], "address": f"127.0.0.1:{joining}"}
    settings = {"store": store, "queue": {"retry": ["1s"]}, "site": site}
    other = Gateway(organizations(contoso_home=MX1), hostname=MX2, settings=settings)
    other.cli("site", "init", "--name", SITE)
    with other:
        joined_at(other, joining, tmp_path / "of-another-site", MX1)
        other.wait_in_force()
        send(other.port, ANN, sender=STRANGER, content=message("from another site"))
        row = waits(other, "from another site", "450 4.7.320", "UntrustedRoot")
        assert row["detail"]["requirement_sources"] == ["internal:site"]
    assert not nodes.mx1.trace(event="RECEIVE", recipient=ANN, sender=STRANGER, connector="internal")


def test_mail_waits_for_a_node_that_is_down_and_for_nobody_else(nodes: TwoNodes) -> None:
    nodes.mx2.stop()
    try:
        send(nodes.mx1.port, ANN, sender=STRANGER, content=message("patience"))
        row = waits(nodes.mx1, "patience", "450 4.4.316", requirement=URIS[MX2])
        assert [one["host"] for one in row["detail"]["tries"]] == [MX2]
    finally:
        nodes.mx2.start()
    arrived(nodes.mx2, ANN, "patience")


def test_nothing_is_lost_when_both_are_killed(nodes: TwoNodes) -> None:
    subjects = {f"kept {number}" for number in range(40)}
    for number, subject in enumerate(sorted(subjects)):
        send(nodes.mx1.port, ANN, sender=STRANGER, content=message(subject))
        if number in {9, 29}:
            victim = nodes.mx2 if number == 9 else nodes.mx1
            victim.kill()
            victim.start()

    def all_there() -> bool:
        return subjects <= {mail.field("Subject") for mail in nodes.mx2.maildir(ANN)}

    wait_until(all_there, f"all of them\n{nodes.mx1.log()}\n{nodes.mx2.log()}", timeout=90)


def test_nodes_of_two_minds_hand_nothing_back(nodes: TwoNodes) -> None:
    """By mx1 contoso lives on mx2, by mx2 on mx1: mail waits until they agree."""
    nodes.mx2.apply(organizations(contoso_home=MX1))
    explained = lambda: nodes.mx2.cli("explain", "--from", STRANGER, "--to", ANN, json=True).data["outbound"]["way"]  # noqa: E731 - one use
    assert explained() == "internal"
    subject = "whose is it?"
    try:

        def refused() -> bool:
            send(nodes.mx1.port, ANN, sender=STRANGER, content=message(subject))
            return any("4.4.6" in row["reply"] for row in nodes.mx1.trace(event="DEFER") if row["subject"] == subject)

        wait_until(refused, "it is not taken back")
        row = waits(nodes.mx1, subject, "451 4.4.6")
        assert row["peer_host"] == MX2
        told = nodes.mx2.wait_trace(event="REFUSE", recipient=ANN)[0]["detail"]["reasons"]
        assert any(f"here contoso lives on {MX1}" in reason for reason in told)
    finally:
        nodes.mx2.apply(organizations())
        nodes.mx2.wait_in_force()
    arrived(nodes.mx2, ANN, subject)


def test_who_is_unknown_at_home_is_refused_there_and_the_sender_hears_of_it(nodes: TwoNodes) -> None:
    """The nodes have different resources, as for the time between two `gatepost apply`."""
    resources = organizations()
    resources["organization"]["contoso"]["mailbox"].append({"address": "new@contoso.example"})
    resources["organization"]["contoso"]["display_name"] = "Contoso with a new mailbox"
    nodes.mx1.apply(resources)
    subject = "for somebody new"
    try:

        def taken() -> bool:
            with_refusals = ("new@contoso.example",)
            try:
                send(nodes.mx1.port, with_refusals, sender=BOB, content=message(subject))
            except OSError:  # smtplib's exceptions: mx1 does not know it yet
                return False
            return True

        wait_until(taken, "mx1 knows the new mailbox")
        row = nodes.mx1.wait_trace(event="FAIL", recipient="new@contoso.example")[0]
        assert row["reply"].startswith("550 5.1.1 Recipient address rejected")
        assert row["detail"]["handover"]["session"] in row["reply"]
        refused = nodes.mx2.wait_trace(event="REFUSE", session=row["detail"]["handover"]["session"])[0]
        assert refused["recipient"] == "new@contoso.example"
    finally:
        nodes.mx1.apply(organizations())
        nodes.mx1.wait_in_force()
    wait_until(lambda: any(b"5.1.1" in mail.raw for mail in nodes.mx1.maildir(BOB)), "the notice for its sender")


def _shown_by_mx2(nodes: TwoNodes) -> str:
    """The certificate that mx2 showed when mx1 handed it the message that this sends."""
    known = {row["message"] for row in nodes.mx1.trace(event="SEND")}
    send(nodes.mx1.port, ANN, sender=STRANGER, content=message("renewed"))
    rows: list[dict[str, Any]] = []

    def handed_over() -> bool:
        rows[:] = [row for row in nodes.mx1.trace(event="SEND") if row["message"] not in known]
        return bool(rows)

    wait_until(handed_over, "mx1 handed the message over")
    shown: str = rows[0]["tls"]["certificate"]["sha256"]
    return shown


@pytest.mark.long
def test_certificates_are_renewed_without_a_restart_and_a_node_that_is_removed_is_believed_no_more() -> None:
    """Certificates live for 30 seconds, so that all of it is seen."""
    with ExitStack() as stack:
        nodes = TwoNodes(stack, lifetime="30s")
        first = nodes.mx2.cli("site", "status", json=True, expect=None).data["membership"]["sha256"]
        renewed = lambda: nodes.mx2.cli("site", "status", json=True, expect=None).data["membership"]["sha256"] != first  # noqa: E731 - one use
        wait_until(renewed, "mx2 has a new certificate", timeout=90)
        # What the command sees in its file, the workers of mx2 show within their next look at it.
        wait_until(lambda: _shown_by_mx2(nodes) != first, "mx2 shows its new certificate", timeout=20)
        nodes.mx1.cli("site", "nodes", "remove", MX2)
        last = nodes.mx2.cli("site", "status", json=True, expect=None).data["membership"]["not_after"]
        # To the second, as certificates are.
        wait_until(lambda: time.time() > last + 1.5, "the last certificate of mx2 has ended", timeout=90)
        assert "has expired" in nodes.mx2.cli("site", "status", expect=1).stderr
        send(nodes.mx1.port, ANN, sender=STRANGER, content=message("to who is not a node"))
        waits(nodes.mx1, "to who is not a node", "450 4.3.5 The node that this mail belongs to")
        send(nodes.mx2.port, BOB, sender=STRANGER, content=message("from who is not a node"))
        own = waits(nodes.mx2, "from who is not a node", "450 4.3.5")
        assert f"the certificate of the node {MX2} has expired" in own["detail"]["detail"]
        explained = nodes.mx2.cli("explain", "--from", STRANGER, "--to", BOB, expect=None).stdout
        assert "the certificate of this node has expired: see gatepost site status" in " ".join(explained.split())
        nodes.join(nodes.mx2, "--replace")
        arrived(nodes.mx2, ANN, "to who is not a node")
        arrived(nodes.mx1, BOB, "from who is not a node")
