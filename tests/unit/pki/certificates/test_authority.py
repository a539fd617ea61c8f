from __future__ import annotations

import ipaddress
import time
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID

from gatepost.net.anchors import TrustAnchors
from gatepost.net.chain import judge
from gatepost.net.engine import server_context
from gatepost.net.identity import ServerIdentity, read_identity
from gatepost.pki.certificates.authority import Authority, self_signed
from gatepost.protocols.tls.facts import ChainStatus
from gatepost.protocols.tls.names import matches
from gatepost.protocols.tls.profile import PROFILES

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


def test_an_intermediate_is_sent_along_and_leads_to_the_root(authority):
    intermediate = Authority("Test Intermediate", issuer=authority, crl_url="http://127.0.0.1:9/root.crl")
    chain, _ = intermediate.issue(["mx.contoso.example"])
    leaf, above = read(chain)
    assert (above.subject.rfc4514_string(), leaf.issuer) == ("CN=Test Intermediate", above.subject)
    assert above.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0
    assert points(above) == ["http://127.0.0.1:9/root.crl"]
    assert verdict(authority, chain).trusted
    alone = leaf.public_bytes(serialization.Encoding.PEM)
    assert verdict(authority, alone).status is ChainStatus.INCOMPLETE
    assert verdict(intermediate, alone).trusted


def points(certificate):
    found = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    return [name.value for point in found for name in point.full_name]


def test_a_leaf_says_where_its_revocation_is_published(authority):
    (leaf,) = read(authority.issue(["mx.contoso.example"], crl_url="http://crl.contoso.example/1.crl")[0])
    assert points(leaf) == ["http://crl.contoso.example/1.crl"]
    (silent,) = read(authority.issue(["mx.contoso.example"])[0])
    with pytest.raises(x509.ExtensionNotFound):
        points(silent)


def test_the_list_of_what_was_revoked(authority):
    bad, good = (authority.issue(["mx.contoso.example"])[0] for _ in range(2))
    crl = x509.load_der_x509_crl(authority.crl([bad]))
    (root,) = read(authority.certificate_pem)
    assert crl.is_signature_valid(root.public_key())
    assert crl.issuer == root.subject
    assert [one.serial_number for one in crl] == [read(bad)[0].serial_number]
    assert crl.get_revoked_certificate_by_serial_number(read(good)[0].serial_number) is None
    assert crl.last_update_utc < datetime.now(UTC) < crl.next_update_utc
    assert len(x509.load_der_x509_crl(authority.crl())) == 0


def test_a_self_signed_leaf_stands_for_itself(authority):
    chain, key = self_signed(["mx.contoso.example", "192.0.2.1"])
    judged = verdict(authority, chain)
    assert judged.status is ChainStatus.SELF_SIGNED
    assert matches("mx.contoso.example", judged.leaf)
    assert matches("192.0.2.1", judged.leaf)
    server_context([ServerIdentity(chain, key)], PROFILES["modern"], ask_client_certificate=True)


def test_a_name_too_long_for_a_cn_stands_in_the_subject_alternative_name(authority):
    name = f"{'a' * 60}.{'b' * 60}.contoso.example"
    leaf = verdict(authority, authority.issue([name])[0]).leaf
    assert (leaf.dns_names, leaf.common_name) == ((name,), name[:64])
