from __future__ import annotations

import gc
import os
import threading
import weakref

import pytest

from gatepost.mail.inbound.failed_handshakes import FailedHandshakes
from gatepost.mail.inbound.service import SessionLimits
from gatepost.mail.inbound.transaction import Transaction
from gatepost.mail.model.queue_id import parse_id
from gatepost.net.stream import LossKind
from gatepost.protocols.smtp.grammar import parse_address
from gatepost.protocols.smtp.limits import SmtpLimits
from gatepost.protocols.smtp.replies import Reply
from gatepost.protocols.smtp.server.server import Server
from gatepost.store import bodies
from gatepost.store.interface import StoreFailure
from gatepost.store.sqlite.schema import StoreSettings
from gatepost.values import replace

ANN, JOE, BOB = "ann@contoso.example", "joe@contoso.example", "bob@partner.example"
STRANGER = "eve@elsewhere.example"
TEXT = b"Message-ID: <1@elsewhere.example>\r\nSubject: =?utf-8?q?gr=C3=BC=C3=9Fe?=\r\n\r\n..stuffed\r\nend\r\n"
MESSAGE = TEXT.replace(b"\n..", b"\n...") + b".\r\n"


def queue_id(reply):
    assert reply.startswith("250 2.0.0 Queued as "), reply
    return reply.split()[-1]


async def send(client, sender, *recipients, message=MESSAGE):
    """A whole transaction; the last reply."""
    assert await client.envelope(sender, *recipients) == "354 Start mail input; end with <CRLF>.<CRLF>"
    return await client.say(message)


# A message, from MAIL to 250


async def test_a_message_is_acknowledged_when_it_is_durable(gate):
    found = []
    async with gate.open():
        client = await gate.greeted()
        await client.envelope(STRANGER, ANN)
        client.on_data = lambda _reply: found.append((gate.entries(), list(gate.traced)))
        name = queue_id(await client.say(MESSAGE))
        stored = await gate.body(parse_id(name))
        assert gate.offered[0].message.id == parse_id(name)
        assert await client.say("QUIT") == "221 2.0.0 Closing connection"
        assert (await client.ends()).kind is LossKind.CLOSED
        await gate.until(lambda: not len(gate.registry))
    # When 250 arrived, another process could see the delivery, and the trace had been told.
    (entry,), (row,) = found[0]
    message = entry.delivery.message
    assert [one.address for one in entry.delivery.recipients] == [ANN]
    assert (message.organization, message.direction, message.reverse_path) == ("contoso", "incoming", STRANGER)
    assert (message.message_id, message.subject) == ("<1@elsewhere.example>", "grüße")
    assert message.inbound["peer"] == "203.0.113.9"
    received, _, rest = stored.partition(b"Message-ID")
    assert b"Message-ID" + rest == TEXT
    assert received.startswith(b"Received: from client.example ([203.0.113.9])\r\n\tby mx.gate.example with ESMTP id ")
    assert message.size == len(stored)
    assert [row] == gate.trace_rows()
    assert (row.event, row.message, row.recipient) == ("RECEIVE", name, ANN)
    assert (row.session, row.reply) == (client.session.id, f"250 2.0.0 Queued as {name}")


async def test_the_memory_of_a_session_is_free_when_it_ends(gate):
    """Not when the collector of cycles comes by: until then it cost a worker a third of its memory."""
    async with gate.open():
        client = await gate.greeted()
        await client.starttls()
        await client.say("EHLO client.example")
        await send(client, STRANGER, ANN)
        session = weakref.ref(client.session)
        gc.disable()
        try:
            await client.say("QUIT")
            await client.ends()
            client.session = None
            await gate.until(lambda: session() is None)
        finally:
            gc.enable()


async def test_others_wait_for_a_session_that_may_hand_over_a_message_and_not_for_one_that_rests(gate):
    coming = []
    async with gate.open():
        client = await gate.greeted()
        for lines in (
            ("NOOP",),
            (f"MAIL FROM:<{STRANGER}>", f"RCPT TO:<{ANN}>", "DATA", MESSAGE),
            (f"MAIL FROM:<{STRANGER}>",),
            ("RSET",),
            (f"MAIL FROM:<{STRANGER}>", f"RCPT TO:<{ANN}>", "DATA", b"a bare LF\n\r\n.\r\n"),
            (f"MAIL FROM:<{STRANGER}>",),
        ):
            await client.say(*lines)
            coming.append(len(gate.registry.coming))
        client.vanish()
        await gate.until(lambda: not len(gate.registry))
        coming.append(len(gate.registry.coming))
    assert coming == [1, 0, 1, 0, 0, 1, 0]


async def test_no_250_while_the_commit_is_under_way_and_no_clock_runs(gate):
    async with gate.open():
        client = await gate.greeted()
        await client.envelope(STRANGER, ANN)
        with gate.busy_disk():
            client.send(MESSAGE)
            await gate.until(lambda: client.session._committing)
            await gate.pass_time(4000)
            gate.registry.drain()
            assert len(gate.registry) == 1
            assert (gate.traced, gate.offered) == ([], [])
        queue_id(await client.reply())
        assert await client.reply() == "421 4.3.2 Service shutting down, try again later"
        await client.ends()


