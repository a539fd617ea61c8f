"""Proves that TLS is agreed with whoever can speak it: peers that drop a large ClientHello, and peers of few groups.

Down the list of groups, never of versions, and never below a demand; what was found is remembered, traced and shown.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from support.clients import openssl_s_client
from support.gateway import Gateway
from support.narrow import NarrowPath
from support.peers import Postfix
from support.scenes import ALICE, connector, contoso, message, outcomes, send

from gatepost.testing.pki import Pki
from gatepost.testing.process import wait_until
from gatepost.testing.sink import Sink

NAME = "mx.partner.example"
QUICK: dict[str, Any] = {"queue": {"retry": ["1s"]}}
IMPATIENT = QUICK | {"outbound": {"handshake_timeout": "3s"}}  # only with who never answers
DEMANDS = {
    "opportunistic": {},
    "cleartext after a failed handshake": {"cleartext": "after-failed-handshake"},
    "domain-validation": {"tls_settings": "domain-validation", "tls_domain": NAME, "min_tls_version": "TLSv1.3"},
    "profile modern": {"tls_settings": "encryption-only", "profile": "modern"},
}


@pytest.mark.parametrize("how", ["close", "reset", "silent", "alert"])
def test_a_path_too_narrow_for_a_post_quantum_key_share(
    gateway: Callable[..., Gateway], sink: Callable[..., Sink], pki: Pki, how: str
) -> None:
    """Mail arrives at the first attempt, over the same version, and the next connection offers no such share."""
    partner = sink(certificate=pki.leaf(NAME))
    with NarrowPath(partner.port, how=how) as path:
        domains = {name: f"{name.replace(' ', '-')}.example" for name in DEMANDS}
        trusting = {"trust_anchors": str(pki.root)}
        connectors = [
            connector(domains[name], path.address, **fields, **(trusting if "tls_domain" in fields else {}))
            for name, fields in DEMANDS.items()
        ]
        server = gateway(contoso(outbound=connectors), settings=IMPATIENT if how == "silent" else QUICK)
        for domain in domains.values():
            send(server.port, f"bob@{domain}")
        found = outcomes(server, {f"bob@{domain}": "SEND" for domain in domains.values()})
        for event in found.values():
            assert event["tls_version"] == "TLSv1.3"
            assert event["tls"]["group"] == "X25519"
            assert event["detail"]["classical_only"]["why"]
        assert found[f"bob@{domains['domain-validation']}"]["achieved"] == "none/authenticated"
        assert {one.tls for one in partner.messages} == {"TLSv1.3"}
        assert path.counts["dropped"] >= 1
        assert max(size for size in path.sizes if size <= 1200) < 600
        dropped = path.counts["dropped"]
        server.stop()
        server.start()  # what was found outlives the process
        send(server.port, f"amy@{domains['opportunistic']}")
        (event,) = server.wait_trace(recipient=f"amy@{domains['opportunistic']}", event="SEND")
        assert event["tls"]["group"] == "X25519"
        assert path.counts["dropped"] == dropped
    shown = server.cli("destination", "show", "--connector", domains["opportunistic"])
    assert "classical" in shown.stdout, shown.stdout
    (record,) = server.cli("destination", "list", "--connector", domains["opportunistic"], json=True).data
    assert record["hosts"][0]["classical_only"]["why"]


def test_a_check_of_such_a_host_says_what_is_wrong_with_it(
    gateway: Callable[..., Gateway], sink: Callable[..., Sink], pki: Pki
) -> None:
    partner = sink(certificate=pki.leaf(NAME))
    with NarrowPath(partner.port) as path:
        server = gateway(contoso(outbound=[connector("partner.example", path.address)]), anchors=pki.root)
        checked = server.cli("check", "host", path.address, expect=None)
        assert "post-quantum" in checked.stdout, checked.stdout
        assert "TLSv1.3" in checked.stdout
        validated = server.cli("connector", "validate", "partner.example", expect=None)
        assert "post-quantum" in validated.stdout, validated.stdout


def test_a_server_that_ends_every_handshake_gets_two_and_no_cleartext(
    gateway: Callable[..., Gateway], sink: Callable[..., Sink], pki: Pki
) -> None:
    partner = sink(certificate=pki.leaf(NAME))
    with NarrowPath(partner.port, limit=1) as path:
        server = gateway(contoso(outbound=[connector("partner.example", path.address)]))
        send(server.port, "bob@partner.example")
        (event,) = server.wait_trace(recipient="bob@partner.example", event="DEFER")
        assert event["result_type"] == "validation-failure"
        assert path.counts["CONNECT"] == path.counts["dropped"] == 2
    assert partner.counts["MAIL"] == 0


def test_cleartext_after_a_failed_handshake_comes_after_the_classical_one(
    gateway: Callable[..., Gateway], sink: Callable[..., Sink], pki: Pki
) -> None:
    partner = sink(certificate=pki.leaf(NAME))
    with NarrowPath(partner.port, limit=1) as path:
        lenient = connector("partner.example", path.address, cleartext="after-failed-handshake")
        server = gateway(contoso(outbound=[lenient]), settings=QUICK)
        send(server.port, "bob@partner.example")
        (event,) = server.wait_trace(recipient="bob@partner.example", event="SEND")
        assert event["achieved"] == "none/none"
        assert path.counts["dropped"] == 4  # two in each of two attempts, and only then in clear


def test_an_alert_that_refuses_what_was_read_is_no_reason_for_a_second_handshake(
    gateway: Callable[..., Gateway], postfix: Callable[..., Postfix], pki: Pki
) -> None:
    partner = postfix(certificates=[pki.leaf(NAME)], settings={"smtpd_tls_protocols": "TLSv1.2"})
    demand = {"tls_settings": "encryption-only", "min_tls_version": "TLSv1.3"}
    server = gateway(contoso(outbound=[connector("partner.example", partner.address, **demand)]))
    wait_until(lambda: "disconnect from" in partner.log(), "the end of the fixture's own connection in its log")
    before = partner.log().count(" connect from")  # on a busy machine the fixture may try more than once
    send(server.port, "bob@partner.example")
    server.wait_trace(recipient="bob@partner.example", event="DEFER")
    wait_until(lambda: partner.log().count("disconnect from") > before, "the end of each connection in its log")
    assert partner.log().count(" connect from") == before + 1


SERVERS = {
    # connector fields, Postfix as a server, group or suite; "" where no mail may leave
    "P-521 only": ({}, {"tls_eecdh_auto_curves": "secp521r1", "tls_ffdhe_auto_groups": ""}, "P-521"),
    "P-384 only": ({}, {"tls_eecdh_auto_curves": "secp384r1", "tls_ffdhe_auto_groups": ""}, "P-384"),
    "DHE only, profile default": ({}, {"tls_high_cipherlist": "DHE+AESGCM"}, ""),
    "DHE only, profile compatible": ({"profile": "compatible"}, {"tls_high_cipherlist": "DHE+AESGCM"}, "TLS_DHE_RSA"),
    "RSA key exchange only, profile default": ({}, {"tls_high_cipherlist": "kRSA+AESGCM"}, ""),
    "RSA key exchange only, profile compatible": (
        {"profile": "compatible"}, {"tls_high_cipherlist": "kRSA+AESGCM"}, "TLS_RSA_WITH",
    ),
}  # fmt: skip
TWELVE = {
    "smtpd_tls_protocols": "TLSv1.2", "smtpd_tls_ciphers": "high", "smtpd_tls_mandatory_ciphers": "high",
}  # fmt: skip


@pytest.mark.parametrize("name", SERVERS)
def test_servers_of_few_abilities(
    gateway: Callable[..., Gateway], postfix: Callable[..., Postfix], pki: Pki, name: str
) -> None:
    fields, settings, expected = SERVERS[name]
    if "only, profile" in name:
        settings = settings | TWELVE
    partner = postfix(certificates=[pki.leaf(NAME, key="rsa")], settings=settings)
    server = gateway(contoso(outbound=[connector("partner.example", partner.address, **fields)]))
    send(server.port, "bob@partner.example")
    if expected:
        (event,) = server.wait_trace(recipient="bob@partner.example", event="SEND")
        assert event["tls"]["group"] == expected or event["tls"]["suite"].startswith(expected), event["tls"]
        assert "classical_only" not in event["detail"]
    else:
        (event,) = server.wait_trace(recipient="bob@partner.example", event="DEFER")
        assert event["result_type"] == "validation-failure"


@pytest.mark.parametrize(
    ("profile", "options", "expected"),
    [
        ("default", ("-groups", "P-521"), "P-521"),
        ("default", ("-groups", "P-521", "-tls1_2"), "P-521"),
        ("default", ("-tls1_2", "-cipher", "DHE+AESGCM"), ""),
        ("default", ("-tls1_2", "-cipher", "kRSA+AESGCM"), ""),
        ("compatible", ("-tls1_2", "-cipher", "kRSA+AESGCM"), "TLS_RSA_WITH_AES_256_GCM_SHA384"),
        ("compatible", ("-tls1_2", "-cipher", "DHE+AESGCM"), "TLS_DHE_RSA_WITH_AES_256_GCM_SHA384"),
    ],
)
def test_clients_of_few_abilities(
    gateway: Callable[..., Gateway], pki: Pki, profile: str, options: tuple[str, ...], expected: str
) -> None:
    server = gateway(
        contoso(), certificates=[pki.leaf("mx1.contoso.example", key="rsa")], settings={"tls": {"profile": profile}}
    )
    content = message()
    lines = [
        "EHLO client.example",
        "MAIL FROM:<bob@partner.example>",
        f"RCPT TO:<{ALICE}>",
        f"BDAT {len(content)} LAST\r\n",
    ]
    said = openssl_s_client(server.port, send="\r\n".join(lines).encode() + content + b"QUIT\r\n", options=options)
    if expected:
        assert "250 2.0.0 Queued as" in said.transcript, said.transcript
        (event,) = server.wait_trace(event="RECEIVE")
        assert expected in {event["tls"]["group"], event["tls"]["suite"]}
    else:
        assert "250 2.0.0 Queued as" not in said.transcript
