from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from gatepost.mail.outbound.connection import OutboundConnection, SmtpTimeouts
from gatepost.mail.outbound.failure import ConnectionEnded, UnwritableEnvelope
from gatepost.net import dial
from gatepost.net.tasks import spawn
from gatepost.protocols.smtp.client.client import Client
from gatepost.protocols.smtp.client.transaction import MailTransaction, TransactionResult


def with_connection[T](peer: Any, use: Callable[[OutboundConnection], Awaitable[T]], timeouts: SmtpTimeouts) -> T:
    async def run() -> T:
        async with peer:
            stream = await dial.connect("127.0.0.1", peer.port, timeout=20)
            connection = OutboundConnection(stream, Client("gate.example", lmtp=peer.lmtp), timeouts)
            try:
                return await use(connection)
            finally:
                connection.abort("end of test")
                await asyncio.sleep(0.01)

    return asyncio.run(run())


async def ready(connection: OutboundConnection) -> None:
    await connection.greeting()
    await connection.hello()


async def no_chunks() -> AsyncIterator[bytes]:
    raise AssertionError
    yield b""


def mail(*recipients: str) -> MailTransaction:
    return MailTransaction("ann@contoso.example", [(address, "", "") for address in recipients or ("bob@b.example",)])


def test_the_first_words_are_written_down(kit: Any) -> None:
    async def use(connection: OutboundConnection) -> list[str]:
        await ready(connection)
        return connection.transcript

    peer = kit.Peer(says={"GREETING": "220-peer\n220 ready"}, extensions=("SIZE 7", "LIMITS RCPTMAX=3 MAILMAX=9"))
    lines = with_connection(peer, use, SmtpTimeouts())
    assert lines == [
        "< 220 peer",
        "< 220 ready",
        "> EHLO",
        "< 250 peer",
        "< 250 SIZE 7",
        "< 250 LIMITS RCPTMAX=3 MAILMAX=9",
    ]


@pytest.mark.parametrize(("code", "ended"), [("250", ""), ("450", "in reply to LHLO")])
def test_an_lmtp_server_is_greeted_with_lhlo(kit: Any, code: str, ended: str) -> None:
    async def use(connection: OutboundConnection) -> tuple[str, str]:
        try:
            await ready(connection)
        except ConnectionEnded as failed:
            return connection.transcript[1], failed.failure.detail
        return connection.transcript[1], ""

    peer = kit.Peer(lmtp=True, says={} if code == "250" else {"EHLO": f"{code} 4.3.0 not now"})
    assert with_connection(peer, use, SmtpTimeouts()) == ("> LHLO", ended)


def test_what_is_written_down_is_bounded(kit: Any) -> None:
    greeting = "\n".join(["220-again"] * 99) + "\n220 done"

    async def use(connection: OutboundConnection) -> int:
        await ready(connection)
        return len(connection.transcript)

    assert with_connection(kit.Peer(says={"GREETING": greeting}), use, SmtpTimeouts()) == 100


def test_the_limits_a_peer_names(kit: Any) -> None:
    async def use(connection: OutboundConnection) -> tuple[int, int]:
        await ready(connection)
        return connection.recipients_max, connection.transactions_max

    assert with_connection(kit.Peer(extensions=("LIMITS RCPTMAX=3 MAILMAX=9",)), use, SmtpTimeouts()) == (3, 9)


@pytest.mark.parametrize(
    ("verb", "without", "step"),
    [
        ("MAIL", "CHUNKING", "MAIL"),
        ("DATA", "CHUNKING", "DATA"),
        ("END", "", "end of data"),
        ("END", "CHUNKING", "end of data"),
    ],
)
def test_every_wait_ends(kit: Any, verb: str, without: str, step: str) -> None:
    async def use(connection: OutboundConnection) -> TransactionResult:
        await ready(connection)
        return await connection.send(mail(), kit.BODY, no_chunks)

    extensions = tuple(name for name in kit.EXTENSIONS if name not in {without, "PIPELINING"})
    quick = SmtpTimeouts(1, 1, 1, 1, envelope=0.1, recipient=0, data=0.05, block=0.1, end=0.1)
    outcome = with_connection(kit.Peer(says={verb: "!silent"}, extensions=extensions), use, quick)
    assert outcome.recipients[0].reply.text == f"450 4.4.315 Connection timed out while waiting for the reply to {step}"
    assert outcome.recipients[0].local


