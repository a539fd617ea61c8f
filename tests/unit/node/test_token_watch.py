"""Tests of what a process does when a key in a token fails. The trial itself is `tests/system/test_tokens.py`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from functools import wraps

import pytest

from gatepost.net.token_access import TokenAccess, TokenKeys
from gatepost.node import token_watch
from gatepost.node.token_watch import TokenWatch

URI = "pkcs11:token=gw;object=mx"


class Scene:
    """A watch with a clock, and a token that is there or not, for other processes and for this one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.keys = TokenKeys()
        self.keys.access = TokenAccess("", "", "", "")
        self.keys.note(URI, b"chain")
        self.now, self.elsewhere, self.here = 1000.0, "", ""
        self.calls: list[str] = []
        self.tried: list[Mapping[str, bytes]] = []
        monkeypatch.setattr(token_watch, "TOKEN_KEYS", self.keys)
        monkeypatch.setattr(token_watch, "try_keys", self._try)
        monkeypatch.setattr(token_watch, "handshake_problem", lambda _uri, _chain: self.here)
        self.watch = TokenWatch(
            lambda: self.calls.append("renewed"),
            lambda: self.calls.append("lost"),
            lambda: {"pkcs11:token=gw;object=next": b"next"},
            ticks=lambda: self.now,
        )

    def _try(self, _access: TokenAccess, keys: Mapping[str, bytes]) -> dict[str, str]:
        self.tried.append(keys)
        return dict.fromkeys(keys, self.elsewhere)

    async def tick(self) -> None:
        """A second later."""
        self.now += 1
        self.watch.tick()
        await self.settle()

    async def settle(self) -> None:
        for _ in range(100):
            await asyncio.sleep(0.001)

    async def pass_by(self, seconds: int) -> None:
        self.now += seconds
        await self.tick()


def looped(test: Callable[[Scene], Coroutine[object, object, None]]) -> Callable[[Scene], None]:
    @wraps(test)
    def run(scene: Scene) -> None:
        asyncio.run(test(scene))

    return run


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(monkeypatch)


@looped
async def test_nothing_is_tried_while_all_is_well(scene: Scene) -> None:
    for _ in range(3):
        await scene.tick()
    assert scene.tried == []


@looped
async def test_a_check_tries_the_keys_that_are_in_use_and_those_to_be(scene: Scene) -> None:
    scene.elsewhere = "the token is not there"
    scene.watch.check()
    await scene.settle()
    assert set(scene.tried[0]) == {URI, "pkcs11:token=gw;object=next"}
    assert scene.watch.problems[URI] == "the token is not there"
    assert scene.calls == []


@looped
async def test_a_token_that_comes_back_is_used_by_this_process_if_it_can(scene: Scene) -> None:
    scene.keys.in_doubt, scene.elsewhere = True, "the token is not there"
    await scene.tick()
    await scene.tick()
    assert len(scene.tried) == 1  # not every second
    scene.elsewhere = ""
    await scene.pass_by(10)
    assert (scene.calls, scene.keys.in_doubt, dict(scene.watch.problems)) == (["renewed"], False, {})


@looped
async def test_a_token_that_a_check_missed_is_taken_up_before_a_peer_finds_out(scene: Scene) -> None:
    scene.elsewhere, scene.here = "the token is not there", "the session is gone"
    scene.watch.check()
    await scene.settle()
    scene.elsewhere = ""
    scene.watch.check()
    await scene.settle()
    assert scene.calls == ["lost"]


@looped
async def test_a_process_that_lost_the_token_ends_when_it_is_back(scene: Scene) -> None:
    scene.keys.in_doubt, scene.elsewhere, scene.here = True, "the token is not there", "provider signature failure"
    await scene.tick()
    assert scene.calls == []
    scene.elsewhere = ""
    await scene.pass_by(10)
    assert scene.calls == ["lost"]


@looped
async def test_a_peer_that_breaks_handshakes_ends_nothing(scene: Scene) -> None:
    """The token is well, and this process can use it: contexts are made anew, once a minute at most."""
    for _ in range(100):
        scene.keys.in_doubt = True
        await scene.pass_by(1)
        if scene.now > 1120:
            break
    assert scene.calls in (["renewed"], ["renewed", "renewed"])


@looped
async def test_it_stops(scene: Scene) -> None:
    scene.keys.in_doubt = True
    scene.watch.close()
    scene.watch.tick()
    scene.watch.close()
    await scene.settle()
    assert scene.calls == []
