from __future__ import annotations

import base64
import contextlib
import time

import pytest

from gatepost.mail.inbound.credentials import content_name, make_credential
from gatepost.mail.inbound.login import MECHANISMS, Logins
from gatepost.net.engine import client_context
from gatepost.net.stream import LossKind
from gatepost.protocols.smtp.extensions import Extensions
from gatepost.protocols.smtp.replies import Reply
from gatepost.protocols.tls.profile import PROFILES
from gatepost.store.failures import ProcessFailures
from gatepost.store.interface import StoreFailure
from gatepost.values import replace

ANN = "ann@contoso.example"
WORD = "correct horse"
BUSY = Reply(421, "4.7.0", ("too many connections",))


@pytest.fixture(scope="module")
def content():
    return {content_name(ANN): make_credential(WORD, "contoso", 0).encode()}


@pytest.fixture
def users(gate, content):
    """The gate, opened for those who submit mail."""

    @contextlib.asynccontextmanager
    async def opened():
        async with gate.open():
            logins = Logins(content.get, lambda: b"secret", ProcessFailures(time.monotonic), None)
            extensions = Extensions.within(gate.smtp, starttls=True, auth=MECHANISMS)
            gate.service = replace(gate.service, logins=logins, extensions=extensions)
            yield gate
            logins.close()

    return opened


def plain(word=WORD, name=ANN):
    return "AUTH PLAIN " + base64.b64encode(f"\0{name}\0{word}".encode()).decode()


async def secured(gate, **more):
    client = gate.connect(**more)
    await client.greet()
    await client.starttls()
    await client.say("EHLO client.example")
    return client


async def test_no_password_gets_into_a_transcript(users):
    async with users() as gate:
        gate.service.transcripts = 1000
        client = await secured(gate)
        await client.say(plain("a wrong secret"))
        await client.say("AUTH PLAIN")
        await client.say(base64.b64encode(f"\0{ANN}\0another secret".encode()).decode())
        await client.say("hunter2")
        await client.say(plain("the third secret"))
    told = [line for row in gate.trace_rows() for line in row.detail.get("transcript", [])]
    assert "> AUTH PLAIN (an initial response)" in told
    assert "> (a response within AUTH)" in told
    assert "> (7 octets that are no command)" in told
    sent = "".join(told)
    for word in ("a wrong secret", "another secret", "hunter2", "the third secret"):
        assert word not in sent
        assert base64.b64encode(f"\0{ANN}\0{word}".encode()).decode() not in sent


async def test_from_the_log_in_to_the_queue(users):
    async with users() as gate:
        client = await secured(gate)
        assert await client.say(f"MAIL FROM:<{ANN}>") == "530 5.7.0 Authentication required"
        assert await client.say(plain("wrong")) == "535 5.7.8 Authentication credentials invalid"
        assert await client.say(plain()) == "235 2.7.0 Authentication successful"
        assert await client.say(plain()) == "503 5.5.1 Already authenticated"
        words = "550 5.7.60 SMTP; Client does not have permissions to send as this sender"
        assert await client.say("MAIL FROM:<joe@contoso.example>") == words
        assert (await client.envelope(ANN, "bob@partner.example", "joe@contoso.example"))[:3] == "354"
        client.send("Bcc: secret@partner.example,", " more@partner.example", "Subject: x", "", "hello", ".")
        assert (await client.reply()).startswith("250 2.0.0 Queued")
        body = await gate.body(gate.offered[0].message.id)
        received, _, rest = body.partition(b"\r\nDate: ")
        assert b" with ESMTPSA " in received
        assert rest.endswith(b"@mx.gate.example>\r\nSubject: x\r\n\r\nhello\r\n")
        message = gate.offered[0].message
        assert (message.organization, message.direction) == ("contoso", "originating")
        assert message.message_id.endswith("@mx.gate.example>")
        assert not message.from_on_premises
    refused_login, refused_sender, *received = gate.traced
    assert refused_login.detail["reasons"] == [f"AUTH PLAIN as {ANN}: wrong password"]
    assert refused_sender.detail["user"] == ANN
    assert {row.event for row in received} == {"RECEIVE"}
    assert {(row.connector, row.detail["user"], row.detail["mechanism"]) for row in received} == {
        ("submission", ANN, "PLAIN")
    }


async def test_an_empty_header_and_one_that_does_not_end(users):
    async with users() as gate:
        client = await secured(gate)
        await client.say(plain())
        for message in ("", "Bcc: a@b.example"):
            assert (await client.envelope(ANN, "joe@contoso.example"))[:3] == "354"
            client.send(message, *["hello"] * (not message), ".")
            assert (await client.reply()).startswith("250 2.0.0 Queued")
            body = await gate.body(gate.offered[-1].message.id)
            assert body.count(b"\r\nMessage-ID: <") == 1
            assert b"Bcc" not in body


async def test_nothing_before_tls(users):
    async with users() as gate:
        client = gate.connect()
        await client.greet()
        assert (await client.say(plain())).startswith("538 5.7.11 ")
        assert await client.say(f"MAIL FROM:<{ANN}>") == "530 5.7.0 Must issue a STARTTLS command first"


