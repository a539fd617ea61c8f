from __future__ import annotations

import tracemalloc
from itertools import product

import pytest

from gatepost.protocols.smtp.commands import Verb
from gatepost.protocols.smtp.extensions import Extensions
from gatepost.protocols.smtp.limits import SmtpLimits
from gatepost.protocols.smtp.replies import Reply
from gatepost.protocols.smtp.server.events import (
    AbortEvent,
    AbortReason,
    AuthEvent,
    AuthResponseEvent,
    ChunkEvent,
    DataEvent,
    ErrorEvent,
    HelloEvent,
    MailEvent,
    MessageEvent,
    RecipientEvent,
    StartTlsEvent,
)
from gatepost.protocols.smtp.server.server import Server
from gatepost.protocols.smtp.server.states import TABLE, State

BUSY = Reply(451, "4.3.0", ("Busy",))
NO = Reply(550, "5.7.1", ("No",))
GONE = Reply(421, "4.3.2", ("Shutting down",))
QUEUED = Reply(250, "2.0.0", ("Queued as 1",))

HELLO = b"EHLO c.example\r\n"
MAIL = HELLO + b"MAIL FROM:<a@b.example>\r\n"
RCPT = MAIL + b"RCPT TO:<d@e.example>\r\n"

# How a session comes into each state; but for AUTH, which has tests of its own below.
PATHS = {
    State.OPENING: b"",
    State.CONNECTED: b"",
    State.GREETED: HELLO,
    State.MAIL: MAIL,
    State.RCPT: RCPT,
    State.DATA: RCPT + b"DATA\r\n",
    State.BDAT: RCPT + b"BDAT 1\r\nx",
    State.REFUSED: HELLO + b"MAIL FROM:<nobody>\r\n",
    State.TLS: HELLO + b"STARTTLS\r\n",
    State.CLOSED: b"QUIT\r\n",
}
# A line of each command that has nothing wrong in it.
LINES = {
    Verb.EHLO: b"EHLO c.example",
    Verb.HELO: b"HELO c.example",
    Verb.STARTTLS: b"STARTTLS",
    Verb.MAIL: b"MAIL FROM:<a@b.example>",
    Verb.RCPT: b"RCPT TO:<d@e.example>",
    Verb.DATA: b"DATA",
    Verb.BDAT: b"BDAT 0",
    Verb.RSET: b"RSET",
    Verb.NOOP: b"NOOP",
    Verb.VRFY: b"VRFY d",
    Verb.HELP: b"HELP",
    Verb.QUIT: b"QUIT",
}
CHUNK_REFUSED = {(State.MAIL, Verb.DATA): 554, (State.MAIL, Verb.BDAT): 554}


def in_state(shell, state):
    client = shell(greeted=state is not State.OPENING)
    client.send(PATHS[state])
    assert client.server.state is state
    client.events.clear()
    return client


@pytest.mark.parametrize(("state", "verb"), list(product(PATHS, LINES)), ids=lambda value: value.name)
def test_each_state_and_each_command_as_the_table_says(shell, state, verb):
    client = in_state(shell, state)
    errors = client.server.errors
    output = client.send(LINES[verb] + b"\r\n")
    if verb in TABLE[state]:
        assert client.server.state is TABLE[state][verb]
        assert output[:1] in {b"2", b"3"}
        assert client.kinds(ErrorEvent) == []
        return
    assert client.server.state is state
    if not TABLE[state]:
        assert output == b""
        assert client.names == []
        return
    pipelined = state is State.REFUSED and verb in {Verb.RCPT, Verb.DATA, Verb.BDAT}
    expected = 501 if pipelined else CHUNK_REFUSED.get((state, verb), 503)
    assert client.names == ["ErrorEvent"]
    assert client.kinds(ErrorEvent)[0].reply.code == expected
    assert output.startswith(b"%d 5." % expected)
    assert client.server.errors == errors + (expected == 503)


def test_a_line_in_data_is_content(shell):
    client = in_state(shell, State.DATA)
    client.send(b"QUIT\r\n.\r\n")
    assert client.content == b"QUIT\r\n"
    assert not client.server.closing


# Greeting


def test_nothing_is_read_before_the_greeting(shell):
    client = shell(greeted=False)
    assert client.send(b"EHLO early.example\r\n") == b""
    client.server.greet()
    client.settle()
    assert client.output.startswith(b"220 mx.example ESMTP gatepost\r\n250-mx.example\r\n")


