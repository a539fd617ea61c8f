from __future__ import annotations

import pytest

from gatepost.events.evidence.audit import FaultKind, Faults
from gatepost.events.evidence.chain import Place, parse_line
from gatepost.events.evidence.heads import HeadBook, head_body, pruned_body

END = Place(9, "ab" * 32)


@pytest.fixture
def book(log, signer) -> HeadBook:
    """Two days: two writers on the first, one on the second."""
    made = log()
    made.sign(head_body(made.place, 0.0, node="mx1", day="2026-11-18", writers={"0": END, "1": Place(4, "cd" * 32)}))
    made.sign(head_body(made.place, 0.0, node="mx1", day="2026-11-19", writers={"0": Place(20, "ef" * 32)}))
    found = HeadBook()
    for line in made.lines:
        found.take(parse_line(line))
    return found


def test_heads_say_where_each_writer_stood(book):
    assert book.days["2026-11-18"].writers == {"0": END, "1": Place(4, "cd" * 32)}
    assert len({one.hash for one in book.days.values()}) == 2


@pytest.mark.parametrize(
    ("writer", "day", "place"),
    [
        ("0", "2026-11-18", None),
        ("0", "2026-11-19", END),
        ("0", "2026-12-01", Place(20, "ef" * 32)),
        ("1", "2026-12-01", Place(4, "cd" * 32)),
        ("2", "2026-12-01", None),
    ],
)
def test_where_a_writer_stood_before_a_day(book, writer, day, place):
    assert book.before_day(writer, day) == place


@pytest.mark.parametrize(
    ("day", "writer", "end", "kind", "agrees"),
    [
        ("2026-11-18", "0", END, None, True),
        ("2026-11-20", "0", Place(30, "00" * 32), None, False),
        ("2026-11-18", "0", Place(8, "ab" * 32), FaultKind.TRUNCATED, False),
        ("2026-11-18", "0", Place(10, "ab" * 32), FaultKind.INSERTED, False),
        ("2026-11-18", "0", Place(9, "00" * 32), FaultKind.CHANGED, False),
        ("2026-11-18", "7", END, FaultKind.INSERTED, False),
    ],
)
def test_a_file_must_end_as_the_head_of_its_day_says(book, day, writer, end, kind, agrees):
    faults = Faults()
    assert book.compare(faults, "f.log", day, writer, end) == agrees
    assert set(faults.first) == ({kind} if kind else set())


@pytest.mark.parametrize(
    ("present", "span", "gone"),
    [
        ({("2026-11-18", "0"), ("2026-11-18", "1"), ("2026-11-19", "0")}, {}, 0),
        ({("2026-11-18", "0"), ("2026-11-19", "0")}, {}, 1),
        (set(), {}, 3),
        (set(), {"since": "2026-11-19"}, 1),
        (set(), {"until": "2026-11-18"}, 2),
    ],
)
def test_files_that_are_gone_are_missed(book, present, span, gone):
    faults = Faults()
    book.missing(faults, present, **span)
    assert faults.counts.get(FaultKind.REMOVED, 0) == gone


def test_what_was_removed_in_order_is_not_missed(book, log):
    made = log()
    for before in ("2026-11-19", "2026-11-01"):
        made.sign(pruned_body(made.place, 0.0, node="mx1", before=before))
    for line in made.lines:
        book.take(parse_line(line))
    faults = Faults()
    book.missing(faults, {("2026-11-19", "0")})
    assert (faults.first, book.before) == ({}, "2026-11-19")


@pytest.mark.parametrize(
    "body", [{}, {"day": "x", "writers": 1}, {"day": "x", "writers": [{"writer": "0", "number": "x", "head": ""}]}]
)
def test_what_is_no_head_is_passed_over(log, body):
    book = HeadBook()
    book.take(parse_line(log().add({"kind": "head"} | body).lines[0]))
    assert book.days == {}


def test_what_is_no_head_says_nothing_of_any_day(log, book):
    """Its signature is not checked, as such entries have none."""
    known, made = dict(book.days), log()
    made.add({**head_body(made.place, 0.0, node="mx1", day="2026-11-20", writers={"0": END}), "kind": "event"})
    book.take(parse_line(made.lines[0]))
    assert book.days == known
