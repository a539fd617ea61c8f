"""Proves `gatepost connector validate`: a real partner passes each task, and each defect fails in its own.

Outbound against Postfix and, where a partner must be wrong in a certain way, the recording sink: what is named, who
must act, the exit code, and that nothing below the requirement is ever sent a message. Inbound by sessions that really
took place, by uploaded certificates, and by what the trace has seen.
"""

from __future__ import annotations

import json
import smtplib
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest
import tomlkit
from support.debian import need
from support.gateway import Gateway
from support.peers import Postfix
from support.process import loopback
from support.scenes import connector, contoso

from gatepost.store.storage import Storage
from gatepost.testing.gateway import CliRun
from gatepost.testing.name_server import DnsServer
from gatepost.testing.pki import Leaf, Pki
from gatepost.testing.process import free_port, wait_until
from gatepost.testing.sink import Behaviour, Sink
from gatepost.testing.status_server import StatusServer

NAME = "mx.bank.example"
STRICT: dict[str, Any] = {"tls_settings": "domain-validation", "tls_domain": NAME}
TASKS = ["Resolve", "Connect", "EHLO", "STARTTLS", "TLS handshake", "Certificate", "Name", "Revocation"]

# Partners with addresses of their own, so that they can listen on port 25 as MX hosts do.
MX1, MX2 = loopback("9.2"), loopback("9.3")
RECORDS = {
    "bank.example MX": ["10 mx1.bank.example.", "20 mx2.bank.example."],
    "mx1.bank.example A": [MX1],
    "mx2.bank.example A": [MX2],
    f"{NAME} A": ["127.0.0.1"],
    "null.example MX": ["0 ."],
}


@dataclass
class Scene:
    """A running gateway; `draft` tries a connector that is only in a file."""

    gateway: Gateway

    def draft(self, *smart_hosts: str, words: tuple[str, ...] = (), expect: int, **fields: Any) -> CliRun:
        file = self.gateway.folder / "draft.toml"
        file.write_text(tomlkit.dumps(contoso(outbound=[connector("bank.example", *smart_hosts, **fields)])))
        return self.gateway.cli("connector", "validate", "bank.example", "-f", str(file), *words, expect=expect)

    def json(self, *smart_hosts: str, words: tuple[str, ...] = (), expect: int, **fields: Any) -> Any:
        return self.draft(*smart_hosts, words=(*words, "--json"), expect=expect, **fields).data


@pytest.fixture(scope="module")
def scene(pki: Pki) -> Iterator[Scene]:
    with ExitStack() as stack:
        dns = stack.enter_context(DnsServer(RECORDS, failures={"broken.example": "SERVFAIL"}))
        settings = {"dns": {"timeout": "10s", "attempts": 1}, "outbound": {"greeting_timeout": "4s"}}
        gateway = Gateway(
            contoso(),
            anchors=pki.root,
            nameservers=[dns.address],
            certificates=[pki.leaf("mx1.contoso.example")],
            settings=settings,
        )
        yield Scene(stack.enter_context(gateway))


def statuses(host: dict[str, Any]) -> dict[str, str]:
    return {task["name"]: task["status"] for task in host["tasks"]}


# a partner as it should be


def test_a_real_partner_passes_every_task(scene: Scene, postfix: Callable[..., Postfix], pki: Pki) -> None:
    partner = postfix(certificates=[pki.leaf(NAME)])
    host = f"{NAME}:{partner.port}"
    found = scene.json(host, words=("--recipient", "bob@bank.example"), expect=0, **STRICT)
    (report,) = found["hosts"]
    assert [task["name"] for task in report["tasks"]] == [*TASKS, "Test message"]
    assert set(statuses(report).values()) == {"succeeded"}
    assert report["achieved"] == "none/authenticated"
    assert report["tls"]["certificate"]["sha256"] == pki_sha256(report)
    assert found["verdict"] == "validated: all 9 tasks succeeded"
    (mail,) = partner.wait_mails(1)
    assert mail.recipient == "bob@bank.example"
    assert mail.field("From") == "<postmaster@contoso.example>"
    assert mail.field("Auto-Submitted") == "auto-generated"
    assert "TLSv1.3" in mail.field("Received")
    text = scene.draft(host, expect=0, **STRICT).stdout
    assert text.splitlines()[-1] == "validated: all 8 tasks succeeded"
    assert "Test message" in text
    assert len(partner.mails()) == 1


