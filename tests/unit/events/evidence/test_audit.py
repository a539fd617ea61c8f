from __future__ import annotations

import io
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.events.evidence import audit as module
from gatepost.events.evidence.audit import ChainAudit, FaultKind, Faults, check_signature
from gatepost.events.evidence.chain import LONGEST_LINE, ORIGIN, Place, Signer, join, sign_body
from gatepost.events.evidence.entry import checkpoint_body, gap_body
from gatepost.events.evidence.heads import head_body

K = FaultKind


def lines(log) -> list[bytes]:
    """Twelve entries: begin, three, a checkpoint, five, a gap, a checkpoint."""
    made = log().begin().event(3, text="ü").sign().event(5)
    made.add(gap_body(made.place, 0.0, what="torn", count=3))
    return made.sign().lines


def audited(given: list[bytes], signatures, **options) -> tuple[ChainAudit, Faults]:
    faults = Faults()
    audit = ChainAudit(faults, signatures, **options)
    audit.lines("f.log", given)
    audit.finish()
    return audit, faults


def found(given: list[bytes], signatures) -> dict[FaultKind, tuple[int, int]]:
    """Line and number of the first fault of each kind."""
    _, faults = audited(given, signatures)
    return {kind: (one.line, one.number) for kind, one in faults.first.items()}


def split(data: bytes) -> list[bytes]:
    """As a file is read: lines end with LF alone."""
    return list(io.BytesIO(data))


def test_a_log_that_was_left_alone_is_good(log, signatures):
    seen = []
    audit, faults = audited(lines(log), signatures, seen=seen.append)
    assert faults.first == {}
    assert (audit.entries, audit.checkpoints, audit.signed, audit.place.number) == (12, 2, 12, 12)
    assert [one.number for one in seen] == list(range(1, 13))
    assert [gap["count"] for gap in audit.gaps] == [3]
    assert audit.begin["writer"] == "0"


def test_no_byte_can_be_changed(log, signatures):
    """Every position of the file, each with several other bytes: hashes, members, signatures, separators, line ends."""
    whole = b"".join(lines(log))
    others = random.Random(5)  # noqa: S311 - which other byte it is does not matter
    for at, byte in enumerate(whole):
        for other in {byte ^ 1, ord("\n"), others.randrange(256)} - {byte}:
            changed = whole[:at] + bytes([other]) + whole[at + 1 :]
            assert found(split(changed), signatures), f"byte {at}, {byte!r} to {other!r}"


def test_no_byte_can_be_taken_out_or_put_in(log, signatures):
    whole = b"".join(lines(log))
    for at in range(len(whole)):
        for changed in (whole[:at] + whole[at + 1 :], whole[:at] + b"0" + whole[at:], whole[:at] + b"\n" + whole[at:]):
            assert changed == whole or found(split(changed), signatures), f"byte {at}"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        # one line is not what it was
        (lambda it: [*it[:2], it[2].replace(b"SEND", b"FAIL"), *it[3:]], {K.CHANGED: (3, 3)}),
        (lambda it: [*it[:2], b"0" * 64 + it[2][64:], *it[3:]], {K.CHANGED: (3, 3)}),
        (lambda it: [*it[:2], it[2].replace(b'"number":3', b'"number":9'), *it[3:]], {K.CHANGED: (3, 3)}),
        (lambda it: [*it[:2], b"garbage\n", *it[3:]], {K.CHANGED: (3, 3)}),
        (lambda it: [*it[:2], it[2].replace(b'{"', b'{ "', 1), *it[3:]], {K.CHANGED: (3, 3)}),
        (lambda it: [*it[:-1], it[-1].replace(b'"node":"mx1"', b'"node":"mx2"')], {K.CHANGED: (12, 12)}),
        # removed
        (lambda it: it[1:], {K.REMOVED: (1, 2)}),
        (lambda it: it[:4] + it[5:], {K.REMOVED: (5, 6)}),
        (lambda it: it[:2] + it[4:], {K.REMOVED: (3, 5)}),
        (lambda it: it[:1] + it[2:6] + it[7:], {K.REMOVED: (2, 3)}),
        # moved
        (lambda it: [*it[:2], it[3], it[2], *it[4:]], {K.REORDERED: (4, 3)}),
        (lambda it: [*it[:2], *it[3:6], it[2], *it[6:]], {K.REORDERED: (6, 3)}),
        (lambda it: [*it[:2], *it[4:7], it[3], it[2], *it[7:]], {K.REORDERED: (6, 4)}),
        # added
        (lambda it: [*it[:3], it[2], *it[3:]], {K.INSERTED: (4, 3)}),
        (lambda it: it + it, {K.INSERTED: (13, 1)}),
        (lambda it: [*it[:3], b"garbage\n", *it[3:]], {K.INSERTED: (4, 0)}),
        # cut
        (lambda it: [*it[:-1], it[-1][:-1]], {K.TRUNCATED: (12, 0)}),
        (lambda it: [*it[:-1], it[-1][:-9]], {K.TRUNCATED: (12, 0), K.CHANGED: (12, 12)}),
        (lambda it: [*it, b"x" * LONGEST_LINE], {K.CHANGED: (13, 13)}),
        # two of the same, and two different ones at once
        (
            lambda it: [*it[:1], it[1].replace(b"SEND", b"FAIL"), *it[2:6], *it[7:]],
            {K.CHANGED: (2, 2), K.REMOVED: (7, 8)},
        ),
    ],
)
def test_what_was_done_is_named_where_it_was_done(log, signatures, change, expected):
    assert found(change(lines(log)), signatures) == expected


