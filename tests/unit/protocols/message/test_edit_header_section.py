from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.protocols.message.edit import HeaderSection

HEADER = b"Subject: x\r\n folded\r\n"
BODY = b"\r\nthe body\r\n\r\nSubject: no field\r\n"


def louder(section: bytes) -> bytes:
    return b"X-Seen: 1\r\n" + section.replace(b"x", b"yy")


def through(*chunks: bytes, change=louder, limit: int = 1000) -> bytes:
    section = HeaderSection(limit, change)
    return b"".join([*map(section.feed, chunks), section.finish()])


@pytest.mark.parametrize("section", [HEADER, b""])
def test_the_section_is_changed_and_the_body_is_not(section: bytes) -> None:
    message = section + BODY
    assert through(message) == louder(section) + BODY
    assert through(*[bytes([octet]) for octet in message]) == louder(section) + BODY


@pytest.mark.parametrize("message", [b"", b"Subject: x", b"Subject: x\r\n"])
def test_a_message_that_is_all_header(message: bytes) -> None:
    assert through(message) == louder(message)


@pytest.mark.parametrize("blank", [b" ", b"\t"])
def test_a_message_that_begins_with_a_blank_is_all_body(blank: bytes) -> None:
    """Its first line must not continue the field that is put before it."""
    message = blank + b"folded: x\r\nx\r\n\r\nmore\r\n"
    assert through(message) == louder(b"") + b"\r\n" + message
    assert through(*[bytes([octet]) for octet in message]) == louder(b"") + b"\r\n" + message
    assert through(message, change=lambda section: section) == b"\r\n" + message


def test_nothing_is_passed_on_before_the_section_is_whole_and_nothing_kept_after() -> None:
    section = HeaderSection(1000, louder)
    assert section.feed(HEADER) == b""
    assert section.held == len(HEADER)
    assert section.feed(b"\r\nbody") == louder(HEADER) + b"\r\nbody"
    assert section.held == 0
    assert section.feed(b" goes on") == b" goes on"
    assert section.finish() == b""


def test_a_chunk_of_which_nothing_changes_is_passed_on_itself() -> None:
    message = HEADER + BODY
    assert HeaderSection(1000, lambda section: section).feed(message) == message


def test_a_section_that_is_too_large_is_left_alone() -> None:
    message = b"X-Long: " + b"x" * 2000
    assert through(message[:500], message[500:1500], message[1500:]) == message
    assert through(message) == message


@given(st.binary(max_size=200), st.lists(st.integers(0, 200)))
def test_however_it_is_cut(message: bytes, cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(message)]
    chunks = [message[begin:end] for begin, end in pairwise(places)]
    assert through(*chunks) == through(message)
