from __future__ import annotations

import base64
import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as ec_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from support.rsa_keys import rsa_key

from gatepost.pki.certificates.dkim_verification import verify
from gatepost.protocols.dkim.verification import SignatureFault

RSA, ED = rsa_key(), Ed25519PrivateKey.generate()
OCTETS = b"what is signed"


def spki(key: object) -> str:
    return base64.b64encode(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()  # type: ignore[attr-defined]


RSA_PUBLIC, ED_PUBLIC = spki(RSA.public_key()), base64.b64encode(ED.public_key().public_bytes_raw()).decode()
RSA_SIGNED, ED_SIGNED = RSA.sign(OCTETS, PKCS1v15(), SHA256()), ED.sign(hashlib.sha256(OCTETS).digest())
HUGE = spki(RSAPublicNumbers(65537, (1 << 8200) + 1).public_key())
# OpenSSL refuses such exponents of keys beyond 3072 bits alone.
SLOW = spki(RSAPublicNumbers((1 << 3070) + 1, (1 << 3072) - 1).public_key())
SMALL = spki(RSAPublicNumbers(65537, (1 << 1023) - 1).public_key())


def test_signatures_that_match() -> None:
    verify(RSA_PUBLIC, "rsa-sha256", OCTETS, RSA_SIGNED)
    verify(ED_PUBLIC, "ed25519-sha256", OCTETS, ED_SIGNED)


@pytest.mark.parametrize(
    ("key", "algorithm", "signature", "result", "why"),
    [
        (
            RSA_PUBLIC,
            "rsa-sha256",
            RSA_SIGNED[:-1] + bytes([RSA_SIGNED[-1] ^ 1]),
            "fail",
            "the signature does not match",
        ),
        (RSA_PUBLIC, "rsa-sha256", b"", "fail", "the signature does not match"),
        (ED_PUBLIC, "ed25519-sha256", ED_SIGNED[::-1], "fail", "the signature does not match"),
        ("%", "rsa-sha256", RSA_SIGNED, "permerror", "the key cannot be read"),
        ("AAAA", "rsa-sha256", RSA_SIGNED, "permerror", "the key cannot be read"),
        ("AAAA", "ed25519-sha256", ED_SIGNED, "permerror", "the key cannot be read"),
        (spki(ec_key(SECP256R1()).public_key()), "rsa-sha256", RSA_SIGNED, "permerror", "the key cannot be read"),
        (SMALL, "rsa-sha256", RSA_SIGNED, "policy", "the key has less than 1024 bits"),
        (HUGE, "rsa-sha256", RSA_SIGNED, "policy", "the key has more than 8192 bits"),
        (SLOW, "rsa-sha256", RSA_SIGNED, "policy", "the exponent of the key has more than 64 bits"),
    ],
    ids=range(10),
)
def test_signatures_that_do_not(key: str, algorithm: str, signature: bytes, result: str, why: str) -> None:
    with pytest.raises(SignatureFault) as raised:
        verify(key, algorithm, OCTETS, signature)
    assert (raised.value.result, str(raised.value)) == (result, why)
