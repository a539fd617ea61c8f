"""What the server does with content, and with what may be content."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gatepost.protocols.smtp import replies
from gatepost.protocols.smtp.extensions import Extensions
from gatepost.protocols.smtp.limits import SmtpLimits
from gatepost.protocols.smtp.replies import Reply
from gatepost.protocols.smtp.server.events import (
    AbortEvent,
    AbortReason,
    ChunkEvent,
    DataEvent,
    ErrorEvent,
    MailEvent,
    MessageEvent,
    RecipientEvent,
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


# Where content may follow a command that was refused


@pytest.mark.parametrize("line", [b"DATA\n\r\n", b"BDAT x\r\n", b"BDAT 5\n\r\n"])
def test_a_command_of_which_nobody_knows_where_content_ends_ends_the_session(shell, line):
    client = shell().to_rcpt()
    assert codes(client.send(line))[-1] == b"421 4.7.0"
    assert client.server.closing


@pytest.mark.parametrize(("behind", "closes"), [(b"", False), (b"x", True)])
def test_octets_behind_a_data_that_the_core_refuses_end_the_session(shell, behind, closes):
    client = shell().to_rcpt()
    client.send(b"DATA now\r\n" + behind)
    assert client.server.closing is closes


# Responses within AUTH


def test_a_response_that_has_not_arrived_whole_is_waited_for(shell):
    client = shell(extensions=Extensions(size=1000, starttls=True, auth=("PLAIN",)), greeted=False)
    client.server.tls_started()
    client.server.greet()
    client.send(b"EHLO c.example\r\n")
    client.server.receive(b"AUTH PLAIN\r\n")
    client.server.next_event()
    client.server.challenge(b"")
    assert codes(client.send(b"AGEA")) == [b"334"]
    assert codes(client.send(b"Yg==\r\n")) == [b"235 2.7.0"]
