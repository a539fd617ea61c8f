from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.protocols.smtp.extensions import Extensions
from gatepost.protocols.smtp.grammar import Path
from gatepost.protocols.smtp.limits import SmtpLimits
from gatepost.protocols.smtp.parameters import MailParameters, RecipientParameters
from gatepost.protocols.smtp.replies import Reply
from gatepost.protocols.smtp.server.events import (
    AbortEvent,
    AbortReason,
    ErrorEvent,
    HelloEvent,
    MailEvent,
    MessageEvent,
    QuitEvent,
    RecipientEvent,
    StartTlsEvent,
    XclientEvent,
)
from gatepost.protocols.smtp.server.states import State
from gatepost.values import replace

BUSY = Reply(451, "4.3.0", ("Busy",))
NO = Reply(550, "5.7.1", ("No",))
GONE = Reply(421, "4.3.2", ("Gone",))


def codes(output: bytes) -> list[bytes]:
    """The code, and the status if there is one, of each reply."""
    return [
        b" ".join(line.split(b" ")[: 2 if line[4:5].isdigit() else 1])
        for line in output.splitlines()
        if line[3:4] == b" "
    ]


# Commands that are answered


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        (b"NOOP", b"250 2.0.0"),
        (b"noop whatever", b"250 2.0.0"),
        (b"RSET", b"250 2.0.0"),
        (b"VRFY somebody", b"252 2.0.0"),
        (b"HELP", b"214 2.0.0"),
        (b"help MAIL", b"214 2.0.0"),
        (b"QuIt", b"221 2.0.0"),
        (b"NOOP  \t", b"250 2.0.0"),
    ],
)
def test_what_the_core_answers_itself(shell, line, reply):
    client = shell()
    assert codes(client.send(line + b"\r\n")) == [reply]
    assert client.kinds(ErrorEvent) == []
    assert client.server.errors == 0


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        (b"", b"500 5.5.1"),
        (b"NONSENSE", b"500 5.5.1"),
        (b" NOOP", b"500 5.5.1"),
        (b"EXPN staff", b"502 5.5.1"),
        (b"AUTH PLAIN", b"502 5.5.1"),
        (b"EHLO", b"501 5.5.4"),
        (b"EHLO two words", b"501 5.5.4"),
        (b"QUIT now", b"501 5.5.4"),
        (b"RSET x", b"501 5.5.4"),
        (b"VRFY", b"501 5.5.4"),
        (b"MAIL FROM:<a@b.example>", b"503 5.5.1"),
        (b"STARTTLS", b"503 5.5.1"),
        (b"NOOP\0", b"500 5.5.2"),
        (b"NOOP\x1b", b"500 5.5.2"),
        (b"NOOP \xff", b"500 5.5.2"),
        (b"NOOP \xc3\xa4", b"500 5.5.2"),
        (b"NOOP\nQUIT", b"500 5.5.2"),
        (b"NOOP\rQUIT", b"500 5.5.2"),
        (b"x" * 5000, b"500 5.5.2"),
    ],
)
def test_lines_that_are_refused_do_nothing_but_count(shell, line, reply):
    client = shell()
    assert codes(client.send(line + b"\r\n")) == [reply]
    assert client.names == ["ErrorEvent"]
    assert (client.server.state, client.server.errors, client.server.closing) == (State.CONNECTED, 1, False)
    assert codes(client.send(b"NOOP\r\n")) == [b"250 2.0.0"]


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (b"WHAT is\x1b\xffthis", "WHAT is??this"),
        (b"x" * 5000, "x" * 80),
        (b"y" * 100, "y" * 80),
        (b"NOOP\nQUIT", "NOOP"),
    ],
)
def test_an_error_shows_how_the_line_began(shell, line, shown):
    client = shell()
    client.send(line + b"\r\n")
    (error,) = client.kinds(ErrorEvent)
    assert error.line_start == shown
    assert client.output == error.reply.encode()