@pytest.mark.parametrize("without", [{"CHUNKING"}, {"CHUNKING", "PIPELINING"}])
def test_a_message_of_one_flight_wakes_its_attempt_once(kit: Any, without: set[str]) -> None:
    results: list[TransactionResult] = []

    async def use(connection: OutboundConnection) -> list[asyncio.Future[None]]:
        await ready(connection)
        loop, waits = connection._loop, list[asyncio.Future[None]]()

        class Counted:
            def create_future(self) -> asyncio.Future[None]:
                waits.append(loop.create_future())
                return waits[-1]

        connection._loop = Counted()  # type: ignore[assignment] # all that it is asked for
        results.append(await connection.send(mail(), kit.BODY, no_chunks))
        return waits

    extensions = tuple(name for name in kit.EXTENSIONS if name not in without)
    waits = with_connection(kit.Peer(extensions=extensions), use, SmtpTimeouts())
    assert len(waits) == 1
    assert results[0].accepted


@pytest.mark.parametrize("address", ["b\rb@b.example", "", "b@b.example>\r\nRCPT TO:<c@b.example"])
def test_an_address_that_cannot_be_written_leaves_the_connection_as_it_was(kit: Any, address: str) -> None:
    peer = kit.Peer()

    async def use(connection: OutboundConnection) -> TransactionResult:
        await ready(connection)
        bad = mail()
        bad.recipients = [(address, "", "")] if address else []
        with pytest.raises(UnwritableEnvelope):
            await connection.send(bad, kit.BODY, no_chunks)
        assert (connection.usable, connection.sent) == (True, 0)
        return await connection.send(mail(), kit.BODY, no_chunks)

    assert with_connection(peer, use, SmtpTimeouts()).recipients[0].reply.positive
    assert (len(peer.connections), peer.said("MAIL")) == (1, 1)


def test_a_peer_that_stops_reading_is_given_up(kit: Any) -> None:
    peer = kit.Peer()

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(400):
            yield b"x" * 262142 + b"\r\n"
            peer.connections[0].stream.pause()

    async def use(connection: OutboundConnection) -> TransactionResult:
        await ready(connection)
        return await connection.send(mail(), None, endless)

    outcome = with_connection(peer, use, SmtpTimeouts(block=0.2))
    assert outcome.recipients[0].reply.enhanced == "4.4.315"


def test_a_refusal_in_the_middle_of_the_body_ends_it(kit: Any) -> None:
    yielded = []

    async def many() -> AsyncIterator[bytes]:
        for number in range(200):
            yielded.append(number)
            yield b"x" * 998 + b"\r\n"
            await asyncio.sleep(0.001)

    async def use(connection: OutboundConnection) -> TransactionResult:
        await ready(connection)
        return await connection.send(mail(), None, many)

    outcome = with_connection(kit.Peer(says={"BDAT": "552 5.3.4 too big"}), use, SmtpTimeouts())
    assert outcome.recipients[0].reply.text == "552 5.3.4 too big"
    assert len(yielded) < 200


def test_in_lock_step_no_more_of_a_body_is_read_than_the_peer_has_answered_for(kit: Any) -> None:
    ahead = []
    peer = kit.Peer(extensions=("CHUNKING", "BINARYMIME", "8BITMIME"))

    async def use(connection: OutboundConnection) -> TransactionResult:
        async def many() -> AsyncIterator[bytes]:
            for number in range(30):
                ahead.append(number - peer.said("BDAT"))
                yield b"x" * 5000

        await ready(connection)
        transaction = mail()
        transaction.body_type = "BINARYMIME"
        return await connection.send(transaction, None, many)

    outcome = with_connection(peer, use, SmtpTimeouts())
    assert outcome.recipients[0].reply.positive
    assert [len(one.content) for one in peer.messages] == [150_000]
    assert len(ahead) == 30
    assert max(ahead) <= 2


@pytest.mark.parametrize("calls", [1, 2])
@pytest.mark.parametrize("small", [True, False])
def test_a_caller_that_is_cancelled_waits_for_the_reply_to_what_was_sent_whole(
    kit: Any, calls: int, *, small: bool
) -> None:
    peer = kit.Peer(says={"END": "!silent"})

    async def chunks() -> AsyncIterator[bytes]:
        yield b"hello\r\n"

    async def use(connection: OutboundConnection) -> TransactionResult | None:
        await ready(connection)
        sending = spawn(connection.send(mail(), b"hello\r\n" if small else None, chunks), "send")
        while not peer.messages:  # noqa: ASYNC110 - the double tells nobody
            await asyncio.sleep(0.005)
        for _ in range(calls):
            sending.cancel()
            await asyncio.sleep(0.02)
        assert sending.cancelled() == (calls == 2)
        if sending.cancelled():
            return None
        peer.connections[0].stream.write(b"250 2.0.0 late\r\n")
        outcome = await sending
        assert not connection.usable, "nothing else is to be sent"
        return outcome

    outcome = with_connection(peer, use, SmtpTimeouts())
    assert (outcome.recipients[0].reply.text if outcome else "") == ("250 2.0.0 late" if calls == 1 else "")


