"""What the tests of the published certificate table show: two roots, an intermediate below each, servers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from support.chains import Made, addresses, pem
from support.rsa_keys import rsa_key
from support.status_authority import StatusAuthority

HOST = "mx1.contoso.example"
CRL, OCSP, AIA = "http://crl.ca.example/ca.crl", "http://ocsp.ca.example", "http://secure.ca.example/ca.crt"
ROOT = StatusAuthority("Test Root R1")
INTERMEDIATE = StatusAuthority("Test CA G2", parent=ROOT, crl=[CRL], ocsp=[OCSP])
OLD_ROOT = StatusAuthority("Old Root")
OLD = StatusAuthority("Old CA", parent=OLD_ROOT)


def der(authority: StatusAuthority) -> bytes:
    return authority.certificate.public_bytes(Encoding.DER)


ROOTS = (der(ROOT), der(OLD_ROOT))


def certificate(
    authority: StatusAuthority = INTERMEDIATE,
    *,
    organization: str = "",
    unit: str = "",
    names: Sequence[str] = (HOST, "mta-sts.contoso.example"),
    kind: str = "ec",
) -> Made:
    """A server's certificate that names every kind of address. names: the first is the CN. kind: "ec" or "rsa"."""
    key: Any = rsa_key() if kind == "rsa" else ec.generate_private_key(ec.SECP256R1())
    parts = ((NameOID.ORGANIZATION_NAME, organization), (NameOID.ORGANIZATIONAL_UNIT_NAME, unit))
    subject = [x509.NameAttribute(oid, text) for oid, text in (*parts, (NameOID.COMMON_NAME, names[0])) if text]
    more = [(x509.SubjectAlternativeName([x509.DNSName(one) for one in names]), False)]
    extensions = [*more, *addresses([CRL], [OCSP], [AIA])]
    return Made(authority.issue(x509.Name(subject), key, extensions), key)


def chain(made: Made, authority: StatusAuthority = INTERMEDIATE) -> bytes:
    """As a server is given it, PEM."""
    return pem(made.certificate, authority.certificate)
