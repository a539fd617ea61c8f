from __future__ import annotations

import base64
import encodings
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.protocols.message.fields import HeaderFacts, HeaderScanner, decode_words, field_values, unfolded

EMPTY = HeaderFacts("", "", 0, (), tls_required_no=False, bytes=0)


def scanned(*chunks: bytes, limit: int = 4096) -> HeaderScanner:
    scanner = HeaderScanner(limit)
    for chunk in chunks:
        scanner.feed(chunk)
    scanner.finish()
    return scanner


def facts(header: str | bytes) -> HeaderFacts:
    section = header.encode() if isinstance(header, str) else header
    return scanned(section.replace(b"\n", b"\r\n") + b"\r\nSubject: in the body\r\n", limit=100000).facts


MESSAGE = (
    b"Received: from a by b; date\r\nreceived: from c\r\n\tby d; date\r\nReceived-SPF: pass\r\n"
    b"Message-ID:\r\n <1@a.example>\r\nSubject: Hello\r\n  world\r\nDelivered-To: b@b.example\r\n"
    b"Delivered-To: c@b.example\r\nTLS-Required: No\r\n\r\nReceived: in the body\r\n"
)
MESSAGE_FACTS = HeaderFacts(
    message_id="<1@a.example>",
    subject="Hello  world",
    received_count=2,
    delivered_to=("b@b.example", "c@b.example"),
    tls_required_no=True,
    bytes=MESSAGE.index(b"\r\n\r\n") + 2,
)


def test_the_facts_of_a_message() -> None:
    assert scanned(MESSAGE).facts == MESSAGE_FACTS


@pytest.mark.parametrize("size", range(1, 20))
def test_chunks_of_any_size_give_the_same(size: int) -> None:
    chunks = [MESSAGE[at : at + size] for at in range(0, len(MESSAGE), size)]
    assert scanned(*chunks).facts == MESSAGE_FACTS


@given(
    st.lists(st.sampled_from([b"\r\n", b"\r", b"\n", b"Subject: x", b"Received:", b" ", b"a"]), max_size=12).map(
        b"".join
    ),
    st.lists(st.integers(0, 60), max_size=6),
    st.integers(0, 30),
)
def test_any_split_and_any_limit_gives_the_same(message: bytes, cuts: list[int], limit: int) -> None:
    edges = sorted({0, len(message), *(cut for cut in cuts if cut < len(message))})
    whole, parts = (
        scanned(message, limit=limit),
        scanned(*(message[a:b] for a, b in itertools.pairwise(edges)), limit=limit),
    )
    assert (whole.too_large, whole.facts) == (parts.too_large, parts.facts)
    section = (b"\r\n" + message).partition(b"\r\n\r\n")[0][2:]
    size = 0 if message.startswith(b"\r\n") else len(section) + 2 if b"\r\n\r\n" in message else len(message)
    assert whole.too_large is (size > limit)
    assert whole.facts.bytes == (0 if whole.too_large else size)


@pytest.mark.parametrize("message", [b"", b"\r\n", b"\r\nSubject: in the body\r\n\r\n"])
def test_no_header_section(message: bytes) -> None:
    assert scanned(message).facts == EMPTY


def test_a_message_without_a_body() -> None:
    assert scanned(b"Subject: x\r\n").facts.subject == "x"
    assert scanned(b"Subject: x").facts.subject == "x"


def test_done_comes_with_the_empty_line_and_the_rest_is_ignored() -> None:
    scanner = HeaderScanner(100)
    scanner.feed(b"Subject: a\r\n\r")
    assert not scanner.done
    with pytest.raises(RuntimeError, match="not complete"):
        _ = scanner.facts
    scanner.feed(b"\n")
    assert scanner.done
    scanner.feed(b"Subject: b\r\n\r\n" * 1000)
    assert scanner.facts is scanner.facts
    assert scanner.facts.subject == "a"


@pytest.mark.parametrize(("size", "too_large"), [(100, False), (101, True)])
def test_the_limit(size: int, too_large: bool) -> None:
    section = b"Subject: " + b"x" * (size - 11) + b"\r\n"
    for tail in (b"", b"\r\n", b"\r\nbody" * 1000):
        message = section + tail
        for scanner in (scanned(message, limit=100), scanned(*(bytes([octet]) for octet in message), limit=100)):
            assert scanner.too_large is too_large
            assert scanner.facts.bytes == (0 if too_large else size)


