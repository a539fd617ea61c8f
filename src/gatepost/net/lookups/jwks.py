"""The public keys in a JWK Set (RFC 7517), and the place of one in an issuer's metadata (RFC 8414, OpenID Connect).

Used by `net.lookups.issuer_keys`. Bytes in, values out; nothing is fetched here.
"""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from gatepost.policy.connectors.oauth import TokenAlgorithm

type PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey | Ed448PublicKey

_MAX_KEYS: Final = 100
_MAX_ID: Final = 300
_RSA_BITS: Final = range(2048, 8193)  # RFC 7518 section 3.3; beyond that, verifying takes long
# With one of 3072 bits, verifying takes 20 ms, in which nobody else is served, and several keys are tried for a token.
_EXPONENT_BITS: Final = 64
_FAMILIES: Final[tuple[tuple[str, tuple[type, ...]], ...]] = (
    ("RS", (RSAPublicKey,)),
    ("PS", (RSAPublicKey,)),
    ("ES", (EllipticCurvePublicKey,)),
    ("Ed", (Ed25519PublicKey, Ed448PublicKey)),
)


class JwksError(ValueError):
    """A document cannot be used. The text is for us."""


class IssuerKey(msgspec.Struct, frozen=True):
    """A key that signatures are checked with. id: "kid", "" if it has none. algorithm: its only one, "" for any."""

    id: str
    algorithm: str
    key: PublicKey

    def suits(self, algorithm: str) -> bool:
        """Whether a signature of that algorithm can be checked with it (RFC 8725 section 3.1)."""
        if self.algorithm and self.algorithm != algorithm:
            return False
        return any(algorithm.startswith(prefix) and isinstance(self.key, kinds) for prefix, kinds in _FAMILIES)


def parse_jwks(body: bytes) -> tuple[IssuerKey, ...]:
    """The keys for signatures of a set; those of another use or kind are passed over. JwksError if none is left."""
    keys = parse_document(body).get("keys")
    if not isinstance(keys, list):
        raise JwksError('no JWK Set: "keys" is not a list')
    issuer_keys = tuple(key for entry in keys[:_MAX_KEYS] if (key := _key(entry)) is not None)
    if not issuer_keys:
        raise JwksError("a JWK Set without a public key for signatures (RSA of 2048 bits or more, EC, or OKP)")
    return issuer_keys


def parse_metadata(body: bytes, issuer: str) -> str:
    """The address of the keys of `issuer`, by its metadata. Raises JwksError; also if they are another issuer's."""
    document = parse_document(body)
    if document.get("issuer") != issuer:
        said = ascii(document.get("issuer"))[:200]
        raise JwksError(f"the metadata are of the issuer {said}, not of {issuer} (RFC 8414 section 3.3)")
    url = document.get("jwks_uri")
    if not isinstance(url, str) or not url.startswith("https://"):
        raise JwksError('the metadata have no https address as "jwks_uri"')
    return url


def parse_document(body: bytes) -> dict[str, Any]:
    """A JSON object. Raises JwksError."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise JwksError("no JSON") from None
    if not isinstance(document, dict):
        raise JwksError("not a JSON object")
    return document


def _key(one: object) -> IssuerKey | None:
    if not isinstance(one, dict) or one.get("use", "sig") != "sig" or "d" in one:
        return None  # "d": a published private key is none any more
    identity, algorithm = one.get("kid", ""), one.get("alg", "")
    if not isinstance(identity, str) or len(identity) > _MAX_ID or algorithm not in ("", *TokenAlgorithm):
        return None
    from jwt import PyJWK, PyJWTError  # noqa: PLC0415 - few gateways have keys of token issuers

    try:
        key = PyJWK.from_dict(one).key
    except (PyJWTError, ValueError, TypeError, KeyError):  # KeyError: of a shared key ("oct") without its octets
        return None
    if isinstance(key, RSAPublicKey) and not _is_quick(key):
        return None
    if not isinstance(key, RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey | Ed448PublicKey):
        return None
    return IssuerKey(identity, algorithm, key)


def _is_quick(key: RSAPublicKey) -> bool:
    return key.key_size in _RSA_BITS and key.public_numbers().e.bit_length() <= _EXPONENT_BITS
