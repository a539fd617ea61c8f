from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from gatepost.inbound.record import SessionRecord
from gatepost.policy.inbound import decide_recipient
from gatepost.smtp.grammar import parse_path
from gatepost.tls.facts import ChainStatus, TlsFacts


def der(identity):
    certificates = x509.load_pem_x509_certificates(identity.chain_pem)
    return tuple(one.public_bytes(serialization.Encoding.DER) for one in certificates)


def tls(chain=()):
    return TlsFacts("TLSv1.3", "TLS_AES_128_GCM_SHA256", "X25519", "", False, "mx.gate.example", chain)


async def test_a_session_in_clear(gate):
    async with gate.open():
        record = SessionRecord("s1", "203.0.113.9", gate.service)
        assert record.directory is gate.service.directory
        record.hello("client.example")
        record.hello("again.example")
        assert (record.facts.session_id, record.facts.peer_ip, record.facts.hello) == (
            "s1",
            "203.0.113.9",
            "again.example",
        )
        assert (record.facts.tls, record.facts.client_chain, record.tls) == (None, None, {})


async def test_without_a_client_certificate_nothing_is_judged(gate):
    async with gate.open():
        gate.service.judge_client = None  # would fail if it were called
        record = SessionRecord("s1", "203.0.113.9", gate.service)
        record.hello("client.example")
        record.secured(tls())
    assert record.facts.tls == tls()
    assert (record.facts.hello, record.facts.client_chain, record.facts.chains) == ("", None, {})
    assert record.tls == {
        "version": "TLSv1.3",
        "suite": "TLS_AES_128_GCM_SHA256",
        "group": "X25519",
        "signature": "",
        "resumed": False,
        "server_name": "mx.gate.example",
    }


@pytest.mark.parametrize(
    ("issuer", "own", "others"),
    [("ours", ChainStatus.TRUSTED, ChainStatus.INCOMPLETE), ("other", ChainStatus.INCOMPLETE, ChainStatus.TRUSTED)],
)
async def test_a_client_certificate_is_judged_by_the_servers_anchors_and_by_each_connectors(gate, issuer, own, others):
    async with gate.open():
        record = SessionRecord("s1", "203.0.113.9", gate.service)
        authority = gate.other if issuer == "other" else gate.authority
        record.secured(tls(der(gate.identity("mail.contoso.example", authority=authority))))
    facts = record.facts
    assert facts.client_chain.status is own
    anchors = str(gate.path / "other.pem")
    assert {name: verdict.status for name, verdict in facts.chains.items()} == {anchors: others}
    assert facts.chain(anchors).status is others
    assert record.tls["chain"] == own
    assert record.tls["certificate"]["names"] == ["mail.contoso.example"]


async def test_anchors_that_cannot_be_read_judge_nothing(gate):
    async with gate.open():
        gate.service.judge_client = lambda _chain, anchors: None if anchors else gate._judge(_chain, "")
        record = SessionRecord("s1", "203.0.113.9", gate.service)
        record.secured(tls(der(gate.identity("mail.contoso.example"))))
    assert record.facts.chains == {}
    assert record.facts.client_chain.trusted


async def test_what_the_queue_keeps_explains_the_message_later(gate):
    async with gate.open():
        record = SessionRecord("s1", "203.0.113.9", gate.service)
        record.secured(tls())
        record.hello("client.example")
        paths = [parse_path(f"<{one}>", smtputf8=False) for one in ("l@lab.example", "ann@contoso.example")]
        kept = record.inbound(decide_recipient(record.directory, record.facts, *paths))
    reasons = kept.pop("reasons")
    assert kept == {
        "peer": "203.0.113.9",
        "hello": "client.example",
        "connector": "lab",
        "requirement": "encrypted",
        "tls": record.tls,
    }
    assert any("lab" in reason for reason in reasons)