def test_greetings_of_the_shell(shell):
    client = shell(greeted=False)
    client.server.greet(Reply(220, "", ("Welcome",)))
    assert client.server.take_output() == b"220 Welcome\r\n"
    assert client.server.state is State.CONNECTED
    with pytest.raises(RuntimeError, match="greeted already"):
        client.server.greet()


@pytest.mark.parametrize("reply", [Reply(554, "5.7.1", ("Go away",)), Reply(421, "4.7.0", ("Too many connections",))])
def test_a_refusing_greeting_closes(shell, reply):
    client = shell(greeted=False)
    client.server.greet(reply)
    assert client.server.take_output() == reply.encode()
    assert client.server.closing
    assert client.send(HELLO) == b""


# Replies and their stamp


def test_every_reply_but_ehlo_ends_in_the_stamp(shell):
    client = shell(stamp=" [mx t s]")
    output = client.send(
        RCPT + b"RCPT TO:<d>\r\nNOOP\r\nNONSENSE\r\nDATA\r\n", b"x\r\n.\r\n", b"HELO c.example\r\nNOOP\nx\r\nQUIT\r\n"
    )
    last = [line for line in output.splitlines() if line[3:4] == b" "]
    assert last.pop(0) == b"250 HELP"
    assert len(last) == 10
    assert all(line.endswith(b" [mx t s]") for line in last)


def test_a_greeting_is_cut_so_that_its_line_is_not_too_long():
    name, limits = "x" * 250, SmtpLimits()
    stamp = f" [{name} t s]"
    server = Server(name, Extensions.within(limits, starttls=False), limits, lambda: stamp)
    server.greet()
    line = server.take_output()
    assert len(line) == 512
    assert line.endswith(stamp.encode() + b"\r\n")


def test_the_stamp_is_asked_for_once_in_each_receive():
    asked = []

    def stamp():
        asked.append(1)
        return f" [{len(asked)}]"

    limits = SmtpLimits()
    server = Server("mx.example", Extensions.within(limits, starttls=False), limits, stamp)
    server.greet()
    server.receive(b"NOOP\r\nNOOP\r\n")
    assert server.next_event() is None
    server.receive(b"NO")
    assert server.next_event() is None
    server.receive(b"OP\r\n")
    assert server.next_event() is None
    server.shut(GONE)
    texts = [line[-3:] for line in server.take_output().splitlines()]
    assert texts == [b"[1]", b"[2]", b"[2]", b"[3]", b"[4]"]


def test_ehlo_tells_the_extensions(shell):
    client = shell()
    output = client.send(HELLO)
    assert client.extensions is not None
    keywords = client.extensions.keywords(tls_active=False)
    assert [line[4:].decode() for line in output.splitlines()] == ["mx.example", *keywords]


def test_helo_tells_none(shell):
    assert shell().send(b"HELO c.example\r\n") == b"250 mx.example\r\n"


def test_take_output_takes_it_once(shell):
    client = shell()
    client.server.receive(b"NOOP\r\n")
    assert client.server.next_event() is None
    assert client.server.take_output() == b"250 2.0.0 OK\r\n"
    assert client.server.take_output() == b""


# Decisions


def until_decision(server, octets):
    server.receive(octets)
    while server.pending is None:
        event = server.next_event()
        assert event is not None
    return server.pending


@pytest.mark.parametrize(
    ("path", "kind", "standard", "after"),
    [
        (b"HELO c.example\r\n", HelloEvent, b"250 mx.example\r\n", State.GREETED),
        (b"STARTTLS\r\n", StartTlsEvent, b"220 2.0.0 Ready to start TLS\r\n", State.TLS),
        (b"MAIL FROM:<a@b.example>\r\n", MailEvent, b"250 2.1.0 Sender OK\r\n", State.MAIL),
        (b"RCPT TO:<d@e.example>\r\n", RecipientEvent, b"250 2.1.5 Recipient OK\r\n", State.RCPT),
        (b"DATA\r\n", DataEvent, b"354 Start mail input; end with <CRLF>.<CRLF>\r\n", State.DATA),
        (b".\r\n", MessageEvent, b"250 2.0.0 Message accepted\r\n", State.GREETED),
    ],
)
@pytest.mark.parametrize("own", [False, True])
def test_acceptance(shell, path, kind, standard, after, own):
    before = {MailEvent: HELLO, StartTlsEvent: HELLO, RecipientEvent: MAIL, DataEvent: RCPT}
    before |= {MessageEvent: RCPT + b"DATA\r\n"}
    client = shell()
    client.send(before.get(kind, b""))
    event = until_decision(client.server, path)
    assert type(event) is kind
    assert client.server.next_event() is None
    client.server.accept(QUEUED if own else None)
    assert client.server.take_output() == (QUEUED.encode() if own else standard)
    assert (client.server.state, client.server.pending) == (after, None)


