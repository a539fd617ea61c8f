"""What is read of a certificate is what OpenSSL reads of it."""

from __future__ import annotations

import subprocess
from functools import partial

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, mldsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from support.chains import server, sha1_signed
from support.rsa_keys import rsa_key
from support.status_authority import StatusAuthority
from support.table_scene import AIA, CRL, OCSP, certificate

from gatepost.net.certificate import CertificateError
from gatepost.pki.certificates.columns import columns

RSA = StatusAuthority("RSA Root", key=rsa_key())
EC = StatusAuthority("EC Root", key=ec.generate_private_key(ec.SECP384R1()))
ED = StatusAuthority("Ed Root", key=ed25519.Ed25519PrivateKey.generate())


def openssl(der, *words):
    """What `openssl x509` prints, field by field."""
    command = ["openssl", "x509", "-inform", "DER", "-noout", *words]
    return subprocess.run(command, input=der, check=True, capture_output=True, timeout=30).stdout.decode()


@pytest.mark.parametrize(
    ("authority", "make_key", "shown", "signature"),
    [
        (RSA, partial(rsa_key, name="leaf"), ("RSA, 2048 bits", 2048), "RSA with SHA-256"),
        (RSA, partial(rsa_key, 3072), ("RSA, 3072 bits", 3072), "RSA with SHA-256"),
        (RSA, partial(ec.generate_private_key, ec.SECP256R1()), ("EC P-256, 256 bits", 256), "RSA with SHA-256"),
        (EC, partial(ec.generate_private_key, ec.SECP384R1()), ("EC P-384, 384 bits", 384), "ECDSA with SHA-256"),
        (ED, ed25519.Ed25519PrivateKey.generate, ("Ed25519, 256 bits", 256), "Ed25519"),
        (ED, ed448.Ed448PrivateKey.generate, ("Ed448, 448 bits", 448), "Ed25519"),
    ],
    ids=["rsa", "rsa 3072", "ec below rsa", "ec", "ed25519", "ed448"],
)
def test_keys_and_signatures(authority, make_key, shown, signature):
    found = columns(server(authority, key=make_key()).der)
    assert (found.key_text, found.bits, found.signature) == (*shown, signature)


@pytest.mark.parametrize("authority", [RSA, EC, ED], ids=["rsa", "ec", "ed25519"])
def test_digests_and_serial_are_those_of_openssl(authority):
    der = server(authority).der
    found = columns(der)
    facts = found.facts
    said = dict(line.split("=", 1) for line in openssl(der, "-serial", "-fingerprint", "-sha1").splitlines())
    assert said["serial"] == found.serial
    assert said["sha1 Fingerprint"].replace(":", "").lower() == facts.sha1
    sha256 = openssl(der, "-fingerprint", "-sha256").strip().partition("=")[2]
    assert sha256.replace(":", "").lower() == facts.sha256
    pipe = "openssl x509 -inform DER -pubkey -noout | openssl pkey -pubin -outform DER | openssl dgst -sha256 -binary"
    command = ["sh", "-c", f"{pipe} | base64"]
    pin = subprocess.run(command, input=der, check=True, capture_output=True, timeout=30).stdout.decode().strip()
    assert found.pin == pin


def test_a_serial_number_has_whole_octets():
    der = next(
        one
        for one in (server(EC).der for _ in range(500))
        if len(f"{x509.load_der_x509_certificate(one).serial_number:x}") % 2
    )
    found = columns(der)
    assert found.serial == openssl(der, "-serial").strip().partition("=")[2]
    assert found.serial.startswith("0")


def named(*attributes):
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(kind, value) for kind, value in attributes])
    return EC.issue(subject, key, []).public_bytes(Encoding.DER)


CN, ORG, OU = NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME, NameOID.ORGANIZATIONAL_UNIT_NAME


