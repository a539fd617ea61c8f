"""Proves what hostile clients get: a clear answer or the end of their session, and nothing else.

Every attack runs against the same gateway while a good client sends one message after another and is served promptly;
its resident memory grows by less than 64 MB in all. What an attacker tries to smuggle is never queued.
"""

from __future__ import annotations

import os
import random
import socket
import ssl
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass

import pytest
from support.debian import need
from support.gateway import Gateway
from support.pace import Pace
from support.raw import ClosedError, RawClient
from support.scenes import blind_context, contoso, message
from support.siege import MEGABYTE, Witness, codes, flood

from gatepost.testing.pki import Pki
from gatepost.testing.process import wait_until

SMUGGLER = "smuggler@elsewhere.example"
VICTIM = "victim@contoso.example"
ANN = "ann@contoso.example"
DOTTY = "dotty@contoso.example"
ENVELOPE = f"MAIL FROM:<{SMUGGLER}>\r\nRCPT TO:<{VICTIM}>\r\n".encode()
SMUGGLED = ENVELOPE + b"DATA\r\nSubject: smuggled\r\n\r\nsmuggled\r\n"

# Who is answered at once is so in most of a few tries, whatever else the machine does; who waits for a limit, in none.
TRIES = 4
LIMITS = {
    "connections_per_source": 500,
    "idle_timeout": "4s",
    "command_timeout": "6s",
    "data_rate_min": 1000,
    "data_rate_period": "2s",
    "discard_bytes": "8MB",
}


@pytest.fixture(scope="module")
def fortress(pki: Pki) -> Iterator[Gateway]:
    resources = contoso(mailboxes=[ANN, DOTTY, VICTIM])
    with Gateway(resources, certificates=[pki.leaf("mx1.contoso.example")], settings={"limits": LIMITS}) as running:
        yield running
        # Mail of the smuggler is queued only where a test says it may be, and then with another recipient.
        assert running.trace(recipient=VICTIM, event="RECEIVE") == []
        assert running.maildir(VICTIM) == []


@pytest.fixture(scope="module")
def baseline(fortress: Gateway) -> int:
    """Resident bytes once every part of the gateway has been used."""
    witness = Witness(fortress, ANN)
    for _ in range(30):
        witness.once()
    with RawClient(fortress.port) as client:
        client.greet()
        client.starttls()
    return fortress.resident()


@pytest.fixture(autouse=True)
def good_client(fortress: Gateway, baseline: int) -> Iterator[None]:
    """Served during every test of this file."""
    witness = Witness(fortress, ANN)
    with Pace(every=1.0) as pace, witness.watching():
        yield
    assert witness.failures == []
    assert max(witness.delays) < 5 * pace.slowness, pace
    assert witness.peak - baseline < 64 * MEGABYTE, f"{(witness.peak - baseline) / MEGABYTE:.0f} MB"


@dataclass(frozen=True, slots=True)
class Said:
    """Octets after EHLO, and the replies to them. closes: the session ends behind them, else NOOP is answered."""

    octets: bytes
    replies: tuple[str, ...]
    closes: bool = False


def _mail(path: str) -> bytes:
    return f"MAIL FROM:<{path}>\r\n".encode()


def _rcpt(path: str) -> bytes:
    return ENVELOPE[: ENVELOPE.index(b"RCPT")] + f"RCPT TO:<{path}>\r\n".encode()


