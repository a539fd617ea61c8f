from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.protocols.smtp.client.reply_parser import MAX_LINE, MAX_LINES, MAX_TEXT, ProtocolError, ReplyParser
from gatepost.protocols.smtp.replies import Reply


def parse(*pieces: bytes) -> list[Reply | str]:
    """All replies of the pieces; the text of a ProtocolError ends the list."""
    parser = ReplyParser()
    found: list[Reply | str] = []
    for piece in pieces:
        parser.feed(piece)
        try:
            while (reply := parser.next_reply()) is not None:
                found.append(reply)
        except ProtocolError as error:
            return [*found, str(error)]
    return found


# name: (bytes, what they mean)
REPLIES: dict[str, tuple[bytes, list[Reply]]] = {
    "one line": (b"220 mx.b.example ESMTP\r\n", [Reply(220, "", ("mx.b.example ESMTP",))]),
    "a status": (b"250 2.1.5 Ok\r\n", [Reply(250, "2.1.5", ("Ok",))]),
    "a status and nothing more": (b"250 2.1.5\r\n", [Reply(250, "2.1.5", ("",))]),
    "a status of three digits": (b"550 5.7.320 No\r\n", [Reply(550, "5.7.320", ("No",))]),
    "a code and nothing more": (b"250\r\n", [Reply(250, "", ("",))]),
    "a code and a space": (b"354 \r\n", [Reply(354, "", ("",))]),
    "a status of another class is text": (b"451 5.7.3 STARTTLS\r\n", [Reply(451, "", ("5.7.3 STARTTLS",))]),
    "354 has no status": (b"354 3.0.0 Go\r\n", [Reply(354, "", ("3.0.0 Go",))]),
    "what only looks like a status": (b"250 2.1.5.9 x\r\n", [Reply(250, "", ("2.1.5.9 x",))]),
    "more digits than a status has": (b"250 2.1.1234 x\r\n", [Reply(250, "", ("2.1.1234 x",))]),
    "several lines": (b"250-a\r\n250-B 1\r\n250 C\r\n", [Reply(250, "", ("a", "B 1", "C"))]),
    "several lines, one status": (b"550-5.1.1 no\r\n550 5.1.1 such\r\n", [Reply(550, "5.1.1", ("no", "such"))]),
    "several lines, one without": (b"550-5.1.1 no\r\n550 such\r\n", [Reply(550, "5.1.1", ("no", "such"))]),
    "several lines, two statuses": (b"550-5.1.1 no\r\n550 5.7.1 x\r\n", [Reply(550, "5.1.1", ("no", "5.7.1 x"))]),
    "an empty line in between": (b"250-a\r\n250-\r\n250 c\r\n", [Reply(250, "", ("a", "", "c"))]),
    "two replies": (b"250 a\r\n354 b\r\n", [Reply(250, "", ("a",)), Reply(354, "", ("b",))]),
    "control characters": (b"250 a\tb\0c\rd\x1b[31m\r\n", [Reply(250, "", ("a b c d [31m",))]),
    "8-bit characters": ("250 grün\r\n".encode(), [Reply(250, "", ("gr??n",))]),
    "the longest line": (b"250 " + b"x" * (MAX_LINE - 6) + b"\r\n", [Reply(250, "", ("x" * (MAX_LINE - 6),))]),
    "the most lines": (b"250-x\r\n" * (MAX_LINES - 1) + b"250 x\r\n", [Reply(250, "", ("x",) * MAX_LINES)]),
    "the most text": (
        (b"550-5.1.1 " + b"x" * (MAX_TEXT // 4) + b"\r\n") * 3 + b"550 5.1.1 " + b"x" * (MAX_TEXT // 4) + b"\r\n",
        [Reply(550, "5.1.1", ("x" * (MAX_TEXT // 4),) * 4)],
    ),
    "more text than is kept, and another reply": (
        (b"550-5.1.1 " + b"x" * 1000 + b"\r\n") * 98 + b"550 5.1.1 x\r\n250-a\r\n250 b\r\n",
        [Reply(550, "5.1.1", (*["x" * 1000] * 4, "...")), Reply(250, "", ("a", "b"))],
    ),
}

# name: (bytes, how many replies come before the fault, words of the fault)
FAULTS: dict[str, tuple[bytes, int, str]] = {
    "no reply at all": (b"HTTP/1.1 200 OK\r\n", 0, "no SMTP reply"),
    "an empty line": (b"\r\n", 0, "no SMTP reply"),
    "a code of two digits": (b"25 ok\r\n", 0, "no SMTP reply"),
    "a preliminary reply": (b"150 wait\r\n", 0, "no SMTP reply"),
    "a code beyond 599": (b"600 what\r\n", 0, "no SMTP reply"),
    "no separator": (b"2500\r\n", 0, "no SMTP reply"),
    "another separator": (b"250_ok\r\n", 0, "no SMTP reply"),
    "digits of another script": ("25\u0660 ok\r\n".encode(), 0, "no SMTP reply"),
    "a bare LF": (b"250 ok\n250 ok\r\n", 0, "bare LF"),
    "a bare LF after a good reply": (b"250 ok\r\n250 ok\n", 1, "bare LF"),
    "only a LF": (b"\n", 0, "bare LF"),
    "codes that differ": (b"250-a\r\n550 b\r\n", 0, "different codes"),
    "a line too long": (b"250 " + b"x" * (MAX_LINE - 5) + b"\r\n", 0, "octets"),
    "a line without an end": (b"250 ok\r\n250 " + b"x" * MAX_LINE, 1, "octets"),
    "too many long lines": ((b"250-" + b"x" * 1000 + b"\r\n") * (MAX_LINES + 1), 0, "lines"),
    "too many lines": (b"250-x\r\n" * (MAX_LINES + 1), 0, "lines"),
}


@pytest.mark.parametrize("name", REPLIES)
def test_replies_are_read(name: str) -> None:
    data, expected = REPLIES[name]
    assert parse(data) == expected


@pytest.mark.parametrize("name", FAULTS)
def test_faults_are_named_after_what_was_good(name: str) -> None:
    data, good, words = FAULTS[name]
    found = parse(data)
    assert len(found) == good + 1
    assert isinstance(found[-1], str)
    assert words in found[-1]


LONG = b"250-" + b"X" * 508 + b"\r\n"  # no longer than RFC 5321 allows without its CRLF


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (LONG * (MAX_LINES - 1) + b"250 REQUIRETLS\r\n", ("X" * 508,) * (MAX_LINES - 1) + ("REQUIRETLS",)),
        ((b"250-" + b"X" * 1000 + b"\r\n") * 51 + b"250 " + b"X" * 200 + b"\r\n", ("X" * 1000,) * 51 + ("X" * 200,)),
        ((b"550-" + b"X" * 1000 + b"\r\n") * 60 + b"550 x\r\n", ("X" * 1000,) * 4 + ("...",)),
    ],
)
def test_no_extension_is_lost(data: bytes, lines: tuple[str, ...]) -> None:
    parser = ReplyParser()
    parser.hello = True
    parser.feed(data)
    reply = parser.next_reply()
    assert reply is not None
    assert reply.lines == lines


def test_extensions_without_end_are_a_fault() -> None:
    parser = ReplyParser()
    parser.hello = True
    parser.feed((b"250-" + b"X" * 1000 + b"\r\n") * 52)
    with pytest.raises(ProtocolError, match="EHLO of more than 51200 octets"):
        parser.next_reply()


@pytest.mark.parametrize("data", [data for data, *_ in (*REPLIES.values(), *FAULTS.values())])
def test_octet_by_octet_means_the_same(data: bytes) -> None:
    assert parse(*(data[at : at + 1] for at in range(len(data)))) == parse(data)


PIECES = st.sampled_from(
    [b"250 2.1.5 Ok\r\n", b"250-a\r\n", b"250 ", b"550-5.1.1 x\r\n550 5.1.1 y\r\n", b"\r", b"\n", b"\r\n", b"x", b"25"]
)


@given(st.lists(PIECES, max_size=20).map(b"".join) | st.binary(max_size=60), st.lists(st.integers(0, 200), max_size=8))
def test_any_split_means_the_same(data: bytes, cuts: list[int]) -> None:
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    pieces = [data[begin:end] for begin, end in itertools.pairwise(edges)]
    assert parse(*pieces) == parse(data)


@given(st.binary(max_size=300))
def test_whatever_is_sent_the_text_is_printable(data: bytes) -> None:
    for reply in parse(b"250 " + data + b"\r\n"):
        text = reply if isinstance(reply, str) else "".join(reply.lines)
        assert text.isascii()
        assert not text or text.isprintable()


@given(
    st.integers(200, 599),
    st.lists(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60), min_size=1, max_size=5),
)
def test_what_a_server_encodes_is_read_back(code: int, lines: list[str]) -> None:
    enhanced = "" if code // 100 == 3 else f"{code // 100}.7.64"
    reply = Reply(code, enhanced, tuple(lines))
    found = parse(reply.encode())
    if enhanced:  # without a status, a text that begins like one cannot be told from one
        assert found == [reply]
    else:
        assert [item.text for item in found if isinstance(item, Reply)] == [reply.text]


@pytest.mark.parametrize(
    ("data", "pending"),
    [
        (b"", False),
        (b"250 ok\r\n", False),
        (b"250 ok\r\n2", True),
        (b"250-ok\r\n", True),
        (b"250-a\r\n250 b\r\n", False),
    ],
)
def test_pending_says_whether_bytes_are_left(data: bytes, pending: bool) -> None:
    parser = ReplyParser()
    parser.feed(data)
    while parser.next_reply() is not None:
        pass
    assert parser.pending is pending