@pytest.mark.parametrize("verb", [b"GET", b"post", b"CONNECT"])
def test_http_ends_the_session(shell, verb):
    client = shell()
    assert codes(client.send(verb + b" / HTTP/1.1\r\nMAIL FROM:<a@b>\r\n")) == [b"421 4.7.0"]
    assert client.server.closing


def test_the_last_error_ends_the_session(shell):
    client = shell(limits=SmtpLimits(errors=3))
    client.to_mail()
    assert codes(client.send(b"A\r\nNOOP\r\nB\r\n")) == [b"500 5.5.1", b"250 2.0.0", b"500 5.5.1"]
    assert codes(client.send(b"C\r\nNOOP\r\n")) == [b"421 4.7.0"]
    assert client.names[-2:] == ["ErrorEvent", "AbortEvent"]
    assert client.kinds(AbortEvent) == [AbortEvent(AbortReason.CLOSED)]
    assert (client.server.errors, client.server.state) == (3, State.CLOSED)


def test_commands_without_mail_have_an_end_and_mail_starts_the_count_anew(shell):
    client = shell(limits=SmtpLimits(commands_without_mail=5))
    idle = b"NOOP\r\nRSET\r\nVRFY x\r\nHELP\r\n"
    client.send(b"EHLO c.example\r\n", idle)
    assert not client.server.closing
    client.to_data().send(b".\r\n")
    assert client.server.closing  # EHLO of `to_mail` was one too many
    client = shell(limits=SmtpLimits(commands_without_mail=5))
    client.to_data().send(b".\r\n", idle)
    assert codes(client.send(b"NOOP\r\nNOOP\r\n")) == [b"250 2.0.0", b"421 4.7.0"]
    assert client.server.closing


# The transaction


def test_hello(shell):
    client = shell()
    client.send(b"EHLO c.example\r\nHELO [192.0.2.1]\r\n")
    assert client.events == [HelloEvent("EHLO", "c.example"), HelloEvent("HELO", "[192.0.2.1]")]
    assert client.server.state is State.GREETED


def test_an_envelope(shell):
    client = shell()
    client.send(
        b"EHLO c.example\r\nMAIL FROM:<> SIZE=7 BODY=8BITMIME RET=HDRS ENVID=x\r\n"
        b"RCPT TO:<D@E.example> NOTIFY=NEVER ORCPT=rfc822;d@e\r\nRCPT TO:<postmaster>\r\n"
    )
    assert client.events[1:] == [
        MailEvent(Path("", "", ""), MailParameters(size=7, body="8BITMIME", ret="HDRS", envid="x")),
        RecipientEvent(Path("D@E.example", "D", "e.example"), RecipientParameters("NEVER", "rfc822;d@e")),
        RecipientEvent(Path("postmaster", "postmaster", ""), RecipientParameters()),
    ]
    assert client.server.state is State.RCPT


def test_smtputf8_is_for_the_transaction_that_asked_for_it(shell):
    client = shell().to_mail("MAIL FROM:<jörg@b.example> SMTPUTF8".encode())
    assert codes(client.send("RCPT TO:<jörg@e.example>\r\n".encode())) == [b"250 2.1.5"]
    client.send(b"RSET\r\n")
    client.to_mail()
    assert codes(client.send("RCPT TO:<jörg@e.example>\r\n".encode())) == [b"553 5.6.7"]
    assert codes(client.send("RSET\r\nMAIL FROM:<jörg@b.example>\r\n".encode())) == [b"250 2.0.0", b"553 5.6.7"]
    assert client.server.errors == 0


def test_a_bad_address_is_no_protocol_error(shell):
    client = shell(limits=SmtpLimits(errors=2)).to_mail()
    bad = b"RCPT TO:<d>\r\nRCPT TO:<>\r\nRCPT TO:<@x:d@e>\r\n"
    assert codes(client.send(bad)) == [b"501 5.1.3", b"501 5.1.3", b"553 5.1.3"]
    assert len(client.kinds(ErrorEvent)) == 3
    assert client.server.errors == 0