def test_ehlo_may_be_answered_by_the_shell(shell):
    client = shell()
    until_decision(client.server, HELLO)
    client.server.accept(Reply(250, "", ("mx.example", "HELP")))
    assert client.server.take_output() == b"250-mx.example\r\n250 HELP\r\n"


@pytest.mark.parametrize(
    ("kind", "path", "state", "open_after"),
    [
        (HelloEvent, HELLO, State.CONNECTED, False),
        (StartTlsEvent, HELLO + b"STARTTLS\r\n", State.GREETED, False),
        (MailEvent, MAIL, State.REFUSED, False),
        (RecipientEvent, RCPT, State.MAIL, True),
        (DataEvent, RCPT + b"DATA\r\n", State.REFUSED, False),
        (DataEvent, RCPT + b"BDAT 5 LAST\r\nQUIT\n", State.REFUSED, False),
        (MessageEvent, RCPT + b"BDAT 1 LAST\r\nx", State.GREETED, False),
    ],
)
@pytest.mark.parametrize("reply", [BUSY, NO, GONE])
def test_refusal(shell, kind, path, state, open_after, reply):
    client = shell(refusals={kind: reply})
    output = client.send(path)
    assert output.endswith(reply.encode())
    assert client.server.errors == 0
    if reply is GONE:
        assert (client.server.state, client.server.closing) == (State.CLOSED, True)
        assert client.kinds(AbortEvent) == [AbortEvent(AbortReason.CLOSED)] * open_after
    else:
        assert (client.server.state, client.server.closing) == (state, False)
        client.refusals.clear()
        assert client.send(b"NOOP\r\n") == b"250 2.0.0 OK\r\n"
        client.send(b"RSET\r\n")
        assert len(client.kinds(AbortEvent)) == open_after


def test_the_reply_to_a_refused_chunk_waits_for_its_octets(shell):
    client = shell(refusals={DataEvent: BUSY})
    client.send(RCPT)
    assert client.send(b"BDAT 6\r\nQUI") == b""
    assert client.send(b"T\r\n") == BUSY.encode()
    assert client.send(b"BDAT 3\r\nabcBDAT 0 LAST\r\n") == BUSY.encode() * 2
    assert client.kinds(ChunkEvent) == []


def test_octets_behind_a_refused_data_end_the_session(shell):
    client = shell(refusals={DataEvent: BUSY})
    output = client.send(RCPT + b"DATA\r\nQUIT\r\n.\r\n")
    assert output.endswith(BUSY.encode() + b"421 4.7.0 Content may follow a refused command, closing\r\n")
    assert client.server.closing


def test_a_recipient_refused_leaves_those_accepted(shell):
    client = shell()
    client.send(RCPT)
    client.refusals[RecipientEvent] = NO
    client.send(b"RCPT TO:<d@e.example>\r\n")
    assert client.server.state is State.RCPT


def test_a_refused_hello_leaves_the_transaction_open(shell):
    client = shell()
    client.send(MAIL)
    client.refusals[HelloEvent] = NO
    client.send(HELLO)
    assert (client.server.state, client.kinds(AbortEvent)) == (State.MAIL, [])


def test_a_decision_must_be_pending(shell):
    client = shell()
    with pytest.raises(RuntimeError, match="no decision"):
        client.server.accept()
    with pytest.raises(RuntimeError, match="no decision"):
        client.server.refuse(NO)


def test_yes_and_no_are_not_mixed_up(shell):
    client = shell()
    until_decision(client.server, HELLO)
    with pytest.raises(ValueError, match="a refusal cannot accept"):
        client.server.accept(NO)
    with pytest.raises(ValueError, match="an acceptance cannot refuse"):
        client.server.refuse(QUEUED)
    client.server.accept()
    assert client.server.state is State.GREETED


