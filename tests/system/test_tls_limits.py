"""Proves key exchange, groups and cipher suites that a connector limits, both ways, with Postfix and OpenSSL as peers.

Outbound only what is allowed is offered and mail waits where the partner has nothing of it; inbound the listener agrees
with whatever the client has, and the connector refuses what it does not allow: also for sessions that are resumed.
"""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.clients import openssl_s_client, whole_period
from support.drills import drill
from support.gateway import Gateway
from support.peers import Postfix
from support.process import Child
from support.scenes import ALICE, connector, contoso, message, outcomes, send

from gatepost.net.engine import TlsFailure, client_context
from gatepost.protocols.tls.limits import limited, offer
from gatepost.protocols.tls.profile import PROFILES
from gatepost.testing.pki import Pki
from gatepost.testing.process import free_port

NAME = "mx.partner.example"
TLS: dict[str, Any] = {"tls_settings": "encryption-only"}
POST_QUANTUM: dict[str, Any] = TLS | {"min_key_exchange": "post-quantum"}
CHACHA, AES = "TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_256_GCM_SHA384"
OLD = "ECDHE-RSA-AES128-GCM-SHA256"


@dataclass(frozen=True, slots=True)
class Sent:
    """A connector and its partner. Delivered by a group and suite ("": any), or held with words of the reason."""

    partner: str
    fields: dict[str, Any]
    group: str = ""
    suite: str = ""
    held: tuple[str, ...] = ()