def test_recipients_have_a_limit_that_counts_refused_ones(shell):
    client = shell(limits=SmtpLimits(recipients=3), refusals={RecipientEvent: NO}).to_mail()
    client.send(b"RCPT TO:<d@e.example>\r\nRCPT TO:<d>\r\n")
    client.refusals.clear()
    assert codes(client.send(b"RCPT TO:<d@e.example>\r\n" * 3)) == [b"250 2.1.5", b"452 4.5.3", b"452 4.5.3"]
    assert client.server.errors == 0
    client.send(b"RSET\r\n")
    client.to_mail()
    assert codes(client.send(b"RCPT TO:<d@e.example>\r\n")) == [b"250 2.1.5"]


def test_transactions_have_a_limit(shell):
    client = shell(limits=SmtpLimits(transactions=2)).to_mail()
    assert codes(client.send(b"RSET\r\nMAIL FROM:<x>\r\nMAIL FROM:<>\r\n")) == [
        b"250 2.0.0",
        b"501 5.1.7",
        b"421 4.7.0",
    ]
    assert client.server.closing


@pytest.mark.parametrize(
    ("line", "reason", "state"),
    [
        (b"RSET", AbortReason.RSET, State.GREETED),
        (b"EHLO again.example", AbortReason.HELLO, State.GREETED),
        (b"HELO again.example", AbortReason.HELLO, State.GREETED),
        (b"QUIT", AbortReason.QUIT, State.CLOSED),
    ],
)
@pytest.mark.parametrize("begun", ["to_mail", "to_rcpt"])
def test_what_gives_a_transaction_up(shell, line, reason, state, begun):
    client = getattr(shell(), begun)()
    client.send(line + b"\r\n")
    assert client.kinds(AbortEvent) == [AbortEvent(reason)]
    assert client.server.state is state


def test_no_transaction_is_given_up_twice(shell):
    client = shell().to_mail()
    client.send(b"RSET\r\nRSET\r\nEHLO c\r\nQUIT\r\n")
    assert len(client.kinds(AbortEvent)) == 1
    assert client.events[-1] == QuitEvent()


# What is pipelined behind a refusal


@pytest.mark.parametrize("refusal", [BUSY, NO])
def test_what_follows_a_refused_mail_is_refused_alike_and_is_no_error(shell, refusal):
    client = shell(limits=SmtpLimits(errors=2), refusals={MailEvent: refusal})
    flight = b"MAIL FROM:<a@b.example>\r\n" + b"RCPT TO:<d@e.example>\r\n" * 5 + b"BDAT 6\r\nQUIT\r\nBDAT 0 LAST\r\n"
    answers = codes(client.send(b"EHLO c.example\r\n", flight)[client.output.index(refusal.text.encode()) :])
    assert answers == [refusal.text.encode()[:9]] * 8
    assert (client.server.state, client.server.errors) == (State.REFUSED, 0)
    client.refusals.clear()
    assert codes(client.send(b"MAIL FROM:<a@b.example>\r\n")) == [b"250 2.1.0"]


def test_a_mail_that_the_core_refuses_is_refused_as_well(shell):
    client = shell()
    client.send(b"EHLO c.example\r\n")
    refused = client.send(b"MAIL FROM:<a@b.example> SIZE=99999999999\r\nRCPT TO:<d@e.example>\r\n")
    assert codes(refused) == [b"552 5.3.4", b"552 5.3.4"]
    assert client.server.errors == 0


def test_data_without_recipients(shell):
    client = shell(refusals={RecipientEvent: NO}).to_rcpt()
    assert codes(client.send(b"DATA\r\n", b"BDAT 4 LAST\r\nQUITNOOP\r\n")) == [b"554 5.5.1", b"554 5.5.1", b"250 2.0.0"]
    assert (client.server.state, client.server.errors) == (State.MAIL, 0)


