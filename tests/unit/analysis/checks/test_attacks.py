"""Each attack is what it says it is, and what a connector promises is read off its own fields."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from tests.unit.analysis.checks.conftest import CHAIN, CHANNEL, NAME

from gatepost.analysis.checks.adversary import Publisher
from gatepost.analysis.checks.attacks import (
    ATTACKER,
    CONTROL,
    Credential,
    Demand,
    DrillPki,
    attacks,
    control,
    demand_of,
)
from gatepost.net.chain import judge
from gatepost.policy.connectors.model import parse
from gatepost.policy.connectors.values import RevocationCheck
from gatepost.protocols.tls.facts import ChainStatus
from gatepost.protocols.tls.limits import GROUPS, SUITES
from gatepost.protocols.tls.names import matches
from gatepost.values import replace

SOFT, HARD, NONE = RevocationCheck.SOFT_FAIL, RevocationCheck.HARD_FAIL, RevocationCheck.NONE
OPPORTUNISTIC = Demand(tls=False, trust=False, name=False, revocation=NONE, oldest="TLSv1.2")
ENCRYPTION = Demand(tls=True, trust=False, name=False, revocation=NONE, oldest="TLSv1.2")
CERTIFICATE = Demand(tls=True, trust=True, name=False, revocation=SOFT, oldest="TLSv1.2")
DOMAIN = Demand(tls=True, trust=True, name=True, revocation=HARD, oldest="TLSv1.2")

ALL = CHANNEL | CHAIN | NAME | {"revoked", "revocation-blocked"}

PROMISES = [
    (OPPORTUNISTIC, set()),
    (ENCRYPTION, CHANNEL),
    (CERTIFICATE, CHANNEL | CHAIN | {"revoked"}),
    (DOMAIN, ALL),
]


@pytest.mark.parametrize(("demand", "stopped"), PROMISES)
def test_what_each_level_promises(demand, stopped):
    tried = attacks(demand)
    assert {attack.key for attack in tried} == ALL
    assert {attack.key for attack in tried if attack.promise(demand)} == stopped
    assert len({attack.title for attack in tried}) == len(tried)


VERSIONS = [
    # oldest, is "TLS 1.0 only" stopped, newest version of "below min_tls_version"
    ("TLSv1.0", False, None),
    ("TLSv1.1", False, "TLSv1.0"),
    ("TLSv1.2", True, None),
    ("TLSv1.3", True, "TLSv1.2"),
]


@pytest.mark.parametrize(("oldest", "stopped", "below"), VERSIONS)
def test_versions_too_old_are_tried(oldest, stopped, below):
    demand = Demand(tls=True, trust=False, name=False, revocation=NONE, oldest=oldest)
    tried = {attack.key: attack for attack in attacks(demand)}
    assert tried["tls-1.0-only"].promise(demand) is stopped
    found = tried.get("below-min-tls-version")
    assert (found.newest if found else None) == below
    assert found is None or found.promise(demand)


def test_the_control_is_no_attack():
    assert (control().key, control().promise(DOMAIN), control().credential) == (CONTROL, False, Credential.GOOD)


DEMANDS = [
    ({}, {}, OPPORTUNISTIC),
    ({"cleartext": "never"}, {}, ENCRYPTION),
    ({}, {"cleartext": "never"}, ENCRYPTION),
    ({"cleartext": "after-failed-handshake"}, {"cleartext": "never"}, OPPORTUNISTIC),
    ({"tls_settings": "encryption-only"}, {}, ENCRYPTION),
    ({"tls_settings": "certificate-validation"}, {}, CERTIFICATE),
    ({"tls_settings": "domain-validation", "revocation_check": "hard-fail"}, {}, DOMAIN),
    ({"tls_settings": "encryption-only", "mode": "rehearse"}, {}, ENCRYPTION),
    (
        {"tls_settings": "encryption-only", "min_key_exchange": "post-quantum"},
        {},
        replace(ENCRYPTION, post_quantum=True, oldest="TLSv1.3"),
    ),
    (
        {"tls_settings": "encryption-only", "groups": ["P-256"], "cipher_suites": ["ECDHE-RSA-AES256-GCM-SHA384"]},
        {},
        replace(ENCRYPTION, groups=("P-256",), suites=("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",)),
    ),
]


def read(fields, own):
    connector = {"name": "out", "recipient_domains": ["b.example"], **fields}
    (organization,) = parse({"organization": {"contoso": {**own, "outbound_connector": [connector]}}}).organizations
    return organization.outbound_connectors[0], organization


@pytest.mark.parametrize(("fields", "own", "demand"), DEMANDS)
def test_what_is_read_off_a_connector(fields, own, demand):
    assert demand_of(*read(fields, own), profile="default") == demand


OLDEST = [
    ({}, "default", "TLSv1.2"),
    ({}, "modern", "TLSv1.3"),
    ({"profile": "legacy"}, "modern", "TLSv1.0"),
    ({"profile": "legacy", "min_tls_version": "TLSv1.1"}, "modern", "TLSv1.1"),
    ({"min_tls_version": "TLSv1.3"}, "default", "TLSv1.3"),
    ({"min_tls_version": "TLSv1.2"}, "modern", "TLSv1.3"),
]


@pytest.mark.parametrize(("fields", "profile", "oldest"), OLDEST)
def test_the_oldest_version_of_a_connector(fields, profile, oldest):
    connector, organization = read({"tls_settings": "encryption-only", **fields}, {})
    assert demand_of(connector, organization, profile=profile).oldest == oldest


def test_a_rule_that_routes_may_require_tls():
    assert demand_of(*read({}, {}), profile="default", rule_requires_tls=True) == ENCRYPTION


# certificates


@pytest.fixture(scope="module")
def publisher():
    return Publisher()


@pytest.fixture(scope="module")
def pki(publisher):
    return DrillPki(publisher)


CREDENTIALS = [
    (Credential.GOOD, ChainStatus.TRUSTED, True),
    (Credential.SELF_SIGNED, ChainStatus.SELF_SIGNED, True),
    (Credential.UNKNOWN_CA, ChainStatus.UNTRUSTED_ROOT, True),
    (Credential.EXPIRED, ChainStatus.EXPIRED, True),
    (Credential.NOT_YET_VALID, ChainStatus.NOT_YET_VALID, True),
    (Credential.INCOMPLETE, ChainStatus.INCOMPLETE, True),
    (Credential.WRONG_NAME, ChainStatus.TRUSTED, False),
    (Credential.REVOKED, ChainStatus.TRUSTED, True),
    (Credential.REVOKED_UNPUBLISHED, ChainStatus.TRUSTED, True),
]


@pytest.mark.parametrize(("credential", "status", "named"), CREDENTIALS)
def test_each_certificate_has_its_fault_and_no_other(pki, credential, status, named):
    shown = pki.show(credential, ["mx.b.example", "*.b.example", "192.0.2.1"])
    chain = [one.public_bytes(Encoding.DER) for one in x509.load_pem_x509_certificates(shown.identity.chain_pem)]
    verdict = judge(chain, pki.anchors, now=time.time(), purpose="server")
    assert (verdict.status, verdict.leaf) == (status, shown.facts)
    for name in ("mx.b.example", "a.b.example", "192.0.2.1"):
        assert matches(name, shown.facts) is named
    assert matches(ATTACKER, shown.facts) is not named
    shown.context(control())
    shown.context(replace(control(), newest="TLSv1.1"))


SUITE, OLD_SUITE = "TLS_AES_256_GCM_SHA384", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"
LIMITS = [
    # what is asked for, the attack, what the far end has
    ({"post_quantum": True}, "classical-key-exchange", "groups", "?X25519:?P-256:?P-384:?P-521"),
    ({"groups": ("P-256", "P-384")}, "group-not-allowed", "groups", "?X25519MLKEM768:?X25519:?P-521"),
    ({"suites": (SUITE,)}, "cipher-suite-not-allowed", "suites13",
     "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256"),
    ({"groups": GROUPS, "suites": SUITES}, "", "", ""),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "key", "has", "value"), LIMITS)
@pytest.mark.parametrize("asked", [OPPORTUNISTIC, ENCRYPTION])
def test_what_is_not_allowed_is_tried(pki, asked, fields, key, has, value):
    demand = replace(asked, **fields)
    tried = {attack.key: attack for attack in attacks(demand)}
    limits = {"classical-key-exchange", "group-not-allowed", "cipher-suite-not-allowed"}
    assert limits & set(tried) == {key} - {""}
    if key:
        assert tried[key].promise(demand) is demand.tls
        profile = pki.show(Credential.GOOD, ["mx.b.example"]).context(tried[key]).profile
        assert getattr(profile, has) == value
        assert profile.min_version == "TLSv1.0"


KEYS = [
    ({}, "ecdsa"),
    ({"suites": (SUITE, OLD_SUITE)}, "ecdsa"),
    ({"suites": (OLD_SUITE,)}, "rsa"),
    ({"suites": (OLD_SUITE.replace("RSA", "ECDSA"),)}, "ecdsa"),
    ({"suites": (OLD_SUITE, OLD_SUITE.replace("RSA", "ECDSA")), "groups": ("X25519",)}, "rsa"),
    ({"suites": (OLD_SUITE.replace("RSA", "ECDSA"),), "groups": ("P-256",)}, "ecdsa"),
]


@pytest.mark.parametrize(("fields", "key"), KEYS)
def test_the_control_can_show_a_certificate_for_the_suites(fields, key):
    publisher = SimpleNamespace(url=lambda path: f"http://192.0.2.1{path}", files={})
    demand = replace(ENCRYPTION, **fields)
    assert demand.key == key
    for credential in Credential:
        shown = DrillPki(publisher, demand.key).show(credential, ["mx.b.example"])
        assert shown.facts.key.startswith("RSA" if key == "rsa" else "EC")


def test_every_credential_has_its_case():
    assert {credential for credential, *_ in CREDENTIALS} == set(Credential)


REVOKED = [(Credential.REVOKED, True), (Credential.GOOD, False), (Credential.WRONG_NAME, False)]


@pytest.mark.parametrize(("credential", "revoked"), REVOKED)
def test_the_list_names_the_revoked_one(publisher, pki, credential, revoked):
    shown = pki.show(credential, ["mx.b.example"])
    leaf, issuer = x509.load_pem_x509_certificates(shown.identity.chain_pem)
    crl = x509.load_der_x509_crl(publisher.files["/intermediate.crl"])
    assert crl.is_signature_valid(issuer.public_key())
    assert (crl.get_revoked_certificate_by_serial_number(leaf.serial_number) is not None) is revoked
    (point,) = leaf.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    assert point.full_name[0].value == publisher.url("/intermediate.crl")
    assert x509.load_der_x509_crl(publisher.files["/root.crl"]).get_revoked_certificate_by_serial_number(1) is None


def test_a_blocked_list_is_nowhere(publisher, pki):
    leaf = x509.load_pem_x509_certificates(
        pki.show(Credential.REVOKED_UNPUBLISHED, ["mx.b.example"]).identity.chain_pem
    )[0]
    (point,) = leaf.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    assert point.full_name[0].value.rpartition("/")[2] == "blocked.crl"
    assert "/blocked.crl" not in publisher.files
