from __future__ import annotations

import hashlib
import warnings
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, mldsa, rsa
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from gatepost.net.certificate import (
    MAX_CERTIFICATE_BYTES,
    CertificateError,
    certificate_facts,
    end_point_binding,
    key_kind,
    spki_der,
)


def test_what_a_certificate_says(pki):
    leaf = pki.leaf("mx.a.example", "*.A.example", "xn--mnchen-3ya.example", "192.0.2.1", "2001:db8::1", key="rsa2048")
    facts = certificate_facts(leaf.der)
    spki = leaf.certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert facts.subject == "CN=mx.a.example"
    assert facts.issuer == "CN=Gatepost Test CA 1"
    assert int(facts.serial, 16) == leaf.certificate.serial_number
    assert facts.common_name == "mx.a.example"
    assert facts.dns_names == ("mx.a.example", "*.a.example", "xn--mnchen-3ya.example")
    assert facts.ip_addresses == ("192.0.2.1", "2001:db8::1")
    assert facts.sha256 == hashlib.sha256(leaf.der).hexdigest()
    assert facts.sha1 == hashlib.sha1(leaf.der).hexdigest()  # noqa: S324 - the thumbprint that people compare
    assert facts.spki_sha256 == hashlib.sha256(spki).hexdigest()
    assert (facts.not_before, facts.not_after) == (
        (pki.now - pki.day).timestamp(),
        (pki.now + 30 * pki.day).timestamp(),
    )
    assert facts.key == "RSA-2048"


def signed(key, subject=(), extensions=(), signer=None, digest=hashes.SHA256()):  # noqa: B008 - a value
    name = x509.Name([x509.NameAttribute(kind, value) for kind, value in subject])
    signer = signer or ec.generate_private_key(ec.SECP256R1())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
            .not_valid_after(datetime(2021, 1, 1, tzinfo=UTC))
        )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(signer, digest)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (lambda: ec.generate_private_key(ec.SECP256R1()), "EC-P-256"),
        (lambda: ec.generate_private_key(ec.SECP384R1()), "EC-P-384"),
        (lambda: ec.generate_private_key(ec.SECP224R1()), "EC-secp224r1"),
        (lambda: dsa.generate_private_key(1024), "DSA-1024"),  # noqa: S505 - to see what it is called
        (lambda: rsa.generate_private_key(65537, 1024), "RSA-1024"),  # noqa: S505 - as above
        (mldsa.MLDSA65PrivateKey.generate, "ML-DSA-65"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_kinds_of_keys(key, expected):
    certificate = signed(key())
    assert key_kind(certificate) == expected
    assert certificate_facts(certificate.public_bytes(serialization.Encoding.DER)).key == expected


@pytest.mark.parametrize(("kind", "expected"), [("ed25519", "Ed25519"), ("ed448", "Ed448"), ("p521", "EC-P-521")])
def test_more_kinds_of_keys(pki, kind, expected):
    assert certificate_facts(pki.leaf("mx.a.example", key=kind).der).key == expected


def test_the_last_common_name_counts_and_control_characters_do_not():
    subject = [(NameOID.COMMON_NAME, "first"), (NameOID.COMMON_NAME, "evil\r\nBcc: \u202egone")]
    facts = certificate_facts(
        signed(ec.generate_private_key(ec.SECP256R1()), subject).public_bytes(serialization.Encoding.DER)
    )
    assert facts.common_name == "evil\ufffd\ufffdBcc: \ufffdgone"
    assert not {"\r", "\n", "\u202e"} & set(facts.subject)


def test_a_very_long_subject_is_cut():
    subject = [(NameOID.ORGANIZATIONAL_UNIT_NAME, "x" * 60)] * 100
    facts = certificate_facts(
        signed(ec.generate_private_key(ec.SECP256R1()), subject).public_bytes(serialization.Encoding.DER)
    )
    assert (len(facts.subject), facts.common_name, facts.dns_names) == (1000, "", ())


def test_names_that_are_no_host_names_are_left_out():
    key = ec.generate_private_key(ec.SECP256R1())
    names = x509.SubjectAlternativeName(
        [x509.DNSName(name) for name in ("mx.a.example", "not a name", "a\x00b.example", "f*.b.example", "")]
    )
    certificate = signed(key, extensions=[names])
    assert certificate_facts(certificate.public_bytes(serialization.Encoding.DER)).dns_names == ("mx.a.example",)


def test_an_unreadable_alternative_name_leaves_the_rest_readable():
    broken = x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, b"\x30\x03\x82\x05x")
    certificate = signed(ec.generate_private_key(ec.SECP256R1()), [(NameOID.COMMON_NAME, "a")], [broken])
    facts = certificate_facts(certificate.public_bytes(serialization.Encoding.DER))
    assert (facts.subject, facts.dns_names, facts.ip_addresses) == ("CN=a", (), ())


