"""Proves that two organizations of one gateway keep apart: what one writes or accepts does nothing to the other's mail.

Contoso is the one whose mail is looked at, fabrikam the one that tries. Both have servers at 127.0.0.1, told apart by
the sender. Decisions by themselves are in tests/unit/policy/decisions/test_tenants.py.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.admin import served
from support.debian import need
from support.gateway import Gateway
from support.raw import RawClient
from support.scenes import ALICE, OWN_SERVERS, connector, contoso, send
from support.smime import MailAuthority, cms

from gatepost.testing.pki import Pki
from gatepost.testing.sink import Sink
from gatepost.testing.status_server import StatusServer
from gatepost.values import replace

MALLORY = "mallory@fabrikam.example"
BOB = "bob@bank.example"
ANN = "ann@contoso.example"
QUICK = {"queue": {"retry": ["1s"]}, "tls": {"revocation_timeout": "4s"}}


def two(own: dict[str, Any], **fabrikam: Any) -> dict[str, Any]:
    """Contoso, and fabrikam beside it. own: of `contoso`."""
    other = {"accepted_domain": [{"name": "fabrikam.example"}], "inbound_connector": [OWN_SERVERS]} | fabrikam
    return {"organization": contoso(**own)["organization"] | {"fabrikam": other}}


def claiming(host: Sink, **fields: Any) -> dict[str, Any]:
    """A fabrikam that accepts bank.example and sends its mail to a host of its own."""
    return {
        "accepted_domain": [{"name": "fabrikam.example"}, {"name": "bank.example", "type": "internal-relay"}],
        "outbound_connector": [connector("bank.example", host.address, **fields)],
    }


def test_a_connector_that_names_a_domain_is_honoured_whoever_accepts_the_domain(
    gateway: Callable[..., Gateway], sink: Callable[..., Sink], pki: Pki
) -> None:
    bank, theirs = sink(certificate=pki.leaf("mail.bank.example")), sink()
    named = connector("*.bank.example", bank.address, tls_settings="domain-validation", tls_domain="mail.bank.example")
    running = gateway(two({"outbound": [named]}, **claiming(theirs)), anchors=pki.root)
    send(running.port, BOB)
    (row,) = running.wait_trace(recipient=BOB, event="SEND")
    assert (row["connector"], row["achieved"]) == ("*.bank.example", "none/authenticated")
    assert [one.recipients for one in bank.messages] == [(BOB,)]
    assert theirs.counts["CONNECT"] == 0
    asked = running.cli("explain", "--from", ALICE, "--to", BOB, "--ip", "127.0.0.1", json=True).data["outbound"]
    assert (asked["organization"], asked["connector"]) == ("contoso", "*.bank.example")


DEMANDS: dict[str, tuple[dict[str, Any], str]] = {
    "a connector for all mail": ({"outbound": [connector("*", tls_settings="encryption-only")]}, "connector:*"),
    "a smart host for all mail": (
        {
            "outbound": [
                connector("*", "127.0.0.1:9", tls_settings="domain-validation", tls_domain="hq.contoso.example"),
            ]
        },
        "connector:*",
    ),
    "no cleartext ever": ({"cleartext": "never"}, "organization:contoso"),
    "a mail flow rule": ({"mail_flow_rule": [{"name": "secret", "require_tls": True}]}, "rule:secret"),
}


@pytest.mark.parametrize("name", DEMANDS)
def test_what_the_sender_demands_holds_on_the_way_of_the_domains_owner(
    gateway: Callable[..., Gateway], sink: Callable[..., Sink], pki: Pki, name: str
) -> None:
    own, source = DEMANDS[name]
    theirs = sink()  # without TLS
    running = gateway(two(own, **claiming(theirs, cleartext="after-failed-handshake")), anchors=pki.root)
    send(running.port, BOB)
    (row,) = running.wait_trace(recipient=BOB, event="DEFER")[:1]
    assert row["reply"].startswith("450 4.4.317"), row["reply"]
    detail = row["detail"]
    assert source in detail["requirement_sources"], detail
    assert detail["connector_organization"] == "fabrikam"
    assert detail["sender_demands"]["organization"] == "contoso"
    assert any("fabrikam accepts bank.example" in reason for reason in detail["reasons"]), detail["reasons"]
    assert theirs.counts["CONNECT"] > 0
    assert theirs.counts["MAIL"] == 0
    asked = running.cli("explain", "--from", ALICE, "--to", BOB, "--ip", "127.0.0.1", json=True).data["outbound"]
    assert source in asked["requirement_sources"]
    assert (asked["organization"], asked["sender_demands"]["organization"]) == ("fabrikam", "contoso")


def test_what_the_domains_owner_demands_holds_beside_what_the_sender_demands(
    gateway: Callable[..., Gateway], sink: Callable[..., Sink], pki: Pki
) -> None:
    """The sender asks for less: its demand takes nothing from the owner's, in either order."""
    theirs = sink(certificate=pki.leaf("mx.fabrikam.example"))
    strict = {"tls_settings": "domain-validation", "tls_domain": "other.fabrikam.example"}
    own = {"outbound": [connector("*", tls_settings="encryption-only")]}
    running = gateway(two(own, **claiming(theirs, **strict)), anchors=pki.root, settings=QUICK)
    send(running.port, BOB)
    (row,) = running.wait_trace(recipient=BOB, event="DEFER")[:1]
    sources = {str(source).partition(" ")[0] for source in row["detail"]["requirement_sources"]}
    assert {"connector:*", "connector:bank.example"} <= sources
    assert "other.fabrikam.example" in row["reply"], row["reply"]
    assert theirs.counts["MAIL"] == 0


