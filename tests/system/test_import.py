"""Proves that imported connectors do what their origin did: Exchange's words over real mail, and Postfix beside us.

Exchange's objects are imported, applied, and tried by clients and partners of every kind. For Postfix, one
configuration runs twice: in a real Postfix and, imported, in a gateway. Both get a message for each destination, and
must agree on which partner takes it, over what, and which must not even see MAIL.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.clients import swaks
from support.debian import need
from support.gateway import Gateway
from support.peers import Postfix
from support.process import loopback
from support.scenes import ALICE, message, outcomes, send

from gatepost.testing.pki import Leaf, Pki
from gatepost.testing.process import wait_until
from gatepost.testing.sink import Sink

BOX = f'\n[[organization.contoso.mailbox]]\naddress = "{ALICE}"\n'

# --- Exchange -------------------------------------------------------------------------------------------------------

# Smart hosts of Exchange have no port but 25.
GOOD, WRONG, CLEAR = (loopback(f"41.{number}") for number in (1, 2, 3))

ACCEPTED = {
    "DomainName": "contoso.example",
    "DomainType": "Authoritative",
    "MatchSubDomains": False,
    "Default": True,
    "InitialDomain": False,
    "Name": "contoso.example",
}
OWN = {
    "Name": "Own servers",
    "Enabled": True,
    "ConnectorType": "OnPremises",
    "ConnectorSource": "AdminUI",
    "SenderIPAddresses": ["127.0.0.1"],
    "SenderDomains": ["smtp:*;1"],
    "RequireTls": False,
    "RestrictDomainsToIPAddresses": False,
    "RestrictDomainsToCertificate": False,
    "TlsSenderCertificateName": None,
}
LAB = OWN | {
    "Name": "From the lab",
    "ConnectorType": "Partner",
    "SenderIPAddresses": [],
    "SenderDomains": ["smtp:lab.example;1", "smtp:*.lab.example;1"],
    "RequireTls": True,
    "RestrictDomainsToCertificate": True,
    "TlsSenderCertificateName": "*.lab.example",
}
BANK = {
    "Name": "To the bank",
    "Enabled": True,
    "UseMXRecord": False,
    "ConnectorType": "Partner",
    "ConnectorSource": "AdminUI",
    "RecipientDomains": ["bank.example"],
    "SmartHosts": [GOOD],
    "TlsDomain": "*.bank.example",
    "TlsSettings": "DomainValidation",
    "IsTransportRuleScoped": False,
    "SmtpDaneMode": "Opportunistic",
    "MtaStsMode": "Opportunistic",
}
INBOUND = {"Get-AcceptedDomain": ACCEPTED, "Get-InboundConnector": LAB}
OUTBOUND = {
    "Get-AcceptedDomain": ACCEPTED,
    "Get-InboundConnector": OWN,
    "Get-OutboundConnector": [
        BANK,
        BANK | {"Name": "Wrong name", "RecipientDomains": ["wrong.example"], "SmartHosts": [f"[{WRONG}]"]},
        BANK
        | {
            "Name": "No TLS",
            "RecipientDomains": ["clear.example"],
            "SmartHosts": {"value": [CLEAR], "Count": 1},
            "TlsDomain": None,
            "TlsSettings": {"value": 1, "Value": "EncryptionOnly"},
        },
    ],
}


@pytest.fixture(scope="module")
def partners(pki: Pki) -> Iterator[dict[str, Sink]]:
    need("root")
    made = {
        "bank.example": Sink(host=GOOD, port=25, certificate=pki.leaf("mx.bank.example")),
        "wrong.example": Sink(host=WRONG, port=25, certificate=pki.leaf("mx.other.example")),
        "clear.example": Sink(host=CLEAR, port=25),
    }
    with ExitStack() as stack:
        yield {domain: stack.enter_context(sink) for domain, sink in made.items()}


def _apply_import(gateway: Gateway, kind: str, source: Path, more: str = "") -> None:
    """Import, and start the gateway with nothing but what was printed."""
    made = gateway.cli("import", kind, str(source), expect=None)
    assert made.status in {0, 1}, made.stderr
    gateway.apply(made.stdout + more)
    gateway.start()


def _exchange_file(folder: Path, objects: dict[str, Any]) -> Path:
    """A file as `... | ConvertTo-Json > FILE` leaves it in Windows PowerShell 5."""
    file = folder / "exchange.json"
    file.write_bytes(json.dumps(objects, indent=4).replace("\n", "\r\n").encode("utf-16"))
    return file


def test_exchange_inbound(pki: Pki, tmp_path: Path) -> None:
    """The partner's certificate opens the door, by its CN as well, as in Exchange; nothing else does."""
    need("swaks")
    server = Gateway(certificates=[pki.leaf("mx1.contoso.example")], anchors=pki.root)
    by_cn = pki.leaf("cn.lab.example", names=["other.example"], usages=["client"])
    knocks: dict[str, tuple[str, str, Leaf | None, str]] = {
        "by subjectAltName": ("bob@lab.example", "require", pki.client("mail.lab.example"), "250 2.0.0"),
        "by CN": ("bob@sub.lab.example", "require", by_cn, "250 2.0.0"),
        "another name": ("bob@lab.example", "require", pki.client("mail.other.example"), "550 5.7.51"),
        "no certificate": ("bob@lab.example", "require", None, "550 5.7.51"),
        "in clear": ("bob@lab.example", "no", None, "530 5.7.0"),
        "somebody else": ("bob@other.example", "no", None, "250 2.0.0"),
    }
    try:
        _apply_import(server, "exchange", _exchange_file(tmp_path, INBOUND), BOX)
        for name, (sender, tls, certificate, reply) in knocks.items():
            run = swaks(server.port, to=ALICE, sender=sender, tls=tls, certificate=certificate)
            assert reply in run.transcript, (name, run.transcript)
    finally:
        server.remove()