def test_an_endless_header_is_not_kept() -> None:
    scanner = HeaderScanner(1000)
    while not scanner.done:
        scanner.feed(b"x" * 10)
    assert scanner.too_large
    assert scanner.facts == EMPTY


# name: (header section, the subject)
SUBJECTS: dict[str, tuple[str | bytes, str]] = {
    "none": ("To: a\n", ""),
    "empty": ("Subject:\n", ""),
    "any case": ("SUBJECT: a\n", "a"),
    "the first of two": ("Subject: a\nSubject: b\n", "a"),
    "at the very end": ("To: a\nSubject: b\n c\n", "b c"),
    "not one that only begins so": ("Subject-X: a\nX-Subject: b\n", ""),
    "not one in another field": ("To: x\n Subject: a\n", ""),
    "raw UTF-8": ("Subject: gr\u00fcn\n", "gr\u00fcn"),
    "raw Latin-1": (b"Subject: gr\xfcn\n", "gr\ufffdn"),
    "controls": (b"Subject: a\0b\x1b[1m\tc\rd\n", "a\ufffdb\ufffd[1m c d"),
    "an encoded word": ("Subject: =?utf-8?Q?gr=C3=BCn?=\n", "gr\u00fcn"),
    "encoded controls": ("Subject: =?utf-8?Q?a=0D=0AX:_b=00?=\n", "a  X: b\ufffd"),
    "too long": ("Subject: " + "x" * 300 + "\n", "x" * 253 + "..."),
    "encoded words beyond what is kept": ("Subject:" + " =?utf-8?B?eHg=?=" * 400 + "\n", "xx" * 120),
}


@pytest.mark.parametrize("name", SUBJECTS)
def test_subjects(name: str) -> None:
    header, subject = SUBJECTS[name]
    assert facts(header).subject[: len(subject)] == subject
    assert len(facts(header).subject) <= 256


@pytest.mark.parametrize(
    ("text", "decoded"),
    [
        ("plain", "plain"),
        ("=?utf-8?b?Z3LDvG4=?=", "gr\u00fcn"),
        ("=?utf-8?B?Z3LDvG4?=", "gr\u00fcn"),
        ("=?iso-8859-1*de?Q?gr=FCn_und_rot?=", "gr\u00fcn und rot"),
        ("a =?utf-8?Q?b?= c", "a b c"),
        ("=?utf-8?Q?a?= =?utf-8?Q?b?=", "ab"),
        ("=?utf-8?Q?a?==?utf-8?Q?b?=", "ab"),
        ("=?utf-8?Q?a?= x =?utf-8?Q?b?=", "a x b"),
        ("=?utf-8?Q?a?= =?iso-8859-1?Q?=FC?=", "a\u00fc"),
        ("=?utf-8?Q?=C3?= =?utf-8?Q?=BC?=", "\u00fc"),
        ("=?utf-8?B?!!!?=", ""),
        ("=?utf-8?B?YQ?=", "a"),
        ("=?utf-8?B?Y?=", "Y"),
        ("=?x-unknown?Q?a=FC?=", "a\ufffd"),
        ("=?unicode_escape?Q?=5Cud800=5Cq?=", "\\ud800\\q"),
        ("=?idna?Q?xn--bcher-kva?=", "xn--bcher-kva"),
        ("=?hex?Q?6161?=", "6161"),
        ("=?utf-8\0?Q?a?=", "a"),
        ("=?utf-8?X?a?=", "=?utf-8?X?a?="),
        ("=?utf-8?Q?a b?=", "=?utf-8?Q?a b?="),
        ("=??Q?a?=", "=??Q?a?="),
    ],
)
def test_encoded_words(text: str, decoded: str) -> None:
    assert decode_words(text) == decoded


@pytest.mark.parametrize("charset", ["us-ascii", "ISO-8859-15", "Windows-1252", "koi8-u", "gb18030", "cp874", "l1"])
def test_charsets_of_mail_are_known(charset: str) -> None:
    letter = "\u20ac" if charset in {"ISO-8859-15", "Windows-1252", "cp874"} else "x"
    written = base64.b64encode(letter.encode(charset)).decode()
    assert decode_words(f"=?{charset}?b?{written}?=") == letter


def test_unknown_charsets_leave_nothing_behind() -> None:
    before = set(encodings._cache)
    words = "".join(f"=?x-unknown-{number}?q?a?=" for number in range(50))
    assert decode_words(words) == "a" * 50
    assert set(encodings._cache) <= before | {"utf_8"}


