from __future__ import annotations

from email.utils import parsedate_to_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.protocols.message.header_text import (
    ascii_text,
    encoded_words,
    fold,
    format_date,
    host_text,
    shown_text,
    token_text,
)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "Thu, 01 Jan 1970 00:00:00 +0000"),
        (1795536000.999, "Tue, 24 Nov 2026 16:00:00 +0000"),
        (1709164800, "Thu, 29 Feb 2024 00:00:00 +0000"),
    ],
)
def test_dates(seconds: float, text: str) -> None:
    assert format_date(seconds) == text


@given(st.integers(0, 253402300799))
def test_every_date_is_read_back(seconds: int) -> None:
    assert parsedate_to_datetime(format_date(seconds)).timestamp() == seconds


@pytest.mark.parametrize(
    ("given_text", "text"),
    [
        ("mx1.b.example", "mx1.b.example"),
        ("[192.0.2.1]", "[192.0.2.1]"),
        ("[IPv6:2001:db8::1]", "[IPv6:2001:db8::1]"),
        ("", "unknown"),
        ("a b\r\nX: y", "a?b??X:?y"),
        ("b\u00fccher.example", "b?cher.example"),
        ("x" * 300, "x" * 255),
    ],
)
def test_hosts(given_text: str, text: str) -> None:
    assert host_text(given_text) == text


@pytest.mark.parametrize(
    ("given_text", "text"), [("TLSv1.3", "TLSv1.3"), ("", ""), ("a)(b\n", "a??b?"), ("x" * 99, "x" * 64)]
)
def test_tokens(given_text: str, text: str) -> None:
    assert token_text(given_text) == text


@pytest.mark.parametrize(
    ("given_text", "text"),
    [
        ("550 5.1.1 no", "550 5.1.1 no"),
        ("a\tb\r\nc", "a b  c"),
        ("\0\x1b[31m", "??[31m"),
        ("gr\u00fcn", "gr?n"),
        (" a ", "a"),
        ("123456789012", "1234567..."),
    ],
)
def test_ascii(given_text: str, text: str) -> None:
    assert ascii_text(given_text, 10 if given_text.startswith("1") else 100) == text


@pytest.mark.parametrize(
    ("given_text", "text"),
    [
        ("gr\u00fcn \u6587", "gr\u00fcn \u6587"),
        ("a\r\nb\tc", "a  b c"),
        ("a\u3000b\u00a0c", "a b c"),
        ("a\0\u202eb\ud800", "a\ufffd\ufffdb\ufffd"),
        ("a\u2028b", "a b"),
        ("", ""),
    ],
)
def test_shown(given_text: str, text: str) -> None:
    assert shown_text(given_text, 100) == text


def test_shown_is_cut() -> None:
    assert shown_text("\u00fc" * 20, 10) == "\u00fc" * 7 + "..."


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["To:", "a"], "To: a"),
        (["a" * 40, "b" * 37], "a" * 40 + " " + "b" * 37),
        (["a" * 40, "b" * 38, "c"], "a" * 40 + "\r\n " + "b" * 38 + " c"),
        (["To:", "x" * 901], "To:\r\n " + "x" * 900 + " x"),
        (["To:", "\u6587" * 226], "To:\r\n " + "\u6587" * 225 + "\r\n \u6587"),
        (["Subject:", "two", "", "spaces"], "Subject: two spaces"),
    ],
)
def test_fold(words: list[str], text: str) -> None:
    assert fold(words) == text.replace("x x", "x\r\n x")


@given(st.text(), st.integers(4, 40))
def test_no_text_gets_out_of_its_line(text: str, limit: int) -> None:
    assert len(shown_text(text, limit)) <= limit
    assert shown_text(text, limit).isprintable()
    assert len(ascii_text(text, limit)) <= limit
    for cleaned in (ascii_text(text, limit), host_text(text), token_text(text)):
        assert cleaned.isascii()
        assert cleaned.isprintable()


@given(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=1200),
        min_size=2,
        max_size=4,
    )
)
def test_no_folded_line_is_too_long(words: list[str]) -> None:
    folded = fold(["Name:", *words])
    assert all(len(line.encode()) <= 998 and line.strip() for line in folded.split("\r\n"))
    assert folded.replace("\r\n ", "").replace(" ", "") == "".join(["Name:", *words])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("plain", "plain"),
        ("", ""),
        ("grün", "=?utf-8?B?Z3LDvG4=?="),
        ("ü" * 12, "=?utf-8?B?w7zDvMO8w7zDvMO8w7zDvMO8w7zDvA==?= =?utf-8?B?w7w=?="),
    ],
)
def test_encoded_words(text: str, words: str) -> None:
    assert encoded_words(text) == words
    assert all(len(word) <= 75 for word in encoded_words("\U0001f600" * 100).split())
