from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.message.submission import SubmittedHeader

DATE = b"Date: Thu, 01 Jan 1970 00:00:00 +0000\r\n"
ID = b"Message-ID: <0a1b@mx.gate.example>\r\n"
GIVEN = b"Date: now\r\nMessage-ID: <1@x>\r\n"
BODY = b"\r\nBcc: not a field\r\nthe body\r\n\r\n"


def through(*chunks, limit=1000):
    header = SubmittedHeader(limit, queue_id="0a1b", hostname="mx.gate.example", now=0)
    return b"".join([*map(header.feed, chunks), header.finish()])


@pytest.mark.parametrize(
    ("section", "completed"),
    [
        (GIVEN, GIVEN),
        (b"date\t:x\r\nMESSAGE-id :y\r\n", b"date\t:x\r\nMESSAGE-id :y\r\n"),
        (b"Subject: x\r\n", DATE + ID + b"Subject: x\r\n"),
        (b"Date: x\r\n", ID + b"Date: x\r\n"),
        (b"Message-ID: x\r\n", DATE + b"Message-ID: x\r\n"),
        (b"Resent-Date: x\r\nX-Message-ID: y\r\n", DATE + ID + b"Resent-Date: x\r\nX-Message-ID: y\r\n"),
        (b"Subject: x\r\n date: y\r\n", DATE + ID + b"Subject: x\r\n date: y\r\n"),
        (GIVEN + b"Bcc: a@b.example\r\n", GIVEN),
        (GIVEN + b"BCC : a@b.example,\r\n c@d.example\r\n\te@f.example\r\nTo: g\r\n h\r\n", GIVEN + b"To: g\r\n h\r\n"),
        (b"bcc:\r\n" + GIVEN + b"Resent-Bcc: a@b.example\r\nBcc: c@d.example\r\n", GIVEN),
        (GIVEN + b"X-Bcc: kept\r\nSubject: Bcc: kept\r\n", GIVEN + b"X-Bcc: kept\r\nSubject: Bcc: kept\r\n"),
        (b"", DATE + ID),
    ],
)
def test_what_is_added_and_removed(section, completed):
    assert through(section + BODY) == completed + BODY
    assert through(*[bytes([octet]) for octet in section + BODY]) == completed + BODY


@pytest.mark.parametrize(
    ("message", "completed"),
    [
        (b"", DATE + ID),
        (b"Subject: x\r\nBcc: a@b.example\r\n", DATE + ID + b"Subject: x\r\n"),
        (GIVEN + b"Bcc: a@b.example", GIVEN.removesuffix(b"\r\n")),
        (GIVEN + b"Subject: x", GIVEN + b"Subject: x"),
    ],
)
def test_a_message_that_is_all_header(message, completed):
    assert through(message) == completed


def test_nothing_is_passed_on_before_the_section_is_whole_and_nothing_kept_after():
    header = SubmittedHeader(1000, queue_id="1", hostname="h", now=0)
    assert header.feed(GIVEN) == b""
    assert header.feed(b"\r\nbody") == GIVEN + b"\r\nbody"
    assert header.feed(b" goes on") == b" goes on"
    assert header.finish() == b""


def test_a_section_that_is_too_large_is_left_alone():
    message = b"Bcc: " + b"x" * 2000
    assert through(message[:500], message[500:1500], message[1500:]) == message


@given(st.binary(max_size=200), st.lists(st.integers(0, 200)))
def test_however_it_is_cut(message, cuts):
    places = [0, *sorted(cuts), len(message)]
    chunks = [message[begin:end] for begin, end in pairwise(places)]
    assert through(*chunks) == through(message)
