"""People with certificates for mail, made once."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from support.rsa_keys import rsa_key

NOW = 1_790_000_000.0
_DAY = dt.timedelta(days=1)
_USAGES = (
    *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
    *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
)


@dataclass(frozen=True)
class Person:
    certificate: x509.Certificate
    key: Any

    @property
    def chain_pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


KEYS = {
    "rsa": rsa_key(),
    "rsa1024": rsa_key(1024),
    "p256": ec.generate_private_key(ec.SECP256R1()),
    "p384": ec.generate_private_key(ec.SECP384R1()),
    "p192": ec.generate_private_key(ec.SECP192R1()),
    "brainpool": ec.generate_private_key(ec.BrainpoolP256R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate(),
}


def person(
    address: str = "ann@p.example",
    key: str = "rsa",
    *,
    days: tuple[int, int] = (-1, 9),
    usages: str | None = None,
    extended: Any = None,
    names: list[x509.GeneralName] | None = None,
    subject: list[tuple[Any, str]] | None = None,
    identifier: bool = True,
) -> Person:
    now = dt.datetime.fromtimestamp(NOW, dt.UTC)
    own = KEYS[key]
    given = [x509.NameAttribute(oid, value) for oid, value in subject or [(NameOID.COMMON_NAME, address)]]
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(given))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Müller CA")]))
        .public_key(own.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + days[0] * _DAY)
        .not_valid_after(now + days[1] * _DAY)
    )
    alternative = [x509.RFC822Name(address)] if names is None else names
    if alternative:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternative), critical=False)
    if usages is not None:
        said = dict.fromkeys(_USAGES, False) | dict.fromkeys(usages.split(), True)
        builder = builder.add_extension(x509.KeyUsage(**said), critical=True)
    if extended is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([extended]), critical=False)
    if identifier:
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(own.public_key()), critical=False)
    signs = KEYS["p256"]
    return Person(builder.sign(signs, hashes.SHA256()), own)


@pytest.fixture(scope="session")
def make() -> Any:
    return person


@pytest.fixture(scope="session")
def now() -> float:
    return NOW


@pytest.fixture(scope="session")
def mail_purpose() -> Any:
    return ExtendedKeyUsageOID.EMAIL_PROTECTION
