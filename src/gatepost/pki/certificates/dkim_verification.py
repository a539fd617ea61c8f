"""Check signatures of others with the public keys that their domains publish (RFC 6376, RFC 8463, RFC 8301).

Called by `mail.inbound.authentication` and `mail.outbound.arc`. What is signed, and whether the key is for it, is said
by `protocols.dkim.verification` and `protocols.arc`.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from hashlib import sha256
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from gatepost.protocols.dkim.verification import SignatureFault

_LEAST_BITS: Final = 1024  # RFC 8301 section 3.2
_MOST_BITS: Final = 8192  # beyond that, verifying takes long
_EXPONENT_BITS: Final = (
    64  # as OpenSSL has it for large keys; with one of 3072 bits, verifying takes a hundred times as long
)


def verify(public_key: str, algorithm: str, octets: bytes, signature: bytes) -> None:
    """public_key: p= of the record. algorithm: as a= has it. Raises SignatureFault unless the signature is right."""
    key = _key(public_key, algorithm)
    try:
        if isinstance(key, RSAPublicKey):
            key.verify(signature, octets, PKCS1v15(), SHA256())
        else:
            key.verify(signature, sha256(octets).digest())
    except InvalidSignature:
        raise SignatureFault("fail", "the signature does not match") from None


def _key(public_key: str, algorithm: str) -> RSAPublicKey | Ed25519PublicKey:
    try:
        octets = b64decode(public_key, validate=True)
        key = Ed25519PublicKey.from_public_bytes(octets) if algorithm != "rsa-sha256" else _rsa(octets)
    except (binascii.Error, ValueError, UnsupportedAlgorithm):
        raise SignatureFault("permerror", "the key cannot be read") from None
    if isinstance(key, RSAPublicKey) and not _LEAST_BITS <= key.key_size <= _MOST_BITS:
        small = key.key_size < _LEAST_BITS
        raise SignatureFault("policy", f"the key has {'less than 1024' if small else 'more than 8192'} bits")
    if isinstance(key, RSAPublicKey) and key.public_numbers().e.bit_length() > _EXPONENT_BITS:
        raise SignatureFault("policy", f"the exponent of the key has more than {_EXPONENT_BITS} bits")
    return key


def _rsa(octets: bytes) -> RSAPublicKey:
    key = load_der_public_key(octets)
    if not isinstance(key, RSAPublicKey):
        raise ValueError("not RSA")  # noqa: TRY004 - what was read, not a wrong argument
    return key
