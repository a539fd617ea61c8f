"""An authority that says of its certificates whatever a test wants, true or false: CRLs and OCSP, in memory."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

NOW = dt.datetime.now(dt.UTC).replace(microsecond=0)
HOUR = dt.timedelta(hours=1)
REVOKED = NOW - 2 * HOUR

type Extensions = Sequence[tuple[x509.ExtensionType, bool]]


class StatusAuthority:
    """A root, or an intermediate below one. Its certificate: `certificate`; the path above it: `above`, nearest first.

    crl, ocsp: addresses that its own certificate names. usage: its keyUsage; None leaves that out.
    """

    def __init__(
        self,
        name: str = "root",
        *,
        parent: StatusAuthority | None = None,
        key: Any = None,
        crl: Sequence[str] = (),
        ocsp: Sequence[str] = (),
        crl_sign: bool | None = True,
    ) -> None:
        self.key = key or ec.generate_private_key(ec.SECP256R1())
        self.above = [parent.certificate, *parent.above] if parent else []
        extensions: list[tuple[x509.ExtensionType, bool]] = [(x509.BasicConstraints(ca=True, path_length=None), True)]
        if crl_sign is not None:
            extensions.append((_usage(crl_sign=crl_sign), True))
        self._parent = parent
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = (parent or self).issue(self.name, self.key, [*extensions, *places(crl, ocsp)], ca=True)

    def issue(
        self,
        subject: x509.Name,
        key: Any,
        extensions: Extensions,
        *,
        ca: bool = False,
        days: tuple[int, int] = (-1, 30),
    ) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW + dt.timedelta(days=days[0]))
            .not_valid_after(NOW + dt.timedelta(days=days[1]))
        )
        if not ca:
            builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return _sign(builder, self.key)

    def leaf(
        self,
        name: str = "mx.partner.example",
        *,
        crl: Sequence[str] = (),
        ocsp: Sequence[str] = (),
        more: Extensions = (),
    ) -> x509.Certificate:
        """An end-entity certificate; its key is of no interest."""
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        names = x509.SubjectAlternativeName([x509.DNSName(name)])
        key = ec.generate_private_key(ec.SECP256R1())
        return self.issue(subject, key, [(names, False), *places(crl, ocsp), *more])

    def path(self, leaf: x509.Certificate) -> tuple[bytes, ...]:
        """From the leaf to the root, DER."""
        return tuple(one.public_bytes(Encoding.DER) for one in (leaf, self.certificate, *self.above))

    def responder(
        self, *, usages: Sequence[x509.ObjectIdentifier] | None = None, days: tuple[int, int] = (-1, 30)
    ) -> Any:
        """A delegated OCSP responder: its certificate and key. usages: default id-kp-OCSPSigning, () leaves it out."""
        key = ec.generate_private_key(ec.SECP256R1())
        chosen = [ExtendedKeyUsageOID.OCSP_SIGNING] if usages is None else usages
        extensions: Extensions = [(x509.ExtendedKeyUsage(chosen), False)] if chosen else []
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "responder")])
        return self.issue(subject, key, extensions, days=days), key

    def crl(
        self,
        revoked: Mapping[int, x509.ReasonFlags | None] | None = None,
        *,
        hours: tuple[float, float] = (-1, 1),
        signer: Any = None,
        name: x509.Name | None = None,
        extensions: Extensions = (),
        entry_extensions: Extensions = (),
        algorithm: Any = None,
    ) -> bytes:
        """A list, DER. hours: thisUpdate and nextUpdate from NOW. signer, name: of another authority."""
        entries = []
        for serial, reason in (revoked or {}).items():
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(REVOKED)
            if reason is not None:
                entry = entry.add_extension(x509.CRLReason(reason), critical=False)
            for extension, critical in entry_extensions:
                entry = entry.add_extension(extension, critical)
            entries.append(entry.build())
        builder = (
            x509.CertificateRevocationListBuilder(revoked_certificates=entries)
            .issuer_name(name or self.name)
            .last_update(NOW + hours[0] * HOUR)
            .next_update(NOW + hours[1] * HOUR)
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return _sign(builder, signer or self.key, algorithm).public_bytes(Encoding.DER)

    def response(
        self,
        certificate: x509.Certificate,
        status: str = "good",
        *,
        hours: tuple[float, float | None] = (-1, 1),
        signer: Any = None,
        responder: x509.Certificate | None = None,
        by_key: bool = False,
        issuer: x509.Certificate | None = None,
        reason: x509.ReasonFlags | None = None,
        extensions: Extensions = (),
        attach: bool = True,
        forged: bool = False,
    ) -> bytes:
        """An OCSP response, DER. signer, responder: key and certificate of who signs; attach: sends the latter along.

        issuer: whose the certificate is said to be. forged: one bit of the signature is wrong.
        """
        builder = ocsp.OCSPResponseBuilder().add_response(
            certificate,
            issuer or self.certificate,
            hashes.SHA1(),  # noqa: S303 - names the certificate
            getattr(ocsp.OCSPCertStatus, status.upper()),
            NOW + hours[0] * HOUR,
            NOW + hours[1] * HOUR if hours[1] is not None else None,
            REVOKED if status == "revoked" else None,
            reason,
        )
        encoding = ocsp.OCSPResponderEncoding.HASH if by_key else ocsp.OCSPResponderEncoding.NAME
        builder = builder.responder_id(encoding, responder or self.certificate)
        if responder is not None and attach:
            builder = builder.certificates([responder])
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        made = _sign(builder, signer or self.key)
        der: bytes = made.public_bytes(Encoding.DER)
        changed = made.signature[:-1] + bytes([made.signature[-1] ^ 1])
        return der.replace(made.signature, changed) if forged else der


def places(crl: Sequence[str], responders: Sequence[str]) -> Extensions:
    """The extensions that name CRL distribution points, one for each address, and OCSP responders."""
    found: list[tuple[x509.ExtensionType, bool]] = []
    if crl:
        points = [x509.DistributionPoint([x509.UniformResourceIdentifier(one)], None, None, None) for one in crl]
        found.append((x509.CRLDistributionPoints(points), False))
    if responders:
        descriptions = [
            x509.AccessDescription(AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier(one))
            for one in responders
        ]
        found.append((x509.AuthorityInformationAccess(descriptions), False))
    return found


def _usage(*, crl_sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=crl_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _sign(builder: Any, key: Any, algorithm: Any = None) -> Any:
    return builder.sign(
        key,
        None if isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey) else algorithm or hashes.SHA256(),
    )