@pytest.mark.parametrize("settings", ["opportunistic", "encryption-only"])
def test_the_owner_of_the_way_is_not_told_who_demands_more(
    gateway: Callable[..., Gateway], sink: Callable[..., Sink], settings: str
) -> None:
    """Its connector's report has mail of the other's that took it: whose demand it fell short of is the sender's."""
    own = {"outbound": [connector("*", tls_settings="encryption-only")], "mail_flow_rule": [SECRET_RULE]}
    theirs = sink()  # without TLS
    centre = served(gateway, two(own, **claiming(theirs, tls_settings=settings)), settings=QUICK)
    send(centre.gateway.port, BOB)
    centre.gateway.wait_trace(recipient=BOB, event="DEFER")
    token = centre.token("read", name="fabrikam", organizations=("fabrikam",))
    for query in ("replay=false", "replay=true"):
        path = f"/api/v1/rehearsal?name=bank.example&organization=fabrikam&since=1d&{query}"
        status, _, told = centre.call(path, token)
        assert (status, told["messages"]) == (200, 1), told
        assert [one for one in ("contoso", "secret", "'*'", ALICE) if one in str(told)] == [], told


SECRET_RULE = {"name": "secret", "require_tls": True}


def test_requiretls_is_not_relaxed_by_another_organizations_connector(
    gateway: Callable[..., Gateway], sink: Callable[..., Sink], pki: Pki
) -> None:
    theirs = sink(certificate=pki.leaf("mx.fabrikam.example"))  # which does not offer REQUIRETLS
    fields = {"tls_settings": "domain-validation", "tls_domain": "mx.fabrikam.example", "requiretls_mode": "relaxed"}
    running = gateway(
        two({}, **claiming(theirs, **fields)), certificates=[pki.leaf("mx1.contoso.example")], anchors=pki.root
    )
    send(running.port, BOB, tls=True, mail=["REQUIRETLS"])
    (row,) = running.wait_trace(recipient=BOB, event="FAIL")
    assert row["reply"].startswith("550 5.7.30")
    assert theirs.messages == []


# Whose Exchange it is


@pytest.mark.parametrize("names", ["all accepted domains", "the other's domain"])
def test_a_copy_of_anothers_connector_makes_no_message_internal_there(
    gateway: Callable[..., Gateway], sink: Callable[..., Sink], pki: Pki, names: str
) -> None:
    exchange = sink(certificate=pki.leaf("ex1.contoso.example"))
    to_exchange = {
        "name": "to Exchange",
        "connector_type": "on-premises",
        "all_accepted_domains": True,
        "smart_hosts": [exchange.address],
        "tls_settings": "domain-validation",
        "tls_domain": "ex1.contoso.example",
        "cloud_services_mail_enabled": True,
    }
    copy = to_exchange | ({"recipient_domains": ["contoso.example"]} if names == "the other's domain" else {})
    internal = OWN_SERVERS | {"treat_messages_as_internal": True}
    own = {
        "domains": [{"name": "contoso.example", "type": "internal-relay"}],
        "mailboxes": (),
        "inbound": [internal],
        "outbound": [to_exchange],
    }
    running = gateway(two(own, inbound_connector=[internal], outbound_connector=[copy]), anchors=pki.root)
    send(running.port, "carl@contoso.example", sender=MALLORY)
    send(running.port, "carl@contoso.example", sender=ALICE)
    theirs, ours = sorted(exchange.wait_messages(2), key=lambda one: one.reverse_path, reverse=True)
    assert (theirs.reverse_path, ours.reverse_path) == (MALLORY, ALICE)
    field = "X-MS-Exchange-CrossPremises-AuthAs"
    assert ours.mail.fields(field) == ["Internal"]
    assert theirs.mail.fields(field) == []