@pytest.mark.parametrize(
    ("attributes", "shown"),
    [
        ([(CN, "a.example"), (ORG, "Contoso Corporation")], ("a.example", "Contoso Corporation", "")),
        ([(ORG, "A"), (OU, "B"), (OU, "C")], ("OU=C,OU=B,O=A", "A", "B, C")),
        ([(ORG, "evil\u202egro\x1b[1m")], ("O=evil\ufffdgro\ufffd[1m", "evil\ufffdgro\ufffd[1m", "")),
        ([], ("", "", "")),
    ],
)
def test_names(attributes, shown):
    found = columns(named(*attributes))
    assert (found.name, found.organization, found.organization_unit) == shown


def test_a_certificate_without_a_common_name_is_called_by_its_first_name():
    key = ec.generate_private_key(ec.SECP256R1())
    san = x509.SubjectAlternativeName([x509.DNSName("b.example"), x509.DNSName("a.example")])
    found = columns(EC.issue(x509.Name([]), key, [(san, True)]).public_bytes(Encoding.DER))
    assert (found.name, found.names) == ("b.example", ("b.example", "a.example"))


def test_identifiers_and_addresses():
    key = ec.generate_private_key(ec.SECP256R1())
    more = [
        (x509.SubjectKeyIdentifier(b"\x01\x02"), False),
        (x509.AuthorityKeyIdentifier(b"\x03\xff", None, None), False),
    ]
    made = server(EC, key=key, more=more, crl=["http://c/x"], ocsp=["http://o"], issuers=["http://i"])
    found = columns(made.der)
    assert (found.ski, found.aki) == ("0102", "03ff")
    assert (found.crl, found.ocsp, found.issuers) == (("http://c/x",), ("http://o",), ("http://i",))
    bare = columns(named((CN, "x")))
    assert (bare.ski, bare.aki, bare.crl, bare.ocsp, bare.issuers) == ("", "", (), (), ())
    odd = x509.AuthorityKeyIdentifier(None, [x509.DNSName("x")], 1)
    assert columns(server(EC, more=[(odd, False)]).der).aki == ""


def test_addresses_move_nothing_on_a_page_or_a_terminal():
    der = certificate().der
    for known in (CRL, OCSP, AIA):
        der = der.replace(known.encode(), known[:-1].encode() + b"\x1b")
    found = columns(der)
    shown = [(f"{one[:-1]}\ufffd",) for one in (CRL, OCSP, AIA)]
    assert [found.crl, found.ocsp, found.issuers] == shown


def test_who_issues_itself():
    assert columns(EC.certificate.public_bytes(Encoding.DER)).self_issued
    assert not columns(server(EC).der).self_issued


def test_old_and_new_algorithms(tmp_path):
    assert columns(sha1_signed(tmp_path)[0]).signature == "ECDSA with SHA-1"
    key = mldsa.MLDSA65PrivateKey.generate()
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(x509.Name([]))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(EC.certificate.not_valid_before_utc)
        .not_valid_after(EC.certificate.not_valid_after_utc)
    )
    found = columns(builder.sign(key, None).public_bytes(Encoding.DER))
    assert (found.key_text, found.bits, found.signature) == ("ML-DSA-65", 0, "ML-DSA-65")


def test_what_is_no_certificate():
    with pytest.raises(CertificateError):
        columns(b"0")


@pytest.mark.parametrize(
    ("authority", "before", "after", "shown"),
    [
        (RSA, "2a8648ce3d030107", "2a8648ce3d03017f", ("unknown", 0, "RSA with SHA-256")),
        (EC, "2a8648ce3d040302", "2a8648ce3d04037f", ("EC P-256, 256 bits", 256, "1.2.840.10045.4.3.127")),
    ],
    ids=["curve", "signature"],
)
def test_what_is_not_known_here_is_left_open(authority, before, after, shown):
    der = server(authority).der.replace(bytes.fromhex(before), bytes.fromhex(after))
    found = columns(der)
    assert (found.key_text, found.bits, found.signature) == shown


def test_a_subject_that_cannot_be_read_is_left_empty():
    der = named((CN, "abcdef"), (ORG, "uvwxyz")).replace(b"uvwxyz", b"uv\xff\xfeyz")
    found = columns(der)
    assert (found.name, found.organization, found.organization_unit) == ("", "", "")