def pki_sha256(report: dict[str, Any]) -> str:
    """The thumbprint as the certificate's task tells it."""
    detail = next(task["detail"] for task in report["tasks"] if task["name"] == "Certificate")
    return str(detail.partition("SHA-256 ")[2].partition(";")[0].lower())


def test_the_sender_can_be_chosen(scene: Scene, sink: Callable[..., Sink], pki: Pki) -> None:
    partner = sink(certificate=pki.leaf(NAME))
    words = ("--recipient", "bob@bank.example", "--recipient", "joe@bank.example", "--sender", "ann@contoso.example")
    scene.json(f"{NAME}:{partner.port}", words=words, expect=0, **STRICT)
    (message,) = partner.messages
    assert (message.reverse_path, message.recipients) == (
        "ann@contoso.example",
        ("bob@bank.example", "joe@bank.example"),
    )


# each defect


@dataclass
class Defect:
    """A partner that is wrong. make: its certificate. words: of the failed task's detail; advice: of its advice."""

    task: str
    words: str
    advice: str
    make: Callable[[Pki, Pki], Leaf | None] = lambda pki, _: pki.leaf(NAME)
    behaviour: Behaviour = field(default_factory=Behaviour)
    fields: tuple[tuple[str, Any], ...] = ()
    status: int = 1