# Whose mail waits


@pytest.mark.parametrize(
    "trouble", ["trust anchors that cannot be read", "a list of revoked certificates out of reach"]
)
def test_a_partner_waits_only_for_an_organization_that_it_writes_to(
    sink: Callable[..., Sink], pki: Pki, status_server: StatusServer, tmp_path: Path, trouble: str
) -> None:
    anchors = tmp_path / "anchors.pem"
    anchors.write_bytes(pki.root.read_bytes())
    leaf = pki.client("mail.partner.example", crl=status_server.crl)
    status_server.stop()
    fields: dict[str, Any] = {"trust_anchors": str(anchors)}
    code, text = 451, "4.3.5"
    if trouble.startswith("a revocation"):
        fields, text = {"revocation_check": "hard-fail"}, "4.7.5"
    claim = {"name": "partner", "connector_type": "on-premises", "tls_sender_certificate_name": "mail.partner.example"}
    relaying = [{"name": "fabrikam.example", "type": "internal-relay"}]
    resources = two({"inbound": ()}, inbound_connector=[claim | fields], accepted_domain=relaying)
    running = Gateway("", certificates=[pki.leaf("mx1.contoso.example")], anchors=pki.root, settings=QUICK)
    running.apply(resources)
    if text == "4.3.5":
        anchors.write_text("no further certificates")
    with running, RawClient(running.port) as client:
        client.greet()
        client.starttls(certificate=leaf)
        assert client.command("EHLO mail.partner.example").code == 250
        assert client.command("MAIL FROM:<carol@partner.example>").code == 250
        assert client.command(f"RCPT TO:<{ANN}>").code == 250
        waits = client.command("RCPT TO:<x@fabrikam.example>")
        assert (waits.code, waits.enhanced) == (code, text)
        # A stranger to nobody in particular is refused for good, as ever.
        assert client.command("RCPT TO:<bob@elsewhere.example>").code == 550


# Whose certificates, keys and mailboxes


@pytest.fixture
def master(tmp_path: Path) -> Path:
    file = tmp_path / "master"
    file.write_bytes(os.urandom(32))
    file.chmod(0o600)
    return file


def test_the_client_certificate_is_that_of_the_connectors_owner(
    gateway: Callable[..., Gateway], sink: Callable[..., Sink], pki: Pki, master: Path
) -> None:
    host = sink(certificate=pki.leaf("mx.fabrikam.example"), client_anchors=str(pki.root))
    fields = {"tls_settings": "encryption-only", "client_certificate": {"label": "gate"}}
    settings = QUICK | {"store": {"master_key": f"file:{master}"}}
    running = gateway(two({}), settings=settings, anchors=pki.root)
    wanted = two({}, **claiming(host, **fields))
    shown = {}
    for organization in ("contoso", "fabrikam"):
        leaf = shown[organization] = pki.client(f"gate.{organization}.example")
        client = ("--client", "--organization", organization, "--label", "gate")
        running.cli("certificate", "add", str(leaf.chain), "--key", str(leaf.key), *client)
        if organization == "contoso":  # whose label is no help
            refused = running.apply(wanted, expect=2)
            assert "fabrikam has no current client certificate 'gate'" in refused.stderr
    running.apply(wanted)
    running.wait_in_force()
    send(running.port, BOB)
    host.wait_messages(1)
    assert set(host.clients) == {shown["fabrikam"].sha256}


