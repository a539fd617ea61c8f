from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gatepost.protocols.smtp import replies
from gatepost.protocols.smtp.extensions import Extensions
from gatepost.protocols.smtp.grammar import Path
from gatepost.protocols.smtp.limits import SmtpLimits
from gatepost.protocols.smtp.parameters import MailParameters, RecipientParameters
from gatepost.protocols.smtp.replies import Reply
from gatepost.protocols.smtp.server.events import (
    AbortEvent,
    AbortReason,
    ChunkEvent,
    DataEvent,
    ErrorEvent,
    HelloEvent,
    MailEvent,
    MessageEvent,
    QuitEvent,
    RecipientEvent,
    StartTlsEvent,
)
from gatepost.protocols.smtp.server.states import State

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


# DATA


def test_a_message(shell):
    client = shell().to_data()
    assert client.output.splitlines()[-1][:4] == b"354 "
    assert codes(client.send(b"Subject: x\r\n\r\n..dot\r\n", b"end\r\n.\r\nNOOP\r\n")) == [b"250 2.0.0", b"250 2.0.0"]
    assert client.content == b"Subject: x\r\n\r\n.dot\r\nend\r\n"
    assert client.names[-2:] == ["DataEvent", "MessageEvent"]
    assert client.events[-1] == MessageEvent(len(client.content))
    assert client.server.state is State.GREETED


@pytest.mark.parametrize(
    ("content", "reason", "reply"),
    [
        (b"a\nb", AbortReason.BARE_LINE_END, b"554 5.6.0"),
        (b"a\0b", AbortReason.NUL, b"554 5.6.0"),
        (b"a\r\n" * 50, AbortReason.TOO_BIG, b"552 5.3.4"),
        (b"a" * 60, AbortReason.LINE_TOO_LONG, b"554 5.6.0"),
    ],
)
def test_content_that_is_refused(shell, content, reason, reply):
    client = shell(limits=SmtpLimits(message_bytes=100, text_line=50)).to_data()
    assert client.send(content) == b""
    (abort,) = client.kinds(AbortEvent)
    assert abort.reason is reason
    assert codes(client.send(b"\r\n.\r\nMAIL FROM:<a@b.example>\r\n")) == [reply, b"250 2.1.0"]
    assert abort.reply is not None
    assert abort.reply.encode() in client.output
    assert client.kinds(MessageEvent) == []


def test_reading_over_has_an_end(shell):
    client = shell(limits=SmtpLimits(message_bytes=1000, discard_bytes=5000)).to_data()
    answers = [codes(client.send(b"x" * 1000)) for _ in range(8)]
    assert answers == [[]] * 6 + [[b"552 5.3.4"]] + [[]]
    assert client.server.closing
    assert len(client.kinds(AbortEvent)) == 1


def test_an_endless_command_has_an_end(shell):
    client = shell(limits=SmtpLimits(discard_bytes=5000))
    answers = [codes(client.send(b"x" * 3000)) for _ in range(4)]
    assert answers == [[], [b"500 5.5.2", b"421 4.7.0"], [], []]
    assert client.server.closing


FALSE_ENDS = [b"\n.\n", b"\r\n.\n", b"\n.\r\n", b"\r.\r", b"\r\n.\r", b"\r\n\0.\r\n", b"\r.\r\n"]


@pytest.mark.parametrize("false_end", FALSE_ENDS, ids=repr)
@pytest.mark.parametrize("size", [1, 2, 5, 1000])
def test_no_message_is_smuggled(shell, false_end, size):
    smuggled = b"MAIL FROM:<evil@b.example>\r\nRCPT TO:<d@e.example>\r\nDATA\r\nSubject: evil\r\n"
    wire = b"Subject: x\r\n\r\nx" + false_end + smuggled + b".\r\nNOOP\r\n"
    client = shell().to_data()
    output = client.send(*[wire[start : start + size] for start in range(0, len(wire), size)])
    assert codes(output) == [b"554 5.6.0", b"250 2.0.0"]
    assert client.names == ["HelloEvent", "MailEvent", "RecipientEvent", "DataEvent", "AbortEvent"]


