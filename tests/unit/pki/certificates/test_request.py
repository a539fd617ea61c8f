from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from gatepost.net.certificate import key_kind
from gatepost.pki.certificates.authority import Authority
from gatepost.pki.certificates.entry import CertificateRequestSpec, PendingRequest, Purpose
from gatepost.pki.certificates.files import CertificateFileError
from gatepost.pki.certificates.request import (
    KEY_TYPES,
    CertificateRequests,
    made_request,
)
from gatepost.pki.certificates.vault import Vault

VAULT = Vault(bytes(range(32)))
SERVER = CertificateRequestSpec(("mx.a.example", "*.a.example"), must_staple=True)
CLIENT = CertificateRequestSpec((), "ec-p384", Purpose.CLIENT, "contoso", "to-bank")


def test_a_request_says_what_is_wished():
    request = x509.load_pem_x509_csr(made_request(SERVER)[0])
    assert request.is_signature_valid
    assert request.subject.rfc4514_string() == "CN=mx.a.example"
    names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == list(SERVER.names)
    feature = request.extensions.get_extension_for_class(x509.TLSFeature).value
    assert list(feature) == [x509.TLSFeatureType.status_request]


def test_a_request_for_a_client_identity():
    request = x509.load_pem_x509_csr(made_request(CLIENT)[0])
    assert request.subject.rfc4514_string() == "CN=to-bank"
    usage = request.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert len(request.extensions) == 1


@pytest.mark.parametrize(
    ("wanted", "kind"), [("ec-p256", "EC-P-256"), ("ec-p384", "EC-P-384"), ("rsa-2048", "RSA-2048")]
)
def test_kinds_of_keys(wanted, kind):
    request, key = made_request(CertificateRequestSpec(("mx.a.example",), wanted))
    asked = x509.load_pem_x509_csr(request)
    assert key_kind(asked) == kind  # type: ignore[arg-type] # it has a key like a certificate
    assert load_pem_private_key(key, None).public_key() == asked.public_key()
    assert wanted in KEY_TYPES


def test_a_key_waits_sealed_and_is_found_by_its_certificate(store, tmp_path):
    requests = CertificateRequests(store, VAULT)
    csr, key = made_request(SERVER)
    made = requests.add(SERVER, csr, key, author="ann", now=5.0)
    other = requests.add(CLIENT, *made_request(CLIENT), author="ann", now=4.0)
    assert list(requests.waiting().values()) == [other, made]
    assert (made.wish, made.added, made.key_file) == (SERVER, 5.0, "")
    assert requests.key_pem(made) == key
    assert requests.request_pem(made) == csr
    public = x509.load_pem_x509_csr(csr).public_key()
    assert requests.of(certificate(public)) == made
    stranger = x509.load_pem_x509_certificates(Authority("x").issue(["a.example"])[0])[0]
    assert requests.of(stranger) is None
    for file in (tmp_path / "data").iterdir():
        assert b"PRIVATE KEY" not in file.read_bytes()
    requests.remove(made, author="ann")
    assert list(requests.waiting()) == [other.id]
    assert requests.request_pem(made) == b""
    with pytest.raises(CertificateFileError, match="its key is lost: make a new request"):
        requests.key_pem(made)


def certificate(public):
    """One with that key."""
    name, now = x509.Name([]), datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).serial_number(1).public_key(public)
    builder = builder.not_valid_before(now).not_valid_after(now + timedelta(days=1))
    return builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())


def test_what_keeps_a_key_from_waiting_or_coming_back(store, tmp_path):
    csr, key = made_request(SERVER)
    with pytest.raises(CertificateFileError, match=r"only sealed: set store\.master_key"):
        CertificateRequests(store, None).add(SERVER, csr, key, author="ann", now=1.0)
    made = CertificateRequests(store, VAULT).add(SERVER, csr, key, author="ann", now=1.0)
    with pytest.raises(CertificateFileError, match=r"its key is sealed: set store\.master_key"):
        CertificateRequests(store, None).key_pem(made)
    with pytest.raises(CertificateFileError, match="the master key is not the one"):
        CertificateRequests(store, Vault(bytes(32))).key_pem(made)
    file = tmp_path / "mx.key"
    left = CertificateRequests(store, None).add_with_file(SERVER, csr, file, author="ann", now=1.0)
    with pytest.raises(CertificateFileError, match="No such file"):
        CertificateRequests(store, None).key_pem(left)
    file.write_bytes(key)
    assert CertificateRequests(store, None).key_pem(left) == key
    assert CertificateRequests(store, None).waiting() == {left.id: PendingRequest(left.id, SERVER, 1.0, str(file))}


def test_a_request_of_another_version(store):
    store.apply({"certificate_request": {"x": {"names": []}}}, author="ann")
    with pytest.raises(ValueError, match="request x is stored in a form that this version does not know"):
        CertificateRequests(store, None).waiting()
