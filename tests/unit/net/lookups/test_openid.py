"""An issuer's metadata and its answers to a code, from a real HTTPS server on loopback."""

from __future__ import annotations

import base64
import contextlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from support.web import Web, ok, on_a_loop, serving, status

from gatepost.net.lookups.dns import Resolver
from gatepost.net.lookups.nameservers import Nameservers
from gatepost.net.lookups.openid import OpenId, OpenIdFailed, Provider
from gatepost.settings.sections import Oidc
from gatepost.testing.pki import Leaf, Pki
from gatepost.values import replace

METADATA = "/.well-known/openid-configuration"
BACK = "https://mx.gate.example/login/issuer/answer"
SECRET = "a secret + with / signs"


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def leaf(pki: Pki) -> Leaf:
    return pki.leaf("127.0.0.1")


@dataclass
class Scene:
    """forms: what was posted to the token endpoint."""

    web: Web
    anchors: str

    def __post_init__(self) -> None:
        self.url = self.web.url("")
        self.key = Ed25519PrivateKey.generate()
        self.forms: list[dict[str, list[str]]] = []
        self.web.answers[METADATA] = self.metadata()
        raw = self.key.public_key().public_bytes_raw()
        x = base64.urlsafe_b64encode(raw).decode().rstrip("=")
        keys = {"keys": [{"kid": "one", "kty": "OKP", "crv": "Ed25519", "x": x}]}
        self.web.answers["/keys"] = ok(json.dumps(keys).encode())
        self.web.answers["/token"] = self.exchanged

    def metadata(self, **change: Any) -> bytes:
        whole = {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
            **change,
        }
        return ok(json.dumps({name: value for name, value in whole.items() if value is not None}).encode())

    def exchanged(self, body: bytes) -> bytes:
        self.forms.append(parse_qs(body.decode(), strict_parsing=True))
        now = int(time.time())
        claims = {"iss": self.url, "aud": "gate:post", "sub": "4711", "iat": now, "exp": now + 600, "nonce": "n"}
        token = jwt.encode(claims, self.key, "EdDSA", headers={"kid": "one"})
        return ok(json.dumps({"access_token": "unused", "id_token": token}).encode())

    def openid(self, secret: str = SECRET, **fields: Any) -> OpenId:
        fields = {"issuer": self.url, "client_id": "gate:post", "private_issuer": True, "timeout": 30} | fields
        return OpenId(Resolver(Nameservers(["127.0.0.1:9"])), Oidc(**fields), secret, self.anchors)

    async def claims(self, openid: OpenId, *, nonce: str = "n", **change: Any) -> dict[str, Any]:
        provider = replace(await openid.provider(), **change)
        return await openid.claims(provider, "the code", "the verifier", BACK, nonce)

    def authorization(self) -> str:
        """What the client said of itself in the header of its last POST."""
        (head,) = [one for one in self.web.heads if one.startswith(b"POST")]
        found = [line for line in head.decode().split("\r\n") if line.lower().startswith("authorization:")]
        return base64.b64decode(found[0].partition("Basic ")[2]).decode() if found else ""


@contextlib.asynccontextmanager
async def opened(pki: Pki, leaf: Leaf) -> AsyncIterator[Scene]:
    async with Web(context=serving(leaf)) as web:
        yield Scene(web, str(pki.root))


@on_a_loop
async def test_what_an_issuer_says_of_itself(pki: Pki, leaf: Leaf) -> None:
    async with opened(pki, leaf) as scene:
        plain = Provider(f"{scene.url}/authorize", f"{scene.url}/token", f"{scene.url}/keys", False, False)
        assert await scene.openid().provider() == plain
        for change, found in (
            ({"authorization_response_iss_parameter_supported": True}, replace(plain, says_issuer=True)),
            ({"authorization_response_iss_parameter_supported": "yes"}, plain),
            ({"token_endpoint_auth_methods_supported": ["client_secret_post"]}, replace(plain, by_body=True)),
            ({"token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"]}, plain),
            ({"token_endpoint_auth_methods_supported": 5}, plain),
        ):
            scene.web.answers[METADATA] = scene.metadata(**change)
            assert await scene.openid().provider() == found, change


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"issuer": "https://evil.example"}, "of another issuer"),
        ({"authorization_endpoint": None}, '"authorization_endpoint"'),
        ({"authorization_endpoint": "http://login.example/"}, '"authorization_endpoint"'),
        ({"token_endpoint": 5}, '"token_endpoint"'),
        ({"jwks_uri": "javascript:alert(1)"}, '"jwks_uri"'),
    ],
)
@on_a_loop
async def test_metadata_that_do_not_do(pki: Pki, leaf: Leaf, change: dict[str, Any], why: str) -> None:
    async with opened(pki, leaf) as scene:
        scene.web.answers[METADATA] = scene.metadata(**change)
        with pytest.raises(OpenIdFailed, match=why):
            await scene.openid().provider()


