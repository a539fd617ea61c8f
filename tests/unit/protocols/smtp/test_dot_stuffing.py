from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.protocols.smtp.dot_stuffing import DotStuffer


def stuffed(*chunks: bytes) -> bytes:
    stuffer = DotStuffer()
    return b"".join([stuffer.encode(chunk) for chunk in chunks]) + stuffer.finish()


def reference(message: bytes) -> bytes:
    """Line by line, as RFC 5321 section 4.5.2 tells it."""
    if message and not message.endswith(b"\r\n"):
        message += b"\r\n"
    lines = message.split(b"\r\n")[:-1]
    return b"".join(b"." + line + b"\r\n" if line.startswith(b".") else line + b"\r\n" for line in lines) + b".\r\n"


def received(wire: bytes) -> bytes:
    """What a server keeps of the wire form: everything before the first CRLF.CRLF, the doubled dots made single."""
    content, end, rest = (b"\r\n" + wire).partition(b"\r\n.\r\n")
    assert (end, rest) == (b"\r\n.\r\n", b"")
    return (content + b"\r\n")[2:].replace(b"\r\n.", b"\r\n").removeprefix(b".")


CASES: dict[str, tuple[bytes, bytes]] = {
    "empty": (b"", b".\r\n"),
    "a line": (b"a\r\n", b"a\r\n.\r\n"),
    "no CRLF at the end": (b"a", b"a\r\n.\r\n"),
    "a dot at the beginning": (b".a\r\n", b"..a\r\n.\r\n"),
    "a dot at a line's beginning": (b"a\r\n.b\r\n", b"a\r\n..b\r\n.\r\n"),
    "a lone dot": (b"a\r\n.\r\n", b"a\r\n..\r\n.\r\n"),
    "two dots": (b"..\r\n", b"...\r\n.\r\n"),
    "lines of dots": (b".\r\n.\r\n.", b"..\r\n..\r\n..\r\n.\r\n"),
    "a dot within a line": (b"a.b\r\nc.\r\n", b"a.b\r\nc.\r\n.\r\n"),
    "a dot after a bare LF": (b"a\n.b\r\n", b"a\n.b\r\n.\r\n"),
    "a dot after a bare CR": (b"a\r.b\r\n", b"a\r.b\r\n.\r\n"),
    "a bare CR at the end": (b"a\r", b"a\r\r\n.\r\n"),
}


@pytest.mark.parametrize("name", CASES)
def test_the_wire_form(name: str) -> None:
    message, wire = CASES[name]
    assert stuffed(message) == wire


@pytest.mark.parametrize("name", CASES)
def test_every_way_to_cut_it_gives_the_same(name: str) -> None:
    message, wire = CASES[name]
    for count in range(3):
        for cuts in itertools.combinations(range(len(message) + 1), count):
            edges = [0, *cuts, len(message)]
            assert stuffed(*(message[a:b] for a, b in itertools.pairwise(edges))) == wire
    assert stuffed(*(message[at : at + 1] for at in range(len(message)))) == wire


def test_a_chunk_without_dots_is_not_copied() -> None:
    chunk = b"Subject: x\r\n\r\nhello\r\n" * 100
    assert DotStuffer().encode(chunk) is chunk


ALPHABET = st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b".", b"a", b"\r\n."]), max_size=24).map(b"".join)


@given(st.lists(ALPHABET, max_size=6))
def test_chunks_agree_with_the_reference(chunks: list[bytes]) -> None:
    assert stuffed(*chunks) == reference(b"".join(chunks))


@given(ALPHABET)
def test_round_trip(message: bytes) -> None:
    kept = received(stuffed(message))
    assert kept == (message if not message or message.endswith(b"\r\n") else message + b"\r\n")