async def test_after_a_late_commit_the_client_has_its_whole_time(gate):
    async with gate.open():
        client = await gate.greeted()
        await client.envelope(STRANGER, ANN)
        with gate.busy_disk():
            client.send(MESSAGE)
            await gate.until(lambda: client.session._committing)
            gate.now += 299
        queue_id(await client.reply())
        await gate.pass_time(299)
        assert await client.say("NOOP") == "250 2.0.0 OK"


async def test_a_client_lost_during_the_commit_has_its_message_delivered_all_the_same(gate):
    async with gate.open():
        client = await gate.greeted()
        await client.envelope(STRANGER, ANN)
        with gate.busy_disk():
            client.send(MESSAGE)
            await gate.until(lambda: client.session._committing)
            client.vanish()
            assert gate.offered == []
        await gate.until(lambda: gate.offered and not len(gate.registry))
        assert [one.event for one in gate.traced] == ["RECEIVE"]
        assert len(gate.entries()) == 1


@pytest.mark.parametrize("tls", [False, True])
async def test_a_client_that_only_stops_sending_gets_its_250_all_the_same(gate, tls):
    async with gate.open():
        client = await gate.greeted()
        if tls:
            await client.starttls()
            await client.say("EHLO client.example")
        await client.envelope(STRANGER, ANN)
        with gate.busy_disk():
            client.send(MESSAGE, f"MAIL FROM:<{STRANGER}>", f"RCPT TO:<{ANN}>", "BDAT 2 LAST", b"x\n")
            client.stream._flush()
            if tls:
                client.stream._send(client.stream._engine.shutdown())
            client.stream._transport.write_eof()
            await gate.until(lambda: client.session._committing and client.session._stream._end_of_file)
            assert len(gate.registry) == 1
        queue_id(await client.reply())
        assert [await client.reply() for _ in range(3)][:2] == ["250 2.1.0 Sender OK", "250 2.1.5 Recipient OK"]
        await client.ends()
        await gate.until(lambda: not len(gate.registry))
        assert len(gate.offered) == 1


async def test_two_messages_and_their_commands_in_one_flight(gate):
    async with gate.open():
        client = await gate.greeted()
        size = len(TEXT)
        one = (f"MAIL FROM:<{STRANGER}>", f"RCPT TO:<{ANN}>", f"BDAT {size} LAST", TEXT)
        client.send(*one, *one, "QUIT")
        replies = [await client.reply() for _ in range(7)]
        assert [reply[:9] for reply in replies] == ["250 2.1.0", "250 2.1.5", "250 2.0.0"] * 2 + ["221 2.0.0"]
        assert len({queue_id(replies[2]), queue_id(replies[5])}) == 2
        assert len(gate.entries()) == 2


async def test_recipients_of_several_domains_and_organizations_become_several_deliveries(gate):
    recipients = [ANN, "x@fabrikam.example", JOE, "carl@branch.contoso.example", "y@fabrikam.example"]
    async with gate.open():
        client = await gate.greeted()
        name = queue_id(await send(client, STRANGER, *recipients[:3], *recipients[4:]))
        assert await client.say(f"MAIL FROM:<{STRANGER}>", f"RCPT TO:<{recipients[3]}>", "RSET") == "250 2.0.0 OK"
        expected = {
            "contoso/contoso.example": ([ANN, JOE], 3600),
            "fabrikam/fabrikam.example": (["x@fabrikam.example", "y@fabrikam.example"], 86400),
        }
        for deliveries in (gate.offered, [entry.delivery for entry in gate.entries()]):
            found = {
                one.destination: (
                    [recipient.address for recipient in one.recipients],
                    round(one.expires_at - one.message.received),
                )
                for one in deliveries
            }
            assert found == expected
        assert {one.message.id for one in gate.offered} == {parse_id(name)}
    rows = gate.trace_rows()
    assert [(row.recipient, row.organization) for row in rows] == [
        (ANN, "contoso"),
        ("x@fabrikam.example", "fabrikam"),
        (JOE, "contoso"),
        ("y@fabrikam.example", "fabrikam"),
    ]


async def test_what_the_recipients_say_the_message_is_holds_for_all_of_them(gate):
    """An own server that only the recipient's domain tells: its message never becomes another organization's."""
    async with gate.open():
        client = await gate.greeted("192.0.2.7")
        apart = "452 4.5.3 Too many recipients: send this one a separate message"
        for first, second in ((ANN, "x@fabrikam.example"), ("x@fabrikam.example", ANN)):
            assert await client.say("MAIL FROM:<>", f"RCPT TO:<{first}>", f"RCPT TO:<{second}>") == apart
            queue_id(await client.say("DATA", MESSAGE))
    found = [(one.message.organization, one.message.direction, one.destination) for one in gate.offered]
    assert found == [
        ("contoso", "originating", "contoso/contoso.example"),
        ("fabrikam", "incoming", "fabrikam/fabrikam.example"),
    ]
    refused = [row for row in gate.trace_rows() if row.event == "REFUSE"]
    assert {row.recipient for row in refused} == {ANN, "x@fabrikam.example"}
    assert "incoming mail of fabrikam, for this one originating mail of contoso" in str(
        [row.detail["reasons"] for row in refused]
    )


