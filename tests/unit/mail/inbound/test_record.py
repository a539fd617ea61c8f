from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from gatepost.mail.inbound.record import SessionRecord
from gatepost.policy.connectors.facts import Introduction, Teller
from gatepost.policy.decisions.inbound import decide_recipient
from gatepost.protocols.smtp.grammar import parse_path
from gatepost.protocols.tls.facts import ChainStatus, Revocation, TlsFacts
from gatepost.values import replace


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
    kept = record.tls["chains"][anchors]
    assert kept == {"status": others, "detail": facts.chain(anchors).detail}
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
        verdict = decide_recipient(record.directory, record.facts, *paths)
        kept = record.inbound(verdict)
        assert record.inbound(verdict) is kept
        assert record.inbound(replace(verdict, connector="other"))["connector"] == "other"
        record.hello("again.example")
        assert record.inbound(verdict) == kept | {"hello": "again.example"}
    reasons = kept.pop("reasons")
    assert kept == {
        "peer": "203.0.113.9",
        "hello": "client.example",
        "connector": "lab",
        "requirement": "encrypted",
        "configuration": 0,
        "basis": "sender",
        "tls": record.tls,
    }
    assert any("lab" in reason for reason in reasons)


async def test_only_a_certificate_that_a_connector_knows_is_looked_for_among_the_revoked(gate):
    async with gate.open():
        asked = []

        async def check(chain):
            asked.append(chain)
            return Revocation("revoked", "it was stolen", "crl")

        for names, authority, anchors in (
            (["mail.contoso.example"], gate.authority, {""}),
            (["vault.contoso.example"], gate.other, {str(gate.path / "other.pem")}),
            (["vault.contoso.example"], gate.authority, set()),
            (["else.example"], gate.authority, set()),
            ([], gate.authority, set()),
        ):
            record = SessionRecord("s1", "203.0.113.9", gate.service)
            chain = der(gate.identity(*names, authority=authority)) if names else ()
            record.secured(tls(chain))
            assert record.revocable() == {}, "nobody is there to be asked"
            gate.service.check_revocation = check
            assert set(record.revocable()) == anchors
            gate.service.check_revocation = None
        assert asked == []


@pytest.mark.parametrize(
    ("name", "issuer", "status", "expected"),
    [
        ("mail.contoso.example", "ours", "revoked", "revoked"),
        ("mail.contoso.example", "ours", "unknown", "trusted"),
        ("vault.contoso.example", "other", "revoked", "revoked"),
    ],
)
async def test_what_is_learnt_becomes_part_of_the_facts(gate, name, issuer, status, expected):
    async with gate.open():
        revocation = Revocation(status, "says the list", "crl")

        async def check(_chain):
            return revocation

        gate.service.check_revocation = check
        record = SessionRecord("s1", "203.0.113.9", gate.service)
        record.secured(tls(der(gate.identity(name, authority=gate.other if issuer == "other" else gate.authority))))
        await record.check_revocation(record.revocable())
    anchors = str(gate.path / "other.pem") if issuer == "other" else ""
    chain = record.facts.chain(anchors)
    assert (chain.status, chain.revocation) == (expected, revocation)
    kept = record.tls["chains"][anchors] if anchors else record.tls
    assert kept["revocation"] == revocation.text


@pytest.mark.parametrize("named_first", [True, False])
async def test_a_certificate_is_not_that_of_a_client_whom_another_host_names(gate, named_first):
    introduction = Introduction(Teller.XCLIENT, "192.0.2.7")
    chain = der(gate.identity("mail.contoso.example", authority=gate.authority))
    async with gate.open():
        record = SessionRecord("s1", "192.0.2.7", gate.service)
        if named_first:
            record.introduced("203.0.113.9", introduction)
        record.secured(tls(chain))
        if not named_first:
            assert record.facts.client_chain.trusted
            record.introduced("203.0.113.9", introduction)
    facts = record.facts
    assert (facts.peer_ip, facts.introduction, facts.hello) == ("203.0.113.9", introduction, "")
    assert (facts.client_chain, facts.chains) == (None, {})
    assert facts.tls is not None
    assert "certificate" not in record.tls


