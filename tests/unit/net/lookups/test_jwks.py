from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from support.rsa_keys import rsa_key

from gatepost.net.lookups.jwks import JwksError, parse_jwks, parse_metadata


def b64(value: int) -> str:
    return base64.urlsafe_b64encode(value.to_bytes((value.bit_length() + 7) // 8)).decode().rstrip("=")


def rsa_jwk(bits: int) -> dict[str, Any]:
    numbers = rsa_key(bits).public_key().public_numbers()
    return {"kty": "RSA", "n": b64(numbers.n), "e": b64(numbers.e)}


def ec_key() -> dict[str, Any]:
    numbers = ec.generate_private_key(ec.SECP256R1()).public_key().public_numbers()
    octets = [base64.urlsafe_b64encode(one.to_bytes(32)).decode().rstrip("=") for one in (numbers.x, numbers.y)]
    return {"kty": "EC", "crv": "P-256", "x": octets[0], "y": octets[1]}


def ed_key() -> dict[str, Any]:
    raw = ed25519.Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    return {"kty": "OKP", "crv": "Ed25519", "x": base64.urlsafe_b64encode(raw).decode().rstrip("=")}


RSA, EC, ED = rsa_jwk(2048), ec_key(), ed_key()


def keys(*found: Any) -> bytes:
    return json.dumps({"keys": found}).encode()


@pytest.mark.parametrize(
    ("one", "suits"),
    [
        (RSA, {"RS256", "RS512", "PS256"}),
        (RSA | {"alg": "PS256"}, {"PS256"}),
        (EC, {"ES256"}),
        (ED, {"EdDSA"}),
    ],
)
def test_keys_and_what_they_suit(one: dict[str, Any], suits: set[str]) -> None:
    (key,) = parse_jwks(keys({"kid": "a", "use": "sig", **one}))
    assert key.id == "a"
    tried = {"RS256", "RS512", "PS256", "EdDSA", "HS256", "none"} | ({"ES256"} & suits)
    assert {algorithm for algorithm in tried if key.suits(algorithm)} == suits


PASSED_OVER = [
    RSA | {"use": "enc"},
    RSA | {"alg": "RSA-OAEP"},
    RSA | {"alg": ["RS256"]},
    RSA | {"kid": 1},
    RSA | {"kid": "k" * 301},
    RSA | {"d": "AQAB"},
    RSA | {"n": "!"},
    RSA | {"n": None},
    {"kty": "RSA"},
    rsa_jwk(1024),
    {"kty": "RSA", "n": b64((1 << 8200) - 1), "e": "AQAB"},
    RSA | {"e": b64((1 << 64) + 1)},
    {"kty": "oct", "k": "c2VjcmV0"},
    {"kty": "oct"},
    {"kty": "oct", "k": "c2VjcmV0", "alg": "HS256"},
    {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
    {"kty": "OKP", "crv": "X25519", "x": ED["x"]},
    {"kty": "new"},
    {},
    "text",
]


@pytest.mark.parametrize("one", PASSED_OVER, ids=range(len(PASSED_OVER)))
def test_what_is_passed_over(one: object) -> None:
    assert [key.id for key in parse_jwks(keys(one, EC | {"kid": "good"}))] == ["good"]
    with pytest.raises(JwksError, match="without a public key"):
        parse_jwks(keys(one))


def test_no_more_than_a_hundred_keys_are_looked_at() -> None:
    assert len(parse_jwks(keys(*[EC] * 200))) == 100


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"[" * 100_000, b"\xff", b"{}", b'{"keys": {}}'])
def test_no_key_set(body: bytes) -> None:
    with pytest.raises(JwksError):
        parse_jwks(body)


def test_metadata() -> None:
    good = {"issuer": "https://idp.example", "jwks_uri": "https://keys.example/k"}
    assert parse_metadata(json.dumps(good).encode(), "https://idp.example") == "https://keys.example/k"
    for change, why in (
        ({"issuer": "https://idp.example/"}, "not of https://idp.example"),
        ({"issuer": None}, "of the issuer None"),
        ({"jwks_uri": "http://keys.example/k"}, "no https address"),
        ({"jwks_uri": None}, "no https address"),
    ):
        with pytest.raises(JwksError, match=why):
            parse_metadata(json.dumps(good | change).encode(), "https://idp.example")