async def test_a_fault_of_ours_while_a_body_waits_ends_the_session(gate, monkeypatch, caplog):
    gate.store_settings = StoreSettings(free_space_mark=0, inline_limit=1000, memory_budget=0)

    async def broken():
        raise RuntimeError("a mistake")

    async with gate.open():
        client = await gate.greeted()
        await client.envelope(STRANGER, ANN)
        monkeypatch.setattr(Transaction, "write", lambda _self, _chunk: broken())
        client.send(b"Subject: x\r\n")
        assert await client.reply() == "421 4.3.0 Temporary server error, try again later"
        await client.ends()
        await gate.until(lambda: not len(gate.registry) and not gate.left_behind())
    assert "a mistake" in caplog.text


async def test_parameters_of_mail_and_rcpt_are_kept(gate):
    async with gate.open():
        client = await gate.greeted()
        await client.say(
            f"MAIL FROM:<{STRANGER}> BODY=8BITMIME RET=HDRS ENVID=a+2Bb",
            f"RCPT TO:<{ANN}> NOTIFY=DELAY,FAILURE ORCPT=rfc822;other@contoso.example",
            "DATA",
            MESSAGE,
        )
        delivery = gate.entries()[0].delivery
    assert (delivery.message.body_type, delivery.message.ret, delivery.message.envid) == ("8BITMIME", "HDRS", "a+2Bb")
    recipient = delivery.recipients[0]
    assert recipient.orcpt == "rfc822;other@contoso.example"
    assert set(recipient.notify.split(",")) == {"DELAY", "FAILURE"}


async def test_own_servers_relay_by_their_address(gate):
    async with gate.open():
        client = await gate.greeted(gate.hq)
        queue_id(await send(client, ANN, BOB))
    (row,) = gate.trace_rows()
    assert (row.direction, row.organization, row.connector) == ("originating", "contoso", "by address")
    assert gate.offered[0].destination == "contoso/partner.example"


@pytest.mark.parametrize(("verb", "protocol"), [("HELO", b" with SMTP id "), ("EHLO", b" with ESMTP id ")])
async def test_the_trace_field_says_how_the_client_greeted(gate, verb, protocol):
    async with gate.open():
        client = gate.connect()
        await client.greet(verb)
        assert protocol in await gate.body(parse_id(queue_id(await send(client, STRANGER, ANN))))


async def test_any_cutting_of_the_input_will_do(gate):
    async with gate.open():
        client = gate.connect(chunk=1)
        await client.greet()
        assert (await gate.body(parse_id(queue_id(await send(client, STRANGER, ANN))))).endswith(TEXT)


# Refusals

# said before DATA -> the reply, and (direction, organization, connector) of its row
REFUSED = {
    "relay": ((STRANGER, BOB), "550 5.7.64 TenantAttribution; Relay Access Denied", ("none", "", "")),
    "unknown mailbox": (
        (STRANGER, "nobody@contoso.example"),
        "550 5.1.1 Recipient address rejected: no such mailbox here",
        ("incoming", "contoso", ""),
    ),
    "TLS required": (
        ("l@lab.example", ANN),
        "530 5.7.0 Must issue a STARTTLS command first",
        ("incoming", "contoso", "lab"),
    ),
}


@pytest.mark.parametrize(("envelope", "reply", "whose"), REFUSED.values(), ids=REFUSED)
async def test_a_refused_recipient_is_traced_with_its_reply(gate, envelope, reply, whose):
    sender, recipient = envelope
    async with gate.open():
        client = await gate.greeted()
        assert await client.say(f"MAIL FROM:<{sender}>", f"RCPT TO:<{recipient}>") == reply
        assert client.last.endswith(f"Z {client.session.id}]")
        assert await client.say("DATA") == "554 5.5.1 No valid recipients"
        assert gate.entries() == []
    (row,) = gate.trace_rows(session=client.session.id)
    assert (row.event, row.message, row.reply) == ("REFUSE", "", reply)
    assert (row.sender, row.recipient, row.peer_host) == (sender, recipient, "client.example")
    assert (row.direction, row.organization, row.connector) == whose
    assert row.detail["reasons"]


async def test_the_dialogue_of_a_session_is_kept_with_what_it_was_refused_three_times(gate):
    async with gate.open():
        client = await gate.greeted()
        await client.say("MAIL FROM:<stranger@elsewhere.example>")
        for number in range(5):
            await client.say(f"RCPT TO:<nobody{number}@contoso.example>")
    rows = gate.trace_rows(session=client.session.id)
    assert [bool(row.detail.get("transcript")) for row in rows] == [True, True, True, False, False]
    first, second = rows[0].detail["transcript"], rows[1].detail["transcript"]
    assert first[0].startswith("< 220 mx.gate.example ESMTP")
    assert first[-3].startswith("> MAIL FROM:<stranger@elsewhere.example>")
    assert first[-2].startswith("< 250 2.1.0 ")
    assert first[-1] == "> RCPT TO:<nobody0@contoso.example>"
    assert second[: len(first)] == first
    assert second[len(first)].startswith("< 550 5.1.1 ")