# BDAT


def test_a_message_in_chunks(shell):
    client = shell().to_rcpt()
    answers = codes(client.send(b"BDAT 5\r\nab\r\n.BDAT 0\r\nBDAT 3\r\n\r\nxBDAT 0 LAST\r\nNOOP\r\n"))
    assert answers == [b"250 2.0.0"] * 5
    assert client.content == b"ab\r\n.\r\nx"
    assert client.names[3:] == ["DataEvent", "MessageEvent"]
    assert client.kinds(DataEvent) == [DataEvent(bdat=True)]
    assert client.events[-1] == MessageEvent(8)
    assert client.server.state is State.GREETED


def test_a_message_in_one_flight(shell):
    client = shell()
    client.send(
        b"EHLO c.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<d@e.example>\r\nBDAT 6 LAST\r\nQUIT\r\n"
        b"MAIL FROM:<a@b.example>\r\nRCPT TO:<d@e.example>\r\nBDAT 0 LAST\r\nQUIT\r\n"
    )
    assert [event.size for event in client.kinds(MessageEvent)] == [6, 0]
    assert client.content == b"QUIT\r\n"
    assert client.names[-1] == "QuitEvent"


def test_binarymime_goes_through_bdat_only(shell):
    client = shell().to_rcpt(b"MAIL FROM:<a@b.example> BODY=BINARYMIME")
    assert codes(client.send(b"DATA\r\n")) == [b"503 5.5.1"]
    assert client.server.state is State.RCPT
    everything = bytes(range(256)) + b"\n.\n"
    client.send(b"BDAT 259 LAST\r\n" + everything)
    assert client.content == everything
    assert client.events[-1] == MessageEvent(259)


@pytest.mark.parametrize("begun", ["to_mail", "to_rcpt"])
def test_bdat_that_is_not_offered_is_read_over(shell, begun):
    extensions = Extensions(size=1, starttls=False, chunking=False, binarymime=False)
    client = getattr(shell(extensions=extensions), begun)()
    answers = codes(client.send(b"BDAT 6 LAST\r\nQUIT\r\nNOOP\r\n"))
    assert answers == [b"554 5.5.1" if begun == "to_mail" else b"502 5.5.1", b"250 2.0.0"]


@pytest.mark.parametrize(
    ("chunks", "reason", "reply"),
    [
        (b"BDAT 3\r\na\nbBDAT 6\r\nQUIT\r\nBDAT 2 LAST\r\n\r\n", AbortReason.BARE_LINE_END, b"554 5.6.0"),
        (b"BDAT 1\r\n" * 0 + b"BDAT 1\r\naBDAT 0\r\nBDAT 0\r\nBDAT 0\r\n", AbortReason.TOO_MANY_CHUNKS, b"554 5.5.0"),
    ],
)
def test_chunks_that_are_refused_are_read_over_and_so_are_those_behind_them(shell, chunks, reason, reply):
    client = shell(limits=SmtpLimits(message_bytes=100, bdat_chunks=3)).to_rcpt()
    answers = codes(client.send(chunks))
    assert answers[-1] == reply
    assert [event.reason for event in client.kinds(AbortEvent)] == [reason]
    assert client.kinds(MessageEvent) == []
    assert (client.server.state, client.server.errors, client.server.closing) == (State.REFUSED, 0, False)
    assert codes(client.send(b"MAIL FROM:<a@b.example>\r\n")) == [b"250 2.1.0"]


def test_other_commands_between_chunks(shell):
    client = shell().to_rcpt()
    answers = codes(client.send(b"BDAT 2\r\nabNOOP\r\nDATA\r\n", b"MAIL FROM:<>\r\nRCPT TO:<d@e>\r\n"))
    assert answers == [b"250 2.0.0", b"250 2.0.0", b"503 5.5.1", b"503 5.5.1", b"503 5.5.1"]
    assert codes(client.send(b"RSET\r\n")) == [b"250 2.0.0"]
    assert client.kinds(AbortEvent) == [AbortEvent(AbortReason.RSET)]
    assert client.to_rcpt().send(b"BDAT 1 LAST\r\nz") != b""
    assert client.events[-1] == MessageEvent(1)


