from __future__ import annotations

import re
import time
from email import message_from_bytes
from email.header import decode_header, make_header

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.protocols.message.edit import KEPT_FIELDS, EditError, HeaderEdits, edit_header

HEAD = (
    b"Received: from a\r\n\tby b\r\nX-A: 1\r\nSubject: old\r\n folded\r\nX-A : 2\r\nX-B: 3\r\nx-a: 4\r\n"
    b"\r\nbody\r\n\r\nX-A: in the body\r\n"
)


def edited(**edits: object) -> bytes:
    return edit_header(HEAD, HeaderEdits(**edits))  # type: ignore[arg-type]


def test_nothing_changes_nothing() -> None:
    assert not HeaderEdits()
    assert edit_header(HEAD, HeaderEdits()) == HEAD


def test_fields_are_put_before_everything_in_their_order() -> None:
    assert edited(add=(("X-First", "1"), ("X-Second", "2\n\tfolded"))) == (
        b"X-First: 1\r\nX-Second: 2\r\n\tfolded\r\n" + HEAD
    )


@pytest.mark.parametrize(
    ("which", "left"),
    [(0, []), (1, [b"2", b"4"]), (2, [b"1", b"4"]), (-1, [b"1", b"2"]), (-3, [b"2", b"4"]), (9, [b"1", b"2", b"4"])],
)
def test_fields_are_taken_out_by_their_place_whatever_their_case(which: int, left: list[bytes]) -> None:
    after = edited(remove=(("X-a", which),))
    assert re.findall(rb"(?im)^x-a ?: (\d)", after) == left
    assert after.endswith(b"\r\n\r\nbody\r\n\r\nX-A: in the body\r\n")


def test_places_are_those_of_the_section_as_it_was() -> None:
    assert b"X-A" not in edited(remove=(("X-A", 1), ("X-A", 2), ("X-A", 3))).partition(b"\r\n\r\n")[0]


def test_what_loops_are_known_by_stays() -> None:
    assert edited(remove=(("Received", 0), ("RECEIVED", 1))) == HEAD
    assert "delivered-to" in KEPT_FIELDS


def test_the_subject_is_another_at_its_place() -> None:
    assert edited(subject="*** SPAM *** old") == HEAD.replace(b"old\r\n folded", b"*** SPAM *** old")


def test_there_is_one_subject_afterwards_if_there_were_two_or_none() -> None:
    assert edit_header(b"Subject: a\r\nSubject: b\r\n\r\n", HeaderEdits(subject="c")) == b"Subject: c\r\n\r\n"
    assert edit_header(b"X: a\r\n\r\n", HeaderEdits(subject="c")) == b"X: a\r\nSubject: c\r\n\r\n"


@pytest.mark.parametrize(
    ("head", "after"),
    [
        (b"\r\nbody\r\n", b"X: y\r\n\r\nbody\r\n"),
        (b"A: b\r\n", b"X: y\r\nA: b\r\n"),
        (b"A: b", b"X: y\r\nA: b\r\n"),
        (b"", b"X: y\r\n"),
    ],
    ids=["no header", "nothing but header", "an unfinished line", "nothing"],
)
def test_messages_that_are_hardly_any(head: bytes, after: bytes) -> None:
    assert edit_header(head, HeaderEdits(add=(("X", "y"),))) == after


def test_text_beyond_ascii_becomes_encoded_words() -> None:
    text = "Grüße aus München, " * 10
    after = edited(add=(("X-Text", text),), subject="Grüße")
    parsed = message_from_bytes(after)
    assert str(make_header(decode_header(parsed["X-Text"]))) == text.strip()
    assert str(make_header(decode_header(parsed["Subject"]))) == "Grüße"
    assert after.partition(b"\r\n\r\n")[0].isascii()
    assert all(len(line) <= 76 for line in after.split(b"\r\n"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("", "x"),
        ("X Y", "x"),
        ("X:", "x"),
        ("Xü", "x"),
        ("X" * 77, "x"),
        ("Received", "x"),
        ("return-path", "x"),
        ("X", "a\r\nBcc: b"),
        ("X", "a\nb"),
        ("X", "a\r\n\r\nbody"),
        ("X", "a\n \nb"),
        ("X", "a\rb"),
        ("X", "a\x00b"),
        ("X", "a\x7fb"),
        ("X", "a" * 1000),
    ],
)
def test_what_is_no_field_is_not_written(name: str, value: str) -> None:
    edits = HeaderEdits(add=((name, value),))
    with pytest.raises(EditError):
        edits.checked()
    with pytest.raises(EditError):
        edit_header(HEAD, edits)


def test_a_subject_of_two_lines_is_refused_beforehand() -> None:
    with pytest.raises(EditError):
        HeaderEdits(subject="a\nb").checked()
    checked = HeaderEdits(subject="a", add=(("X", ""),))
    assert checked.checked() is checked
    assert HeaderEdits().checked() == HeaderEdits()


@given(st.text(max_size=200))
def test_whatever_the_value_one_field_comes_of_it_or_none(value: str) -> None:
    try:
        after = edit_header(b"Last: 1\r\n\r\nbody", HeaderEdits(add=(("X-Value", value),)))
    except EditError:
        return
    head, _, body = after.partition(b"\r\n\r\n")
    assert body == b"body"
    names = [line.partition(b":")[0] for line in head.split(b"\r\n") if line[:1] not in {b" ", b"\t"}]
    assert names == [b"X-Value", b"Last"]


@pytest.mark.parametrize("line", [b" \r\n", b"a\r\n"], ids=["folded", "short"])
def test_a_header_section_of_many_lines_is_edited_in_linear_time(line: bytes) -> None:
    remove = tuple((f"X-{number}", 1) for number in range(50))

    def seconds(octets: int) -> float:
        head = b"A: b\r\n" + line * (octets // len(line)) + b"\r\nbody"
        begun = time.thread_time()
        after = edit_header(head, HeaderEdits(add=(("X-A", "1"),), remove=remove))
        took = time.thread_time() - begun
        assert after == b"X-A: 1\r\n" + head
        return took

    # Eight times as much takes 64 times as long by the square. Of several the least: others take the caches meanwhile.
    assert min(seconds(1 << 20) for _ in range(3)) < 24 * min(seconds(1 << 17) for _ in range(5))
