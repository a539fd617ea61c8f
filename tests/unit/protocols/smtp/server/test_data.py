from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gatepost.protocols.smtp.limits import SmtpLimits
from gatepost.protocols.smtp.server.data import (
    FAULT_REPLIES,
    ChunkReader,
    ContentFault,
    ContentReader,
    DataReader,
    RefusedChunk,
    has_bare_line_end,
)

LIMITS = SmtpLimits()
# What lines, ends of lines, ends of data and false ones are made of.
NASTY = st.text(alphabet="\r\n.a\0", max_size=40).map(str.encode)
LINES = st.lists(st.text(alphabet="ab.", max_size=6).map(str.encode), max_size=8)
CUTS = st.lists(st.integers(min_value=0, max_value=60), max_size=8)


def run(reader: ContentReader, pieces: list[bytes]) -> tuple[bytes, bytes]:
    """What the reader passes, and what is left behind the end."""
    passed, waiting = b"", list(pieces)
    while waiting and not reader.finished:
        passed += reader.feed(waiting.pop(0))
    return passed, reader.rest + b"".join(waiting)


def outcome(reader: ContentReader, pieces: list[bytes]) -> tuple:
    passed, rest = run(reader, pieces)
    return (reader.fault, reader.finished, rest if reader.finished else None, passed if reader.fault is None else None)


