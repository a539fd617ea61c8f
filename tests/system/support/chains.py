"""Certificates of every defect for the tests of `gatepost check chain|roots`: made in memory, written where one asks.

A `StatusAuthority` signs them; unlike its own `leaf` these have keys, purposes, and the address of their issuer.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID
from support.status_authority import StatusAuthority

SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH


@dataclass(frozen=True, slots=True)
class Made:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: Any

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        der: bytes = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return der


def pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(one.public_bytes(Encoding.PEM) for one in certificates)


def server(
    authority: StatusAuthority,
    name: str = "mx1.contoso.example",
    *,
    names: Sequence[str] | None = None,
    key: Any = None,
    days: tuple[int, int] = (-1, 29),
    usages: Sequence[x509.ObjectIdentifier] = (SERVER,),
    crl: Sequence[str] = (),
    ocsp: Sequence[str] = (),
    issuers: Sequence[str] = (),
    more: Sequence[tuple[x509.ExtensionType, bool]] = (),
    ca: bool = False,
) -> Made:
    """A server's certificate. names: default (name,), () leaves subjectAltName out. issuers: caIssuers of AIA."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    extensions = [*addresses(crl, ocsp, issuers), *more]
    if names != ():
        san = x509.SubjectAlternativeName([x509.DNSName(one) for one in names or (name,)])
        extensions.append((san, False))
    if usages:
        extensions.append((x509.ExtendedKeyUsage(usages), False))
    if ca:
        extensions.append((x509.BasicConstraints(ca=True, path_length=None), True))
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    return Made(authority.issue(subject, key, extensions, days=days, ca=ca), key)


def addresses(crl: Sequence[str], ocsp: Sequence[str], issuers: Sequence[str]) -> list[tuple[x509.ExtensionType, bool]]:
    """The extensions that name CRLs, OCSP responders, and where the issuer's certificate is to be had."""
    found: list[tuple[x509.ExtensionType, bool]] = []
    if crl:
        points = [x509.DistributionPoint([x509.UniformResourceIdentifier(one)], None, None, None) for one in crl]
        found.append((x509.CRLDistributionPoints(points), False))
    access = [(AuthorityInformationAccessOID.OCSP, one) for one in ocsp]
    access += [(AuthorityInformationAccessOID.CA_ISSUERS, one) for one in issuers]
    if access:
        descriptions = [x509.AccessDescription(kind, x509.UniformResourceIdentifier(one)) for kind, one in access]
        found.append((x509.AuthorityInformationAccess(descriptions), False))
    return found


def self_issued(authority: StatusAuthority) -> Made:
    """An authority's own certificate as one of these."""
    return Made(authority.certificate, authority.key)


def sha1_signed(folder: Path, name: str = "sha1.contoso.example") -> tuple[bytes, bytes]:
    """A certificate that is signed with SHA-1, and its issuer, DER. The library does not make such any more."""
    issuer, leaf = folder / "issuer.der", folder / "leaf.der"
    new = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
    _openssl(folder, f"req -x509 {new} -keyout ca.key -subj /CN=Old -days 400 -out ca.crt")
    _openssl(folder, f"req -new {new} -keyout key -subj /CN={name} -out csr")
    (folder / "ext").write_text(f"subjectAltName=DNS:{name}\nextendedKeyUsage=serverAuth\n")
    _openssl(folder, "x509 -req -in csr -CA ca.crt -CAkey ca.key -sha1 -days 90 -extfile ext -out leaf.crt")
    for made, der in (("ca.crt", issuer), ("leaf.crt", leaf)):
        _openssl(folder, f"x509 -in {made} -outform DER -out {der.name}")
    return leaf.read_bytes(), issuer.read_bytes()


def _openssl(folder: Path, words: str) -> None:
    subprocess.run(["openssl", *words.split()], cwd=folder, check=True, capture_output=True, timeout=30)
