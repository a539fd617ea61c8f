from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.protocols.smtp.server.input import BadLine, Input, LineFault

LIMIT = 16  # with its CRLF, so 14 octets of text


def lines_of(pieces: list[bytes], *, limit: int = LIMIT, discard: int = 10**9) -> list:
    """Every line, or the fault and beginning of what is none."""
    source, seen = Input(limit, discard), []
    for piece in pieces:
        source.add(piece)
        while (line := source.take_line()) is not None:
            seen.append((line.fault, line.start) if isinstance(line, BadLine) else line)
            if isinstance(line, BadLine) and line.fault is LineFault.ENDLESS:
                return seen
    return seen


BARE, LONG, ENDLESS = LineFault.BARE_LINE_END, LineFault.TOO_LONG, LineFault.ENDLESS


@pytest.mark.parametrize(
    ("wire", "lines"),
    [
        (b"", []),
        (b"NOOP", []),
        (b"NOOP\r", []),
        (b"NOOP\r\nQUIT\r\n", [b"NOOP", b"QUIT"]),
        (b"\r\n\r\n", [b"", b""]),
        (b"x" * 14 + b"\r\nB\r\n", [b"x" * 14, b"B"]),
        (b"x" * 15 + b"\r\nB\r\n", [(LONG, b"x" * 15), b"B"]),
        (b"x" * 90 + b"\r\nB\r\n", [(LONG, None), b"B"]),
        (b"x" * 14 + b"\r", []),
        (b"x" * 15 + b"\r", [(LONG, b"x" * 15)]),
        (b"NOOP\n", [(BARE, b"NOOP")]),
        (b"NOOP\nQUIT\r\nB\r\n", [(BARE, b"NOOP"), b"B"]),
        (b"NOOP\rQUIT\r\nB\r\n", [(BARE, b"NOOP"), b"B"]),
        (b"NOOP\r\r\nB\r\n", [(BARE, b"NOOP"), b"B"]),
        (b"\n\r\nB\r\n", [(BARE, b""), b"B"]),
        (b"a\nb\nc\nd\r\nB\r\n", [(BARE, b"a"), b"B"]),
        (b"a\n" + b"x" * 90 + b"\r\nB\r\n", [(BARE, b"a"), b"B"]),
        (b"x" * 14 + b"\n\r\nB\r\n", [(BARE, b"x" * 14), b"B"]),
        (b"x" * 15 + b"\n\r\nB\r\n", [(LONG, None), b"B"]),
        (b"a\r\nx\n\r", [b"a", (BARE, b"x")]),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_lines(wire, lines, size):
    seen = lines_of([wire[start : start + size] for start in range(0, len(wire), size)])
    assert [line[0] if isinstance(line, tuple) else line for line in seen] == [
        line[0] if isinstance(line, tuple) else line for line in lines
    ]
    for one, other in zip(seen, lines, strict=True):
        assert other[1:] in {one[1:], (None,)} or one == other


@given(st.text(alphabet="\r\nx", max_size=60).map(str.encode), st.lists(st.integers(0, 60), max_size=8))
def test_lines_do_not_depend_on_how_they_arrive(cut, wire, cuts):
    def verdicts(pieces):
        return [line[0] if isinstance(line, tuple) and line[0] is LONG else line for line in lines_of(pieces)]

    assert verdicts([wire]) == verdicts(cut(wire, cuts))


def test_the_beginning_of_a_bad_line_is_cut():
    assert lines_of([b"y" * 200 + b"\n\r\n"], limit=512) == [(BARE, b"y" * 80)]
    assert lines_of([b"y" * 900 + b"\r\n"], limit=512) == [(LONG, b"y" * 80)]


@pytest.mark.parametrize("bad", [b"\n", b"x" * 20])
def test_endless_lines_have_an_end(bad):
    piece = b"x" * 1000
    assert lines_of([bad] + [piece] * 9, discard=10_000)[1:] == []
    assert lines_of([bad] + [piece] * 11, discard=10_000)[1:] == [(ENDLESS, b"")]
    assert lines_of([bad + piece * 11 + b"\r\nNOOP\r\n"], discard=10_000)[1:] == [(ENDLESS, b"")]


def test_an_endless_line_takes_little_memory():
    source, piece, found = Input(4096, 10**9), b"x" * 65536, []
    tracemalloc.start()
    for _ in range(160):
        source.add(piece)
        while (line := source.take_line()) is not None:
            found.append(line)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * len(piece)
    assert len(source) == 0
    assert len(found) == 1
    assert source.discarded == 160 * len(piece)


def test_a_cr_that_may_be_half_a_line_end_is_kept():
    source = Input(LIMIT, 1000)
    source.add(b"a\n\r")
    assert isinstance(source.take_line(), BadLine)
    assert source.take_line() is None
    assert len(source) == 1
    source.add(b"\nNOOP\r\n")
    assert source.take_line() == b"NOOP"


def test_full_and_exhausted():
    source = Input(LIMIT, 10)
    source.add(b"x" * 65535)
    assert not source.full
    source.add(b"x")
    assert source.full
    assert not source.exhausted
    source.discarded = 11
    assert source.exhausted


def test_taking_all_and_putting_back():
    source = Input(LIMIT, 10)
    source.add(b"NOOP\r\ncontent")
    assert source.take_line() == b"NOOP"
    assert source.take_all() == b"content"
    assert (len(source), source.take_line()) == (0, None)
    source.put_back(b"tent\r\n")
    source.add(b"more")
    assert source.take_line() == b"tent"
    assert source.take_all() == b"more"


def test_nothing_is_kept_of_what_was_taken():
    source = Input(LIMIT, 1000)
    source.add(b"NOOP\r\nQUIT\r\n")
    assert source.take_line() == b"NOOP"
    assert source.buffer
    assert source.take_line() == b"QUIT"
    assert source.buffer == b""
    source.add(b"bare\nEND\r\n")
    assert isinstance(source.take_line(), BadLine)
    assert source.buffer
    assert source.take_line() is None
    assert (source.buffer, source.discarded) == (b"", 8)
