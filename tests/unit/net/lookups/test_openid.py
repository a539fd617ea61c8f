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
        self.access: Any = "unused"
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
        return ok(json.dumps({"access_token": self.access, "id_token": token}).encode())

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
            ({"userinfo_endpoint": f"{scene.url}/who"}, replace(plain, user_info_url=f"{scene.url}/who")),
            ({"userinfo_endpoint": "http://login.example/"}, plain),
        ):
            scene.web.answers[METADATA] = scene.metadata(**change)
            assert await scene.openid().provider() == found, change


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"issuer": "https://evil.example/"}, "of another issuer, 'https://evil.example/'"),
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


@on_a_loop
async def test_claims_that_the_token_lacks_are_told_elsewhere(pki: Pki, leaf: Leaf) -> None:
    """As issuers do that keep to OpenID Connect Core section 5.4."""
    async with opened(pki, leaf) as scene:
        scene.web.answers[METADATA] = scene.metadata(userinfo_endpoint=f"{scene.url}/who")
        person = {"sub": "4711", "preferred_username": "ann", "groups": ["help"], "nonce": "other", "email": "a@b"}
        scene.web.answers["/who"] = ok(json.dumps(person).encode())
        found = await scene.claims(scene.openid())
        assert (found["preferred_username"], found["groups"], found["nonce"]) == ("ann", ["help"], "n")
        assert "email" not in found
        (head,) = [one.decode().lower() for one in scene.web.heads if one.startswith(b"GET /who ")]
        assert "authorization: bearer unused\r\n" in head
        assert (await scene.claims(scene.openid(name_claim="sub", groups_claim="aud")))["sub"] == "4711"
        assert len([one for one in scene.web.heads if one.startswith(b"GET /who ")]) == 1, "nothing was missing"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (ok(b'{"sub": "another", "preferred_username": "ann", "groups": ["help"]}'), r"another person \(sub\)"),
        (ok(b'{"preferred_username": "ann", "groups": ["help"]}'), r"another person \(sub\)"),
        (ok(b"a.signed.jwt"), "JSON"),
        (status(401), "status 401$"),
    ],
)
@on_a_loop
async def test_what_is_told_elsewhere_of_another_person_counts_for_nothing(
    pki: Pki, leaf: Leaf, answer: bytes, why: str
) -> None:
    async with opened(pki, leaf) as scene:
        scene.web.answers["/who"] = answer
        with pytest.raises(OpenIdFailed, match=why):
            await scene.claims(scene.openid(), user_info_url=f"{scene.url}/who")


@pytest.mark.parametrize("access", [5, "", "two words", "a\r\nHost: evil"])
@on_a_loop
async def test_an_access_token_that_is_none_is_sent_nowhere(pki: Pki, leaf: Leaf, access: Any) -> None:
    async with opened(pki, leaf) as scene:
        scene.access = access
        assert "groups" not in await scene.claims(scene.openid(), user_info_url=f"{scene.url}/who")


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
        ("/token", status(400), "status 400; it does not accept the code, client_id or client_secret"),
        ("/token", status(401), "status 401; it does not accept client_id or client_secret"),
        ("/token", status(503), "status 503"),
        ("/token", status(302, "Location: https://evil.example/\r\n"), "is not followed"),
        ("/token", ok(b'{"error": "invalid_grant"}'), "has no id_token"),
        ("/token", ok(b'{"id_token": 5}'), "has no id_token"),
        ("/token", ok(b'{"id_token": "nonsense"}'), "not a JWT"),
        ("/token", ok(b"[]"), "not a JSON object"),
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
        with pytest.raises(OpenIdFailed, match="not a public address"):
            await scene.openid(private_issuer=False).provider()
        assert not scene.web.requests, "nobody was asked"
        other = Pki(tmp_path / "other").root
        with pytest.raises(OpenIdFailed, match="its certificate is not trusted: "):
            await scene.openid(trust_anchors=str(other)).provider()
        with pytest.raises(OpenIdFailed, match="No such file"):
            await scene.openid(trust_anchors=str(tmp_path / "none.pem")).provider()
        assert await scene.openid(trust_anchors=str(pki.root)).provider()
