from __future__ import annotations

import re

import pytest
from dkim.canonicalization import Relaxed, Simple
from hypothesis import given
from hypothesis import strategies as st

from gatepost.protocols.dkim.canonical import RelaxedBody, SimpleBody, relaxed_field

FIELDS = {
    b"A: X": b"a:X",
    b"B \t: Y\t\r\n\tZ  ": b"b:Y Z",  # RFC 6376 section 3.4.6
    b"Subject:": b"subject:",
    b"Subject: \r\n": b"subject:",
    b" X:a\x0bb\r c:d\r\n": b"x:a\x0bb\r c:d",
    b"To:\t a@b.example ,\r\n \t c@d.example": b"to:a@b.example , c@d.example",
}

# What the wire has, and what is hashed.
BODIES = {
    b" C \r\nD \t E\r\n\r\n\r\n": b" C\r\nD E\r\n",  # RFC 6376 section 3.4.6
    b"": b"",
    b"\r\n": b"",
    b"\r\n\r\n\r\n": b"",
    b" \t\r\n \r\n": b"",
    b" ": b"",
    b"x": b"x\r\n",
    b"x \t": b"x\r\n",
    b"x \t\r\n \r\n": b"x\r\n",
    b"\r\n\r\nx\r\n": b"\r\n\r\nx\r\n",
    b"a\r\n\r\n \r\nb\r\n": b"a\r\n\r\n\r\nb\r\n",
    b"\t a": b" a\r\n",
    b".\r\n..\r\n": b".\r\n..\r\n",
    b"gr\xfc\xdfe\r\n": b"gr\xfc\xdfe\r\n",
    # of a binary body: a CR or LF alone ends no line
    b"a\r": b"a\r\r\n",
    b"a \r": b"a \r\r\n",
    b"a \r b": b"a \r b\r\n",
    b"a\n\n\r\n": b"a\n\n\r\n",
    b"a\r\r\n\r\n": b"a\r\r\n",
    b"a\n\r\n\n": b"a\n\r\n\n\r\n",
    b"\n": b"\n\r\n",
    b"\0\r\n": b"\0\r\n",
}


def canonical(*chunks: bytes) -> bytes:
    found = bytearray()
    body = RelaxedBody(found.extend)
    for chunk in chunks:
        body.feed(chunk)
    body.finish()
    return bytes(found)


@pytest.mark.parametrize("field", FIELDS, ids=repr)
def test_fields(field: bytes) -> None:
    assert relaxed_field(field) == FIELDS[field]


@pytest.mark.parametrize("body", BODIES, ids=repr)
def test_bodies_however_they_are_cut(body: bytes) -> None:
    assert canonical(body) == BODIES[body]
    assert canonical(*(body[at : at + 1] for at in range(len(body)))) == BODIES[body]
    for at in range(len(body) + 1):
        assert canonical(body[:at], b"", body[at:]) == BODIES[body]


LINES = st.lists(st.text("a. \t", max_size=5).map(str.encode), max_size=8).map(b"\r\n".join)


@given(LINES, st.integers(1, 7))
def test_any_body_cut_anywhere_is_what_dkimpy_makes_of_it(body: bytes, size: int) -> None:
    wire = body if body.endswith(b"\r\n") else body + b"\r\n"
    expected = Relaxed.canonicalize_body(wire)
    assert canonical(*(body[at : at + size] for at in range(0, len(body), size))) == expected


@given(st.lists(st.sampled_from([b"a", b" ", b"\t", b"\r\n", b"\r", b"\n", b"\0"]), max_size=12), st.integers(1, 3))
def test_any_octets_are_what_the_rule_says(pieces: list[bytes], size: int) -> None:
    """The rule in two expressions, over the whole."""
    body = b"".join(pieces)
    lines = [re.sub(rb"[ \t]+", b" ", line).removesuffix(b" ") for line in body.split(b"\r\n")]
    while lines and not lines[-1]:
        lines.pop()
    expected = b"".join(line + b"\r\n" for line in lines)
    assert canonical(*(body[at : at + size] for at in range(0, len(body), size))) == expected


def test_very_many_empty_lines_are_passed_on_in_pieces() -> None:
    pieces: list[bytes] = []
    body = RelaxedBody(pieces.append)
    for _ in range(20):
        body.feed(b"\r\n" * 5000)
    assert pieces == []
    body.feed(b"x")
    body.finish()
    assert b"".join(pieces) == b"\r\n" * 100_000 + b"x\r\n"
    assert max(map(len, pieces)) < 10_000


# RFC 6376 sections 3.4.3 and 3.4.5: nothing is changed but what follows the last line.
SIMPLE_BODIES = {
    b" C \r\nD \t E\r\n\r\n\r\n": b" C \r\nD \t E\r\n",
    b"": b"\r\n",
    b"\r\n": b"\r\n",
    b"\r\n\r\n": b"\r\n",
    b"x": b"x\r\n",
    b"\r\n\r\nx\r\n": b"\r\n\r\nx\r\n",
    b"a\r\n \r\n": b"a\r\n \r\n",
    b"a\r": b"a\r\r\n",
    b"a\r\n\r": b"a\r\n\r\r\n",
    b"a\n\n\r\n": b"a\n\n\r\n",
    b"\0\r\n": b"\0\r\n",
}


def simple(*chunks: bytes) -> bytes:
    found = bytearray()
    body = SimpleBody(found.extend)
    for chunk in chunks:
        body.feed(chunk)
    body.finish()
    return bytes(found)


@pytest.mark.parametrize("body", SIMPLE_BODIES, ids=repr)
def test_simple_bodies_however_they_are_cut(body: bytes) -> None:
    assert simple(body) == SIMPLE_BODIES[body]
    assert simple(*(body[at : at + 1] for at in range(len(body)))) == SIMPLE_BODIES[body]
    for at in range(len(body) + 1):
        assert simple(body[:at], b"", body[at:]) == SIMPLE_BODIES[body]


def test_many_empty_lines_of_a_simple_body_are_kept_as_a_number() -> None:
    assert simple(b"a", b"\r\n" * 10_000, b"b") == b"a" + b"\r\n" * 10_000 + b"b\r\n"
    assert simple(b"a", b"\r\n" * 10_000) == b"a\r\n"


@given(st.lists(st.sampled_from([b" ", b"\r", b"\n", b"\r\n", b"x"])))
def test_simple_bodies_are_those_of_dkimpy(pieces: list[bytes]) -> None:
    body = b"".join(pieces)
    if not re.search(rb"\r(?!\n)|(?<!\r)\n", body):
        assert simple(*pieces) == Simple.canonicalize_body(body)
