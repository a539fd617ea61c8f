from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gatepost.mail.model.message import Delivery, Journal, Message, Recipient, sent_as
from gatepost.mail.outbound.body import ONE_FLIGHT, BodyUnreadable, MessageBody, around
from gatepost.store.interface import StoreFailure


def test_a_body_in_memory_is_cut_and_one_in_the_store_is_passed_on(world: Any, kit: Any) -> None:
    content = b"x" * 600_000
    world.bodies.bodies[7] = content

    async def run(body: MessageBody) -> list[int]:
        await body.prepare()
        return [len(chunk) async for chunk in body.chunks()]

    for given in (kit.delivery(body=content), kit.delivery(body=None, size=len(content))):
        assert asyncio.run(run(MessageBody.stored(given, world.bodies))) == [262144, 262144, 75712]


@pytest.mark.parametrize(("size", "small"), [(ONE_FLIGHT, True), (ONE_FLIGHT + 1, False)])
def test_a_small_body_is_taken_into_memory(world: Any, kit: Any, size: int, small: bool) -> None:
    world.bodies.bodies[7] = b"y" * size
    body = MessageBody.stored(kit.delivery(body=None, size=size), world.bodies)
    asyncio.run(body.prepare())
    assert (body.small is not None) is small


@pytest.mark.parametrize("failure", [LookupError("gone"), OSError(5, "Input/output error"), StoreFailure("over")])
def test_a_body_that_is_not_there(world: Any, kit: Any, failure: Exception) -> None:
    world.bodies.bodies[7] = failure
    body = MessageBody.stored(kit.delivery(body=None, size=9), world.bodies)
    with pytest.raises(BodyUnreadable, match="the body of message 7"):
        asyncio.run(body.prepare())


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"Subject: x\r\n\r\n\xc3\xa4", False),
        (b"Subject: \xc3\xa4\r\n\r\nx", True),
        (b"Subject: no end \xc3\xa4", True),
        (b"Subject: no end", False),
        (b"X: " + b"x" * 300_000 + b"\xe4\r\n\r\n", True),
        (b"X: " + b"x" * 1_300_000 + b"\r\n\r\n\xe4", False),
    ],
)
def test_octets_beyond_ascii_in_the_header(world: Any, kit: Any, content: bytes, expected: bool) -> None:
    world.bodies.bodies[7] = content
    for given in (kit.delivery(body=content), kit.delivery(body=None, size=len(content))):
        assert asyncio.run(MessageBody.stored(given, world.bodies).header_8bit()) is expected


def test_fields_of_the_header(world: Any, kit: Any) -> None:
    content = (
        b"X-A: 1\r\nSubject: =?iso-8859-1?q?caf=E9?=\r\n\tau lait\r\nx-a: 2\r\n" + b"X: y\r\n" * 60_000 + b"\r\nX-B: 3"
    )
    world.bodies.bodies[7] = content
    for given in (kit.delivery(body=content), kit.delivery(body=None, size=len(content))):
        found = asyncio.run(MessageBody.stored(given, world.bodies).header_fields(["x-a", "subject", "x-b"]))
        assert found.header == {"x-a": ("1", "2"), "subject": ("café\tau lait",)}


@pytest.mark.parametrize("cut", [1, 7, 64, 1000])
@pytest.mark.parametrize("skip", [0, 3, 26, 322])
def test_another_header_before_the_same_body(cut: int, skip: int) -> None:
    """However it is cut, and in memory as well as streamed; a body itself is never changed."""
    content = b"Subject: x\r\nX-A: y\r\n\r\n" + b"text\r\n" * 50
    pieces = [content[start : start + cut] for start in range(0, len(content), cut)]

    async def chunks() -> Any:
        for piece in pieces:
            yield piece

    async def run(body: MessageBody) -> bytes:
        made = body.with_header(b"X-New: 1\r\n", skip=skip)
        whole = b"".join([chunk async for chunk in made.chunks()])
        assert len(whole) == made.size
        assert made.body_type == "8BITMIME"
        assert b"".join([chunk async for chunk in body.chunks()]) == content
        return whole

    for small in (content, None):
        body = MessageBody(small, len(content), chunks, "8BITMIME")
        assert asyncio.run(run(body)) == b"X-New: 1\r\n" + content[skip:]


