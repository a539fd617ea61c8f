from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import dkim
import pytest

from gatepost.mail.model.message import Message, Recipient
from gatepost.mail.outbound.body import MessageBody
from gatepost.mail.outbound.content import ContentNotReady, OutgoingMessage
from gatepost.mail.outbound.dkim import DkimSigning
from gatepost.pki.certificates.dkim_keys import DkimKeys, made_key, read_key
from gatepost.pki.certificates.vault import Vault
from gatepost.policy.connectors.directory import Directory
from gatepost.policy.connectors.model import parse
from gatepost.policy.connectors.values import DkimAlgorithm
from gatepost.policy.decisions.route import RoutePlanner
from gatepost.policy.decisions.routes import MailboxRoute
from gatepost.store.changes import ConfigStore

PEMS = {algorithm: made_key(algorithm) for algorithm in DkimAlgorithm}
PUBLIC = {algorithm: read_key(pem).public_key for algorithm, pem in PEMS.items()}
CONTENT = b"Received: by x\r\nFrom: Ann <ann@contoso.example>\r\nTo: bob@b.example\r\nSubject: x\r\n\r\nHello.\r\n"


def key(selector: str, algorithm: DkimAlgorithm = DkimAlgorithm.RSA_SHA256, **fields: str) -> dict[str, str]:
    public = {"algorithm": str(algorithm), "public_key": PUBLIC[algorithm], "state": "current"}
    return {"name": f"{selector}._domainkey.contoso.example", **public, **fields}


RSA, ED25519 = key("r"), key("e", DkimAlgorithm.ED25519_SHA256)


class World:
    """A step with keys that lie sealed in a store, unless they are said to be lost."""

    def __init__(self, store: ConfigStore) -> None:
        self.store = store
        self.keys = DkimKeys(store, Vault(b"m" * 32))
        self.step = DkimSigning(self.keys, lambda: 1_795_528_800.0)

    def directory(self, *keys: dict[str, str], lost: tuple[str, ...] = (), **own: Any) -> Directory:
        for one in keys:
            if one["name"][0] not in lost:
                content = self.keys.sealed("contoso", one["name"], PEMS[DkimAlgorithm(one["algorithm"])])
                self.store.apply({}, author="a", content=content)
        domains = [{"name": "contoso.example"}]
        return Directory(
            parse({"organization": {"contoso": {"accepted_domain": domains, "dkim_key": list(keys), **own}}})
        )

    def sent(self, directory: Directory, content: bytes = CONTENT, **fields: Any) -> tuple[bytes, dict[str, Any]]:
        """What leaves and what the trace has of it."""
        outgoing = self.outgoing(directory, **fields)

        async def run() -> tuple[bytes, dict[str, Any]]:
            body, told = await self.step.apply(outgoing, memory(content))
            chunks = b"".join([chunk async for chunk in body.chunks()])
            assert len(chunks) == body.size
            return chunks, told

        return asyncio.run(run())

    def outgoing(self, directory: Directory, **fields: Any) -> OutgoingMessage:
        """Of a message of Ann's, unless the fields say otherwise."""
        recipient = Recipient("bob@b.example", forwarded_by=fields.pop("forwarded_by", ""))
        inbound = fields.pop("inbound", {"user": "ann@contoso.example"})
        route = fields.pop("route", None)
        message = Message(1, "contoso", 0.0, "ann@contoso.example", direction="originating", inbound=inbound)
        for name, value in fields.items():
            setattr(message, name, value)
        if route is None:
            ((route, _),) = RoutePlanner(directory, "default").routes("contoso", [recipient], reverse_path="")
        return OutgoingMessage(directory, "contoso", message, [recipient], route)


def memory(content: bytes) -> MessageBody:
    return MessageBody(content, len(content), lambda: iter(()))  # type: ignore[arg-type,return-value] # never read


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with closing(ConfigStore(tmp_path / "config.db")) as store:
        yield World(store)


def verified(content: bytes, *selectors: str) -> bool:
    """Whether each signature, from the first on, is verified with a record that we print."""
    checker = dkim.DKIM(content)

    def text(name: bytes, **_: Any) -> bytes:
        selector = name.partition(b".")[0].decode()
        assert name == f"{selector}._domainkey.contoso.example.".encode()
        one = ED25519 if selector.startswith("e") else RSA
        kind = "ed25519" if one is ED25519 else "rsa"
        return f"v=DKIM1; k={kind}; p={one['public_key']}".encode()

    assert content.count(b"DKIM-Signature:") == len(selectors)
    try:
        return all(checker.verify(idx=at, dnsfunc=text) for at in range(len(selectors)))
    except dkim.ValidationError:
        return False


def test_every_current_key_signs(world: World) -> None:
    directory = world.directory(RSA, ED25519, key("n", state="next"), key("o", state="retired"))
    content, told = world.sent(directory)
    assert told == {"dkim": ["contoso.example/r rsa-sha256", "contoso.example/e ed25519-sha256"]}
    assert content.endswith(CONTENT)
    assert verified(content, "r", "e")
    assert not verified(content.replace(b"Hello", b"hello"), "r", "e")


BODIES = [b"", b"\r\n", b"no end", b"gr\xfc\xdfe\r\n", b".\r\n..\r\n", b"x \t\r\n\r\n\r\n", b"a\r\nb" * 200_000]


