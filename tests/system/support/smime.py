"""S/MIME as others have it: certificates of people and gateways, and OpenSSL's `cms` to encrypt, decrypt and verify."""

from __future__ import annotations

import datetime as dt
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gatepost.testing.pki import make_key

_EXTENDED = {"mail": ExtendedKeyUsageOID.EMAIL_PROTECTION, "server": ExtendedKeyUsageOID.SERVER_AUTH}


@dataclass(frozen=True, slots=True)
class Person:
    """Who has a certificate. certificate, key: PEM files."""

    certificate: Path
    key: Path

    @property
    def number(self) -> str:
        """The first 16 digits of its fingerprint, as gatepost shows it."""
        found = x509.load_pem_x509_certificate(self.certificate.read_bytes())
        return found.fingerprint(hashes.SHA256()).hex()[:16]


class MailAuthority:
    """Issues certificates for mail. root: its own, PEM."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = make_key("ecdsa")
        name = _name("Mail authority")
        builder = _builder(name, name, self._key.public_key(), (-1, 90))
        self._certificate = builder.add_extension(x509.BasicConstraints(True, 0), True).sign(self._key, hashes.SHA256())
        self.root = self._write("mail-root.pem", self._certificate)

    def person(
        self,
        address: str,
        *,
        key: str = "rsa",
        days: tuple[float, float] = (-1, 90),
        purpose: str = "mail",
        usages: Sequence[str] = ("digital_signature", "key_encipherment", "key_agreement"),
        names: Sequence[x509.GeneralName] | None = None,
    ) -> Person:
        """A certificate with this address; names: other subjectAltNames instead."""
        own = make_key(key)
        builder = _builder(_name(address), self._certificate.subject, own.public_key(), days)
        given = [x509.RFC822Name(address)] if names is None else names
        builder = builder.add_extension(x509.SubjectAlternativeName(given), False)
        builder = builder.add_extension(x509.ExtendedKeyUsage([_EXTENDED[purpose]]), False)
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(own.public_key()), False)
        said = dict.fromkeys(_USAGES, False) | dict.fromkeys(usages, True)
        certificate = builder.add_extension(x509.KeyUsage(**said), True).sign(self._key, hashes.SHA256())
        stem = f"{address}-{certificate.serial_number:x}"
        secret = self._folder / f"{stem}.key"
        secret.write_bytes(
            own.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        secret.chmod(0o600)
        return Person(self._write(f"{stem}.pem", certificate), secret)

    def _write(self, name: str, certificate: x509.Certificate) -> Path:
        path = self._folder / name
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return path


_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(
    subject: x509.Name, issuer: x509.Name, public: object, days: tuple[float, float]
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)  # type: ignore[arg-type] # of the kinds that make_key makes
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + dt.timedelta(days=days[0]))
        .not_valid_after(now + dt.timedelta(days=days[1]))
    )


def cms(*words: str | Path, content: bytes) -> bytes:
    """`openssl cms` with some options, from standard input to standard output."""
    done = subprocess.run(
        ["openssl", "cms", *map(str, words)], input=content, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr.decode("utf-8", "replace")
    return done.stdout


def decrypted(message: bytes, person: Person) -> bytes:
    """What is in an S/MIME message for a person."""
    return cms("-decrypt", "-binary", "-recip", person.certificate, "-inkey", person.key, content=message)


def verified(message: bytes, authority: MailAuthority) -> bytes:
    """What was signed, once signature and chain are good for mail; -binary would break the end of multipart/signed."""
    return cms("-verify", "-CAfile", authority.root, "-purpose", "smimesign", content=message)