def test_exchange_outbound(partners: dict[str, Sink], pki: Pki, tmp_path: Path) -> None:
    """DomainValidation delivers where the name is right and holds where it is not; EncryptionOnly holds without TLS."""
    expected = {"bank.example": "SEND", "wrong.example": "DEFER", "clear.example": "DEFER"}
    server = Gateway(anchors=pki.root)
    try:
        _apply_import(server, "exchange", _exchange_file(tmp_path, OUTBOUND))
        for domain in expected:
            send(server.port, f"bob@{domain}")
        rows = outcomes(server, {f"bob@{domain}": event for domain, event in expected.items()})
    finally:
        server.remove()
    assert set(rows) == {f"bob@{domain}" for domain in expected}
    (received,) = partners["bank.example"].messages
    assert received.tls == "TLSv1.3"
    assert rows["bob@bank.example"]["connector"] == "To the bank"
    assert "SubjectMismatch" in rows["bob@wrong.example"]["reply"]
    assert "STARTTLS is required" in rows["bob@clear.example"]["reply"]
    for domain in ("wrong.example", "clear.example"):
        assert partners[domain].counts["CONNECT"] > 0
        assert partners[domain].counts["MAIL"] == 0


# --- Postfix --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Way:
    """A destination. partner: its certificate, see `_partner`. policy: of smtp_tls_policy_maps, "" for none.

    tls: what both deliver over ("" in clear), None if both must hold the message.
    """

    partner: str
    policy: str
    tls: str | None


WAYS = {
    "plain.example": Way("none", "", ""),
    "offered.example": Way("self-signed", "", "TLSv1.3"),
    "encrypt.example": Way("self-signed", "encrypt", "TLSv1.3"),
    "stripped.example": Way("none", "encrypt", None),
    "older.example": Way("TLS 1.2", "encrypt protocols=>=TLSv1.3", None),
    "secure.example": Way("mx.secure.example", "secure match=secure.example:.secure.example", "TLSv1.3"),
    "bare.example": Way("bare.example", "secure match=bare.example:.bare.example", "TLSv1.3"),
    "wrong-name.example": Way("mx.elsewhere.example", "secure match=wrong-name.example:.wrong-name.example", None),
    "exact.example": Way("mx.exact.example", "secure match=exact.example", None),
    "verify.example": Way("mx.verify.example", "verify match=mx.verify.example", "TLSv1.3"),
    "strange.example": Way("strange", "verify match=mx.strange.example", None),
    "expired.example": Way("expired", "verify match=mx.expired.example", None),
    "unauthenticated.example": Way("self-signed", "secure match=mx.unauthenticated.example", None),
}


def _partner(kind: str, domain: str, pki: Pki, strange_pki: Pki) -> Sink:
    name = f"mx.{domain}"
    match kind:
        case "none":
            return Sink()
        case "self-signed":
            return Sink(certificate=pki.self_signed(name))
        case "strange":
            return Sink(certificate=strange_pki.leaf(name))
        case "expired":
            return Sink(certificate=pki.expired(name))
        case "TLS 1.2":
            sink = Sink(certificate=pki.leaf(name))
            assert sink.tls
            sink.tls.maximum_version = sink.tls.maximum_version.TLSv1_2
            return sink
    return Sink(certificate=pki.leaf(kind))