# The end of the session


def test_shut(shell):
    client = shell()
    client.send(MAIL)
    client.server.shut(GONE)
    client.settle()
    assert client.output.endswith(GONE.encode())
    assert client.events[-1] == AbortEvent(AbortReason.CLOSED)
    client.server.shut(GONE)
    assert client.server.take_output() == b""
    assert client.send(b"NOOP\r\n") == b""


@pytest.mark.parametrize("answer", ["accept", "refuse"])
def test_a_decision_that_comes_after_the_end_does_nothing(shell, answer):
    client = shell()
    client.send(RCPT + b"DATA\r\n")
    until_decision(client.server, b"x\r\n.\r\n")
    client.server.shut(GONE)
    assert client.server.pending is None
    if answer == "accept":
        client.server.accept()
    else:
        client.server.refuse(BUSY)
    assert client.server.take_output() == GONE.encode()
    assert client.server.next_event() == AbortEvent(AbortReason.CLOSED)
    assert client.server.next_event() is None


def test_an_event_that_nobody_saw_is_not_asked_about_after_the_end(shell):
    client = shell()
    client.send(RCPT + b"DATA\r\n")
    client.server.receive(b"x\r\n.\r\n")
    assert client.server.next_event() == ChunkEvent(b"x\r\n")
    client.server.shut(GONE)
    assert client.server.next_event() == AbortEvent(AbortReason.CLOSED)
    assert client.server.next_event() is None


# Back-pressure


def test_held_chunks_wait(shell):
    client = shell()
    client.send(RCPT + b"DATA\r\n")
    client.server.hold()
    assert client.send(b"x\r\n.\r\n") == b""
    assert client.content == b""
    client.server.release()
    client.settle()
    assert client.content == b"x\r\n"
    assert client.events[-1] == MessageEvent(3)


def test_full_while_a_decision_pends(shell):
    client = shell()
    until_decision(client.server, HELLO)
    client.server.receive(b"NOOP\r\n" * 10900)
    assert not client.server.full
    client.server.receive(b"NOOP\r\n" * 100)
    assert client.server.full


# TLS


def test_starttls_forgets_everything(shell):
    client = shell()
    client.send(HELLO + b"NONSENSE\r\n")
    client.send(b"STARTTLS\r\n")
    assert client.server.state is State.TLS
    client.server.tls_started()
    assert (client.server.state, client.server.tls_active) == (State.CONNECTED, True)
    assert not client.server.plaintext_after_starttls
    assert client.server.errors == 1
    assert client.send(b"MAIL FROM:<a@b.example>\r\n").startswith(b"503 5.5.1 Send EHLO first")
    assert b"STARTTLS" not in client.send(HELLO)


@pytest.mark.parametrize(
    "pieces",
    [[b"STARTTLS\r\nMAIL FROM:<evil@b.example>\r\n"], [b"STARTTLS\r\n", b"M"], [b"STARTTLS\r\nM", b"AIL"]],
)
def test_plaintext_behind_starttls_is_dropped_and_told(shell, pieces):
    client = shell()
    client.send(HELLO, *pieces)
    assert client.server.plaintext_after_starttls
    client.server.tls_started()
    assert client.send(b"NOOP\r\n") == b"250 2.0.0 OK\r\n"
    assert client.kinds(MailEvent) == []


def test_tls_from_the_first_octet(shell):
    client = shell(greeted=False)
    client.server.tls_started()
    assert (client.server.state, client.server.tls_active) == (State.OPENING, True)
    client.server.greet()
    assert b"STARTTLS" not in client.send(HELLO)


def test_tls_does_not_start_unasked(shell):
    with pytest.raises(RuntimeError, match="STARTTLS was not accepted"):
        shell().server.tls_started()


# Logging in

USERS = Extensions(size=1, starttls=True, auth=("SCRAM-SHA-256", "PLAIN"))
INVALID = Reply(535, "5.7.8", ("No",))


def under_tls(shell):
    """A session that said EHLO under TLS, where nothing is decided by itself."""
    client = shell(extensions=USERS, greeted=False)
    client.server.tls_started()
    client.server.greet()
    client.send(HELLO)
    client.server.take_output()
    return client.server


