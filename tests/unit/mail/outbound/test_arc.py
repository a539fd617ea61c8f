from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import dkim
import pytest

from gatepost.mail.model.message import Message, Recipient
from gatepost.mail.outbound.arc import ArcSealing
from gatepost.mail.outbound.body import MessageBody
from gatepost.mail.outbound.content import OutgoingMessage
from gatepost.pki.certificates.dkim_keys import DkimKeys, made_key, read_key
from gatepost.pki.certificates.vault import Vault
from gatepost.policy.connectors.directory import Directory
from gatepost.policy.connectors.model import parse
from gatepost.policy.connectors.values import DkimAlgorithm
from gatepost.policy.decisions.route import RoutePlanner
from gatepost.policy.decisions.routes import MailboxRoute
from gatepost.store.changes import ConfigStore

PEM = made_key(DkimAlgorithm.RSA_SHA256)
PUBLIC = read_key(PEM).public_key
NAME = "r._domainkey.contoso.example"
RESULTS = b"Authentication-Results: mx.contoso.example;\r\n\tspf=pass smtp.mailfrom=x@b.example\r\n"
CONTENT = (
    RESULTS + b"Received: by x\r\nFrom: X <x@b.example>\r\nTo: ann@contoso.example\r\nSubject: x\r\n\r\nHello.\r\n"
)
CAME = {"authentication": "gateway", "authserv_id": "mx.contoso.example", "arc": "none"}


class World:
    """The step, with a key that lies sealed in a store unless it is lost."""

    def __init__(self, store: ConfigStore, *, lost: bool = False) -> None:
        self.keys = DkimKeys(store, Vault(b"m" * 32))
        self.step = ArcSealing(self.keys, lambda: 1_795_528_800.0)
        if not lost:
            store.apply({}, author="a", content=self.keys.sealed("contoso", NAME, PEM))

    def sent(
        self, content: bytes = CONTENT, *, inbound: Any = CAME, route: Any = None, **key: str
    ) -> tuple[bytes, dict[str, Any]]:
        keys = [{"name": NAME, "public_key": PUBLIC, "state": "current"} | key]
        organization = {"accepted_domain": [{"name": "contoso.example"}], "dkim_key": keys}
        directory = Directory(parse({"organization": {"contoso": organization}}))
        recipient = Recipient("fred@elsewhere.example", forwarded_by="ann@contoso.example")
        message = Message(1, "contoso", 0.0, "x@b.example", inbound=inbound)
        if route is None:
            ((route, _),) = RoutePlanner(directory, "default").routes("contoso", [recipient], reverse_path="")
        outgoing = OutgoingMessage(directory, "contoso", message, [recipient], route)

        async def run() -> tuple[bytes, dict[str, Any]]:
            body, told = await self.step.apply(outgoing, MessageBody.in_memory(content, "7BIT"))
            return b"".join([chunk async for chunk in body.chunks()]), told

        return asyncio.run(run())


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with closing(ConfigStore(tmp_path / "config.db")) as store:
        yield World(store)


def judged(content: bytes) -> bytes | None:
    """The state of the chain as dkimpy has it."""
    state: bytes | None = dkim.ARC(content).verify(dnsfunc=lambda *_, **__: f"v=DKIM1; k=rsa; p={PUBLIC}".encode())[0]
    return state


def test_a_first_set(world: World) -> None:
    content, told = world.sent()
    assert told == {"arc": "i=1 cv=none contoso.example/r"}
    assert content.endswith(CONTENT)
    assert judged(content) == b"pass"
    assert (
        b"ARC-Authentication-Results: i=1; mx.contoso.example;\r\n\tspf=pass smtp.mailfrom=x@b.example\r\n" in content
    )
    assert judged(content.replace(b"Subject: x", b"Subject: y")) == b"fail"
    assert judged(content.replace(b"\tspf=pass", b"\tspf=fail", 1)) == b"fail"


def test_fifty_sets_and_no_more(world: World) -> None:
    content, _ = world.sent()
    for number in range(2, 51):
        content, told = world.sent(RESULTS + content, inbound=CAME | {"arc": "pass"})
        assert told["arc"].startswith(f"i={number} cv=pass")
    assert judged(content) == b"pass"
    same, told = world.sent(RESULTS + content, inbound=CAME | {"arc": "pass"})
    assert told == {"arc_unsealed": "its chain has 50 sets already"}
    assert same == RESULTS + content


def test_a_chain_that_fails_is_sealed_as_such_once(world: World) -> None:
    first, _ = world.sent()
    second, told = world.sent(RESULTS + first, inbound=CAME | {"arc": "fail"})
    assert told["arc"].startswith("i=2 cv=fail")
    assert re.search(rb"ARC-Seal: i=2;[^;]*;[^;]*; cv=fail", second)
    _, told = world.sent(RESULTS + second, inbound=CAME | {"arc": "fail"})
    assert told == {"arc_unsealed": "its chain has ended: the last seal says that it fails"}


UNKNOWN = "it was not known whether the chain that it brought passes"


def test_what_is_not_known_is_not_sealed(world: World) -> None:
    first, _ = world.sent()
    for state in ("", "none"):
        assert world.sent(RESULTS + first, inbound=CAME | {"arc": state})[1] == {"arc_unsealed": UNKNOWN}
    broken = first.replace(b"ARC-Seal: i=1", b"ARC-Seal: i=3")
    _, told = world.sent(RESULTS + broken, inbound=CAME | {"arc": "pass"})
    assert told == {"arc_unsealed": "its chain was changed here: a set is missing"}


def test_only_what_was_authenticated_and_leaves_is_sealed(world: World) -> None:
    assert world.sent(inbound={}) == (CONTENT, {})
    assert world.sent(route=MailboxRoute(("ann@contoso.example",), "contoso")) == (CONTENT, {})


@pytest.mark.parametrize(
    ("content", "inbound", "key", "why"),
    [
        (CONTENT.removeprefix(RESULTS), CAME, {}, "its Authentication-Results field is gone"),
        (CONTENT, CAME | {"authserv_id": ""}, {}, "its Authentication-Results field is gone"),
        (RESULTS + b"To: x\r\n" * 201 + CONTENT, CAME, {}, "it has too many header fields"),
        (CONTENT, CAME, {"state": "next"}, "contoso has no current RSA DKIM key"),
    ],
)
def test_what_cannot_be_sealed_says_why(
    world: World, content: bytes, inbound: Any, key: dict[str, str], why: str
) -> None:
    assert world.sent(content, inbound=inbound, **key) == (content, {"arc_unsealed": why})


def test_a_key_that_cannot_be_used(tmp_path: Path) -> None:
    with closing(ConfigStore(tmp_path / "config.db")) as store:
        content, told = World(store, lost=True).sent()
    assert content == CONTENT
    assert "its private key is not in this gateway's store" in told["arc_unsealed"]