@pytest.mark.parametrize(("in_a_thousand", "kept"), [(0, False), (1000, True)])
async def test_of_some_sessions_the_dialogue_is_kept_in_any_case(gate, in_a_thousand, kept):
    async with gate.open():
        gate.service.transcripts = in_a_thousand
        client = await gate.greeted()
        lines = ("MAIL FROM:<b@elsewhere.example>", f"RCPT TO:<{ANN}>", "DATA")
        await client.say(*lines, b"Subject: secret plans\r\n\r\nThe content.\r\n.\r\n")
        (entry,) = gate.entries()
        assert bool(entry.delivery.message.inbound.get("transcribed")) is kept
    (row,) = gate.trace_rows(session=client.session.id)
    told = row.detail.get("transcript", [])
    assert [line for line in told if line.startswith("> ")][1:] == [f"> {line}" for line in lines if kept]
    assert "content" not in str(told)
    assert "secret" not in str(told)


async def test_a_refused_sender_is_traced_with_its_reply(gate):
    async with gate.open():
        gate.service.directory = gate.directory(
            """
            [organization.contoso]
            accepted_domain = [{ name = "contoso.example" }]
            [[organization.contoso.inbound_connector]]
            name = "hq"
            connector_type = "on-premises"
            sender_ip_addresses = ["192.0.2.7"]
            require_tls = true
            """
        )
        client = await gate.greeted(gate.hq)
        reply = await client.say(f"MAIL FROM:<{ANN}>")
    assert reply == "530 5.7.0 Must issue a STARTTLS command first"
    (row,) = gate.trace_rows()
    assert (row.event, row.reply, row.sender, row.recipient, row.connector) == ("REFUSE", reply, ANN, "", "hq")


LINES = b"X-Filler: 0123456789012345678901234567890123456789\r\n"
TOO_MANY_HOPS = b"Received: from a by b; today\r\n" * 30
BAD_MESSAGES = {
    "header section too large": (
        LINES * 30 + b"\r\nbody\r\n.\r\n",
        "552 5.3.4 The header section of the message is larger than we accept",
    ),
    "one without an end is too large, too": (
        LINES * 30 + b".\r\n",
        "552 5.3.4 The header section of the message is larger than we accept",
    ),
    "hop count": (TOO_MANY_HOPS + b"\r\nbody\r\n.\r\n", "554 5.4.6 Hop count exceeded - possible mail loop"),
    "too big": (b"\r\n" + b"0123456789\r\n" * 800 + b".\r\n", "552 5.3.4 "),
    "bare LF": (b"Subject: a\n\r\nbody\r\n.\r\n", "554 5.6.0 "),
}


@pytest.mark.parametrize(("content", "reply"), BAD_MESSAGES.values(), ids=BAD_MESSAGES)
async def test_a_message_refused_at_its_end_is_traced_for_each_recipient_and_leaves_nothing(gate, content, reply):
    gate.smtp = SmtpLimits(header_bytes=1400, message_bytes=8000)
    async with gate.open():
        client = await gate.greeted()
        answer = await send(client, STRANGER, ANN, "x@fabrikam.example", message=content)
        assert answer.startswith(reply)
        assert gate.left_behind() == []
        queue_id(await send(client, STRANGER, ANN))  # the session goes on
    refused = gate.trace_rows(event="REFUSE")
    assert [(row.recipient, row.organization) for row in refused] == [
        (ANN, "contoso"),
        ("x@fabrikam.example", "fabrikam"),
    ]
    assert {row.reply for row in refused} == {answer}


async def test_as_many_hops_as_are_allowed_but_one(gate):
    async with gate.open():
        client = await gate.greeted()
        content = TOO_MANY_HOPS.replace(b"Received", b"Not-Received", 1) + b"\r\nbody\r\n.\r\n"
        queue_id(await send(client, STRANGER, ANN, message=content))
    assert gate.offered[0].message.hops == 30


async def test_a_listener_that_is_full_says_so(gate):
    async with gate.open():
        client = gate.connect(refusal=Reply(421, "4.7.0", ("too many connections, try again later",)))
        assert await client.reply() == "421 4.7.0 too many connections, try again later"
        await client.ends()
        await gate.until(lambda: not len(gate.registry))


# The store says no


async def test_a_full_disk_is_said_at_mail(gate):
    gate.store_settings = StoreSettings(free_space_mark=1 << 62)
    async with gate.open():
        client = await gate.greeted()
        for _ in range(3):
            assert await client.say(f"MAIL FROM:<{STRANGER}>") == "452 4.3.1 Insufficient system storage"
        assert await client.say("NOOP") == "250 2.0.0 OK"
    (row,) = gate.trace_rows()  # one is enough for a session
    assert (row.event, row.sender, row.recipient, row.reply) == (
        "REFUSE", STRANGER, "", "452 4.3.1 Insufficient system storage",
    )  # fmt: skip


