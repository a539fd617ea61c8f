from __future__ import annotations

import pytest

from gatepost.policy.connectors.values import RevocationCheck
from gatepost.policy.decisions.journaling import journal_demand
from gatepost.policy.decisions.requirement import (
    Authenticated,
    DaneProof,
    Encrypted,
    Identity,
    Opportunistic,
    Proof,
    Requirement,
    Shortfall,
    Source,
    StsProof,
)
from gatepost.protocols.dane.tlsa import MatchingType, Records, Selector, Tlsa, Usage

HOST, DOMAIN = "mx.far.example", "far.example"
OUT = (Source("connector", "out"),)
OPPORTUNISTIC, ENCRYPTED = Opportunistic(OUT), Encrypted(OUT)
RECORDS = Records((Tlsa(Usage.DANE_EE, Selector.SPKI, MatchingType.SHA2_256, bytes(32)),))
NAMED = Identity(("mx.far.example",), "/own.pem")
CHAIN = Identity((), "/own.pem")
OWN = Identity((HOST,))


@pytest.mark.parametrize("proof", [NAMED, DaneProof(RECORDS, (HOST,)), StsProof(DOMAIN, HOST)])
@pytest.mark.parametrize("domain", ["", DOMAIN])
def test_what_the_connector_or_the_domain_proves_is_enough(proof: Proof, domain: str) -> None:
    found = journal_demand(Authenticated(OUT, (CHAIN, proof)), HOST, domain, here=False)
    assert found == Authenticated((Source("journal"),), (proof,), revocation=RevocationCheck.NONE)


@pytest.mark.parametrize("requirement", [OPPORTUNISTIC, ENCRYPTED, Authenticated(OUT, (CHAIN,))])
def test_else_the_host_bears_its_own_name_which_must_be_known(requirement: Requirement) -> None:
    found = journal_demand(requirement, HOST, "", here=False)
    assert isinstance(found, Authenticated)
    assert found.proofs == (OWN,)
    unknown = journal_demand(requirement, HOST, DOMAIN, here=False)
    assert isinstance(unknown, Shortfall)
    assert unknown.enhanced == "4.7.10"
    assert "neither DNSSEC nor MTA-STS" in unknown.detail
    for address in ("192.0.2.1", "[IPv6:2001:db8::1]"):
        nameless = journal_demand(requirement, address, "", here=False)
        assert isinstance(nameless, Shortfall)
        assert "an IP address" in nameless.detail


def test_what_stays_on_this_machine_needs_no_tls() -> None:
    assert journal_demand(OPPORTUNISTIC, "127.0.0.1", "", here=True) is None
    assert journal_demand(OPPORTUNISTIC, "/run/lmtp", "", here=False) is None
