"""Sign content with an organization's certificate: SignedData with SHA-256 (RFC 5652 section 5, RFC 8551).

Called by `mail.outbound.smime` in a thread. The structure is made by `cryptography`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from gatepost.values import RedactedStruct

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec, rsa


class SmimeSigner(RedactedStruct, frozen=True):
    """A certificate with its key, and the intermediates that go with the signature."""

    REDACTED = ("key",)

    certificate: x509.Certificate
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
    intermediates: tuple[x509.Certificate, ...] = ()


def signature(content: bytes, signer: SmimeSigner) -> bytes:
    """SignedData over the content, which is not in it."""
    return _made(content, signer, detached=True)


def signed(content: bytes, signer: SmimeSigner) -> bytes:
    """SignedData with the content in it."""
    return _made(content, signer, detached=False)


def _made(content: bytes, signer: SmimeSigner, *, detached: bool) -> bytes:
    from cryptography.hazmat.primitives.serialization import pkcs7  # noqa: PLC0415 - it imports all of email

    builder = pkcs7.PKCS7SignatureBuilder().set_data(content).add_signer(signer.certificate, signer.key, SHA256())
    for certificate in signer.intermediates:
        builder = builder.add_certificate(certificate)
    options = [pkcs7.PKCS7Options.Binary, *([pkcs7.PKCS7Options.DetachedSignature] if detached else [])]
    return builder.sign(Encoding.DER, options)