async def test_while_the_disk_is_behind_no_message_begins_and_no_body_is_read(gate, monkeypatch):
    """Else thousands of clients have their bodies in memory: each chunk that is read waits there."""
    full, written, writev = "452 4.3.1 Insufficient system storage", threading.Event(), os.writev
    monkeypatch.setattr(os, "writev", lambda file, chunks: (written.wait(10), writev(file, chunks))[1])
    monkeypatch.setattr(bodies, "_MUCH", 60_000)
    gate.store_settings = StoreSettings(memory_budget=1000, inline_limit=1000)
    content, begin = (
        b"Subject: x\r\n\r\n" + (b"x" * 78 + b"\r\n") * 2500,
        (f"MAIL FROM:<{STRANGER}>", f"RCPT TO:<{ANN}>"),
    )
    async with gate.open():
        first, second, late, chunked = [await gate.greeted() for _ in range(4)]
        for client in (first, second):
            assert (await client.envelope(STRANGER, ANN)).startswith("354")
        for client in (late, chunked):
            assert await client.say(*begin) == "250 2.1.5 Recipient OK"
        first.send(content)
        await gate.until(lambda: gate.registry.is_behind)
        waiting = gate.store._bodies.waiting
        second.send(content, b".\r\n")
        assert await late.say("DATA") == full
        chunked.send(f"BDAT {len(TEXT)} LAST", TEXT)
        assert await chunked.reply() == full
        assert gate.store._bodies.waiting == waiting, "what the second sends stays with it"
        await gate.pass_time(3600)  # it is we who are late with these two
        written.set()
        first.send(b".\r\n")
        for client in (first, second):
            queue_id(await client.reply())
        assert not gate.registry.is_behind
        queue_id(await send(await gate.greeted(), STRANGER, ANN))
    assert [row.reply[:9] for row in gate.trace_rows()][:2] == ["452 4.3.1"] * 2


async def test_the_announced_size_counts_for_the_room(gate):
    async with gate.open():
        room = gate.store._writer.room
        mark = room.free + room.reusable + room.reserved - 1_000_000
        gate.store._settings = replace(gate.store._settings, free_space_mark=mark)
        client = await gate.greeted()
        refused = await client.say(f"MAIL FROM:<{STRANGER}> SIZE=40000000")
        accepted = await client.say(f"MAIL FROM:<{STRANGER}>")
    assert (refused, accepted) == ("452 4.3.1 Insufficient system storage", "250 2.1.0 Sender OK")


async def test_a_disk_that_fills_up_meanwhile_is_said_at_the_end_and_traced(gate):
    async with gate.open():
        client = await gate.greeted()
        await client.envelope(STRANGER, ANN)
        gate.store._settings = replace(gate.store._settings, free_space_mark=1 << 62)
        assert await client.say(MESSAGE) == "452 4.3.1 Insufficient system storage"
        assert gate.left_behind() == []
        assert gate.offered == []
        gate.store._settings = gate.store_settings
        queue_id(await send(client, STRANGER, ANN))
    assert [(row.event, row.reply[:9]) for row in gate.trace_rows()] == [
        ("REFUSE", "452 4.3.1"),
        ("RECEIVE", "250 2.0.0"),
    ]


async def test_a_store_that_failed_is_said_at_mail(gate):
    async with gate.open():
        client = await gate.greeted()
        gate.store._fail(StoreFailure("fsync: the disk is gone"))
        reply = await client.say(f"MAIL FROM:<{STRANGER}>")
        assert reply == "451 4.3.0 Temporary failure, the message was not queued"
        assert "disk" not in client.last


BIG = LINES + b"\r\n" + b"0123456789abcdef0123456789abcdef0123456789abcdef\r\n" * 60_000


async def test_a_body_that_cannot_be_written_is_read_over_and_refused(gate):
    gate.store_settings = StoreSettings(free_space_mark=0, inline_limit=1000, memory_budget=0)
    async with gate.open():
        client = await gate.greeted()
        (gate.path / "queue" / "0" / "big").rmdir()
        await client.envelope(STRANGER, ANN)
        reply = await client.say(BIG + b".\r\n")
        assert reply == "451 4.3.0 Temporary failure, the message was not queued"
        assert isinstance(gate.store.failure, StoreFailure)
        assert await client.say(f"MAIL FROM:<{STRANGER}>") == reply
        assert gate.entries() == []
        (gate.path / "queue" / "0" / "big").mkdir()
    rows = [(row.event, row.recipient, row.reply) for row in gate.trace_rows()]
    assert rows == [("REFUSE", ANN, reply), ("REFUSE", "", reply)]


# Large bodies


