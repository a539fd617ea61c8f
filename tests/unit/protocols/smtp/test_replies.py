from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.protocols.smtp import replies
from gatepost.protocols.smtp.replies import LINE_OCTETS, Reply, checked

STANDARD = [value for value in vars(replies).values() if isinstance(value, Reply)]


@pytest.mark.parametrize(
    ("reply", "stamp", "wire"),
    [
        (Reply(250, "2.1.0", ("Sender OK",)), "", b"250 2.1.0 Sender OK\r\n"),
        (Reply(250, "2.1.0", ("Sender OK",)), " [mx t s]", b"250 2.1.0 Sender OK [mx t s]\r\n"),
        (Reply(220, "", ("mx ESMTP",)), " [mx]", b"220 mx ESMTP [mx]\r\n"),
        (Reply(250, "", ("mx", "SIZE 1", "HELP")), "", b"250-mx\r\n250-SIZE 1\r\n250 HELP\r\n"),
        (Reply(550, "5.7.1", ("one", "two")), " [s]", b"550-5.7.1 one\r\n550 5.7.1 two [s]\r\n"),
        (Reply(354, "", ()), "", b"354 \r\n"),
        (Reply(250, "2.0.0", ()), " [s]", b"250 2.0.0  [s]\r\n"),
        (Reply(550, "5.0.0", ("a\r\n250 b\tc\0",)), "", b"550 5.0.0 a??250 b?c?\r\n"),
        (Reply(550, "5.0.0", ("näher",)), "", b"550 5.0.0 n?her\r\n"),
    ],
)
def test_encoding(reply, stamp, wire):
    assert reply.encode(stamp) == wire


@given(st.lists(st.text(), max_size=4), st.text(max_size=80))
def test_no_text_makes_another_line_and_no_line_is_too_long(texts, stamp):
    wire = Reply(550, "5.7.1", tuple(texts)).encode(stamp)
    *lines, nothing = wire.split(b"\r\n")
    assert nothing == b""
    assert len(lines) == max(len(texts), 1)
    assert all(re.fullmatch(rb"550[- ]5\.7\.1 [ -~]*", line) for line in lines)
    assert all(len(line) + 2 <= LINE_OCTETS for line in lines)


def test_a_long_text_is_cut_before_the_stamp():
    wire = Reply(550, "5.7.1", ("x" * 900, "y" * 900)).encode(" [mx t s]")
    first, last = wire.splitlines(keepends=True)
    assert len(first) == len(last) == LINE_OCTETS
    assert last.endswith(b"y [mx t s]\r\n")


def test_head_is_what_stands_before_the_stamp():
    reply = Reply(250, "2.1.0", ("Sender OK",))
    assert reply.head + b" [s]\r\n" == reply.encode(" [s]")


@pytest.mark.parametrize(
    ("code", "positive", "transient", "permanent"),
    [(250, True, False, False), (354, True, False, False), (421, False, True, False), (550, False, False, True)],
)
def test_classes_of_codes(code, positive, transient, permanent):
    reply = Reply(code, "", ("x",))
    assert (reply.positive, reply.transient, reply.permanent) == (positive, transient, permanent)


def test_text_is_the_reply_on_one_line():
    assert Reply(550, "5.7.64", ("Relay access", "denied")).text == "550 5.7.64 Relay access denied"
    assert Reply(220, "", ("mx ESMTP",)).text == "220 mx ESMTP"


@pytest.mark.parametrize("reply", STANDARD, ids=lambda reply: reply.text)
def test_standard_replies_keep_their_class_and_fit_on_a_line(reply):
    assert reply.enhanced == "" or reply.enhanced[0] == str(reply.code)[0]
    assert len(reply.encode(" " * 120)) <= LINE_OCTETS
    assert reply.text.isascii()


def test_there_are_standard_replies():
    assert len(STANDARD) > 20


@pytest.mark.parametrize("code", [199, 600, 99, 0, -250])
def test_a_code_that_smtp_does_not_have_is_an_error(code):
    with pytest.raises(ValueError, match=f"a code from 200 to 599, not {code}"):
        checked(Reply(code, "", ("text",)))


@pytest.mark.parametrize("code", [200, 599])
def test_a_code_that_it_may_have_is_none(code):
    reply = Reply(code, "", ("text",))
    assert checked(reply) is reply
