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

from gatepost.pki.smime.ber import (
    BLOCK,
    DATA,
    ENVELOPED,
    INTEGER,
    OCTET_STRING,
    OID,
    PIECE,
    RSA,
    SEQUENCE,
    SET,
    context,
    enclosed,
    issuer_of,
    oid,
    read,
    shared_info,
    write,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography import x509


_KEY: Final = 32
_AES_256_CBC: Final = oid("2.16.840.1.101.3.4.1.42")
_AES_256_WRAP: Final = write(SEQUENCE, write(OID, oid("2.16.840.1.101.3.4.1.45")))
_ECDH_SHA256: Final = oid("1.3.132.1.11.1")
_NULL: Final = b"\x05\x00"


def encrypted(content: bytes, certificates: Sequence[x509.Certificate]) -> bytes:
    """ContentInfo in DER, which the key of each certificate opens; at least one. Raises ValueError for other keys."""
    if not certificates:
        raise ValueError("content is encrypted to at least one certificate")
    key, vector = secrets.token_bytes(_KEY), secrets.token_bytes(BLOCK)
    recipients = [_recipient(certificate, key) for certificate in certificates]
    agreed = any(recipient[0] == context(1) for recipient in recipients)
    cipher = Cipher(algorithms.AES(key), modes.CBC(vector)).encryptor()
    padder = PKCS7(BLOCK * 8).padder()
    whole = len(content) - len(content) % BLOCK
    body = [cipher.update(content[at : min(at + PIECE, whole)]) for at in range(0, whole, PIECE)]
    body.append(cipher.update(padder.update(content[whole:]) + padder.finalize()))
    algorithm = write(SEQUENCE, write(OID, _AES_256_CBC), write(OCTET_STRING, vector))
    info = enclosed(SEQUENCE, [write(OID, DATA), algorithm, *enclosed(context(0, constructed=False), body)])
    version = write(INTEGER, b"\x02" if agreed else b"\x00")
    data = enclosed(SEQUENCE, [version, write(SET, *sorted(recipients)), *info])
    return b"".join(enclosed(SEQUENCE, [write(OID, ENVELOPED), *enclosed(context(0), data)]))


def _recipient(certificate: x509.Certificate, key: bytes) -> bytes:
    public = certificate.public_key()
    tbs = read(certificate.tbs_certificate_bytes)
    serial = tbs.part(1 if tbs.parts[0].tag == context(0) else 0, INTEGER)
    identifier = write(SEQUENCE, issuer_of(certificate), bytes(serial.raw))
    if isinstance(public, rsa.RSAPublicKey):
        transported = public.encrypt(key, padding.PKCS1v15())
        method = write(SEQUENCE, write(OID, RSA), _NULL)
        return write(SEQUENCE, write(INTEGER, b"\x00"), identifier, method, write(OCTET_STRING, transported))
    if isinstance(public, ec.EllipticCurvePublicKey):
        return _agreement(public, identifier, key)
    raise ValueError("keys of this kind do not encrypt")


def _agreement(public: ec.EllipticCurvePublicKey, identifier: bytes, key: bytes) -> bytes:
    """KeyAgreeRecipientInfo (RFC 5753 section 3.1.1), with a fresh key on the recipient's curve."""
    own = ec.generate_private_key(public.curve)
    derive = X963KDF(SHA256(), _KEY, shared_info(_AES_256_WRAP, _KEY))
    wrapped = aes_key_wrap(derive.derive(own.exchange(ec.ECDH(), public)), key)
    spki = read(own.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    originator = write(context(0), write(context(1), *(bytes(part.raw) for part in spki.parts)))
    method = write(SEQUENCE, write(OID, _ECDH_SHA256), _AES_256_WRAP)
    keys = write(SEQUENCE, write(SEQUENCE, identifier, write(OCTET_STRING, wrapped)))
    return write(context(1), write(INTEGER, b"\x03"), originator, method, keys)