def test_mail_of_a_fellow_organization_is_decrypted_and_its_word_is_not_believed(
    gateway: Callable[..., Gateway], master: Path, tmp_path: Path
) -> None:
    need("openssl")
    ann = MailAuthority(tmp_path).person(ANN)
    settings = {"store": {"master_key": f"file:{master}"}}
    running = gateway(two({"smime_decrypt": True}), settings=settings)
    running.cli(
        "smime", "identity", "add", ANN, str(ann.certificate), "--key", str(ann.key), "--organization", "contoso"
    )
    running.wait_in_force()
    inner = b"Content-Type: text/plain; charset=us-ascii\r\n\r\nsecret\r\n"
    der = cms("-encrypt", "-binary", "-outform", "PEM", "-aes-256-cbc", "-recip", ann.certificate, content=inner)
    content = b"".join(der.splitlines(keepends=True)[1:-1]).replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    forged = f"From: <{MALLORY}>\r\nX-Gatepost-SMIME: decrypted by mx1.contoso.example; signature=verified\r\n"
    envelope = (
        f"{forged}Subject: sealed\r\nMIME-Version: 1.0\r\nContent-Type: application/x-pkcs7-mime;\r\n"
        " smime-type=enveloped-data; name=smime.p7m\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    ).encode()
    send(running.port, ANN, sender=MALLORY, content=envelope + content)
    send(running.port, ANN, sender=MALLORY, content=f"{forged}Subject: plain\r\n\r\nHello.\r\n".encode())
    mails = {one.field("Subject"): one for one in running.wait_maildir(ANN, 2)}
    assert mails["plain"].fields("X-Gatepost-SMIME") == []
    assert mails["sealed"].body == b"secret\r\n"
    (said,) = mails["sealed"].fields("X-Gatepost-SMIME")
    assert "signature=not-verified" in said


def test_nobody_signs_in_anothers_name(
    gateway: Callable[..., Gateway], sink: Callable[..., Sink], master: Path, tmp_path: Path
) -> None:
    """An S/MIME identity counts where its domain is verified for its organization, whoever added it."""
    need("openssl")
    ann, partner = MailAuthority(tmp_path).person(ANN), sink()
    signing = [connector("partner.example", partner.address, sign="smime")]
    settings = QUICK | {"store": {"master_key": f"file:{master}"}}
    running = gateway(two({"outbound": signing}, outbound_connector=signing), settings=settings)
    files = (str(ann.certificate), "--key", str(ann.key))
    add = ("smime", "identity", "add", "contoso.example", *files, "--organization")
    refused = running.cli(*add, "fabrikam", expect=1)
    assert "contoso.example is not a verified accepted domain of fabrikam" in refused.stderr
    running.cli(*add, "fabrikam", "--force", "to see what comes of it")
    running.cli(*add, "contoso")
    running.wait_in_force()
    content = f"From: <{ANN}>\r\nSubject: in her name\r\n\r\nPay him.\r\n".encode()
    send(running.port, "bob@partner.example", sender=MALLORY, content=content)
    (row,) = running.wait_trace(recipient="bob@partner.example", event="DEFER")[:1]
    assert row["reply"].startswith("450 4.7.5"), row["reply"]
    assert "contoso.example is not a verified accepted domain of fabrikam" in str(row["detail"]["smime"])
    assert partner.messages == []
    send(running.port, "amy@partner.example", sender=ANN, content=content)
    running.wait_trace(recipient="amy@partner.example", event="SEND")
    assert [one.recipients for one in partner.messages] == [("amy@partner.example",)]
    assert b"multipart/signed" in partner.messages[0].data


def test_a_drop_in_protection_on_anothers_way_is_the_senders_to_accept(
    gateway: Callable[..., Gateway], sink: Callable[..., Sink], pki: Pki
) -> None:
    """What the domain did is remembered for each organization; who asks for mail to be held has its own held."""
    theirs = sink(certificate=pki.leaf("mx.fabrikam.example"))
    settings = {"queue": {"idle_connection": "0.001s", "retry": ["1h"]}}
    running = gateway(two({"protection_drop": "hold"}, **claiming(theirs)), settings=settings)
    send(running.port, BOB)
    (row,) = running.wait_trace(recipient=BOB, event="SEND")
    assert row["achieved"] == "none/encrypted"
    theirs.behaviour = replace(theirs.behaviour, starttls="absent")
    send(running.port, BOB)
    (row,) = running.wait_trace(recipient=BOB, event="HOLD")
    assert row["organization"] == "contoso"
    assert row["detail"]["protection_drop"]["was"] == "none/encrypted"
    assert len(theirs.messages) == 1
    # Fabrikam never sent there: nothing of contoso's is remembered for its mail, which nobody asks to be held.
    send(running.port, BOB, sender=MALLORY)
    (other,) = running.wait_trace(recipient=BOB, event="SEND", organization="fabrikam")
    assert "protection_drop" not in other["detail"]
    assert len(running.cli("queue", "list", "--held", json=True).data) == 1


def test_mail_to_anothers_mailbox_waits_for_the_encryption_that_its_sender_demands(
    gateway: Callable[..., Gateway], master: Path
) -> None:
    rule = {"name": "sealed", "recipients": ["fabrikam.example"], "encrypt": "smime"}
    settings = QUICK | {"store": {"master_key": f"file:{master}"}}
    box = [{"address": "joe@fabrikam.example"}]
    running = gateway(two({"mail_flow_rule": [rule]}, mailbox=box), settings=settings)
    send(running.port, "joe@fabrikam.example")
    (row,) = running.wait_trace(recipient="joe@fabrikam.example", event="DEFER")[:1]
    assert "rule:sealed" in str(row["detail"]["smime"])
    assert running.maildir("joe@fabrikam.example") == []
    # A stranger's mail is under no such demand.
    send(running.port, "joe@fabrikam.example", sender="carol@elsewhere.example")
    assert len(running.wait_maildir("joe@fabrikam.example")) == 1
