"""Tokens from a real HTTPS server on loopback: fetched, kept, shared, and asked for again."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from support.web import Web, ok, on_a_loop, serving, status

from gatepost.net.lookups.access_tokens import AccessTokens, TokenRequest, TokenUnavailable
from gatepost.net.lookups.dns import Resolver
from gatepost.net.lookups.nameservers import Nameservers
from gatepost.testing.pki import Leaf, Pki

WORD = "correct horse"


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def leaf(pki: Pki) -> Leaf:
    return pki.leaf("127.0.0.1")


@dataclass
class Scene:
    web: Web
    anchors: str
    now: float = 1000.0

    def __post_init__(self) -> None:
        self.tokens = AccessTokens(Resolver(Nameservers(["127.0.0.1:9"])), self.anchors, lambda: self.now)

    def answer(self, **fields: Any) -> None:
        self.web.answers["/token"] = ok(json.dumps({"access_token": "one", "token_type": "Bearer"} | fields).encode())

    def request(self, **fields: Any) -> TokenRequest:
        return TokenRequest(**{"url": self.web.url("/token"), "client_id": "c", "scope": "", "secret": WORD} | fields)

    async def token(self, **fields: Any) -> str:
        return await self.tokens.token(self.request(**fields))

    async def failure(self, **fields: Any) -> TokenUnavailable:
        with pytest.raises(TokenUnavailable) as failed:
            await self.token(**fields)
        assert WORD not in str(failed.value)
        return failed.value


@contextlib.asynccontextmanager
async def opened(pki: Pki, leaf: Leaf, anchors: str = "") -> AsyncIterator[Scene]:
    async with Web(context=serving(leaf)) as web:
        scene = Scene(web, anchors or str(pki.root))
        yield scene
        await scene.tokens.close()


@on_a_loop
async def test_a_token_is_kept_until_shortly_before_its_end(pki: Pki, leaf: Leaf) -> None:
    async with opened(pki, leaf) as scene:
        scene.answer(expires_in=300)
        assert await asyncio.gather(scene.token(), scene.token()) == ["one", "one"]
        scene.now += 239
        assert await scene.token() == "one"
        assert len(scene.web.requests) == 1
        scene.answer(access_token="two", expires_in="600")
        scene.now += 1
        assert await scene.token() == "two"
        assert await scene.token(scope="another") == "two"
        assert len(scene.web.requests) == 3


@pytest.mark.parametrize("expires_in", [60, 0, -5, "soon", None])
@on_a_loop
async def test_how_long_a_token_counts(pki: Pki, leaf: Leaf, expires_in: Any) -> None:
    async with opened(pki, leaf) as scene:
        scene.answer(expires_in=expires_in)
        assert [await scene.token(), await scene.token()] == ["one", "one"]
        assert len(scene.web.requests) == (1 if expires_in in {"soon", None} else 2)


@on_a_loop
async def test_a_token_that_is_not_taken_is_forgotten(pki: Pki, leaf: Leaf) -> None:
    async with opened(pki, leaf) as scene:
        scene.answer(expires_in=300)
        await scene.token()
        scene.tokens.forget(scene.request(), "an older one")
        scene.tokens.forget(scene.request(scope="another"), "one")
        await scene.token()
        assert len(scene.web.requests) == 1
        scene.tokens.forget(scene.request(), "one")
        scene.tokens.reload()
        await scene.token()
        assert len(scene.web.requests) == 2


@pytest.mark.parametrize(
    ("answer", "said", "refused"),
    [
        (status(401), "status 401", True),
        (status(500), "status 500", False),
        (ok(b"<html>"), "no access_token in JSON", False),
        (ok(b'{"scope":' + b"[" * 60_000), "no access_token in JSON", False),
        (ok(b'{"access_token":"\xff"}'), "no access_token in JSON", False),
        (ok(b'{"access_token": "a b\\n", "token_type": "Bearer"}'), "no bearer token", False),
        (ok(b'{"access_token": "a", "token_type": "mac"}'), "no bearer token", False),
        (ok(b'{"access_token": "", "token_type": "Bearer"}'), "no bearer token", False),
        (ok(b'{"access_token": "' + b"a" * 9000 + b'", "token_type": "Bearer"}'), "more than 8192 octets", False),
    ],
)
@on_a_loop
async def test_without_a_token_nobody_asks_for_some_seconds(
    pki: Pki, leaf: Leaf, answer: bytes, said: str, refused: bool
) -> None:
    async with opened(pki, leaf) as scene:
        scene.web.answers["/token"] = answer
        failed = await scene.failure()
        assert said in failed.detail
        assert failed.refused is refused
        await scene.failure()
        assert len(scene.web.requests) == 1
        scene.answer(expires_in=300)
        scene.now += 10
        assert await scene.token() == "one"


@on_a_loop
async def test_a_tenant_reaches_public_addresses_only(pki: Pki, leaf: Leaf) -> None:
    async with opened(pki, leaf) as scene:
        scene.answer()
        failed = await scene.failure(bounded=True)
        assert "127.0.0.1" in failed.detail
        assert scene.web.requests == []


@on_a_loop
async def test_a_server_that_cannot_be_trusted_gets_no_secret(pki: Pki, leaf: Leaf, tmp_path: Any) -> None:
    async with opened(pki, leaf, str(Pki(tmp_path, "Strangers").root)) as scene:
        assert "certificate" in (await scene.failure()).detail.lower()
        assert scene.web.requests == []
    async with opened(pki, leaf, str(tmp_path / "none.pem")) as scene:
        assert "trust anchors cannot be read" in (await scene.failure()).detail
