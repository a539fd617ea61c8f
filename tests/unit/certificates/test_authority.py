from __future__ import annotations

import ipaddress
import time
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID

from gatepost.certificates.authority import Authority
from gatepost.net.anchors import TrustAnchors
from gatepost.net.chain import judge
from gatepost.net.engine import ServerIdentity, server_context
from gatepost.net.identity import read_identity
from gatepost.tls.facts import ChainStatus
from gatepost.tls.names import matches
from gatepost.tls.profile import PROFILES

DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def authority():
    return Authority("Test Root", organization="Contoso")


def read(pem):
    return x509.load_pem_x509_certificates(pem)


def verdict(authority, chain_pem, *, purpose="server", now=None):
    anchors = TrustAnchors(
        [one.public_bytes(serialization.Encoding.DER) for one in read(authority.certificate_pem)], "x"
    )
    chain = [one.public_bytes(serialization.Encoding.DER) for one in read(chain_pem)]
    return judge(chain, anchors, now=time.time() if now is None else now, purpose=purpose)


def test_the_root_is_a_root_by_rfc_5280(authority):
    (root,) = read(authority.certificate_pem)
    assert root.subject == root.issuer
    assert root.subject.rfc4514_string() == "CN=Test Root,O=Contoso"
    basic = root.extensions.get_extension_for_class(x509.BasicConstraints)
    usage = root.extensions.get_extension_for_class(x509.KeyUsage)
    assert (basic.critical, basic.value.ca) == (True, True)
    assert (usage.critical, usage.value.key_cert_sign, usage.value.crl_sign) == (True, True, True)
    assert not usage.value.digital_signature
    assert isinstance(root.signature_hash_algorithm, hashes.SHA256)
    assert root.serial_number.bit_length() <= 159
    assert root.not_valid_before_utc < datetime.now(UTC) < root.not_valid_after_utc - 3649 * DAY


@pytest.mark.parametrize("key", ["ecdsa", "rsa"])
@pytest.mark.parametrize("purpose", ["server", "client"])
def test_a_leaf_is_trusted_for_both_ends_by_whoever_trusts_the_root(authority, key, purpose):
    chain, _ = authority.issue(["mx.contoso.example"], key=key)
    judged = verdict(authority, chain, purpose=purpose)
    assert judged.status is ChainStatus.TRUSTED, judged.detail
    assert judged.leaf.key == {"ecdsa": "EC-P-256", "rsa": "RSA-2048"}[key]
    assert not verdict(Authority("Test Root", organization="Contoso"), chain, purpose=purpose).trusted


def test_a_leaf_bears_all_its_names(authority):
    chain, _ = authority.issue(["mx.contoso.example", "*.mail.contoso.example", "192.0.2.1", "2001:db8::1"])
    (leaf,) = read(chain)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["mx.contoso.example", "*.mail.contoso.example"]
    assert names.get_values_for_type(x509.IPAddress) == [
        ipaddress.ip_address("192.0.2.1"),
        ipaddress.ip_address("2001:db8::1"),
    ]
    assert leaf.subject.rfc4514_string() == "CN=mx.contoso.example"
    facts = verdict(authority, chain).leaf
    assert matches("mx.contoso.example", facts)
    assert matches("a.mail.contoso.example", facts)
    assert not matches("contoso.example", facts)


def test_a_leaf_is_no_authority(authority):
    (leaf,) = read(authority.issue(["mx.contoso.example"])[0])
    extensions = leaf.extensions
    assert not extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert list(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [
        ExtendedKeyUsageOID.SERVER_AUTH,
        ExtendedKeyUsageOID.CLIENT_AUTH,
    ]
    (root,) = read(authority.certificate_pem)
    key_identifier = root.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    issuer = extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    assert issuer.key_identifier == key_identifier.digest


@pytest.mark.parametrize("key", ["ecdsa", "rsa"])
def test_chain_and_key_make_a_server(authority, key):
    identity = ServerIdentity(*authority.issue(["mx.contoso.example"], key=key))
    assert read_identity(identity).leaf.dns_names == ("mx.contoso.example",)
    server_context([identity], PROFILES["modern"], ask_client_certificate=True)


def test_every_leaf_has_a_key_and_a_serial_number_of_its_own(authority):
    issued = [authority.issue(["mx.contoso.example"]) for _ in range(3)]
    assert len({key for _, key in issued}) == 3
    assert len({read(chain)[0].serial_number for chain, _ in issued}) == 3


# lifetime and begin of a leaf, days from now to the judgement -> what it is then
LIVES = [
    ({}, 0, ChainStatus.TRUSTED),
    ({}, 89.9, ChainStatus.TRUSTED),
    ({}, 91, ChainStatus.EXPIRED),
    ({"lifetime": DAY}, 2, ChainStatus.EXPIRED),
    ({"lifetime": DAY, "not_before": datetime.now(UTC) + 2 * DAY}, 0, ChainStatus.NOT_YET_VALID),
    ({"lifetime": DAY, "not_before": datetime.now(UTC) + 2 * DAY}, 2.5, ChainStatus.TRUSTED),
    ({"lifetime": DAY, "not_before": datetime.now(UTC) - 3 * DAY}, 0, ChainStatus.EXPIRED),
]


@pytest.mark.parametrize(("options", "days", "status"), LIVES)
def test_how_long_a_leaf_is_good(options, days, status):
    authority = Authority("Old Root")  # begins an hour ago, so before any leaf that is judged as trusted
    chain, _ = authority.issue(["mx.contoso.example"], **options)
    assert verdict(authority, chain, now=time.time() + days * 86400).status is status


def test_the_root_ends_when_it_was_told_to():
    authority = Authority("Short Root", lifetime=DAY)
    (root,) = read(authority.certificate_pem)
    assert abs(root.not_valid_after_utc - datetime.now(UTC) - DAY) < timedelta(minutes=1)
