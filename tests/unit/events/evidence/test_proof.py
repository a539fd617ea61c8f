from __future__ import annotations

import json
import time
from typing import Any

import pytest

from gatepost.events.evidence.audit import FaultKind
from gatepost.events.evidence.chain import Signer, parse_line, sign_body
from gatepost.events.evidence.entry import gap_body
from gatepost.events.evidence.heads import head_body
from gatepost.events.evidence.proof import FORMAT_NAME, audit_export, exported_keys, read_export, segment_of, segments

K = FaultKind


@pytest.fixture
def made(log):
    """Mail to b and to c in turn, a checkpoint, to c alone, a checkpoint, to b at last, which nobody signed yet."""
    whole = log().begin()
    for _ in range(3):
        whole.event(to="c").event(to="b")
    whole.add(gap_body(whole.place, 0.0, what="dropped", count=1))
    return whole.sign().event(3, to="c").sign().event(to="c").event(to="b")


def wanted(to: str):
    return lambda body: body.get("to") == to


def document(log, to: str = "b", heads: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    found = segments("0", map(parse_line, log.lines), wanted(to))
    whole = {
        "format": FORMAT_NAME,
        "version": 1,
        "heads": heads or [],
        "segments": [one.record() for one in found],
    }
    return json.loads(json.dumps(whole))


def test_a_segment_goes_from_what_was_chosen_to_the_signature(made):
    first, last = segments("0", map(parse_line, made.lines), wanted("b"))
    assert first.start.number == 2
    kinds = [one if isinstance(one, str) else one["kind"] for one in first.items]
    assert [kind if kind in {"event", "gap", "checkpoint"} else "digest" for kind in kinds] == [
        "event",
        "digest",
        "event",
        "digest",
        "event",
        "gap",
        "checkpoint",
    ]
    assert [body["number"] for _, body in first.chosen] == [3, 5, 7]
    assert (last.start.number, len(last.items)) == (14, 1)


def test_what_is_over_is_not_looked_at(made):
    read = []

    def lines():
        for line in made.lines:
            read.append(line)
            yield parse_line(line)

    found = list(segments("0", lines(), wanted("b"), lambda body: body["number"] > 4))
    assert [len(one.chosen) for one in found] == [3]
    assert len(read) == 10


def test_damaged_lines_are_passed_over(made):
    made.lines[3] = b"garbage\n"
    first, *_ = segments("0", map(parse_line, made.lines), wanted("b"))
    assert [body["number"] for _, body in first.chosen] == [3, 5, 7]


def test_an_export_proves_itself_up_to_the_last_signature(made, signatures):
    audit = audit_export(document(made), signatures)
    assert audit.faults.first == {}
    assert (audit.entries, audit.unsigned, audit.skipped, audit.checkpoints) == (4, 1, 2, 1)
    assert [body["number"] for _, _, body in audit.chosen] == [3, 5, 7, 15]


def test_a_daily_head_signs_what_no_checkpoint_does(made, signer, signatures):
    body = head_body(made.place, 0.0, node="mx1", day="2026-11-18", writers={"0": made.place})
    head = sign_body(body, signer)
    assert audit_export(document(made, heads=[head]), signatures).unsigned == 0
    forged = sign_body(body, Signer(signer.key, lambda _: bytes(64)))
    audit = audit_export(document(made, heads=[forged]), signatures)
    assert (audit.unsigned, set(audit.faults.first)) == (1, {K.SIGNATURE})


def test_nothing_in_an_export_can_be_changed(made, signatures):
    """Every character of every entry, digest and number, as an editor could change it."""
    whole = document(made)
    whole["segments"] = whole["segments"][:1]
    text = json.dumps(whole)
    first = text.index('"segments"')
    for at in range(first, len(text)):
        for other in ("0", "x", '"'):
            changed = text[:at] + other + text[at + 1 :]
            try:
                read = json.loads(changed)
            except ValueError:
                continue
            if read == whole:
                continue
            try:
                audit = audit_export(read, signatures)
            except ValueError:
                continue
            assert audit.faults.first or audit.unsigned or audit.entries == 0, changed[at - 40 : at + 40]


@pytest.mark.parametrize(
    "change",
    [
        lambda it: it.pop(1),
        lambda it: it.pop(2),
        lambda it: it.insert(2, it[2]),
        lambda it: it.insert(1, "ab" * 32),
        lambda it: it.__setitem__(slice(0, 3), [it[2], it[1], it[0]]),
        lambda it: it[0].update(number=4),
        lambda it: it[-1].update(writer="1"),
        lambda it: it[-1].update(signature="00" * 64),
    ],
)
def test_removing_moving_and_adding_breaks_the_signature(made, signatures, change):
    whole = document(made)
    change(whole["segments"][0]["entries"])
    audit = audit_export(whole, signatures)
    assert set(audit.faults.first) & {K.CHANGED, K.SIGNATURE}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda it: it.update(format="x"), "no export"),
        (lambda it: it.update(version=2), "no export"),
        (lambda it: it.pop("segments"), "a part of it is missing, or has another type"),
        (lambda it: it.update(segments=[1]), "a part of it is missing, or has another type"),
        (lambda it: it["segments"][0].update(head="ab"), "a part of it is missing, or has another type"),
        (lambda it: it["segments"][0]["entries"].append(5), "a part of it is missing, or has another type"),
    ],
)
def test_what_is_no_export_is_said(made, signatures, change, why):
    whole = document(made)
    change(whole)
    with pytest.raises(ValueError, match=why):
        audit_export(whole, signatures)


