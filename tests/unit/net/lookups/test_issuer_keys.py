"""Keys from a real HTTPS server on loopback: found, kept, asked for again, and used while the server is away."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from support.web import Web, ok, on_a_loop, serving, status

from gatepost.net.anchors import AnchorsError
from gatepost.net.lookups.dns import Resolver
from gatepost.net.lookups.http import HttpFailed
from gatepost.net.lookups.issuer_keys import IssuerKeys, KeysUnavailable
from gatepost.net.lookups.jwks import JwksError
from gatepost.net.lookups.nameservers import Nameservers
from gatepost.policy.connectors.oauth import OauthIssuer
from gatepost.settings.model import Oauth
from gatepost.testing.pki import Leaf, Pki

CONNECT = "/.well-known/openid-configuration"
PLAIN = "/.well-known/oauth-authorization-server"


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def leaf(pki: Pki) -> Leaf:
    return pki.leaf("127.0.0.1")


def key_set(*kids: str) -> bytes:
    raw = ed25519.Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    x = base64.urlsafe_b64encode(raw).decode().rstrip("=")
    return json.dumps({"keys": [{"kid": kid, "kty": "OKP", "crv": "Ed25519", "x": x} for kid in kids]}).encode()


@dataclass
class Scene:
    web: Web
    anchors: str
    now: float = 1000.0
    settings: Oauth = field(default_factory=lambda: Oauth(private_issuers=True, timeout=5))

    def __post_init__(self) -> None:
        self.url = self.web.url("")
        self.serve("one")
        self.web.answers[CONNECT] = self.metadata()
        self.keys = IssuerKeys(Resolver(Nameservers(["127.0.0.1:9"])), self.settings, self.anchors, lambda: self.now)

    def metadata(self, **change: Any) -> bytes:
        return ok(json.dumps({"issuer": self.url, "jwks_uri": f"{self.url}/keys", **change}).encode())

    def serve(self, *kids: str) -> None:
        self.web.answers["/keys"] = ok(key_set(*kids))

    def issuer(self, **fields: Any) -> OauthIssuer:
        return OauthIssuer.model_validate({"name": "idp", "issuer": self.url, "audiences": ["a"], **fields})

    async def find(self, kid: str = "one", **fields: Any) -> list[str] | str:
        found = await self.keys.find(self.issuer(**fields), kid)
        return found.detail if isinstance(found, KeysUnavailable) else [key.id for key in found]

    @property
    def asked(self) -> int:
        return self.web.requests.count("GET /keys")


@contextlib.asynccontextmanager
async def opened(pki: Pki, leaf: Leaf, **options: Any) -> AsyncIterator[Scene]:
    async with Web(context=serving(leaf)) as web:
        scene = Scene(web, str(pki.root), **options)
        yield scene
        await scene.keys.close()


@on_a_loop
async def test_keys_are_found_by_metadata_and_kept(pki: Pki, leaf: Leaf) -> None:
    async with opened(pki, leaf) as scene:
        scene.serve("one", "two")
        assert await scene.find("two") == ["two"]
        assert await scene.find("") == ["one", "two"]
        assert await scene.find() == ["one"]
        assert scene.web.requests == [f"GET {CONNECT}", "GET /keys"]
        scene.now += 3601
        assert await scene.find() == ["one"]
        assert scene.asked == 2


@on_a_loop
async def test_many_at_once_ask_once(pki: Pki, leaf: Leaf) -> None:
    async with opened(pki, leaf) as scene:
        assert await asyncio.gather(*(scene.find() for _ in range(20))) == [["one"]] * 20
        assert scene.asked == 1


@on_a_loop
async def test_the_other_place_of_metadata_and_none(pki: Pki, leaf: Leaf) -> None:
    async with opened(pki, leaf) as scene:
        scene.web.answers[PLAIN] = scene.web.answers.pop(CONNECT)
        assert await scene.find() == ["one"]
        assert await scene.find(jwks_url=f"{scene.url}/keys") == ["one"]
        assert scene.web.requests.count(f"GET {PLAIN}") == 1


@on_a_loop
async def test_an_unknown_key_is_asked_for_but_not_often(pki: Pki, leaf: Leaf) -> None:
    async with opened(pki, leaf) as scene:
        assert await scene.find("two") == []
        assert "less than 10 s ago" in await scene.find("two")
        assert await scene.find() == ["one"]
        assert scene.asked == 1
        scene.serve("two")
        scene.now += 10
        assert await scene.find("two") == ["two"]
        assert await scene.find("one") != ["one"]  # the issuer withdrew it
        assert scene.asked == 2


@on_a_loop
async def test_old_keys_do_while_the_issuer_is_away(pki: Pki, leaf: Leaf, caplog: pytest.LogCaptureFixture) -> None:
    async with opened(pki, leaf) as scene:
        assert await scene.find() == ["one"]
        scene.web.answers["/keys"] = status(503)
        scene.now += 3601
        assert await scene.find() == ["one"]
        assert "those of 3601 s ago are used" in caplog.text
        assert await scene.find() == ["one"]
        assert "status 503" in await scene.find("two")
        assert scene.asked == 2  # not again at once
        scene.now += 30
        assert await scene.find() == ["one"]
        assert scene.asked == 3
        scene.now += scene.settings.keys_kept
        assert "status 503" in await scene.find()
        scene.serve("one")
        assert "status 503" in await scene.find()
        scene.now += 1
        scene.keys.retry()
        assert await scene.find() == ["one"]


@pytest.mark.parametrize(
    ("answers", "why"),
    [
        ({CONNECT: status(404)}, "status 404"),
        ({CONNECT: status(302, "Location: /elsewhere\r\n")}, "is not followed"),
        ({CONNECT: ok(b"{}")}, "not of https://"),
        ({"/keys": ok(b"{}")}, "no JWK Set"),
        ({"/keys": ok(b"x" * 300_000)}, "larger than"),
    ],
)
@on_a_loop
async def test_what_cannot_be_used(pki: Pki, leaf: Leaf, answers: dict[str, bytes], why: str) -> None:
    async with opened(pki, leaf) as scene:
        scene.web.answers.update(answers)
        assert why in await scene.find()
        with pytest.raises((HttpFailed, JwksError), match=why):
            await scene.keys.fetch(scene.issuer())


@on_a_loop
async def test_one_that_does_not_answer(pki: Pki, leaf: Leaf) -> None:
    async with opened(pki, leaf, settings=Oauth(private_issuers=True, timeout=0.2)) as scene:
        scene.web.hanging.add("/keys")
        assert "within 0.2 s" in await scene.find()


@on_a_loop
async def test_private_addresses_are_asked_only_if_settings_say_so(pki: Pki, leaf: Leaf) -> None:
    async with opened(pki, leaf, settings=Oauth()) as scene:
        assert "not a public address" in await scene.find()
        assert not scene.web.requests


@on_a_loop
async def test_trust_anchors(pki: Pki, leaf: Leaf, tmp_path: Path) -> None:
    async with opened(pki, leaf) as scene:
        other = Pki(tmp_path / "other").root
        assert "its certificate is not trusted: " in await scene.find(trust_anchors=str(other))
        assert "No such file" in await scene.find(trust_anchors=str(tmp_path / "none.pem"))
        with pytest.raises(AnchorsError):
            await scene.keys.fetch(scene.issuer(trust_anchors=str(tmp_path / "none.pem")))
        assert await scene.find() == ["one"]