def test_an_exchange_with_a_challenge(shell):
    server = under_tls(shell)
    server.receive(b"AUTH PLAIN\r\n")
    assert server.next_event() == AuthEvent("PLAIN", None)
    server.challenge(b"")
    assert (server.take_output(), server.state) == (b"334 \r\n", State.AUTH)
    server.receive(b"AGEAYg==\r\nHELP me\r\n")
    assert server.next_event() == AuthResponseEvent(b"\0a\0b")
    server.challenge(b"once more?")
    server.receive(b"\r\n")
    assert server.take_output() == b"334 b25jZSBtb3JlPw==\r\n"
    event = server.next_event()  # "HELP me" was the response, and is not base64
    assert isinstance(event, ErrorEvent)
    assert event.line_start == "AUTH"
    assert server.take_output().startswith(b"501 5.5.2 ")
    assert server.state is State.GREETED
    assert not server.authenticated


def test_an_exchange_that_succeeds_and_one_that_does_not(shell):
    server = under_tls(shell)
    server.receive(b"AUTH PLAIN AGEAYg==\r\n")
    assert server.next_event() == AuthEvent("PLAIN", b"\0a\0b")
    server.refuse(INVALID)
    assert (server.take_output(), server.state) == (b"535 5.7.8 No\r\n", State.GREETED)
    server.receive(b"AUTH SCRAM-SHA-256\r\n")
    server.next_event()
    server.challenge(b"x")
    server.receive(b"eQ==\r\n")
    assert server.next_event() == AuthResponseEvent(b"y")
    server.take_output()
    server.accept()
    assert (server.take_output(), server.state) == (b"235 2.7.0 Authentication successful\r\n", State.GREETED)
    assert server.authenticated


def test_nothing_but_auth_is_challenged(shell):
    client = shell()
    with pytest.raises(RuntimeError, match="no decision"):
        client.server.challenge(b"")
    client.server.receive(HELLO)
    hello = client.server.next_event()
    with pytest.raises(RuntimeError, match="only AUTH"):
        client.server.challenge(b"")
    assert (client.server.pending, client.server.take_output()) == (hello, b"")
    client.server.accept()
    assert client.server.take_output().startswith(b"250-")


def test_a_challenge_that_comes_too_late_is_not_sent(shell):
    server = under_tls(shell)
    server.receive(b"AUTH PLAIN\r\n")
    server.next_event()
    server.shut(GONE)
    server.take_output()
    server.challenge(b"")
    assert (server.take_output(), server.state) == (b"", State.CLOSED)


def test_a_session_that_rests_takes_little_memory():
    """Thousands of clients may rest after EHLO: a deque or a copy of the standing reply is as much as all else."""

    def resting():
        core = Server("mx.a.example", Extensions(size=1 << 20, starttls=True), SmtpLimits(), lambda: "")
        core.greet()
        core.receive(HELLO)
        while core.next_event() is not None:
            core.accept()
        assert core.take_output().endswith(b"\r\n")
        return core

    warm = resting()
    tracemalloc.start()
    many = [resting() for _ in range(50)]
    octets = tracemalloc.get_traced_memory()[0] / len(many)
    tracemalloc.stop()
    assert warm.closing is False
    assert octets < 1600


@pytest.mark.parametrize("code", [-1, 0, 99, 199, 600, 999])
def test_what_is_no_code_of_a_reply_is_refused(code):
    wrong = Reply(code, "", ("text",))
    server = Server("mx.example", Extensions(size=1 << 20, starttls=False), SmtpLimits(), lambda: "")
    with pytest.raises(ValueError, match=f"from 200 to 599, not {code}"):
        Server("mx.example", Extensions(size=1 << 20, starttls=False), SmtpLimits(), lambda: "").greet(wrong)
    server.greet()
    server.take_output()
    server.receive(b"EHLO client.example\r\n")
    assert server.next_event() is not None
    with pytest.raises(ValueError, match=f"the code is {code}, not 200 to 399"):
        server.accept(wrong)
    with pytest.raises(ValueError, match=f"the code is {code}, not 400 to 599"):
        server.refuse(wrong)
    with pytest.raises(ValueError, match=f"from 200 to 599, not {code}"):
        server.shut(wrong)
    assert server.take_output() == b""
    server.accept()
    assert server.take_output().startswith(b"250")