SENT = {
    "plain.example": Sent("classical", {}, "X25519"),
    "pq-held.example": Sent(
        "classical", POST_QUANTUM, held=("Expected: post-quantum key exchange (X25519MLKEM768)", "handshake")
    ),
    "pq.example": Sent("modern", POST_QUANTUM, "X25519MLKEM768"),
    "pq-named.example": Sent(
        "modern", POST_QUANTUM | {"tls_settings": "domain-validation", "tls_domain": NAME}, "X25519MLKEM768"
    ),
    "p-256.example": Sent("modern", TLS | {"groups": ["secp256r1"]}, "P-256"),
    "p-256-classical.example": Sent("classical", TLS | {"groups": ["P-256", "P-384"]}, "P-256"),
    "p-384-held.example": Sent("classical", TLS | {"groups": ["P-384"]}, held=("Expected: key exchange by P-384",)),
    "chacha.example": Sent("modern", TLS | {"cipher_suites": [CHACHA]}, suite=CHACHA),
    "old.example": Sent("modern", TLS | {"cipher_suites": [OLD]}, suite="TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
    "old-held.example": Sent(
        "modern", TLS | {"cipher_suites": ["ECDHE-ECDSA-AES128-GCM-SHA256"]}, held=("Expected: cipher suite TLS_ECDHE",)
    ),
    "never.example": Sent(
        "classical", {"cleartext": "never", "min_key_exchange": "post-quantum"}, held=("post-quantum",)
    ),
    "rehearsed.example": Sent("classical", POST_QUANTUM | {"mode": "rehearse"}, "X25519"),
    "plain-again.example": Sent("classical", {}, "X25519"),
}


@pytest.mark.timeout(300)
def test_what_is_limited_outbound_is_negotiated_or_waits(
    gateway: Callable[..., Gateway], postfix: Callable[..., Postfix], pki: Pki
) -> None:
    certificates = [pki.leaf(NAME, key="rsa")]
    classical = {"tls_eecdh_auto_curves": "x25519 secp256r1", "tls_ffdhe_auto_groups": ""}
    partners = {
        # Debian 13's Postfix leaves it out by default, OpenSSL's own list would not.
        "modern": postfix(
            certificates=certificates,
            settings={"tls_eecdh_auto_curves": "X25519MLKEM768 x25519 secp256r1", "tls_ffdhe_auto_groups": ""},
        ),
        "classical": postfix(certificates=certificates, settings=classical),
    }
    connectors = [connector(domain, partners[sent.partner].address, **sent.fields) for domain, sent in SENT.items()]
    server = gateway(contoso(outbound=connectors), anchors=pki.root)
    for domain in SENT:  # over the same hosts, so that kept connections would be found
        send(server.port, f"bob@{domain}")
    wanted = {f"bob@{domain}": "DEFER" if sent.held else "SEND" for domain, sent in SENT.items()}
    found = outcomes(server, wanted)
    assert found.keys() == wanted.keys(), server.log()
    for domain, sent in SENT.items():
        event = found[f"bob@{domain}"]
        if sent.held:
            assert event["result_type"] == "validation-failure", (domain, event)
            assert all(word in event["reply"] + str(event["detail"]) for word in sent.held), (domain, event)
            continue
        assert not sent.group or event["tls"]["group"] == sent.group, (domain, event["tls"])
        assert not sent.suite or event["tls"]["suite"] == sent.suite, (domain, event["tls"])
    assert found["bob@pq.example"]["requirement"] == "encrypted with post-quantum key exchange"
    assert found["bob@p-256.example"]["requirement"] == "encrypted with groups P-256"
    rehearsal = found["bob@rehearsed.example"]["detail"]["rehearsal"]
    assert (rehearsal["passed"], rehearsal["message"]) == (False, "KeyExchangeNotAllowed")
    assert "Presented: X25519, over TLSv1.3" in rehearsal["detail"]
    _say_the_same(server)


DRILLED = {
    "pq.example": "classical-key-exchange",
    "p-256.example": "group-not-allowed",
    "chacha.example": "cipher-suite-not-allowed",
    "old.example": "cipher-suite-not-allowed",
}


def _say_the_same(server: Gateway) -> None:
    """Explain, the list, validate, the drill and the evidence know the demand."""
    explained = server.cli("explain", "--from", ALICE, "--to", "bob@pq-held.example", expect=None).stdout
    assert "encrypted with post-quantum key exchange" in explained
    assert "no post-quantum" in explained
    listed = server.cli("connector", "list").stdout
    assert "post-quantum key exchange" in listed
    validated = server.cli("connector", "validate", "pq-held.example", expect=1).stdout
    assert "expected: post-quantum key exchange (X25519MLKEM768)" in validated, validated
    assert "They must switch on what is expected" in validated, validated
    assert server.cli("connector", "validate", "pq.example").status == 0
    for name, attack in DRILLED.items():
        drilled = drill(server, name, json=True, expect=0).data
        (played,) = [scenario for scenario in drilled["scenarios"] if scenario["scenario"] == attack]
        assert (played["promised"], played["result"]) == (True, "held"), (name, played)
    evidence = server.cli("evidence", "export", "--format", "json").stdout
    assert "encrypted with post-quantum key exchange" in evidence


INBOUND: list[dict[str, Any]] = [
    {"name": "quantum", "sender_domains": ["quantum.example"], "min_key_exchange": "post-quantum"},
    {"name": "curve", "sender_domains": ["curve.example"], "groups": ["P-256"]},
    {"name": "suite", "sender_domains": ["suite.example"], "cipher_suites": [AES]},
    {"name": "trial", "sender_domains": ["trial.example"], "min_key_exchange": "post-quantum", "mode": "rehearse"},
]
QUANTUM = ("-groups", "X25519MLKEM768")
REFUSED = "550 5.7.10 "
RECEIVED = [
    # sender's domain, options of the client, refusal or "", group or suite
    ("quantum.example", QUANTUM, "", "X25519MLKEM768"),
    ("quantum.example", ("-groups", "X25519MLKEM768:X25519"), "", "X25519MLKEM768"),
    ("quantum.example", ("-groups", "X25519"), "Post-quantum key exchange (X25519MLKEM768) is required", "X25519"),
    ("quantum.example", ("-groups", "P-256", "-tls1_2"), "Post-quantum key exchange", "P-256"),
    ("curve.example", ("-groups", "P-256"), "", "P-256"),
    ("curve.example", ("-groups", "P-256", "-tls1_2"), "", "P-256"),
    ("curve.example", ("-groups", "X25519:P-256"), "Key exchange by P-256 is required", "X25519"),
    ("curve.example", QUANTUM, "Key exchange by P-256 is required", "X25519MLKEM768"),
    ("suite.example", ("-ciphersuites", AES), "", AES),
    ("suite.example", ("-ciphersuites", CHACHA), f"Cipher suite {AES} is required", CHACHA),
    ("trial.example", ("-groups", "X25519"), "", "X25519"),
]


def _flight(sender: str) -> bytes:
    content = message(sender=sender)
    lines = [
        "EHLO client.example", f"MAIL FROM:<{sender}>", f"RCPT TO:<{ALICE}>", f"BDAT {len(content)} LAST\r\n"
    ]  # fmt: skip
    return "\r\n".join(lines).encode() + content + b"QUIT\r\n"


def test_what_is_limited_inbound_is_refused_if_another_was_agreed(
    gateway: Callable[..., Gateway], postfix: Callable[..., Postfix], pki: Pki, tmp_path: Path
) -> None:
    server = gateway(contoso(inbound=INBOUND), certificates=[pki.leaf("mx1.contoso.example", key="rsa")])
    for number, (domain, options, refusal, agreed) in enumerate(RECEIVED):
        sender = f"bob{number}@{domain}"
        said = openssl_s_client(server.port, send=_flight(sender), options=options).transcript
        assert ("250 2.0.0 Queued as" in said) is not bool(refusal), (domain, options, said)
        assert f"{REFUSED}{refusal}" in said if refusal else REFUSED not in said, (domain, options, said)
        (event,) = server.wait_trace(event="REFUSE" if refusal else "RECEIVE", sender=sender)
        assert agreed in {event["tls"]["group"], event["tls"]["suite"]}, (sender, event["tls"])
    (trial,) = server.wait_trace(event="RECEIVE", sender="bob10@trial.example")
    assert trial["detail"]["would_refuse"].startswith(f"{REFUSED}Post-quantum"), trial["detail"]
    (refused,) = server.wait_trace(event="REFUSE", sender="bob9@suite.example")
    assert f"and the session has {CHACHA}, over TLSv1.3" in str(refused["detail"]["reasons"])
    _sessions_that_are_resumed(server, tmp_path)
    for domain, curves, group, kind in (
        ("quantum.example", "X25519MLKEM768", "X25519MLKEM768", "RECEIVE"),
        ("quantum.example", "x25519", "X25519", "REFUSE"),
    ):
        settings = {"tls_eecdh_auto_curves": curves, "tls_ffdhe_auto_groups": ""}
        relay = postfix(next_hop=("127.0.0.1", server.port), tls="encrypt", settings=settings)
        sender = f"postfix-{group.lower()}@{domain}"
        send(relay.port, ALICE, sender=sender)
        (row,) = server.wait_trace(event=kind, sender=sender)
        assert row["tls"]["group"] == group


def _sessions_that_are_resumed(server: Gateway, folder: Path) -> None:
    """TLS 1.3 has a key exchange of its own in each; TLS 1.2 goes on with that of the first handshake."""
    cases = [
        # version, groups of the first handshake, of the resumed one, sender's domain, group that counts, refused
        ("-tls1_3", "X25519MLKEM768", "X25519", "quantum.example", "X25519", True),
        ("-tls1_3", "X25519", "X25519MLKEM768", "quantum.example", "X25519MLKEM768", False),
        ("-tls1_2", "X25519", "X25519:P-256", "curve.example", "X25519", True),
        ("-tls1_2", "P-256", "X25519:P-256", "curve.example", "P-256", False),
    ]
    for number, (version, first, then, domain, group, refused) in enumerate(cases):
        session = str(folder / f"session{number}")
        noted = ("-sess_out", session)
        whole_period()
        openssl_s_client(server.port, options=(version, "-groups", first, *noted), send=b"EHLO a.example\r\nQUIT\r\n")
        sender = f"again{number}@{domain}"
        options = (version, "-groups", then, "-sess_in", session)
        said = openssl_s_client(server.port, send=_flight(sender), options=options).transcript
        (event,) = server.wait_trace(event="REFUSE" if refused else "RECEIVE", sender=sender)
        assert (event["tls"]["resumed"], event["tls"]["group"]) == (True, group), (version, said)


SERVERS = [
    # groups of the server, groups that we allow, whether they agree
    ("X25519MLKEM768", ["X25519MLKEM768"], True),
    ("X25519:X25519MLKEM768", ["X25519MLKEM768"], True),  # which would prefer another
    ("X25519", ["X25519MLKEM768"], False),
    ("P-256", ["X25519MLKEM768", "P-256"], True),
    ("P-256", ["X25519"], False),
]


@pytest.mark.parametrize(("groups", "allowed", "agree"), SERVERS)
def test_only_what_is_allowed_is_offered_to_openssl(
    pki: Pki, tmp_path: Path, groups: str, allowed: list[str], *, agree: bool
) -> None:
    port, leaf, program = free_port(), pki.leaf(NAME), shutil.which("openssl")
    assert program
    command: list[str | Path] = [program, "s_server", "-accept", f"127.0.0.1:{port}", "-groups", groups, "-rev"]
    child = Child([*command, "-cert", leaf.certificate, "-key", leaf.key], tmp_path / "log")
    try:
        child.wait_ready(lambda: _listens(port))
        profile = offer(PROFILES["default"], limited(groups=allowed))
        group = _handshake(port, client_context(profile).engine(server_name=NAME))
    finally:
        child.stop()
    assert (group in allowed) if agree else group == ""


def _listens(port: int) -> bool:
    """Whether somebody does, asked without a connection, which the server would take for a client."""
    return any(f":{port:04X} 00000000:0000 0A " in line for line in Path("/proc/net/tcp").read_text().splitlines())


def _handshake(port: int, engine: Any) -> str:
    """The group that was agreed, "" if none was."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        engine.start()
        while engine.facts is None:
            connection.sendall(engine.take_output())
            try:
                engine.feed(connection.recv(65536))
            except TlsFailure:
                return ""
        return str(engine.facts.group)
