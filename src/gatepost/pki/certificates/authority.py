"""A certification authority of our own: for the demonstration and for drills. Never for the public.

RFC 5280 profile: ECDSA P-256, SHA-256, critical basicConstraints and keyUsage on the CA, subjectAltName on every leaf.
"""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes


BACKDATED = timedelta(hours=1)
"""A new certificate begins so much earlier, so that a peer whose clock is a little behind accepts it."""
_COMMON_NAME = 64  # characters (RFC 5280, ub-common-name); longer names stand in subjectAltName whole


def _key(kind: str) -> ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048) if kind == "rsa" else ec.generate_private_key(ec.SECP256R1())


def subject_name(common_name: str, organization: str) -> x509.Name:
    """A subject: the common name, cut to what RFC 5280 allows, below the organization if there is one."""
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, common_name[:_COMMON_NAME])]
    if organization:
        parts.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
    return x509.Name(parts)


def key_pem(key: CertificateIssuerPrivateKeyTypes) -> bytes:
    """A key as it is sealed or written: PKCS#8, PEM, not encrypted."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


class Authority:
    """Issues leaf certificates in memory: a root, or an intermediate below one. Keys are P-256 unless asked otherwise.

    issuer: signs its certificate; None for a root. crl_url: where that one's revocations are published.
    """

    def __init__(
        self,
        name: str,
        *,
        organization: str = "",
        lifetime: timedelta = timedelta(days=3650),
        issuer: Authority | None = None,
        crl_url: str = "",
    ) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._subject = subject_name(name, organization)
        now = datetime.now(UTC)
        above = issuer or self
        builder = above._builder(self._subject, self._key.public_key(), now - BACKDATED, now + lifetime)  # noqa: SLF001 - of its own kind
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0 if issuer else 1), critical=True)
        builder = builder.add_extension(key_usage(signs_certificates=True), critical=True)
        if issuer:
            builder = builder.add_extension(issuer._identifier(), critical=False)  # noqa: SLF001 - as above
        builder = _published(builder, crl_url)
        self._certificate = builder.sign(above._key, hashes.SHA256())  # noqa: SLF001 - as above
        self._sent: bytes = self.certificate_pem + issuer._sent if issuer else b""  # noqa: SLF001 - as above

    @property
    def certificate_pem(self) -> bytes:
        """Its own certificate: that of a root is what a partner puts into its trust anchors."""
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    def issue(
        self,
        names: Sequence[str],
        *,
        key: str = "ecdsa",
        lifetime: timedelta = timedelta(days=90),
        not_before: datetime | None = None,
        crl_url: str = "",
    ) -> tuple[bytes, bytes]:
        """A leaf for `names` (DNS names or IP addresses; the first is also the CN): (chain PEM, key PEM).

        key: "ecdsa" (P-256) or "rsa" (2048). Its extended key usage allows server and client authentication. crl_url:
        where its revocation would be published, "" for nowhere. The chain has the intermediates, not the root.
        """
        private = _key(key)
        begin = not_before or datetime.now(UTC) - BACKDATED
        builder = self._builder(subject_name(names[0], ""), private.public_key(), begin, begin + lifetime + BACKDATED)
        builder = _as_leaf(builder, names).add_extension(self._identifier(), critical=False)
        leaf = _published(builder, crl_url).sign(self._key, hashes.SHA256())
        return leaf.public_bytes(serialization.Encoding.PEM) + self._sent, key_pem(private)

    def crl(self, revoked: Sequence[bytes] = (), *, lifetime: timedelta = timedelta(days=1)) -> bytes:
        """The list of what it has revoked (RFC 5280 section 5), DER. revoked: chains as `issue` gave them, PEM."""
        now = datetime.now(UTC)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self._subject)
            .last_update(now - BACKDATED)
            .next_update(now + lifetime)
            .add_extension(x509.CRLNumber(int(now.timestamp())), critical=False)
            .add_extension(self._identifier(), critical=False)
        )
        for chain in revoked:
            serial = x509.load_pem_x509_certificates(chain)[0].serial_number
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now - BACKDATED).build()
            builder = builder.add_revoked_certificate(entry)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)

    def _identifier(self) -> x509.AuthorityKeyIdentifier:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())

    def _builder(
        self,
        subject: x509.Name,
        public_key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey,
        begin: datetime,
        end: datetime,
    ) -> x509.CertificateBuilder:
        return begun(subject, self._subject, public_key, (begin, end))


def self_signed(
    names: Sequence[str], *, key: str = "ecdsa", lifetime: timedelta = timedelta(days=90)
) -> tuple[bytes, bytes]:
    """A leaf that no authority stands for: (certificate PEM, key PEM). names, key: as `Authority.issue` takes them."""
    private = _key(key)
    begin, subject = datetime.now(UTC) - BACKDATED, subject_name(names[0], "")
    builder = _as_leaf(begun(subject, subject, private.public_key(), (begin, begin + lifetime)), names)
    return builder.sign(private, hashes.SHA256()).public_bytes(serialization.Encoding.PEM), key_pem(private)


def begun(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey,
    valid: tuple[datetime, datetime],
) -> x509.CertificateBuilder:
    """Begin a certificate with the fields that all have; the rest is its profile."""
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(valid[0])
        .not_valid_after(valid[1])
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def key_usage(*, signs_certificates: bool, enciphers_keys: bool = False) -> x509.KeyUsage:
    """The use of a key: to sign certificates and their revocations, or in handshakes (RFC 5280 section 4.2.1.3)."""
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=enciphers_keys,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _as_leaf(builder: x509.CertificateBuilder, names: Sequence[str]) -> x509.CertificateBuilder:
    usages = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    return (
        builder.add_extension(x509.SubjectAlternativeName([general_name(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usages, critical=False)
    )


def _published(builder: x509.CertificateBuilder, crl_url: str) -> x509.CertificateBuilder:
    if not crl_url:
        return builder
    point = x509.DistributionPoint([x509.UniformResourceIdentifier(crl_url)], None, None, None)
    return builder.add_extension(x509.CRLDistributionPoints([point]), critical=False)


def general_name(name: str) -> x509.GeneralName:
    """An IP address or a DNS name for subjectAltName."""
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