@pytest.mark.parametrize(
    ("begun", "line"),
    [
        ("to_mail", b"DATA"),
        ("to_rcpt", b"DATA now"),
        ("to_rcpt", b"data\0"),
    ],
)
def test_what_stands_behind_a_refused_data_is_never_taken_for_commands(shell, begun, line):
    client = getattr(shell(), begun)()
    answers = codes(client.send(line + b"\r\nRCPT TO:<evil@e.example>\r\n.\r\n"))
    assert answers[-1] == b"421 4.7.0"
    assert len(answers) == 2
    assert client.server.closing
    patient = getattr(shell(), begun)()
    assert codes(patient.send(line + b"\r\n", b"NOOP\r\n"))[1:] == [b"250 2.0.0"]
    assert not patient.server.closing


@pytest.mark.parametrize("line", [b"DATA\n", b"DATA\r\r\n", b"data \n\r\n", b"BDAT 5\n"])
def test_half_a_command_that_content_may_follow_ends_the_session(shell, line):
    for pieces in ([line], [bytes([octet]) for octet in line]):
        client = shell().to_rcpt()
        assert codes(client.send(*pieces)) == [b"500 5.5.2", b"421 4.7.0"]
        assert client.server.closing


@pytest.mark.parametrize("line", [b"DATABASE", b"DATA1", b"BDATX 1"])
def test_words_that_only_begin_alike(shell, line):
    client = shell().to_rcpt()
    assert codes(client.send(line + b"\r\nNOOP\r\n")) == [b"500 5.5.1", b"250 2.0.0"]


@pytest.mark.parametrize("line", [b"BDAT", b"BDAT x", b"bdat 5 FIRST", b"BDAT 5\0", b"BDAT\n"])
@pytest.mark.parametrize("begun", ["to_mail", "to_rcpt"])
def test_a_chunk_of_unknown_size_ends_the_session(shell, line, begun):
    client = getattr(shell(), begun)()
    answers = codes(client.send(line + b"\r\nQUIT\r\n"))
    assert answers[0][:3] in {b"500", b"501"}
    assert answers[1:] == [b"421 4.7.0"]
    assert client.kinds(AbortEvent) == [AbortEvent(AbortReason.CLOSED)]


def test_the_last_error_may_be_a_chunk(shell):
    client = shell(limits=SmtpLimits(errors=1))
    assert codes(client.send(b"BDAT 5\r\nQUIT\r\nNOOP\r\n")) == [b"421 4.7.0"]
    assert client.server.closing


# Content is announced


@pytest.mark.parametrize("refusal", [None, NO])
def test_after_a_message_the_next_transaction_may_begin(shell, refusal):
    client = shell(refusals={MessageEvent: refusal} if refusal else {}).to_data()
    client.send(b"x\r\n.\r\n")
    assert client.server.state is State.GREETED
    assert codes(client.send(b"MAIL FROM:<a@b.example>\r\n")) == [b"250 2.1.0"]


def test_binarymime_is_for_bdat(shell):
    client = shell().to_rcpt(b"MAIL FROM:<a@b.example> BODY=BINARYMIME")
    assert codes(client.send(b"DATA\r\n")) == [b"503 5.5.1"]
    assert codes(client.send(b"BDAT 3 LAST\r\n\0\n\r")) == [b"250 2.0.0"]
    assert client.events[-1] == MessageEvent(3)


@pytest.mark.parametrize("line", [b"BDAT 6 LAST", b"bdat 6"])
def test_bdat_where_it_is_not_offered(shell, line):
    client = shell(extensions=Extensions(size=1, starttls=False, chunking=False, binarymime=False)).to_rcpt()
    assert codes(client.send(line + b"\r\nQUIT\r\nNOOP\r\n")) == [b"502 5.5.1", b"250 2.0.0"]


# STARTTLS


def test_starttls_is_asked_about(shell):
    client = shell()
    client.send(b"EHLO c.example\r\nSTARTTLS\r\n")
    assert client.events[-1] == StartTlsEvent()
    assert client.server.state is State.TLS


