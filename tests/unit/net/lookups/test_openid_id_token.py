from __future__ import annotations

import time

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gatepost.net.lookups.jwks import IssuerKey
from gatepost.net.lookups.openid import IdTokenError, verified_claims

ISSUER = "https://login.example"
KEY, OTHER = generate_private_key(SECP256R1()), Ed25519PrivateKey.generate()
KEYS = (IssuerKey("a", "", KEY.public_key()), IssuerKey("b", "", OTHER.public_key()))


def token(key=KEY, algorithm="ES256", header=None, **claims):
    now = int(time.time())
    given = {"iss": ISSUER, "aud": "us", "sub": "1", "iat": now, "exp": now + 172_800, "nonce": "n"} | claims
    given = {name: value for name, value in given.items() if value is not None}
    head = {"kid": "a"} | (header or {})
    return jwt.encode(given, key, algorithm, headers={name: value for name, value in head.items() if value})


def claims_of(text):
    return verified_claims(text, KEYS, issuer=ISSUER, client="us", nonce="n")


@pytest.mark.parametrize(
    "text",
    [
        token(),
        token(aud=["us"]),
        token(azp="us"),
        token(OTHER, "EdDSA", {"kid": "b"}),
        token(header={"kid": None}),
    ],
)
def test_a_token_that_is_meant_for_us(text):
    assert claims_of(text)["sub"] == "1"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("nonsense", "not a JWT"),
        (token(None, "none"), "no algorithm"),
        (token(b"x" * 32, "HS256"), "no algorithm"),
        (token(header={"typ": "at+jwt"}), "another kind"),
        (token(header={"kid": "c"}), "signature is not"),
        (token(generate_private_key(SECP256R1())), "signature is not"),
        (token(OTHER, "EdDSA"), "signature is not"),
        (token(exp=1), "expired"),
        (token(nbf=int(time.time()) + 86_400), "does not hold yet"),
        (token(aud="them"), "another client"),
        (token(aud=["us", "them"]), "other clients"),
        (token(azp="them"), "other clients"),
        (token(iss="https://evil.example"), "another issuer"),
        (token(sub=None), "lacks one of"),
        (token(exp=None), "lacks one of"),
        (token(nonce="m"), "nonce"),
        (token(nonce=None), "nonce"),
        (token(nonce=5), "nonce"),
        (token(exp="soon"), "malformed"),
    ],
)
def test_what_is_worth_nothing(text, why):
    with pytest.raises(IdTokenError, match=why):
        claims_of(text)