def test_what_is_no_document_is_said(signatures):
    with pytest.raises(ValueError, match="no export"):
        audit_export([], signatures)


def test_where_nothing_is_chosen_there_are_no_segments(made, signatures):
    assert list(segments("0", map(parse_line, made.lines), wanted("nobody"))) == []
    assert len(list(segments("0", map(parse_line, made.lines[:13]), wanted("b")))) == 1
    assert audit_export(document(made, "nobody"), signatures).entries == 0


def test_a_segment_comes_back_from_its_record(made):
    for to in ("b", "c", "nobody"):
        found = list(segments("0", map(parse_line, made.lines), wanted(to)))
        assert [segment_of(json.loads(json.dumps(one.record()))) for one in found] == found


@pytest.mark.parametrize("record", [{}, {"writer": "0", "number": 0, "head": "", "entries": ["x"]}, []])
def test_a_record_that_is_no_segments(record):
    with pytest.raises((ValueError, TypeError, LookupError)):
        segment_of(record)


def test_what_is_shown_twice_is_found(made, signatures):
    whole = document(made)
    whole["segments"].append(whole["segments"][0])
    assert set(audit_export(whole, signatures).faults.first) == {K.INSERTED}
    whole["segments"][-1] = {**whole["segments"][-1], "writer": "1"}
    assert K.INSERTED not in audit_export(whole, signatures).faults.first


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (b'{"a": {"b": 1, "c": 2, "b": 3}}', "it has 'b' twice"),
        (b'{"a": NaN}', "NaN is not a JSON number"),
        (b"[" * 100_000, "nested too deeply"),
        (b"\xff", "it is not text in UTF-8"),
        (b"{", "it is not JSON from line 1, column 2 on"),
    ],
)
def test_what_two_readers_could_read_differently_is_no_export(text, fault):
    with pytest.raises(ValueError, match=fault):
        read_export(text)


def test_a_member_that_is_twice_among_many_is_found_soon():
    text = json.dumps({str(number): 0 for number in range(60_000)})[:-1] + ', "59999": 1}'
    begun = time.process_time()
    with pytest.raises(ValueError, match="'59999' twice"):
        read_export(text.encode())
    assert time.process_time() - begun < 5


def test_an_export_is_read_as_it_is_written():
    assert read_export(b'{"a": [{"b": 1}, {"b": 1}], "b": 1}') == {"a": [{"b": 1}, {"b": 1}], "b": 1}


def test_keys_that_came_along():
    assert exported_keys({"keys": [{"pem": "one"}, {"pem": "two"}]}) == [b"one", b"two"]
    for document in ([], {}, {"keys": 7}, {"keys": ["one"]}, {"keys": [{}]}, {"keys": [{"pem": "\ud800"}]}):
        with pytest.raises(ValueError, match="a part of it is missing, or has another type than in an export"):
            exported_keys(document)