@on_a_loop
async def test_a_code_is_worth_the_claims_of_its_token(pki: Pki, leaf: Leaf) -> None:
    async with opened(pki, leaf) as scene:
        assert (await scene.claims(scene.openid()))["sub"] == "4711"
        assert scene.forms == [
            {
                "grant_type": ["authorization_code"],
                "code": ["the code"],
                "redirect_uri": [BACK],
                "code_verifier": ["the verifier"],
            }
        ]
        assert scene.authorization() == "gate%3Apost:a+secret+%2B+with+%2F+signs", "RFC 6749 section 2.3.1"


@pytest.mark.parametrize(("secret", "sent"), [(SECRET, [SECRET]), ("", None)])
@on_a_loop
async def test_how_else_a_client_says_who_it_is(pki: Pki, leaf: Leaf, secret: str, sent: list[str] | None) -> None:
    async with opened(pki, leaf) as scene:
        assert await scene.claims(scene.openid(secret), by_body=bool(secret))
        (form,) = scene.forms
        assert form["client_id"] == ["gate:post"]
        assert form.get("client_secret") == sent
        assert scene.authorization() == ""


@pytest.mark.parametrize(
    ("path", "answer", "why"),
    [
        ("/token", status(400), "status 400"),
        ("/token", status(302, "Location: https://evil.example/\r\n"), "is not followed"),
        ("/token", ok(b'{"error": "invalid_grant"}'), "has no id_token"),
        ("/token", ok(b'{"id_token": 5}'), "has no id_token"),
        ("/token", ok(b'{"id_token": "nonsense"}'), "no JWT"),
        ("/token", ok(b"[]"), "no JSON object"),
        ("/token", ok(b"{" + b" " * 300_000 + b"}"), "larger than"),
        ("/keys", status(500), "status 500"),
        ("/keys", ok(b'{"keys": []}'), "without a public key"),
    ],
)
@on_a_loop
async def test_answers_that_let_nobody_in(pki: Pki, leaf: Leaf, path: str, answer: bytes, why: str) -> None:
    async with opened(pki, leaf) as scene:
        scene.web.answers[path] = answer
        with pytest.raises(OpenIdFailed) as failed:
            await scene.claims(scene.openid())
        assert why in str(failed.value)
        assert SECRET not in str(failed.value)


@on_a_loop
async def test_a_token_of_another_log_in(pki: Pki, leaf: Leaf) -> None:
    async with opened(pki, leaf) as scene:
        with pytest.raises(OpenIdFailed, match="nonce"):
            await scene.claims(scene.openid(), nonce="m")


@on_a_loop
async def test_every_wait_ends(pki: Pki, leaf: Leaf) -> None:
    async with opened(pki, leaf) as scene:
        provider = await scene.openid().provider()
        scene.web.hanging |= {METADATA, "/token"}
        with pytest.raises(OpenIdFailed, match=r"within 0\.2 s"):
            await scene.openid(timeout=0.2).provider()
        with pytest.raises(OpenIdFailed, match=r"within 0\.2 s"):
            await scene.openid(timeout=0.2).claims(provider, "the code", "the verifier", BACK, "n")


@on_a_loop
async def test_whom_it_asks_and_trusts(pki: Pki, leaf: Leaf, tmp_path: Path) -> None:
    async with opened(pki, leaf) as scene:
        with pytest.raises(OpenIdFailed, match="no public address"):
            await scene.openid(private_issuer=False).provider()
        assert not scene.web.requests, "nobody was asked"
        other = Pki(tmp_path / "other").root
        with pytest.raises(OpenIdFailed, match="certificate verify failed"):
            await scene.openid(trust_anchors=str(other)).provider()
        with pytest.raises(OpenIdFailed, match="No such file"):
            await scene.openid(trust_anchors=str(tmp_path / "none.pem")).provider()
        assert await scene.openid(trust_anchors=str(pki.root)).provider()