async def test_a_large_body_streams_to_the_disk_and_holds_its_sender_back(gate, monkeypatch):
    held = []
    hold = Server.hold
    monkeypatch.setattr(Server, "hold", lambda core: (held.append(core), hold(core)))
    gate.store_settings = StoreSettings(free_space_mark=0, inline_limit=1000, memory_budget=0)
    async with gate.open():
        client = await gate.greeted()
        name = queue_id(await send(client, STRANGER, ANN, message=BIG + b".\r\n"))
        assert held
        assert (await gate.body(parse_id(name))).endswith(BIG)
        assert gate.offered[0].body is None
        queue_id(await send(client, STRANGER, ANN))


async def test_while_the_disk_is_behind_no_clock_of_the_client_runs(gate):
    gate.store_settings = StoreSettings(free_space_mark=0, inline_limit=1000, memory_budget=0)
    async with gate.open():
        client = await gate.greeted()
        await client.envelope(STRANGER, ANN)
        with gate.slow_disk():
            client.send(BIG)
            await gate.until(lambda: client.session._held)
            for _ in range(3):
                await gate.pass_time(1000)
        await gate.until(lambda: not client.session._held and not client.stream._transport.get_write_buffer_size())
        await gate.pass_time(299)
        queue_id(await client.say(b".\r\n"))


@pytest.mark.parametrize("fails", [False, True])
async def test_a_client_lost_while_the_disk_is_behind_leaves_nothing(gate, fails):
    gate.store_settings = StoreSettings(free_space_mark=0, inline_limit=1000, memory_budget=0)
    async with gate.open():
        client = await gate.greeted()
        with gate.slow_disk():
            await client.envelope(STRANGER, ANN)
            client.send(BIG)
            await gate.until(lambda: client.session._held)
            client.vanish()
            if fails:
                (gate.path / "queue" / "0" / "big").rmdir()
        await gate.until(lambda: not client.session._held and not len(gate.registry))
        (gate.path / "queue" / "0" / "big").mkdir(exist_ok=True)
        assert bool(gate.store.failure) is fails
        await gate.until(lambda: not gate.left_behind() and not gate.store._bodies.waiting)


# Transactions that are given up

GIVEN_UP = {
    "RSET": (["RSET"], "250 2.0.0 OK"),
    "a new hello": (["EHLO again.example"], "250 HELP"),
    "QUIT": (["QUIT"], "221 2.0.0 Closing connection"),
    "half a BDAT, then RSET": (["BDAT 5", b"abcde", "RSET"], "250 2.0.0 OK"),
    "half a BDAT, then QUIT": (["BDAT 5", b"abcde", "QUIT"], "221 2.0.0 Closing connection"),
}


@pytest.mark.parametrize(("lines", "last"), GIVEN_UP.values(), ids=GIVEN_UP)
async def test_a_transaction_that_is_given_up_leaves_nothing(gate, lines, last):
    async with gate.open():
        client = await gate.greeted()
        await client.say(f"MAIL FROM:<{STRANGER}>", f"RCPT TO:<{ANN}>")
        client.send(*lines)
        replies = [await client.reply() for line in lines if isinstance(line, str)]
        assert replies[-1] == last
        assert (gate.left_behind(), gate.traced, gate.offered) == ([], [], [])


@pytest.mark.parametrize("size", [100, 400_000])
async def test_a_connection_lost_in_the_middle_of_a_body_leaves_nothing(gate, size):
    async with gate.open():
        client = await gate.greeted()
        await client.envelope(STRANGER, ANN)
        client.send(BIG[:size])
        await gate.until(lambda: client.session._transaction.bytes_seen > size - 10)
        client.vanish()
        await gate.until(lambda: not len(gate.registry) and not gate.left_behind())
        assert (gate.traced, gate.offered) == ([], [])


# Times

IDLE = "421 4.4.2 Timed out waiting for your next command"
SLOW = "421 4.4.2 The message arrives more slowly than we accept"
LONG = "421 4.4.2 The session has lasted as long as we allow"
SHUTTING_DOWN = "421 4.3.2 Service shutting down, try again later"


async def test_a_silent_client_is_told_so_and_not_before(gate):
    async with gate.open():
        client = await gate.greeted()
        await gate.pass_time(300)
        assert await client.say("NOOP") == "250 2.0.0 OK"
        await gate.pass_time(301)
        assert await client.reply() == IDLE
        assert (await client.ends()).kind is LossKind.CLOSED
        await gate.until(lambda: not len(gate.registry))
        await gate.pass_time(1000)  # nobody is left to be told


async def test_bytes_without_a_command_do_not_keep_a_session_alive(gate):
    async with gate.open():
        client = await gate.greeted()
        for letter in b"NO":
            client.send(bytes([letter]))
            await gate.until(lambda: not client.stream._transport.get_write_buffer_size())
            await gate.pass_time(200)
        assert await client.reply() == IDLE


async def test_a_session_that_lasts_too_long(gate):
    gate.limits = SessionLimits(session_time=1000)
    async with gate.open():
        client = await gate.greeted()
        for _ in range(5):
            await gate.pass_time(200)
            assert await client.say("NOOP") == "250 2.0.0 OK"
        await gate.pass_time(1)
        assert await client.reply() == LONG