@pytest.mark.parametrize(
    ("chunks", "answers"),
    [
        (b"BDAT 101\r\n", [b"552 5.3.4"]),
        (b"BDAT 101 LAST\r\n" + b"x" * 101 + b"NOOP\r\n", [b"552 5.3.4"]),
        (b"BDAT 99999999999999999999\r\n", [b"552 5.3.4"]),
        (b"BDAT 60\r\n" + b"x" * 60 + b"BDAT 41 LAST\r\n", [b"250 2.0.0", b"552 5.3.4"]),
        (b"BDAT 100\r\n" + b"x" * 100 + b"BDAT 1\r\nxBDAT 0 LAST\r\n", [b"250 2.0.0", b"552 5.3.4"]),
    ],
)
def test_a_chunk_that_makes_the_message_too_big_is_refused_before_it_is_read(shell, chunks, answers):
    client = shell(limits=SmtpLimits(message_bytes=100)).to_rcpt()
    assert codes(client.send(chunks)) == answers
    assert client.server.closing
    (abort,) = client.kinds(AbortEvent)
    assert (abort.reason, abort.reply.code) == (AbortReason.TOO_BIG, 552)
    assert client.kinds(MessageEvent) == []


def test_a_message_that_is_as_big_as_allowed_is_taken(shell):
    client = shell(limits=SmtpLimits(message_bytes=100)).to_rcpt()
    assert codes(client.send(b"BDAT 60\r\n" + b"x" * 60 + b"BDAT 40 LAST\r\n" + b"x" * 40))[0] == b"250 2.0.0"
    assert client.events[-1] == MessageEvent(100)


@pytest.mark.parametrize(
    ("limits", "octets"),
    [({"discard_bytes": 5000}, 5001), ({"message_bytes": 5000}, 5001), ({}, 99999999999999999999)],
)
def test_a_refused_chunk_of_enormous_size_ends_the_session_before_it_is_read(shell, limits, octets):
    client = shell(limits=SmtpLimits(**limits))
    assert codes(client.send(b"BDAT %d LAST\r\n" % octets)) == [b"503 5.5.1"]
    assert client.server.closing


def test_small_refused_chunks_are_read_over_up_to_a_limit_of_the_session(shell):
    client = shell(limits=SmtpLimits(discard_bytes=5000))
    answers = [codes(client.send(b"BDAT 2000 LAST\r\n" + b"x" * 2000)) for _ in range(3)]
    assert answers == [[b"503 5.5.1"]] * 3
    assert client.server.closing


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
    client = shell(extensions=Extensions(size=1, starttls=offered))
    client.server.tls_active = tls_active
    client.send(b"EHLO c.example\r\n")
    assert codes(client.send(line + b"\r\n")) == [reply]
    assert client.kinds(StartTlsEvent) == []


# However it arrives

CONTENT = st.text(alphabet="\r\n.a\0", max_size=30).map(str.encode)
ENVELOPE = b"RSET\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<d@e.example>\r\n"
LINES = st.sampled_from(
    [
        b"NOOP\r\n",
        b"noop\n\r\n",
        b"NOOP\rRSET\r\n",
        b"RSET \r\n",
        b"VRFY x\r\n",
        b"EHLO c.example\r\n",
        b"HELO\r\n",
        b"MAIL FROM:<a@b.example>\r\n",
        b"MAIL FROM:<a@b> SIZE=x\r\n",
        b"RCPT TO:<d@e.example>\r\n",
        b"RCPT TO:<d>\r\n",
        b"x" * 600 + b"\r\n",
        b"x" * 600 + b"\n\r\n",
        b"\r\n",
        b"NOOP\0\r\n",
        b"NOOP \xff\r\n",
        b"QUIT\r\n",
    ]
)
DATA = CONTENT.map(lambda content: ENVELOPE + b"DATA\r\n" + content + b"\r\n.\r\n")
CHUNK = st.tuples(CONTENT, st.booleans()).map(
    lambda chunk: b"BDAT %d%s\r\n%s" % (len(chunk[0]), b" LAST" * chunk[1], chunk[0])
)
BDAT = st.lists(CHUNK, min_size=1, max_size=4).map(lambda chunks: ENVELOPE + b"".join(chunks))
SCRIPTS = st.lists(st.one_of(LINES, LINES, LINES, DATA, BDAT, CHUNK), max_size=8).map(b"".join)
REFUSALS = st.dictionaries(st.sampled_from([MailEvent, RecipientEvent, MessageEvent]), st.sampled_from([BUSY, NO]))