def test_dates_that_cannot_be_leave_the_rest_readable(pki):
    der = pki.leaf("mx.a.example").der
    begin, end = (f"{moment:%y%m%d%H%M%SZ}".encode() for moment in (pki.now - pki.day, pki.now + 30 * pki.day))
    assert der.count(begin) == der.count(end) == 1
    broken = der.replace(begin, b"209999999999Z").replace(end, b"219999999999Z")
    try:
        facts = certificate_facts(broken)
    except CertificateError:
        return  # the parser refuses the whole certificate: as well
    assert (facts.not_before, facts.not_after, facts.subject) == (0.0, 0.0, "CN=mx.a.example")


def test_an_unreadable_key_leaves_the_rest_readable(pki):
    der = pki.leaf("mx.a.example").der
    point = (
        pki.leaf("mx.a.example")
        .certificate.public_key()
        .public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    )
    facts = certificate_facts(der.replace(point, b"\x04" + b"\x01" * 64))
    assert (facts.key, len(facts.spki_sha256), facts.subject) == ("unknown", 64, "CN=mx.a.example")


def test_pss_keys_are_told_from_plain_rsa(pss_identity):
    chain, _ = pss_identity
    assert key_kind(x509.load_pem_x509_certificate(chain)) == "RSA-PSS-2048"


@pytest.mark.parametrize("der", [b"", b"\x30", b"EHLO", b"\x30\x03\x02\x01\x01", b"\x00" * (MAX_CERTIFICATE_BYTES + 1)])
def test_what_is_no_certificate_is_an_error(der):
    with pytest.raises(CertificateError):
        certificate_facts(der)


@settings(max_examples=200)
@given(damage=st.lists(st.tuples(st.integers(0, 600), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_damaged_certificate_gives_facts_or_one_error(pki, damage):
    der = bytearray(pki.intermediate.leaf("mx.a.example", "192.0.2.1", key="rsa2048").der)
    for position, value in damage:
        der[position] = value
    try:
        facts = certificate_facts(bytes(der))
    except CertificateError:
        return
    assert "\n" not in facts.subject + facts.issuer + facts.common_name


@pytest.mark.parametrize(
    "der",
    [
        b"",
        b"\x30",
        b"\x30\x80",
        b"\x31\x00",
        b"\x30\x00",
        b"\x30\x02\x05\x00",  # no TBSCertificate
        b"\x30\x02\x30\x00",  # an empty one
        b"\x30\x04\x30\x02\xa0\x00",  # a version and nothing else
        b"\x30\x84\xff\xff\xff\xff\x30\x00",
        b"\x30\x82\x00",
        b"\x30\x0e\x30\x0c" + b"\x30\x00" * 6,  # a SEQUENCE in the place of a serial number
        b"\x30\x83\x01\x00\x01" + b"\x00" * 65537,  # larger than what is looked at
    ],
)
def test_no_key_is_found_where_there_is_none(der):
    assert spki_der(der) == b""


def test_the_key_is_found_octet_for_octet(pki):
    leaf = pki.leaf("mx.example")
    spki = leaf.certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert spki_der(leaf.der) == spki
    assert certificate_facts(leaf.der).spki_sha256 == hashlib.sha256(spki).hexdigest()


@pytest.mark.parametrize(("digest", "bound"), [(hashes.SHA256(), "sha256"), (hashes.SHA384(), "sha384")])
def test_what_binds_to_a_server_certificate(digest, bound):
    certificate = signed(ec.generate_private_key(ec.SECP256R1()), digest=digest)
    der = certificate.public_bytes(serialization.Encoding.DER)
    assert end_point_binding(certificate) == {"tls-server-end-point": hashlib.new(bound, der).digest()}


def test_a_signature_by_sha_1_binds_by_sha_256(sha1_leaf):
    expected = {"tls-server-end-point": hashlib.sha256(sha1_leaf.der).digest()}
    assert end_point_binding(sha1_leaf.certificate) == expected


def test_a_signature_without_a_hash_binds_nothing():
    key = ed25519.Ed25519PrivateKey.generate()
    assert end_point_binding(signed(key, signer=key, digest=None)) == {}
