from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gatepost.mail.model.message import Delivery, Journal, Message, Recipient, sent_as
from gatepost.mail.outbound.body import MessageBody
from gatepost.mail.outbound.journal import around

KEEP = "keep@far.example"
CONTENT = b"Subject: x\r\n\r\nbody\r\n"


def delivery(journal: Journal, *, body: bytes | None = CONTENT, **fields: Any) -> Delivery:
    message = Message(7, "o", 0.0, "a@o.example", size=len(CONTENT), subject="x", **fields)
    recipient = Recipient(KEEP, "NEVER", journal=journal)
    return Delivery(9, sent_as(message, [recipient], "o"), "o/far.example", [recipient], body=body)


async def _content(body: MessageBody) -> bytes:
    return b"".join([chunk async for chunk in body.chunks()])


@pytest.mark.parametrize("body", [CONTENT, None])
def test_a_report_has_the_message_in_it_and_a_copy_is_the_message(world: Any, body: bytes | None) -> None:
    world.bodies.bodies[7] = CONTENT
    report = Journal("report", KEEP, "a@o.example", "postmaster@o.example", "=_b", ("To: b@o.example",))
    made = MessageBody.stored(delivery(report, body=body), world.bodies)
    content = asyncio.run(_content(made))
    assert made.size == len(content)
    assert content.count(CONTENT) == 1
    assert b"Sender: a@o.example\r\n" in content
    assert b"Message-ID: <journal.0000000000000009@o.example>" in content
    assert content.endswith(b"\r\n--=_b--\r\n")
    copy = asyncio.run(_content(MessageBody.stored(delivery(Journal("copy", KEEP), body=body), world.bodies)))
    assert copy == b"X-Gatepost-Journal: keep@far.example\r\n" + CONTENT


def test_what_is_made_already_is_sent_as_it_is(world: Any) -> None:
    content = asyncio.run(_content(MessageBody.stored(delivery(Journal("report", KEEP, made=True)), world.bodies)))
    assert content == CONTENT


def test_where_the_journal_mailbox_forwards_is_known_too(world: Any) -> None:
    given = delivery(Journal("copy", KEEP))
    given.recipients[0].forwarded_by = "box@o.example"
    content = asyncio.run(_content(MessageBody.stored(given, world.bodies)))
    assert content.startswith(b"Delivered-To: box@o.example\r\nX-Gatepost-Journal: ")


def test_a_header_beyond_ascii_is_told_by_the_type_of_the_part() -> None:
    head, _ = around(delivery(Journal("report", KEEP, utf8=True)), Journal("report", KEEP, utf8=True))
    assert b"message/global" in head