async def test_scram_bound_to_the_channel(users):
    async with users() as gate:
        client = await secured(gate)
        first = base64.b64encode(f"p=tls-exporter,,n={ANN},r=c".encode()).decode()
        challenge = base64.b64decode((await client.say(f"AUTH SCRAM-SHA-256-PLUS {first}")).split()[1]).decode()
        nonce = challenge.partition(",")[0]
        assert nonce.startswith("r=c")
        assert client.stream.channel_bindings()["tls-exporter"] != b"x" * 32
        wrong = base64.b64encode(b"p=tls-exporter,," + b"x" * 32).decode()
        last = base64.b64encode(f"c={wrong},{nonce},p=AAAA".encode()).decode()
        assert (await client.say(last)).startswith("535 5.7.8 Channel binding does not match")
        assert await client.say("AUTH PLAIN") == "334 "
        assert (await client.say("*")).startswith("501 5.0.0")
        assert await client.say(plain()) == "235 2.7.0 Authentication successful"


async def test_guessing_ends_the_session(users):
    async with users() as gate:
        client = await secured(gate)
        replies = [(await client.say(plain("guess")))[:9] for _ in range(3)]
        assert replies == ["535 5.7.8", "535 5.7.8", "421 4.7.0"]
        assert (await client.ends()).kind is LossKind.CLOSED
        assert [row.reply[:3] for row in gate.traced] == ["535", "535", "421"]


async def test_a_client_that_goes_while_its_password_is_tried(users):
    async with users() as gate:
        client = await secured(gate)
        client.send(plain())
        client.vanish()
        await gate.until(lambda: not len(gate.registry))


async def test_an_end_before_the_handshake_is_an_end(users):
    async with users() as gate:
        gate.service = replace(gate.service, implicit_tls=True)
        for ended in (lambda: gate.pass_time(10_000), lambda: gate.pass_time(0)):
            client = gate.connect()
            await ended()
            gate.registry.drain()
            client.stream.start_tls(client_context(PROFILES["default"]))
            assert await client.ends()
            await gate.until(lambda: not len(gate.registry))


async def test_tls_from_the_start(users):
    async with users() as gate:
        gate.service = replace(
            gate.service, implicit_tls=True, extensions=replace(gate.service.extensions, starttls=False)
        )
        client = gate.connect()
        client.stream.start_tls(client_context(PROFILES["default"]))
        assert (await client.reply()).startswith("220 ")
        client.send("EHLO client.example")
        assert await client.reply() == "250 HELP"
        assert await client.say(plain()) == "235 2.7.0 Authentication successful"
        assert await client.say("STARTTLS") == "502 5.5.1 Command is not offered here"
        refused = gate.connect(refusal=BUSY)
        assert await refused.ends()
        gate.service.tls = None
        assert await gate.connect().ends()


@pytest.mark.parametrize("new", [None, b"{}", make_credential("another word", "contoso", 1).encode()])
async def test_a_session_ends_with_its_password(users, content, new):
    async with users() as gate:
        client = await secured(gate)
        assert (await client.say(plain()))[:3] == "235"
        assert (await client.say(f"MAIL FROM:<{ANN}>"))[:3] == "250"
        before, content[content_name(ANN)] = content[content_name(ANN)], new
        try:
            assert (await client.say(f"RCPT TO:<{ANN}>"))[:3] == "250"
            await client.say("RSET")
            assert await client.say(f"MAIL FROM:<{ANN}>") == "421 4.7.0 Log in again"
            assert (await client.ends()).kind is LossKind.CLOSED
        finally:
            content[content_name(ANN)] = before
    assert "the log-in of the session" in gate.traced[-1].detail["reasons"][0]
    assert gate.traced[-1].detail.get("user", ANN) == ANN


async def test_other_letters_in_an_address_are_the_same_log_in(users):
    async with users() as gate:
        client = await secured(gate)
        assert (await client.say(plain()))[:3] == "235"
        gate.service.directory = gate.directory(gate.resources.replace("ann@contoso", "Ann@Contoso"))
        assert (await client.say(f"MAIL FROM:<{ANN}>"))[:3] == "250"


async def test_while_a_password_cannot_be_read_clients_are_to_try_again(users, content):
    def unreadable(_name):
        raise StoreFailure("configuration.db: disk I/O error")

    async with users() as gate:
        client = await secured(gate)
        gate.service.logins._content = unreadable
        assert (await client.say(plain()))[:9] == "454 4.7.0"
        assert "cannot be read now" in gate.traced[-1].detail["reasons"][0]
        gate.service.logins._content = content.get
        assert (await client.say(plain()))[:3] == "235"
        gate.service.logins._content = unreadable
        assert (await client.say(f"MAIL FROM:<{ANN}>"))[:9] == "451 4.3.0"
        assert "cannot be read now" in gate.traced[-1].detail["reasons"][0]
        gate.service.logins._content = content.get
        assert (await client.say(f"MAIL FROM:<{ANN}>"))[:3] == "250"