async def test_a_certificate_that_comes_through_a_load_balancer_is_the_clients(gate):
    introduction = Introduction(Teller.PROXY, "192.0.2.7")
    async with gate.open():
        record = SessionRecord("s1", "203.0.113.9", gate.service, introduction)
        record.secured(tls(der(gate.identity("mail.contoso.example", authority=gate.authority))))
    assert record.facts.client_chain.trusted
    assert record.facts.introduction is introduction


async def test_the_next_message_goes_by_the_anchors_that_connectors_name_now(gate):
    async with gate.open():
        gate.service.directory = gate.directory(gate.resources.replace('trust_anchors = "OTHER"', ""))
        record = SessionRecord("s1", "203.0.113.9", gate.service)
        record.secured(tls(der(gate.identity("vault.contoso.example", authority=gate.other))))
        before, repeated = record.facts, record.repeated
        assert record.renew() == {}
        assert (record.facts, record.repeated) == (before, repeated), "nothing was changed"
        anchors = str(gate.path / "other.pem")
        without = gate.resources.replace('trust_anchors = "OTHER"', "")
        for resources, judged in ((gate.resources, {anchors}), (without, set())):
            gate.service.directory = gate.directory(resources)
            assert record.directory is not gate.service.directory
            record.renew()
            assert record.directory is gate.service.directory
            assert record.repeated is not repeated
            assert set(record.facts.chains) == judged
            assert set(record.tls.get("chains", {})) == judged
            assert record.facts.client_chain is before.client_chain


async def test_what_was_found_out_of_a_certificate_is_not_asked_again(gate):
    async with gate.open():

        async def check(_chain):
            return Revocation("good", "", "crl")

        gate.service.check_revocation = check
        record = SessionRecord("s1", "203.0.113.9", gate.service)
        record.secured(tls(der(gate.identity("vault.contoso.example", authority=gate.other))))
        await record.check_revocation(record.revocable())
        assert record.revocable() == {}
        facts = record.facts
        gate.service.directory = gate.directory()
        assert record.renew() == {}
        assert record.facts.chains == facts.chains


async def test_a_session_in_clear_has_nothing_to_judge_when_the_configuration_changes(gate):
    async with gate.open():
        record = SessionRecord("s1", "203.0.113.9", gate.service)
        gate.service.directory = gate.directory(gate.resources.replace('trust_anchors = "OTHER"', ""))
        facts = record.facts
        record.renew()
        assert record.directory is gate.service.directory
        assert record.facts is facts


@pytest.mark.parametrize("issuer", ["authority", "other"])
@pytest.mark.parametrize("why", ["anchors are read again", "15 minutes", "the clock is put back"])
async def test_a_certificate_is_judged_anew_where_the_judgement_is_old(gate, issuer, why):
    """As at the handshake: by the server's anchors and by those of connectors, and whether it was revoked."""
    now, trust = 1_800_000_000.0, 1
    name = "vault.contoso.example" if issuer == "other" else "mail.contoso.example"
    async with gate.open():

        async def check(_chain):
            return Revocation("good", "", "crl")

        gate.service.check_revocation, gate.service.clock = check, lambda: now
        gate.service.trust = lambda: trust
        record = SessionRecord("s1", "203.0.113.9", gate.service)
        chain = der(gate.identity(name, authority=getattr(gate, issuer)))
        record.secured(tls(chain))
        record.hello(name)
        await record.check_revocation(record.revocable())
        before = record.facts
        now += 899.0
        assert record.renew() == {}
        assert record.facts is before
        gate.service.judge_client = lambda _chain, _anchors: None
        match why:
            case "anchors are read again":
                trust = 2
            case "15 minutes":
                now += 1.0
            case _:
                now -= 900.0
        assert record.renew() == {}
        assert (record.facts.client_chain, record.facts.chains) == (None, {})
        assert record.facts.hello == name
        gate.service.judge_client = gate._judge
        trust = 3
        asked = record.renew()
        assert set(asked) == ({str(gate.path / "other.pem")} if issuer == "other" else {""})