def test_what_a_mailbox_sends_on_names_it(world: Any, kit: Any) -> None:
    world.bodies.bodies[7] = kit.BODY
    expected = b"Delivered-To: ann@contoso.example\r\n" + kit.BODY
    for small in (kit.BODY, None):
        given = kit.delivery(body=small, size=len(kit.BODY))
        given.recipients[0].forwarded_by = "ann@contoso.example"
        body = MessageBody.stored(given, world.bodies)
        asyncio.run(body.prepare())
        assert body.small == expected
        assert body.size == len(expected)


def test_a_header_without_end_is_not_read_without_end(world: Any, kit: Any) -> None:
    chunks = 0

    async def endless(_: int) -> Any:
        nonlocal chunks
        while True:
            chunks += 1
            yield b"x" * (1 << 20)

    world.bodies.read = endless
    body = MessageBody.stored(kit.delivery(body=None, size=1 << 40), world.bodies)
    assert asyncio.run(body.header_fields(["subject"])).header == {}
    assert chunks < 20


@pytest.mark.parametrize("in_memory", [True, False])
def test_as_it_is_stored_it_has_no_field_before_it(world: Any, kit: Any, in_memory: bool) -> None:
    world.bodies.bodies[7] = kit.BODY
    delivery = kit.delivery(body=kit.BODY if in_memory else None, size=len(kit.BODY))
    delivery.recipients[0].forwarded_by = "ken@contoso.example"

    async def run(body: MessageBody) -> bytes:
        await body.prepare()
        return b"".join([chunk async for chunk in body.chunks()])

    body = MessageBody.stored(delivery, world.bodies)
    assert asyncio.run(run(body.as_stored())) == kit.BODY
    assert asyncio.run(run(body)) == b"Delivered-To: ken@contoso.example\r\n" + kit.BODY
    plain = MessageBody.stored(kit.delivery(), world.bodies)
    assert plain.as_stored() is plain


KEEP = "keep@far.example"
CONTENT = b"Subject: x\r\n\r\nbody\r\n"


def delivery(journal: Journal, *, body: bytes | None = CONTENT, **fields: Any) -> Delivery:
    message = Message(7, "o", 0.0, "a@o.example", size=len(CONTENT), subject="x", **fields)
    recipient = Recipient(KEEP, "NEVER", journal=journal)
    return Delivery(9, sent_as(message, [recipient], "o"), "o/far.example", [recipient], body=body)


async def _sent(body: MessageBody) -> bytes:
    return b"".join([chunk async for chunk in body.chunks()])


@pytest.mark.parametrize("body", [CONTENT, None])
def test_a_report_has_the_message_in_it_and_a_copy_is_the_message(world: Any, body: bytes | None) -> None:
    world.bodies.bodies[7] = CONTENT
    report = Journal("report", KEEP, "a@o.example", "postmaster@o.example", "=_b", ("To: b@o.example",))
    made = MessageBody.stored(delivery(report, body=body), world.bodies)
    content = asyncio.run(_sent(made))
    assert made.size == len(content)
    assert content.count(CONTENT) == 1
    assert b"Sender: a@o.example\r\n" in content
    assert b"Message-ID: <journal.0000000000000009@o.example>" in content
    assert content.endswith(b"\r\n--=_b--\r\n")
    copy = asyncio.run(_sent(MessageBody.stored(delivery(Journal("copy", KEEP), body=body), world.bodies)))
    assert copy == b"X-Gatepost-Journal: keep@far.example\r\n" + CONTENT


def test_what_is_made_already_is_sent_as_it_is(world: Any) -> None:
    content = asyncio.run(_sent(MessageBody.stored(delivery(Journal("report", KEEP, made=True)), world.bodies)))
    assert content == CONTENT


def test_where_the_journal_mailbox_forwards_is_known_too(world: Any) -> None:
    given = delivery(Journal("copy", KEEP))
    given.recipients[0].forwarded_by = "box@o.example"
    content = asyncio.run(_sent(MessageBody.stored(given, world.bodies)))
    assert content.startswith(b"Delivered-To: box@o.example\r\nX-Gatepost-Journal: ")


def test_a_header_beyond_ascii_is_told_by_the_type_of_the_part() -> None:
    head, _ = around(delivery(Journal("report", KEEP, utf8=True)), Journal("report", KEEP, utf8=True))
    assert b"message/global" in head