def test_a_caller_that_is_cancelled_before_the_end_sends_no_more(kit: Any) -> None:
    peer = kit.Peer(says={"RCPT": "!silent"}, extensions=("PIPELINING",))

    async def use(connection: OutboundConnection) -> None:
        await ready(connection)
        sending = spawn(connection.send(mail(), b"hello\r\n", no_chunks), "send")
        while not peer.said("RCPT"):  # noqa: ASYNC110 - the double tells nobody
            await asyncio.sleep(0.005)
        sending.cancel()
        await asyncio.sleep(0.02)
        assert sending.cancelled()

    with_connection(peer, use, SmtpTimeouts())
    assert peer.messages == []


@pytest.mark.parametrize("extensions", [("PIPELINING", "CHUNKING"), ("PIPELINING",), ()])
@pytest.mark.parametrize("small", [True, False])
def test_the_end_of_a_message_that_others_may_have_is_not_sent(
    kit: Any, extensions: tuple[str, ...], *, small: bool
) -> None:
    peer = kit.Peer(extensions=extensions)

    async def chunks() -> AsyncIterator[bytes]:
        yield b"hello\r\n"

    async def use(connection: OutboundConnection) -> TransactionResult:
        await ready(connection)
        connection.owned = lambda: False
        return await connection.send(mail(), b"hello\r\n" if small else None, chunks)

    (result,) = with_connection(peer, use, SmtpTimeouts()).recipients
    assert result.local
    assert result.reply.transient
    assert peer.messages == []


def test_a_resting_connection_tells_its_end_once(kit: Any) -> None:
    peer = kit.Peer()

    async def use(connection: OutboundConnection) -> list[str]:
        await ready(connection)
        told: list[str] = []
        connection.on_end = lambda: told.append("ended")
        peer.connections[0].stream.write(b"250 2.0.0 out of turn\r\n")
        while connection.usable:  # noqa: ASYNC110 - who lets it rest is told only of its end
            await asyncio.sleep(0.001)
        peer.connections[0].stream.close()
        while not told:  # noqa: ASYNC110 - a list knows no event
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.05)
        return told

    assert with_connection(peer, use, SmtpTimeouts()) == ["ended"]


@pytest.mark.parametrize("how", ["close", "words"])
def test_nothing_is_begun_on_a_connection_that_has_ended(kit: Any, how: str) -> None:
    peer = kit.Peer()

    async def use(connection: OutboundConnection) -> str:
        await ready(connection)
        if how == "close":
            peer.connections[0].stream.close()
        else:
            peer.connections[0].stream.write(b"not SMTP\r\n")
        while connection.usable:  # noqa: ASYNC110 - nobody is told
            await asyncio.sleep(0.001)
        with pytest.raises(ConnectionEnded) as ended:
            await connection.send(mail(), kit.BODY, no_chunks)
        return ended.value.failure.reply.enhanced

    assert with_connection(peer, use, SmtpTimeouts()) == {"close": "4.4.318", "words": "4.5.0"}[how]


def test_plaintext_behind_the_reply_to_starttls_ends_it(world: Any, kit: Any) -> None:
    from gatepost.mail.outbound.failure import HopFailed  # noqa: PLC0415 - only here
    from gatepost.mail.outbound.hop import Hop, HopOpener  # noqa: PLC0415 - only here
    from gatepost.policy.decisions.requirement import Encrypted  # noqa: PLC0415 - only here

    peer = kit.Peer(tls=world.identity("mx.b.example"), says={"STARTTLS": "220 go\n250 2.0.0 injected"})

    async def run() -> HopFailed:
        async with peer:
            world.build()
            opener = HopOpener("gate.example", world.contexts, SmtpTimeouts())
            with pytest.raises(HopFailed) as failed:
                await opener.open(Hop("mx.b.example", "127.0.0.1", peer.port, Encrypted(())))
            return failed.value

    failed = asyncio.run(run())
    assert failed.handshake
    assert failed.failure.reply.enhanced == "4.4.317"