async def deliver_slowly(gate, client, octets, seconds):
    """Some content every second; the number of seconds that it was borne."""
    for passed in range(seconds):
        if client.loss:
            return passed
        seen = client.session._transaction and client.session._transaction.bytes_seen
        client.send(b"x" * (octets - 2) + b"\r\n")
        await gate.until(lambda seen=seen: client.loss or client.session._transaction.bytes_seen > seen)
        await gate.pass_time(1)
        await gate.until(lambda: client.loss or not client.session._core.closing)
    return seconds


@pytest.mark.parametrize(("octets", "borne"), [(99, 61), (101, 200)])
async def test_a_body_must_keep_up_a_rate(gate, octets, borne):
    gate.limits = SessionLimits(data_rate_min=100, data_rate_period=60)
    async with gate.open():
        client = await gate.greeted()
        await client.envelope(STRANGER, ANN)
        assert await deliver_slowly(gate, client, octets, 200) == borne
        assert gate.traced == []
        if borne < 200:
            assert await client.reply() == SLOW
            await gate.until(lambda: gate.left_behind() == [])
        else:
            queue_id(await client.say(b".\r\n"))


async def test_without_a_rate_only_silence_ends_a_body(gate):
    gate.limits = SessionLimits(data_rate_min=0)
    async with gate.open():
        client = await gate.greeted()
        await client.envelope(STRANGER, ANN)
        assert await deliver_slowly(gate, client, 3, 100) == 100
        await gate.pass_time(301)
        assert await client.reply() == IDLE


# Shutting down


async def test_shutting_down_ends_idle_sessions_and_begun_envelopes_at_once(gate):
    async with gate.open():
        idle, begun = await gate.greeted(), await gate.greeted()
        await begun.say(f"MAIL FROM:<{STRANGER}>", f"RCPT TO:<{ANN}>")
        gate.registry.drain()
        assert [await idle.reply(), await begun.reply()] == [SHUTTING_DOWN] * 2
        await idle.ends()
        await begun.ends()
        assert gate.left_behind() == []


@pytest.mark.parametrize(
    ("content", "answer"), [(MESSAGE, "250 2.0.0 Queued as"), (TOO_MANY_HOPS + b"\r\n.\r\n", "554 5.4.6")]
)
async def test_shutting_down_waits_for_the_answer_to_a_message_under_way(gate, content, answer):
    async with gate.open():
        client = await gate.greeted()
        await client.envelope(STRANGER, ANN)
        client.send(content[:20])
        await gate.until(lambda: client.session._transaction.bytes_seen)
        gate.registry.drain()
        client.send(content[20:], f"MAIL FROM:<{STRANGER}>")
        assert (await client.reply()).startswith(answer)
        assert await client.reply() == SHUTTING_DOWN
        assert await client.reply() == "closed"


async def test_who_comes_during_the_shutdown_is_turned_away_at_mail(gate):
    async with gate.open():
        gate.registry.drain()
        client = await gate.greeted()
        assert await client.say(f"MAIL FROM:<{STRANGER}>") == SHUTTING_DOWN
        await client.ends()


# STARTTLS


async def test_a_message_over_tls(gate):
    async with gate.open():
        client = await gate.greeted()
        facts = await client.starttls()
        assert await client.say(f"MAIL FROM:<{STRANGER}>") == "503 5.5.1 Send EHLO first"
        assert await client.say("EHLO again.example", "STARTTLS") == "503 5.5.1 TLS is active already"
        name = queue_id(await send(client, "l@lab.example", ANN))
        stored = await gate.body(parse_id(name))
    assert b"Received: from again.example" in stored
    assert b" with ESMTPS (version=TLSv1.3," in stored.replace(b"\r\n\t", b" ")
    counted = gate.service.counts.numbers
    assert counted["gatepost_connections_accepted_total", "mx"] == 1
    assert [series[1:4] for series in counted if series[0] == "gatepost_tls_sessions_total"] == [
        ("inbound", "TLSv1.3", facts.group)
    ]
    (row,) = gate.trace_rows()
    assert (row.tls_version, row.tls_group) == ("TLSv1.3", facts.group)
    assert (row.connector, row.requirement, row.achieved) == ("lab", "encrypted", "encrypted")


CERTIFICATES = {
    "ours, the connector's name": ("mail.contoso.example", "ours", "by certificate"),
    "ours, another name": ("mail.elsewhere.example", "ours", None),
    "not ours": ("mail.contoso.example", "other", ""),
    "by the connector's own anchors": ("vault.contoso.example", "other", "by another root"),
    "not by the connector's own anchors": ("vault.contoso.example", "ours", ""),
}


@pytest.mark.parametrize(("name", "issuer", "connector"), CERTIFICATES.values(), ids=CERTIFICATES)
async def test_own_servers_relay_by_their_certificate(gate, name, issuer, connector):
    async with gate.open():
        client = await gate.greeted()
        await client.starttls(gate.identity(name, authority=gate.other if issuer == "other" else gate.authority))
        await client.say("EHLO client.example")
        reply = await client.say(f"MAIL FROM:<{ANN}>", f"RCPT TO:<{BOB}>")
        if not connector:
            why = "" if connector is None else ": your certificate is not trusted, chain-incomplete"
            assert reply == f"550 5.7.64 TenantAttribution; Relay Access Denied{why}"
        else:
            queue_id(await client.say("DATA", MESSAGE))
    (row,) = gate.trace_rows()
    assert row.connector == (connector or "")
    assert row.tls["certificate"]["names"] == [name]
    assert row.tls["chain"] == ("trusted" if issuer == "ours" else "chain-incomplete")