@pytest.fixture(scope="module")
def destinations(pki: Pki, strange_pki: Pki) -> Iterator[dict[str, Sink]]:
    with ExitStack() as stack:
        yield {
            domain: stack.enter_context(_partner(way.partner, domain, pki, strange_pki)) for domain, way in WAYS.items()
        }


@pytest.fixture(scope="module")
def peer(
    destinations: dict[str, Sink], pki: Pki, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Postfix, Path]]:
    """A Postfix that sends by transport table and policy table, and the folder of its tables."""
    need("root", "postfix")
    tables = tmp_path_factory.mktemp("tables")
    hops = {domain: f"[127.0.0.1]:{sink.port}" for domain, sink in destinations.items()}
    (tables / "transport").write_text("".join(f"{domain} smtp:{hop}\n" for domain, hop in hops.items()))
    policies = [f"{hops[domain]} {way.policy}\n" for domain, way in WAYS.items() if way.policy]
    (tables / "policy").write_text("".join(policies))
    settings = {
        "relayhost": "",
        "mydomain": "contoso.example",
        "relay_domains": "contoso.example",
        "transport_maps": f"texthash:{tables}/transport",
        "smtp_tls_policy_maps": f"texthash:{tables}/policy",
        "smtp_tls_security_level": "may",
    }
    with Postfix(hostname="mx.contoso.example", next_hop=("127.0.0.1", 9), anchors=pki.root, settings=settings) as one:
        yield one, tables


@pytest.fixture(scope="module")
def imported(peer: tuple[Postfix, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with what `gatepost import postfix` made of a copy of the directory that Postfix runs with."""
    server, copy = Gateway(), tmp_path_factory.mktemp("copy")
    shutil.copytree(peer[0].folder / "etc", copy, dirs_exist_ok=True)
    shutil.copytree(peer[1], copy / peer[1].relative_to("/"))
    try:
        _apply_import(server, "postfix", copy)
        yield server
    finally:
        server.remove()


@pytest.fixture(scope="module")
def sent(peer: tuple[Postfix, Path], imported: Gateway) -> dict[str, dict[str, Any]]:
    """Both got a message for every destination: the rows of our trace. Postfix's sender is p@, ours is g@."""
    for domain in WAYS:
        for port, sender in ((peer[0].port, "p@contoso.example"), (imported.port, "g@contoso.example")):
            send(port, f"bob@{domain}", sender=sender, content=message(domain, sender=sender))
    events = {f"bob@{domain}": "DEFER" if way.tls is None else "SEND" for domain, way in WAYS.items()}
    return outcomes(imported, events)


@pytest.mark.parametrize("domain", WAYS)
def test_postfix_and_the_gateway_agree(
    sent: dict[str, dict[str, Any]], peer: tuple[Postfix, Path], destinations: dict[str, Sink], domain: str
) -> None:
    """A partner that one of them trusts has the other's mail too, over the same TLS; else both hold their message."""
    way, sink = WAYS[domain], destinations[domain]
    assert f"bob@{domain}" in sent, "the gateway did as the table says"
    if way.tls is not None:
        sink.wait_messages(2)
        assert {(one.reverse_path, one.tls) for one in sink.messages} == {
            ("p@contoso.example", way.tls),
            ("g@contoso.example", way.tls),
        }
        return
    waiting = wait_until(lambda: _deferred(peer[0], domain), f"Postfix to hold its message for {domain}")
    assert waiting
    assert sink.counts["MAIL"] == 0


def _deferred(postfix: Postfix, domain: str) -> list[str]:
    """Why Postfix holds the message for a domain; [] if it does not, or not yet."""
    return [
        recipient["delay_reason"]
        for entry in postfix.queue()
        for recipient in entry["recipients"]
        if recipient["address"] == f"bob@{domain}" and entry["queue_name"] == "deferred"
    ]


def test_the_tables_say_what_postmap_says(peer: tuple[Postfix, Path], imported: Gateway) -> None:
    """For every destination, postmap's answer is the smart host of the connector that takes it."""
    connectors = imported.cli("export", json=True).data["organization"]["contoso"]["outbound_connector"]
    hosts = {domain: one["smart_hosts"] for one in connectors for domain in one["recipient_domains"]}
    for domain in WAYS:
        said = subprocess.run(
            ["/usr/sbin/postmap", "-c", peer[0].folder / "etc", "-q", domain, f"texthash:{peer[1]}/transport"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
        assert [said.stdout.strip().removeprefix("smtp:")] == [
            one.replace("127.0.0.1", "[127.0.0.1]") for one in hosts[domain]
        ]