@given(
    st.text(max_size=80) | st.from_regex(r"(=\?[a-z0-9-]{1,12}\?[bq]\?[A-Za-z0-9=_+/]{0,12}\?= ?){1,4}", fullmatch=True)
)
def test_decoding_never_raises(text: str) -> None:
    assert isinstance(decode_words(text), str)


def test_decoding_hostile_text_is_quick() -> None:
    for text in ("=?" * 1000, "=?a?q?" * 300, "=?a?q?" + "x" * 2000, "=?utf-8?q??= " * 150):
        decode_words(text)  # the test's own time limit is the assertion: all of it is linear in 2048 octets


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("No", True),
        ("no", True),
        ("  NO  ", True),
        ("\n\tNo", True),
        ("(please) No (I mean it)", True),
        ("Yes", False),
        ("", False),
        ("No thanks", False),
        ("No, No", False),
        ("(No)", False),
        ("No (", False),
        ("No" + " ()" * 400, False),
    ],
)
def test_tls_required(value: str, expected: bool) -> None:
    assert facts(f"TLS-Required: {value}\n").tls_required_no is expected


@pytest.mark.parametrize("values", [("No", "No"), ("Yes", "No"), ("No", "Yes"), ("No", "")])
def test_tls_required_must_not_stand_twice(values: tuple[str, ...]) -> None:
    assert not facts("".join(f"TLS-Required: {value}\n" for value in values)).tls_required_no


@pytest.mark.parametrize("blank", [" ", "\t", "  "])
def test_tls_required_in_obsolete_syntax_gives_nothing_up(blank: str) -> None:
    obsolete = f"TLS-Required{blank}: Yes\n"
    assert not facts(f"TLS-Required: No\n{obsolete}").tls_required_no
    assert not facts(f"{obsolete}TLS-Required: No\n").tls_required_no
    assert not facts(f"TLS-Required{blank}: No\n").tls_required_no
    assert facts("TLS-Required: No\nX-TLS-Required : Yes\nTLS-Required-By: a\n").tls_required_no


def test_a_field_counts_wherever_it_stands() -> None:
    assert facts("Subject: a\nX: b\nTLS-Required: No\nTo: c\n").tls_required_no


def test_delivered_to_is_bounded() -> None:
    found = scanned(b"Delivered-To: x@b.example\r\n" * 500 + b"\r\n", limit=100000).facts.delivered_to
    assert found == ("x@b.example",) * 100


def test_long_values_are_cut() -> None:
    found = facts("Message-ID: <" + "x" * 2000 + ">\nDelivered-To: " + "y" * 2000 + "\n")
    assert len(found.message_id) == 998
    assert len(found.delivered_to[0]) == 512


@pytest.mark.parametrize(
    ("section", "values"),
    [
        (b"", None),
        (b"Subject: x\r\n", None),
        (b"X-Label:\r\n", ("",)),
        (b"x-LABEL: one\r\n two\r\nX-Label: three\r\n", ("one two", "three")),
        (b"X-Label: =?utf-8?q?caf=C3=A9?= =?utf-8?b?IGF1?=\r\n", ("café au",)),
        (b"X-Label: caf\xe9\r\n", ("caf\ufffd",)),
        (b"X-Labels: x\r\nXX-Label: x\r\n X-Label: folded\r\n", None),
        (b"X-Label: " + b"x" * 100_000 + b"y\r\n", ("x" * 100_000 + "y",)),
        (b"X-Label: x\r\n" * 2000 + b"X-Label: y\r\n", ("x",) * 2000 + ("y",)),
    ],
)
def test_values_of_fields_that_a_rule_asks_for(section: bytes, values: tuple[str, ...] | None) -> None:
    assert field_values(section, ["x-label"]) == ({} if values is None else {"x-label": values})


def test_a_field_of_many_encoded_words_is_read_in_linear_time() -> None:
    """A quarter of a megabyte is what a header section has by default; adding up bytes it would take seconds."""
    words = b"=?utf-8?q?x?= " * 140_000
    assert field_values(b"A: " + words, ["a"]) == {"a": ("x" * 140_000,)}


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_section_as_lines_of_one_field_each(end):
    section = end.join(["A: 1", "B: 2", "  3\u2028", "\t4", "C:", "", " ", "D: 5", ""])
    assert unfolded(section) == ["A: 1", "B: 2  3\u2028\t4", "C:", "D: 5"]
    assert unfolded("") == []