@given(SCRIPTS, st.lists(st.integers(min_value=0, max_value=900), max_size=12), st.booleans(), REFUSALS)
@example(b"NOOP\r\nNOOP\n\r\n" + b"x" * 600 + b"\r\nQUIT\r\n", list(range(700)), False, {})
@example(
    ENVELOPE + b"DATA\r\na\0\n\r\n.\r\n" + ENVELOPE + b"BDAT 3\r\na\r\nBDAT 0 LAST\r\n", list(range(200)), True, {}
)
@settings(max_examples=300)
def test_the_same_octets_tell_the_same_story(shell, cut, script, cuts, patient, refusals):
    if any(kind is not MessageEvent for kind in refusals):
        script = script.replace(b"DATA\r\n", b"BDAT 0 LAST\r\n")  # what follows a refused DATA is a matter of time
    limits = SmtpLimits(command_line=512, errors=50 if patient else 5, message_bytes=80, bdat_chunks=3)
    stories = []
    for pieces in ([script], cut(script, cuts)):
        client = shell(limits=limits, refusals=refusals)
        client.send(b"EHLO c.example\r\n", *pieces)
        stories.append(client.story)
    assert stories[0] == stories[1]


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_any_octets_are_survived(shell, pieces):
    client = shell(limits=SmtpLimits(errors=1000))
    client.send(*pieces, b"\r\n")
    # Who speaks HTTP is not counted but turned away.
    counted = [event for event in client.kinds(ErrorEvent) if event.reply is not replies.NOT_SMTP]
    assert client.server.errors == len(counted)


# In bounded memory


def grown(client, piece, times):
    """Octets of memory that the piece, sent many times, cost at most; what it makes the server say is thrown away."""
    tracemalloc.start()
    for _ in range(times):
        client.server.receive(piece)
        while (event := client.server.next_event()) is not None:
            if event.decision:
                client.server.accept()
        client.server.take_output()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


@pytest.mark.parametrize(
    ("begun", "piece"),
    [
        ("to_mail", b"x" * 65536),
        ("to_mail", b"x\n" * 32768),
        ("to_data", b"x" * 65536),
        ("to_data", b"x\n" * 32768),
        ("to_data", b"\r\n" * 32768),
    ],
)
def test_endless_lines_take_little_memory(shell, begun, piece):
    client = getattr(shell(limits=SmtpLimits(errors=10**9, discard_bytes=10**9)), begun)()
    assert grown(client, piece, 200) < 16 * len(piece)


@pytest.mark.parametrize("piece", [b"BDAT 1\r\nx", b"RCPT TO:<d@e.example>\r\n", b"RSET\r\nNONSENSE\r\n"])
def test_many_small_commands_take_little_memory(shell, piece):
    limits = SmtpLimits(recipients=10**9, bdat_chunks=10**9, errors=10**9, commands_without_mail=10**9)
    assert grown(shell(limits=limits).to_rcpt(), piece, 5000) < 65536


def test_chunks_are_passed_on_at_once(shell):
    client = shell().to_data()
    client.send(b"a" * 10, b"b" * 10)
    assert client.kinds(ChunkEvent) == [ChunkEvent(b"a" * 10), ChunkEvent(b"b" * 10)]


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