def test_the_end_of_a_file_that_is_being_written_is_no_fault(log, signatures):
    given = lines(log)
    faults = Faults()
    audit = ChainAudit(faults, signatures)
    audit.lines("f.log", [*given[:-1], given[-1][:-20]], live=True)
    audit.finish()
    assert faults.first == {}
    assert (audit.place.number, audit.signed) == (11, 5)


def test_all_faults_of_a_kind_are_counted(log, signatures):
    given = lines(log)
    _, faults = audited(given[:2] + given[3:4] + given[5:8] + given[9:], signatures)
    assert faults.counts == {K.REMOVED: 3}
    assert "entry 3 is missing" in faults.first[K.REMOVED].text
    _, faults = audited(given[:2] + given[5:], signatures)
    assert "entries 3 to 5 are missing" in faults.first[K.REMOVED].text


def test_a_line_of_another_chain_is_found(log, signatures):
    given, other = lines(log), lines(lambda: log(writer="1"))
    assert found([*given[:5], other[5], *given[6:]], signatures) == {K.CHANGED: (6, 6)}
    assert found([*given[:6], other[3], *given[6:]], signatures) == {K.INSERTED: (7, 4)}


def test_who_writes_the_chain_anew_cannot_sign_it(log, signatures):
    forged = log().begin().event(3, text="something else")
    other = Signer("ab" * 32, lambda _: b"s" * 64)
    body = checkpoint_body(forged.place, 0.0, writer="0", node="mx1")
    forged.add(sign_body(body, other))
    assert found(forged.lines, signatures) == {K.KEY: (5, 5)}


@pytest.mark.parametrize(
    ("members", "kind"),
    [
        ({}, None),
        ({"signature": "00" * 64}, K.SIGNATURE),
        ({"signature": ""}, K.SIGNATURE),
        ({"signature": "no hex"}, K.SIGNATURE),
        ({"time": "2000"}, K.SIGNATURE),
        ({"key": "00"}, K.KEY),
        ({"key": ""}, K.KEY),
    ],
)
def test_signatures(log, signer, signatures, members, kind):
    body = sign_body(checkpoint_body(Place(), 0.0, writer="0", node="mx1"), signer) | members
    wrong = check_signature(body, signatures)
    assert (wrong[0] if wrong else None) == kind
    made = log().begin()
    made.add(sign_body(checkpoint_body(made.place, 0.0, writer="0", node="mx1"), signer) | members)
    audit, faults = audited(made.lines, signatures)
    assert set(faults.first) == ({kind} if kind else set())
    assert audit.signed == (0 if kind else 2)


def test_a_checkpoint_must_sign_the_entry_before_it(log, signer, signatures):
    made = log().begin().event()
    made.sign(checkpoint_body(made.place._replace(head=ORIGIN), 0.0, writer="0", node="mx1"))
    assert found(made.lines, signatures) == {K.CHANGED: (3, 3)}


def test_heads_are_checked_by_their_signatures(log, signer, signatures):
    made = log()
    made.sign(head_body(made.place, 0.0, node="mx1", day="2026-11-18", writers={}))
    assert found(made.lines, signatures) == {}
    made.add(head_body(made.place, 0.0, node="mx1", day="2026-11-19", writers={}) | {"key": signer.key})
    assert found(made.lines, signatures) == {K.SIGNATURE: (2, 2)}


def test_a_chain_goes_on_from_file_to_file(log, signatures):
    made = log().begin().event(2).sign()
    first, made.lines = made.lines, []
    second = made.begin("2026-11-19").event().sign().lines
    faults = Faults()
    audit = ChainAudit(faults, signatures)
    audit.lines("1.log", first)
    audit.lines("2.log", second)
    audit.finish()
    assert (faults.first, audit.place.number) == ({}, 7)
    # the first one was removed in order: the second says where it starts
    audit, faults = audited(second, signatures)
    assert (faults.first, audit.start.number) == ({}, 4)
    # it lies about that
    head, line = join("cd" * 32, {"number": 5, "previous": {"number": 4, "head": "no hash"}})
    assert found([line, join(head, {"number": 6})[1]], signatures) == {K.CHANGED: (1, 5)}
    # or the middle one of three is gone
    made.lines = []
    third = made.begin("2026-11-20").event().lines
    faults = Faults()
    audit = ChainAudit(faults, signatures)
    audit.lines("1.log", first)
    audit.lines("3.log", third)
    audit.finish()
    assert faults.first[K.REMOVED].text == "entries 5 to 7 are missing before this one"


def test_a_chain_can_be_taken_up_in_the_middle(log, signatures):
    made = log().begin().event(2)
    start, made.lines = made.place, []
    audit, faults = audited(made.event(2).lines, signatures, start=start)
    assert (faults.first, audit.place.number) == ({}, 5)


def test_what_is_missing_is_bounded(log, signatures, monkeypatch):
    monkeypatch.setattr(module, "_MOST_MISSING", 1)
    given = lines(log)
    _, faults = audited(given[:2] + given[3:4] + given[5:], signatures)
    assert faults.counts[K.REMOVED] == 1


@given(st.data())
def test_no_selection_or_order_of_lines_but_the_right_one_passes(log, signatures, data):
    given = _LINES(log)
    other = data.draw(st.permutations(given) | st.lists(st.sampled_from(given), min_size=1, max_size=15))
    good = [
        *(given[:count] for count in range(len(given) + 1)),  # what was cut off at the end is for the daily heads
    ]
    assert bool(found(other, signatures)) == (other not in good)


_KEPT: list[bytes] = []


def _LINES(log) -> list[bytes]:  # noqa: N802
    if not _KEPT:
        _KEPT.extend(lines(log))
    return _KEPT


def test_an_empty_file_is_no_fault(signatures):
    audit, faults = audited([], signatures)
    assert (faults.first, audit.entries, audit.place) == ({}, 0, Place())
