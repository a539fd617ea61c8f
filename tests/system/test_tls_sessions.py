"""Proves that a resumed TLS session hides no certificate: neither a mended one, nor one that went wrong.

The partner is the recording sink, whose certificate changes while its ticket keys stay, as with any server that reloads
its files in the same process.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support.clients import openssl_s_client, whole_period
from support.gateway import Gateway
from support.scenes import ALICE, connector, contoso, message, outcomes, send

from gatepost.testing.pki import Leaf, Pki
from gatepost.testing.process import wait_until
from gatepost.testing.sink import Sink

NAME = "mx.partner.example"
DOMAIN = {"tls_settings": "domain-validation", "tls_domain": NAME}
QUICK = {"queue": {"retry": ["1s"]}}


def present(partner: Sink, leaf: Leaf) -> None:
    """Another certificate in the same context: tickets that were given before are still good."""
    assert partner.tls is not None
    partner.tls.load_cert_chain(leaf.chain, leaf.key)


def test_mail_leaves_once_the_partner_presents_the_right_certificate(
    gateway: Callable[..., Gateway], sink: Callable[..., Sink], pki: Pki
) -> None:
    partner = sink(certificate=pki.leaf("other.elsewhere.example"))
    rules = contoso(outbound=[connector("bank.example", partner.address, **DOMAIN, trust_anchors=str(pki.root))])
    server = gateway(rules, settings=QUICK)
    send(server.port, "bob@bank.example")
    event = server.wait_trace(recipient="bob@bank.example", event="DEFER")[0]
    assert event["result_type"] == "certificate-host-mismatch"
    present(partner, pki.leaf(NAME))
    partner.wait_messages(1)
    (event,) = server.wait_trace(recipient="bob@bank.example", event="SEND")
    assert (event["achieved"], event["tls"]["resumed"]) == ("none/authenticated", False)


def test_a_certificate_that_goes_wrong_is_seen_at_the_next_connection(
    gateway: Callable[..., Gateway], sink: Callable[..., Sink], pki: Pki
) -> None:
    """Opportunistic connections resume beside it: what they keep is nothing to a connector that demands a proof."""
    partner = sink(certificate=pki.leaf(NAME))
    demanding = connector("bank.example", partner.address, **DOMAIN, trust_anchors=str(pki.root))
    server = gateway(contoso(outbound=[demanding, connector("easy.example", partner.address)]), settings=QUICK)
    send(server.port, ["bob@bank.example", "bob@easy.example"])
    partner.wait_messages(2)
    present(partner, pki.leaf("other.elsewhere.example"))
    end_kept_connections(server, partner)
    send(server.port, ["amy@bank.example", "amy@easy.example"])
    found = outcomes(server, {"amy@bank.example": "DEFER", "amy@easy.example": "SEND"})
    assert found["amy@bank.example"]["result_type"] == "certificate-host-mismatch"
    assert found["amy@easy.example"]["tls"]["resumed"] is True
    assert len(partner.messages) == 3


def test_a_rehearsal_and_a_policy_on_trial_see_the_certificate_of_now(
    gateway: Callable[..., Gateway], sink: Callable[..., Sink], pki: Pki
) -> None:
    partner = sink(certificate=pki.leaf("other.elsewhere.example"))
    fields = DOMAIN | {"mode": "rehearse", "trust_anchors": str(pki.root)}
    server = gateway(contoso(outbound=[connector("bank.example", partner.address, **fields)]))
    said = []
    for name in ("one", "two"):
        send(server.port, f"{name}@bank.example")
        (event,) = server.wait_trace(recipient=f"{name}@bank.example", event="SEND")
        said.append(event["detail"]["rehearsal"]["passed"])
        present(partner, pki.leaf(NAME))
        end_kept_connections(server, partner)
    assert said == [False, True]


def end_kept_connections(server: Gateway, partner: Sink) -> None:
    """A connection kept open would be used again, certificate and all; the partner ends it."""
    before = partner.counts["CONNECT"]
    partner.stop()
    wait_until(lambda: server.cli("status", expect=None).status in {0, 1}, "the gateway to be there")
    partner.start()
    assert partner.counts["CONNECT"] == before


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_a_client_that_resumes_is_judged_by_the_configuration_of_now(
    gateway: Callable[..., Gateway], pki: Pki, strange_pki: Pki, tmp_path: object, version: str
) -> None:
    """Its certificate is what the ticket proves; whether that is trusted is asked of each session."""
    ours = pki.client("partner.example")
    named = {
        "name": "partner", "connector_type": "partner", "sender_domains": ["partner.example"], "require_tls": True,
        "restrict_domains_to_certificate": True, "tls_sender_certificate_name": "partner.example",
    }  # fmt: skip
    server = gateway(
        contoso(inbound=[named | {"trust_anchors": str(pki.root)}]), certificates=[pki.leaf("mx1.contoso.example")]
    )
    session = f"{tmp_path}/session.pem"

    def arrive(*options: str) -> str:
        lines = ["EHLO partner.example", "MAIL FROM:<bob@partner.example>", f"RCPT TO:<{ALICE}>"]
        content = message()
        said = "\r\n".join([*lines, f"BDAT {len(content)} LAST\r\n"]).encode() + content + b"QUIT\r\n"
        return openssl_s_client(server.port, certificate=ours, send=said, options=[version, *options]).transcript

    whole_period()
    assert "250 2.0.0 Queued as" in arrive("-sess_out", session)
    assert "Reused" in arrive("-sess_in", session)
    server.apply(contoso(inbound=[named | {"trust_anchors": str(strange_pki.root)}]))
    wait_until(lambda: "250 2.0.0 Queued" not in arrive("-sess_in", session), "the new configuration to be in force")
    said = arrive("-sess_in", session)
    assert "Reused" in said
    assert "550 5.7.51" in said or "5.7.5" in said, said
