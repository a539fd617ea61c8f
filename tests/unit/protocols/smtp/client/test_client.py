"""The session around transactions: greeting, EHLO and HELO, STARTTLS, RSET, QUIT, and everything that goes wrong."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.protocols.smtp.client.client import Client
from gatepost.protocols.smtp.client.client_events import (
    AuthReply,
    BodyWanted,
    ClientEvent,
    Closed,
    Greeting,
    HelloDone,
    RecipientAnswered,
    ResetDone,
    StartTlsReply,
    TransactionDone,
)
from gatepost.protocols.smtp.client.reply_parser import MAX_LINES, ProtocolError
from gatepost.protocols.smtp.client.transaction import MailTransaction, Peer
from gatepost.protocols.smtp.replies import Reply

NAME = "mx.a.example"
EHLO = b"250-mx.b.example at your service\r\n250-PIPELINING\r\n250-Size 1000\r\n250-starttls\r\n250 HELP\r\n"
OFFERED = {"PIPELINING": "", "SIZE": "1000", "STARTTLS": "", "HELP": ""}
HELLO_DONE = HelloDone(
    Reply(250, "", ("mx.b.example at your service", "PIPELINING", "Size 1000", "starttls", "HELP")), OFFERED
)
MAIL = MailTransaction("a@a.example", [("b@b.example", "", ""), ("c@b.example", "", "")])


def greeted(*, lmtp: bool = False) -> Client:
    client = Client(NAME, lmtp=lmtp)
    client.receive(b"220 ready\r\n")
    return client


def connected(ehlo: bytes = EHLO) -> Client:
    client = greeted()
    client.hello()
    client.take_output()
    client.receive(ehlo)
    return client


@pytest.mark.parametrize("name", ["", "a b.example", "a.example\r\nRSET", "m\u00e4.example"])
def test_a_name_of_ours_is_one_word(name: str) -> None:
    with pytest.raises(ValueError, match=r"hello_name is .*, not one word"):
        Client(name)


def test_a_mechanism_is_one_word() -> None:
    client = connected()
    with pytest.raises(ValueError, match=r"mechanism is .*, not one word"):
        client.auth("PLAIN\r\nRSET", b"")
    assert client.take_output() == b""
    assert client.usable


def reply(text: str) -> Reply:
    code, _, rest = text.partition(" ")
    return Reply(int(code), "", (rest,))


# name: (what brings the client there, what is said, what the peer says, the events, usable after)
EXCHANGES: dict[str, tuple[Callable[[], Client], str, bytes, list[ClientEvent], bool]] = {
    "a greeting": (lambda: Client(NAME), "", b"220 ready\r\n", [Greeting(reply("220 ready"))], True),
    "a greeting that is a refusal": (lambda: Client(NAME), "", b"554 no\r\n", [Greeting(reply("554 no"))], True),
    "a greeting that is 421": (lambda: Client(NAME), "", b"421 busy\r\n", [Closed(reply("421 busy"))], False),
    "EHLO": (greeted, "hello", EHLO, [HELLO_DONE], True),
    "EHLO, nothing offered": (greeted, "hello", b"250 hi\r\n", [HelloDone(reply("250 hi"), {})], True),
    "EHLO put off": (greeted, "hello", b"450 later\r\n", [HelloDone(reply("450 later"), {})], True),
    "EHLO, odd white space": (
        greeted,
        "hello",
        b"250-hi\r\n250- SIZE  5 \r\n250 \r\n",
        [HelloDone(Reply(250, "", ("hi", " SIZE  5 ", "")), {"SIZE": "5", "": ""})],
        True,
    ),
    "STARTTLS": (connected, "starttls", b"220 go\r\n", [StartTlsReply(reply("220 go"))], False),
    "STARTTLS refused": (connected, "starttls", b"454 no\r\n", [StartTlsReply(reply("454 no"))], True),
    "RSET": (connected, "reset", b"250 ok\r\n", [ResetDone(reply("250 ok"))], True),
    "QUIT": (connected, "quit", b"221 bye\r\n", [Closed(reply("221 bye"))], False),
    "421 at rest": (connected, "", b"421 idle\r\n", [Closed(reply("421 idle"))], False),
    "421 in reply to EHLO": (greeted, "hello", b"421 no\r\n", [Closed(reply("421 no"))], False),
    "what follows 421 is not heard": (connected, "", b"421 idle\r\n???\r\n", [Closed(reply("421 idle"))], False),
}

SAID = {
    "": b"",
    "hello": b"EHLO mx.a.example\r\n",
    "starttls": b"STARTTLS\r\n",
    "reset": b"RSET\r\n",
    "quit": b"QUIT\r\n",
}


def hear(client: Client, data: bytes, cuts: list[int]) -> list[ClientEvent | str]:
    """All events; a ProtocolError by its text."""
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    events: list[ClientEvent | str] = []
    for begin, end in itertools.pairwise(edges):
        try:
            events += client.receive(data[begin:end])
        except ProtocolError:
            break
    if client.failure is not None:
        events.append(str(client.failure))
    return events


@pytest.mark.parametrize("name", EXCHANGES)
@pytest.mark.parametrize("cuts", [[], list(range(300))], ids=["whole", "octets"])
def test_exchange(name: str, cuts: list[int]) -> None:
    start, call, data, events, usable = EXCHANGES[name]
    client = start()
    if call:
        getattr(client, call)()
    assert client.take_output() == SAID[call]
    assert hear(client, data, cuts) == events
    assert client.usable is usable
    assert client.closed is isinstance(events[-1], Closed)
    assert client.take_output() == b""


# name: (what brings the client there, what is said, what the peer says, events before the fault, words of the fault)
FAULTS: dict[str, tuple[Callable[[], Client], str, bytes, list[ClientEvent], str]] = {
    "not SMTP": (lambda: Client(NAME), "", b"SSH-2.0-x\r\n", [], "no SMTP reply"),
    "a greeting that asks for more": (lambda: Client(NAME), "", b"354 go\r\n", [], "354 in reply to greeting"),
    "two greetings": (lambda: Client(NAME), "", b"220 a\r\n220 b\r\n", [Greeting(reply("220 a"))], "reply to nothing"),
    "a reply at rest": (connected, "", b"250 ok\r\n", [], "250 in reply to nothing"),
    "a refusal at rest": (connected, "", b"550 no\r\n", [], "550 in reply to nothing"),
    "an endless EHLO reply": (greeted, "hello", b"250-X\r\n" * (MAX_LINES + 1), [], "lines"),
    "an endless line": (greeted, "hello", b"250 " + b"x" * 4096, [], "octets"),
    "a bare LF": (greeted, "hello", b"250-a\n250 b\n", [], "bare LF"),
    "a reply behind STARTTLS": (
        connected,
        "starttls",
        b"220 go\r\n250 injected\r\n",
        [StartTlsReply(reply("220 go"))],
        "250 in reply to nothing",
    ),
    "354 in reply to QUIT": (connected, "quit", b"354 go\r\n", [], "354 in reply to QUIT"),
}


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.parametrize("cuts", [[], list(range(5000))], ids=["whole", "octets"])
def test_fault(name: str, cuts: list[int]) -> None:
    start, call, data, events, words = FAULTS[name]
    client = start()
    if call:
        getattr(client, call)()
        client.take_output()
    *before, fault = hear(client, data, cuts)
    assert before == events
    assert isinstance(fault, str)
    assert words in fault
    assert not client.usable
    for method in (
        client.hello,
        client.starttls,
        client.reset,
        lambda: client.begin(MAIL),
        lambda: client.receive(b""),
    ):
        with pytest.raises(ProtocolError, match=words):
            method()
    client.quit()
    assert client.take_output() == b""
    assert client.lost() == []


SCENES = {**{name: case[:3] for name, case in EXCHANGES.items()}, **{name: case[:3] for name, case in FAULTS.items()}}


@given(st.sampled_from(sorted(SCENES)), st.lists(st.integers(1, 120), max_size=8))
def test_any_split_gives_the_same_events(name: str, cuts: list[int]) -> None:
    start, call, data = SCENES[name]

    def heard(cuts: list[int]) -> list[ClientEvent | str]:
        client = start()
        if call:
            getattr(client, call)()
        return hear(client, data, cuts)

    assert heard(cuts) == heard([])


@given(st.binary(max_size=200), st.lists(st.integers(1, 200), max_size=5))
def test_noise_never_raises_anything_but_protocol_error(noise: bytes, cuts: list[int]) -> None:
    client = connected()
    client.begin(MAIL, b"Hi\r\n", last=True)
    client.take_output()
    events = hear(client, noise, cuts)
    outcomes = [event for event in [*events, *client.lost()] if isinstance(event, TransactionDone)]
    assert len(outcomes) == 1
    assert [each.address for each in outcomes[0].outcome.recipients] == ["b@b.example", "c@b.example"]


def test_no_extension_of_a_long_ehlo_reply_is_lost() -> None:
    """As much as the RFC lets a server say: the last one may be what a message requires."""
    more = b"".join(b"250-X%02d %s\r\n" % (number, b"x" * 500) for number in range(95))
    client = connected(b"250-mx.b.example\r\n" + more + b"250-SMTPUTF8\r\n250-SIZE 1000\r\n250 REQUIRETLS\r\n")
    assert (client.peer.requiretls, client.peer.smtputf8, client.peer.size_limit) == (True, True, 1000)
    assert "..." not in client.extensions
    long = [b"550-5.1.1 " + b"x" * 1000 + b"\r\n"] * 6
    client.reset()
    (event,) = client.receive(b"".join(long) + b"550 5.1.1 no\r\n")
    assert event == ResetDone(Reply(550, "5.1.1", (*["x" * 1000] * 4, "..."))), "other replies are cut as before"


@pytest.mark.parametrize("lmtp", [False, True])
def test_extensions_without_end_are_a_fault(lmtp: bool) -> None:
    client = greeted(lmtp=lmtp)
    client.hello()
    with pytest.raises(ProtocolError, match="more than 51200 octets"):
        client.receive(b"250-mx.b.example\r\n" + (b"250-" + b"x" * 1500 + b"\r\n") * 50)


@pytest.mark.parametrize("code", [b"450", b"550"])
def test_a_refusal_of_ehlo_is_cut_as_any_reply(code: bytes) -> None:
    client = greeted()
    client.hello()
    long = (code + b"-" + b"x" * 1500 + b"\r\n") * 50 + code + b" no\r\n"
    events = client.receive(long)
    if code == b"550":
        events = client.receive(long.replace(b"550", b"450"))
    assert len(events[0].reply.lines) == 3  # type: ignore[union-attr] # HelloDone
    assert events[0].reply.lines[-1] == "..."  # type: ignore[union-attr] # as above


def test_helo_follows_a_refused_ehlo() -> None:
    client = greeted()
    client.hello()
    assert client.take_output() == b"EHLO mx.a.example\r\n"
    assert client.receive(b"502 5.5.1 what\r\n") == []
    assert client.awaiting == "HELO"
    assert client.take_output() == b"HELO mx.a.example\r\n"
    assert client.receive(b"250-mx\r\n250 PIPELINING\r\n") == [HelloDone(Reply(250, "", ("mx", "PIPELINING")), {})]
    assert client.extensions == {}
    client.begin(MAIL, b"", last=True)
    assert client.take_output() == b"MAIL FROM:<a@a.example>\r\n"


def test_lmtp_says_lhlo_and_nothing_else() -> None:
    client = greeted(lmtp=True)
    client.hello()
    assert client.take_output() == b"LHLO mx.a.example\r\n"
    assert client.receive(b"500 5.5.1 what\r\n") == [HelloDone(Reply(500, "5.5.1", ("what",)), {})]
    assert client.take_output() == b""


def test_tls_makes_the_client_forget() -> None:
    client = connected()
    assert client.extensions == OFFERED
    assert client.peer == Peer(pipelining=True, size=True, size_limit=1000)
    client.starttls()
    client.receive(b"220 go\r\n")
    with pytest.raises(RuntimeError, match="TLS"):
        client.hello()
    client.tls_started()
    assert client.extensions == {}
    assert client.peer == Peer()
    client.take_output()
    client.hello()
    assert client.take_output() == b"EHLO mx.a.example\r\n"
    assert client.receive(b"250 hi\r\n") == [HelloDone(reply("250 hi"), {})]


@pytest.mark.parametrize("injected", [b"2", b"250 half a reply", b"250-x\r\n", b"250 whole\r\n", b"\x16\x03\x01\n"])
@pytest.mark.parametrize("apart", [False, True])
def test_plaintext_behind_starttls_ends_the_connection(injected: bytes, apart: bool) -> None:
    client = connected()
    client.starttls()
    if apart:
        assert client.receive(b"220 go\r\n") == [StartTlsReply(reply("220 go"))]
        hear(client, injected, [])
    else:
        assert client.receive(b"220 go\r\n" + injected) == [StartTlsReply(reply("220 go"))]
    with pytest.raises(ProtocolError):
        client.tls_started()
    assert not client.usable
    with pytest.raises(ProtocolError):
        client.hello()


@pytest.mark.parametrize(
    "call",
    [
        Client.hello,
        Client.starttls,
        Client.reset,
        Client.tls_started,
        lambda client: client.begin(MAIL, b"", last=True),
    ],
)
@pytest.mark.parametrize("where", ["greeting", "EHLO", "MAIL", "the body"])
def test_a_call_out_of_order_is_our_fault(call: Callable[[Client], None], where: str) -> None:
    client = Client(NAME) if where == "greeting" else greeted() if where == "EHLO" else connected()
    if where == "EHLO":
        client.hello()
    elif where != "greeting":
        client.begin(MAIL)
    if where == "the body":
        client.receive(b"250 a\r\n250 b\r\n250 c\r\n354 go\r\n")
    client.take_output()
    with pytest.raises(RuntimeError, match=r"while waiting|without a positive reply"):
        call(client)
    client.quit()
    assert client.take_output() == b""
    assert client.failure is None


def test_a_chunk_nobody_asked_for_goes_nowhere() -> None:
    client = connected()
    client.chunk(b"x", last=True)
    client.begin(MAIL)
    flight = b"MAIL FROM:<a@a.example>\r\nRCPT TO:<b@b.example>\r\nRCPT TO:<c@b.example>\r\nDATA\r\n"
    client.chunk(b"x", last=False)
    assert client.take_output() == flight
    assert client.receive(b"250 a\r\n250 b\r\n250 c\r\n354 go\r\n") == [BodyWanted()]
    client.chunk(b"", last=False)
    assert client.take_output() == b""
    client.chunk(b"x", last=True)
    client.chunk(b"y", last=True)
    assert client.take_output() == b"x\r\n.\r\n"


def test_a_message_that_was_sent_to_its_end_is_in_doubt_until_the_reply() -> None:
    client = connected()
    client.begin(MAIL)
    assert not client.is_in_doubt
    client.receive(b"250 a\r\n250 b\r\n250 c\r\n354 go\r\n")
    client.chunk(b"x", last=False)
    assert not client.is_in_doubt
    client.chunk(b"", last=True)
    assert client.is_in_doubt
    client.receive(b"250 taken\r\n")
    assert not client.is_in_doubt


def test_in_lock_step_a_client_is_behind_until_its_chunk_is_answered() -> None:
    client = connected(b"250-mx\r\n250-CHUNKING\r\n250-8BITMIME\r\n250 BINARYMIME\r\n")
    assert not client.is_behind
    client.begin(MailTransaction("a@a.example", [("b@b.example", "", "")], body_type="BINARYMIME"))
    client.receive(b"250 a\r\n")
    client.receive(b"250 b\r\n")
    client.chunk(b"x", last=False)
    assert not client.is_behind
    client.chunk(b"y", last=False)
    assert client.is_behind
    client.receive(b"250 x\r\n")
    assert not client.is_behind


def test_a_transaction_that_cannot_be_written_is_not_begun() -> None:
    client = connected()
    with pytest.raises(ValueError, match="control character"):
        client.begin(MailTransaction("a\r\nRSET", [("b@b.example", "", "")]), b"", last=True)
    assert client.take_output() == b""
    assert client.usable


# what is answered when the connection goes: what is awaited then, and the default words
LOSSES: dict[str, tuple[bytes, str, str]] = {
    "at once": (b"", "MAIL", "while waiting for the reply to MAIL"),
    "after MAIL": (b"250 a\r\n", "RCPT", "while waiting for the reply to RCPT"),
    "after RCPT": (b"250 a\r\n250 b\r\n550 c\r\n", "DATA", "while waiting for the reply to DATA"),
    "in the body": (b"250 a\r\n250 b\r\n550 c\r\n354 d\r\n", "", "while sending the message"),
}


@pytest.mark.parametrize("name", LOSSES)
def test_a_lost_connection_says_where_it_was(name: str) -> None:
    data, awaited, words = LOSSES[name]
    client = connected()
    client.begin(MAIL)
    client.receive(data)
    assert client.awaiting == awaited
    (done,) = client.lost()
    assert isinstance(done, TransactionDone)
    first, second = done.outcome.recipients
    assert first.local
    assert first.reply == Reply(450, "4.4.318", (f"Connection was closed abruptly {words}",))
    assert second.reply == (Reply(550, "", ("c",)) if b"550" in data else first.reply)
    assert done.outcome.data_reply is None
    assert client.closed
    assert client.take_output() == b""
    assert client.receive(b"250 too late\r\n") == []
    with pytest.raises(ProtocolError, match="closed"):
        client.begin(MAIL)


def test_the_shell_may_say_how_the_connection_was_lost() -> None:
    client = connected()
    client.begin(MAIL)
    late = Reply(450, "4.4.315", ("Connection timed out",))
    (done,) = client.lost(late)
    assert isinstance(done, TransactionDone)
    assert [each.reply for each in done.outcome.refused] == [late, late]


@pytest.mark.parametrize(
    ("data", "outcome"),
    [
        (b"552 5.3.4 Too big\r\n", "552 5.3.4 Too big"),
        (b"250 2.0.0 Ok\r\n", "450 4.5.0 The next hop broke the protocol"),
    ],
)
def test_a_reply_in_the_middle_of_the_body_ends_both(data: bytes, outcome: str) -> None:
    client = connected()
    client.begin(MAIL)
    client.receive(b"250 a\r\n250 b\r\n250 c\r\n354 d\r\n")
    client.chunk(b"half", last=False)
    (done,) = client.receive(data)
    assert isinstance(done, TransactionDone)
    assert [each.reply.text for each in done.outcome.recipients] == [outcome, outcome]
    assert not client.wants_body
    assert client.take_output() == b""
    with pytest.raises(ProtocolError, match="in reply to nothing"):
        client.receive(b"")


def test_many_transactions_leave_nothing_behind() -> None:
    client = connected(b"250-mx\r\n250-PIPELINING\r\n250 CHUNKING\r\n")
    for _ in range(1000):
        client.begin(MAIL, b"Hi\r\n", last=True)
        client.take_output()
        (done,) = client.receive(b"250 2.1.0 a\r\n250 2.1.5 b\r\n550 5.1.1 c\r\n250 2.0.0 d\r\n")
        assert isinstance(done, TransactionDone)
        assert [len(done.outcome.accepted), len(done.outcome.refused)] == [1, 1]
    assert client.awaiting == ""
    assert client.take_output() == b""


def test_a_log_in_in_one_line_and_in_several() -> None:
    client = connected()
    client.auth("PLAIN", b"\0user\0pencil")
    assert client.take_output() == b"AUTH PLAIN AHVzZXIAcGVuY2ls\r\n"
    assert client.receive(b"235 2.7.0 ok\r\n") == [AuthReply(Reply(235, "2.7.0", ("ok",)))]
    assert client.usable
    client = connected()
    client.auth("LOGIN", None)
    assert client.take_output() == b"AUTH LOGIN\r\n"
    assert client.receive(b"334 VXNlcm5hbWU6\r\n") == [AuthReply(Reply(334, "", ("VXNlcm5hbWU6",)))]
    assert not client.usable
    client.auth_response(b"user")
    assert client.take_output() == b"dXNlcg==\r\n"
    assert client.receive(b"535 5.7.8 no\r\n") == [AuthReply(Reply(535, "5.7.8", ("no",)))]
    assert client.usable


def test_a_long_initial_response_waits_to_be_asked_for() -> None:
    client = connected()
    client.auth("XOAUTH2", b"x" * 600)
    assert client.take_output() == b"AUTH XOAUTH2\r\n"
    assert client.receive(b"334 \r\n") == []
    assert client.take_output() == base64.b64encode(b"x" * 600) + b"\r\n"
    assert client.receive(b"235 2.7.0 ok\r\n") == [AuthReply(Reply(235, "2.7.0", ("ok",)))]
    client = connected()
    client.auth("XOAUTH2", b"x" * 600)
    client.take_output()
    assert client.receive(b"504 5.5.4 no\r\n") == [AuthReply(Reply(504, "5.5.4", ("no",)))]
    client.auth("EXTERNAL", b"")
    assert client.take_output() == b"AUTH EXTERNAL =\r\n"


def test_only_a_challenge_is_answered() -> None:
    client = connected()
    with pytest.raises(RuntimeError, match="without a challenge"):
        client.auth_response(b"")
    client.auth("PLAIN", b"x")
    with pytest.raises(ProtocolError, match="354 in reply to AUTH"):
        client.receive(b"354 go on\r\n")


def test_a_recipient_is_asked_about_without_a_message() -> None:
    client = connected()
    assert client.ask_recipient("b@b.example") is None
    assert client.take_output() == b"MAIL FROM:<>\r\n"
    assert client.receive(b"250 OK\r\n") == []
    assert client.take_output() == b"RCPT TO:<b@b.example>\r\n"
    assert client.receive(b"550 5.1.1 no\r\n") == [RecipientAnswered(Reply(550, "5.1.1", ("no",)), "RCPT")]
    assert client.usable
    client.begin(MAIL)
    assert client.take_output().startswith(b"RSET\r\n"), "the transaction is still open for the peer"


def test_a_refused_null_reverse_path_is_the_answer_to_it() -> None:
    client = connected()
    client.ask_recipient("b@b.example")
    client.take_output()
    assert client.receive(b"550 no\r\n") == [RecipientAnswered(reply("550 no"), "MAIL")]
    assert client.take_output() == b""


def test_nothing_is_asked_about_an_address_that_cannot_be_written_for_the_peer() -> None:
    client = connected()
    refusal = client.ask_recipient("j\u00f6rg@b.example")
    assert refusal is not None
    assert refusal.enhanced == "5.6.7"
    assert client.take_output() == b""
    with pytest.raises(ValueError, match="control character"):
        client.ask_recipient("a\r\nRCPT TO:<x@x.example>@b.example")
    assert client.usable
