from __future__ import annotations

import pytest

from gatepost.analysis.checks.records import VALIDATIONS, CheckRecords
from gatepost.manage.access.principal import Principal, Scope
from gatepost.manage.use_cases.change import ChangeOptions
from gatepost.manage.use_cases.refusal import Refusal, RefusalKind
from gatepost.manage.use_cases.resource_actions import TrustIssuer, seen_issuers, trust_issuer
from gatepost.net.certificate import certificate_facts
from gatepost.pki.certificates.authority import Authority
from gatepost.policy.connectors.trust_anchors import pem_certificates

from .calls import call, document

OWNER = Principal("ann", frozenset({Scope.OWNER}))
TENANT = Principal("liz", frozenset({Scope.CONNECTORS, Scope.READ}), frozenset({"contoso"}))
STRANGER = Principal("eve", frozenset({Scope.CONNECTORS, Scope.READ}), frozenset({"fabrikam"}))


@pytest.fixture(scope="module")
def issuer():
    """As the record of a validation has it."""
    pem = Authority("Bank root").certificate_pem.decode()
    facts = certificate_facts(pem_certificates(pem)[0])
    known = {"subject": facts.subject, "issuer": facts.issuer, "sha256": facts.sha256, "pem": pem}
    return known | {"not_before": facts.not_before, "not_after": facts.not_after}


@pytest.fixture
def validated(sealed, issuer):
    """The connector "out" was tried, and an authority seen at one of its hosts, twice."""
    hosts = [
        {"host": "mx1.bank.example", "issuer": issuer},
        {"host": "mx2.bank.example", "issuer": issuer},
        {"host": "x"},
    ]
    CheckRecords(sealed.storage, VALIDATIONS, "contoso").keep("outbound", "out", {"outcome": "unknown", "hosts": hosts})
    return sealed


def trust(gateway, who, sha256, options=None, connector="out"):
    request = TrustIssuer(organization="contoso", connector=connector, sha256=sha256)
    return call(gateway, who, trust_issuer, request, options or ChangeOptions(""))


def anchors(gateway):
    (out,) = document(gateway, OWNER)[1]["organization"]["contoso"]["outbound_connector"]
    return out.get("trust_anchors", "")


def test_an_issuer_is_shown_once_with_a_fingerprint_to_compare(issuer):
    record = {"hosts": [{"host": "a", "issuer": issuer}, {"host": "b", "issuer": issuer}, {"host": "c"}]}
    (seen,) = seen_issuers(record)
    assert (seen.host, seen.subject) == ("a", "CN=Bank root")
    assert seen.fingerprint.replace(":", "").lower() == issuer["sha256"]
    assert seen_issuers(None) == []


@pytest.mark.parametrize("who", [OWNER, TENANT], ids=["owner", "tenant"])
def test_the_fingerprint_that_was_confirmed_makes_it_an_anchor(validated, issuer, who):
    fingerprint = seen_issuers({"hosts": [{"host": "a", "issuer": issuer}]})[0].fingerprint
    trust(validated, who, f" {fingerprint} ", ChangeOptions("", dry_run=True))
    assert anchors(validated) == ""
    trust(validated, who, f" {fingerprint} ", ChangeOptions("", note="told by telephone"))
    assert pem_certificates(anchors(validated)) == pem_certificates(issuer["pem"])
    trust(validated, who, issuer["sha256"])
    assert len(pem_certificates(anchors(validated))) == 1, "it is there already"


def test_other_certificates_stay_trusted(validated, issuer):
    other = Authority("Other").certificate_pem.decode()
    with validated.config() as store:
        version, stored = store.load()
        stored["organization"]["contoso"]["outbound_connector"][0]["trust_anchors"] = other
        store.apply(stored, author="ann", expected=version)
    trust(validated, OWNER, issuer["sha256"])
    assert pem_certificates(anchors(validated)) == [*pem_certificates(other), *pem_certificates(issuer["pem"])]


@pytest.mark.parametrize("sha256", ["", "0" * 64, "not a fingerprint"])
def test_nothing_else_is_trusted(validated, sha256, issuer):
    with pytest.raises(Refusal) as refused:
        trust(validated, OWNER, sha256)
    assert refused.value.errors[0].path == "sha256"
    assert anchors(validated) == ""


def test_without_a_validation_there_is_nothing_to_trust(sealed, issuer):
    with pytest.raises(Refusal) as refused:
        trust(sealed, OWNER, issuer["sha256"])
    assert "validate the connector again" in str(refused.value.errors[0])


def test_what_is_anothers_is_not_there(validated, issuer):
    with pytest.raises(Refusal) as refused:
        trust(validated, STRANGER, issuer["sha256"])
    assert refused.value.kind is RefusalKind.MISSING
    with pytest.raises(Refusal) as refused:
        trust(validated, OWNER, issuer["sha256"], connector="bank")  # an inbound one
    assert refused.value.kind is RefusalKind.MISSING