@pytest.mark.parametrize(
    ("offered", "tls_active", "line", "reply"),
    [
        (False, False, b"STARTTLS", b"502 5.5.1"),
        (True, True, b"STARTTLS", b"503 5.5.1"),
        (True, False, b"STARTTLS x", b"501 5.5.4"),
    ],
)
def test_starttls_refused(shell, offered, tls_active, line, reply):
    client = shell(extensions=Extensions(size=1, starttls=offered), greeted=False)
    if tls_active:
        client.server.tls_started()
    client.server.greet()
    client.send(b"EHLO c.example\r\n")
    assert codes(client.send(line + b"\r\n")) == [reply]
    assert client.kinds(StartTlsEvent) == []


def test_tls_is_up_once_it_was_agreed_and_never_unasked(shell):
    client = shell()
    with pytest.raises(RuntimeError, match="STARTTLS was not accepted"):
        client.server.tls_started()
    client.send(b"EHLO c.example\r\nSTARTTLS\r\n")
    client.server.tls_started()
    assert (client.server.state, client.server.tls_active) == (State.CONNECTED, True)


# Logging in

USERS = Extensions(size=1000, starttls=True, auth=("SCRAM-SHA-256", "PLAIN"))
MAIL = b"MAIL FROM:<a@b.example>\r\n"


def user(shell, *, tls=True, **more):
    client = shell(extensions=USERS, greeted=False, **more)
    if tls:
        client.server.tls_started()
    client.server.greet()
    client.send(b"EHLO c.example\r\n")
    return client


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        (b"AUTH", b"501 5.5.4"),
        (b"AUTH PLAIN AGEAYg== x", b"501 5.5.4"),
        (b"AUTH PL?IN", b"501 5.5.4"),
        (b"AUTH GSSAPI", b"504 5.5.4"),
        (b"AUTH PLAIN AGEAYg=", b"501 5.5.2"),
        (b"AUTH PLAIN *", b"501 5.0.0"),
        (b"auth plain AGEAYg==", b"235 2.7.0"),
        (b"AUTH PLAIN =", b"235 2.7.0"),
        (b"AUTH PLAIN " + b"QUJD" * 3000, b"235 2.7.0"),
        (b"AUTH PLAIN " + b"QUJD" * 3100, b"500 5.5.2"),
    ],
)
def test_auth(shell, line, reply):
    client = user(shell)
    assert codes(client.send(line + b"\r\n")) == [reply]
    assert client.server.authenticated == (reply == b"235 2.7.0")
    assert [event.line_start for event in client.kinds(ErrorEvent)] == ["AUTH"] * (reply != b"235 2.7.0")


class Asking:
    """A session whose first AUTH was answered with a challenge."""

    def __init__(self, client):
        self.client = client
        client.server.receive(b"AUTH PLAIN\r\n")
        client.server.next_event()
        client.server.challenge(b"")
        client.server.take_output()


@pytest.mark.parametrize(
    ("line", "reply", "counted"),
    [
        (b"*", b"501 5.0.0", 0),
        (b"not base64", b"501 5.5.2", 1),
        (b"AG\n==", b"500 5.5.2", 1),
        (b"A" * 20_000, b"500 5.5.6", 1),
        (b"AGEAYg==", b"235 2.7.0", 0),
        (b"", b"235 2.7.0", 0),
    ],
)
def test_a_response(shell, line, reply, counted):
    client = Asking(user(shell)).client
    assert codes(client.send(line + b"\r\n")) == [reply]
    assert client.server.state is State.GREETED
    assert client.server.errors == counted
    assert all(event.line_start == "AUTH" for event in client.kinds(ErrorEvent))
    assert codes(client.send(b"NOOP\r\n")) == [b"250 2.0.0"]


def test_ten_megabytes_of_base64_are_not_kept(shell):
    client = Asking(user(shell)).client
    tracemalloc.start()
    for _ in range(160):
        client.send(b"QUJD" * 16_384)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert codes(client.output)[-1:] == [b"500 5.5.6"]
    assert peak < 1_000_000
    assert codes(client.send(b"\r\nNOOP\r\n")) == [b"250 2.0.0"]