TAKEN = ("250 2.1.0", "250 2.1.5")  # the replies to ENVELOPE
SAID = {
    "bare LF": Said(b"NOOP\nNOOP\r\n", ("500 5.5.2",)),
    "bare CR": Said(b"NOOP\rNOOP\r\n", ("500 5.5.2",)),
    "commands behind bare LF": Said(ENVELOPE.replace(b"\r\n", b"\n", 1), ("500 5.5.2",)),
    "NUL": Said(b"NO\0OP\r\n", ("500 5.5.2",)),
    "NUL in an address": Said(_mail("a\0b@elsewhere.example"), ("500 5.5.2",)),
    "bell in an address": Said(_mail("a\a@elsewhere.example"), ("500 5.5.2",)),
    "UTF-8 without SMTPUTF8": Said(_mail("zoë@elsewhere.example"), ("553 5.6.7",)),
    "UTF-8 in a recipient": Said(_rcpt("zoë@contoso.example"), ("250 2.1.0", "553 5.6.7")),
    "not UTF-8": Said(b"MAIL FROM:<zo\xeb@elsewhere.example> SMTPUTF8\r\n", ("500 5.5.2",)),
    "8-bit elsewhere": Said("NOOP ü\r\n".encode(), ("500 5.5.2",)),
    "source route of a sender": Said(_mail("@a.example,@b.example:c@d.example"), ("553 5.1.7",)),
    "source route of a recipient": Said(_rcpt(f"@b.example:{VICTIM}"), ("250 2.1.0", "553 5.1.3")),
    "percent hack": Said(_rcpt("bob%partner.example@contoso.example"), ("250 2.1.0", "550 5.1.1")),
    "two at signs": Said(_rcpt("a@b@contoso.example"), ("250 2.1.0", "501 5.1.3")),
    "quoted line end": Said(_rcpt('"a\\\r\nb"@contoso.example'), ("250 2.1.0", "501 5.5.4", "500 5.5.1")),
    "local part of 300": Said(_rcpt(f"{'x' * 300}@contoso.example"), ("250 2.1.0", "501 5.1.3")),
    "domain of 300": Said(_mail(f"a@{'x.' * 150}example"), ("501 5.1.7",)),
    "line of 5,000": Said(b"NOOP " + b"x" * 5000 + b"\r\n", ("500 5.5.2",)),
    "empty lines": Said(b"\r\n\r\n", ("500 5.5.1", "500 5.5.1")),
    "HTTP": Said(b"POST / HTTP/1.1\r\nHost: x\r\n\r\n" + SMUGGLED, ("421 4.7.0",), closes=True),
    "ten errors": Said(b"WHAT\r\n" * 10, ("500 5.5.1",) * 9 + ("421 4.7.0",), closes=True),
    "SIZE too big": Said(_mail("a@b.example> SIZE=99999999999999999999").replace(b">\r", b"\r"), ("552 5.3.4",)),
    "SIZE no number": Said(_mail("a@b.example> SIZE=-1").replace(b">\r", b"\r"), ("501 5.5.4",)),
    "DATA without MAIL, content behind it": Said(
        b"DATA\r\n" + SMUGGLED + b".\r\n", ("503 5.5.1", "421 4.7.0"), closes=True
    ),
    "DATA without recipient, content behind it": Said(
        _mail("a@b.example") + b"DATA\r\n" + SMUGGLED + b".\r\n", ("250 2.1.0", "554 5.5.1", "421 4.7.0"), closes=True
    ),
    "BDAT without MAIL, commands in it": Said(b"BDAT 6 LAST\r\nNOOP\r\n", ("503 5.5.1",)),
    "BDAT after a refused recipient": Said(
        _rcpt("nobody@contoso.example") + b"BDAT %d LAST\r\n" % len(SMUGGLED) + SMUGGLED,
        ("250 2.1.0", "550 5.1.1", "554 5.5.1"),
    ),
    "BDAT of no number": Said(ENVELOPE + b"BDAT x LAST\r\n" + SMUGGLED, (*TAKEN, "501 5.5.4", "421 4.7.0"), True),
    "BDAT of minus one": Said(ENVELOPE + b"BDAT -1 LAST\r\n", (*TAKEN, "501 5.5.4", "421 4.7.0"), True),
    "BDAT of 21 digits": Said(
        ENVELOPE + b"BDAT 100000000000000000000 LAST\r\n", (*TAKEN, "501 5.5.4", "421 4.7.0"), True
    ),
    "BDAT beyond SIZE": Said(ENVELOPE + b"BDAT 99999999999999999999 LAST\r\n", (*TAKEN, "552 5.3.4"), True),
    "BDAT beyond SIZE, with what comes": Said(
        ENVELOPE + b"BDAT 60000000\r\n" + b"x" * MEGABYTE, (*TAKEN, "552 5.3.4"), True
    ),
    "BDAT beyond SIZE with the chunk before": Said(
        ENVELOPE + b"BDAT 3\r\na\r\n" + b"BDAT 52428798 LAST\r\n", (*TAKEN, "250 2.0.0", "552 5.3.4"), True
    ),
    "BDAT without MAIL, huge": Said(b"BDAT 60000000 LAST\r\n", ("503 5.5.1",), True),
    "BDAT with bare LF": Said(ENVELOPE + b"BDAT 4 LAST\r\na\nb\n", (*TAKEN, "554 5.6.0")),
    "BDAT with a false end": Said(
        ENVELOPE + b"BDAT 5\r\na\r\n.\n" + b"BDAT 2 LAST\r\n\r\n", (*TAKEN, "554 5.6.0", "554 5.6.0")
    ),
    "BDAT then DATA": Said(
        ENVELOPE + b"BDAT 3\r\na\r\n" + b"DATA\r\n" + SMUGGLED, (*TAKEN, "250 2.0.0", "503 5.5.1", "421 4.7.0"), True
    ),
    "header section of 1 MB": Said(
        ENVELOPE + b"DATA\r\n" + b"X-Field: value\r\n" * 65536 + b"\r\n.\r\n",
        (*TAKEN, "354 Start", "552 5.3.4"),
    ),
    "header field of 1 MB": Said(
        ENVELOPE + b"DATA\r\nX-Field: " + b"v" * MEGABYTE + b"\r\n\r\n.\r\n",
        (*TAKEN, "354 Start", "552 5.3.4"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SAID)
def test_every_bad_line_gets_its_answer(fortress: Gateway, name: str) -> None:
    case = SAID[name]
    with RawClient(fortress.port) as client:
        client.greet()
        expected = [*case.replies, "" if case.closes else "250 2.0.0"]
        wanted = len(case.replies) + (not case.closes)
        pieces = [case.octets] if case.closes else [case.octets, b"NOOP\r\n"]
        said, closed = flood(client, pieces, lambda said: not case.closes and said.count(b"\r\n") >= wanted)
    assert closed is case.closes
    assert [one.decode() for one in codes(said)] == [one for one in expected if one], said
    assert all(b" [mx1.contoso.example " in line for line in said.split(b"\r\n")[:-1])


FALSE_ENDS = [
    b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r.\r\n", b"\r\n.\r", b"\n.\r", b"\r.\n", b"\r\r\n.\n", b"\n\n.\n",
    b"\r\n\0.\r\n", b"\r\n.\0\r\n", b"\r\n.\r\0\n", b"\r\n.\r\r\n", b"\x85.\x85\n",
]  # fmt: skip


@pytest.mark.parametrize("end", FALSE_ENDS, ids=repr)
@pytest.mark.parametrize("apart", [False, True], ids=["one write", "octet by octet"])
def test_a_false_end_of_data_ends_nothing(fortress: Gateway, end: bytes, apart: bool) -> None:
    with RawClient(fortress.port) as client:
        client.greet()
        client.send(ENVELOPE + b"DATA\r\n")
        assert [client.reply().code for _ in range(3)] == [250, 250, 354]
        content = b"Subject: first\r\n\r\nfirst" + end + SMUGGLED + b".\r\n"
        for piece in [bytes([octet]) for octet in content] if apart else [content]:
            client.send(piece)
        reply = client.reply()
        assert (reply.code, reply.enhanced) == (554, "5.6.0")
        assert client.command("NOOP").code == 250
        assert client.command("QUIT").code == 221


@pytest.mark.parametrize("line", [b"..", b". ", b".\t", b".x", b" .", b"..\r\n.."], ids=repr)
def test_a_line_that_only_looks_like_the_end_is_content(fortress: Gateway, line: bytes) -> None:
    content = f"Subject: dots {line!r}\r\n\r\n".encode() + line + b"\r\n" + SMUGGLED
    with RawClient(fortress.port) as client:
        client.greet()
        client.send(ENVELOPE.replace(VICTIM.encode(), DOTTY.encode()) + b"DATA\r\n" + content + b".\r\n")
        assert [client.reply().code for _ in range(4)] == [250, 250, 354, 250]
    unstuffed = (b"\r\n" + content).replace(b"\r\n.", b"\r\n")[2:]
    wait_until(lambda: unstuffed in [mail.content for mail in fortress.maildir(DOTTY)], "the message as it was meant")


@pytest.mark.parametrize(
    "behind", [b"NOOP\r\n", b"EHLO x\r\n" + SMUGGLED + b".\r\n", b"QUIT\r\n", b"\r\n", b"N"], ids=repr
)
def test_commands_pipelined_into_starttls_end_the_session(fortress: Gateway, behind: bytes) -> None:
    took = []
    for _ in range(TRIES):
        with RawClient(fortress.port) as client:
            client.greet()
            client.send(b"STARTTLS\r\n" + behind)
            begun = time.monotonic()
            rest = client.rest()
            took.append(time.monotonic() - begun)
        assert rest.count(b"\r\n") <= 1
        assert rest == b"" or rest.startswith(b"220 2.0.0")
        if took[-1] < 2:
            break
    assert took[-1] < 2, f"it is not left waiting for a handshake: {took}"


def test_what_was_said_before_starttls_is_forgotten(fortress: Gateway) -> None:
    with RawClient(fortress.port) as client:
        client.greet()
        client.send(ENVELOPE)
        assert [client.reply().code for _ in range(2)] == [250, 250]
        assert client.command("STARTTLS").code == 503
        client.command("RSET")
        client.starttls()
        assert client.command("MAIL FROM:<a@b.example>").code == 503
        assert client.command("DATA").code == 503


@pytest.mark.parametrize("data", [b"NOOP\r\n", b"\x16\x03\x01\x40\x00", b"\0" * 5000, None], ids=repr)
def test_garbage_instead_of_a_handshake_ends_the_session(fortress: Gateway, data: bytes | None) -> None:
    for _ in range(20):
        with RawClient(fortress.port) as client:
            client.greet()
            assert client.command("STARTTLS").code == 220
            client.send(data or os.urandom(2000))
            if data is None or not data.startswith(b"\x16"):  # that one announces 16 KB, and waits for them
                assert b"250" not in client.rest()


# What is sent after EHLO without end -> codes and their numbers, and whether the session is closed.
FLOODS: dict[str, tuple[Callable[[], Iterator[bytes]], list[tuple[bytes, int]], bool]] = {
    "endless command line": (
        lambda: (b"x" * MEGABYTE for _ in range(100)), [(b"500 5.5.2", 1), (b"421 4.7.0", 1)], True
    ),
    "endless DATA line": (
        lambda: iter([ENVELOPE + b"DATA\r\n", *[b"x" * MEGABYTE] * 200]),
        [(b"250 2.1.0", 1), (b"250 2.1.5", 1), (b"354 Start", 1), (b"552 5.3.4", 1)], True,
    ),
    "endless DATA": (
        lambda: iter([ENVELOPE + b"DATA\r\n\r\n", *[b"line\r\n" * 100_000] * 300]),
        [(b"250 2.1.0", 1), (b"250 2.1.5", 1), (b"354 Start", 1), (b"552 5.3.4", 1)], True,
    ),
    "BDAT of 10^19": (
        lambda: iter([ENVELOPE + b"BDAT 9999999999999999999 LAST\r\n", *[b"x" * MEGABYTE] * 100]),
        [(b"250 2.1.0", 1), (b"250 2.1.5", 1), (b"552 5.3.4", 1)], True,
    ),
    "20,000 recipients": (
        lambda: iter([ENVELOPE, b"".join(b"RCPT TO:<victim@contoso.example>\r\n" for _ in range(19_999)), b"RSET\r\n"]),
        [(b"250 2.1.0", 1), (b"250 2.1.5", 1000), (b"452 4.5.3", 19_000), (b"250 2.0.0", 1)], False,
    ),
    "50,000 NOOPs": (lambda: iter([b"NOOP\r\n" * 50_000]), [(b"250 2.0.0", 99), (b"421 4.7.0", 1)], True),
    "50,000 RSETs": (lambda: iter([b"RSET\r\n" * 50_000]), [(b"250 2.0.0", 99), (b"421 4.7.0", 1)], True),
    "30,000 chunks of one octet": (
        lambda: iter([ENVELOPE, b"BDAT 1\r\nx" * 30_000, b"RSET\r\n"]),
        [(b"250 2.1.0", 1), (b"250 2.1.5", 1), (b"250 2.0.0", 20_000), (b"554 5.5.0", 10_000), (b"250 2.0.0", 1)],
        False,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FLOODS)
def test_floods_meet_their_limit(fortress: Gateway, name: str) -> None:
    pieces, expected, closes = FLOODS[name]
    wanted = sum(count for _, count in expected)
    with RawClient(fortress.port) as client:
        client.greet()
        said, closed = flood(client, pieces(), lambda said: not closes and said.count(b"\r\n") >= wanted)
    assert closed is closes
    assert codes(said) == [code for code, count in expected for _ in range(count)]


def test_a_client_that_never_reads_costs_no_memory(fortress: Gateway) -> None:
    """Commands are answered into full buffers; the server stops reading instead of keeping the replies.

    65 MB: more than the buffers of the kernel on both sides take.
    """
    commands = ENVELOPE + b"RCPT TO:<victim@contoso.example>\r\n" * 900 + b"RSET\r\n"
    with RawClient(fortress.port) as client:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.greet()
        client.socket.settimeout(2)

        def send_all() -> None:
            for _ in range(2000):
                client.send(commands)

        with pytest.raises((TimeoutError, ConnectionError)):
            send_all()
        client.reset()


@pytest.mark.parametrize("tls", [False, True], ids=["in clear", "over TLS"])
def test_300_silent_connections_are_told_and_closed(fortress: Gateway, tls: bool) -> None:
    with ExitStack() as stack:
        clients = []
        # Each to its end at once: on a busy machine the first has been closed before the last comes.
        for _ in range(300):
            begun = time.monotonic()
            client = stack.enter_context(RawClient(fortress.port))
            assert client.reply().code == 220
            if tls:
                assert client.command("EHLO x").code == 250
                assert client.starttls() == "TLSv1.3"
            clients.append(client)
        assert clients[-1].reply().enhanced == "4.4.2"
        assert time.monotonic() - begun > 1
        assert {client.reply().enhanced for client in clients[:-1]} == {"4.4.2"}
        assert {client.rest() for client in clients} == {b""}


def test_handshakes_that_never_end_are_closed(fortress: Gateway) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(RawClient(fortress.port)) for _ in range(50)]
        for client in clients:
            client.greet()
            assert client.command("STARTTLS").code == 220
            client.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 20)
        assert all(b"250" not in client.rest() for client in clients)


def test_a_client_hello_octet_by_octet_is_a_handshake(fortress: Gateway) -> None:
    """Slowness alone is no offence while the time for a command lasts."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = blind_context().wrap_bio(incoming, outgoing)
    with RawClient(fortress.port) as client:
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.greet()
        assert client.command("STARTTLS").code == 220
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                for octet in outgoing.read():
                    client.send(bytes([octet]))
                incoming.write(client.socket.recv(65536))
        tls.write(b"EHLO x\r\n")
        client.send(outgoing.read())
        incoming.write(client.socket.recv(65536))
        assert tls.version() == "TLSv1.3"


def test_a_client_hello_that_drips_is_ended(fortress: Gateway) -> None:
    hello = iter(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500))
    with RawClient(fortress.port) as client:
        client.greet()
        assert client.command("STARTTLS").code == 220
        client.socket.settimeout(0.3)
        begun = time.monotonic()
        with suppress(ConnectionError):
            while time.monotonic() - begun < 60:
                client.send(bytes([next(hello)]))
                with suppress(TimeoutError):
                    if client.socket.recv(100) == b"":
                        break
        assert 1 < time.monotonic() - begun < 60, "still open"


@pytest.mark.long
def test_200_000_recipients_are_answered_and_not_kept(fortress: Gateway) -> None:
    """In one session: `limits.recipients` are taken, the rest is refused, and memory does not grow with them."""
    recipients = b"RCPT TO:<victim@contoso.example>\r\n" * 1000
    with RawClient(fortress.port) as client:
        client.greet()
        said, closed = flood(
            client, iter([ENVELOPE, *[recipients] * 200]), lambda said: said.count(b"\r\n") >= 200_002, patience=60
        )
    assert closed or len(codes(said)) == 200_002
    assert Counter(codes(said))[b"250 2.1.5"] <= 1000


@pytest.mark.parametrize("word", ["K", "R"], ids=["key updates", "renegotiations"])
def test_floods_inside_tls_end_the_session(fortress: Gateway, word: str) -> None:
    """`openssl s_client` asks for a key update with K, for a renegotiation with R."""
    need("openssl")
    version = "-tls1_3" if word == "K" else "-tls1_2"
    command = ["openssl", "s_client", "-starttls", "smtp", version, "-connect", f"127.0.0.1:{fortress.port}"]
    before = fortress.resident()
    lines = f"{word}\n" * 2000
    done = subprocess.run(command, input=lines, capture_output=True, text=True, timeout=60, check=False)
    assert "CONNECTED" in done.stdout
    assert ("KEYUPDATE" if word == "K" else "RENEGOTIATING") in done.stderr + done.stdout
    assert fortress.resident() - before < 16 * MEGABYTE


@pytest.mark.parametrize("drip", [b"NOOP xxxx", b"DATA\r\n"], ids=["command", "body"])
def test_a_slow_drip_is_ended(fortress: Gateway, drip: bytes) -> None:
    """Bytes that keep coming do not keep a session: a command must end, a body must keep up a rate."""
    with RawClient(fortress.port) as client:
        client.greet()
        client.send(ENVELOPE)
        assert [client.reply().code for _ in range(2)] == [250, 250]
        if drip.startswith(b"DATA"):
            client.send(drip)
            assert client.reply().code == 354
        client.socket.settimeout(0.3)  # between two drops
        begun = time.monotonic()
        while True:
            client.send(b"x")
            try:
                reply = client.reply()
                break
            except TimeoutError:
                assert time.monotonic() - begun < 60, "still open"
    assert (reply.code, reply.enhanced) == (421, "4.4.2")


@pytest.mark.parametrize(
    ("said", "replies"),
    [(b"", []), (b"NOOP", []), (ENVELOPE, [250, 250]), (ENVELOPE + b"DATA\r\nS: half\r\n\r\nhalf", [250, 250, 354]),
     (ENVELOPE + b"BDAT 100 LAST\r\nhalf", [250, 250])],
    ids=["nothing", "half a command", "envelope", "half a message", "half a chunk"],
)  # fmt: skip
def test_half_closed_sockets_are_answered_and_closed(fortress: Gateway, said: bytes, replies: list[int]) -> None:
    took: list[float] = []
    while not took or (took[-1] >= 3 and len(took) < TRIES):
        with RawClient(fortress.port) as client:
            client.greet()
            client.send(said)
            client.half_close()
            begun = time.monotonic()
            rest = client.rest()
            took.append(time.monotonic() - begun)
    assert took[-1] < 3, took
    assert [int(code[:3]) for code in codes(rest)][: len(replies)] == replies
    assert not any(code.startswith(b"250 2.0.0") for code in codes(rest))


def test_a_whole_message_before_the_half_close_is_taken(fortress: Gateway) -> None:
    """Whoever only stops sending still reads: it gets its 250."""
    content = message(f"half-closed {time.monotonic_ns()}")
    with RawClient(fortress.port) as client:
        client.greet()
        client.send(ENVELOPE.replace(VICTIM.encode(), DOTTY.encode()) + b"DATA\r\n" + content + b".\r\n")
        client.half_close()
        assert codes(client.rest()) == [b"250 2.1.0", b"250 2.1.5", b"354 Start", b"250 2.0.0"]
    wait_until(lambda: content in [mail.content for mail in fortress.maildir(DOTTY)], "the message")


def test_sessions_cut_at_random_points_leave_nothing(fortress: Gateway) -> None:
    conversation = b"EHLO x\r\n" + SMUGGLED
    chance = random.Random(1)  # noqa: S311 - the same cuts in every run
    for number in range(100):
        with RawClient(fortress.port) as client:
            client.send(conversation[: chance.randrange(len(conversation))])
            client.reset() if number % 2 else client.close()


def test_connections_per_source_are_limited(gateway: Callable[..., Gateway]) -> None:
    """The sixth from one address is told 421; another address is served; a place that is left is given again."""
    server = gateway(contoso(), settings={"limits": {"connections_per_source": 5}})
    with ExitStack() as stack:
        clients = [stack.enter_context(RawClient(server.port)) for _ in range(5)]
        assert [client.reply().code for client in clients] == [220] * 5
        with RawClient(server.port) as sixth:
            reply = sixth.reply()
            assert reply.code == 421
            assert reply.enhanced.startswith("4.")
            with pytest.raises(ClosedError):
                sixth.line()
        with socket.create_connection(("127.0.0.1", server.port), 60, source_address=("127.0.0.2", 0)) as other:
            assert other.recv(4) == b"220 "
        assert clients[0].command("QUIT").code == 221
        clients[0].close()

        def place() -> bool:
            with RawClient(server.port) as again:
                return again.reply().code == 220

        wait_until(place, "a free place")


def test_idle_sessions_keep_little_of_what_they_said(gateway: Callable[..., Gateway]) -> None:
    """100 lines of 4 KiB from each of 300 sessions took 120 MB for as long as they lasted."""
    busy = gateway(contoso(mailboxes=[ANN]), settings={"limits": {"connections_per_source": 500}})
    with RawClient(busy.port) as client:
        client.greet()
    before = busy.resident()
    line = b"NOOP " + b"x" * 3900 + b"\r\n"
    with ExitStack() as stack:
        clients = [stack.enter_context(RawClient(busy.port)) for _ in range(300)]
        for client in clients:
            client.greet()
            for _ in range(30):
                client.send(line * 3)
                for _ in range(3):
                    client.reply()
        grown = (busy.resident() - before) / MEGABYTE
    assert grown < 24, f"{grown:.0f} MB"