DEFECTS = {
    "not a mail server": Defect(
        "EHLO",
        "no answer within 4 s",
        "does not speak SMTP first",
        behaviour=Behaviour(delays={"CONNECT": 12}),
    ),
    "speaks something else": Defect(
        "EHLO", "", "is not a working mail server", behaviour=Behaviour(replies={"CONNECT": "SSH-2.0-OpenSSH_10"})
    ),
    "turns us away": Defect(
        "EHLO",
        "554 5.7.1 go away",
        "must allow this machine's address",
        behaviour=Behaviour(replies={"CONNECT": "554 5.7.1 go away"}),
    ),
    "no STARTTLS": Defect("STARTTLS", "not offered", "must switch STARTTLS on", make=lambda *_: None),
    "STARTTLS refused": Defect(
        "STARTTLS",
        "454 4.7.0 broken key",
        "certificate or key",
        behaviour=Behaviour(replies={"STARTTLS": "454 4.7.0 broken key"}),
    ),
    "no TLS behind STARTTLS": Defect("TLS handshake", "", "is not TLS", behaviour=Behaviour(starttls="garbage")),
    "expired": Defect(
        "Certificate", "expired: CN=mx.bank.example", "must renew", make=lambda pki, _: pki.expired(NAME)
    ),
    "not yet valid": Defect(
        "Certificate", "not-yet-valid", "a clock is wrong", make=lambda pki, _: pki.not_yet_valid(NAME)
    ),
    "self-signed": Defect(
        "Certificate", "self-signed", "authority that both sides trust", make=lambda pki, _: pki.self_signed(NAME)
    ),
    "unknown root": Defect(
        "Certificate", "untrusted-root", "trust_anchors", make=lambda _, strange: strange.leaf(NAME)
    ),
    "incomplete chain": Defect(
        "Certificate",
        "chain-incomplete: CN=mx.bank.example,O=Gatepost tests is issued by CN=Gatepost tests intermediate",
        "must send the intermediate certificates",
        make=lambda pki, _: pki.leaf(NAME, incomplete=True),
    ),
    "wrong name": Defect(
        "Name",
        "expected mx.bank.example, and the certificate is for other.example",
        "set tls_domain to it",
        make=lambda pki, _: pki.leaf("other.example"),
    ),
    "recipient refused": Defect(
        "Test message",
        "bob@bank.example: 550 5.1.1 no such user",
        "Its reply says why",
        behaviour=Behaviour(replies={"RCPT": "550 5.1.1 no such user"}),
    ),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_each_defect_fails_in_its_own_task(
    scene: Scene, sink: Callable[..., Sink], pki: Pki, strange_pki: Pki, name: str
) -> None:
    defect = DEFECTS[name]
    partner = sink(certificate=defect.make(pki, strange_pki), behaviour=defect.behaviour)
    found = scene.json(
        f"{NAME}:{partner.port}",
        words=("--recipient", "bob@bank.example"),
        expect=defect.status,
        **STRICT,
        **dict(defect.fields),
    )
    (report,) = found["hosts"]
    failed = [task for task in report["tasks"] if task["status"] == "failed"]
    assert [task["name"] for task in failed] == [defect.task]
    assert defect.words in failed[0]["detail"]
    assert defect.advice in failed[0]["advice"]
    assert found["verdict"].startswith(f"not validated: {defect.task} failed on {NAME} (127.0.0.1:{partner.port})")
    assert partner.messages == []
    if defect.task != "Test message":
        assert partner.counts["MAIL"] == 0
        order = [task["name"] for task in report["tasks"]]
        later = {task["status"] for task in report["tasks"][order.index(defect.task) + 1 :]}
        assert later <= {"skipped"}


def test_trust_anchors_that_are_not_there(scene: Scene, sink: Callable[..., Sink], pki: Pki) -> None:
    """A draft that names them is refused; where they vanish later, the task says so."""
    partner = sink(certificate=pki.leaf(NAME))
    place = f"{NAME}:{partner.port}"
    run = scene.draft(place, expect=2, **STRICT, trust_anchors="/nowhere/roots.pem")
    assert "trust_anchors: /nowhere/roots.pem: No such file" in run.stderr
    roots = scene.gateway.folder.write("roots.pem", pki.root.read_text())
    made = connector("roots.example", place, **STRICT, trust_anchors=str(roots))
    scene.gateway.apply(contoso(outbound=[made]))
    roots.unlink()
    found = scene.gateway.cli("connector", "validate", "roots.example", expect=1, json=True).data
    scene.gateway.apply(contoso())
    (failed,) = (task for task in found["hosts"][0]["tasks"] if task["status"] == "failed")
    assert failed["name"] == "Certificate"
    assert str(roots) in failed["detail"]
    assert "Here: fix the file" in failed["advice"]


def test_an_old_version(scene: Scene, sink: Callable[..., Sink], pki: Pki) -> None:
    """The stdlib's server can be held to TLS 1.2; the connector asks for more."""
    partner = sink(certificate=pki.leaf(NAME))
    assert partner.tls is not None
    partner.tls.maximum_version = ssl.TLSVersion.TLSv1_2
    found = scene.json(f"{NAME}:{partner.port}", expect=1, **STRICT, min_tls_version="TLSv1.3")
    assert "TLS handshake failed" in found["verdict"]
    assert "expected: TLSv1.3 or newer" in json.dumps(found)
    scene.json(f"{NAME}:{partner.port}", expect=0, **STRICT)


def test_a_closed_port_and_a_name_that_is_not(scene: Scene) -> None:
    port = free_port()
    found = scene.json(f"{NAME}:{port}", f"nowhere.bank.example:{port}", expect=1, **STRICT)
    closed, nowhere = found["hosts"]
    assert statuses(closed)["Connect"] == "failed"
    assert closed["tasks"][1]["detail"] == f"127.0.0.1:{port}: Connection refused"
    assert nowhere["address"] == ""
    assert nowhere["tasks"][0]["detail"] == "nowhere.bank.example has no address"
    assert "Check the spelling" in nowhere["tasks"][0]["advice"]


def test_a_name_server_that_is_down_leaves_it_open(scene: Scene) -> None:
    run = scene.draft("broken.example:25", expect=3)
    assert run.stdout.splitlines()[-1].startswith("could not tell: Resolve failed on broken.example: ")


@pytest.mark.parametrize("settings", ["opportunistic", "encryption-only"])
def test_a_bad_certificate_is_a_warning_where_mail_would_flow(
    scene: Scene, sink: Callable[..., Sink], strange_pki: Pki, settings: str
) -> None:
    partner = sink(certificate=strange_pki.expired("other.example"))
    words = ("--recipient", "bob@bank.example")
    found = scene.json(f"{NAME}:{partner.port}", words=words, expect=0, tls_settings=settings)
    assert statuses(found["hosts"][0])["Certificate"] == "warning"
    assert statuses(found["hosts"][0])["Name"] == "warning"
    assert found["verdict"] == "validated: all 8 tasks succeeded, 2 with a warning"
    assert [message.tls for message in partner.messages] == ["TLSv1.3"]


def test_revocation(scene: Scene, sink: Callable[..., Sink], pki: Pki, status_server: StatusServer) -> None:
    leaf = pki.leaf(NAME, crl=status_server.crl)
    partner = sink(certificate=leaf)
    host = f"{NAME}:{partner.port}"
    found = scene.json(host, expect=0, **STRICT)
    assert statuses(found["hosts"][0])["Revocation"] == "succeeded"
    assert "good (crl)" in json.dumps(found)
    pki.revoke(leaf)
    try:
        found = scene.json(host, words=("--recipient", "bob@bank.example"), expect=1, **STRICT)
    finally:
        pki.reinstate(leaf)
    assert found["verdict"].startswith(f"not validated: Revocation failed on {NAME}")
    assert statuses(found["hosts"][0])["Certificate"] == "succeeded"
    assert partner.messages == []
    status_server.stop()
    assert statuses(scene.json(host, expect=0, **STRICT)["hosts"][0])["Revocation"] == "warning"
    scene.json(host, expect=1, **STRICT, revocation_check="hard-fail")


# routes


def test_mx_hosts_and_the_first_that_passes_takes_the_message(
    scene: Scene, sink: Callable[..., Sink], pki: Pki
) -> None:
    need("root")
    first = sink(host=MX1, port=25, certificate=pki.expired("bank.example"))
    second = sink(host=MX2, port=25, certificate=pki.leaf("mx2.bank.example", names=["bank.example"]))
    words = ("--recipient", "bob@bank.example")
    found = scene.json(words=words, expect=1, tls_settings="domain-validation")
    assert [host["host"] for host in found["hosts"]] == ["mx1.bank.example", "mx2.bank.example"]
    assert [host["passed"] for host in found["hosts"]] == [False, True]
    assert statuses(found["hosts"][1])["Test message"] == "succeeded"
    assert (len(first.messages), len(second.messages)) == (0, 1)
    assert "an MX of bank.example" in found["hosts"][0]["tasks"][0]["detail"]


def test_a_domain_that_takes_no_mail(scene: Scene) -> None:
    found = scene.json(expect=1, recipient_domains=["null.example"])
    assert "null MX" in found["verdict"]


def test_a_wildcard_needs_a_recipient(scene: Scene) -> None:
    run = scene.draft(expect=2, recipient_domains=["*"])
    assert "give a recipient in the domain to test" in run.stderr


# what is stored


def test_a_disabled_connector_is_tried_and_the_result_is_listed(
    gateway: Callable[..., Gateway], sink: Callable[..., Sink], pki: Pki
) -> None:
    """exchange.md section 17, V1: a clear message, unlike Exchange's."""
    partner = sink(certificate=pki.leaf("127.0.0.1"))
    off = connector("bank.example", partner.address, enabled=False, tls_settings="domain-validation", tls_domain=NAME)
    server = gateway(contoso(outbound=[off]), anchors=pki.root)
    run = server.cli("connector", "validate", "bank.example", "--recipient", "bob@bank.example", expect=1)
    assert "note: the connector is disabled: the validation treated it as enabled" in run.stdout
    assert "not validated: Name failed on 127.0.0.1" in run.stdout
    assert "domain of the recipient" not in run.stdout + run.stderr
    right = off | {"tls_settings": "certificate-validation"}
    del right["tls_domain"]
    server.apply(contoso(outbound=[right]))
    server.cli("connector", "validate", "bank.example", "--recipient", "bob@bank.example")
    assert len(partner.messages) == 1
    storage = Storage(server.store_url, server.data_dir)
    kept = json.loads(storage.documents("validations", "contoso").read("outbound-bank.example.json", 1 << 20) or "")
    assert (kept["outcome"], kept["configuration"]) == ("validated", 2)
    (row,) = server.cli("connector", "list", "--direction", "outbound", json=True).data
    assert row["validated"]["outcome"] == "validated"


# inbound

PARTNER: dict[str, Any] = {
    "name": "bank",
    "sender_domains": ["bank.example"],
    "restrict_domains_to_certificate": True,
    "tls_sender_certificate_name": "mail.bank.example",
}


def deliver(port: int, certificate: Leaf | None, sender: str = "eve@bank.example") -> str:
    """Send a message as a partner would; the reply to its recipient."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if certificate is not None:
        context.load_cert_chain(certificate.chain, certificate.key)
    with smtplib.SMTP("127.0.0.1", port, local_hostname="mail.bank.example", timeout=30) as client:
        client.starttls(context=context)
        client.ehlo()
        try:
            client.sendmail(sender, ["ann@contoso.example"], b"Subject: x\r\n\r\nx\r\n")
        except smtplib.SMTPRecipientsRefused as refused:
            return refused.recipients["ann@contoso.example"][1].decode()
    return "2.1.5"


def test_an_inbound_connector(
    gateway: Callable[..., Gateway], pki: Pki, strange_pki: Pki, status_server: StatusServer
) -> None:
    """Nothing seen; a captured refusal decided anew; the right certificate uploaded; seen at last."""
    server = gateway(contoso(inbound=[PARTNER]), anchors=pki.root, certificates=[pki.leaf("mx1.contoso.example")])

    def validate(*words: str, expect: int) -> Any:
        return server.cli("connector", "validate", "bank", *words, json=True, expect=expect).data

    assert validate(expect=3)["verdict"].startswith("could not tell: Seen failed: no mail came by this connector")

    other = pki.client("mail.provider.example")
    assert "5.7.51" in deliver(server.port, other)
    (refused,) = server.wait_trace(event="REFUSE")
    found = validate("--session", refused["session"], expect=1)
    (replay,) = [task for task in found["tasks"] if task["name"] == "Replay"]
    assert "refuses it with 550 5.7.51" in replay["detail"]
    (learned,) = [task for task in found["tasks"] if task["name"] == "Learned names"]
    assert "mail.provider.example (trusted): 1; the connector expects mail.bank.example" in learned["detail"]

    # What was learned is taken over: the very session that was refused would be taken now.
    server.apply(contoso(inbound=[PARTNER | {"tls_sender_certificate_name": "mail.provider.example"}]))
    found = validate("--session", refused["session"], expect=0)
    assert "accepted by this connector" in json.dumps(found)

    address = ("--ip", "127.0.0.1", "--from", "eve@bank.example")
    validate("--certificate", str(other.chain), *address, expect=0)
    validate("--certificate", str(strange_pki.client("mail.provider.example").chain), *address, expect=1)
    incomplete = pki.leaf("mail.provider.example", usages=("client",), incomplete=True)
    found = validate("--certificate", str(incomplete.chain), *address, expect=1)
    assert "chain-incomplete" in json.dumps(found)

    status = pki.leaf("mail.provider.example", crl=status_server.crl)
    validate("--certificate", str(status.chain), *address, expect=0)
    pki.revoke(status)
    try:
        found = validate("--certificate", str(status.chain), *address, expect=1)
    finally:
        pki.reinstate(status)
    assert "revoked" in json.dumps(found)

    wait_until(lambda: deliver(server.port, other) == "2.1.5", "the change in force")
    server.wait_trace(event="RECEIVE")
    found = validate(expect=0)
    (seen,) = [task for task in found["tasks"] if task["name"] == "Seen"]
    assert "1 message in 30 days, from 127.0.0.1" in seen["detail"]
    assert "TLSv1.3 with the certificate mail.provider.example (trusted) (1)" in seen["detail"]
    assert [task["status"] for task in found["tasks"] if task["name"] == "Refused"] == ["warning"]
