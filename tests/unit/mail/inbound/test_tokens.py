from __future__ import annotations

import base64
import json
import time
import tomllib

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from support.rsa_keys import rsa_key

from gatepost.mail.inbound.tokens import judge_token
from gatepost.net.lookups.issuer_keys import KeysUnavailable
from gatepost.net.lookups.jwks import IssuerKey
from gatepost.policy.connectors.directory import Directory
from gatepost.policy.connectors.model import parse

ANN = "ann@contoso.example"
RSA, OTHER, EC = (
    rsa_key(),
    rsa_key(name="other"),
    ec.generate_private_key(ec.SECP256R1()),
)
CLAIMS = {"iss": "https://idp.example", "aud": "smtp", "email": ANN}
DIRECTORY = Directory(
    parse(
        tomllib.loads("""
[organization.contoso]
accepted_domain = [{ name = "contoso.example" }]
mailbox = [{ address = "ann@contoso.example" }]
[[organization.contoso.oauth_issuer]]
name = "idp"
issuer = "https://idp.example"
audiences = ["smtp", "mail"]
algorithms = ["RS256", "ES256"]
""")
    )
)


class Keys:
    """What `IssuerKeys` says, without asking anybody. asked: for which ids."""

    def __init__(self, *keys, unavailable=""):
        self.keys = keys
        self.unavailable = unavailable
        self.asked = []

    async def find(self, issuer, kid):
        assert issuer.name == "idp"
        self.asked.append(kid)
        if self.unavailable:
            return KeysUnavailable(self.unavailable)
        return tuple(key for key in self.keys if not kid or key.id == kid)


KEYS = (
    IssuerKey("old", "", OTHER.public_key()),
    IssuerKey("ec", "ES256", EC.public_key()),
    IssuerKey("rsa", "", RSA.public_key()),
)


def token(claims=None, key=RSA, algorithm="RS256", **header):
    """A token. claims: over what it holds; a function of the time now."""
    now = int(time.time())
    own = claims(now) if callable(claims) else claims or {}
    head = {name: value for name, value in {"kid": "rsa", **header}.items() if value is not None}
    return jwt.encode({**CLAIMS, "exp": now + 600, **own}, key, algorithm, headers=head)


async def judged(text, keys=None, authzid=""):
    """The verdict on a token, or on what a function makes when it is called: the time goes on between the tests."""
    text = text() if callable(text) else text
    return await judge_token(DIRECTORY, keys or Keys(*KEYS), text, authzid)


GOOD = [
    token,
    lambda: token(kid=None),
    lambda: token(key=EC, algorithm="ES256", kid="ec"),
    lambda: token({"aud": ["x", "mail"]}),
    lambda: token(lambda now: {"exp": now - 30}),
    lambda: token(lambda now: {"nbf": now + 30, "iat": now + 30}),
    lambda: token(lambda now: {"exp": float(now + 600)}),
]


@pytest.mark.parametrize("text", GOOD, ids=range(len(GOOD)))
async def test_tokens_that_log_in(text):
    verdict = await judged(text, authzid=ANN)
    assert (verdict.user, verdict.genuine) == (ANN, True)
    assert verdict.reason == "OAuth issuer 'idp' of contoso: logged in"


def parts(header, claims, signature="AAAA"):
    made = [
        base64.urlsafe_b64encode(one if isinstance(one, bytes) else json.dumps(one).encode()).decode().rstrip("=")
        for one in (header, claims)
    ]
    return ".".join([*made, signature])


HEAD = {"alg": "RS256", "kid": "rsa"}
BAD = [
    ("", "is not a JWT"),
    ("opaque", "is not a JWT"),
    ("a.b.c.d.e", "is not a JWT"),
    (parts(b"[" * 5000, CLAIMS), "is not a JWT"),
    (parts(HEAD, b"[" * 5000), "is not a JWT"),
    (parts(HEAD, b'{"a": ' + b"1" * 5000 + b"}"), "is not a JWT"),
    (parts(HEAD, []), "is not a JWT"),
    (parts({"kid": "rsa"}, CLAIMS), "by no algorithm"),
    (parts({"alg": ["RS256"]}, CLAIMS), "by no algorithm"),
    (parts({"alg": "none"}, CLAIMS, ""), "by no algorithm"),
    (parts({"alg": "PS256"}, CLAIMS), "by no algorithm"),
    (parts(HEAD | {"typ": "secevent+jwt"}, CLAIMS), "another kind"),
    (parts(HEAD, CLAIMS | {"iss": "https://evil.example"}), "issuer is none that"),
    (parts(HEAD, CLAIMS), "signature is not the issuer's"),
    (parts(HEAD | {"kid": "new"}, CLAIMS), "a key that the issuer does not have"),
    (parts(HEAD | {"crit": ["x"]}, CLAIMS), "is not a JWT"),
    (lambda: token(key=OTHER), "signature is not the issuer's"),
    (lambda: token(key=EC, algorithm="ES256"), "signature is not the issuer's"),
    (lambda: token(kid="ec"), "signature is not the issuer's"),
    (lambda: token(key="x" * 40, algorithm="HS256"), "by no algorithm"),
    (lambda: token({"aud": "imap"}), "another audience"),
    (lambda: token({"aud": None}), "exp, iss and aud"),
    (lambda: token({"aud": 7}), "another audience"),
    (lambda: token({"exp": None}), "exp, iss and aud"),
    (lambda: token({"exp": "soon"}), "malformed"),
    (lambda: token({"exp": [1]}), "malformed"),
    (lambda: token({"exp": 1e400}), "malformed"),
    (lambda: token({"nbf": "x"}), "malformed"),
    (lambda: token({"sub": 7}), "malformed"),
    (lambda: token({"email": "joe@contoso.example"}), "not an address of a mailbox"),
]


@pytest.mark.parametrize(("text", "why"), BAD, ids=range(len(BAD)))
async def test_tokens_that_do_not(text, why):
    verdict = await judged(text)
    assert verdict.user == ""
    assert why in verdict.reason
    assert not verdict.genuine
    assert not verdict.temporary


@pytest.mark.parametrize(
    ("claims", "why"),
    [(lambda now: {"exp": now - 100}, "has expired"), (lambda now: {"nbf": now + 1000}, "not hold yet")],
)
async def test_times_are_nobodys_guess(claims, why):
    verdict = await judged(token(claims))
    assert (verdict.user, verdict.genuine) == ("", True)
    assert why in verdict.reason
    assert not (await judged(token(claims, key=OTHER))).genuine  # the signature comes first


async def test_without_keys_it_cannot_be_told():
    verdict = await judged(token(), Keys(unavailable="it is away"))
    assert (verdict.user, verdict.temporary) == ("", True)
    assert verdict.reason.endswith("no key to check the token with: it is away")


async def test_which_key_is_asked_for():
    keys = Keys(*KEYS)
    for header in ({}, {"kid": None}):
        await judged(token(**header), keys)
    assert keys.asked == ["rsa", ""]


async def test_only_a_few_keys_are_tried():
    many = [IssuerKey("", "", OTHER.public_key())] * 8
    assert (await judged(token(kid=None), Keys(*many, KEYS[2]))).user == ""
    assert (await judged(token(kid=None), Keys(*many[1:], KEYS[2]))).user == ANN
