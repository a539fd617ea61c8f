"""Proves that a revoked certificate counts for nothing, over real sockets, and what happens when nobody can tell.

Outbound a message waits and the partner hears no MAIL; inbound the certificate identifies nobody. Where the authority's
host is down, soft-fail goes on and hard-fail waits, until the host is back.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest
from support.gateway import Gateway
from support.raw import RawClient, RawReply
from support.scenes import connector, contoso, message, send

from gatepost.testing.pki import Leaf, Pki
from gatepost.testing.process import wait_until
from gatepost.testing.sink import Sink
from gatepost.testing.status_server import StatusServer

NAME = "mx.partner.example"
OWN = "mail.contoso.example"
QUICK = {"queue": {"retry": ["1s"]}, "tls": {"revocation_timeout": "20s"}}


@pytest.fixture
def partner(sink: Callable[..., Sink], pki: Pki, status_server: StatusServer) -> tuple[Sink, Leaf]:
    leaf = pki.leaf(NAME, crl=status_server.crl)
    return sink(certificate=leaf), leaf


def _validating(pki: Pki, host: Sink, *checks: str) -> dict[str, Any]:
    """A connector for each revocation_check, named after the domain that it is for."""
    fields = {"tls_settings": "domain-validation", "tls_domain": NAME, "trust_anchors": str(pki.root)}
    return contoso(
        outbound=[connector(f"{check}.example", host.address, revocation_check=check, **fields) for check in checks]
    )


def test_nothing_is_sent_to_a_revoked_certificate(
    gateway: Callable[..., Gateway], partner: tuple[Sink, Leaf], pki: Pki, status_server: StatusServer
) -> None:
    host, leaf = partner
    pki.revoke(leaf, "keyCompromise")
    running = gateway(_validating(pki, host, "none", "soft-fail", "hard-fail"), settings=QUICK)
    for check in ("soft-fail", "hard-fail"):
        send(running.port, f"bob@{check}.example", content=message(check))
        event = running.wait_trace(recipient=f"bob@{check}.example", event="DEFER")[0]
        assert event["reply"].startswith("450 4.7.320")
        assert "CertificateRevoked" in event["reply"]
        assert event["result_type"] == "certificate-not-trusted"
        assert event["tls"]["chain"] == "revoked"
        said = event["tls"]["chain_detail"]
        assert f"serial {leaf.x509.serial_number:x}, was revoked on 2" in said
        assert f"reason keyCompromise, says {status_server.crl}" in said
        assert event["tls"]["revocation"] == f"revoked: {said}"
    assert host.counts["MAIL"] == 0
    send(running.port, "bob@none.example", content=message("none"))
    event = running.wait_trace(recipient="bob@none.example", event="SEND")[0]
    assert "revocation" not in event["tls"]
    assert status_server.requests == ["GET /crl"], "one fetch is enough for all"


def test_the_host_of_the_list_is_down(
    gateway: Callable[..., Gateway], partner: tuple[Sink, Leaf], pki: Pki, status_server: StatusServer
) -> None:
    """Soft-fail sends and says why nothing is known; hard-fail waits until the host is back."""
    host, _ = partner
    status_server.stop()
    running = gateway(_validating(pki, host, "soft-fail", "hard-fail"), settings=QUICK)
    send(running.port, "bob@soft-fail.example", content=message("soft"))
    event = running.wait_trace(recipient="bob@soft-fail.example", event="SEND")[0]
    assert event["tls"]["chain"] == "trusted"
    assert event["tls"]["revocation"].startswith("unknown: ")
    assert status_server.crl in event["tls"]["revocation"]
    assert event["achieved"] == "none/authenticated"
    send(running.port, "bob@hard-fail.example", content=message("hard"))
    event = running.wait_trace(recipient="bob@hard-fail.example", event="DEFER")[0]
    assert event["reply"].startswith("450 4.7.320")
    assert "RevocationUnknown" in event["reply"]
    assert event["result_type"] == "validation-failure"
    assert event["tls"]["chain"] == "revocation-unknown"
    status_server.start()
    os.kill(running.pid, signal.SIGHUP)  # who repaired something need not wait for a minute
    event = running.wait_trace(recipient="bob@hard-fail.example", event="SEND")[0]
    assert event["tls"]["revocation"] == "good (crl)"
    status_server.stop()
    running.stop()
    running.start()
    send(running.port, "ann@hard-fail.example", content=message("again"))
    event = running.wait_trace(recipient="ann@hard-fail.example", event="SEND")[0]
    assert event["tls"]["revocation"] == "good (crl)", "the list was kept over the restart"


def test_what_waits_for_a_list_goes_when_it_can_be_had_again(
    gateway: Callable[..., Gateway], partner: tuple[Sink, Leaf], pki: Pki, status_server: StatusServer
) -> None:
    """Long before its next try: by itself after a minute at the soonest, and so here after SIGHUP."""
    host, _ = partner
    status_server.stop()
    settings = {"queue": {"retry": ["1h"]}, "tls": {"revocation_timeout": "20s"}}
    running = gateway(_validating(pki, host, "hard-fail"), settings=settings)
    send(running.port, "bob@hard-fail.example", content=message("waits"))
    running.wait_trace(recipient="bob@hard-fail.example", event="DEFER")
    status_server.start()
    os.kill(running.pid, signal.SIGHUP)
    event = running.wait_trace(recipient="bob@hard-fail.example", event="SEND")[0]
    assert event["tls"]["revocation"] == "good (crl)"
    assert "revocation is known again" in running.log()


def test_ocsp_where_there_is_no_list(
    gateway: Callable[..., Gateway], sink: Callable[..., Sink], pki: Pki, status_server: StatusServer
) -> None:
    leaf = pki.leaf(NAME, ocsp=status_server.ocsp)
    host = sink(certificate=leaf)
    running = gateway(_validating(pki, host, "hard-fail"), settings=QUICK)
    send(running.port, "bob@hard-fail.example", content=message("good"))
    assert running.wait_trace(event="SEND")[0]["tls"]["revocation"] == "good (ocsp)"
    assert status_server.requests == ["POST /ocsp"]


def test_an_authority_that_publishes_nothing_is_good_enough(
    gateway: Callable[..., Gateway], sink: Callable[..., Sink], pki: Pki
) -> None:
    host = sink(certificate=pki.leaf(NAME))
    running = gateway(_validating(pki, host, "hard-fail"), settings=QUICK)
    send(running.port, "bob@hard-fail.example", content=message("good"))
    said = running.wait_trace(event="SEND")[0]["tls"]["revocation"]
    assert said.startswith("not-published: ")


def _inbound(pki: Pki, check: str) -> dict[str, Any]:
    own = {
        "name": "own servers",
        "connector_type": "on-premises",
        "tls_sender_certificate_name": OWN,
        "trust_anchors": str(pki.root),
        "revocation_check": check,
    }
    return contoso(inbound=[own])


def _relay(running: Gateway, leaf: Leaf) -> RawReply:
    """MAIL and RCPT of one of our own servers to the world outside: the reply to the first that is refused."""
    with RawClient(running.port) as client:
        client.greet()
        client.starttls(certificate=leaf)
        assert client.command("EHLO mail.contoso.example").code == 250
        reply = client.command("MAIL FROM:<alice@contoso.example>")
        return client.command("RCPT TO:<bob@elsewhere.example>") if reply.code == 250 else reply


def test_a_revoked_client_is_nobody(gateway: Callable[..., Gateway], pki: Pki, status_server: StatusServer) -> None:
    good, bad = pki.client(OWN, crl=status_server.crl), pki.client(OWN, crl=status_server.crl)
    pki.revoke(bad, "superseded")
    running = gateway(_inbound(pki, "soft-fail"), certificates=[pki.leaf("mx1.contoso.example")], settings=QUICK)
    assert _relay(running, good).code == 250
    refused = _relay(running, bad)
    assert (refused.code, refused.enhanced) == (550, "5.7.64")
    event = running.wait_trace(event="REFUSE")[0]
    chain = event["tls"]["chains"][str(pki.root)]
    assert chain["status"] == "revoked"
    assert f"serial {bad.x509.serial_number:x}, was revoked" in chain["detail"]
    assert "reason superseded" in chain["revocation"]
    assert any("revoked" in reason for reason in event["detail"]["reasons"]), event["detail"]
    assert status_server.requests == ["GET /crl"]
    with RawClient(running.port) as client:  # who shows no certificate is not kept waiting for anything
        client.greet()
        client.starttls()
        assert client.command("EHLO elsewhere.example").code == 250


@pytest.mark.parametrize(("check", "code"), [("none", 250), ("soft-fail", 250), ("hard-fail", 451)])
def test_the_status_of_a_client_is_unknown(
    gateway: Callable[..., Gateway], pki: Pki, status_server: StatusServer, check: str, code: int
) -> None:
    leaf = pki.client(OWN, crl=status_server.crl)
    status_server.stop()
    running = gateway(_inbound(pki, check), certificates=[pki.leaf("mx1.contoso.example")], settings=QUICK)
    assert _relay(running, leaf).code == code
    status_server.start()
    os.kill(running.pid, signal.SIGHUP)
    wait_until(lambda: _relay(running, leaf).code == 250, "the client's mail is taken")


def test_a_client_that_waits_does_not_keep_the_gateway_from_ending(
    gateway: Callable[..., Gateway], pki: Pki, status_server: StatusServer
) -> None:
    status_server.delay = 30
    leaf = pki.client(OWN, crl=status_server.crl)
    running = gateway(
        _inbound(pki, "hard-fail"),
        certificates=[pki.leaf("mx1.contoso.example")],
        settings={"tls": {"revocation_timeout": "30s"}},
    )
    with RawClient(running.port) as client:
        client.greet()
        client.starttls(certificate=leaf)
        client.send(b"EHLO mail.contoso.example\r\n")
        wait_until(lambda: status_server.requests, "the list is asked for")
        assert running.stop() == 0
        assert client.reply().code == 421