def test_auth_where_it_may_not_come(shell):
    client = user(shell, tls=False)
    assert codes(client.send(b"AUTH PLAIN AGEAYg==\r\n")) == [b"538 5.7.11"]
    assert codes(client.send(MAIL + b"RCPT TO:<d@e.example>\r\n")) == [b"530 5.7.0"] * 2
    assert b"STARTTLS" in client.output
    client = user(shell)
    assert codes(client.send(MAIL)) == [b"530 5.7.0"]
    assert codes(client.send(b"AUTH PLAIN AGEAYg==\r\nAUTH PLAIN AGEAYg==\r\n")) == [b"235 2.7.0", b"503 5.5.1"]
    assert codes(client.send(MAIL + b"AUTH PLAIN AGEAYg==\r\n")) == [b"250 2.1.0", b"503 5.5.1"]
    client = shell()
    assert codes(client.send(b"AUTH PLAIN\r\nEHLO c.example\r\nAUTH PLAIN\r\n")) == [
        b"502 5.5.1",
        b"250",
        b"502 5.5.1",
    ]


@given(st.lists(st.binary(max_size=40), max_size=8))
def test_no_exchange_breaks_the_core(shell, responses):
    client = Asking(user(shell)).client
    for response in responses:
        client.send(b"AUTH PLAIN " + response + b"\r\n", response + b"\r\n")
    assert client.server.closing or codes(client.send(b"\r\nNOOP\r\n"))


# XCLIENT


def test_xclient_begins_anew_and_comes_between_transactions_alone(shell):
    client = shell(extensions=replace(Extensions.within(SmtpLimits(), starttls=True), xclient=True))
    assert codes(client.to_rcpt().send(b"XCLIENT ADDR=192.0.2.7\r\n")) == [b"503 5.5.1"]
    assert codes(client.send(b"RSET\r\nXCLIENT LOGIN=ann\r\n")) == [b"250 2.0.0", b"501 5.5.4"]
    said = client.send(b"XCLIENT ADDR=192.0.2.7 PORT=7\r\nMAIL FROM:<a@b.example>\r\nEHLO c.example\r\n")
    assert codes(said) == [b"220", b"503 5.5.1", b"250"]
    assert [(event.address, event.port) for event in client.kinds(XclientEvent)] == [("192.0.2.7", 7)]


def test_a_client_that_was_named_names_no_other(shell):
    """What a proxy passes on unread may be a command of its client's own."""
    client = shell(extensions=replace(Extensions.within(SmtpLimits(), starttls=True), xclient=True))
    assert b"XCLIENT" in client.send(b"EHLO proxy.example\r\n")
    client.send(b"XCLIENT ADDR=192.0.2.7\r\n")
    assert codes(client.send(b"XCLIENT ADDR=192.0.2.8\r\n")) == [b"550 5.7.0"]
    assert b"XCLIENT" not in client.send(b"EHLO c.example\r\n")
    assert codes(client.send(b"XCLIENT ADDR=192.0.2.8\r\n")) == [b"550 5.7.0"]
    assert codes(client.send(b"RSET\r\nXCLIENT ADDR=192.0.2.8\r\n")) == [b"250 2.0.0", b"550 5.7.0"]
    assert [event.address for event in client.kinds(XclientEvent)] == ["192.0.2.7"]


def test_xclient_is_for_those_it_is_offered_to(shell):
    client = shell()
    assert codes(client.send(b"XCLIENT ADDR=192.0.2.7\r\n")) == [b"550 5.7.0"]
    assert codes(client.to_rcpt().send(b"XCLIENT ADDR=192.0.2.7\r\n")) == [b"550 5.7.0"]
    assert client.kinds(XclientEvent) == []


def test_xclient_is_counted_as_a_command_without_mail(shell):
    limits = SmtpLimits(commands_without_mail=2)
    client = shell(limits=limits, extensions=replace(Extensions.within(limits, starttls=True), xclient=True))
    assert codes(client.send(b"NOOP\r\nNOOP\r\nXCLIENT ADDR=192.0.2.7\r\n")) == [
        b"250 2.0.0",
        b"250 2.0.0",
        b"421 4.7.0",
    ]