@pytest.mark.parametrize(
    ("wire", "content", "rest"),
    [
        (b".\r\n", b"", b""),
        (b".\r\nQUIT\r\n", b"", b"QUIT\r\n"),
        (b"\r\n.\r\n", b"\r\n", b""),
        (b"a\r\n.\r\n", b"a\r\n", b""),
        (b"..\r\n.\r\n", b".\r\n", b""),
        (b".a\r\n.\r\n", b"a\r\n", b""),
        (b"a\r\n..b\r\n...\r\n.\r\n.\r\n", b"a\r\n.b\r\n..\r\n", b".\r\n"),
        (b"a\r\n\r\n\r\n.\r\nx", b"a\r\n\r\n\r\n", b"x"),
        ("ä.ö\r\n.\r\n".encode(), "ä.ö\r\n".encode(), b""),
        (b"\xff\xfe\r\n.\r\n", b"\xff\xfe\r\n", b""),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_data(wire, content, rest, size):
    reader = DataReader(LIMITS)
    assert run(reader, [wire[start : start + size] for start in range(0, len(wire), size)]) == (content, rest)
    assert (reader.fault, reader.finished, reader.last, reader.size) == (None, True, True, len(content))


FALSE_ENDS = [
    b"\n.\n",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r.\r",
    b"\r.\r\n",
    b"\r\n.\r",
    b"\r\r\n.\r\r\n",
    b"\n\n.\n\n",
    b"\r\n\0.\r\n",
    b"\r\n.\0\r\n",
    b"\r\n.\r\0\n",
    b"\r\0\n.\r\n",
    b"\n\r.\n\r",
    b"\r\n.\r\r\n",
]


@pytest.mark.parametrize("false_end", FALSE_ENDS, ids=repr)
@pytest.mark.parametrize("before", [b"", b"text", b"text\r\n"])
@pytest.mark.parametrize("behind", [b"", b"text", b"MAIL FROM:<evil@b.example>\r\n"])
def test_a_false_end_ends_nothing_and_spoils_everything(false_end, before, behind):
    wire = before + false_end + behind + b"\r\n.\r\n"
    for at in range(len(wire) + 1):
        reader = DataReader(LIMITS)
        _, rest = run(reader, [wire[:at], wire[at:], b"NOOP\r\n"])
        assert reader.fault in {ContentFault.BARE_LINE_END, ContentFault.NUL}
        assert (reader.finished, rest) == (True, b"NOOP\r\n")


@pytest.mark.parametrize("content", [b"\n", b"\r", b"a\nb", b"a\rb", b"\n\r", b"\r\r\n", b"\r\n\n", b"\r\n\r"])
def test_one_bare_line_end_is_enough(content):
    reader = DataReader(LIMITS)
    run(reader, [b"x" * 70000, b"x" + content + b"x\r\n.\r\n"])
    assert reader.fault is ContentFault.BARE_LINE_END


@given(NASTY, CUTS)
@example(b"\0\n", [1])
@example(b"a\r\0\n", [1, 2])
@example(b"x" * 30 + b"\n", [10])
def test_data_does_not_depend_on_how_it_arrives(cut, content, cuts):
    wire = content + b"\r\n.\r\nQUIT\r\n"
    limits = SmtpLimits(message_bytes=30, text_line=20)
    assert outcome(DataReader(limits), [wire]) == outcome(DataReader(limits), cut(wire, cuts))


@given(LINES, CUTS)
def test_data_gives_back_what_a_client_stuffed(cut, lines, cuts):
    content = b"".join(line + b"\r\n" for line in lines)
    stuffed = b"".join((b"." if line.startswith(b".") else b"") + line + b"\r\n" for line in lines)
    reader = DataReader(LIMITS)
    assert run(reader, cut(stuffed + b".\r\nnext", cuts)) == (content, b"next")
    assert reader.fault is None


@pytest.mark.parametrize(
    ("octets", "after_cr", "bare"),
    [
        (b"", False, False),
        (b"\r\n", False, False),
        (b"a\r\nb\r\n", False, False),
        (b"\r", False, False),
        (b"a\r\n\r", False, False),
        (b"\n", True, False),
        (b"\na\r\n", True, False),
        (b"", True, False),
        (b"\n", False, True),
        (b"a", True, True),
        (b"\r", True, True),
        (b"\r\r\n\n", False, True),
        (b"\n\r", False, True),
    ],
)
def test_bare_line_ends(octets, after_cr, bare):
    assert has_bare_line_end(octets, after_cr=after_cr) is bare


@given(NASTY)
def test_bare_line_ends_are_found_as_by_looking_at_each_octet(octets):
    octets = octets.rstrip(b"\r")
    naive = any(
        (octet == 10 and (at == 0 or octets[at - 1] != 13)) or (octet == 13 and octets[at + 1 : at + 2] != b"\n")
        for at, octet in enumerate(octets)
    )
    assert has_bare_line_end(octets) is naive


@pytest.mark.parametrize("length", [1, 2, 74, 76, 998])
@pytest.mark.parametrize("before", [b"", b"Subject: x\r\n\r\n", b"\r\n\r\n"])
@pytest.mark.parametrize("behind", [b"", b"x", b"\r\n", b"--x--\r\n"])
def test_a_bare_line_end_among_lines_of_one_length(before, length, behind):
    line = b"x" * length + b"\r\n"
    lines = line * (20_000 // len(line))
    content = before + lines + behind
    assert not has_bare_line_end(content)
    assert has_bare_line_end(content[1:]) is (before[:1] == b"\r")
    middle = len(before) + len(line) * (lines.count(b"\n") // 2)
    places = [*range(3), *range(middle - 2, middle + 3), *range(len(content) - 5, len(content) - 1)]
    for at in places:
        for octet in b"\r\nx":
            changed = content[:at] + bytes([octet]) + content[at + 1 :]
            assert has_bare_line_end(changed) is _is_bare(changed), (at, octet)


def _is_bare(content: bytes) -> bool:
    return bool({10, 13} & set(content.removesuffix(b"\r").replace(b"\r\n", b"")))


@pytest.mark.parametrize(("content", "fault"), [(b"x" * 98, None), (b"x" * 99, ContentFault.TOO_BIG)])
def test_size_counts_what_is_stored(content, fault):
    reader = DataReader(SmtpLimits(message_bytes=100))
    _, rest = run(reader, [content, b"\r\n.\r\n"])
    assert (reader.fault, reader.finished, rest) == (fault, True, b"")


def test_stuffing_does_not_count():
    reader = DataReader(SmtpLimits(message_bytes=9))
    assert run(reader, [b"..\r\n..\r\n..\r\n.\r\n"]) == (b".\r\n.\r\n.\r\n", b"")


def test_too_big_a_message_is_read_to_its_end_in_little_memory():
    reader = DataReader(SmtpLimits(message_bytes=1000))
    piece = b"x" * 65536
    tracemalloc.start()
    for _ in range(160):
        reader.feed(piece)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * len(piece)
    assert reader.feed(b"\r\n.\r\n") == b""
    assert (reader.fault, reader.finished) == (ContentFault.TOO_BIG, True)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"12345678\r\n", None),
        (b"123456789\r\n", ContentFault.LINE_TOO_LONG),
        (b"a\r\n" * 20, None),
        (b"12345678\r\n" * 20, None),
        (b"a\r\n" * 20 + b"123456789\r\n", ContentFault.LINE_TOO_LONG),
        (b"x" * 100 + b"\r\n", ContentFault.LINE_TOO_LONG),
    ],
)
@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_lines_may_be_limited(content, fault, size):
    wire = content + b".\r\n"
    reader = DataReader(SmtpLimits(text_line=10))
    run(reader, [wire[start : start + size] for start in range(0, len(wire), size)])
    assert reader.fault is fault


@given(st.lists(st.integers(min_value=0, max_value=14), max_size=6), st.lists(st.integers(0, 90), max_size=8))
def test_the_longest_line_decides_however_it_arrives(cut, lengths, cuts):
    wire = b"".join(b"x" * length + b"\r\n" for length in lengths) + b".\r\n"
    reader = DataReader(SmtpLimits(text_line=10))
    run(reader, cut(wire, cuts))
    assert (reader.fault is ContentFault.LINE_TOO_LONG) is (max(lengths, default=0) + 2 > 10)


def chunks(reader: ChunkReader, *contents: bytes, size: int = 1000) -> bytes:
    """All contents as chunks, the last marked so."""
    passed = b""
    for number, content in enumerate(contents, 1):
        reader.begin(len(content), last=number == len(contents))
        pieces = [content[start : start + size] for start in range(0, len(content), size)] or [b""]
        more, rest = run(reader, pieces)
        passed += more
        assert (reader.finished, rest) == (True, b"")
    return passed


@pytest.mark.parametrize("size", [1, 2, 1000])
@pytest.mark.parametrize(
    "contents",
    [
        (b"",),
        (b"a",),
        (b"a\r\n", b""),
        (b"a\r", b"\nb"),
        (b"a\r", b"", b"\n"),
        (b".\r\n", b"\r\n.\r\n", b"\r\n.", b"\r\n"),
        (b"\xff",),
    ],
)
def test_chunks_are_passed_as_they_are(contents, size):
    reader = ChunkReader(LIMITS)
    assert chunks(reader, *contents, size=size) == b"".join(contents)
    assert (reader.fault, reader.last, reader.size) == (None, True, len(b"".join(contents)))


@pytest.mark.parametrize("size", [1, 2, 1000])
@pytest.mark.parametrize(
    ("contents", "fault"),
    [
        ((b"a\nb",), ContentFault.BARE_LINE_END),
        ((b"a\rb",), ContentFault.BARE_LINE_END),
        ((b"a\r",), ContentFault.BARE_LINE_END),
        ((b"a\r", b""), ContentFault.BARE_LINE_END),
        ((b"a\r", b"b"), ContentFault.BARE_LINE_END),
        ((b"a\r", b"\r\n"), ContentFault.BARE_LINE_END),
        ((b"a", b"\n"), ContentFault.BARE_LINE_END),
        ((b"a\0",), ContentFault.NUL),
    ],
)
def test_text_in_chunks_is_judged_as_in_data(contents, fault, size):
    reader = ChunkReader(LIMITS)
    chunks(reader, *contents, size=size)
    assert reader.fault is fault


def test_binary_chunks_hold_any_octet():
    reader = ChunkReader(SmtpLimits(text_line=3), binary=True)
    everything = bytes(range(256)) + b"\n.\n\r"
    assert chunks(reader, everything, everything) == everything * 2
    assert reader.fault is None


def test_the_size_of_a_chunk_is_judged_before_its_octets():
    reader = ChunkReader(SmtpLimits(message_bytes=10))
    chunks(reader, b"12345")
    reader.begin(6, last=True)
    assert (reader.fault, reader.finished) == (ContentFault.TOO_BIG, False)
    assert run(reader, [b"123", b"456QUIT"]) == (b"", b"QUIT")


def test_many_tiny_chunks_are_too_many_and_the_first_fault_stays():
    reader = ChunkReader(SmtpLimits(bdat_chunks=3, message_bytes=10))
    chunks(reader, b"a", b"b", b"c")
    assert reader.fault is None
    assert chunks(reader, b"d", b"x" * 100) == b""
    assert reader.fault is ContentFault.TOO_MANY_CHUNKS


@given(NASTY, CUTS, CUTS)
def test_chunks_do_not_depend_on_where_they_are_cut(cut, content, cuts, borders):
    def judged(pieces):
        reader = ChunkReader(LIMITS)
        passed = b""
        for number, piece in enumerate(pieces, 1):
            reader.begin(len(piece), last=number == len(pieces))
            for part in cut(piece, cuts) or [b""]:
                passed += reader.feed(part)
        return reader.fault is None, passed if reader.fault is None else None

    assert judged([content]) == judged(cut(content, borders) or [content])


@pytest.mark.parametrize("octets", [0, 5])
def test_a_refused_chunk_is_read_over(octets):
    reader = RefusedChunk(octets)
    assert run(reader, [b"12", b"345NOOP"][: None if octets else 0] or [b"NOOP"]) == (b"", b"NOOP")
    assert (reader.finished, reader.fault, reader.size) == (True, None, 0)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"a\0b\nc", ContentFault.NUL),
        (b"a\nb\0c", ContentFault.BARE_LINE_END),
        (b"a" * 99 + b"\n", ContentFault.LINE_TOO_LONG),
        (b"ab\r\n" * 90 + b"\n", ContentFault.TOO_BIG),
        (b"ab\r\n" * 60 + b"\n" + b"a" * 99, ContentFault.BARE_LINE_END),
    ],
)
def test_the_first_fault_is_the_one_that_is_named(content, fault):
    limits = SmtpLimits(message_bytes=300, text_line=20)
    for size in (1, 7, 1000):
        reader = DataReader(limits)
        run(reader, [content[start : start + size] for start in range(0, len(content), size)] + [b"\r\n.\r\n"])
        assert reader.fault is fault


def test_each_fault_has_its_reply():
    assert set(FAULT_REPLIES) == set(ContentFault)
    for reply in FAULT_REPLIES.values():
        assert reply.permanent
        assert reply.enhanced[0] == "5"


def test_a_chunk_that_begins_with_lf_begins_a_line():
    reader = ChunkReader(SmtpLimits(text_line=10))
    reader.begin(20, last=True)
    assert [reader.feed(piece) for piece in (b"12345678\r", b"\n12345", b"678\r\n")] == [
        b"12345678\r",
        b"\n12345",
        b"678\r\n",
    ]
    assert reader.fault is None
