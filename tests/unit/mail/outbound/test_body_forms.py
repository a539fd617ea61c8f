"""Which form of a message a next hop gets, by what it offers."""

from __future__ import annotations

import asyncio

import pytest

from gatepost.mail.model.message import Message
from gatepost.mail.outbound.body import BodyForms, BodyUnreadable, MessageBody, in_seven_bits
from gatepost.protocols.message.dsn import build_dsn
from gatepost.protocols.message.dsn_report import DsnAction, DsnRecipient, DsnReport
from gatepost.protocols.smtp.client.transaction import Peer

UTF8 = "Subject: grün\r\n\r\nx\r\n".encode()
LATIN = b"Subject: green\r\n\r\ngr\xfcn\r\n"
NOTICE = {"notice_about": "1"}
CONVERTED = MessageBody.in_memory(b"Subject: made anew\r\n\r\n", "7BIT")
ALL = Peer(eight_bit=True, smtputf8=True)
EIGHT_BIT = Peer(eight_bit=True)


def forms(content: bytes, *, inbound=NOTICE, body_type="8BITMIME", smtputf8=False, size=0):
    message = Message(7, "contoso", 1.0, "", body_type=body_type, smtputf8=smtputf8, inbound=inbound)
    calls = []

    async def convert():
        calls.append(1)
        return CONVERTED

    whole = MessageBody.in_memory(content, body_type)
    whole.size = size or whole.size
    return BodyForms(message, whole, convert), calls


@pytest.mark.parametrize(
    ("content", "fields", "peer", "whole"),
    [
        (LATIN, {}, ALL, True),
        (LATIN, {}, EIGHT_BIT, True),
        (LATIN, {}, Peer(), False),
        (LATIN, {"inbound": {}}, Peer(), True),
        (LATIN, {"size": 4 << 20}, Peer(), False),
        (LATIN, {"size": (4 << 20) + 1}, Peer(), True),
        (b"Subject: x\r\n\r\nx\r\n", {"body_type": "7BIT"}, Peer(), True),
        (LATIN, {"smtputf8": True}, EIGHT_BIT, True),
        (UTF8, {"smtputf8": True}, ALL, True),
        (UTF8, {"smtputf8": True}, EIGHT_BIT, False),
        (UTF8, {"smtputf8": True}, Peer(), False),
        (UTF8, {"smtputf8": True, "inbound": {}}, EIGHT_BIT, True),
        (UTF8, {}, EIGHT_BIT, True),
    ],
)
def test_what_a_peer_gets(content, fields, peer, whole):
    async def run():
        made, calls = forms(content, **fields)
        await made.measure()
        first, second = await made.for_peer(peer), await made.for_peer(peer)
        return made, first, second, len(calls)

    made, first, second, calls = asyncio.run(run())
    assert first == second
    assert first[0] is (made.whole if whole else CONVERTED)
    assert first[1] == (whole and bool(fields.get("smtputf8")) and content is UTF8)
    assert calls == (0 if whole else 1)


def test_a_stored_notice_is_converted_from_its_chunks():
    recipient = DsnRecipient("bob@b.example", DsnAction.FAILED, "5.1.1")
    report = DsnReport(
        "ann@a.example", "mx.a.example", "postmaster@a.example", 1.0, "1@a.example", "b", (recipient,),
        ret="FULL", original=LATIN, original_complete=True,
    )  # fmt: skip
    notice = build_dsn(report)

    async def chunks():
        for at in range(0, len(notice), 100):
            yield notice[at : at + 100]

    body = asyncio.run(in_seven_bits(MessageBody(None, len(notice), chunks, "8BITMIME")))
    assert body.small is not None
    assert body.small.isascii()
    assert (body.size, body.body_type) == (len(body.small), "7BIT")


def test_what_cannot_be_read_is_said():
    async def chunks():
        raise BodyUnreadable("gone")
        yield b""

    with pytest.raises(BodyUnreadable):
        asyncio.run(in_seven_bits(MessageBody(None, 10, chunks, "8BITMIME")))