@pytest.mark.parametrize("body", BODIES, ids=lambda body: repr(body[:10]))
def test_any_body_is_verified(world: World, body: bytes) -> None:
    content, _ = world.sent(world.directory(RSA, ED25519), CONTENT.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" + body)
    assert verified(content, "r", "e")


def test_a_message_without_an_empty_line_is_all_header(world: World) -> None:
    content, _ = world.sent(world.directory(RSA), CONTENT.partition(b"\r\n\r\n")[0] + b"\r\n")
    assert verified(content, "r")


def test_a_large_message_streams_by_and_is_never_in_memory(world: World) -> None:
    """50 MB in pieces that cut lines, the header and the empty line."""
    directory = world.directory(RSA)
    header = CONTENT.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    piece, number = b"line of text  \r\nmore\t" * 12_500, 200
    most = 0

    async def chunks() -> AsyncIterator[bytes]:
        yield header[:-3]
        yield header[-3:-1]
        yield header[-1:]
        for _ in range(number):
            yield piece
        yield b"end \r\n \r\n\r\n"

    async def run() -> tuple[bytes, int]:
        nonlocal most
        size = len(header) + number * len(piece) + 11
        assert size > 50_000_000
        body, _ = await world.step.apply(world.outgoing(directory), MessageBody(None, size, chunks))
        assert body.small is None
        async for chunk in body.chunks():
            most = max(most, len(chunk))
            return chunk, body.size - size
        raise AssertionError

    field, more = asyncio.run(run())
    assert most < 300_000
    assert more == len(field)
    canonical = hashlib.sha256()
    for _ in range(number):
        canonical.update(b"line of text\r\nmore " * 12_500)
    canonical.update(b"end\r\n")
    assert b"bh=" + base64.b64encode(canonical.digest()) in field


UNSIGNED: list[tuple[dict[str, Any], bytes]] = [
    ({"direction": "incoming", "inbound": {}}, CONTENT),
    ({"organization": "fabrikam"}, CONTENT),
    ({"forwarded_by": "ann@contoso.example", "inbound": {"basis": "certificate"}}, CONTENT),
    ({"inbound": {"basis": "certificate-and-recipient"}}, CONTENT),
    ({"route": MailboxRoute(())}, CONTENT),
]
TOLD = [
    (CONTENT.replace(b"ann@contoso.example", b"eve@e.example"), "no current DKIM key for e.example"),
    (CONTENT.replace(b"From:", b"X-From:"), "it has no From field"),
    (CONTENT.replace(b"Subject: x", b"FROM : eve@e.example"), "it has 2 From fields"),
    (CONTENT.replace(b"Subject: x\r\n", b"Subject: x\r\n" * 300), "too many header fields"),
]


@pytest.mark.parametrize(("fields", "content"), UNSIGNED)
def test_what_is_not_ours_goes_as_it_came(world: World, fields: dict[str, Any], content: bytes) -> None:
    assert world.sent(world.directory(RSA), content, **fields) == (content, {})


@pytest.mark.parametrize(("content", "why"), TOLD)
def test_why_our_own_mail_is_not_signed_is_told(world: World, content: bytes, why: str) -> None:
    sent, told = world.sent(world.directory(RSA), content)
    assert sent == content
    assert list(told) == ["dkim_unsigned"]
    assert why in told["dkim_unsigned"]


OURS = [
    {"inbound": {"basis": "certificate"}},
    {"inbound": {"basis": "address"}},
    {"forwarded_by": "ann@contoso.example"},
    {"inbound": {"notice_about": "x"}, "organization": "fabrikam", "reverse_path": ""},
]


@pytest.mark.parametrize("fields", OURS)
def test_what_we_know_the_origin_of_is_signed(world: World, fields: dict[str, Any]) -> None:
    content, told = world.sent(world.directory(RSA), **fields)
    assert verified(content, "r")
    assert told == {"dkim": ["contoso.example/r rsa-sha256"]}


def test_nothing_is_read_where_nobody_has_a_key(world: World) -> None:
    directory = world.directory(key("n", state="next"))
    content, told = world.sent(directory, b"not even looked at")
    assert (content, told) == (b"not even looked at", {})


def test_mail_waits_where_no_key_can_be_used(world: World) -> None:
    with pytest.raises(ContentNotReady) as waits:
        world.sent(world.directory(RSA, ED25519, lost=("r", "e")))
    assert (waits.value.reply.code, waits.value.reply.enhanced) == (451, "4.7.5")
    assert waits.value.detail.count("its private key is not in this gateway's store") == 2
    assert "r._domainkey" not in waits.value.reply.text


def test_one_key_that_can_be_used_is_enough(world: World) -> None:
    content, told = world.sent(world.directory(RSA, ED25519, lost=("e",)))
    assert verified(content, "r")
    assert told["dkim"] == ["contoso.example/r rsa-sha256"]
    assert told["dkim_unusable"][0].startswith("DKIM key e._domainkey.contoso.example:")


def test_an_organization_may_let_mail_go_unsigned(world: World) -> None:
    content, told = world.sent(world.directory(RSA, lost=("r",), dkim_key_unavailable="send-unsigned"))
    assert content == CONTENT
    assert told["dkim_unsigned"] == "no key of its domain can be used"
    assert len(told["dkim_unusable"]) == 1


def test_a_report_of_ours_is_signed_by_a_key_for_reports(world: World) -> None:
    directory = world.directory(RSA, key("t", service_type="tlsrpt"))
    inbound = {"notice_about": "TLS report", "tls_report": "1@contoso.example"}
    content, told = world.sent(directory, inbound=inbound, reverse_path="")
    assert verified(content, "t")
    assert told["dkim"] == ["contoso.example/t rsa-sha256"]
    assert world.sent(directory)[1]["dkim"] == ["contoso.example/r rsa-sha256"]
    assert world.sent(world.directory(RSA), inbound=inbound)[1]["dkim"] == ["contoso.example/r rsa-sha256"]
