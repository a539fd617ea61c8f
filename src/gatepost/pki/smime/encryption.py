"""Encrypt content to certificates: EnvelopedData with AES-256-CBC (RFC 5652 section 6, RFC 8551 section 2.7).

Called by `mail.outbound.smime` in a thread. RSA keys get the content's key by PKCS #1 v1.5, those on elliptic curves by
ECDH with a key made for the message (RFC 5753): `cryptography`'s own builder knows only the first. Its ciphers are used
for both.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.x963kdf import X963KDF
from cryptography.hazmat.primitives.keywrap import aes_key_wrap
from cryptography.hazmat.primitives.padding import PKCS7
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gatepost.pki.smime import ber

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography import x509


_KEY: Final = 32
_AES_256_CBC: Final = ber.oid("2.16.840.1.101.3.4.1.42")
_AES_256_WRAP: Final = ber.write(ber.SEQUENCE, ber.write(ber.OID, ber.oid("2.16.840.1.101.3.4.1.45")))
_ECDH_SHA256: Final = ber.oid("1.3.132.1.11.1")
_NULL: Final = b"\x05\x00"


def encrypted(content: bytes, certificates: Sequence[x509.Certificate]) -> bytes:
    """ContentInfo in DER, which the key of each certificate opens; at least one. Raises ValueError for other keys."""
    if not certificates:
        raise ValueError("content is encrypted to at least one certificate")
    key, vector = secrets.token_bytes(_KEY), secrets.token_bytes(ber.BLOCK)
    recipients = [_recipient(certificate, key) for certificate in certificates]
    agreed = any(recipient[0] == ber.context(1) for recipient in recipients)
    cipher = Cipher(algorithms.AES(key), modes.CBC(vector)).encryptor()
    padder = PKCS7(ber.BLOCK * 8).padder()
    whole = len(content) - len(content) % ber.BLOCK
    body = [cipher.update(content[at : min(at + ber.PIECE, whole)]) for at in range(0, whole, ber.PIECE)]
    body.append(cipher.update(padder.update(content[whole:]) + padder.finalize()))
    algorithm = ber.write(ber.SEQUENCE, ber.write(ber.OID, _AES_256_CBC), ber.write(ber.OCTET_STRING, vector))
    info = ber.enclosed(
        ber.SEQUENCE, [ber.write(ber.OID, ber.DATA), algorithm, *ber.enclosed(ber.context(0, constructed=False), body)]
    )
    version = ber.write(ber.INTEGER, b"\x02" if agreed else b"\x00")
    data = ber.enclosed(ber.SEQUENCE, [version, ber.write(ber.SET, *sorted(recipients)), *info])
    return b"".join(
        ber.enclosed(ber.SEQUENCE, [ber.write(ber.OID, ber.ENVELOPED), *ber.enclosed(ber.context(0), data)])
    )


def _recipient(certificate: x509.Certificate, key: bytes) -> bytes:
    public = certificate.public_key()
    tbs = ber.read(certificate.tbs_certificate_bytes)
    serial = tbs.part(1 if tbs.parts[0].tag == ber.context(0) else 0, ber.INTEGER)
    identifier = ber.write(ber.SEQUENCE, ber.issuer_of(certificate), bytes(serial.raw))
    if isinstance(public, rsa.RSAPublicKey):
        transported = public.encrypt(key, padding.PKCS1v15())
        method = ber.write(ber.SEQUENCE, ber.write(ber.OID, ber.RSA), _NULL)
        return ber.write(
            ber.SEQUENCE, ber.write(ber.INTEGER, b"\x00"), identifier, method, ber.write(ber.OCTET_STRING, transported)
        )
    if isinstance(public, ec.EllipticCurvePublicKey):
        return _agreement(public, identifier, key)
    raise ValueError("keys of this kind do not encrypt")


def _agreement(public: ec.EllipticCurvePublicKey, identifier: bytes, key: bytes) -> bytes:
    """KeyAgreeRecipientInfo (RFC 5753 section 3.1.1), with a fresh key on the recipient's curve."""
    own = ec.generate_private_key(public.curve)
    derive = X963KDF(SHA256(), _KEY, ber.shared_info(_AES_256_WRAP, _KEY))
    wrapped = aes_key_wrap(derive.derive(own.exchange(ec.ECDH(), public)), key)
    spki = ber.read(own.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    originator = ber.write(ber.context(0), ber.write(ber.context(1), *(bytes(part.raw) for part in spki.parts)))
    method = ber.write(ber.SEQUENCE, ber.write(ber.OID, _ECDH_SHA256), _AES_256_WRAP)
    keys = ber.write(ber.SEQUENCE, ber.write(ber.SEQUENCE, identifier, ber.write(ber.OCTET_STRING, wrapped)))
    return ber.write(ber.context(1), ber.write(ber.INTEGER, b"\x03"), originator, method, keys)
