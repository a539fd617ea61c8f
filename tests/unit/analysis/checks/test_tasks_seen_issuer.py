"""The issuer that a peer presented: told only where nothing but trust in it is missing."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_certificate
from support.chains import server
from support.status_authority import StatusAuthority

from gatepost.analysis.checks.tasks import issuer_record
from gatepost.net.certificate import certificate_facts
from gatepost.protocols.tls.facts import ChainStatus, ChainVerdict

ROOT = StatusAuthority("Root")
INTERMEDIATE = StatusAuthority("Intermediate", parent=ROOT)
STRANGER = StatusAuthority("Stranger")
LEAF = server(INTERMEDIATE).der


def der(authority):
    return authority.certificate.public_bytes(Encoding.DER)


A, B, C = LEAF, der(INTERMEDIATE), der(ROOT)


def verdict(status, leaf=LEAF):
    return ChainVerdict(status, "", certificate_facts(leaf))


@pytest.mark.parametrize(
    ("presented", "issuer"),
    [([A, B], B), ([A, B, C], C), ([A, C, B], C), ([A, B, der(STRANGER)], B), ([A, C], None), ([A], None)],
)
@pytest.mark.parametrize("status", [ChainStatus.UNTRUSTED_ROOT, ChainStatus.INCOMPLETE])
def test_the_highest_authority_that_issued_the_certificate(presented, issuer, status):
    found = issuer_record(presented, verdict(status))
    if issuer is None:
        assert found == {}
        return
    facts = certificate_facts(issuer)
    assert (found["sha256"], found["subject"], found["issuer"]) == (facts.sha256, facts.subject, facts.issuer)
    assert load_pem_x509_certificate(found["pem"].encode()).public_bytes(Encoding.DER) == issuer


@pytest.mark.parametrize(
    "status", [ChainStatus.TRUSTED, ChainStatus.EXPIRED, ChainStatus.REVOKED, ChainStatus.INVALID, ChainStatus.WEAK_KEY]
)
def test_none_where_more_than_trust_is_wrong(status):
    assert issuer_record([A, B, C], verdict(status)) == {}


def test_what_is_no_authority_is_not_offered():
    assert issuer_record([A, A], verdict(ChainStatus.SELF_SIGNED)) == {}
    assert issuer_record([A, b"rubbish"], verdict(ChainStatus.INCOMPLETE)) == {}
    assert issuer_record([], ChainVerdict(ChainStatus.UNTRUSTED_ROOT, "", None)) == {}