@pytest.mark.parametrize("behind", [b"EHLO client.example\r\n", b"X", b"\r\n"])
async def test_plaintext_behind_starttls_ends_the_session(gate, behind):
    async with gate.open():
        client = await gate.greeted()
        client.send(b"STARTTLS\r\n" + behind)
        assert (await client.ends()).kind is not LossKind.TIMEOUT
        assert await client.reply() == "closed"  # not even 220
        await gate.until(lambda: not len(gate.registry))


async def test_a_handshake_that_fails_ends_the_session_without_a_word(gate, monkeypatch):
    monkeypatch.setattr("gatepost.mail.inbound.refusals._failed_handshakes", FailedHandshakes())
    async with gate.open():
        for _ in range(2):
            client = await gate.greeted()
            await client.say("STARTTLS")
            client.send(b"this is no client hello, and it is long enough to be seen as none\r\n")
            await client.ends()
            await gate.until(lambda: not len(gate.registry))
        assert gate.service.counts.numbers["gatepost_tls_failures_total", "inbound", "handshake"] == 2
    (event,) = gate.traced  # the second is no news
    assert (event.event, event.organization, event.peer_host) == ("TLSFAIL", "", "client.example")
    assert event.session != client.session.id
    assert event.reply
    assert event.detail["transcript"][-2] == "> STARTTLS"


async def test_a_handshake_has_less_time_than_an_idle_session(gate, monkeypatch):
    monkeypatch.setattr("gatepost.mail.inbound.refusals.HANDSHAKE_SECONDS", 0.2)
    async with gate.open():
        idle, client = await gate.greeted(), await gate.greeted()
        assert await client.say("STARTTLS") == "220 2.0.0 Ready to start TLS"
        assert await client.reply() == "closed"
        assert await idle.say("NOOP") == "250 2.0.0 OK"


@pytest.mark.parametrize("way", ["time", "drain"])
async def test_nothing_is_said_into_a_handshake(gate, way):
    async with gate.open():
        client = await gate.greeted()
        await client.say("STARTTLS")
        if way == "time":
            await gate.pass_time(301)
        else:
            gate.registry.drain()
        assert await client.reply() == "closed"


async def test_what_was_said_before_the_handshake_is_forgotten(gate):
    async with gate.open():
        client = await gate.greeted()
        await client.say(f"MAIL FROM:<{STRANGER}>", f"RCPT TO:<{ANN}>", "RSET")
        await client.starttls()
        assert await client.say(f"RCPT TO:<{ANN}>") == "503 5.5.1 Send EHLO first"
        assert client.session._record.facts.hello == ""


async def test_time_outs_are_said_over_tls(gate):
    async with gate.open():
        client = await gate.greeted()
        await client.starttls()
        await gate.until(lambda: client.session._record.facts.tls)
        await gate.pass_time(301)
        assert await client.reply() == IDLE


# Configuration


async def test_each_message_goes_by_the_configuration_in_force_at_its_mail(gate):
    async with gate.open():
        client = await gate.greeted()
        replies = [await client.say(f"MAIL FROM:<{STRANGER}>", f"RCPT TO:<{ANN}>")]
        gate.service.directory = gate.directory("[organization.nobody]")
        replies.append(await client.say(f"RCPT TO:<{ANN}>"))
        assert (await client.say("DATA"))[:3] == "354"
        client.send("Subject: under way", "", ".")
        assert (await client.reply())[:3] == "250"
        replies.append(await client.say(f"MAIL FROM:<{STRANGER}>", f"RCPT TO:<{ANN}>"))
    accepted, refused = "250 2.1.5 Recipient OK", "550 5.7.64 TenantAttribution; Relay Access Denied"
    assert replies == [accepted, accepted, refused]


async def test_errors_of_the_protocol_are_answered_and_counted_by_the_machine(gate):
    async with gate.open():
        client = await gate.greeted()
        replies = [await client.say("WHAT") for _ in range(10)]
        assert replies[0] == "500 5.5.1 Command is not known"
        assert replies[-1] == "421 4.7.0 Too many errors, closing"
        await client.ends()


@pytest.mark.parametrize(
    ("configured", "reply"),
    [("ann@contoso.example", "250 2.1.5 Recipient OK"), ("", "550 5.7.64 TenantAttribution; Relay Access Denied")],
)
async def test_mail_to_the_bare_postmaster_goes_where_the_settings_say(gate, configured, reply):
    async with gate.open():
        gate.service.postmaster = parse_address(configured) if configured else None
        client = await gate.greeted()
        assert await client.say("MAIL FROM:<x@elsewhere.example>", "RCPT TO:<postmaster>") == reply
